"""TimberSeg 1.0: logs in piles and on trucks, as forestry cranes see them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sambench.readers.coco_json import CocoDataset, base_of, named_reader
from sambench.readers.listing import ListingOptions
from sambench.types import Archive, Card, PaperUse, Semantics, Split

CARD = Card(
    name="timberseg",
    title="TimberSeg 1.0",
    citation="Fortin, Gamache, Grondin, Pomerleau, Giguère, Instance Segmentation for Autonomous Log Grasping in "
    "Forestry Operations, IROS 2022",
    url="https://data.mendeley.com/datasets/y5npsm3gkj",
    licence="CC BY 4.0",
    access="Download y5npsm3gkj-2.zip from https://data.mendeley.com/datasets/y5npsm3gkj (no login).\n"
    "Unpack it in DATA_ROOT/timberseg/.",
    layout="timberseg/                     (or y5npsm3gkj-2/)\n  prescaled/images/000000.png\n"
    "  prescaled/coco_annotation.json\n  original/images/000000.png\n  original/coco_annotation.json",
    kind="instance",
    splits={"all": Split(220, 2487)},
    default_split="all",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("timberseg", "TimberSeg", "y5npsm3gkj-2", "y5npsm3gkj"),
    paper=PaperUse("TimberSeg", "N/A", 220, 2487),
    gotchas=(
        "The archive holds every image twice, in original and in prescaled size, each with its own coordinates; which "
        "of them the paper read is not known. Prescaled is the default, version=original reads the other.",
        "Some polygons have fewer than three points; they hold no area and are left out.",
        "Only logs on top are annotated; those deeper in the pile are background.",
    ),
    archives=(Archive("y5npsm3gkj-2.zip", "both versions of the images, with their annotations"),),
    semantics=Semantics(components="A log that others hide in part is one mask, in several polygons.", overlaps=True),
)


class Timberseg(CocoDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options(ListingOptions):
        version: Literal["prescaled", "original"] = "prescaled"
        """`prescaled`: long side 1024, the authors' advice for training."""

    def __init__(self, root: Path, split: str, options: Options) -> None:
        folder = root / options.version
        unpack = f"unzip y5npsm3gkj-2.zip in {root} again"
        self._reader = named_reader(folder / "coco_annotation.json", folder / "images", options.missing_images, unpack)

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        labels = Path(options.version) / "coco_annotation.json"
        return base_of(root, CARD.folders, lambda base: (base / labels).is_file(), f"{options.version}/images")


PLUGIN = Timberseg
