"""How FocalClick goes from clicks to a mask: a coarse answer for a square look at the object, then a refined one where
the last click changed something (isegm/inference/predictors/focalclick.py and isegm/utils/crop_local.py of ClickSEG).

Up to the tenth click the refined crop replaces part of the new coarse answer; after that, part of the previous answer,
the rest of which stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sambench.core.mask import Image
from sambench.models.interactive.click_maps import GridClick, discs
from sambench.models.interactive.click_predictor import ClickModel, ClickView, Look, LowLogits, Memory, resize
from sambench.models.interactive.focalclick_network import FocalClickNetwork
from sambench.models.interactive.zoom_in import Crop, ZoomIn, clicks_in

COARSE_CLICKS = 10
"""So many clicks are answered by both networks; the later ones change the refined crop alone."""
REFINER_RADIUS = 5
"""Pixels of the discs that the refiner sees."""
CUT = 0.49
"""Above it lies the object where the crop is chosen: of the previous probabilities, and of the coarse *logits*, as the
authors have it."""
FEW = 10
"""A region of fewer pixels than this is taken for the whole image."""
CLICK_REACH = 0.2
"""Half the side of the square around a click that changed little, over the longer side of the object."""


@dataclass
class Coarse(LowLogits):
    """The coarse segmenter's answer. ``seen_size``: ``(h, w)`` pixels of what it was shown. Where ZoomIn found no
    object and showed it the whole image, the authors bring its answer to that size and from there to the crop in
    use."""

    seen_size: tuple[int, int] = (1, 1)

    def window(self) -> tuple[Crop, Tensor]:
        probabilities = resize(self.logits[None, None], self.input_size).sigmoid()
        if self.seen_size != self.place.size:
            probabilities = resize(probabilities, self.seen_size)
        return self.place, resize(probabilities, self.place.size)[0, 0]


@dataclass
class Refined:
    """A :class:`sambench.models.interactive.click_predictor.Memory`: what was there, ``base`` (None: nothing), and in
    the crop ``focus`` the refiner's ``logits`` ``(S, S)``."""

    base: Memory | None
    focus: Crop
    logits: Tensor
    crop: Crop | None
    object_box: Crop | None = None

    def window(self) -> tuple[Crop, Tensor]:
        refined = resize(self.logits[None, None], self.focus.size)[0, 0].sigmoid()
        if self.base is None:
            return self.focus, refined
        place, probabilities = self.base.window()
        both = _around(place, self.focus)
        out = probabilities.new_zeros(both.size)
        _part(out, both, place).copy_(probabilities)
        _part(out, both, self.focus).copy_(refined)
        return both, out


