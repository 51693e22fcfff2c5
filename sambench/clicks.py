"""Prompts made from ground truth: simulated clicks.

The clicker follows RITM's (``isegm/inference/clicker.py``; protocol §2.4), which every public re-implementation
copies: missed and wrong area are transformed separately, each padded by one ring of zeros so that the border of the
image counts as boundary; pixels already clicked are out; the larger distance wins, a tie is a negative click; among
equal maxima the first in row order is taken. RITM transforms the full image; the padded window of a region gives the
same pixel, since clamping any pixel outside the window to its ring brings a background pixel no farther away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Mask
from sambench.core.model import Click

_EXACT_IN_FLOAT32 = 2000.0
"""Up to this distance (pixels) float32 tells the square roots of neighbouring integers apart."""

_CHAMFER_LOW, _CHAMFER_HIGH = 0.98249, 1.01920
"""OpenCV's 5x5 chamfer distance (steps 1, 1.4 and 2.1969) over the Euclidean one: least along (2, 1), where it is
2.1969 / sqrt(5); most along the slope 0.1969, where it is sqrt(1 + 0.1969²)."""

_CHAMFER_SLACK = 0.999
"""For the rounding of OpenCV's fixed-point steps."""

_CHAMFER_FROM = 1 << 14
"""Pixels of a window from which on the detour over the chamfer distance pays."""


def next_click(
    truth: Mask, predicted: Mask | None = None, clicked: Sequence[Click] = (), void: Mask | None = None
) -> Click | None:
    """Return the corrective click for a prediction, or the first click (the distance-transform centre).

    Args:
        truth: The object.
        predicted: The mask to correct; None for the first click.
        clicked: Earlier clicks, whose pixels are never clicked again.
        void: Pixels that are in neither region.

    Returns:
        None if no pixel is left to click, where RITM's own code returns a negative click at (0, 0).
    """
    predicted = Mask.empty(truth.size) if predicted is None else predicted
    missed = _peak(truth, predicted, void, clicked)
    wrong = _peak(predicted, truth, void, clicked)
    if missed is None and wrong is None:
        return None
    if wrong is None or (missed is not None and missed[0] > wrong[0]):
        assert missed is not None
        return Click(missed[1], missed[2], True)
    return Click(wrong[1], wrong[2], False)


def random_first_click(truth: Mask, seed: int, key: Sequence[str], void: Mask | None = None) -> Click | None:
    """Draw a click uniformly from the foreground (protocol §2.4, OQ-11), the same for every model, worker and machine.

    Args:
        truth: The object.
        seed: Of the draw.
        key: Identity of the draw, such as (dataset, image id, instance id).
        void: Pixels that are not clicked.

    Returns:
        None if no foreground pixel is left.
    """
    window = truth.window & ~void.crop(truth.top, truth.left, *_end(truth)) if void is not None else truth.window
    rows, columns = np.nonzero(window)
    if rows.size == 0:
        return None
    # A generator's stream may change between numpy versions; a digest never does. 128 bits make the modulo fair.
    digest = hashlib.sha256("\0".join([str(seed), *key]).encode("utf-8", "surrogatepass")).digest()
    i = int.from_bytes(digest[:16], "big") % rows.size
    return Click(truth.left + int(columns[i]), truth.top + int(rows[i]), True)


def squared_distances(region: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Compute the exact squared Euclidean distance of each pixel to the nearest pixel outside of ``region``.

    Integers, so that ties are ties whichever library computes them.

    Args:
        region: ``(h, w)`` bool; everything beyond the array counts as outside.

    Returns:
        ``(h, w)`` int64, squared pixels.
    """
    ringed = cv2.copyMakeBorder(region.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance: NDArray[np.floating] = cv2.distanceTransform(ringed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    if distance.size and float(distance.max()) >= _EXACT_IN_FLOAT32:
        from scipy.ndimage import distance_transform_edt

        distance = distance_transform_edt(ringed)[1:-1, 1:-1]
    squared: NDArray[np.int64] = np.rint(np.square(distance, dtype=np.float64)).astype(np.int64)
    return squared


def _peak(inside: Mask, outside: Mask, void: Mask | None, clicked: Sequence[Click]) -> tuple[int, int, int] | None:
    """``(squared distance, x, y)`` of the pixel of ``inside`` minus ``outside`` farthest from the region's boundary."""
    if inside.area == 0:
        return None
    end = _end(inside)
    region = inside.window & ~outside.crop(inside.top, inside.left, *end)
    if void is not None:
        region &= ~void.crop(inside.top, inside.left, *end)
    error = Mask.from_window(inside.size, inside.top, inside.left, region)
    if error.area == 0:
        return None
    taken = [(c.y - error.top, c.x - error.left) for c in clicked if (c.x, c.y) in error]
    best, y, x = _farthest(error.window, taken)
    return (best, error.left + x, error.top + y) if best > 0 else None


def _farthest(region: NDArray[np.bool_], taken: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
    """``(squared distance, row, column)`` of the first pixel with the largest :func:`squared_distances`, pixels
    ``taken`` (row, column) left out.

    A large region goes through a chamfer transform first, five times faster than the exact one; only pixels that its
    error bounds leave in the race are measured exactly, in windows that hold their nearest background.
    """
    exact: NDArray[np.int64] | None = None
    candidates: NDArray[np.intp] | None = None
    if region.size >= _CHAMFER_FROM:
        ringed = cv2.copyMakeBorder(region.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        rough = cv2.distanceTransform(ringed, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1].copy()
        for y, x in taken:
            rough[y, x] = 0
        largest = float(rough.max())
        if largest == 0:
            return 0, 0, 0
        candidates = np.flatnonzero(rough >= _CHAMFER_LOW / _CHAMFER_HIGH * largest * _CHAMFER_SLACK)
        exact = _squared_at(region, candidates, int(largest / _CHAMFER_LOW / _CHAMFER_SLACK) + 2)
    if candidates is None or exact is None:
        squared = squared_distances(region)
        for y, x in taken:
            squared[y, x] = 0
        place = int(squared.argmax())
        return int(squared.flat[place]), *divmod(place, region.shape[1])
    first = int(exact.argmax())
    return int(exact[first]), *divmod(int(candidates[first]), region.shape[1])


def _squared_at(region: NDArray[np.bool_], places: NDArray[np.intp], reach: int) -> NDArray[np.int64] | None:
    """:func:`squared_distances` at flat ``places`` whose nearest background is nearer than ``reach``: ``(n,)`` int64.
    None if that would cost more than transforming everything."""
    rows, columns = np.divmod(places, region.shape[1])
    top, left = max(int(rows.min()) - reach, 0), max(int(columns.min()) - reach, 0)
    bottom, right = int(rows.max()) + reach + 1, int(columns.max()) + reach + 1
    around = region[top:bottom, left:right]
    if len(places) * (2 * reach + 1) ** 2 < around.size:
        windows = (
            (max(y - reach, 0), max(x - reach, 0), y, x) for y, x in zip(rows.tolist(), columns.tolist(), strict=True)
        )
        return np.array(
            [squared_distances(region[a : y + reach + 1, b : x + reach + 1])[y - a, x - b] for a, b, y, x in windows]
        )
    if 2 * around.size > region.size:
        return None
    squared: NDArray[np.int64] = squared_distances(around)[rows - top, columns - left]
    return squared


def _end(mask: Mask) -> tuple[int, int]:
    """Bottom and right (exclusive) of the mask's window, in the order of :meth:`Mask.crop`."""
    return mask.top + mask.window.shape[0], mask.left + mask.window.shape[1]
