"""Conversions of masks: windows, run-length codes, polygons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from sambench.core.mask import Mask


def to_rle(mask: Mask) -> dict[str, Any]:
    """Encode a mask of the whole image as COCO's compressed run-length code.

    Returns:
        ``{"size": [H, W], "counts": str}``, column-major.
    """
    code = coco.encode(np.asfortranarray(mask.dense().view(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}


def from_rle(code: dict[str, Any]) -> Mask:
    """Decode COCO's run-length code.

    Args:
        code: ``{"size": [H, W], "counts": ...}``, column-major; ``counts`` is compressed (text or bytes) or a list of
            run lengths, background first.

    Raises:
        ValueError: A malformed code: ``size`` missing, or runs that do not add up to H·W.
    """
    try:
        height, width = (int(v) for v in code["size"])
        counts = code["counts"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("a run-length code needs 'size': [height, width] and 'counts'") from error
    if height < 0 or width < 0:
        raise ValueError(f"run-length size [{height}, {width}] is negative")
    if isinstance(counts, list):
        runs = np.asarray(counts, dtype=np.int64)
        if runs.ndim != 1 or (runs < 0).any():
            raise ValueError("run lengths must be non-negative integers")
    else:
        runs = _decompress(counts.encode("ascii") if isinstance(counts, str) else bytes(counts))
    if int(runs.sum()) != height * width:
        raise ValueError(f"run lengths add up to {int(runs.sum())}, not to {height} x {width} = {height * width}")
    return _of_runs(runs, (height, width))


def from_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Mask:
    """Rasterise the union of polygons as the COCO API does (maskApi.c).

    Args:
        polygons: ``[x1, y1, x2, y2, ...]`` each, in pixels. Polygons of fewer than three points have no area and are
            left out (the API would take four numbers for a box).
        size: ``(H, W)`` of the image.

    Raises:
        ValueError: A polygon with an odd number of coordinates, or one that is not finite.
    """
    height, width = size
    usable = [[float(v) for v in polygon] for polygon in polygons if len(polygon) >= 6]
    if any(len(polygon) % 2 for polygon in usable):
        raise ValueError("a polygon has an odd number of coordinates")
    if not all(np.isfinite(polygon).all() for polygon in usable):
        raise ValueError("a polygon has a coordinate that is not a number")
    if not usable:
        return Mask.empty(size)
    return _of_runs(_decompress(coco.merge(coco.frPyObjects(usable, height, width))["counts"]), size)


def _of_runs(runs: np.ndarray[Any, np.dtype[np.int64]], size: tuple[int, int]) -> Mask:
    """From run lengths, column by column, background first. Only columns with foreground are laid out: most objects
    are small beside their image."""
    ends = np.cumsum(runs)
    inside = np.flatnonzero(runs[1::2]) * 2 + 1
    if inside.size == 0:
        return Mask.empty(size)
    height = size[0]
    first = int(ends[inside[0] - 1]) // height
    stop = (int(ends[inside[-1]]) - 1) // height + 1
    edges = np.clip(ends, first * height, stop * height)
    values = np.zeros(len(runs), np.bool_)
    values[1::2] = True
    window = np.repeat(values, np.diff(edges, prepend=first * height)).reshape(stop - first, height).T
    return Mask.from_window(size, 0, first, window)


def _decompress(counts: bytes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """COCO's compressed counts to run lengths (maskApi.c, rleFrString), refusing what does not end properly:
    pycocotools itself reads past the end of such a text."""
    if not counts:
        return np.zeros(0, np.int64)
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if (codes < 0).any() or (codes > 63).any():
        raise ValueError("the compressed run lengths hold a character that is not of the code")
    last = (codes & 0x20) == 0
    if not last[-1]:
        raise ValueError("the compressed run lengths end in the middle of a number")
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    lengths = np.diff(np.append(starts, len(codes)))
    if lengths.max() > 12:
        raise ValueError("the compressed run lengths hold a number that is too large")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 0x1F) << shifts, starts)
    runs -= np.where(codes[last] & 0x10, 1 << (5 * lengths), 0)
    # From the fourth on, a number is the difference to the run two places before.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if (runs < 0).any():
        raise ValueError("the compressed run lengths hold a negative run")
    return runs
