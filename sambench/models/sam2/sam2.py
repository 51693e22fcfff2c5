"""SAM 2 and 2.1 (arXiv 2408.00714) on single images, through transformers' modules.

Answers equal those of the released image predictor, SAM2ImagePredictor as ``build_sam2`` makes it
(``docs/models/sam2.md`` has the figures); ``tests/models/test_sam2_parity.py`` holds them to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.common.image_model import EncoderOptions
from sambench.models.families.sam2 import CARDS, TRAINED_ON
from sambench.models.sam.transformers_sam import SquareSamModel
from sambench.models.sam2 import sam2_weights
from sambench.models.sam2.sam2_weights import Held

HUB = {card.name: card.hub for card in CARDS}
"""The authors' weights on the Hugging Face hub."""
FILES = frozenset(f"{name}.pt" for name in HUB)
"""The authors' names of their files."""


@dataclass(frozen=True)
class Sam2Options(EncoderOptions):
    dynamic_multimask: bool = True
    """Where one mask is asked for and its stability at +-0.05 is below 0.98, answer the best of the three, as the
    released predictor does."""


Options = Sam2Options


def recognise(source: Source) -> str | None:
    """The name of the SAM 2 that a source holds, None if it holds none."""
    held = _held(source)
    return None if held is None else held.name


def locate(name: str | None, options: Sam2Options) -> WeightsInfo:
    """As :class:`sambench.models.cards.Adapter` says."""
    source, held = _find(options.weights, name)
    return _found(source, held, name)


def load(name: str, options: Sam2Options, device: str, encode_batch: int = 0) -> Sam2Model:
    """As :class:`sambench.models.cards.Adapter` says."""
    source, held = _find(options.weights, name)
    return Sam2Model(source, held.config, _found(source, held, name), options, device, encode_batch)


def trained_on(source: Source) -> frozenset[str] | None:
    """What the authors' weights have seen, which the hub id or their own file name tells; else nobody has said."""
    return TRAINED_ON if source.hub in HUB.values() or source.path.name in FILES else None


def _find(weights: str, name: str | None) -> tuple[Source, Held]:
    """The source that is named, and what it holds, which is ``name`` if that is given."""
    source = checkpoints.find(weights, HUB.get(name or "", ""))
    held = _held(source)
    known = checkpoints.require(source, held, "a SAM 2")
    if name is not None and not known.is_called(name):
        checkpoints.refuse_other(source.path, known.name, name)
    return source, known


def _held(source: Source) -> Held | None:
    config, present = source.config(), checkpoints.keys(source)
    if config is not None:
        return sam2_weights.identify(source, present) if config.get("model_type") in ("sam2", "sam2_video") else None
    of_sam2 = any(key.endswith("blocks.0.attn.qkv.weight") for key in present) and any(
        key.endswith("mask_decoder.obj_score_token.weight") for key in present
    )
    # HQ-SAM 2 adds tokens of its own, SAM 3 prefixes.
    if not of_sam2 or any(".hf_" in key or key.startswith(("tracker", "detector")) for key in present):
        return None
    return sam2_weights.identify(source, present)


def _found(source: Source, held: Held, name: str | None) -> WeightsInfo:
    return WeightsInfo(name or held.name, str(source.path), source.digest(), trained_on(source))


class Sam2Model(SquareSamModel):
    """A SAM 2 for images, satisfying :class:`sambench.core.model.Model`."""

    adapter = "sam2 1"

    def __init__(
        self,
        source: Source,
        config: Mapping[str, Any],
        found: WeightsInfo,
        options: Sam2Options,
        device: str,
        encode_batch: int,
    ) -> None:
        with torch.device("meta"):
            network = self.empty(config, options.dynamic_multimask)
        checkpoints.fill(network, sam2_weights.translated(sam2_weights.read(source)), source.path, found.name)
        super().__init__(network, network.input(), found, options, device, encode_batch)

    @staticmethod
    def empty(config: Mapping[str, Any], dynamic_multimask: bool) -> Any:
        """The network before it has its weights."""
        # Here, not at the top: transformers takes seconds to import.
        from sambench.models.sam2.sam2_network import Sam2Network

        return Sam2Network(config, dynamic_multimask)
