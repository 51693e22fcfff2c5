"""Label maps as arrays: from one number a pixel to one mask a number, in a few passes over the picture.

What a number means, and which file it came from, is not known here; see :mod:`sambench.readers.mask_png`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sambench.core.mask import Mask

Labels = NDArray[Any]
"""``(H, W)`` of any integer type or bool: background, instance or class numbers."""


def values_of(labels: Labels) -> list[int]:
    """The numbers that occur in a label map, rising."""
    return [int(value) for value in np.unique(labels.ravel()[_run_starts(labels)])]


def masks_by_value(labels: Labels, drop: Collection[int] = (0,)) -> dict[int, Mask]:
    """One mask for each number that occurs, by rising number, but for those to ``drop``.

    One pass finds every number's window and only that is compared: 100 instances cost little more than one.
    """
    values, ranks = _ranked(labels, drop)
    if not values:
        return {}
    size = (labels.shape[0], labels.shape[1])
    found = {}
    for rank, (value, window) in enumerate(zip(values, ndimage.find_objects(ranks, len(values)), strict=True), start=1):
        rows, columns = window
        found[value] = Mask.from_window(size, rows.start, columns.start, ranks[window] == rank)
    return found


def components(mask: Mask, min_area: int = 1) -> list[Mask]:
    """The mask's 8-connected components of at least ``min_area`` pixels, in the order of their first pixels (rows
    from the top, then columns)."""
    if not mask.area:
        return []
    ranks, count = ndimage.label(mask.window, np.ones((3, 3), np.bool_))
    parts = []
    for rank, (rows, columns) in enumerate(ndimage.find_objects(ranks, count), start=1):
        window = ranks[rows, columns] == rank
        part = Mask.from_window(mask.size, mask.top + rows.start, mask.left + columns.start, window)
        if part.area >= min_area:
            parts.append(part)
    return parts


def commonest(labels: Labels, mask: Mask) -> int | None:
    """The positive number that most of the mask's pixels carry in ``labels`` ``(H, W)``, the smallest of several;
    None if none carries one."""
    x0, y0, x1, y1 = mask.box
    inside = labels[y0:y1, x0:x1][mask.window]
    values, counts = np.unique(inside[inside > 0], return_counts=True)
    return int(values[counts.argmax()]) if len(values) else None


def voc_colours(count: int) -> dict[int, int]:
    """The colours that PASCAL VOC gives to classes 0 to ``count`` - 1 (its development kit, VOClabelcolormap):
    by colour code (see :func:`sambench.readers.images.read_codes`) the class number."""
    colours = {}
    for number in range(count):
        red = green = blue = 0
        for bit in range(8):
            red |= (number >> (3 * bit) & 1) << (7 - bit)
            green |= (number >> (3 * bit + 1) & 1) << (7 - bit)
            blue |= (number >> (3 * bit + 2) & 1) << (7 - bit)
        colours[red << 16 | green << 8 | blue] = number
    return colours


def _ranked(labels: Labels, drop: Collection[int]) -> tuple[list[int], NDArray[np.int32]]:
    """The numbers that occur and are not dropped, rising, and ``(H, W)`` of their ranks from 1 on, 0 for dropped.

    Sorts the first pixels of runs, not all pixels: a label map holds a hundred times fewer.
    """
    starts = _run_starts(labels)
    values, inverse = np.unique(labels.ravel()[starts], return_inverse=True)
    kept = np.array([int(value) not in drop for value in values], np.bool_)
    rank_of = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    ranks = np.repeat(rank_of[inverse], np.diff(np.append(starts, labels.size)))
    return [int(value) for value in values[kept]], ranks.reshape(labels.shape)


def _run_starts(labels: Labels) -> NDArray[np.intp]:
    """Where, in row-major order, the number differs from the one before; the first pixel too."""
    flat = labels.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return np.concatenate(([0], changes)) if flat.size else changes
