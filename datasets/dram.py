"""DRAM: paintings of many movements, in which each of eleven classes present is one mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from sambench.readers.files import first_place
from sambench.readers.label_files import LabelFileDataset
from sambench.readers.label_maps import voc_colours
from sambench.readers.listing import Listing, MinArea, MissingImages
from sambench.readers.mask_png import read_class_map
from sambench.readers.name_lists import read_names
from sambench.readers.trees import files_below
from sambench.types import Archive, Card, GroundTruth, PaperUse, Semantics, Split

_CLASSES = {
    3: "bird",
    4: "boat",
    5: "bottle",
    8: "cat",
    9: "chair",
    10: "cow",
    12: "dog",
    13: "horse",
    15: "person",
    16: "potted plant",
    17: "sheep",
}
"""Names by PASCAL VOC's numbers."""

CARD = Card(
    name="dram",
    title="DRAM (Diverse Realism in Art Movements)",
    citation="Cohen, Newman, Shamir, Semantic Segmentation in Art Paintings, Computer Graphics Forum 41(2), 2022",
    url="https://faculty.runi.ac.il/arik/site/artseg/Dram-Dataset.html",
    licence="research only, no commercial use, with citation",
    access="Download DRAM_processed.zip from the address above (no login).\n"
    "It holds DRAM_processed.rar: unpack that in DATA_ROOT/dram/, with unrar for one.",
    layout="dram/\n  DRAM_processed/              (or DRAM_500/)\n    test/MOVEMENT/ARTIST/NAME.jpg\n"
    "    test/unseen/MOVEMENT/ARTIST/NAME.jpg\n    test/dram_with_unseen.txt    names, without their ending\n"
    "    labels/MOVEMENT/ARTIST/NAME.png\n    labels/unseen/MOVEMENT/ARTIST/NAME.png",
    kind="semantic",
    splits={
        "test": Split(718, 1179, "the counts of the paper, which used it whole"),
        "test_seen": Split(583, None, "realism, impressionism, post-impressionism, expressionism"),
        "test_unseen": Split(135, None, "the movements that training holds no picture of"),
    },
    default_split="test",
    group="sam23",
    tasks=frozenset({"single_point", "text_to_mask"}),
    folders=("dram", "DRAM_processed", "DRAM_500", "DRAM"),
    paper=PaperUse("DRAM", "Test", 718, 1179),
    classes=tuple(_CLASSES.values()),
    gotchas=(
        "One mask a class and image, however many objects it shows.",
        "The same file name occurs under several artists: ids are paths below test/.",
        "PASCAL VOC classes outside the eleven are no masks; they are counted as other_class.",
        "The authors ignore 255 and foreign classes; here they are background, as the paper names no void pixels, "
        "unless --set dataset.void=true.",
    ),
    archives=(
        Archive(
            "DRAM_processed.zip",
            "DRAM_processed.rar, which holds paintings and labels",
            url="https://faculty.runi.ac.il/arik/site/artseg/DRAM_processed.zip",
        ),
    ),
    semantics=Semantics(
        void="With void=true, the value 255 and the classes of PASCAL VOC outside the eleven.",
        components="A class is one mask an image; with components=true each connected part of it is one.",
        dropped=tuple(f"PASCAL VOC {number}" for number in (1, 2, 6, 7, 11, 14, 18, 19, 20)),
    ),
)

_FOREIGN = tuple(number for number in range(1, 21) if number not in _CLASSES)
_VOID = 255
_MOVEMENTS = ("realism", "impressionism", "post_impressionism", "expressionism", "unseen")


class Dram(LabelFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        void: bool = False
        """Pixels of value 255 and of foreign classes count in neither clicks nor IoU."""
        components: bool = False
        """Each 8-connected part of a class is a mask."""
        min_area: MinArea = 1
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.split, self.options = split, options
        self._image_folder, self._label_folder = root / "test", root / "labels"

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        return first_place(root, CARD.folders, lambda at: all(_halves(at)), lambda at: any(_halves(at)))

    @override
    def image_file(self, id: str) -> Path:
        return self._images.get(id, self._image_folder / f"{id}.jpg")

    def _list(self) -> Listing:
        wanted = [id for id in self._names() if self._belongs(id)]
        unpack, missing = "unpack DRAM_processed.rar again", self.options.missing_images
        return self._list_files(f"dram {self.options}", unpack, missing, wanted=wanted)

    def _names(self) -> list[str]:
        """As the authors list them, else what is on disk."""
        path = self._image_folder / "dram_with_unseen.txt"
        return read_names(path, {".jpg", ".png"}) if path.is_file() else [*{**self._images, **self._labels}]

    def _belongs(self, id: str) -> bool:
        return self.split == "test" or id.startswith("unseen/") == (self.split == "test_unseen")

    def _read(self, path: Path, size: tuple[int, int] | None) -> GroundTruth:
        return read_class_map(
            path,
            size,
            _CLASSES,
            void=(*_FOREIGN, _VOID) if self.options.void else (),
            background=(0,) if self.options.void else (0, _VOID),
            ignored=() if self.options.void else _FOREIGN,
            colours=_COLOURS,
            split=self.options.components,
            min_area=self.options.min_area,
        )

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return _below(self._image_folder, ".jpg")

    @cached_property
    def _labels(self) -> Mapping[str, Path]:
        return _below(self._label_folder, ".png")


_COLOURS = {**voc_colours(21), 0xE0E0C0: _VOID}
"""Labels of the raw archive are in PASCAL VOC's colours; the cream of its outlines stands for void."""


def _halves(base: Path) -> tuple[bool, bool]:
    """Whether there are images, and labels."""
    images, labels = (any((base / half / name).is_dir() for name in _MOVEMENTS) for half in ("test", "labels"))
    return images, labels


def _below(folder: Path, ending: str) -> Mapping[str, Path]:
    return files_below(folder, ending) if folder.is_dir() else {}


PLUGIN = Dram
