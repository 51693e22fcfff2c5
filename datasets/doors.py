"""DOORS: rendered boulders on small bodies of the solar system, one boulder an image in DS1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sambench.readers.files import files_by_stem, first_place
from sambench.readers.images import SUFFIXES
from sambench.readers.label_files import LabelFileDataset, list_label_files
from sambench.readers.listing import Listing, MissingImages
from sambench.readers.mask_png import read_binary_masks
from sambench.readers.name_lists import read_names
from sambench.types import Archive, Card, GroundTruth, PaperUse, Semantics, Split

CARD = Card(
    name="doors",
    title="DOORS (Dataset fOr bOuldeRs Segmentation), DS1",
    citation="Pugliatti and Topputo, DOORS: Dataset fOr bOuldeRs Segmentation. Statistical properties and Blender "
    "setup, arXiv 2210.16253, 2022",
    url="https://zenodo.org/records/7107409",
    licence="CC BY 4.0",
    access="Download DOORS.zip from the address above (no login).\nUnpack it in DATA_ROOT/doors/.",
    layout="doors/\n  DOORS/Segmentation/DS1/DS/\n    img/NAME.png\n    mask/NAME.png              255 is the boulder\n"
    "    T.txt V.txt Te1.txt Te2.txt  an image name a line",
    kind="instance",
    splits={
        "DS1": Split(note="45,269 pairs; those with an empty mask (107 of the 80,452 in DS1 and DS2) are left out"),
        "DS1-T": Split(note="30,181 pairs, a few of them empty"),
        "DS1-V": Split(note="5,044 pairs, a few of them empty"),
        "DS1-Te1": Split(note="5,044 pairs, a few of them empty"),
        "DS1-Te2": Split(note="5,000 pairs, a few of them empty"),
        "DS2": Split(note="35,183 pairs; all boulders of an image in one mask, as far as is known"),
    },
    default_split="DS1",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("doors", "DOORS"),
    paper=PaperUse("DOORS", "DS1", 10000, 10000),
    classes=("boulder",),
    gotchas=(
        "Which 10,000 of DS1 the paper drew is unknown; Te1 and Te2 together (10,044 pairs) are near that number.",
        "Images have 128 x 128 pixels, little contrast, and are magnified eight times by models that take 1024.",
        "Only 255 is the boulder; pixels of other values are counted in the mask's attribute fainter_pixels.",
        "Folders and files of the archive have blanks in their names.",
    ),
    archives=(Archive("DOORS.zip", "all of DOORS"),),
    semantics=Semantics(components="A boulder is one mask, also where a shadow cuts it in pieces."),
)

_LISTS = ("T", "V", "Te1", "Te2")


class Doors(LabelFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        threshold: int = 255
        """Values of the mask file from this on are the boulder."""
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.options = options
        self._part, _, self._list_name = split.partition("-")
        self._folder = _folder(root, self._part)
        self._image_folder, self._label_folder = self._folder / "img", self._folder / "mask"

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        part = split.partition("-")[0]
        return first_place(
            root, CARD.folders, lambda at: any((_folder(at, part) / half).is_dir() for half in ("img", "mask"))
        )

    def _list(self) -> Listing:
        wanted = self._names()
        return list_label_files(
            self._images,
            {id: path for id in {*wanted, *self._images} if (path := self._label_file(id)).is_file()},
            self._count,
            f"doors threshold={self.options.threshold}",
            wanted=wanted,
            folder=self._folder,
            unpack="unzip DOORS.zip again",
            missing_images=self.options.missing_images,
        )

    def _names(self) -> list[str]:
        """Ids by the lists of names; where those are missing, by what is on disk (DS1 and DS2 only)."""
        lists = [self._folder / f"{name}.txt" for name in ([self._list_name] if self._list_name else _LISTS)]
        if self._list_name or all(path.is_file() for path in lists):
            return sorted({f"{self._part}/{name}" for path in lists for name in read_names(path, SUFFIXES)})
        return sorted({*self._images, *(f"{self._part}/{stem}" for stem in self._labels)})

    def _label_file(self, id: str) -> Path:
        """Of the image's name; else of that name with img turned into mask."""
        stem = id.partition("/")[2]
        swapped = self._labels.get(stem.replace("img", "mask"), self._label_folder / f"{stem}.png")
        return self._labels.get(stem, swapped)

    def _read(self, path: Path, size: tuple[int, int] | None) -> GroundTruth:
        files = {"boulder": path}
        return read_binary_masks(files, size, at_least=self.options.threshold, first_channel=True, class_name="boulder")

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        found = files_by_stem(self._image_folder, SUFFIXES, missing_ok=True)
        return {f"{self._part}/{stem}": path for stem, path in found.items()}


def _folder(base: Path, part: str) -> Path:
    """Where ``img`` and ``mask`` of DS1 or DS2 lie, at or below a folder that may be DOORS, Segmentation or DS1."""
    places = [base / inner for inner in (f"Segmentation/{part}/DS", f"{part}/DS", "DS")]
    return next((at for at in places if at.is_dir()), places[0])


PLUGIN = Doors
