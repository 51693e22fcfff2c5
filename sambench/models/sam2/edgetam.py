"""EdgeTAM (arXiv 2501.07256) on single images: SAM 2 with an encoder for phones.

Answers equal those of the released image predictor (``docs/models/edgetam.md`` has the figures);
``tests/models/test_edgetam.py`` holds them to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.families.edgetam import TRAINED_ON
from sambench.models.sam2.sam2 import Sam2Model, Sam2Options

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
    """As :class:`sambench.models.cards.Adapter` says."""
    source = _find(options.weights)
    return WeightsInfo(NAME, str(source.path), source.digest(), trained_on(source))


def load(name: str, options: Sam2Options, device: str, encode_batch: int = 0) -> EdgeTamModel:
    """As :class:`sambench.models.cards.Adapter` says."""
    source = _find(options.weights)
    return EdgeTamModel(source, source.config() or {}, locate(name, options), options, device, encode_batch)


def trained_on(source: Source) -> frozenset[str] | None:
    """What the authors' weights have seen, which the hub id or their own file name tells; else nobody has said."""
    return TRAINED_ON if source.hub == HUB or source.path.name == FILE else None


def _find(weights: str) -> Source:
    source = checkpoints.find(weights, HUB)
    checkpoints.require(source, recognise(source), "an EdgeTAM")
    return source


class EdgeTamModel(Sam2Model):
    """An EdgeTAM for images, satisfying :class:`sambench.core.model.Model`."""

    adapter = "edgetam 1"

    @staticmethod
    def empty(config: Mapping[str, Any], dynamic_multimask: bool) -> Any:
        from sambench.models.sam2.edgetam_network import EdgeTamNetwork

        return EdgeTamNetwork(config, dynamic_multimask)
