"""The shared SAM model: Segment Anything (arXiv 2304.02643) in its three released sizes, and any of the same family.

Answers equal the released predictor's (``docs/models/sam.md`` has the figures); ``tests/test_sam_parity.py`` holds
them to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sambench.errors import UsageError
from sambench.models import checkpoints, sam_weights
from sambench.models.cards import Found
from sambench.models.checkpoints import Source
from sambench.models.coded_masks import CodedMasks, MaskFilter
from sambench.models.exact import exact_convolutions
from sambench.models.logit_windows import LogitWindow
from sambench.models.sam_decoder import ImageKeys, MaskDecoder
from sambench.models.sam_encoder import ImageEncoder
from sambench.models.sam_frame import Frame
from sambench.models.sam_weights import identify
from sambench.types import Image, Mask, Prompts

__all__ = ["Found", "Options", "SamModel", "SamOptions", "identify", "load", "load_checkpoint", "locate", "recognise"]

CPU_PROMPTS = 1
GPU_PROMPTS = 64
"""Prompts decoded at once. A CPU is fastest with one or two, whose pixels stay in its caches; with one, moreover, a
prompt's answer does not depend on the others."""
CPU_IMAGES = 1
GPU_IMAGES = 8
"""Images encoded at once."""
CHUNK = 64
"""Masks whose low-resolution logits are picked out at once on the way to full size."""


@dataclass(frozen=True)
class SamOptions:
    """``weights``: a hub id, a folder, or a file; empty for the released weights of the model's name. ``dtype``: of
    the encoder's matrix products. ``prompt_batch``: prompts decoded at once, 0 for what suits the device."""

    weights: str = ""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    prompt_batch: int = 0

    def __post_init__(self) -> None:
        if self.prompt_batch < 0:
            raise ValueError(f"model.prompt_batch={self.prompt_batch} is negative")


Options = SamOptions


def locate(name: str | None, options: SamOptions) -> Found:
    """Finds the weights and digests them. ``name``: what they are to be, or None for what their tensors say.

    Raises UsageError if they cannot be found or read, or are of another architecture.
    """
    source = sam_weights.find(options.weights, name)
    held = sam_weights.architecture(sam_weights.read(source), source.path).name
    if name is not None and held != name:
        raise UsageError(f"{source.path} holds weights of {held}, not of {name}: name the model {held}")
    return Found(held, str(source.path), source.digest(), sam_weights.trained_on(source))


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
    return SamModel(sam_weights.find(options.weights, name), name, options, device, encode_batch)


def load_checkpoint(path: str, options: SamOptions, device: str, encode_batch: int = 0) -> SamModel:
    """Whatever SAM a file or folder holds, named by its tensors."""
    return SamModel(sam_weights.find(path), None, options, device, encode_batch)


class SamModel:
    """A SAM, satisfying :class:`sambench.types.Model`. ``name``: the architecture asked for, None for any."""

    capabilities = frozenset({"points", "boxes", "masks", "multimask"})
    batch_invariant = False

    def __init__(self, source: Source, name: str | None, options: SamOptions, device: str, encode_batch: int) -> None:
        module = sam_weights.module(source, name).to(device)
        self.name = name or sam_weights.architecture(module.state_dict(), source.path).name
        self.trained_on = sam_weights.trained_on(source)
        self.weights_digest = source.digest()
        self.device = torch.device(device)
        gpu = self.device.type != "cpu"
        self.encode_batch = encode_batch or (GPU_IMAGES if gpu else CPU_IMAGES)
        self.prompt_batch = options.prompt_batch or (GPU_PROMPTS if gpu else CPU_PROMPTS)
        self.encoder = ImageEncoder(module.vision_encoder, getattr(torch, options.dtype))
        self.decoder = MaskDecoder(module)

    @torch.inference_mode()
    def encode(self, images: Sequence[Image]) -> list[SamView]:
        """One forward of the encoder for all ``images``."""
        frames = [Frame((image.shape[0], image.shape[1]), self.decoder.side) for image in images]
        pixels = torch.stack([frame.pixels(image) for frame, image in zip(frames, images, strict=True)])
        with exact_convolutions():
            embeddings = self.encoder(pixels.to(self.device))
        return [SamView(self, *parts) for parts in zip(images, frames, embeddings, strict=True)]


