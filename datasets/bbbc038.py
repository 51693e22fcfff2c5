"""BBBC038v1: nuclei under the microscope, the training images of the 2018 Data Science Bowl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers.files import files_by_stem, first_place, list_folder
from sambench.readers.images import SUFFIXES
from sambench.readers.listing import ImageFileDataset, Listing, MinArea
from sambench.readers.mask_png import read_binary_masks
from sambench.types import Archive, Card, GroundTruth, IndexEntry, PaperUse, Semantics, Split

CARD = Card(
    name="bbbc038",
    title="BBBC038v1 (2018 Data Science Bowl nuclei)",
    citation="Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl, "
    "Nature Methods 16, 2019",
    url="https://bbbc.broadinstitute.org/BBBC038",
    licence="CC0 1.0",
    access="Download https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip (no login).\n"
    "Unpack it as DATA_ROOT/bbbc038/stage1_train/.",
    layout="bbbc038/\n  stage1_train/                (or the id folders at top level)\n    ID/images/ID.png\n"
    "    ID/masks/*.png             one file a nucleus",
    kind="instance",
    splits={
        "stage1_train": Split(670, None, "about 29,450 masks; the community-corrected tree: 664 images, 28,986 masks")
    },
    default_split="stage1_train",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("bbbc038", "BBBC038", "BBBC038v1", "bbbc038v1", "data-science-bowl-2018"),
    paper=PaperUse("BBBC038v1", "Train", 227, 10506),
    classes=("nucleus",),
    gotchas=(
        "The original set has a few merged, shifted or missed nuclei; the paper names only 'Train', so it is used.",
        "The community-corrected tree has the same layout and is taken as it is.",
        "About 30,000 small files: keep them on a local disk.",
        "stage1_test has no mask files; it is no split here.",
    ),
    archives=(
        Archive(
            "stage1_train.zip",
            "images and masks",
            into="stage1_train",
            url="https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",
            splits=("stage1_train",),
        ),
    ),
    semantics=Semantics(
        components="A file is one nucleus and one mask.",
        overlaps=True,
    ),
)


class BBBC038(ImageFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        min_area: MinArea = 1

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.root, self.options = root, options
        self._folder = next((at for at in _places(root, split) if at.is_dir()), root)

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        return first_place(
            root,
            CARD.folders,
            lambda base: any((folder / "masks").is_dir() for at in _places(base, split) for folder in _id_folders(at)),
        )

    def _list(self) -> Listing:
        bare = [folder for folder in self._ids.values() if not (folder / "masks").is_dir()]
        if bare:
            raise UsageError(
                f"{len(bare)} of {len(self._ids)} images have no masks, as in stage1_test; first: {bare[0]}"
            )
        return Listing(tuple(IndexEntry(id, len(self._masks(id))) for id in self._ids), {})

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        least, name = self.options.min_area, "nucleus"
        return read_binary_masks(self._masks(id), size, min_area=least, first_channel=True, class_name=name)

    @override
    def image_file(self, id: str) -> Path:
        """The image of an id. Raises DataError unless its folder holds exactly one."""
        if id not in self._ids:
            raise DataError(f"{self._folder}: no image {id}")
        images = files_by_stem(self._ids[id] / "images", SUFFIXES)
        if len(images) != 1:
            raise DataError(f"{self._ids[id] / 'images'}: holds {len(images)} images, expected one")
        return next(iter(images.values()))

    def _masks(self, id: str) -> Mapping[str, Path]:
        return files_by_stem(self._ids[id] / "masks", SUFFIXES)

    @cached_property
    def _ids(self) -> Mapping[str, Path]:
        return {folder.name: folder for folder in sorted(_id_folders(self._folder))}


def _places(base: Path, split: str) -> tuple[Path, ...]:
    """Where the id folders may lie, as the zip was unpacked in a folder of its name, or not, and holds one, or not."""
    return (base / split / split, base / split, base)


def _id_folders(at: Path) -> Iterator[Path]:
    """Folders named by 64 hexadecimal digits that hold a folder ``images``; nothing else belongs to the set."""
    for name in sorted(list_folder(at)) if at.is_dir() else ():
        if len(name) == 64 and set(name) <= set("0123456789abcdef") and (at / name / "images").is_dir():
            yield at / name


PLUGIN = BBBC038
