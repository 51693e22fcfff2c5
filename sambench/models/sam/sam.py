"""The shared SAM model: Segment Anything (arXiv 2304.02643) in its three released sizes, and any of the same family.

Answers equal the released predictor's (``docs/models/sam.md`` has the figures); ``tests/models/test_sam_parity.py``
holds them to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sambench.core.mask import Image, Mask
from sambench.core.model import Prompts, View
from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.common.coded_masks import CodedMasks, MaskFilter
from sambench.models.common.image_model import EncoderOptions, ImageModel, PromptOptions
from sambench.models.common.logit_windows import LogitWindow
from sambench.models.common.memory import in_halves
from sambench.models.sam import sam_weights
from sambench.models.sam.sam_decoder import ImageKeys, MaskDecoder
from sambench.models.sam.sam_encoder import ImageEncoder, compiled
from sambench.models.sam.sam_frame import Frame
from sambench.models.sam.sam_weights import identify

__all__ = [
    "Options",
    "SamModel",
    "SamOptions",
    "WeightsInfo",
    "identify",
    "load",
    "load_checkpoint",
    "locate",
    "recognise",
]

CHUNK = 64
"""Masks whose low-resolution logits are picked out at once on the way to full size."""


@dataclass(frozen=True)
class SamOptions(EncoderOptions):
    attention: Literal["auto", "chunked", "sdpa"] = "auto"
    """Of the encoder. `chunked`: a few queries and heads at a time as products and a softmax; `sdpa`: torch's
    `scaled_dot_product_attention` with the relative positions as a bias, as many queries at a time as the memory
    holds; `auto`: `chunked` on a CPU, `sdpa` on a GPU."""
    compile: bool = False
    """Send the encoder, all but its attention, through `torch.compile` when it is loaded; needs a C++ compiler on a CPU
    and Triton on a GPU."""


Options = SamOptions


def locate(name: str | None, options: SamOptions) -> WeightsInfo:
    """As :class:`sambench.models.cards.Adapter` says."""
    source = sam_weights.find(options.weights, name)
    held = sam_weights.architecture(sam_weights.read(source), source.path).name
    checkpoints.refuse_other(source.path, held, name)
    return WeightsInfo(held, str(source.path), source.digest(), sam_weights.trained_on(source))


def recognise(source: Source) -> str | None:
    """The name of the SAM that a source holds, None if it holds none."""
    if (source.config() or {"model_type": "sam"}).get("model_type") != "sam":
        return None
    held = checkpoints.contents(source)
    of_a_sam = any(key.endswith(("blocks.0.attn.rel_pos_h", "layers.0.attn.rel_pos_h")) for key in held)
    if not of_a_sam or any(".hf_" in key or ".hq_" in key for key in held):
        return None
    return sam_weights.architecture(sam_weights.read(source), source.path).name


def load(name: str, options: SamOptions, device: str, encode_batch: int = 0) -> SamModel:
    """``sam_vit_b``, ``sam_vit_l`` or ``sam_vit_h`` on a device. ``encode_batch``: 0 for what suits the device."""
    return _load(sam_weights.find(options.weights, name), name, options, device, encode_batch)


def load_checkpoint(path: str, options: SamOptions, device: str, encode_batch: int = 0) -> SamModel:
    """Whatever SAM a file or folder holds, named by its tensors."""
    return _load(sam_weights.find(path), None, options, device, encode_batch)


def _load(source: Source, name: str | None, options: SamOptions, device: str, encode_batch: int) -> SamModel:
    """``name``: the architecture asked for, None for any."""
    module = sam_weights.module(source, name).to(device)
    name = name or sam_weights.architecture(module.state_dict(), source.path).name
    found = WeightsInfo(name, str(source.path), source.digest(), sam_weights.trained_on(source))
    encoder = ImageEncoder(module.vision_encoder, getattr(torch, options.dtype), options.attention)
    variant = [f"{key}={getattr(options, key)}" for key in ("dtype", "attention", "compile")]
    model = SamModel(found, encoder, MaskDecoder(module), options, device, encode_batch, *variant)
    if options.compile:
        model.encoder = compiled(encoder, (model.encode_batch, 3, model.decoder.side, model.decoder.side), model.device)
    return model


class SamModel(ImageModel[Frame, "SamView"]):
    """A SAM, satisfying :class:`sambench.core.model.Model`. ``encoder``: ``(B, 3, S, S)`` float32 normalised pixels to
    ``(B, (S/16)², 256)`` float32, row by row."""

    capabilities = frozenset({"points", "boxes", "masks", "multimask"})
    adapter = "sam 1"
    parts = ("embedding",)
    decodes_jointly = True

    def __init__(
        self,
        found: WeightsInfo,
        encoder: Callable[[Tensor], Tensor],
        decoder: MaskDecoder,
        options: PromptOptions,
        device: str,
        encode_batch: int,
        *variant: str,
    ) -> None:
        super().__init__(found, options, device, encode_batch, *variant)
        self.encoder, self.decoder = encoder, decoder

    def frame(self, size: tuple[int, int]) -> Frame:
        return Frame(size, self.decoder.side)

    def features(self, pixels: Tensor) -> Sequence[Tensor]:
        return (self.encoder(pixels),)

    def view(self, image: Image, frame: Frame, features: Sequence[Tensor]) -> SamView:
        return SamView(self, image, frame, features[0][0])

    def features_of(self, view: SamView) -> Sequence[Tensor]:
        return (view.embedding[None],)

    @torch.inference_mode()
    def predict_together(
        self, views: Sequence[SamView], prompts: Sequence[Prompts], *, multimask: bool
    ) -> list[SamPrediction]:
        """What ``predict`` of each view answers to the prompts at its place, :attr:`prompt_batch` of them decoded at
        once, whatever their images. Equal to the bit where that is 1, else within rounding: on a CPU logits with a
        standard deviation of 0.6 differ by 4e-6 at most, predicted IoUs by 7e-7.

        Prompts with as many points and the same other parts are decoded together, in order: a padding point more would
        be a token more to look at, and another answer. Where memory runs out half as many go on. Raises ValueError for
        text.
        """
        if any(one.text is not None for one in prompts):
            raise ValueError("SAM takes points, boxes and masks, not text")
        alike: dict[tuple[int | None, bool, bool], list[int]] = {}
        for i, one in enumerate(prompts):
            count = None if one.points is None else one.points.shape[1]
            alike.setdefault((count, one.boxes is None, one.mask_logits is None), []).append(i)
        answers: dict[int, SamPrediction] = {}
        for places in alike.values():
            decoded = self._decode([views[i] for i in places], [prompts[i] for i in places], multimask)
            answers.update(zip(places, decoded, strict=True))
        return [answers[i] for i in range(len(views))]

    def _decode(self, views: Sequence[SamView], prompts: Sequence[Prompts], multimask: bool) -> list[SamPrediction]:
        """Of prompts with as many points and the same other parts."""
        decoder, device = self.decoder, self.device
        inputs = [view.inputs(one) for view, one in zip(views, prompts, strict=True)]
        points, labels, boxes, masks = (_joined(parts, device) for parts in zip(*inputs, strict=True))
        counts = [len(one) for one in prompts]
        images = [view.image for view, count in zip(views, counts, strict=True) for _ in range(count)]
        candidates, side = 3 if multimask else 1, 4 * decoder.grid
        # In place, so that the logits of hundreds of prompts exist once.
        low = torch.empty((len(images), candidates, side, side), device=device)
        scores = torch.empty((len(images), candidates), device=device)

        def decode(places: Sequence[int]) -> None:
            part = slice(places[0], places[-1] + 1)
            p, l, b, m = (None if given is None else given[part] for given in (points, labels, boxes, masks))  # noqa: E741
            tokens = decoder.tokens(len(places), p, l, b)
            low[part], scores[part] = decoder(images[part], tokens, m, multimask)

        in_halves(self, decode, range(len(images)), self.prompt_batch)
        answers = zip(views, low.split(counts), scores.split(counts), strict=True)
        return [SamPrediction(view.frame, *answer) for view, *answer in answers]


class SamView(View):
    """A SAM that has encoded one image. ``embedding``: ``((S/16)², 256)`` float32 on the device."""

    def __init__(self, model: SamModel, pixels: Image, frame: Frame, embedding: Tensor) -> None:
        self.model, self.pixels, self.frame, self.embedding = model, pixels, frame, embedding
        self.image = ImageKeys(embedding, model.decoder)

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[SamView]:
        return self.model.crops_of(self.pixels, boxes)

    def predict(self, prompts: Prompts, *, multimask: bool) -> SamPrediction:
        """``multimask``: tokens 1 to 3, else token 0 (protocol §1.2). Keeps 256 KB of logits per mask on the device.

        Raises ValueError for text.
        """
        return self.model.predict_together([self], [prompts], multimask=multimask)[0]

    def inputs(self, prompts: Prompts) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Points ``(N, P, 2)`` and boxes ``(N, 4)`` of the input frame, their labels ``(N, P)`` between them; and masks
        ``(N, S/4, S/4)`` on the device."""
        masks = None
        if prompts.mask_logits is not None:
            masks = torch.as_tensor(prompts.mask_logits, dtype=torch.float32, device=self.model.device)
        return *self.frame.prompts(prompts), masks


