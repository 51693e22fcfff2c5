"""Masks of one image taken together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sambench.core.mask import Mask


def union(masks: Iterable[Mask], size: tuple[int, int]) -> Mask:
    """The pixels of any of the masks. ``size``: ``(H, W)`` of all of them."""
    canvas = np.zeros(size, np.bool_)
    for mask in masks:
        x0, y0, x1, y1 = mask.box
        canvas[y0:y1, x0:x1] |= mask.window
    return Mask.from_dense(canvas)


def painted_over(masks: Sequence[Mask], size: tuple[int, int]) -> list[Mask]:
    """What is left to see of each mask if they are painted in this order, later ones over earlier ones."""
    canvas = np.zeros(size, np.int32)
    for number, mask in enumerate(masks, start=1):
        x0, y0, x1, y1 = mask.box
        canvas[y0:y1, x0:x1][mask.window] = number
    left = []
    for number, mask in enumerate(masks, start=1):
        x0, y0, x1, y1 = mask.box
        left.append(Mask.from_window(size, y0, x0, canvas[y0:y1, x0:x1] == number))
    return left
