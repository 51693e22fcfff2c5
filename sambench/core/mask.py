"""Images and binary masks, numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""``(H, W, 3)`` uint8, RGB."""


@dataclass(frozen=True, eq=False, slots=True)
class Mask:
    """A binary mask of an image, stored as the tight window around its foreground.

    :meth:`from_dense` and :meth:`from_window` make masks, and trim them.

    Attributes:
        size: ``(H, W)`` of the image.
        top: First row of the window, in pixels.
        left: First column of the window, in pixels.
        window: ``(h, w)`` bool, tight (each outermost row and column has a foreground pixel); ``(0, 0)`` if empty.
        area: Number of foreground pixels.
    """

    size: tuple[int, int]
    top: int
    left: int
    window: NDArray[np.bool_]
    area: int

    @classmethod
    def from_dense(cls, dense: NDArray[Any]) -> Mask:
        """Make a mask from an array of the whole image.

        Args:
            dense: ``(H, W)`` bool or integer; non-zero is foreground.
        """
        return cls.from_window((dense.shape[0], dense.shape[1]), 0, 0, dense)

    @classmethod
    def from_window(cls, size: tuple[int, int], top: int, left: int, window: NDArray[Any]) -> Mask:
        """Make a mask from a window of the image; all else is background. Trims and copies.

        Args:
            size: ``(H, W)`` of the image.
            top: First row of the window, in pixels.
            left: First column of the window, in pixels.
            window: ``(h, w)`` bool or integer; non-zero is foreground.
        """
        window = window if window.dtype == np.bool_ else window != 0
        rows = np.flatnonzero(window.any(axis=1))
        if rows.size == 0:
            return cls(size, 0, 0, np.zeros((0, 0), np.bool_), 0)
        y0, y1 = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(window[y0:y1].any(axis=0))
        x0, x1 = int(columns[0]), int(columns[-1]) + 1
        tight = np.ascontiguousarray(window[y0:y1, x0:x1])
        if tight is window or tight.base is not None:
            tight = tight.copy()
        return cls(size, top + y0, left + x0, tight, int(np.count_nonzero(tight)))

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Mask:
        """Make the mask of an image of ``size`` ``(H, W)`` without a foreground pixel."""
        return cls(size, 0, 0, np.zeros((0, 0), np.bool_), 0)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Bounding box xyxy in pixels, right and bottom exclusive; ``(0, 0, 0, 0)`` if empty."""
        h, w = self.window.shape
        return (self.left, self.top, self.left + w, self.top + h)

    def crop(self, top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
        """Cut out rows ``top:bottom`` and columns ``left:right`` (pixels), which may extend beyond the image.

        Returns:
            ``(bottom - top, right - left)`` bool, background outside of the image.
        """
        out = np.zeros((bottom - top, right - left), np.bool_)
        x0, y0, x1, y1 = self.box
        ya, yb, xa, xb = max(top, y0), min(bottom, y1), max(left, x0), min(right, x1)
        if ya < yb and xa < xb:
            out[ya - top : yb - top, xa - left : xb - left] = self.window[ya - y0 : yb - y0, xa - x0 : xb - x0]
        return out

    def dense(self) -> NDArray[np.bool_]:
        """Return the whole mask, ``(H, W)`` bool."""
        return self.crop(0, 0, *self.size)

    def __contains__(self, xy: tuple[int, int]) -> bool:
        x, y = xy[0] - self.left, xy[1] - self.top
        h, w = self.window.shape
        return 0 <= x < w and 0 <= y < h and bool(self.window[y, x])
