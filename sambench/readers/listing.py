"""From what is annotated and what is on disk to the index of a split."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from sambench.core.dataset import Dataset, GroundTruth, IndexEntry, Sample
from sambench.errors import DataError, UsageError
from sambench.readers.files import files_by_stem
from sambench.readers.images import SUFFIXES, image_size, read_image

MissingImages = Annotated[
    Literal["error", "exclude"],
    "Images annotated but not on disk: `error` stops with their number; `exclude` leaves them out and counts them.",
]
MinArea = Annotated[int, "Leave out, and count, masks of fewer pixels."]


@dataclass(frozen=True)
class ListingOptions:
    missing_images: MissingImages = "error"


@dataclass(frozen=True)
class Listing:
    """``entries``: sorted by id. ``excluded``: images left out, by rule."""

    entries: tuple[IndexEntry, ...]
    excluded: Mapping[str, int]


class ListedDataset(Dataset):
    """The part of a dataset plugin that a :class:`Listing` answers. The plugin makes it in ``_list``, on first use:
    loading a sample needs none."""

    def _list(self) -> Listing:
        raise NotImplementedError

    @cached_property
    def _listing(self) -> Listing:
        return self._list()

    @property
    def excluded(self) -> Mapping[str, int]:
        """Images left out of the index, by rule."""
        return self._listing.excluded

    def index(self) -> Sequence[IndexEntry]:
        return self._listing.entries


class ImageFileDataset(ListedDataset):
    """The same, of images that are single files, whose headers give the sizes of samples. The plugin sets
    ``_image_folder``, overrides ``_images`` (by id) or :meth:`image_file` where that is not all there is to say, and
    reads what is annotated in ``_truth``, or makes a reader of it in ``_truth_of``."""

    _image_folder: Path

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return files_by_stem(self._image_folder, SUFFIXES, missing_ok=True)

    def load(self, id: str) -> Sample:
        path = self.image_file(id)
        size = image_size(path)
        return Sample(id, size, partial(read_image, path), self._truth_of(id, size), self._attributes(id))

    def image_file(self, id: str) -> Path:
        """The file of an image, or the path where it should be. Raises DataError if nobody knows where."""
        if id not in self._images:
            raise DataError(f"{self._image_folder}: no image {id}")
        return self._images[id]

    def _truth_of(self, id: str, size: tuple[int, int]) -> Callable[[], GroundTruth]:
        return partial(self._truth, id, size)

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        raise NotImplementedError

    def _attributes(self, id: str) -> Mapping[str, Any]:
        """Of the sample."""
        return {}


def list_images(
    n_masks: Mapping[str, int],
    present: Container[str],
    *,
    labels: Path,
    unpack: str,
    missing_images: str = "error",
) -> Listing:
    """The index of what is annotated (masks by image id) and of the ids whose image is on disk.

    Images without a mask are left out as ``no_mask``; those without a file as ``missing_image``, if
    ``missing_images`` says so and not all are gone. ``labels``: where the annotation lies; ``unpack``: how to mend
    that images are missing, both for messages. Raises UsageError: images missing, ids that differ in letter case only.
    """
    by_case: dict[str, str] = {}
    for id in sorted(n_masks):
        twin = by_case.setdefault(id.casefold(), id)
        if twin != id:
            raise UsageError(f"{labels}: images {twin} and {id} differ in letter case only; rename one, or drop it")
    missing = [id for id in sorted(n_masks) if id not in present]
    if missing and len(missing) == len(n_masks):
        raise UsageError(f"{labels}: labels are there, images are not (first: {missing[0]}): {unpack}")
    if missing and missing_images == "error":
        raise UsageError(
            f"{labels}: {len(missing)} of {len(n_masks)} images are missing (first: {missing[0]}): {unpack}, "
            "or leave them out with --set dataset.missing_images=exclude"
        )
    gone = set(missing)
    entries = tuple(IndexEntry(id, n_masks[id]) for id in sorted(n_masks) if n_masks[id] and id not in gone)
    excluded = {"missing_image": len(missing), "no_mask": len(n_masks) - len(missing) - len(entries)}
    return Listing(entries, {rule: count for rule, count in excluded.items() if count})


def count_masks(count: Callable[[], int]) -> int:
    """What ``count`` answers. A file of one image that cannot be read counts as one mask, so that the run meets it
    and lists it among the failed samples."""
    try:
        return count()
    except DataError:
        return 1
