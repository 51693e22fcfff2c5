"""The networks of SAM 2's line, put together from transformers' modules: an image encoder, and the part that every one
of them has, which turns prompts into masks. What only videos need (memory) is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.sam2.configuration_sam2 import (
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)
from transformers.models.sam2.modeling_sam2 import Sam2MaskDecoder, Sam2PromptEncoder, Sam2VisionModel

from sambench.models.sam.square_frame import Input


class PromptNetwork(nn.Module):
    """Prompt encoder and mask decoder, with the names that transformers gives them.

    ``config``: of the whole model, as its ``config.json`` has it. ``dynamic_multimask``: with one mask asked for, a
    single mask that is not stable gives way to the best of the three, as in the released predictors.
    """

    def __init__(self, config: Mapping[str, Any], dynamic_multimask: bool) -> None:
        super().__init__()
        prompts = Sam2PromptEncoderConfig(**plain(config.get("prompt_encoder_config")))
        masks = Sam2MaskDecoderConfig(**plain(config.get("mask_decoder_config")))
        masks.dynamic_multimask_via_stability = dynamic_multimask
        masks._attn_implementation = "sdpa"
        self.prompt_encoder = Sam2PromptEncoder(prompts)
        self.mask_decoder = Sam2MaskDecoder(masks)
        self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, masks.hidden_size))
        self.side = int(prompts.image_size)
        self.grid = 4 * self.prompt_encoder.image_embedding_size[0]

    def input(self, **rule: Any) -> Input:
        """What the network takes and answers; ``rule``: how pixels are normalised."""
        return Input(self.side, self.grid, **rule)


class Sam2Network(PromptNetwork):
    """SAM 2 and 2.1 for images."""

    def __init__(self, config: Mapping[str, Any], dynamic_multimask: bool) -> None:
        super().__init__(config, dynamic_multimask)
        self.vision_encoder = Sam2VisionModel(Sam2VisionConfig(**plain(config.get("vision_config"))))

    def maps(self, pixels: Tensor) -> Sequence[Tensor]:
        """``(B, 3, S, S)`` to the three maps of the feature pyramid that the mask decoder takes, S/4, S/8 and S/16."""
        maps: Sequence[Tensor] = self.vision_encoder(pixels).fpn_hidden_states
        return maps


def plain(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """A part of a ``config.json`` as keyword arguments of its class."""
    return {key: value for key, value in (config or {}).items() if key not in ("model_type", "torch_dtype", "dtype")}
