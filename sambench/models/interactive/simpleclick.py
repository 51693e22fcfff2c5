"""SimpleClick (arXiv 2210.11006) from its authors' checkpoints: the network and the NoBRS predictor with ZoomIn that
squashes image and crops to a square (docs/models/simpleclick.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, MultipleOf

from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.interactive import simpleclick_weights
from sambench.models.interactive.click_checkpoints import find
from sambench.models.interactive.click_predictor import ClickModel, Settings
from sambench.models.interactive.zoom_in import ZoomIn
from sambench.plugins.options import Probability

CPU_PROMPTS = 1
GPU_PROMPTS = 16
"""Prompts that go through the network at once: one on a CPU, so that answers do not depend on the other prompts."""


@dataclass(frozen=True)
class Options:
    weights: str = ""
    """Checkpoint file."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the encoder's matrix products."""
    threshold: Probability = 0.49
    """A pixel is foreground if its probability is above this."""
    crop: Annotated[int, Ge(224), MultipleOf(224)] = 448
    """Pixels per side of the network's input (the authors' evaluation has 448, and 672 for DAVIS alone)."""
    prompt_batch: Annotated[int, Ge(0)] = 0
    """Prompts that go through the network at once; 0: 1 on a CPU, 16 on a GPU."""


def locate(name: str | None, options: Options) -> WeightsInfo:
    """As :class:`sambench.models.cards.Adapter` says."""
    source = find(options.weights, name)
    held = _held(source)
    checkpoints.refuse_other(source.path, held, name)
    return WeightsInfo(held, str(source.path), source.digest(), simpleclick_weights.trained_on(source))


def recognise(source: Source) -> str | None:
    """The name of the SimpleClick that a source holds, None if it holds none."""
    if source.config() is not None:
        return None
    return _held(source) if simpleclick_weights.holds(source) else None


def load(name: str, options: Options, device: str, encode_batch: int) -> ClickModel:
    """The model on ``device``."""
    source = find(options.weights, name)
    network = simpleclick_weights.network(source, name).to(device)
    settings = Settings(
        threshold=options.threshold,
        flip=True,
        zoom=ZoomIn(target=(options.crop, options.crop), skip_clicks=-1),
        radius=simpleclick_weights.RADIUS,
        prompt_batch=options.prompt_batch or (CPU_PROMPTS if device == "cpu" else GPU_PROMPTS),
    )
    return ClickModel(
        network.prepare(options.crop, getattr(torch, options.dtype)),
        settings,
        device,
        name=name,
        weights_digest=source.digest(),
        trained_on=simpleclick_weights.trained_on(source),
        encode_batch=encode_batch,
    )


def _held(source: Source) -> str:
    state, parameters = simpleclick_weights.read(source)
    return simpleclick_weights.name_of(simpleclick_weights.sizes(state, parameters, source.path))
