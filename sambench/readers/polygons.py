"""Outlines of vertices to masks, drawn in the window that holds them: photographs may have many megapixels.

Two rasterisers, because authors differ: :func:`outline_mask` fills what the line encloses (the COCO API's rule, for
outlines that come without a program to draw them), :func:`filled_mask` draws as ``cv2.fillPoly`` does (for datasets
whose own tools call it). The second also paints the pixels under the line itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sambench import masks
from sambench.core.mask import Mask

Ring = NDArray[np.float64]
"""``(P, 2)`` vertices xy in pixels of the image, closed from the last to the first."""

MIN_POINTS = 3
"""Fewer vertices enclose nothing."""


def ring(points: Any) -> Ring:
    """From ``[[x, y], ...]``. Raises ValueError if that is not what it is, or a coordinate is no finite number."""
    if not isinstance(points, list):
        raise ValueError(f"an outline must be a list of points [x, y], not {type(points).__name__}")
    if not points:
        return np.zeros((0, 2))
    try:
        vertices = np.asarray(points)
    except ValueError:  # points of different lengths
        vertices = np.zeros(0)
    if vertices.ndim != 2 or vertices.shape[1] != 2 or vertices.dtype.kind not in "iuf":
        raise ValueError("an outline must be a list of points [x, y], each two numbers")
    vertices = vertices.astype(np.float64)
    if not np.isfinite(vertices).all():
        raise ValueError("an outline has a coordinate that is not a number")
    return vertices


def outline_mask(outline: Ring, size: tuple[int, int]) -> Mask:
    """What one outline encloses, by the COCO API's rule, clipped to the image of ``size`` ``(H, W)``.

    Where the outline crosses itself, parts that it encloses twice lie outside. Raises ValueError as
    :func:`require_near`.
    """
    if len(outline) < MIN_POINTS:
        return Mask.empty(size)
    require_near(outline, size)
    # Moved by whole pixels, so that no rounding changes.
    left, top = (int(v) for v in np.floor(outline.min(axis=0)))
    right, bottom = (int(v) + 1 for v in np.ceil(outline.max(axis=0)))
    drawn = masks.from_polygons([(outline - (left, top)).ravel().tolist()], (bottom - top, right - left))
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(bottom, size[0]), min(right, size[1])
    if y0 >= y1 or x0 >= x1:
        return Mask.empty(size)
    return Mask.from_window(size, y0, x0, drawn.crop(y0 - top, x0 - left, y1 - top, x1 - left))


def filled_mask(outlines: Sequence[Ring], size: tuple[int, int]) -> Mask:
    """All outlines of an object as one call of ``cv2.fillPoly``: vertices cut to whole pixels (towards zero), the line
    included, an outline within another is a hole (even-odd). Outlines of fewer than three points are left out.

    ``size``: ``(H, W)`` of the image, to which the mask is clipped. Raises ValueError as :func:`require_near`.
    """
    usable = [outline for outline in outlines if len(outline) >= MIN_POINTS]
    for outline in usable:
        require_near(outline, size)
    whole = [np.trunc(outline).astype(np.int32) for outline in usable]
    if not whole:
        return Mask.empty(size)
    every = np.concatenate(whole)
    left, top = (int(v) for v in np.maximum(every.min(axis=0), 0))
    right, bottom = (int(v) + 1 for v in np.minimum(every.max(axis=0), (size[1] - 1, size[0] - 1)))
    if left >= right or top >= bottom:
        return Mask.empty(size)
    window = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(window, [outline - np.array((left, top), np.int32) for outline in whole], (1,))
    return Mask.from_window(size, top, left, window)


def require_near(outline: Ring, size: tuple[int, int]) -> None:
    """Outlines may reach over the border. One that lies an image away belongs to another image or scale, and the
    rasteriser's memory grows with it: ValueError."""
    height, width = size
    low, high = outline.min(axis=0), outline.max(axis=0)
    for axis, name, extent in ((0, "x", width), (1, "y", height)):
        for value in (low[axis], high[axis]):
            if not -extent <= value <= 2 * extent:
                raise ValueError(f"an outline reaches to {name} = {value:g}, the image is {width} x {height} (w x h)")
