"""The image encoder of SAM: a plain ViT with windowed and global attention and decomposed relative positions.

The weights are those of ``transformers``' ``SamVisionEncoder``; the arithmetic is our own, because attention with
relative positions is where stock code loses its time on a CPU: it writes a bias as large as the attention matrix.
Here a few heads and queries are worked on at a time, so that the attention matrix stays near the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sambench.errors import UsageError
from sambench.models.common.checkpoints import one_line
from sambench.models.common.exact import exact_convolutions
from sambench.models.common.memory import is_out_of_memory

How = Literal["chunked", "sdpa"]

CPU_SCORES = 2 << 20
"""Attention scores worked on at once on a CPU: 8 MB in float32, which the caches still hold."""
GPU_SCORES = 1 << 28
"""The same on a GPU: 1 GB in float32."""
MLP_TOKENS = 1024
"""Tokens that go through a block's MLP at once on a CPU."""


@dataclass(frozen=True)
class _Block:
    norm1: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]
    rel_pos_h: Tensor
    rel_pos_w: Tensor
    proj: tuple[Tensor, Tensor]
    norm2: tuple[Tensor, Tensor]
    lin1: tuple[Tensor, Tensor]
    lin2: tuple[Tensor, Tensor]
    window: int


class ImageEncoder:
    """``(B, 3, S, S)`` float32 normalised pixels to ``(B, (S/16)², 256)`` float32, row by row.

    ``vision``: the ``vision_encoder`` of ``transformers.SamModel``. ``dtype``: of the matrix products; residuals and
    normalisation stay float32. ``how``: see :func:`attention`; ``auto`` is what suits the device.
    """

    def __init__(self, vision: Any, dtype: torch.dtype, how: Literal["auto", "chunked", "sdpa"] = "auto") -> None:
        config = vision.config
        self.heads: int = config.num_attention_heads
        self.eps: float = config.layer_norm_eps
        self.dtype = dtype
        on_cpu = vision.pos_embed.device.type == "cpu"
        self.attention = partial(attention, how=("chunked" if on_cpu else "sdpa") if how == "auto" else how)

        def linear(layer: Any) -> tuple[Tensor, Tensor]:
            return layer.weight.detach().to(dtype), layer.bias.detach().to(dtype)

        def norm(layer: Any) -> tuple[Tensor, Tensor]:
            return layer.weight.detach().float(), layer.bias.detach().float()

        patch = vision.patch_embed.projection
        self.patch_size: int = patch.kernel_size[0]
        self.patch = patch.weight.detach().flatten(1).to(dtype), patch.bias.detach().to(dtype)
        self.position = vision.pos_embed.detach().float()
        grid = self.position.shape[1]
        self.blocks = [
            _Block(
                norm(layer.layer_norm1),
                linear(layer.attn.qkv),
                relative(layer.attn.rel_pos_h.detach().to(dtype), layer.window_size or grid),
                relative(layer.attn.rel_pos_w.detach().to(dtype), layer.window_size or grid),
                linear(layer.attn.proj),
                norm(layer.layer_norm2),
                linear(layer.mlp.lin1),
                linear(layer.mlp.lin2),
                layer.window_size,
            )
            for layer in vision.layers
        ]
        neck = vision.neck
        self.neck1 = neck.conv1.weight.detach().flatten(1).to(dtype)
        self.neck_norm1 = norm(neck.layer_norm1)
        self.neck2 = neck.conv2.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self.neck_norm2 = norm(neck.layer_norm2)

    def __call__(self, pixels: Tensor) -> Tensor:
        batch, _, side, _ = pixels.shape
        grid, p = side // self.patch_size, self.patch_size
        # A convolution whose stride is its kernel is a matrix product over the patches.
        patches = pixels.to(self.dtype).view(batch, 3, grid, p, grid, p).permute(0, 2, 4, 1, 3, 5)
        x = F.linear(patches.reshape(batch, grid, grid, -1), *self.patch).float()
        x += self.position
        for block in self.blocks:
            x += self._attend(block, self._norm(x, block.norm1))
            self._mlp(block, x)
        x = F.linear(x.to(self.dtype), self.neck1).float()
        x = self._norm(x, self.neck_norm1)
        x = F.conv2d(x.permute(0, 3, 1, 2), self.neck2, padding=1).permute(0, 2, 3, 1).float()
        return F.layer_norm(x, x.shape[-1:], *self.neck_norm2, self.eps).flatten(1, 2)

    def _norm(self, x: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *weights, self.eps).to(self.dtype)

    def _mlp(self, block: _Block, x: Tensor) -> None:
        """Adds the MLP of a block to ``x`` in place."""
        tokens = x.view(-1, x.shape[-1])
        for part in tokens.split(MLP_TOKENS if x.device.type == "cpu" else len(tokens)):
            hidden = F.linear(self._norm(part, block.norm2), *block.lin1)
            part += F.linear(F.gelu(hidden), *block.lin2)

    def _attend(self, block: _Block, x: Tensor) -> Tensor:
        batch, grid, _, width = x.shape
        qkv = F.linear(x, *block.qkv)
        side = block.window or grid
        if block.window:
            # The padding of the windows enters attention as tokens of zeros, whose projection is the bias.
            count = -(-grid // side)
            padded = block.qkv[1].expand(batch, count * side, count * side, -1).contiguous()
            padded[:, :grid, :grid] = qkv
            qkv = padded
        else:
            count = 1
        qkv = qkv.view(batch, count, side, count, side, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, -1, side * side, width // self.heads).unbind(0)
        y = self.attention(q, k, v, block.rel_pos_h, block.rel_pos_w)
        y = y.view(batch, count, count, self.heads, side, side, -1).permute(0, 1, 4, 2, 5, 3, 6)
        y = y.reshape(batch, count * side, count * side, width)[:, :grid, :grid].contiguous()
        return F.linear(y, *block.proj)


def relative(table: Tensor, side: int) -> Tensor:
    """The rows of a ``(2·side - 1, d)`` table by query and key position: ``(side, side, d)``."""
    position = torch.arange(side, device=table.device)
    return table[position[:, None] - position[None, :] + side - 1]


def attention(q: Tensor, k: Tensor, v: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, how: How) -> Tensor:
    """``softmax(q kᵀ / √d + bias) v`` over grids of ``side × side`` tokens.

    ``q``, ``k``, ``v``: ``(n, side², d)``, n counts images, windows and heads. The bias of a query at (y, x) for a
    key at (y', x') is ``q · rel_pos_h[y, y'] + q · rel_pos_w[x, x']`` (both tables ``(side, side, d)``), as in the
    released ``add_decomposed_rel_pos``. ``how``: ``chunked`` as two products and a softmax, ``sdpa`` by
    ``scaled_dot_product_attention`` with the bias as its mask; either way for a few queries and heads at a time.
    """
    n, tokens, d = q.shape
    side = rel_pos_h.shape[0]
    grid = q.view(n, side, side, d)
    bias_h = torch.einsum("nyxd,ykd->nyxk", grid, rel_pos_h).reshape(n, tokens, side, 1)
    bias_w = torch.einsum("nyxd,xkd->nyxk", grid, rel_pos_w).reshape(n, tokens, 1, side)
    budget = CPU_SCORES if q.device.type == "cpu" else GPU_SCORES
    rows = max(1, min(tokens, budget // tokens))
    several = max(1, min(n, budget // (rows * tokens)))
    out = torch.empty_like(q)
    # Once, or each bfloat16 product would make its own copy.
    transposed = k.mT.contiguous() if how == "chunked" else k
    for a in range(0, n, several):
        heads = slice(a, min(a + several, n))
        for b in range(0, tokens, rows):
            part = slice(b, min(b + rows, tokens))
            scores = (bias_h[heads, part] + bias_w[heads, part]).flatten(2)
            if how == "chunked":
                scores.baddbmm_(q[heads, part], transposed[heads], alpha=d**-0.5)
                torch.softmax(scores, -1, out=scores)
                torch.bmm(scores, v[heads], out=out[heads, part])
            else:
                out[heads, part] = F.scaled_dot_product_attention(
                    q[None, heads, part], k[None, heads], v[None, heads], attn_mask=scores[None]
                )[0]
    return out


def compiled(encoder: ImageEncoder, shape: tuple[int, ...], device: torch.device) -> Callable[[Tensor], Tensor]:
    """The encoder through ``torch.compile``, for pixels of ``shape`` ``(B, 3, S, S)`` at once (others are compiled when
    they come). Raises UsageError if it cannot be compiled."""
    try:
        # Its loop would be unrolled, hundreds of times on a CPU, and is products and a softmax anyway.
        encoder.attention = torch.compiler.disable(encoder.attention)
        made: Callable[[Tensor], Tensor] = torch.compile(encoder, dynamic=False)
        with torch.inference_mode(), exact_convolutions():
            made(torch.zeros(shape, device=device))
    except Exception as error:  # of the compiler or of what it calls, of many kinds
        if is_out_of_memory(error):
            raise
        needed = "a C++ compiler (g++ or clang++)" if device.type == "cpu" else "Triton and a C compiler"
        raise UsageError(
            f"the encoder cannot be compiled ({one_line(error)}): on this device torch.compile needs {needed}; without "
            "it leave out --set model.compile=true"
        ) from error
    return made
