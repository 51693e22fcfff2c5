"""TrashCan 1.0: trash, animals, plants and robot parts in videos of the deep sea."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sambench import masks
from sambench.readers.coco_json import CocoDataset, base_of, named_reader
from sambench.readers.listing import ListingOptions
from sambench.types import Archive, Card, Mask, PaperUse, Semantics, Split

CARD = Card(
    name="trashcan",
    title="TrashCan 1.0",
    citation="Hong, Fulton, Sattar, TrashCan: A Semantically-Segmented Dataset towards Visual Detection of Marine "
    "Debris, arXiv 2007.08097, 2020",
    url="https://conservancy.umn.edu/handle/11299/214865",
    licence="free for academic teaching and research with attribution to the authors and JAMSTEC; commercial use of "
    "the images needs JAMSTEC's permission",
    access="Download dataset.zip from https://conservancy.umn.edu/handle/11299/214865 (no login).\n"
    "Unpack it in DATA_ROOT/trashcan/.",
    layout="trashcan/                      (or dataset/)\n  instance_version/train/vid_000002_frame0000013.jpg\n"
    "  instance_version/instances_train_trashcan.json\n  material_version/           the same names",
    kind="instance",
    splits={
        "train": Split(5936, 9540, "of 6,065 images 129 have no annotation"),
        "val": Split(None, None, "1,147 images, some of them without annotation"),
    },
    default_split="train",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("trashcan", "TrashCan", "trash_can", "dataset"),
    paper=PaperUse("TrashCan", "Train (instance task)", 5936, 9540),
    classes=(
        *("rov", "plant", "animal_fish", "animal_starfish", "animal_shells", "animal_crab", "animal_eel"),
        *("animal_etc", "trash_clothing", "trash_pipe", "trash_bottle", "trash_bag", "trash_snack_wrapper"),
        *("trash_can", "trash_cup", "trash_container", "trash_unknown_instance", "trash_branch", "trash_wreckage"),
        *("trash_tarp", "trash_rope", "trash_net"),
    ),
    gotchas=(
        "The files of both versions have the same names: the folder decides. They show the same images.",
        "The released polygons lie about one pixel too far right and down. They are read as they are, as everybody "
        "does; shift_fix=true moves them back, which matters at 480 x 270 pixels.",
        "Holes are stored as polygons like any other, and so are filled.",
        "Train and val hold frames of the same videos.",
        "Some annotations have no polygon, and NaN for a box; they are left out and counted.",
    ),
    archives=(Archive("dataset.zip", "both versions, and the original labels"),),
    semantics=Semantics(
        components="Parts that the annotators tied together are one mask, in several polygons.", overlaps=True
    ),
)


class Trashcan(CocoDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options(ListingOptions):
        version: Literal["instance", "material"] = "instance"
        """Classes of the same images: `instance` has 22, `material` 16."""
        shift_fix: bool = False
        """Move polygons one pixel left and up before they are filled."""

    def __init__(self, root: Path, split: str, options: Options) -> None:
        folder = _version_folder(root, options.version)
        annotations = folder / f"instances_{split}_trashcan.json"
        unpack = f"unzip dataset.zip so that {annotations.name} is beside {split}/ in {folder}"
        fill = _fill_shifted if options.shift_fix else masks.from_polygons
        self._reader = named_reader(annotations, folder / split, options.missing_images, unpack, fill=fill)

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        def has_labels(base: Path) -> bool:
            return (_version_folder(base, options.version) / f"instances_{split}_trashcan.json").is_file()

        return base_of(root, CARD.folders, has_labels, f"{options.version}_version/{split}")


def _version_folder(base: Path, version: str) -> Path:
    name = f"{version}_version"
    return base if base.name == name else base / name


def _fill_shifted(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Mask:
    return masks.from_polygons([[value - 1 for value in polygon] for polygon in polygons], size)


PLUGIN = Trashcan
