"""The compiled inner loops of edge maps: the gradient along a mask's boundary, and non-maximum suppression.

No ``fastmath`` and no ``parallel``: the same input gives the same bits on one thread or many.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sambench.numba_cache import compiled

REPLICATE, REFLECT, ZERO = 0, 1, 2
"""What the Sobel filter sees beyond the image."""


@compiled
def _beyond(i: int, n: int, padding: int) -> int:
    """Where a place -1, ..., n of an axis is looked up; -1: nowhere, the value is 0."""
    if 0 <= i < n:
        return i
    if padding == ZERO:
        return -1
    if padding == REFLECT and n > 1:
        return 1 if i < 0 else n - 2
    return 0 if i < 0 else n - 1


@compiled
def _at(values: NDArray[np.float32], y: int, x: int, padding: int) -> float:
    y = _beyond(y, values.shape[0], padding)
    x = _beyond(x, values.shape[1], padding)
    return 0.0 if y < 0 or x < 0 else float(values[y, x])


@compiled
def _sobel(values: NDArray[np.float32], y: int, x: int, padding: int) -> np.float32:
    """The magnitude of the 3x3 Sobel gradient."""
    gx = gy = 0.0
    for d in range(-1, 2):
        weight = 2 - abs(d)
        gx += weight * (_at(values, y + d, x + 1, padding) - _at(values, y + d, x - 1, padding))
        gy += weight * (_at(values, y + 1, x + d, padding) - _at(values, y - 1, x + d, padding))
    return np.float32(math.sqrt(gx * gx + gy * gy))


@compiled
def _touches(region: NDArray[np.bool_], y: int, x: int, value: bool) -> bool:
    """One of the (up to) eight neighbours has the value."""
    for v in range(max(y - 1, 0), min(y + 2, region.shape[0])):
        for u in range(max(x - 1, 0), min(x + 2, region.shape[1])):
            if region[v, u] == value and (v != y or u != x):
                return True
    return False


@compiled
def draw_boundary(
    strength: NDArray[np.float32],
    top: int,
    left: int,
    probability: NDArray[np.float32],
    region: NDArray[np.bool_],
    outer: bool,
    inner: bool,
    padding: int,
) -> None:
    """Raises ``strength``, ``(H, W)``, to the Sobel magnitude of ``probability`` along the boundary of ``region``.

    ``probability`` and ``region``: ``(h, w)``, the window at ``(top, left)``, which reaches two pixels beyond the
    region or to the border of the image.
    """
    height, width = region.shape
    for y in range(height):
        for x in range(width):
            drawn = (
                (inner and _touches(region, y, x, False)) if region[y, x] else (outer and _touches(region, y, x, True))
            )
            if drawn:
                magnitude = _sobel(probability, y, x, padding)
                if magnitude > strength[top + y, left + x]:
                    strength[top + y, left + x] = magnitude


@compiled
def _between(values: NDArray[np.float32], y: float, x: float) -> float:
    """Bilinear, inside the image."""
    height, width = values.shape
    # The toolbox stops a thousandth of a pixel before the last row and column.
    y = max(min(y, height - 1.001), 0.0)
    x = max(min(x, width - 1.001), 0.0)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    dy, dx = y - y0, x - x0
    upper = values[y0, x0] * (1 - dx) + values[y0, x1] * dx
    lower = values[y1, x0] * (1 - dx) + values[y1, x1] * dx
    return float(upper * (1 - dy) + lower * dy)


@compiled
def suppress(
    strength: NDArray[np.float32],
    down: NDArray[np.float64],
    right: NDArray[np.float64],
    radius: int,
    multiplier: float,
    border: int,
) -> NDArray[np.float32]:
    """The thinned map, ``(H, W)``. ``down``, ``right``: the direction across the edge at each pixel, of any length;
    of none, it is along the row."""
    height, width = strength.shape
    thinned = strength.copy()
    for y in range(height):
        for x in range(width):
            own = strength[y, x] * multiplier
            if own == 0:
                continue
            length = math.sqrt(down[y, x] * down[y, x] + right[y, x] * right[y, x])
            dy, dx = (down[y, x] / length, right[y, x] / length) if length > 0 else (0.0, 1.0)
            for step in range(1, radius + 1):
                if own < _between(strength, y + step * dy, x + step * dx) or own < _between(
                    strength, y - step * dy, x - step * dx
                ):
                    thinned[y, x] = 0
                    break
    border = min(border, height // 2, width // 2)
    for i in range(border):
        fade = np.float32(i / border)
        thinned[i] *= fade
        thinned[height - 1 - i] *= fade
        thinned[:, i] *= fade
        thinned[:, width - 1 - i] *= fade
    return thinned
