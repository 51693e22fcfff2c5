"""EdgeTAM for images: SAM 2's network with RepViT-M1 (arXiv 2307.09283) in place of Hiera.

The encoder is written here, with the names of timm's implementation (timm/models/repvit.py), because timm would bring
torchvision along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.sam2.configuration_sam2 import Sam2VisionConfig
from transformers.models.sam2.modeling_sam2 import Sam2VisionNeck

from sambench.models.sam.tiny_vit import ConvNorm
from sambench.models.sam2.sam2_network import PromptNetwork, plain

WIDTHS = (48, 96, 192, 384)
DEPTHS = (2, 2, 14, 2)
"""Of the four stages of RepViT-M1."""


class EdgeTamNetwork(PromptNetwork):
    """``config``: of the whole model, as its ``config.json`` has it."""

    def __init__(self, config: Mapping[str, Any], dynamic_multimask: bool) -> None:
        super().__init__(config, dynamic_multimask)
        vision = {key: value for key, value in plain(config.get("vision_config")).items() if key != "backbone_config"}
        self.vision_encoder = _VisionEncoder(
            Sam2VisionConfig(**{"backbone_channel_list": list(WIDTHS[::-1]), **vision})
        )

    def maps(self, pixels: Tensor) -> Sequence[Tensor]:
        """``(B, 3, S, S)`` to the three maps of the feature pyramid that the mask decoder takes, S/4, S/8 and S/16."""
        maps: Sequence[Tensor] = self.vision_encoder(pixels)
        return maps


class _VisionEncoder(nn.Module):
    def __init__(self, config: Sam2VisionConfig) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"timm_model": RepVit()})
        self.neck = Sam2VisionNeck(config)
        self.levels = config.num_feature_levels

    def forward(self, pixels: Tensor) -> Sequence[Tensor]:
        stages = self.backbone["timm_model"](pixels)
        maps: Sequence[Tensor] = self.neck([stage.permute(0, 2, 3, 1) for stage in stages])[0]
        return maps[-self.levels :][::-1]


class RepVit(nn.Module):
    """RepViT-M1 without its classifier: ``(B, 3, S, S)`` to the outputs of its stages, S/4 to S/32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Stem(WIDTHS[0])
        before = (WIDTHS[0], *WIDTHS[:-1])
        for i, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
            self.add_module(f"stages_{i}", _Stage(before[i], width, depth, downsample=i > 0))

    def forward(self, pixels: Tensor) -> Sequence[Tensor]:
        stages, x = [], self.stem(pixels)
        for i in range(len(WIDTHS)):
            x = getattr(self, f"stages_{i}")(x)
            stages.append(x)
        return stages


class _Stem(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, width // 2, 3, 2)
        self.conv2 = ConvNorm(width // 2, width, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(nn.functional.gelu(self.conv1(x)))
        return out


class _Stage(nn.Module):
    def __init__(self, before: int, width: int, depth: int, downsample: bool) -> None:
        super().__init__()
        self.downsample = _Downsample(before, width) if downsample else nn.Identity()
        self.blocks = nn.Sequential(*(_Block(width, excited=i % 2 == 0) for i in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.downsample(x))
        return out


class _Downsample(nn.Module):
    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.pre_block = _Block(before, excited=False)
        self.spatial_downsample = ConvNorm(before, before, 3, 2, groups=before)
        self.channel_downsample = ConvNorm(before, width)
        self.ffn = _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channel_downsample(self.spatial_downsample(self.pre_block(x)))
        out: Tensor = x + self.ffn(x)
        return out


class _Block(nn.Module):
    def __init__(self, width: int, excited: bool) -> None:
        super().__init__()
        self.token_mixer = _TokenMixer(width)
        self.se = _SqueezeExcite(width) if excited else nn.Identity()
        self.channel_mixer = _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.se(self.token_mixer(x))
        out: Tensor = x + self.channel_mixer(x)
        return out


class _TokenMixer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = ConvNorm(width, width, 3, groups=width)
        self.conv1 = ConvNorm(width, width, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x) + self.conv1(x) + x
        return out


class _SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        # A quarter, as a multiple of 8 of which at most a tenth is lost.
        inner = max(8, int(width / 4 + 4) // 8 * 8)
        inner += 8 if inner < 0.9 * width / 4 else 0
        self.fc1 = nn.Conv2d(width, inner, 1)
        self.fc2 = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.fc1(x.mean((2, 3), keepdim=True))
        return x * torch.sigmoid(self.fc2(torch.relu(squeezed)))


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, 2 * width)
        self.conv2 = ConvNorm(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(nn.functional.gelu(self.conv1(x)))
        return out
