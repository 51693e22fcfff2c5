"""HQ-SAM (arXiv 2306.01567): SAM with a token and fused features for finer masks, through transformers' modules.

Answers equal those of the released predictor (segment_anything/predictor.py of the authors' repository;
``docs/models/sam_hq.md`` has the figures); ``tests/models/test_sam_hq_parity.py`` holds them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.common.image_model import EncoderOptions
from sambench.models.common.renaming import apply, rules
from sambench.models.families.sam_hq import CARDS, TRAINED_ON
from sambench.models.sam import sam_weights
from sambench.models.sam.sam_frame import Frame
from sambench.models.sam.transformers_sam import Asked, PromptedModel

HUB = {card.name: card.hub for card in CARDS}
"""The authors' weights on the Hugging Face hub."""
FILES = frozenset(f"{name}.pth" for name in HUB)
"""The authors' names of their files."""

_RENAMED = rules(
    (r"^mask_decoder\.hf_token\.", "mask_decoder.hq_token."),
    (r"^mask_decoder\.hf_mlp\.layers\.0\.", "mask_decoder.hq_mask_mlp.proj_in."),
    (r"^mask_decoder\.hf_mlp\.layers\.1\.", "mask_decoder.hq_mask_mlp.layers.0."),
    (r"^mask_decoder\.hf_mlp\.layers\.2\.", "mask_decoder.hq_mask_mlp.proj_out."),
    (r"^mask_decoder\.compress_vit_feat\.0\.", "mask_decoder.compress_vit_conv1."),
    (r"^mask_decoder\.compress_vit_feat\.1\.", "mask_decoder.compress_vit_norm."),
    (r"^mask_decoder\.compress_vit_feat\.3\.", "mask_decoder.compress_vit_conv2."),
    (r"^mask_decoder\.embedding_encoder\.0\.", "mask_decoder.encoder_conv1."),
    (r"^mask_decoder\.embedding_encoder\.1\.", "mask_decoder.encoder_norm."),
    (r"^mask_decoder\.embedding_encoder\.3\.", "mask_decoder.encoder_conv2."),
    (r"^mask_decoder\.embedding_maskfeature\.0\.", "mask_decoder.mask_conv1."),
    (r"^mask_decoder\.embedding_maskfeature\.1\.", "mask_decoder.mask_norm."),
    (r"^mask_decoder\.embedding_maskfeature\.3\.", "mask_decoder.mask_conv2."),
)
"""The authors' names of what SAM does not have, to those of transformers."""


@dataclass(frozen=True)
class SamHqOptions(EncoderOptions):
    hq_token_only: bool = False
    """Answer the mask of the added token alone, one candidate, as the authors' demo advises for images of one object;
    `false`: add its logits to those of SAM's masks, as the authors evaluate."""


Options = SamHqOptions


def recognise(source: Source) -> str | None:
    """The name of the HQ-SAM that a source holds, None if it holds none."""
    config = source.config()
    if config is not None and config.get("model_type") != "sam_hq":
        return None
    present = checkpoints.keys(source)
    tokens = {"mask_decoder.hf_token.weight", "mask_decoder.hq_token.weight"}
    of_a_vit = any(key.endswith(("blocks.0.attn.rel_pos_h", "layers.0.attn.rel_pos_h")) for key in present)
    if not tokens & present or not of_a_vit:
        return None
    return sam_weights.architecture(sam_weights.read(source), source.path).name.replace("sam_vit", "sam_hq_vit")


def locate(name: str | None, options: SamHqOptions) -> WeightsInfo:
    """As :class:`sambench.models.cards.Adapter` says."""
    source = checkpoints.find(options.weights, HUB.get(name or "", ""))
    held = checkpoints.require(source, recognise(source), "an HQ-SAM")
    checkpoints.refuse_other(source.path, held, name)
    return WeightsInfo(held, str(source.path), source.digest(), trained_on(source))


def load(name: str, options: SamHqOptions, device: str, encode_batch: int = 0) -> SamHqModel:
    """As :class:`sambench.models.cards.Adapter` says."""
    source = checkpoints.find(options.weights, HUB.get(name, ""))
    return SamHqModel(source, locate(name, options), options, device, encode_batch)


def trained_on(source: Source) -> frozenset[str] | None:
    """What the authors' weights have seen, which the hub id or their own file name tells; else nobody has said."""
    return TRAINED_ON if source.hub in HUB.values() or source.path.name in FILES else None


