"""FocalClick (arXiv 2204.02574) on SegFormer's encoder, from its authors' checkpoints (docs/models/focalclick.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, MultipleOf

from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.interactive import focalclick_weights
from sambench.models.interactive.click_checkpoints import find
from sambench.models.interactive.click_predictor import Settings
from sambench.models.interactive.focalclick_predictor import FocalClickModel
from sambench.models.interactive.zoom_in import ZoomIn
from sambench.plugins.options import Probability

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
    """Thresholds and sizes as the authors document them; the defaults of their script are 0.49 and 384 (OQ-13)."""

    weights: str = ""
    """Checkpoint file."""
    threshold: Probability = 0.5
    """A pixel is foreground if its probability is above this."""
    infer_size: Annotated[int, Ge(64), MultipleOf(64)] = 256
    """Pixels per side of both networks' inputs."""
    zoom_expansion: Annotated[float, Ge(1)] = 1.4
    """Side of the crop that is looked at, over that of the object's box."""
    focus_expansion: Annotated[float, Ge(1)] = 1.4
    """Side of the refined crop, over that of the box of the pixels to refine."""
    prompt_batch: Annotated[int, Ge(0)] = 0
    """Prompts that go through the networks at once; 0: 1 on a CPU, 32 on a GPU."""


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
