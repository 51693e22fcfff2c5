"""The networks of EfficientSAM: a plain ViT, and a prompt encoder and mask decoder like SAM's but not SAM's.

By the authors' names of tensors (EfficientSAM: efficient_sam/efficient_sam_encoder.py, efficient_sam_decoder.py,
two_way_transformer.py, mlp.py). What differs from SAM's decoder: boxes and padding have embeddings of their own and
background clicks have none, the first self-attention has a residual, MLPs use GELU, upscaling is normalised over the
whole map, and no mask is taken as a prompt.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sambench.models.common.vit_block import VitBlock
from sambench.models.sam.tiny_vit import LayerNorm2d

PATCH = 16
PRETRAINED_GRID = 14
"""Patches per side that the position embedding was made for."""
HEAD = 64
"""Width of an attention head of the image encoder."""
CHANNELS = 256
"""Of the embedding of image and prompts."""
HEADS = 8
MASKS = 3
"""Candidates of a prompt."""


class EfficientSam(nn.Module):
    """``width``, ``depth``: of the image encoder."""

    def __init__(self, width: int, depth: int = 12) -> None:
        super().__init__()
        self.image_encoder = ImageEncoder(width, depth)
        self.prompt_encoder = PromptEncoder()
        self.mask_decoder = MaskDecoder()


class ImageEncoder(nn.Module):
    """``(B, 3, S, S)`` float32 normalised pixels to ``(B, 256, S/16, S/16)`` float32."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, PATCH, PATCH)})
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + PRETRAINED_GRID**2, width))
        self.blocks = nn.ModuleList(VitBlock(width, width // HEAD, 4 * width) for _ in range(depth))
        self.neck = nn.Sequential(
            nn.Conv2d(width, CHANNELS, 1, bias=False),
            LayerNorm2d(CHANNELS, eps=1e-6),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(CHANNELS, eps=1e-6),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](pixels)
        # The first position is of the class token, which only pretraining had.
        positions = self.pos_embed[:, 1:].mT.unflatten(2, (PRETRAINED_GRID, PRETRAINED_GRID))
        x = patches + F.interpolate(positions, patches.shape[2:], mode="bicubic")
        x = x.flatten(2).mT
        for block in self.blocks:
            x = block(x)
        return self.neck(x.mT.unflatten(2, patches.shape[2:]))  # type: ignore[no-any-return]


class PromptEncoder(nn.Module):
    """Points of any kind to tokens, and pixels to their positions: random Fourier features of places in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.pe_layer = nn.Module()
        self.pe_layer.register_buffer("positional_encoding_gaussian_matrix", torch.zeros(2, CHANNELS // 2))
        self.invalid_points = nn.Embedding(1, CHANNELS)
        self.point_embeddings = nn.Embedding(1, CHANNELS)
        self.bbox_top_left_embeddings = nn.Embedding(1, CHANNELS)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, CHANNELS)

    def forward(self, points: Tensor, labels: Tensor, side: int) -> Tensor:
        """``points``: ``(B, P, 2)`` float32 xy of the input of ``side`` pixels. ``labels``: ``(B, P)``, 1 foreground,
        2 and 3 the corners of a box, -1 padding; 0 is a position and nothing else. ``(B, P, C)``."""
        tokens = self._positions((points + 0.5) / side)
        for label, embedding in (
            (-1, self.invalid_points),
            (1, self.point_embeddings),
            (2, self.bbox_top_left_embeddings),
            (3, self.bbox_bottom_right_embeddings),
        ):
            tokens = tokens + embedding.weight * (labels == label).unsqueeze(-1)
        return tokens

    def grid(self, side: int) -> Tensor:
        """Positions of the centres of ``side × side`` pixels: ``(side², C)``."""
        centres = (torch.arange(side, device=self.invalid_points.weight.device) + 0.5) / side
        x, y = torch.meshgrid(centres, centres, indexing="xy")
        return self._positions(torch.stack([x, y], -1)).flatten(0, 1)

    def _positions(self, xy: Tensor) -> Tensor:
        matrix: Tensor = self.pe_layer.positional_encoding_gaussian_matrix  # type: ignore[assignment]
        angles = 2 * math.pi * ((2 * xy - 1) @ matrix)
        return torch.cat([angles.sin(), angles.cos()], -1)


class MaskDecoder(nn.Module):
    """Three masks of each prompt, and their predicted IoUs."""

    def __init__(self) -> None:
        super().__init__()
        self.iou_token = nn.Embedding(1, CHANNELS)
        self.mask_tokens = nn.Embedding(1 + MASKS, CHANNELS)
        self.transformer = _TwoWayTransformer()
        first, second = CHANNELS // 4, CHANNELS // 8
        self.final_output_upscaling_layers = nn.ModuleList(
            (
                nn.Sequential(nn.ConvTranspose2d(CHANNELS, first, 2, 2), nn.GroupNorm(1, first), nn.GELU()),
                nn.Sequential(nn.ConvTranspose2d(first, second, 2, 2), nn.Identity(), nn.GELU()),
            )
        )
        self.output_hypernetworks_mlps = nn.ModuleList(_Mlp(CHANNELS, second, 2) for _ in range(1 + MASKS))
        self.iou_prediction_head = _Mlp(CHANNELS, 1 + MASKS, 2)

    def forward(self, image: Tensor, positions: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """``image``, ``positions``: ``(N, C)`` of one image. ``prompts``: ``(B, P, C)``. Logits
        ``(B, 3, 4·side, 4·side)`` and predicted IoUs ``(B, 3)``, both of mask tokens 1 to 3."""
        batch, side = len(prompts), math.isqrt(len(image))
        output = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(batch, -1, -1)
        queries, keys = self.transformer(image.expand(batch, -1, -1), positions, torch.cat([output, prompts], 1))
        x = keys.mT.unflatten(2, (side, side))
        for layer in self.final_output_upscaling_layers:
            x = layer(x)
        hyper = torch.stack([self.output_hypernetworks_mlps[i](queries[:, 1 + i]) for i in range(1, 1 + MASKS)], 1)
        logits = (hyper @ x.flatten(2)).unflatten(2, x.shape[2:])
        return logits, self.iou_prediction_head(queries[:, 0])[:, 1:]


class _TwoWayTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList((_TwoWayBlock(positions=False), _TwoWayBlock(positions=True)))
        self.final_attn_token_to_image = _Attention(2)
        self.norm_final_attn = nn.LayerNorm(CHANNELS)

    def forward(self, keys: Tensor, positions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, positions)
        seen = self.final_attn_token_to_image(queries + tokens, keys + positions, keys)
        return self.norm_final_attn(queries + seen), keys


class _TwoWayBlock(nn.Module):
    """``positions``: whether self-attention sees the tokens' own embedding once more."""

    def __init__(self, positions: bool) -> None:
        super().__init__()
        self.positions = positions
        self.self_attn = _Attention(1)
        self.cross_attn_token_to_image = _Attention(2)
        self.cross_attn_image_to_token = _Attention(2)
        self.mlp = _Mlp(8 * CHANNELS, CHANNELS, 1)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(CHANNELS) for _ in range(4))

    def forward(self, queries: Tensor, keys: Tensor, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        if self.positions:
            queries = queries + tokens
        queries = self.norm1(queries + self.self_attn(queries, queries, queries))
        seen = self.cross_attn_token_to_image(queries + tokens, keys + positions, keys)
        queries = self.norm2(queries + seen)
        queries = self.norm3(queries + self.mlp(queries))
        seen = self.cross_attn_image_to_token(keys + positions, queries + tokens, queries)
        return queries, self.norm4(keys + seen)


class _Attention(nn.Module):
    """``narrower``: how many times fewer channels attention has than its input."""

    def __init__(self, narrower: int) -> None:
        super().__init__()
        width = CHANNELS // narrower
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(CHANNELS, width) for _ in range(3))
        self.out_proj = nn.Linear(width, CHANNELS)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _Mlp(nn.Module):
    """``depth`` hidden layers of ``hidden`` channels, then ``out`` channels."""

    def __init__(self, hidden: int, out: int, depth: int) -> None:
        super().__init__()
        widths = [CHANNELS] + [hidden] * depth
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(a, b), nn.GELU()) for a, b in pairwise(widths))
        self.fc = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.fc(x)  # type: ignore[no-any-return]
