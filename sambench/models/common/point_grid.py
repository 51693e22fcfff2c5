"""Regular grids of point prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sambench.core.model import Prompts


def point_grid(per_side: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """``(per_side², 2)`` xy, row by row: (i + 0.5) / per_side of the width and height of an image ``(H, W)``.

    As the released generator places them (segment_anything: utils/amg.py, build_point_grid): the fractions multiply
    width and height as they are, so that the grid lies half a pixel right of and below the centres of its cells.
    """
    fractions = (np.arange(per_side) + 0.5) / per_side
    x, y = np.meshgrid(fractions * size[1], fractions * size[0])
    return np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)


def one_point_each(points: NDArray[np.float32]) -> Prompts:
    """A prompt of one foreground point for each of ``(N, 2)`` xy."""
    return Prompts(points=points[:, None], labels=np.ones((len(points), 1), np.int64))
