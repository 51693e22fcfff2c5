"""Clicks as input maps of a network: one map of discs for the positive clicks, one for the negative.

After RITM (``isegm/model/ops.py``, ``DistMaps`` with ``use_disks``), which FocalClick and SimpleClick took over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class GridClick(NamedTuple):
    """A click on a network's input: row and column in its pixels, not rounded; the centre of pixel (0, 0) is (0, 0)."""

    row: float
    column: float
    positive: bool


def flipped(clicks: Sequence[GridClick], width: int) -> list[GridClick]:
    """The same clicks on the input mirrored left to right, ``width`` pixels wide."""
    return [click._replace(column=width - click.column - 1) for click in clicks]


def discs(clicks: Sequence[GridClick], size: tuple[int, int], radius: float) -> Tensor:
    """``(2, h, w)`` float32 on the CPU: 1 where the centre of a pixel lies within ``radius`` pixels of a positive click
    (first map) or of a negative one (second), the rim included, else 0.

    Distances are computed in float32, as the reference does. A click with both coordinates below 0 leaves no disc, even
    where it would reach into the input: the reference marks absent clicks so.
    """
    maps = np.zeros((2, *size), np.float32)
    for row, column, positive in clicks:
        if max(row, column) < 0:
            continue
        rows, columns = (
            np.arange(max(0, math.floor(at - radius)), min(length, math.ceil(at + radius) + 1), dtype=np.float32)
            for at, length in ((row, size[0]), (column, size[1]))
        )
        if not rows.size or not columns.size:
            continue
        inside = (
            np.square(rows - np.float32(row))[:, None] + np.square(columns - np.float32(column))[None]
            <= np.float32(radius) ** 2
        )
        y, x = int(rows[0]), int(columns[0])
        np.maximum(
            maps[0 if positive else 1, y : y + len(rows), x : x + len(columns)],
            inside,
            out=maps[0 if positive else 1, y : y + len(rows), x : x + len(columns)],
        )
    return torch.from_numpy(maps)