class FocalClickModel(ClickModel):
    """A :class:`sambench.core.model.Model`. ``expansion``: of the refined crop over what it is to hold. The target of
    the settings' ZoomIn is the size of the networks' inputs, at every click."""

    def __init__(self, network: FocalClickNetwork, expansion: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(network, *args, **kwargs)
        self.networks, self.expansion = network, expansion

    def encode(self, images: Sequence[Image]) -> list[ClickView]:
        return [_FocalView(self, image) for image in images]


class _FocalView(ClickView):
    model: FocalClickModel

    def look(self, clicks: Sequence[GridClick], memory: Memory | None) -> Look:
        """As for the other click models, but that the whole image, too, is resized."""
        look = super().look(clicks, memory)
        size = self._zoom.input_size(look.seen)
        drawn = clicks[: self.model.settings.clicks_limit]
        return Look(look.seen, size, clicks_in(look.seen, size, drawn), look.kept, memory)

    def answer(self, clicks: Sequence[list[GridClick]], memories: Sequence[Memory | None]) -> list[Memory]:
        step = self.model.settings.prompt_batch
        found: list[Memory] = []
        for start in range(0, len(clicks), step):
            part = slice(start, start + step)
            looks = [self.look(own, memory) for own, memory in zip(clicks[part], memories[part], strict=True)]
            found += self._refined(clicks[part], looks)
        return found

    @property
    def _zoom(self) -> ZoomIn:
        assert self.model.settings.zoom is not None
        return self.model.settings.zoom

    def _refined(self, clicks: Sequence[list[GridClick]], looks: Sequence[Look]) -> list[Memory]:
        """The answers to prompts that go through the networks together."""
        device, radius = self.model.device, self.model.settings.radius
        image = torch.cat([resize(self.pixels_of(look.seen), look.input_size) for look in looks])
        previous = torch.cat([resize(self.previous_of(look), look.input_size) for look in looks])
        drawn = torch.stack([discs(look.clicks, look.input_size, radius) for look in looks])
        logits, features = self.model.networks.coarse(image, previous, drawn.to(device))
        found: list[Memory] = []
        focused: list[tuple[int, Crop]] = []
        for i, (own, look) in enumerate(zip(clicks, looks, strict=True)):
            place = look.kept or look.seen
            coarse = Coarse(logits[i, 0], look.input_size, place, look.kept, seen_size=look.seen.size)
            focus = self._focus(coarse, own[-1], look.memory)
            if focus is not None:
                focused.append((i, focus))
            found.append(coarse)
        if focused:
            places = torch.tensor([i for i, _ in focused], device=device)
            closer = self._closer([clicks[i] for i, _ in focused], focused, looks, logits[places], features[places])
            for (i, focus), refined in zip(focused, closer, strict=True):
                base = looks[i].memory if len(clicks[i]) > COARSE_CLICKS else found[i]
                found[i] = Refined(base, focus, refined, looks[i].kept)
        return found

    def _closer(
        self,
        clicks: Sequence[list[GridClick]],
        focused: Sequence[tuple[int, Crop]],
        looks: Sequence[Look],
        logits: Tensor,
        features: Tensor,
    ) -> Tensor:
        """``(B, S, S)`` refined logits of the crops ``focused`` of as many prompts."""
        size, device = looks[0].input_size, self.model.device
        image = torch.cat([resize(self.pixels_of(focus), size) for _, focus in focused])
        drawn = [clicks_in(focus, size, own) for own, (_, focus) in zip(clicks, focused, strict=True)]
        maps = torch.stack([discs(own, size, REFINER_RADIUS) for own in drawn]).to(device)
        boxes = [_in_input(focus, looks[i].kept or looks[i].seen, size) for i, focus in focused]
        where = torch.tensor(boxes, dtype=torch.float32, device=device)
        return self.model.networks.refine(image, maps, resize(logits, size), features, where)[:, 0]

    def _focus(self, coarse: Coarse, click: GridClick, memory: Memory | None) -> Crop | None:
        place, probabilities = coarse.window()
        predicted = self._whole(place, (probabilities / (1 - probabilities)).log() > CUT)
        before = np.zeros(self.size, np.bool_)
        if memory is not None:
            where, previous = memory.window()
            before = self._whole(where, previous > CUT)
        return focus_crop(predicted, before, place, (int(click.row), int(click.column)), self.model.expansion)

    def _whole(self, place: Crop, window: Tensor) -> NDArray[np.bool_]:
        out = np.zeros(self.size, np.bool_)
        out[place.top : place.bottom + 1, place.left : place.right + 1] = window.cpu().numpy()
        return out


def focus_crop(
    predicted: NDArray[np.bool_], before: NDArray[np.bool_], seen: Crop, click: tuple[int, int], expansion: float
) -> Crop | None:
    """The crop to refine, within ``seen``, which is what the coarse segmenter saw; None if nothing is left of it.

    ``predicted``, ``before``: ``(H, W)``, the object now and at the click before. ``click``: the last one, row and
    column. The crop holds the connected region around the click that changed, or, if that is narrow beside the object,
    a square around the click; at the first click, the object. Where the authors' code stops with an empty crop (a click
    outside ``seen``), the answer is None.
    """
    height, width = predicted.shape
    if not before.any():
        top, bottom, left, right = _extent(predicted)
    else:
        # Regions are connected across corners. A click where nothing changed stands for all that did not.
        _, labels = cv2.connectedComponents((before ^ predicted).astype(np.uint8))
        top, bottom, left, right = _extent(labels == labels[click])
        o_top, o_bottom, o_left, o_right = _extent(predicted)
        tall, wide = o_bottom - o_top, o_right - o_left
        if bottom - top < tall / 3 or right - left < wide / 3:
            reach = CLICK_REACH * max(tall, wide)
            top, bottom, left, right = click[0] - reach, click[0] + reach, click[1] - reach, click[1] + reach
    top, bottom = _expanded(top, bottom, expansion, height)
    left, right = _expanded(left, right, expansion, width)
    top, bottom = max(top, seen.top), min(bottom, seen.bottom + 1)
    left, right = max(left, seen.left), min(right, seen.right + 1)
    return Crop(top, bottom - 1, left, right - 1) if top < bottom and left < right else None


def _extent(region: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """First and last row, first and last column; the whole image, one beyond the last, for next to nothing."""
    if np.count_nonzero(region) < FEW:
        return 0, region.shape[0], 0, region.shape[1]
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def _expanded(first: float, last: float, expansion: float, limit: int) -> tuple[int, int]:
    """First pixel, and one beyond the last, within ``limit``; rounded towards 0."""
    centre, length = 0.5 * (first + last), expansion * (last - first + 1)
    return max(0, int(centre - length * 0.5)), min(limit, int(centre + length * 0.5))


def _in_input(focus: Crop, seen: Crop, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Where a crop lies in the network's input of ``size``, which shows ``seen``: top, bottom, left, right edges."""
    down, across = size[0] / seen.size[0], size[1] / seen.size[1]
    return (
        max((focus.top - seen.top) * down, 0),
        min((focus.bottom + 1 - seen.top) * down, size[0]),
        max((focus.left - seen.left) * across, 0),
        min((focus.right + 1 - seen.left) * across, size[1]),
    )


def _around(a: Crop, b: Crop) -> Crop:
    return Crop(min(a.top, b.top), max(a.bottom, b.bottom), min(a.left, b.left), max(a.right, b.right))


def _part(window: Tensor, of: Crop, crop: Crop) -> Tensor:
    """The part of a window on ``of`` that shows ``crop``."""
    return window[crop.top - of.top : crop.bottom + 1 - of.top, crop.left - of.left : crop.right + 1 - of.left]
