"""Masks stored as picture files: one binary picture an instance, or one label map an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from sambench.readers.images import read_labels
from sambench.types import GroundTruth, Instance, Mask

NO_VOID = -1


def label_values(path: Path, void: int = NO_VOID) -> list[int]:
    """The instance numbers in a label map: every value but 0 (background) and ``void``, rising. Raises DataError."""
    return [int(value) for value in np.unique(read_labels(path)) if int(value) not in (0, void)]


def read_label_map(path: Path, size: tuple[int, int], void: int = NO_VOID) -> GroundTruth:
    """One file for all instances of an image: 0 is background, each other value one instance with that number as id.

    ``size``: ``(H, W)`` of the image. ``void``: the value of pixels that count for nothing. Raises DataError.
    """
    labels = read_labels(path, size)
    instances = tuple(
        Instance(id=str(value), mask=Mask.from_dense(labels == value))
        for value in map(int, np.unique(labels))
        if value not in (0, void)
    )
    ignored = Mask.from_dense(labels == void) if void != NO_VOID else Mask.empty(size)
    return GroundTruth(instances, void=ignored if ignored.area else None)


def read_binary_masks(
    files: Mapping[str, Path] | Iterable[tuple[str, Path]],
    size: tuple[int, int],
    *,
    void: int = NO_VOID,
    min_area: int = 1,
    first_channel: bool = False,
    class_name: str | None = None,
) -> GroundTruth:
    """One file an instance, by instance id: any value but 0 (and ``void``) is foreground.

    ``min_area``: masks of fewer pixels are dropped and counted as ``below_min_area``; those without a pixel always,
    as ``empty_mask``. ``first_channel``: see :func:`read_labels`. Raises DataError.
    """
    instances = []
    dropped = {"empty_mask": 0, "below_min_area": 0}
    ignored = np.zeros(size, np.bool_) if void != NO_VOID else None
    for id, path in dict(files).items():
        labels = read_labels(path, size, first_channel=first_channel)
        if ignored is not None:
            ignored |= labels == void
            labels = (labels != 0) & (labels != void)
        mask = Mask.from_dense(labels)
        if mask.area < max(min_area, 1):
            dropped["below_min_area" if mask.area else "empty_mask"] += 1
            continue
        instances.append(Instance(id=id, mask=mask, class_name=class_name))
    return GroundTruth(
        tuple(instances),
        void=Mask.from_dense(ignored) if ignored is not None and ignored.any() else None,
        dropped={rule: count for rule, count in dropped.items() if count},
    )
