"""MobileSAM (arXiv 2306.14289): SAM's prompt encoder and mask decoder over a TinyViT image encoder.

Answers equal the released predictor's (``docs/models/mobile_sam.md`` has the figures).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sambench.errors import UsageError
from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.common.image_model import PromptOptions
from sambench.models.sam import sam, sam_weights
from sambench.models.sam.sam import SamModel
from sambench.models.sam.sam_decoder import MaskDecoder
from sambench.models.sam.tiny_vit import DEPTHS, TinyViT, fold

NAME = "mobile_sam"
FILE = "mobile_sam.pt"
"""What the authors call their checkpoint."""
RELEASED = "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"
"""Its sha256."""

_UNUSED = ("vision_encoder.norm_head.", "vision_encoder.head.")
"""The classification head, which the released file holds and the released code never calls."""


Options = PromptOptions


def locate(name: str | None, options: PromptOptions) -> WeightsInfo:
    """Finds the weights and digests them; see :class:`sambench.models.cards.Adapter`."""
    return _found(_find(options))


def recognise(source: Source) -> str | None:
    """``mobile_sam`` if the source holds one. HQ-SAM's tiny model has the same encoder, and is not one."""
    if source.config() is not None:
        return None
    held = checkpoints.contents(source)
    if "image_encoder.layers.0.blocks.0.conv1.c.weight" not in held or any(".hf_" in key for key in held):
        return None
    return NAME


def load(name: str, options: PromptOptions, device: str, encode_batch: int = 0) -> MobileSamModel:
    """MobileSAM on a device. ``encode_batch``: 0 for what suits the device."""
    source = _find(options)
    return MobileSamModel(fill(network(), source), _found(source), options, device, encode_batch)


def network(depths: Sequence[int] = DEPTHS) -> Any:
    """``transformers.SamModel`` with a TinyViT for its ``vision_encoder``, without weights (on the meta device)."""
    from transformers import SamConfig, SamVisionConfig
    from transformers import SamModel as TransformersSam

    with torch.device("meta"):
        model = TransformersSam(SamConfig(vision_config=SamVisionConfig(num_hidden_layers=0)))
        model.vision_encoder = TinyViT(depths)
    return model


def fill(network: Any, source: Source) -> Any:
    """The weights put into the network of :func:`network`, for inference."""
    state = {key: value for key, value in sam_weights.read(source).items() if not key.startswith(_UNUSED)}
    checkpoints.fill(network, state, source.path, NAME)
    fold(network.vision_encoder)
    return network


class MobileSamModel(SamModel):
    """A MobileSAM, satisfying :class:`sambench.core.model.Model`: everything but the image encoder is SAM's.
    ``network``: with its weights."""

    adapter = "mobile_sam 1"

    def __init__(
        self, network: Any, found: WeightsInfo, options: PromptOptions, device: str, encode_batch: int
    ) -> None:
        network.to(device)
        super().__init__(found, network.vision_encoder, MaskDecoder(network), options, device, encode_batch)


def _find(options: PromptOptions) -> Source:
    """The source, refused unless it holds a MobileSAM."""
    wanted = f"{NAME} has no weights on the hub that can be fetched: pass the authors' {FILE} with --set model.weights="
    source = checkpoints.find(options.weights, "", f"{wanted}FILE")
    if recognise(source) is None:
        config = source.config()
        held = sam.recognise(source) if config is None else f"a model of type {config.get('model_type')!r}"
        raise UsageError(f"{source.path} holds {held or checkpoints.some(checkpoints.contents(source))}, not {NAME}")
    return source


def _found(source: Source) -> WeightsInfo:
    """Trained on SA-1B if it is the released file, which its digest proves or its name tells; else nobody has said."""
    released = source.digest() == RELEASED or source.path.name == FILE
    return WeightsInfo(NAME, str(source.path), source.digest(), frozenset({"sa1b"}) if released else None)
