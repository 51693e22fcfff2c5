"""Masks to run-length codes and measures on the CPU, from logits or from binary masks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Mask
from sambench.core.model import Prediction
from sambench.masks import to_rle
from sambench.models.common.coded_masks import CodedMasks, CodedPrediction, MaskFilter
from sambench.models.common.logit_windows import SoftPrediction
from sambench.numba_cache import compiled

INTERSECTION, AREA, UNION, LEFT, TOP, RIGHT, BOTTOM, ENDS = range(8)
"""What :func:`scan` adds up; ``ENDS``: of how many ends of foreground it has written down."""
MASKS = 16
"""Binary masks that exist at once."""


class MaskCoder:
    """Takes the masks of a prediction one after the other and keeps what ``wanted`` keeps."""

    def __init__(self, wanted: MaskFilter) -> None:
        x0, y0, x1, y1 = wanted.crop
        self.wanted = wanted
        self._ends = np.empty((x1 - x0) * (y1 - y0 + 1) + 1, np.int64)
        self._kept: list[tuple[int, float, float, int, tuple[int, int, int, int], bytes]] = []

    def add_logits(self, index: int, score: float, blocks: Iterable[tuple[int, int, NDArray[np.float32]]]) -> None:
        """A mask as blocks of logits ``(columns, rows)``, each with its first row and column in the crop, from left to
        right, all of the same rows, everywhere outside of which logits are at most minus ``wanted.offset``."""
        x, y, _, _ = self.wanted.crop
        height, offset = self.wanted.size[0], np.float32(self.wanted.offset)
        found = np.array([0, 0, 0, x, y, x, y, 0], np.int64)
        for top, left, block in blocks:
            scan(block, x + left, y + top, height, offset, found, self._ends)
        stability = np.float32(found[INTERSECTION]) / np.float32(found[UNION]) if found[UNION] else np.float32(0)
        box = (int(found[LEFT]), int(found[TOP]), int(found[RIGHT]), int(found[BOTTOM]))
        if self._keeps(float(stability), int(found[AREA]), box):
            code = compress(self._ends[: found[ENDS]], height * self.wanted.size[1])
            self._kept.append((index, score, float(stability), int(found[AREA]), box, code.tobytes()))

    def add_mask(self, index: int, score: float, mask: Mask) -> None:
        """A binary mask of the crop. Its stability is 1, or 0 if it is empty."""
        x, y, _, _ = self.wanted.crop
        x0, y0, x1, y1 = mask.box
        box = (x + x0, y + y0, x + max(x1 - 1, 0), y + max(y1 - 1, 0))
        stability = float(mask.area > 0)
        if self._keeps(stability, mask.area, box):
            placed = Mask(self.wanted.size, y + mask.top, x + mask.left, mask.window, mask.area)
            code = to_rle(placed)["counts"].encode("ascii")
            self._kept.append((index, score, stability, mask.area, box, code))

    def _keeps(self, stability: float, area: int, box: tuple[int, int, int, int]) -> bool:
        one = np.array([stability], np.float32), np.array([area]), np.array([box])
        return bool(self.wanted.keeps(*one)[0])

    def kept(self) -> CodedMasks:
        kept = self._kept
        return CodedMasks(
            np.array([one[0] for one in kept], np.int64),
            np.array([one[1] for one in kept], np.float32),
            np.array([one[2] for one in kept], np.float32),
            np.array([one[3] for one in kept], np.int64),
            np.array([one[4] for one in kept], np.int64).reshape(-1, 4),
            [one[5] for one in kept],
        )


def code_masks(prediction: Prediction, wanted: MaskFilter) -> CodedMasks:
    """The masks of any prediction that ``wanted`` keeps; from its logits at the size of the image if it has them."""
    if isinstance(prediction, CodedPrediction):
        return prediction.coded(wanted)
    coder = MaskCoder(wanted)
    scores = prediction.scores.reshape(-1)
    candidates = prediction.scores.shape[1]
    which = [int(i) for i in np.flatnonzero(wanted.confident(scores))]
    pairs = [(i // candidates, i % candidates) for i in which]
    if isinstance(prediction, SoftPrediction):
        everywhere = max(wanted.size)
        for i, pair in zip(which, pairs, strict=True):
            windows = prediction.logits([pair], everywhere)
            blocks = ((w.top, w.left, np.ascontiguousarray(w.logits[0].cpu().numpy().T)) for w in windows)
            coder.add_logits(i, float(scores[i]), blocks)
    else:
        for start in range(0, len(which), MASKS):
            part = which[start : start + MASKS]
            for i, mask in zip(part, prediction.masks(pairs[start : start + MASKS]), strict=True):
                coder.add_mask(i, float(scores[i]), mask)
    return coder.kept()


@compiled
def scan(
    block: NDArray[np.float32],
    x: int,
    y: int,
    height: int,
    offset: np.float32,
    found: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> None:
    """Adds ``(columns, rows)`` of logits, of which the first lies at ``(x, y)`` in an image of ``height`` rows, to what
    is ``found``, and writes down where runs of foreground begin and end, counting pixels column by column."""
    columns, rows = block.shape
    zero = np.float32(0)
    n = found[ENDS]
    for c in range(columns):
        inner = area = outer = 0
        for r in range(rows):
            value = block[c, r]
            inner += value > offset
            area += value > zero
            outer += value > -offset
        found[INTERSECTION] += inner
        found[UNION] += outer
        if area == 0:
            continue
        start = (x + c) * height + y
        first, inside = n, False
        for r in range(rows):
            now = block[c, r] > zero
            if now != inside:
                ends[n] = start + r
                n += 1
                inside = now
        if inside:
            ends[n] = start + rows
            n += 1
        top, bottom = y + ends[first] - start, y + ends[n - 1] - start - 1
        if found[AREA] == 0:
            found[LEFT], found[TOP], found[BOTTOM] = x + c, top, bottom
        found[RIGHT] = x + c
        found[TOP], found[BOTTOM] = min(found[TOP], top), max(found[BOTTOM], bottom)
        found[AREA] += area
        # A run may go on from the last row of one column to the first of the next.
        if first > 0 and ends[first - 1] == ends[first]:
            for i in range(first + 1, n):
                ends[i - 2] = ends[i]
            n -= 2
    found[ENDS] = n


@compiled
def compress(ends: NDArray[np.int64], pixels: int) -> NDArray[np.uint8]:
    """COCO's compressed counts (maskApi.c, rleToString) of a mask of so many pixels, given where its runs of
    foreground begin and end, in turn."""
    runs = np.empty(len(ends) + 1, np.int64)
    last, count = 0, 0
    for end in ends:
        runs[count] = end - last
        last = end
        count += 1
    if last < pixels or count == 0:
        runs[count] = pixels - last
        count += 1
    text = np.empty(13 * count, np.uint8)
    n = 0
    for i in range(count):
        value = runs[i] - (runs[i - 2] if i > 2 else 0)
        more = True
        while more:
            digit = value & 0x1F
            value >>= 5
            more = value != (-1 if digit & 0x10 else 0)
            text[n] = 48 + digit + (0x20 if more else 0)
            n += 1
    return text[:n].copy()