class SamHqModel(PromptedModel):
    """An HQ-SAM, satisfying :class:`sambench.core.model.Model`."""

    adapter = "sam_hq 1"
    parts = ("embedding", "fused")

    def __init__(
        self, source: Source, found: WeightsInfo, options: SamHqOptions, device: str, encode_batch: int
    ) -> None:
        super().__init__(_network(source, found.name), found, options, device, encode_batch)
        self.only = options.hq_token_only
        if self.only:
            self.capabilities = self.capabilities - {"multimask"}
        with torch.inference_mode():
            self.positions: Tensor = self.network.get_image_wide_positional_embeddings()

    def frame(self, size: tuple[int, int]) -> Frame:
        return Frame(size, self.network.config.vision_config.image_size)

    def features(self, pixels: Tensor) -> Sequence[Tensor]:
        """The embedding, and what is fused of it and of the first layer with global attention: ``(B, C/8,
        S/4, S/4)``."""
        with self.precision():
            encoded = self.network.vision_encoder(pixels)
        embedding, early = encoded.last_hidden_state.float(), encoded.intermediate_embeddings[0].float()
        d = self.network.mask_decoder
        late = d.encoder_conv2(d.activation(d.encoder_norm(d.encoder_conv1(embedding))))
        early = d.compress_vit_conv1(early.permute(0, 3, 1, 2).contiguous())
        return embedding, late + d.compress_vit_conv2(d.activation(d.compress_vit_norm(early)))

    def decode(self, features: Sequence[Tensor], asked: Asked, multimask: bool) -> tuple[Tensor, Tensor]:
        """transformers' modules, put together as the authors have it (modeling/mask_decoder_hq.py): transformers' own
        forward upscales the embedding that went into the two-way transformer, transposed, in place of what came out.

        With ``multimask`` all three masks of SAM, each with the added logits; the released predictor answers the one
        of the best predicted IoU.
        """
        embedding, fused = features
        d, n = self.network.mask_decoder, asked.n
        sparse, dense = self.network.prompt_encoder(
            *(None if part is None else part[:, None] for part in (asked.points, asked.labels, asked.boxes)),
            asked.masks,
        )
        own = torch.cat([d.iou_token.weight, d.mask_tokens.weight, d.hq_token.weight]).expand(n, 1, -1, -1)
        tokens, keys = d.transformer(
            point_embeddings=own if sparse is None else torch.cat([own, sparse], 2),
            image_embeddings=(embedding + dense).expand(n, -1, -1, -1),
            image_positional_embeddings=self.positions.expand(n, -1, -1, -1),
            attention_similarity=None,
            target_embedding=None,
        )
        seen = keys[:, 0].mT.reshape(n, *embedding.shape[1:])
        fine = d.activation(d.upscale_layer_norm(d.upscale_conv1(seen)))
        fine = d.activation(d.upscale_conv2(fine))
        finest = d.mask_conv2(d.activation(d.mask_norm(d.mask_conv1(fine)))) + fused

        which = range(1, len(d.mask_tokens.weight)) if multimask else range(1)
        added = _logits(d.hq_mask_mlp(tokens[:, 0, own.shape[2] - 1]), finest)
        scores = d.iou_prediction_head(tokens[:, 0, 0])[:, which.start : which.stop]
        if self.only:
            return added[:, None], scores.amax(1, keepdim=True)
        masks = [_logits(d.output_hypernetworks_mlps[i](tokens[:, 0, 1 + i]), fine) + added for i in which]
        return torch.stack(masks, 1), scores


def _logits(weights: Tensor, pixels: Tensor) -> Tensor:
    """``(n, c)`` weights of ``(n, c, h, w)`` maps: ``(n, h, w)``."""
    return (weights[:, None] @ pixels.flatten(2)).reshape(len(pixels), *pixels.shape[2:])


def _network(source: Source, name: str) -> Any:
    """``transformers.SamHQModel`` with the weights of the source, float32, on the CPU, none missing, none left over."""
    from transformers import (
        SamHQConfig,
        SamHQMaskDecoderConfig,
        SamHQModel,
        SamHQPromptEncoderConfig,
        SamHQVisionConfig,
    )

    state = {apply(key, _RENAMED): value for key, value in sam_weights.read(source).items()}
    sizes = sam_weights.architecture(state, source.path)
    config = SamHQConfig(
        vision_config=SamHQVisionConfig(**sizes.vision),
        prompt_encoder_config=SamHQPromptEncoderConfig(image_size=sizes.side, patch_size=sizes.patch),
        # The authors' two-way transformer has torch's default of 1e-5; transformers' default is 1e-6.
        mask_decoder_config=SamHQMaskDecoderConfig(vit_dim=sizes.width, layer_norm_eps=1e-5),
    )
    with torch.device("meta"):
        model = SamHQModel(config)
    return checkpoints.fill(model, state, source.path, name)
