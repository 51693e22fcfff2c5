"""RefCOCO+: as RefCOCO, without words of place."""

from __future__ import annotations

from typing import ClassVar

from sambench.readers.refer import ReferDataset
from sambench.types import Archive, Card, Semantics, Split

ZIP = "https://web.archive.org/web/20220413011656/https://bvisionweb1.cs.unc.edu/licheng/referit/data/refcoco+.zip"

CARD = Card(
    name="refcocop",
    title="RefCOCO+ (no words of place)",
    citation="Kazemzadeh, Ordonez, Matten, Berg, ReferItGame: Referring to Objects in Photographs of Natural Scenes, "
    "EMNLP 2014; Yu, Poirson, Yang, Berg, Berg, Modeling Context in Referring Expressions, ECCV 2016",
    url="https://github.com/lichengunc/refer",
    licence="expressions: none stated; annotations CC BY 4.0; each photograph its own Flickr licence",
    access=f"Download {ZIP} (no login; the authors' server is gone, this is its archived copy)\n"
    "and http://images.cocodataset.org/zips/train2014.zip (no login).\n"
    "Unpack both in DATA_ROOT/refcoco+/, or the images in DATA_ROOT/coco/.",
    layout="refcoco+/\n  instances.json\n  refs(unc).p\n"
    "  train2014/COCO_train2014_000000098304.jpg     (or in coco/, or in images/mscoco/images/, beside this folder)",
    kind="instance",
    splits={
        "unc_train": Split(16992, 42278),
        "unc_val": Split(1500, 3805),
        "unc_testA": Split(750, 1975, "only people"),
        "unc_testB": Split(750, 1798, "only what is no person"),
    },
    default_split="unc_val",
    group="reference",
    tasks=frozenset({"text_to_mask"}),
    folders=("refcocop", "refcoco+", "RefCOCO+", "refcocoplus"),
    gotchas=(
        "Masks are the objects that a split refers to; an image's other annotated objects are read, and not asked for.",
        "Its objects and images are for the most part those of RefCOCO; only the expressions differ.",
        "The folder's name tells the three RefCOCO sets apart, because their files have the same names.",
    ),
    same_images_as=frozenset({"coco", "lvis", "refcoco", "refcocog"}),
    archives=(
        Archive(
            "refcoco+.zip",
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


class RefCocoPlus(ReferDataset):
    card: ClassVar[Card] = CARD


PLUGIN = RefCocoPlus
