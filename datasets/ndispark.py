"""NDISPark: parking lots seen by surveillance cameras, by day and by night, every vehicle outlined."""

from __future__ import annotations

from pathlib import Path

from sambench.errors import UsageError
from sambench.readers.coco_json import CocoDataset, base_of, named_reader
from sambench.readers.listing import ListingOptions
from sambench.types import Archive, Card, PaperUse, Semantics, Split

CARD = Card(
    name="ndispark",
    title="NDISPark (Night and Day Instance Segmented Park)",
    citation="Ciampi, Santiago, Costeira, Gennaro, Amato, Domain Adaptation for Traffic Density Estimation, "
    "VISAPP 2021",
    url="https://zenodo.org/record/6560823",
    licence="ODC-By 1.0",
    access="Download ndis_park.zip from https://zenodo.org/record/6560823 (no login, 118 MB).\n"
    "Unpack it in DATA_ROOT/ndispark/.",
    layout="ndispark/                      (or ndis_park/)\n  train/imgs/64_1537102819.jpg\n"
    "  train/train_coco_annotations.json\n  validation/imgs/*.jpg\n  validation/val_coco_annotations.json",
    kind="instance",
    splits={
        "train": Split(111, 2577, "daylight; of 112 images one, 69_1531569735.jpg, has no annotation"),
        "validation": Split(None, 725, "night; 30 images"),
        "test": Split(None, None, "117 images with counts only: no masks were published"),
    },
    default_split="train",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("ndispark", "ndis_park", "NDISPark"),
    paper=PaperUse("NDISPark", "Train", 111, 2577),
    classes=("car",),
    gotchas=(
        "The folder is named validation, its file val_coco_annotations.json.",
        "All vehicles are of the class car; the file lists COCO's other classes too, but people are not annotated.",
        "Whether masks are stored as polygons or run lengths is not documented; both are read.",
    ),
    archives=(
        Archive(
            "ndis_park.zip",
            "images and annotations",
            sha256="87ca20dfe5e5a5659a9a41e03724fdc38eed050de6ed6742995955fc0bd785c0",
        ),
    ),
    semantics=Semantics(components="An annotation is one mask, in however many polygons.", overlaps=True),
)

_PREFIXES = {"train": "train", "validation": "val"}


class Ndispark(CocoDataset):
    card = CARD
    Options = ListingOptions

    def __init__(self, root: Path, split: str, options: ListingOptions) -> None:
        unpack = f"unzip ndis_park.zip in {root} again"
        self._reader = named_reader(root / _labels(split), root / split / "imgs", options.missing_images, unpack)

    @classmethod
    def locate(cls, root: Path, split: str, options: ListingOptions) -> Path | None:
        return base_of(root, CARD.folders, lambda base: (base / _labels(split)).is_file(), f"{split}/imgs")


def _labels(split: str) -> str:
    if split not in _PREFIXES:
        raise UsageError(f"ndispark: there are no masks in the split {split}, only counts; take train or validation")
    return f"{split}/{_PREFIXES[split]}_coco_annotations.json"


PLUGIN = Ndispark
