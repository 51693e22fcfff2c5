"""RefCOCOg: longer expressions, written without a game, on COCO's photographs of 2014."""

from __future__ import annotations

from typing import ClassVar

from sambench.readers.refer import ReferDataset
from sambench.types import Archive, Card, Semantics, Split

ZIP = "https://web.archive.org/web/20220413012904/https://bvisionweb1.cs.unc.edu/licheng/referit/data/refcocog.zip"

CARD = Card(
    name="refcocog",
    title="RefCOCOg (Google RefExp)",
    citation="Mao, Huang, Toshev, Camburu, Yuille, Murphy, Generation and Comprehension of Unambiguous Object "
    "Descriptions, CVPR 2016; split umd: Nagaraja, Morariu, Davis, Modeling Context Between Objects for Referring "
    "Expression Understanding, ECCV 2016",
    url="https://github.com/lichengunc/refer",
    licence="expressions: none stated; annotations CC BY 4.0; each photograph its own Flickr licence",
    access=f"Download {ZIP} (no login; the authors' server is gone, this is its archived copy)\n"
    "and http://images.cocodataset.org/zips/train2014.zip (no login).\n"
    "Unpack both in DATA_ROOT/refcocog/, or the images in DATA_ROOT/coco/.",
    layout="refcocog/\n  instances.json\n  refs(umd).p                  splits umd_*\n"
    "  refs(google).p               splits google_*\n"
    "  train2014/COCO_train2014_000000098304.jpg     (or in coco/, or in images/mscoco/images/, beside this folder)",
    kind="instance",
    splits={
        "umd_train": Split(21899, 42226),
        "umd_val": Split(1300, 2573),
        "umd_test": Split(2600, 5023),
        "google_train": Split(24698, 44822),
        "google_val": Split(4650, 5000),
    },
    default_split="umd_val",
    group="reference",
    tasks=frozenset({"text_to_mask"}),
    folders=("refcocog", "RefCOCOg"),
    gotchas=(
        "Masks are the objects that a split refers to; an image's other annotated objects are read, and not asked for.",
        "Of the google splits the same image can be in several, with other objects: only the umd splits share no "
        "image, and are what is mostly reported.",
        "The folder's name tells the three RefCOCO sets apart, because their files have the same names.",
    ),
    same_images_as=frozenset({"coco", "lvis", "refcoco", "refcocop"}),
    archives=(
        Archive(
            "refcocog.zip",
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


class RefCocoG(ReferDataset):
    card: ClassVar[Card] = CARD


PLUGIN = RefCocoG
