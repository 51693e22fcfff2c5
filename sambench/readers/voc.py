"""What PASCAL VOC and the sets made from it share: the twenty classes, and the form in which they lie on disk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from sambench.core.dataset import GroundTruth
from sambench.errors import DataError, UsageError
from sambench.readers.files import files_by_stem
from sambench.readers.label_files import count_in_files
from sambench.readers.listing import ImageFileDataset, Listing, ListingOptions, list_images
from sambench.readers.name_lists import read_names

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""Class number n is the n-th of these, counted from 1; 0 is background."""


class VocDataset(ImageFileDataset):
    """The part of a dataset plugin that the form answers: a list of names, and for each a photograph and a file of
    instances. The plugin says where they lie and how a file of instances (``_suffix``) is read and counted."""

    options: ListingOptions
    _names_file: Path
    _label_folder: Path
    _suffix: str
    _archive: str

    def _read(self, path: Path, size: tuple[int, int]) -> GroundTruth:
        raise NotImplementedError

    def _count(self, path: Path) -> int:
        raise NotImplementedError

    def image_file(self, id: str) -> Path:
        return self._image_folder / f"{id}.jpg"

    def _list(self) -> Listing:
        names = read_names(self._names_file, ())
        bare = [id for id in names if id not in self._labels]
        if bare:
            raise UsageError(
                f"{self._label_folder}: {len(bare)} of {len(names)} images of {self._names_file.name} have no mask "
                f"file (first: {bare[0]}): unpack {self._archive} again"
            )
        return list_images(
            count_in_files({id: self._labels[id] for id in names}, self._count, self.card.name),
            files_by_stem(self._image_folder, {".jpg"}, missing_ok=True),
            labels=self._label_folder,
            unpack=f"unpack {self._archive} so that {self._image_folder} is there",
            missing_images=self.options.missing_images,
        )

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        if id not in self._labels:
            raise DataError(f"{self._label_folder}: no mask file of image {id}")
        return self._read(self._labels[id], size)

    @cached_property
    def _labels(self) -> Mapping[str, Path]:
        if not self._label_folder.is_dir():
            raise UsageError(f"{self._label_folder}: lists are there, masks are not: unpack {self._archive} again")
        return files_by_stem(self._label_folder, {self._suffix})