class SamView:
    """A SAM that has encoded one image. ``embedding``: ``((S/16)², 256)`` float32 on the device."""

    def __init__(self, model: SamModel, pixels: Image, frame: Frame, embedding: Tensor) -> None:
        self.model, self.pixels, self.frame, self.embedding = model, pixels, frame, embedding
        self.image = ImageKeys(embedding, model.decoder)

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[SamView]:
        """As :class:`sambench.types.View` says, as many encoded at once as the model encodes images."""
        for start in range(0, len(boxes), self.model.encode_batch):
            part = boxes[start : start + self.model.encode_batch]
            yield from self.model.encode([np.ascontiguousarray(self.pixels[y0:y1, x0:x1]) for x0, y0, x1, y1 in part])

    @torch.inference_mode()
    def predict(self, prompts: Prompts, *, multimask: bool) -> SamPrediction:
        """``multimask``: tokens 1 to 3, else token 0 (protocol §1.2). Keeps 256 KB of logits per mask on the device.

        Raises ValueError for text.
        """
        if prompts.text is not None:
            raise ValueError("SAM takes points, boxes and masks, not text")
        decoder, device = self.model.decoder, self.model.device
        points = labels = boxes = masks = None
        if prompts.points is not None and prompts.labels is not None:
            points = torch.from_numpy(self.frame.to_input(prompts.points)).to(device)
            labels = torch.from_numpy(np.asarray(prompts.labels, np.int64)).to(device)
        if prompts.boxes is not None:
            boxes = torch.from_numpy(self.frame.to_input(prompts.boxes.reshape(-1, 2, 2))).flatten(1).to(device)
        if prompts.mask_logits is not None:
            masks = torch.as_tensor(prompts.mask_logits, dtype=torch.float32, device=device)
        candidates, side = 3 if multimask else 1, 4 * decoder.grid
        # In place, so that the logits of hundreds of prompts exist once.
        low = torch.empty((len(prompts), candidates, side, side), device=device)
        scores = torch.empty((len(prompts), candidates), device=device)
        for start in range(0, len(prompts), self.model.prompt_batch):
            part = slice(start, start + self.model.prompt_batch)
            p, l, b, m = (None if given is None else given[part] for given in (points, labels, boxes, masks))  # noqa: E741
            tokens = decoder.tokens(len(low[part]), p, l, b)
            low[part], scores[part] = decoder(self.image, tokens, m, multimask)
        return SamPrediction(self.frame, low, scores)


class SamPrediction:
    """``low``: ``(N, M, S/4, S/4)`` float32 logits on the device. ``scores``: ``(N, M)`` predicted IoUs."""

    def __init__(self, frame: Frame, low: Tensor, scores: Tensor | NDArray[np.float32]) -> None:
        self.frame, self.low = frame, low
        self._scores = torch.as_tensor(scores)

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        # Only when asked for: bringing them down waits for the device.
        return self._scores.cpu().numpy()

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        """The masks of (prompt, candidate) pairs at the original size, foreground where the logit is above 0."""
        return list(self.frame.masks(self.feedback(which)))

    def logits(self, which: Sequence[tuple[int, int]], margin: int) -> Iterator[LogitWindow]:
        """As :meth:`sambench.models.logit_windows.SoftPrediction.logits` says."""
        for start in range(0, len(which), CHUNK):
            yield from self.frame.windows(self.feedback(which[start : start + CHUNK]), margin)

    def boxes(self) -> NDArray[np.int64]:
        """``(N, M, 4)`` xyxy pixels, right and bottom exclusive, zeros for an empty mask."""
        return self.frame.boxes(self.low.flatten(0, 1)).reshape(*self.scores.shape, 4)

    def coded(self, wanted: MaskFilter) -> CodedMasks:
        """As :class:`sambench.models.coded_masks.CodedPrediction` says."""
        return self.frame.coded(self.low.flatten(0, 1), self._scores.flatten(), wanted)

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> Tensor:
        """``(len(chosen), S/4, S/4)`` logits, not thresholded."""
        prompt, candidate = (torch.tensor([pair[i] for pair in chosen], dtype=torch.long) for i in (0, 1))
        return self.low[prompt.to(self.low.device), candidate.to(self.low.device)]
