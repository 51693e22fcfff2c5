"""Between the pixels of an image and SAM's square input: preprocessing, prompt coordinates, and masks on the way back.

Equal to the released predictor (segment_anything: utils/transforms.py, modeling/sam.py): the long side becomes S
(1024) with PIL's bilinear filter on uint8, pixels are normalised, zeros pad the square after that; logits go up from
S/4 to S bilinearly, lose the padding, go to the original size bilinearly, and are foreground above 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from sambench.core.mask import Image, Mask
from sambench.core.model import Prompts
from sambench.models.common.coded_masks import CodedMasks, MaskFilter
from sambench.models.common.logit_windows import LogitWindow

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""Of the RGB channels in grey levels."""

BLOCK = 128
"""Output rows or columns resampled at once: few, so that they depend on few low-resolution ones."""
GPU_PIXELS = 1 << 26
"""Pixels of full-size masks that exist at once on a GPU: 256 MB of logits."""


class Frame:
    """One image size and its place in the input. ``size``: ``(H, W)`` of the image. ``side``: S."""

    def __init__(self, size: tuple[int, int], side: int) -> None:
        self.size, self.side = size, side
        scale = side * 1.0 / max(size)
        # The released rule, kept from making a side of an extremely narrow image vanish.
        self.input_size = (max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5)))

    def pixels(self, image: Image) -> Tensor:
        """``(3, S, S)`` float32 on the CPU."""
        h, w = self.input_size
        resized = np.asarray(PIL.Image.fromarray(image).resize((w, h), PIL.Image.Resampling.BILINEAR))
        x = torch.from_numpy(resized.copy()).permute(2, 0, 1).float()
        out = torch.zeros((3, self.side, self.side))
        out[:, :h, :w] = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        return out

    def to_input(self, xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(..., 2)`` xy of the image to xy of the input, both float32, rounded once as the released code does."""
        ratio = np.array([self.input_size[1] / self.size[1], self.input_size[0] / self.size[0]])
        return (xy.astype(np.float64) * ratio).astype(np.float32)

    def prompts(self, given: Prompts) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Points ``(N, P, 2)`` of the input, their labels ``(N, P)`` and boxes ``(N, 4)`` of the input, on the CPU."""
        points = labels = boxes = None
        if given.points is not None and given.labels is not None:
            points = torch.from_numpy(self.to_input(given.points))
            labels = torch.from_numpy(np.asarray(given.labels, np.int64))
        if given.boxes is not None:
            boxes = torch.from_numpy(self.to_input(given.boxes.reshape(-1, 2, 2))).flatten(1)
        return points, labels, boxes

    @cached_property
    def _rows(self) -> Resampling:
        return Resampling(two_steps(self.side, self.input_size[0], self.size[0]))

    @cached_property
    def _columns(self) -> Resampling:
        return Resampling(two_steps(self.side, self.input_size[1], self.size[1]))

    def masks(self, logits: Tensor) -> Iterator[Mask]:
        """``(K, S/4, S/4)`` float32 logits to K binary masks of the image, a few at a time."""
        return map(self._mask, logits) if logits.device.type == "cpu" else self._masks_on_device(logits)

    def windows(self, logits: Tensor, margin: int) -> Iterator[LogitWindow]:
        """``(K, S/4, S/4)`` float32 logits to those of the image: on a CPU a window for each mask that can have
        foreground, ``margin`` pixels wider than that; elsewhere whole frames, many at a time."""
        if logits.device.type == "cpu":
            return (window for low in logits if (window := self._window(low, margin)) is not None)
        return (LogitWindow(0, 0, part) for part in self._full(logits))

    def boxes(self, logits: Tensor) -> NDArray[np.int64]:
        """``(K, S/4, S/4)`` float32 logits to ``(K, 4)``, :attr:`sambench.core.mask.Mask.box` of each mask."""
        if logits.device.type == "cpu":
            return np.array([self._mask(low).box for low in logits], np.int64).reshape(-1, 4)
        return self._boxes_on_device(logits)

    def coded(self, logits: Tensor, scores: Tensor, wanted: MaskFilter) -> CodedMasks:
        """``(K, S/4, S/4)`` float32 logits and ``(K,)`` predicted IoUs to the masks that are wanted. This frame's image
        is the crop of ``wanted``."""
        coded = self._coded if logits.device.type == "cpu" else self._coded_on_device
        return coded(logits, scores, wanted)

    def _mask(self, logits: Tensor) -> Mask:
        """One mask, computed where it can be foreground."""
        place = self._place(logits, 0)
        if place is None:
            return Mask.empty(self.size)
        top, bottom, left, right = place
        window = torch.empty((bottom - top, right - left), dtype=torch.bool)
        for a, part in self._rows_of(logits, place):
            torch.gt(part, 0, out=window[a - top : a - top + len(part)])
        return Mask.from_window(self.size, top, left, window.numpy())

    def _window(self, logits: Tensor, margin: int) -> LogitWindow | None:
        place = self._place(logits, margin)
        if place is None:
            return None
        top, bottom, left, right = place
        window = torch.empty((1, bottom - top, right - left))
        for a, part in self._rows_of(logits, place):
            window[0, a - top : a - top + len(part)] = part
        return LogitWindow(top, left, window)

    def _coded(self, logits: Tensor, scores: Tensor, wanted: MaskFilter) -> CodedMasks:
        """Mask after mask, each a few columns at a time where logits can be above minus the offset."""
        # Not at the top: whoever only prompts need not wait for numba.
        from sambench.models.common.mask_coder import MaskCoder

        coder = MaskCoder(wanted)
        for k in wanted.confident(scores).nonzero().flatten().tolist():
            coder.add_logits(k, float(scores[k]), self._columns_above(logits[k], -wanted.offset))
        return coder.kept()

    def _place(self, logits: Tensor, margin: int, level: float = 0.0) -> tuple[int, int, int, int] | None:
        """Rows ``top:bottom`` and columns ``left:right`` of the image that can be above ``level``, and ``margin``
        around: a mean of values that are not above it is not above it."""
        above = logits > level
        rows = np.flatnonzero(above.any(1).numpy())
        if not rows.size:
            return None
        columns = np.flatnonzero(above.any(0).numpy())
        top, bottom = self._rows.reach(int(rows[0]), int(rows[-1]))
        left, right = self._columns.reach(int(columns[0]), int(columns[-1]))
        if top == bottom or left == right:  # only the padding is foreground
            return None
        height, width = self.size
        return max(0, top - margin), min(height, bottom + margin), max(0, left - margin), min(width, right + margin)

    def _rows_of(self, logits: Tensor, place: tuple[int, int, int, int]) -> Iterator[tuple[int, Tensor]]:
        """The logits of the image at a place, a few rows at a time, each with its first row."""
        top, bottom, left, right = place
        first, last = self._rows.support(top, bottom)
        half = self._columns.apply(logits[first:last].mT, left, right)
        return self._rows.blocks(half.mT, top, bottom, first)

    def _columns_above(self, logits: Tensor, level: float) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """The logits of the image where they can be above ``level``, a few columns at a time: ``(columns, rows)``, each
        with its first row and column."""
        place = self._place(logits, 0, level)
        if place is not None:
            top, bottom, left, right = place
            first, last = self._columns.support(left, right)
            half = self._rows.apply(logits[:, first:last], top, bottom)
            for a, part in self._columns.blocks(half.mT, left, right, first):
                yield top, a, part.numpy()

    def _full(self, logits: Tensor) -> Iterator[Tensor]:
        """``(K, S/4, S/4)`` to ``(k, H, W)`` on the device, as many at once as :data:`GPU_PIXELS` allows."""
        rows = self._rows.weights.to(logits.device)
        columns = self._columns.weights.to(logits.device).T
        for part in logits.split(max(1, GPU_PIXELS // (self.size[0] * self.size[1]))):
            yield (rows @ part) @ columns

    def _masks_on_device(self, logits: Tensor) -> Iterator[Mask]:
        """Full size on the device, eight pixels to the byte on the way down."""
        height, width = self.size
        bits = (2 ** torch.arange(7, -1, -1, device=logits.device)).to(torch.uint8)
        for part in self._full(logits):
            positive = torch.nn.functional.pad(part > 0, (0, -width % 8))
            packed = (positive.view(len(part), height, -1, 8) * bits).sum(-1, dtype=torch.uint8).cpu().numpy()
            for mask in np.unpackbits(packed, axis=-1, count=width).view(np.bool_):
                yield Mask.from_dense(mask)

    def _boxes_on_device(self, logits: Tensor) -> NDArray[np.int64]:
        parts = [torch.empty((0, 4), dtype=torch.int64)]
        for part in self._full(logits):
            parts.append(_boxes(part > 0).cpu())
        return torch.cat(parts).numpy()

    def _coded_on_device(self, logits: Tensor, scores: Tensor, wanted: MaskFilter) -> CodedMasks:
        """All masks of a part at once: they are measured and filtered on the device, and where the runs of those begin
        and end that are kept comes down in one go."""
        from sambench.models.common.mask_coder import compress

        height, width = wanted.size
        x0, y0, x1, y1 = wanted.crop
        rows, columns = self._rows.weights.to(logits.device).T, self._columns.weights.to(logits.device)
        corner = torch.tensor([x0, y0, x0, y0]).to(logits.device, non_blocking=True)
        numbers, codes = [], []
        step = max(1, GPU_PIXELS // (height * width))
        for start in range(0, max(1, len(logits)), step):
            score = scores[start : start + step]
            full = columns @ logits[start : start + step].mT @ rows  # (k, W, H): runs go down the columns
            inner, areas, outer = ((full > level).sum((1, 2)) for level in (wanted.offset, 0.0, -wanted.offset))
            stability = torch.where(outer > 0, inner / outer, 0)
            foreground = full > 0
            boxes = _boxes(foreground.mT)
            boxes[:, 2:] = (boxes[:, 2:] - 1).clamp(min=0)
            boxes += corner
            kept = wanted.confident(score) & wanted.keeps(stability, areas, boxes)
            placed = torch.nn.functional.pad(foreground, (y0, height - y1, x0, width - x1)).flatten(1)
            before = torch.nn.functional.pad(placed, (1, 0))[:, :-1]
            # Here the host waits, for the first time in this part.
            mask, ends = ((placed ^ before) & kept[:, None]).nonzero().T.contiguous().cpu().numpy()
            index = kept.nonzero().flatten().cpu().numpy()
            numbers.append((index + start, *(t.cpu().numpy()[index] for t in (score, stability, areas, boxes))))
            limits = np.searchsorted(mask, np.stack([index, index + 1]))
            codes += [compress(ends[a:b], height * width).tobytes() for a, b in limits.T]
        all_of: list[NDArray[Any]] = [np.concatenate(column) for column in zip(*numbers, strict=True)]
        return CodedMasks(all_of[0], all_of[1], all_of[2], all_of[3], all_of[4], codes)


def _boxes(foreground: Tensor) -> Tensor:
    """``(k, H, W)`` bool to ``(k, 4)`` int64 xyxy, right and bottom exclusive, zeros for an empty mask."""
    ends = []
    for used in (foreground.any(1), foreground.any(2)):  # columns, rows
        place = torch.arange(used.shape[1], device=used.device)
        ends.append(torch.where(used, place, used.shape[1]).amin(1))
        ends.append(torch.where(used, place + 1, 0).amax(1))
    box = torch.stack([ends[0], ends[2], ends[1], ends[3]], 1)
    return torch.where(foreground.any(-1).any(-1)[:, None], box, 0)


class Resampling:
    """Along one axis: from the grid of logits to the image, as one matrix. ``product``: ``(size, grid)``. ``weights``:
    the same in float32."""

    def __init__(self, product: NDArray[np.float64]) -> None:
        self.weights = torch.from_numpy(product.astype(np.float32))
        used = product > 0
        self.first = used.argmax(1)
        self.last = used.shape[1] - 1 - used[:, ::-1].argmax(1)

    def reach(self, low: int, high: int) -> tuple[int, int]:
        """The outputs ``start:stop`` that depend on any input from ``low`` to ``high`` inclusive."""
        start = int(np.searchsorted(self.last, low))
        return start, max(start, int(np.searchsorted(self.first, high, side="right")))

    def support(self, start: int, stop: int) -> tuple[int, int]:
        """The inputs ``first:last`` that the outputs ``start:stop`` depend on."""
        return int(self.first[start]), int(self.last[stop - 1]) + 1

    def apply(self, values: Tensor, start: int, stop: int) -> Tensor:
        """``(S/4, m)`` to the outputs ``(stop - start, m)``."""
        return torch.cat([part.clone() for _, part in self.blocks(values, start, stop)])

    def blocks(self, values: Tensor, start: int, stop: int, offset: int = 0) -> Iterator[tuple[int, Tensor]]:
        """``(n, m)`` to the outputs, a few at a time, each with its place; row 0 of ``values`` is input ``offset``.

        A block is overwritten by the next.
        """
        buffer = values.new_empty((min(BLOCK, stop - start), values.shape[1]))
        for a in range(start, stop, BLOCK):
            b = min(a + BLOCK, stop)
            first, last = self.support(a, b)
            yield (
                a,
                torch.mm(self.weights[a:b, first:last], values[first - offset : last - offset], out=buffer[: b - a]),
            )


def two_steps(side: int, kept: int, size: int) -> NDArray[np.float64]:
    """``(size, S/4)``: bilinear from S/4 to S, the first ``kept`` of them bilinear to ``size``. Both steps are linear
    and act on rows and columns apart, so that their product is the released order of steps."""
    product: NDArray[np.float64] = bilinear(kept, size) @ bilinear(side // 4, side)[:kept]
    return product


def bilinear(old: int, new: int) -> NDArray[np.float64]:
    """``(new, old)``: bilinear interpolation of samples at pixel centres, without antialiasing."""
    position = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0.0)
    low = np.minimum(position.astype(np.int64), old - 1)
    matrix = np.zeros((new, old))
    matrix[np.arange(new), low] += 1 - (position - low)
    matrix[np.arange(new), np.minimum(low + 1, old - 1)] += position - low
    return matrix
