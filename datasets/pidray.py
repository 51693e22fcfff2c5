"""PIDray: prohibited items in luggage, seen through by X-rays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image as Pillow

from sambench.errors import UsageError
from sambench.readers.coco_json import CocoDataset, base_of, named_reader
from sambench.readers.images import read_image
from sambench.readers.listing import ListingOptions
from sambench.types import Card, Image, IndexEntry, PaperUse, Semantics, Split

CARD = Card(
    name="pidray",
    title="PIDray (ICCV 2021)",
    citation="Wang, Zhang, Wen, Liu, Wu, Towards Real-World Prohibited Item Detection: A Large-Scale X-ray Benchmark, "
    "ICCV 2021",
    url="https://github.com/bywang2018/security-dataset",
    licence="academic use only; all rights with ISCAS and UCAS; no redistribution",
    access="Follow the links to Google Drive or Baidu in https://github.com/bywang2018/security-dataset\n"
    "(Baidu asks for the password that stands beside the link).\n"
    "Unpack all of it in DATA_ROOT/pidray/.",
    layout="pidray/                        (a second pidray/ in it is fine)\n  annotations/xray_test_hard.json\n"
    "  hard/xray_hard00001.png",
    kind="instance",
    splits={
        "hard": Split(3733, 8892, "test images of more than one item"),
        "easy": Split(9482, None, "test images of one item"),
        "hidden": Split(5005, None, "test images of items that are hidden on purpose"),
        "train": Split(29457),
    },
    default_split="hard",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("pidray", "PIDray", "PIDRay"),
    paper=PaperUse("PIDRay", "Test (hard)", 3733, 8892),
    classes=(
        *("Baton", "Pliers", "Hammer", "Powerbank", "Scissors", "Wrench", "Gun", "Bullet", "Sprayer", "HandCuffs"),
        *("Knife", "Lighter"),
    ),
    gotchas=(
        "A later, larger release of the same group has 9,746 hard images and does not give the paper's figures; it is "
        "refused unless release=any.",
        "Copies for box detectors, and the copy on the Hugging Face hub, have no masks or lack the hard part.",
        "Objects are see-through: masks overlap where objects do.",
        "Whether masks are stored as polygons or run lengths is not documented; both are read.",
        "Transparent pixels, should there be any, are white.",
    ),
    semantics=Semantics(components="An annotation is one mask, in however many polygons.", overlaps=True),
)


class Pidray(CocoDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options(ListingOptions):
        release: Literal["iccv2021", "any"] = "iccv2021"
        """`iccv2021`: refuse a file with more images than that release has."""

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self._expected = CARD.splits[split].images if options.release == "iccv2021" else None
        annotations = next(
            (root / path for path in _labels(split) if (root / path).is_file()), root / _labels(split)[0]
        )
        unpack = f"unpack the archive so that annotations/ and {split}/ lie in {root}"
        self._coco = named_reader(annotations, root / split, options.missing_images, unpack, read=_read_on_white)
        self._reader = self._coco

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        return base_of(root, CARD.folders, lambda base: any((base / path).is_file() for path in _labels(split)), split)

    def index(self) -> Sequence[IndexEntry]:
        listed = len(self._coco.file.ids)
        if self._expected is not None and listed > self._expected:
            raise UsageError(
                f"{self._coco.annotations}: lists {listed} images, PIDray of 2021 has {self._expected}; a later "
                "release gives other figures than the paper's: read it with --set dataset.release=any"
            )
        return super().index()


def _labels(split: str) -> tuple[str, str]:
    """Relative paths of the file of a split: the official one, and one without the prefix."""
    name = "train.json" if split == "train" else f"test_{split}.json"
    return (f"annotations/xray_{name}", f"annotations/{name}")


def _read_on_white(path: Path, size: tuple[int, int]) -> Image:
    """As :func:`read_image`, with what is transparent on white: the ground of these pictures."""
    image = read_image(path, size)
    with Pillow.open(path) as file:
        if "A" not in file.getbands() and "transparency" not in file.info:
            return image
        rgba = file.convert("RGBA")
    return np.array(Pillow.alpha_composite(Pillow.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))


PLUGIN = Pidray
