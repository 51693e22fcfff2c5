"""Intersection over union, counted as integers in bounding-box windows."""

from __future__ import annotations

import numpy as np

from sambench.core.mask import Mask


def counts(a: Mask, b: Mask, void: Mask | None = None) -> tuple[int, int]:
    """Count the pixels of the intersection and the union of two masks.

    Args:
        a: A mask.
        b: A mask of the same image.
        void: Pixels that count in neither.

    Returns:
        ``(intersection, union)`` in pixels.

    Raises:
        ValueError: The sizes differ.
    """
    if a.size != b.size or (void is not None and void.size != a.size):
        raise ValueError(f"masks of different images: {a.size} and {b.size}")
    ax0, ay0, ax1, ay1 = a.box
    bx0, by0, bx1, by1 = b.box
    x0, y0, x1, y1 = max(ax0, bx0), max(ay0, by0), min(ax1, bx1), min(ay1, by1)
    if void is None or void.area == 0:
        inter = 0
        if x0 < x1 and y0 < y1:
            inter = int(
                np.count_nonzero(
                    a.window[y0 - ay0 : y1 - ay0, x0 - ax0 : x1 - ax0]
                    & b.window[y0 - by0 : y1 - by0, x0 - bx0 : x1 - bx0]
                )
            )
        return inter, a.area + b.area - inter
    inter = (
        int(np.count_nonzero(a.crop(y0, x0, y1, x1) & b.crop(y0, x0, y1, x1) & ~void.crop(y0, x0, y1, x1)))
        if x0 < x1 and y0 < y1
        else 0
    )
    return inter, area_outside(a, void) + area_outside(b, void) - inter


def area_outside(mask: Mask, void: Mask | None) -> int:
    """Count the foreground pixels of ``mask`` that are not void."""
    if void is None:
        return mask.area
    x0, y0, x1, y1 = mask.box
    return mask.area - int(np.count_nonzero(mask.window & void.crop(y0, x0, y1, x1)))


def iou(a: Mask, b: Mask, void: Mask | None = None) -> float:
    """Compute the intersection over union of two masks.

    Args:
        a: A mask.
        b: A mask of the same image.
        void: Pixels that count in neither.

    Returns:
        A fraction; 0.0 when both masks are empty (an empty answer is not an answer, protocol §2.6).

    Raises:
        ValueError: The sizes differ.
    """
    inter, union = counts(a, b, void)
    return inter / union if union else 0.0
