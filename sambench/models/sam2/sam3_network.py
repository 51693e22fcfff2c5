"""SAM 3 for images: one image encoder, the detector that takes phrases, and the part of the tracker that takes points,
boxes and masks, put together from transformers' modules. What only videos need (memory) is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import Sam3Config, Sam3Model
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput, Sam3VisionNeck

from sambench.models.sam2.sam2_network import PromptNetwork, plain


class Sam3Network(PromptNetwork):
    """``config``: as ``config.json`` of a ``sam3_video`` has it."""

    def __init__(self, config: Mapping[str, Any], dynamic_multimask: bool) -> None:
        tracker = config.get("tracker_config") or {}
        prompts = {"image_size": 1008, "patch_size": 14, **(tracker.get("prompt_encoder_config") or {})}
        super().__init__({**tracker, "prompt_encoder_config": prompts}, dynamic_multimask)
        self.detector = Sam3Model(Sam3Config(**plain(config.get("detector_config"))))
        self.tracker_neck = Sam3VisionNeck(self.detector.config.vision_config)

    def encoded(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to the features of the image encoder ``(B, C, S/14, S/14)``."""
        hidden = self.detector.vision_encoder.backbone(pixels).last_hidden_state
        spatial: Tensor = hidden.mT.unflatten(2, self.prompt_encoder.image_embedding_size)
        return spatial

    def maps(self, encoded: Tensor) -> Sequence[Tensor]:
        """The three maps of the tracker's feature pyramid that the mask decoder takes, 4, 2 and 1 times as fine."""
        maps: Sequence[Tensor] = self.tracker_neck(encoded)[0]
        return maps[:3]

    def detected(self, encoded: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Instances of one phrase in one image. ``text``: ``(1, T, C)`` features, ``mask``: ``(1, T)``, 1 for a token.
        ``(Q, g, g)`` logits and ``(Q,)`` scores in [0, 1]: that the query is an instance, times that there is one."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        maps, positions = self.detector.vision_encoder.neck(encoded)
        found = self.detector(
            vision_embeds=Sam3VisionEncoderOutput(fpn_hidden_states=maps, fpn_position_encoding=positions),
            text_embeds=BaseModelOutputWithPooling(pooler_output=text),
            attention_mask=mask,
        )
        scores = found.pred_logits.sigmoid() * found.presence_logits.sigmoid()
        return found.pred_masks[0], scores[0]
