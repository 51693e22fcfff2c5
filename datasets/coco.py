"""COCO val2017. Not one of the paper's 23: box-prompted instance segmentation and the human rating study use it."""

from __future__ import annotations

from pathlib import Path

from sambench.readers.coco_json import CocoDataset, CocoReader, images_in
from sambench.readers.files import first_place
from sambench.readers.listing import ListingOptions
from sambench.types import Archive, Card, Semantics, Split

CARD = Card(
    name="coco",
    title="COCO val2017",
    citation="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    url="https://cocodataset.org",
    licence="annotations CC BY 4.0; each photograph its own Flickr licence",
    access="Download http://images.cocodataset.org/zips/val2017.zip (no login)\n"
    "and http://images.cocodataset.org/annotations/annotations_trainval2017.zip.\n"
    "Unpack both in DATA_ROOT/coco/.",
    layout="coco/\n  val2017/000000000139.jpg     (or images/val2017/)\n  annotations/instances_val2017.json",
    kind="instance",
    splits={"val2017": Split(5000, 36335, "and 446 crowd regions; 48 images have no annotation")},
    default_split="val2017",
    group="reference",
    tasks=frozenset({"single_point", "noc", "proposals", "instances", "text_to_mask"}),
    published_as={"instances": "COCO val2017"},
    folders=("coco", "COCO", "coco2017"),
    gotchas=(
        "Crowd regions are not prompted; the single-point task leaves them out and counts them.",
        "Category ids run from 1 to 90 with gaps.",
        "The area field stems from polygons and differs a little from the mask's pixel count.",
    ),
    same_images_as=frozenset({"lvis"}),
    archives=(
        Archive("val2017.zip", "images", url="http://images.cocodataset.org/zips/val2017.zip"),
        Archive(
            "annotations_trainval2017.zip",
            "annotations",
            url="http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        ),
    ),
    semantics=Semantics(
        crowd="Regions of many objects (iscrowd 1).",
        components="An object that others cut apart is one mask, in several polygons.",
        overlaps=True,
    ),
)


class Coco(CocoDataset):
    card = CARD
    Options = ListingOptions

    def __init__(self, root: Path, split: str, options: ListingOptions) -> None:
        annotations = root / _labels(split)
        folder = next((at for at in (root / split, root / "images" / split) if at.is_dir()), root / split)
        self._reader = CocoReader(
            annotations, images_in(folder, annotations), options.missing_images, f"unpack {split}.zip in {root}"
        )

    @classmethod
    def locate(cls, root: Path, split: str, options: ListingOptions) -> Path | None:
        return first_place(root, CARD.folders, lambda base: (base / _labels(split)).is_file())


def _labels(split: str) -> str:
    return f"annotations/instances_{split}.json"


PLUGIN = Coco
