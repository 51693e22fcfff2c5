"""The TinyViT image encoder of MobileSAM: convolutions first, then attention in windows, one output for 16x16 pixels.

The released network (MobileSAM: mobile_sam/modeling/tiny_vit_sam.py, after TinyViT, ECCV 2022), by the authors' names
of tensors; only the neck is named as in ``transformers``' SAM. It is TinyViT-5M whose last downsampling keeps the
resolution, without the classification head. timm's TinyViT has neither that stride nor these names, and importing timm
needs torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

WIDTHS, DEPTHS, HEADS, WINDOWS = (64, 128, 160, 320), (2, 2, 6, 2), (0, 4, 5, 10), (0, 7, 14, 7)
"""Of the four stages. The first has no attention."""
STRIDES = (2, 2, 1)
"""From a stage to the next."""
CHANNELS = 256
"""Of the output."""


class TinyViT(nn.Module):
    """``(B, 3, S, S)`` float32 normalised pixels to ``(B, (S/16)², 256)`` float32, row by row. S is a multiple of 16.

    ``depths``: blocks of each of the four stages.
    """

    def __init__(self, depths: Sequence[int] = DEPTHS) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbedding(WIDTHS[0])
        self.layers = nn.ModuleList(_Stage(i, depth) for i, depth in enumerate(depths))
        self.neck = _Neck(WIDTHS[-1])

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch_embed(pixels)
        for stage in self.layers:
            x = stage(x)
        return self.neck(x).flatten(2).mT  # type: ignore[no-any-return]


def fold(module: nn.Module) -> None:
    """Makes one convolution of every convolution and the batch norm behind it, in place; for inference only."""
    for name, child in module.named_children():
        if isinstance(child, ConvNorm):
            setattr(module, name, fuse_conv_bn_eval(child.c, child.bn))
        else:
            fold(child)


class ConvNorm(nn.Sequential):
    def __init__(self, width: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)


class _PatchEmbedding(nn.Module):
    """A quarter of the resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, width // 2, 3, 2), nn.GELU(), ConvNorm(width // 2, width, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x)  # type: ignore[no-any-return]


class _Stage(nn.Module):
    def __init__(self, i: int, depth: int) -> None:
        super().__init__()
        width = WIDTHS[i]
        self.blocks = nn.ModuleList(
            _Block(width, HEADS[i], WINDOWS[i]) if HEADS[i] else _InvertedBottleneck(width) for _ in range(depth)
        )
        self.downsample = _Downsampling(width, WIDTHS[i + 1], STRIDES[i]) if i < len(STRIDES) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.downsample(x)  # type: ignore[no-any-return]


class _InvertedBottleneck(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, 4 * width)
        self.conv2 = ConvNorm(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = ConvNorm(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class _Downsampling(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, out)
        self.conv2 = ConvNorm(out, out, 3, stride, groups=out)
        self.conv3 = ConvNorm(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Attention in windows, a convolution of each channel, an MLP."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = _Attention(width, heads, window)
        self.local_conv = ConvNorm(width, width, 3, groups=width)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)``."""
        tokens = x.permute(0, 2, 3, 1)
        x = self.local_conv((tokens + self._attend(tokens)).permute(0, 3, 1, 2))
        tokens = x.permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, height, width, channels = tokens.shape
        side = self.window
        # The padding of the windows takes part in attention, as tokens of zeros before the norm.
        padded = F.pad(tokens, (0, 0, 0, -width % side, 0, -height % side))
        down, across = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.view(batch, down, side, across, side, channels).transpose(2, 3)
        y = self.attn(windows.reshape(-1, side * side, channels))
        y = y.view(batch, down, across, side, side, channels).transpose(2, 3)
        return y.reshape(padded.shape)[:, :height, :width]  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """Attention with a learned bias for each head and distance (rows, columns) of two tokens of a window."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, window², C)``."""
        place = torch.arange(self.window, device=x.device)
        distance = (place[:, None] - place).abs()
        # Distances are numbered as they first occur when the first token looks at each: row by row.
        number = self.window * distance[:, None, :, None] + distance[None, :, None, :]
        bias = self.attention_biases[:, number.view(self.window**2, -1)]
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        return self.proj(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))  # type: ignore[no-any-return]


class _Neck(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, CHANNELS, 1, bias=False)
        self.layer_norm1 = LayerNorm2d(CHANNELS, eps=1e-6)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.layer_norm2 = LayerNorm2d(CHANNELS, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_norm2(self.conv2(self.layer_norm1(self.conv1(x))))  # type: ignore[no-any-return]


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of ``(B, C, h, w)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
