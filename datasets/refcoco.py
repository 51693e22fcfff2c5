"""RefCOCO: expressions from a game of two people, on COCO's photographs of 2014."""

from __future__ import annotations

from typing import ClassVar

from sambench.readers.refer import ReferDataset
from sambench.types import Archive, Card, Semantics, Split

ZIP = "https://web.archive.org/web/20220413011718/https://bvisionweb1.cs.unc.edu/licheng/referit/data/refcoco.zip"

CARD = Card(
    name="refcoco",
    title="RefCOCO",
    citation="Kazemzadeh, Ordonez, Matten, Berg, ReferItGame: Referring to Objects in Photographs of Natural Scenes, "
    "EMNLP 2014; Yu, Poirson, Yang, Berg, Berg, Modeling Context in Referring Expressions, ECCV 2016",
    url="https://github.com/lichengunc/refer",
    licence="expressions: none stated; annotations CC BY 4.0; each photograph its own Flickr licence",
    access=f"Download {ZIP} (no login; the authors' server is gone, this is its archived copy)\n"
    "and http://images.cocodataset.org/zips/train2014.zip (no login).\n"
    "Unpack both in DATA_ROOT/refcoco/, or the images in DATA_ROOT/coco/.",
    layout="refcoco/\n  instances.json\n  refs(unc).p                  splits unc_*\n"
    "  refs(google).p               splits google_*\n"
    "  train2014/COCO_train2014_000000098304.jpg     (or in coco/, or in images/mscoco/images/, beside this folder)",
    kind="instance",
    splits={
        "unc_train": Split(16994, 42404),
        "unc_val": Split(1500, 3811),
        "unc_testA": Split(750, 1975, "only people"),
        "unc_testB": Split(750, 1810, "only what is no person"),
        "google_train": Split(19213, 40000),
        "google_val": Split(4559, 5000),
        "google_test": Split(4527, 5000),
    },
    default_split="unc_val",
    group="reference",
    tasks=frozenset({"text_to_mask"}),
    folders=("refcoco", "RefCOCO"),
    gotchas=(
        "Masks are the objects that a split refers to; an image's other annotated objects are read, and not asked for.",
        "Of the google splits the same image can be in several, with other objects: only the unc splits share no "
        "image, and are what is mostly reported.",
        "The folder's name tells the three RefCOCO sets apart, because their files have the same names.",
    ),
    same_images_as=frozenset({"coco", "lvis", "refcocop", "refcocog"}),
    archives=(
        Archive(
            "refcoco.zip",
            "annotations and expressions",
            url=ZIP,
        ),
        Archive("train2014.zip", "images", url="http://images.cocodataset.org/zips/train2014.zip"),
    ),
    semantics=Semantics(
        crowd="Regions of many objects (iscrowd 1), which nothing refers to.",
        components="An object that others cut apart is one mask, in several polygons.",
        overlaps=True,
    ),
)


class RefCoco(ReferDataset):
    card: ClassVar[Card] = CARD


PLUGIN = RefCoco