def _joined(parts: Sequence[Tensor | None], device: torch.device) -> Tensor | None:
    """All or none of which are given: one after the other, on the device."""
    given = [part for part in parts if part is not None]
    if not given:
        return None
    # A single one is not copied: logits of previous masks are large.
    return (given[0] if len(given) == 1 else torch.cat(given)).to(device)


class SamPrediction:
    """``low``: ``(N, M, S/4, S/4)`` float32 logits on the device. ``scores``: ``(N, M)`` predicted IoUs. ``raw``: the
    logits that are handed back, where they are not ``low``."""

    def __init__(
        self, frame: Frame, low: Tensor, scores: Tensor | NDArray[np.float32], raw: Tensor | None = None
    ) -> None:
        self.frame, self.low, self.raw = frame, low, low if raw is None else raw
        self._scores = torch.as_tensor(scores)

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        # Only when asked for: bringing them down waits for the device.
        return self._scores.cpu().numpy()

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        """The masks of (prompt, candidate) pairs at the original size, foreground where the logit is above 0."""
        return list(self.frame.masks(_picked(self.low, which)))

    def logits(self, which: Sequence[tuple[int, int]], margin: int) -> Iterator[LogitWindow]:
        for start in range(0, len(which), CHUNK):
            yield from self.frame.windows(_picked(self.low, which[start : start + CHUNK]), margin)

    def boxes(self) -> NDArray[np.int64]:
        """``(N, M, 4)`` xyxy pixels, right and bottom exclusive, zeros for an empty mask."""
        return self.frame.boxes(self.low.flatten(0, 1)).reshape(*self.scores.shape, 4)

    def coded(self, wanted: MaskFilter) -> CodedMasks:
        return self.frame.coded(self.low.flatten(0, 1), self._scores.flatten(), wanted)

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> Tensor:
        """``(len(chosen), S/4, S/4)`` logits, not thresholded."""
        return _picked(self.raw, chosen)


def _picked(low: Tensor, chosen: Sequence[tuple[int, int]]) -> Tensor:
    prompt, candidate = (torch.tensor([pair[i] for pair in chosen], dtype=torch.long) for i in (0, 1))
    return low[prompt.to(low.device), candidate.to(low.device)]
