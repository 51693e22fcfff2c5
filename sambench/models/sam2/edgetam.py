"""EdgeTAM (arXiv 2501.07256) on single images: SAM 2 with an encoder for phones.

Answers equal those of the released image predictor (``docs/models/edgetam.md`` has the figures);
``tests/models/test_edgetam.py`` holds them to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sambench.errors import UsageError
from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.families.edgetam import TRAINED_ON
from sambench.models.sam.transformers_sam import SquareSamModel
from sambench.models.sam2 import sam2_weights
from sambench.models.sam2.sam2 import Sam2Options

NAME = "edgetam"
HUB = "yonigozlan/EdgeTAM-hf"
"""The authors' weights on the Hugging Face hub, as transformers names their tensors."""
FILE = "edgetam.pt"
"""The authors' name of their file."""

Options = Sam2Options


def recognise(source: Source) -> str | None:
    """``edgetam`` if a source holds one, else None."""
    config = source.config()
    if config is not None:
        return NAME if config.get("model_type") in ("edgetam", "edgetam_video") else None
    present = checkpoints.keys(source)
    of_edgetam = any(
        key.endswith(("trunk.body.stem.conv1.c.weight", "timm_model.stem.conv1.c.weight")) for key in present
    )
    return NAME if of_edgetam else None


def locate(name: str | None, options: Sam2Options) -> WeightsInfo:
    """Finds the weights and digests them. Raises UsageError if they cannot be found or read, or are of another
    architecture."""
    source = _find(options.weights)
    return WeightsInfo(NAME, str(source.path), source.digest(), trained_on(source))


def load(name: str, options: Sam2Options, device: str, encode_batch: int = 0) -> EdgeTamModel:
    """The model on a device. ``encode_batch``: 0 for what suits the device."""
    return EdgeTamModel(_find(options.weights), locate(name, options), options, device, encode_batch)


def trained_on(source: Source) -> frozenset[str] | None:
    """What the authors' weights have seen, which the hub id or their own file name tells; else nobody has said."""
    return TRAINED_ON if source.hub == HUB or source.path.name == FILE else None


def _find(weights: str) -> Source:
    source = checkpoints.find(weights, HUB)
    if recognise(source) is None:
        raise UsageError(f"{source.path} is not an EdgeTAM checkpoint: {checkpoints.description(source)}")
    return source


class EdgeTamModel(SquareSamModel):
    """An EdgeTAM for images, satisfying :class:`sambench.core.model.Model`."""

    adapter = "edgetam 1"

    def __init__(
        self, source: Source, found: WeightsInfo, options: Sam2Options, device: str, encode_batch: int
    ) -> None:
        # Here, not at the top: transformers takes seconds to import.
        from sambench.models.sam2.edgetam_network import EdgeTamNetwork

        config: Mapping[str, Any] = source.config() or {}
        with torch.device("meta"):
            network = EdgeTamNetwork(config, options.dynamic_multimask)
        checkpoints.fill(network, sam2_weights.translated(sam2_weights.read(source)), source.path, found.name)
        super().__init__(network, network.input(), found, options, device, encode_batch)

    def maps(self, pixels: Tensor) -> Sequence[Tensor]:
        found: Sequence[Tensor] = self.network.maps(pixels)
        return found
