"""From what is annotated and what is on disk to the index of a split."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from sambench.core.dataset import Dataset, IndexEntry
from sambench.errors import DataError, UsageError

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
        """As in :func:`list_images`."""
        return self._listing.entries


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
