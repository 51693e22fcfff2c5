"""FocalClick's networks (arXiv 2204.02574) on SegFormer's encoder: a coarse segmenter of the whole look, and a refiner
of the crop where the last click changed something.

Modules are named as the authors' tensors are (isegm/model/is_segformer_model.py and modeling/segformer/ of the ClickSEG
repository), so that their files load as they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sambench.models.interactive.click_predictor import resize

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of the RGB channels in [0, 1]."""

HEADS = (1, 2, 5, 8)
"""Of attention, by stage, in all sizes of the encoder."""
REDUCTIONS = (8, 4, 2, 1)
"""By how much keys and values are smaller than queries along each axis, by stage."""


@dataclass(frozen=True)
class Sizes:
    """``widths`` and ``depths``: of the encoder's four stages. ``mixed``: channels of the features that both networks
    read. ``half``: the coarse segmenter sees its input at half the size ("S1")."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    mixed: int
    half: bool


class FocalClickNetwork(nn.Module):
    """A coarse segmenter and a refiner."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.halved = sizes.half
        self.feature_extractor = _SegFormer(sizes)
        self.refiner = _Refiner(sizes.mixed)

    def forward(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """As :class:`sambench.models.interactive.click_predictor.ClickNetwork` says: the coarse segmenter's answer."""
        return self.coarse(image, previous, clicks)[0]

    def coarse(self, image: Tensor, previous: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(B, 1, s, s)`` and features ``(B, C, s, s)`` of a square input of S pixels per side, where s is S/4,
        or S/8 if it is seen at half the size."""
        mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        image, guidance = (image - mean) / std, torch.cat([previous, clicks], dim=1)
        if self.halved:
            size = (image.shape[2] // 2, image.shape[3] // 2)
            image, guidance = resize(image, size), resize(guidance, size)
        return cast("tuple[Tensor, Tensor]", self.feature_extractor(image, guidance))

    def refine(self, image: Tensor, clicks: Tensor, logits: Tensor, features: Tensor, boxes: Tensor) -> Tensor:
        """``(B, 1, S, S)`` logits of crops. ``image``: ``(B, 3, S, S)``, the crops in [0, 1] (not normalised, as the
        authors have it). ``clicks``: ``(B, 2, S, S)`` discs in the crops. ``logits``: ``(B, 1, S, S)`` and
        ``features``: of the coarse segmenter's input. ``boxes``: ``(B, 4)``: where in that input the crops lie, in
        pixels: top, bottom, left, right."""
        stride = logits.shape[-1] / features.shape[-1]
        cropped = aligned(logits, boxes)
        return cast("Tensor", self.refiner(image, clicks, aligned(features, boxes / stride), cropped))


def aligned(maps: Tensor, boxes: Tensor) -> Tensor:
    """What lies in a box of each of ``(B, C, H, W)`` maps, as ``(B, C, H, W)``, bilinear, in exact coordinates.

    ``boxes``: ``(B, 4)`` in pixels, top and left edges, then the opposite ones: top, bottom, left, right; no larger
    than the map. This is "RoI align" of that output size, aligned, with its adaptive number of samples, which is one.
    """
    height, width = maps.shape[2:]
    rows, columns = _weights(boxes[:, 0], boxes[:, 1], height), _weights(boxes[:, 2], boxes[:, 3], width)
    return rows[:, None] @ maps @ columns[:, None].mT


def _weights(first: Tensor, last: Tensor, length: int) -> Tensor:
    """``(B, length, length)``: of the samples at the centres of ``length`` bins from ``first`` to ``last``."""
    start = first - 0.5
    size = (last - 0.5 - start) / length
    at = torch.arange(length, device=first.device, dtype=first.dtype)
    place = (start[:, None] + at * size[:, None] + 0.5 * size[:, None]).clamp(0, length - 1)
    return (1 - (place[..., None] - at).abs()).clamp(min=0)


class _SegFormer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.backbone = _Encoder(sizes)
        self.decode_head = _Decoder(sizes)

    def forward(self, image: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        return cast("tuple[Tensor, Tensor]", self.decode_head(self.backbone(image, guidance)))


class _Encoder(nn.Module):
    """Four stages, at 1/4, 1/8, 1/16 and 1/32. Clicks and the previous answer join after the first."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        given = (3, *sizes.widths[:-1])
        for i, (width, depth) in enumerate(zip(sizes.widths, sizes.depths, strict=True), start=1):
            self.add_module(f"patch_embed{i}", _PatchEmbed(given[i - 1], width, first=i == 1))
            self.add_module(
                f"block{i}", nn.ModuleList(_Block(width, HEADS[i - 1], REDUCTIONS[i - 1]) for _ in range(depth))
            )
            self.add_module(f"norm{i}", nn.LayerNorm(width, eps=1e-6))
        self.patch_embed_side1 = _PatchEmbed(3, sizes.widths[0], first=True)
        self.stages = len(sizes.widths)

    def forward(self, image: Tensor, guidance: Tensor) -> list[Tensor]:
        """``(B, C, h, w)`` of each stage."""
        x, found = image, []
        for i in range(1, self.stages + 1):
            x = self.get_submodule(f"patch_embed{i}")(x)
            size = x.shape[2:]
            tokens = x.flatten(2).mT
            for block in cast("nn.ModuleList", self.get_submodule(f"block{i}")):
                tokens = block(tokens, size)
            x = self.get_submodule(f"norm{i}")(tokens).mT.unflatten(2, size)
            found.append(x)
            if i == 1:
                x = x + self.patch_embed_side1(guidance)
        return found


class _PatchEmbed(nn.Module):
    """Overlapping patches of 7 pixels every 4, or of 3 every 2."""

    def __init__(self, channels: int, width: int, first: bool) -> None:
        super().__init__()
        patch, stride = (7, 4) if first else (3, 2)
        self.proj = nn.Conv2d(channels, width, patch, stride, patch // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        return cast("Tensor", self.norm(x.flatten(2).mT).mT.unflatten(2, x.shape[2:]))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, reduction)
            self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        q = self.q(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        if self.reduction > 1:
            x = self.norm(self.sr(x.mT.unflatten(2, size)).flatten(2).mT)
        k, v = self.kv(x).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        answer = F.scaled_dot_product_attention(q, k, v)
        return cast("Tensor", self.proj(answer.transpose(1, 2).flatten(2)))


class _DepthWise(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return cast("Tensor", self.dwconv(x.mT.unflatten(2, size))).flatten(2).mT


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.dwconv = _DepthWise(4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return cast("Tensor", self.fc2(F.gelu(self.dwconv(self.fc1(x), size))))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        x = x + self.attn(self.norm1(x), size)
        return cast("Tensor", x + self.mlp(self.norm2(x), size))


class _Linear(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.proj(x.flatten(2).mT).mT.unflatten(2, x.shape[2:]))


class _Fuse(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Decoder(nn.Module):
    """The stages' features brought to the same channels and the finest resolution, and mixed."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        for i, width in enumerate(sizes.widths, start=1):
            self.add_module(f"linear_c{i}", _Linear(width, sizes.mixed))
        self.linear_fuse = _Fuse(len(sizes.widths) * sizes.mixed, sizes.mixed)
        self.linear_pred = nn.Conv2d(sizes.mixed, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and features."""
        size = features[0].shape[2:]
        maps = [
            F.interpolate(self.get_submodule(f"linear_c{i}")(x), size=size, mode="bilinear", align_corners=False)
            for i, x in reversed(list(enumerate(features, start=1)))
        ]
        mixed = self.linear_fuse(torch.cat(maps, dim=1))
        return self.linear_pred(mixed), mixed


class _ConvNormRelu(nn.Module):
    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class _SeparableNormRelu(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.conv1x1 = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv1x1(self.conv3x3(x))))


class _Refiner(nn.Module):
    """Looks at a crop closely, and says for each pixel its answer and how far to prefer it to the coarse one."""

    def __init__(self, mixed: int, width: int = 32) -> None:
        super().__init__()
        self.image_conv1 = _ConvNormRelu(6, width, kernel=3, stride=2)
        self.image_conv2 = _SeparableNormRelu(width)
        self.image_conv3 = _SeparableNormRelu(width)
        self.refine_fusion = _ConvNormRelu(mixed, width, kernel=1, stride=1)
        self.refine_fusion2 = _SeparableNormRelu(width)
        self.refine_fusion3 = _SeparableNormRelu(width)
        self.refine_pred = nn.Conv2d(width, 1, 3, padding=1)
        self.refine_trimap = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, image: Tensor, clicks: Tensor, features: Tensor, logits: Tensor) -> Tensor:
        close = self.image_conv1(torch.cat([image, clicks, logits.sigmoid()], dim=1))
        close = self.image_conv3(self.image_conv2(close))
        far = resize(self.refine_fusion(features), tuple(close.shape[2:]))
        both = self.refine_fusion3(self.refine_fusion2(far + close))
        size = (image.shape[2], image.shape[3])
        own = resize(self.refine_pred(both), size)
        preference = resize(self.refine_trimap(both), size).sigmoid()
        return own * preference + logits * (1 - preference)
