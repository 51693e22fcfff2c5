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
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sambench.types import Mask

_EXACT_IN_FLOAT32 = 2000.0
"""Up to this distance (pixels) float32 tells the square roots of neighbouring integers apart."""


@dataclass(frozen=True, slots=True)
class Click:
    """A click on the pixel in column ``x``, row ``y`` of the original image."""

    x: int
    y: int
    positive: bool


def next_click(
    truth: Mask, predicted: Mask | None = None, clicked: Sequence[Click] = (), void: Mask | None = None
) -> Click | None:
    """The corrective click for ``predicted``, or the first click (the distance-transform centre) if that is None.

    ``clicked``: earlier clicks, whose pixels are never clicked again. ``void``: pixels that are in neither region.
    None if there is nothing left to click: RITM's own code answers a negative click at (0, 0) then.
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
    """A click uniform over the foreground (protocol §2.4, OQ-11), the same for every model, worker and machine.

    ``key``: what the draw belongs to, e.g. (dataset, image id, instance id). None if no foreground pixel is left.
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
    """Exact squared Euclidean distance of each pixel to the nearest pixel outside ``region``: ``(h, w)`` int64.

    Everything beyond the array counts as outside. Integers, so that ties are ties whichever library computes them.
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
    squared = squared_distances(error.window)
    for click in clicked:
        if (click.x, click.y) in error:
            squared[click.y - error.top, click.x - error.left] = 0
    y, x = divmod(int(squared.argmax()), squared.shape[1])
    best = int(squared[y, x])
    return (best, error.left + x, error.top + y) if best > 0 else None


def _end(mask: Mask) -> tuple[int, int]:
    """Bottom and right (exclusive) of the mask's window, in the order of :meth:`Mask.crop`."""
    return mask.top + mask.window.shape[0], mask.left + mask.window.shape[1]
