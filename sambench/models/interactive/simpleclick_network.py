"""SimpleClick's network (arXiv 2210.11006): a plain vision transformer that sees the clicks in its patch embedding.

Modules are named as the authors' tensors are (isegm/model/is_plainvit_model.py, modeling/models_vit.py,
modeling/swin_transformer.py of the SimpleClick repository), so that their files load as they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sambench.models.common.vit_block import VitBlock

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of the RGB channels in [0, 1]."""

WINDOW = 224
"""Pixels of the window that most layers look at: what the encoder was pretrained on."""


@dataclass(frozen=True)
class Sizes:
    """``patch``: pixels of its side. ``grid``: patches per side of the position embedding. ``pyramid``: channels of the
    four feature maps. ``fused``: channels that they are brought to. ``doublings``: how often the head doubles its
    resolution before it answers (0 in the released models)."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    patch: int
    grid: int
    pyramid: tuple[int, ...]
    fused: int
    doublings: int


class SimpleClickNetwork(nn.Module):
    """Takes square inputs of the size that :meth:`prepare` was told."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embed_coords = _PatchEmbed(sizes.patch, 3, sizes.width)
        self.backbone = _Encoder(sizes)
        self.neck = _Pyramid(sizes.width, sizes.pyramid)
        self.head = _Head(sizes.pyramid, sizes.fused, sizes.doublings)
        self.positions: Tensor = self.backbone.pos_embed[:, 1:]
        self.dtype = torch.float32

    def prepare(self, crop: int, dtype: torch.dtype) -> SimpleClickNetwork:
        """For inputs of ``crop`` pixels per side: positions are interpolated (bicubic) from those that were learned if
        there were not as many. ``dtype``: of the encoder's matrix products."""
        self.dtype = dtype
        old, new = self.sizes.grid, crop // self.sizes.patch
        positions = self.backbone.pos_embed[:, 1:]
        if new != old:
            square = positions.reshape(1, old, old, -1).permute(0, 3, 1, 2)
            square = F.interpolate(square, size=(new, new), mode="bicubic", align_corners=False)
            positions = square.permute(0, 2, 3, 1).flatten(1, 2)
        self.positions = positions
        return self

    def forward(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """As :class:`sambench.models.interactive.click_predictor.ClickNetwork` says, for inputs of ``crop`` pixels per
        side; logits of a quarter of that, or nearly."""
        mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        with torch.autocast(image.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            tokens = self.backbone.patch_embed((image - mean) / std)
            tokens = tokens + self.patch_embed_coords(torch.cat([previous, clicks], dim=1))
            tokens = self.backbone(tokens + self.positions)
        side = image.shape[-1] // self.sizes.patch
        features = tokens.float().transpose(1, 2).unflatten(2, (side, side))
        return cast("Tensor", self.head(self.neck(features)))


class _PatchEmbed(nn.Module):
    def __init__(self, patch: int, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, S, S)`` to ``(B, (S/patch)², width)``."""
        return cast("Tensor", self.proj(x)).flatten(2).transpose(1, 2)


class _Encoder(nn.Module):
    """Layers that look at windows, except the last of each of four groups (two groups in a ViT-B), which sees all."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(sizes.patch, 3, sizes.width)
        # The position of the class token, which segmentation has no use for, is the first.
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.grid**2 + 1, sizes.width))
        self.blocks = nn.ModuleList(VitBlock(sizes.width, sizes.heads, sizes.mlp_width) for _ in range(sizes.depth))
        self.group = 6 if sizes.depth == 12 else sizes.depth // 4
        self.window = WINDOW // sizes.patch

    def forward(self, x: Tensor) -> Tensor:
        """``(B, G², width)`` to the same."""
        grid = round(x.shape[1] ** 0.5)
        windows = grid // self.window
        split = False
        for i, layer in enumerate(self.blocks, start=1):
            local = i % self.group != 0
            if local != split:
                x = _windows(x, windows, grid) if local else _whole(x, windows, grid)
                split = local
            x = layer(x)
        return x


def _windows(x: Tensor, windows: int, grid: int) -> Tensor:
    """``(B, G², C)`` to ``(B·w², (G/w)², C)``."""
    part = grid // windows
    x = x.unflatten(1, (windows, part, windows, part)).transpose(2, 3)
    return x.reshape(-1, part * part, x.shape[-1])


def _whole(x: Tensor, windows: int, grid: int) -> Tensor:
    """``(B·w², (G/w)², C)`` to ``(B, G², C)``."""
    part = grid // windows
    x = x.reshape(-1, windows, windows, part, part, x.shape[-1]).transpose(2, 3)
    return x.reshape(-1, grid * grid, x.shape[-1])


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(1, channels)


class _Pyramid(nn.Module):
    """One feature map to four of different resolution."""

    def __init__(self, width: int, channels: Sequence[int]) -> None:
        super().__init__()
        c4, c8, c16, c32 = channels
        w4, w8, w32 = max(2 * c4, width // 2), max(c8, width // 2), max(c32, 2 * width)
        self.down_4 = nn.Sequential(
            nn.ConvTranspose2d(width, w4, 2, stride=2),
            _norm(w4),
            nn.GELU(),
            nn.ConvTranspose2d(w4, w4 // 2, 2, stride=2),
            _norm(w4 // 2),
            nn.Conv2d(w4 // 2, c4, 1),
            _norm(c4),
            nn.GELU(),
        )
        self.down_8 = nn.Sequential(
            nn.ConvTranspose2d(width, w8, 2, stride=2), _norm(w8), nn.Conv2d(w8, c8, 1), _norm(c8), nn.GELU()
        )
        self.down_16 = nn.Sequential(nn.Conv2d(width, c16, 1), _norm(c16), nn.GELU())
        self.down_32 = nn.Sequential(
            nn.Conv2d(width, w32, 2, stride=2), _norm(w32), nn.Conv2d(w32, c32, 1), _norm(c32), nn.GELU()
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.down_4(x), self.down_8(x), self.down_16(x), self.down_32(x)]


class _ConvRelu(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class _Head(nn.Module):
    """All maps brought to the same channels and the finest resolution, mixed, and read by one linear layer."""

    def __init__(self, channels: Sequence[int], fused: int, doublings: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_ConvRelu(c, fused) for c in channels)
        self.fusion_conv = _ConvRelu(fused * len(channels), fused)
        self.ups = doublings
        for i in range(doublings):
            self.add_module(f"up_conv{i + 1}", _doubling(fused >> i))
        self.conv_seg = nn.Conv2d(fused >> doublings, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        size = features[0].shape[2:]
        maps = [
            F.interpolate(conv(x), size=size, mode="bilinear", align_corners=False)
            for conv, x in zip(self.convs, features, strict=True)
        ]
        x = self.fusion_conv(torch.cat(maps, dim=1))
        for i in range(self.ups):
            x = self.get_submodule(f"up_conv{i + 1}")(x)
        return cast("Tensor", self.conv_seg(x))


def _doubling(channels: int) -> nn.Sequential:
    half = channels // 2
    return nn.Sequential(
        nn.ConvTranspose2d(channels, half, 2, stride=2), _norm(half), nn.Conv2d(half, half, 1), _norm(half), nn.GELU()
    )
