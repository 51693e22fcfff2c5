"""FocalClick (arXiv 2204.02574) on SegFormer's encoder, from its authors' checkpoints (docs/models/focalclick.md)."""

from __future__ import annotations

from dataclasses import dataclass

from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.interactive import focalclick_weights
from sambench.models.interactive.click_checkpoints import find
from sambench.models.interactive.click_predictor import Settings
from sambench.models.interactive.focalclick_predictor import FocalClickModel
from sambench.models.interactive.zoom_in import ZoomIn

CPU_PROMPTS = 1
GPU_PROMPTS = 32
"""Prompts that go through the networks at once: one on a CPU, so that answers do not depend on the other prompts."""

RADIUS = {True: 3, False: 5}
"""Pixels of the discs that the coarse segmenter sees, by whether it sees them at half the size."""
ALWAYS = 2.0
"""More than any overlap: ZoomIn chooses a new crop at every click."""
ZOOM_CUT = 0.49
"""Probability above which ZoomIn sees the object."""


@dataclass(frozen=True)
class Options:
    """``weights``: a checkpoint file. ``threshold``: a pixel is foreground if its probability is above it.
    ``infer_size``: pixels per side of both networks' inputs. The authors document 0.5 and 256, the defaults of
    their script 0.49 and 384 (OQ-13). ``zoom_expansion``, ``focus_expansion``: sides of the crop that is looked at, and
    of the refined one, over those of what they are to hold. ``prompt_batch``: prompts that go through the networks at
    once, 0 for what suits the device."""

    weights: str = ""
    threshold: float = 0.5
    infer_size: int = 256
    zoom_expansion: float = 1.4
    focus_expansion: float = 1.4
    prompt_batch: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"model.threshold={self.threshold}: a probability between 0 and 1")
        if self.infer_size < 64 or self.infer_size % 64:
            raise ValueError(f"model.infer_size={self.infer_size}: a multiple of 64 pixels")
        for key, value in (("zoom_expansion", self.zoom_expansion), ("focus_expansion", self.focus_expansion)):
            if value < 1:
                raise ValueError(f"model.{key}={value}: at least 1")
        if self.prompt_batch < 0:
            raise ValueError(f"model.prompt_batch={self.prompt_batch} is negative")


def locate(name: str | None, options: Options) -> WeightsInfo:
    """As :class:`sambench.models.cards.Adapter` says."""
    source = find(options.weights, name)
    held = _held(source, name)
    checkpoints.refuse_other(source.path, held, name)
    return WeightsInfo(held, str(source.path), source.digest(), focalclick_weights.trained_on(source))


def recognise(source: Source) -> str | None:
    """The name of the FocalClick that a source holds, None if it holds none. Raises UsageError for one on another
    encoder than SegFormer's."""
    if source.config() is not None or not focalclick_weights.is_focalclick(checkpoints.contents(source)):
        return None
    return _held(source, None)


def load(name: str, options: Options, device: str, encode_batch: int) -> FocalClickModel:
    """The model on ``device``."""
    source = find(options.weights, name)
    network = focalclick_weights.network(source, name).to(device)
    settings = Settings(
        threshold=options.threshold,
        flip=False,
        zoom=ZoomIn(
            target=(options.infer_size, options.infer_size),
            skip_clicks=1,
            expansion=options.zoom_expansion,
            min_size=10,
            recompute_iou=ALWAYS,
            threshold=ZOOM_CUT,
        ),
        radius=RADIUS[network.halved],
        prompt_batch=options.prompt_batch or (CPU_PROMPTS if device == "cpu" else GPU_PROMPTS),
    )
    return FocalClickModel(
        network,
        options.focus_expansion,
        settings,
        device,
        name=name,
        weights_digest=source.digest(),
        trained_on=focalclick_weights.trained_on(source),
        encode_batch=encode_batch,
    )


def _held(source: Source, name: str | None) -> str:
    state, said = focalclick_weights.read(source)
    return focalclick_weights.name_of(focalclick_weights.sizes(source, state, said, focalclick_weights.half_of(name)))
