"""BSDS500: photographs with boundaries drawn by several people, and the benchmark of edge detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sambench.errors import DataError
from sambench.readers.files import candidates, files_by_stem
from sambench.readers.images import image_size, read_image
from sambench.readers.matlab import cells, field, read_variable, shape_of
from sambench.types import Card, Dataset, GroundTruth, IndexEntry, NoOptions, Sample, Split

CARD = Card(
    name="bsds500",
    title="BSDS500 (Berkeley Segmentation Data Set and Benchmarks 500)",
    citation="Arbelaez, Maire, Fowlkes, Malik, Contour Detection and Hierarchical Image Segmentation, "
    "IEEE TPAMI 33(5), 2011",
    url="https://github.com/BIDS/BSDS500",
    licence="non-commercial research and education (the original page's terms; the mirror has no licence file)",
    access="The original download is gone; the January 2013 release is mirrored, no login:\n"
    "git clone https://github.com/BIDS/BSDS500 DATA_ROOT/BSDS500",
    layout="BSDS500/                       (or BSR/BSDS500/, as in BSR_bsds500.tgz; or data/ itself)\n"
    "  BSDS500/data/\n"
    "    images/{train,val,test}/100007.jpg\n"
    "    groundTruth/{train,val,test}/100007.mat",
    kind="semantic",
    splits={
        # What stands as masks are the segmentations, one a person: their boundaries are the truth.
        "test": Split(200, 1063, "4 to 8 people an image"),
        "val": Split(100, 546, "5 to 8 people an image"),
        "train": Split(200, 1087, "4 to 9 people an image"),
    },
    default_split="test",
    group="reference",
    tasks=frozenset({"edges"}),
    folders=("bsds500", "BSR", "BSR_bsds500"),
    published_as={"edges": "BSDS500 test"},
    gotchas=(
        "The paper speaks of five annotators an image; there are 4 to 9, and all of them count.",
        "Boundaries are the stored maps, one pixel wide; made again from the segmentations they would be thicker.",
        "Flat images/ and groundTruth/ without splits (the benchmark's own bench/data) are taken as the test split.",
    ),
)

_LEVELS = ("", "data", "BSDS500/data", "BSR/BSDS500/data")
_VARIABLE = "groundTruth"


class Bsds500(Dataset):
    card = CARD

    def __init__(self, root: Path, split: str, options: NoOptions) -> None:
        self.root, self._split = root, split

    @classmethod
    def locate(cls, root: Path, split: str, options: NoOptions) -> Path | None:
        for base in candidates(root, CARD.folders):
            for level in _LEVELS:
                if _folder(base / level, _VARIABLE, split) is not None:
                    return base / level
        return None

    def index(self) -> Sequence[IndexEntry]:
        """Every image that has a photograph or a truth; if either is missing or unreadable, the run meets it and lists
        it. The number of masks is that of the people who segmented the image."""
        return [IndexEntry(id, self._people(id)) for id in sorted({*self._images, *self._truths})]

    def load(self, id: str) -> Sample:
        path = self.image_file(id)
        if id not in self._truths:
            raise DataError(f"{path}: has no ground truth {self._at(_VARIABLE) / f'{id}.mat'}")
        # A folder of predictions can be scored without the photographs.
        size = image_size(path) if id in self._images else _boundaries(self._truths[id])[0].shape
        truth = partial(_truth, self._truths[id], (size[0], size[1]))
        return Sample(id, (size[0], size[1]), partial(read_image, path), truth)

    @override
    def image_file(self, id: str) -> Path:
        """The photograph of an id of the index: where it lies, or ought to."""
        return self._images.get(id) or self._at("images") / f"{id}.jpg"

    def _people(self, id: str) -> int:
        try:
            shape = shape_of(self._truths[id], _VARIABLE)
        except (KeyError, DataError):
            return 1
        return max(1, int(np.prod(shape)))

    def _at(self, kind: str) -> Path:
        return _folder(self.root, kind, self._split) or self.root / kind / self._split

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return files_by_stem(self._at("images"), {".jpg"}, missing_ok=True)

    @cached_property
    def _truths(self) -> Mapping[str, Path]:
        return files_by_stem(self._at(_VARIABLE), {".mat"})


def _folder(base: Path, kind: str, split: str) -> Path | None:
    """The folder of a kind of file (``images``, ``groundTruth``) of a split, or None."""
    if (base / kind / split).is_dir():
        return base / kind / split
    flat = base / kind
    return flat if split == "test" and next(flat.glob("*.mat" if kind == _VARIABLE else "*.jpg"), None) else None


def _boundaries(path: Path) -> list[NDArray[np.bool_]]:
    """The boundary map of each person, ``(H, W)`` bool, all of one size. Raises DataError."""
    maps = []
    for number, person in enumerate(cells(read_variable(path, _VARIABLE), f"{path}: variable {_VARIABLE}"), start=1):
        what = f"{path}: {_VARIABLE}{{{number}}}"
        boundaries = field(person, "Boundaries", what)
        if not isinstance(boundaries, np.ndarray) or boundaries.ndim != 2 or not np.isin(boundaries, (0, 1)).all():
            raise DataError(f"{what}.Boundaries is not a map of zeros and ones")
        maps.append(boundaries != 0)
    sizes = {boundaries.shape for boundaries in maps}
    if len(sizes) != 1:
        raise DataError(f"{path}: {_VARIABLE} holds {'maps of several sizes' if sizes else 'no segmentation'}")
    return maps


def _truth(path: Path, size: tuple[int, int]) -> GroundTruth:
    maps = _boundaries(path)
    height, width = maps[0].shape
    if (height, width) != size:
        raise DataError(
            f"{path}: boundaries of {height} x {width}, its image is {size[0]} x {size[1]} (height x width)"
        )
    return GroundTruth((), boundaries=tuple(maps))


PLUGIN = Bsds500
