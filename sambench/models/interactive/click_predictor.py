"""Prompting networks that see clicks as discs and their own previous answer as a channel, as RITM's NoBRS predictor
does (``isegm/inference/predictors/base.py``; protocol §2.7).

For each click: the crop is chosen (:mod:`sambench.models.interactive.zoom_in`), image and previous probabilities are
cut out and resized, clicks are drawn (:mod:`sambench.models.interactive.click_maps`), the network answers logits,
those of the mirrored input are averaged with them, and the probabilities are put back in their place in the image, all
else being 0.

A family brings a network and :class:`Settings`, and makes a :class:`ClickModel` of them; one with another way from
prompt to answer overrides :meth:`ClickView.answer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from sambench.core.mask import Image, Mask
from sambench.core.model import Model, Prompts, View
from sambench.models.common.exact import exact_convolutions
from sambench.models.interactive.click_maps import GridClick, discs, flipped
from sambench.models.interactive.zoom_in import Crop, ZoomIn, box_of, clicks_in


class ClickNetwork(Protocol):
    """``image``: ``(B, 3, h, w)`` float32 RGB in [0, 1]. ``previous``: ``(B, 1, h, w)`` probabilities. ``clicks``:
    ``(B, 2, h, w)`` discs of positive and negative clicks. Answers ``(B, 1, h', w')`` logits, which stand for the input
    with the centres of the corner pixels on each other."""

    def __call__(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Settings:
    """``threshold``: a pixel is foreground if its probability is above it. ``flip``: average with the mirrored input.
    ``zoom``: None for the whole image at native resolution at every click. ``radius``: of a disc, pixels of the input.
    ``clicks_limit``: so many first clicks are drawn; None: all. ``prompt_batch``: prompts that go through the network
    at once, if their inputs have one size."""

    threshold: float = 0.49
    flip: bool = True
    zoom: ZoomIn | None = field(default_factory=ZoomIn)
    radius: float = 5
    clicks_limit: int | None = None
    prompt_batch: int = 1


class Memory(Protocol):
    """What is kept of an answer until the next click: what :meth:`ClickPrediction.feedback` hands out.

    ``crop``: the crop in use, None before any. ``object_box``: :func:`sambench.models.interactive.zoom_in.box_of` the
    probabilities above :attr:`ZoomIn.threshold`.
    """

    crop: Crop | None
    object_box: Crop | None

    def window(self) -> tuple[Crop, Tensor]:
        """Where the probabilities may be above 0, and those: ``(h, w)`` float32 on the device."""


@dataclass
class LowLogits:
    """A :class:`Memory` that keeps the network's own low-resolution answer and makes the probabilities from it: a
    sixteenth of the room, where a task keeps answers to dozens of prompts for one image.

    ``logits``: ``(h', w')`` on the device, mirrored ones averaged in. ``input_size``: ``(h, w)`` of the network's
    input. ``place``: where the answer belongs in the image.
    """

    logits: Tensor
    input_size: tuple[int, int]
    place: Crop
    crop: Crop | None
    object_box: Crop | None = None

    def window(self) -> tuple[Crop, Tensor]:
        """Upsampled to the input, made probabilities, resized to the place, in this order (all bilinear between the
        centres of the corner pixels)."""
        probabilities = resize(self.logits[None, None], self.input_size).sigmoid()
        return self.place, resize(probabilities, self.place.size)[0, 0]


class ClickModel(Model):
    """A click network as a :class:`sambench.core.model.Model`. One mask for a prompt, with or without ``multimask``.

    ``network``: on ``device`` and in inference mode.
    """

    capabilities = frozenset({"points", "masks"})
    batch_invariant = True

    def __init__(
        self,
        network: ClickNetwork,
        settings: Settings,
        device: str,
        *,
        name: str,
        weights_digest: str,
        trained_on: frozenset[str] | None,
        encode_batch: int = 1,
    ) -> None:
        self.network, self.settings, self.device = network, settings, torch.device(device)
        self.name, self.weights_digest, self.trained_on = name, weights_digest, trained_on
        self.encode_batch = encode_batch

    def encode(self, images: Sequence[Image]) -> list[ClickView]:
        """Nothing but the move to the device: all that such a network does depends on the clicks."""
        return [ClickView(self, image) for image in images]


class ClickView(View):
    """A click model looking at one image. ``pixels``: ``(1, 3, H, W)`` uint8 on the device."""

    def __init__(self, model: ClickModel, image: Image) -> None:
        self.model = model
        self.size = (image.shape[0], image.shape[1])
        self.pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(model.device)

    @torch.inference_mode()
    def predict(self, prompts: Prompts, *, multimask: bool) -> ClickPrediction:
        """``prompts.points``: all clicks so far, in order; a padding label ends nothing, it is passed over.
        ``prompts.mask_logits``: what ``feedback`` of this view answered for the clicks before the last; None: nothing
        is known of earlier answers.

        Raises ValueError for boxes, text, or a prompt without a click.
        """
        if prompts.points is None or prompts.labels is None or prompts.boxes is not None or prompts.text is not None:
            raise ValueError(f"{self.model.name} takes points and the previous answer, not boxes and not text")
        clicks = [
            [
                GridClick(float(y), float(x), label == 1)
                for (x, y), label in zip(points, labels, strict=True)
                if label >= 0
            ]
            for points, labels in zip(prompts.points, prompts.labels.tolist(), strict=True)
        ]
        if not all(clicks):
            raise ValueError("a prompt has no click")
        memories = [None] * len(clicks) if prompts.mask_logits is None else list(prompts.mask_logits)
        with exact_convolutions():
            return ClickPrediction(self, self.answer(clicks, memories))

    def answer(self, clicks: Sequence[list[GridClick]], memories: Sequence[Memory | None]) -> list[Memory]:
        """The network's answer to each prompt. ``clicks``: in pixels of the image. Prompts whose inputs have one size
        go through the network together, :attr:`Settings.prompt_batch` at a time."""
        looks = [self.look(own, memory) for own, memory in zip(clicks, memories, strict=True)]
        answers: dict[int, Memory] = {}
        for batch in self._batches(looks):
            for i, logits in zip(batch, self.logits([looks[i] for i in batch]), strict=True):
                look = looks[i]
                # The reference, too, puts what it saw of the whole image into the crop in use, if there is one.
                place = look.kept or look.seen
                answers[i] = LowLogits(logits, look.input_size, place, look.kept)
        return [answers[i] for i in range(len(looks))]

    def look(self, clicks: Sequence[GridClick], memory: Memory | None) -> Look:
        """What the network is to see for a prompt."""
        settings, previous = self.model.settings, None if memory is None else memory.crop
        crop = None
        if settings.zoom is not None:
            object_box = None if memory is None else memory.object_box
            crop = settings.zoom.crop(self.size, clicks, object_box, previous)
        drawn = clicks[: settings.clicks_limit]
        if crop is None or settings.zoom is None:
            return Look(Crop.whole(self.size), self.size, list(drawn), previous, memory)
        size = settings.zoom.input_size(crop)
        return Look(crop, size, clicks_in(crop, size, drawn), crop, memory)

    def logits(self, looks: Sequence[Look]) -> Tensor:
        """``(B, h', w')`` float32: the network's answers to looks of one input size, mirrored ones averaged in."""
        settings, device = self.model.settings, self.model.device
        image = torch.cat([self._resized(self.pixels_of(look.seen), look) for look in looks])
        previous = torch.cat([self._resized(self.previous_of(look), look) for look in looks])
        size, radius = looks[0].input_size, settings.radius
        drawn = torch.stack([discs(look.clicks, size, radius) for look in looks])
        if settings.flip:
            image, previous = (torch.cat([maps, maps.flip(3)]) for maps in (image, previous))
            mirrored = [discs(flipped(look.clicks, size[1]), size, radius) for look in looks]
            drawn = torch.cat([drawn, torch.stack(mirrored)])
        out = self.model.network(image, previous, drawn.to(device))[:, 0]
        if settings.flip:
            out, mirrored_out = out.split(len(looks))
            out = 0.5 * (out + mirrored_out.flip(2))
        return out

    def pixels_of(self, crop: Crop) -> Tensor:
        """``(1, 3, h, w)`` float32 in [0, 1], not resized."""
        part = self.pixels[:, :, crop.top : crop.bottom + 1, crop.left : crop.right + 1]
        return part.to(torch.float32).div_(255)

    def previous_of(self, look: Look) -> Tensor:
        """``(1, 1, h, w)`` float32: the previous probabilities in the crop, not resized; 0 where there were none."""
        out = torch.zeros((1, 1, *look.seen.size), device=self.model.device)
        if look.memory is not None:
            place, window = look.memory.window()
            a, b = look.seen, place
            top, bottom, left, right = (
                max(a.top, b.top), min(a.bottom, b.bottom) + 1, max(a.left, b.left), min(a.right, b.right) + 1
            )  # fmt: skip
            if top < bottom and left < right:
                out[0, 0, top - a.top : bottom - a.top, left - a.left : right - a.left] = window[
                    top - b.top : bottom - b.top, left - b.left : right - b.left
                ]
        return out

    def _resized(self, maps: Tensor, look: Look) -> Tensor:
        return maps if look.input_size == look.seen.size else resize(maps, look.input_size)

    def _batches(self, looks: Sequence[Look]) -> Iterator[list[int]]:
        """Places in ``looks`` that go through the network together."""
        by_size: dict[tuple[int, int], list[int]] = {}
        for i, look in enumerate(looks):
            by_size.setdefault(look.input_size, []).append(i)
        for places in by_size.values():
            for start in range(0, len(places), self.model.settings.prompt_batch):
                yield places[start : start + self.model.settings.prompt_batch]


@dataclass(frozen=True)
class Look:
    """What a network sees for a prompt. ``seen``: the crop of the image. ``input_size``: ``(h, w)`` that it is resized
    to. ``clicks``: those that are drawn, in pixels of the input. ``kept``: the crop in use from now on, None before
    any. ``memory``: of the previous answer."""

    seen: Crop
    input_size: tuple[int, int]
    clicks: list[GridClick]
    kept: Crop | None
    memory: Memory | None


class ClickPrediction:
    """One mask for each of N prompts.

    ``scores``: ``(N, 1)`` float32, the mean probability of the mask's pixels, 0 for an empty mask. Networks of this
    kind do not estimate the quality of their masks; nothing is chosen by this number.
    """

    def __init__(self, view: ClickView, memories: Sequence[Memory]) -> None:
        self.size, self.memories = view.size, list(memories)
        settings = view.model.settings
        self._masks: list[Mask] = []
        self.scores: NDArray[np.float32] = np.zeros((len(memories), 1), np.float32)
        for i, memory in enumerate(self.memories):
            place, window = memory.window()
            foreground = window > settings.threshold
            mask = Mask.from_window(self.size, place.top, place.left, foreground.cpu().numpy())
            if mask.area:
                self.scores[i] = float(window[foreground].mean(dtype=torch.float64))
            if settings.zoom is not None:
                memory.object_box = box_of(window > settings.zoom.threshold, place.top, place.left)
            self._masks.append(mask)

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        """The masks of (prompt, 0) pairs."""
        return [self._masks[prompt] for prompt, _ in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """``(len(chosen),)`` objects, each a :class:`Memory` of this view, for ``Prompts.mask_logits``."""
        out = np.empty(len(chosen), object)
        for i, (prompt, _) in enumerate(chosen):
            out[i] = self.memories[prompt]
        return out

    def probabilities(self, prompt: int) -> NDArray[np.float32]:
        """``(H, W)`` float32: the probability of each pixel of the image."""
        place, window = self.memories[prompt].window()
        full = np.zeros(self.size, np.float32)
        full[place.top : place.bottom + 1, place.left : place.right + 1] = window.cpu().numpy()
        return full


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """``(B, C, h, w)`` float maps at another size, bilinear, the centres of the corner pixels on each other."""
    return interpolate(maps, size=size, mode="bilinear", align_corners=True)
