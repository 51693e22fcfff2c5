"""The prompt encoder and mask decoder of SAM over the weights of ``transformers``' modules, with less arithmetic.

The same function as the released code (segment_anything: modeling/prompt_encoder.py, mask_decoder.py,
transformer.py), computed differently where a few tokens (T) meet the many pixels (N = 64·64) of an image:

- Projections are folded. ``(x W_k) · q`` is ``x · (W_k q)``, so that the pixels are never projected to keys, queries
  or values: eight heads of T tokens are fewer columns than a projection has.
- What the prompts of an image have in common in the first layer is computed once. A mask input differs from prompt
  to prompt, but adds no more than its 16 channels times one matrix, and is folded in as such.
- Transposed convolutions whose stride is their kernel are matrix products. Pixels stay in the order in which they
  come out, and only the finished logits are put in rows.
- Only the mask tokens that are asked for are computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5
"""Of the layer norms in the released two-way transformer; transformers' configuration says 1e-6."""
EPS_2D = 1e-6
"""Of the released LayerNorm2d."""

CPU_PIXELS = 512
"""Pixels of the embedding that a CPU upscales at once: what becomes of them stays in the caches."""

Weights = tuple[Tensor, Tensor]


class MaskDecoder:
    """Prompts to low-resolution logits. ``sam``: a ``transformers.SamModel`` on its device."""

    def __init__(self, sam: Any) -> None:
        prompt, decoder = sam.prompt_encoder, sam.mask_decoder
        self.side: int = prompt.input_image_size
        self.grid: int = prompt.image_embedding_size[0]
        self.frequencies = sam.shared_image_embedding.positional_embedding.detach()
        # By label: -1 not a point, 0 background, 1 foreground, then the corners of a box.
        self.labels = torch.cat([prompt.not_a_point_embed.weight, *(e.weight for e in prompt.point_embed)]).detach()
        self.no_mask = prompt.no_mask_embed.weight.detach()
        self.mask_input = _MaskInput(prompt.mask_embed)
        centres = (torch.arange(self.grid, device=self.no_mask.device) + 0.5) / self.grid
        x, y = torch.meshgrid(centres, centres, indexing="xy")
        self.positions = self._positions(torch.stack([x, y], -1)).flatten(0, 1)

        self.output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).detach()
        first, *others = decoder.transformer.layers
        self.first = _FirstLayer(first, self.positions, self.mask_input.weight)
        self.layers = [_Layer(layer, self.positions) for layer in others]
        self.last = _TokensToPixels(decoder.transformer.final_attn_token_to_image, self.positions)
        self.last_norm = _weights(decoder.transformer.layer_norm_final_attn)
        self.up1 = _transposed(decoder.upscale_conv1)
        self.up_norm = _weights(decoder.upscale_layer_norm)
        self.up2 = _transposed(decoder.upscale_conv2)
        self.hypernetworks = [_stacked(decoder.output_hypernetworks_mlps, part) for part in _parts(decoder)]
        self.quality = [_weights(layer) for layer in _feed_forward(decoder.iou_prediction_head)]

    def tokens(self, count: int, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> Tensor:
        """The sparse embedding of ``count`` prompts behind the output tokens: ``(N, T, C)``.

        ``points``: ``(N, P, 2)`` float32 xy of the input frame, ``labels``: ``(N, P)``, 1, 0 or -1 for padding.
        ``boxes``: ``(N, 4)`` xyxy of the input frame. Points without a box are followed by one padding token.
        """
        parts = [self.output_tokens.expand(count, -1, -1)]
        if points is not None and labels is not None:
            if boxes is None:
                points = F.pad(points, (0, 0, 0, 1))
                labels = F.pad(labels, (0, 1), value=-1)
            embedded = self._positions((points + 0.5) / self.side) * (labels >= 0).unsqueeze(-1)
            parts.append(embedded + self.labels[labels + 1])
        if boxes is not None:
            parts.append(self._positions((boxes.view(-1, 2, 2) + 0.5) / self.side) + self.labels[3:5])
        return torch.cat(parts, 1)

    def _positions(self, xy: Tensor) -> Tensor:
        """``(..., 2)`` xy in [0, 1] to ``(..., C)``: random Fourier features."""
        angles = 2 * math.pi * ((2 * xy - 1) @ self.frequencies)
        return torch.cat([angles.sin(), angles.cos()], -1)

    def __call__(
        self, images: Sequence[ImageKeys], tokens: Tensor, mask_logits: Tensor | None, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """``images``: the image of each of B prompts. ``tokens``: ``(B, T, C)`` of :meth:`tokens`. ``mask_logits``:
        ``(B, 4·grid, 4·grid)`` float32 or None.

        Logits ``(B, M, 4·grid, 4·grid)`` and predicted IoUs ``(B, M)``, both float32; M is 3 (tokens 1 to 3) with
        ``multimask``, else 1 (token 0).
        """
        if mask_logits is None:
            queries, keys = self.first.without_mask(tokens, _of_prompts([image.without_mask for image in images]))
        else:
            shared = _of_prompts([image.with_mask for image in images])
            queries, keys = self.first.with_mask(tokens, shared, self.mask_input(mask_logits))
        for layer in self.layers:
            queries, keys = layer(queries, tokens, keys)
        queries = queries + self.last(queries + tokens, keys)
        queries = F.layer_norm(queries, queries.shape[-1:], *self.last_norm, EPS)

        asked = slice(1, 4) if multimask else slice(0, 1)
        hyper = queries[:, 1:][:, asked].transpose(0, 1)
        for i, (weight, bias) in enumerate(self.hypernetworks):
            hyper = torch.baddbmm(bias[asked], hyper, weight[asked])
            hyper = hyper.relu() if i < 2 else hyper
        quality = queries[:, 0]
        for i, weights in enumerate(self.quality):
            quality = F.linear(quality, *weights)
            quality = quality.relu() if i < len(self.quality) - 1 else quality
        return self._upscale(keys, hyper.transpose(0, 1)), quality[:, asked]

    def _upscale(self, keys: Tensor, hyper: Tensor) -> Tensor:
        """``keys``: ``(B, N, C)``; ``hyper``: ``(B, M, C/8)``, one vector per mask."""
        batch, grid = len(keys), self.grid
        step = CPU_PIXELS if keys.device.type == "cpu" else keys.shape[1]
        parts = []
        for part in keys.split(step, 1):
            x = F.linear(part, *self.up1).view(batch, 4 * part.shape[1], -1)
            x = F.gelu(F.layer_norm(x, x.shape[-1:], *self.up_norm, EPS_2D))
            x = F.gelu(F.linear(x, *self.up2)).view(batch, 16 * part.shape[1], -1)
            parts.append(hyper @ x.mT)
        logits = torch.cat(parts, -1).view(batch, -1, grid, grid, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return logits.reshape(batch, -1, 4 * grid, 4 * grid)


@dataclass(frozen=True)
class _Shared:
    """What the first layer knows of an image. ``keys``: ``(N, C)``. Their projections: ``k`` and ``q`` (positions
    included) ``(heads, d, N)``, ``v`` ``(heads, N, d)``. Where prompts are of several images, all have B in front."""

    keys: Tensor
    k: Tensor
    v: Tensor
    q: Tensor


def _of_prompts(shared: Sequence[_Shared]) -> _Shared:
    """What each prompt's own image is known by; of one image, that as it is, whose products are fewer and larger."""
    if all(one is shared[0] for one in shared):
        return shared[0]
    return _Shared(*(torch.stack([getattr(one, part.name) for one in shared]) for part in fields(_Shared)))


class ImageKeys:
    """What prompts of one image share, made on first use. ``embedding``: ``(N, C)`` float32, of the image encoder."""

    def __init__(self, embedding: Tensor, decoder: MaskDecoder) -> None:
        self.embedding = embedding
        self._decoder = decoder

    @cached_property
    def without_mask(self) -> _Shared:
        """For prompts without a mask input, whose dense embedding is the same everywhere."""
        return self._decoder.first.shared(self.embedding + self._decoder.no_mask, self._decoder.positions)

    @cached_property
    def with_mask(self) -> _Shared:
        """For prompts with one: all but what its channels bring."""
        return self._decoder.first.shared(self.embedding + self._decoder.mask_input.bias, self._decoder.positions)


class _Layer:
    """One two-way block."""

    def __init__(self, layer: Any, positions: Tensor) -> None:
        self.self_attention = _SelfAttention(layer.self_attn)
        self.tokens_to_pixels = _TokensToPixels(layer.cross_attn_token_to_image, positions)
        self.pixels_to_tokens = _PixelsToTokens(layer.cross_attn_image_to_token, positions)
        self.norms = [_weights(getattr(layer, f"layer_norm{i}")) for i in (1, 2, 3, 4)]
        self.lin1, self.lin2 = _weights(layer.mlp.lin1), _weights(layer.mlp.lin2)

    def __call__(self, queries: Tensor, tokens: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """``queries``, ``tokens``: ``(B, T, C)``. ``keys``: ``(B, N, C)``, overwritten. Queries and keys."""
        queries = self._norm(queries + self.self_attention(queries + tokens, queries), 0)
        queries = self._norm(queries + self.tokens_to_pixels(queries + tokens, keys), 1)
        queries = self._mlp(queries)
        keys = self.pixels_to_tokens(queries + tokens, queries, keys)
        return queries, self._norm(keys, 3)

    def _mlp(self, queries: Tensor) -> Tensor:
        return self._norm(queries + F.linear(F.linear(queries, *self.lin1).relu(), *self.lin2), 2)

    def _norm(self, x: Tensor, i: int) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *self.norms[i], EPS)


class _FirstLayer(_Layer):
    """The block whose keys are the image's own, plus what a mask input brings.

    ``mask``: ``(16, C)``, from the channels of a mask input to the dense embedding.
    """

    def __init__(self, layer: Any, positions: Tensor, mask: Tensor) -> None:
        super().__init__(layer, positions)
        self.mask = mask
        self.mask_k = self.tokens_to_pixels.k_heads @ mask.T
        self.mask_v = mask @ self.tokens_to_pixels.v_heads
        self.mask_q = self.pixels_to_tokens.q_heads @ mask.T

    def shared(self, keys: Tensor, positions: Tensor) -> _Shared:
        """``keys``: ``(N, C)``, of the image."""
        look, seen = self.tokens_to_pixels, self.pixels_to_tokens
        at = keys + positions
        return _Shared(
            keys,
            look.heads(F.linear(at, *look.k)).mT.contiguous(),
            look.heads(F.linear(keys, *look.v)).contiguous(),
            seen.heads(F.linear(at, *seen.q)).mT.contiguous(),
        )

    def without_mask(self, tokens: Tensor, image: _Shared) -> tuple[Tensor, Tensor]:
        """Queries ``(B, T, C)`` and keys ``(B, N, C)``."""
        queries, q = self._queries(tokens)
        attention = torch.softmax(self.tokens_to_pixels.scores(q, image.k), -1)
        queries = self._answer(queries, self.tokens_to_pixels.values(attention, image.v))
        scores = self.pixels_to_tokens.scores(self.pixels_to_tokens.keys(queries + tokens), image.q)
        attention = self.pixels_to_tokens.over_tokens(scores)
        keys = torch.baddbmm(image.keys, attention, self.pixels_to_tokens.folded(queries))
        return queries, self._norm(keys, 3)

    def with_mask(self, tokens: Tensor, image: _Shared, channels: Tensor) -> tuple[Tensor, Tensor]:
        """The same with ``channels``, ``(B, N, 16)``, of a mask input."""
        queries, q = self._queries(tokens)
        scores = self.tokens_to_pixels.scores(q, image.k)
        scores.baddbmm_((q @ self.mask_k).flatten(1, 2), channels.mT)
        attention = torch.softmax(scores, -1)
        seen = self.tokens_to_pixels.values(attention, image.v)
        seen += (attention @ channels).unflatten(1, (seen.shape[1], -1)) @ self.mask_v
        queries = self._answer(queries, seen)
        k = self.pixels_to_tokens.keys(queries + tokens)
        scores = self.pixels_to_tokens.scores(k, image.q)
        scores.baddbmm_((k @ self.mask_q).flatten(1, 2), channels.mT)
        keys = torch.baddbmm(image.keys, channels, self.mask.expand(len(channels), -1, -1))
        keys.baddbmm_(self.pixels_to_tokens.over_tokens(scores), self.pixels_to_tokens.folded(queries))
        return queries, self._norm(keys, 3)

    def _queries(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The queries, and their projection per head. The first self-attention has no positions and no residual."""
        queries = self._norm(self.self_attention(tokens, tokens), 0)
        return queries, self.tokens_to_pixels.queries(queries + tokens)

    def _answer(self, queries: Tensor, seen: Tensor) -> Tensor:
        return self._mlp(self._norm(queries + self.tokens_to_pixels.project(seen), 1))


class _Attention:
    def __init__(self, attention: Any) -> None:
        self.count: int = attention.num_attention_heads
        self.q, self.k, self.v = _weights(attention.q_proj), _weights(attention.k_proj), _weights(attention.v_proj)
        self.out = _weights(attention.out_proj)
        self.scale = (len(self.q[0]) // self.count) ** -0.5

    def heads(self, x: Tensor) -> Tensor:
        """``(..., n, C')`` to ``(..., heads, n, d)``."""
        return x.unflatten(-1, (self.count, -1)).transpose(-2, -3)

    def by_head(self, weight: Tensor) -> Tensor:
        """A projection ``(C', C)`` to one matrix per head: ``(heads, d, C)``."""
        return weight.view(self.count, -1, weight.shape[1])

    def of_positions(self, weights: Weights, positions: Tensor) -> Tensor:
        """What a projection makes of the positions, bias included: ``(heads, d, N)``."""
        return self.heads(F.linear(positions, *weights)).mT.contiguous()

    def scores(self, vectors: Tensor, projected: Tensor) -> Tensor:
        """``(B, heads, T, d)`` times ``(heads, d, N)`` that all prompts share, or ``(B, heads, d, N)``:
        ``(B, heads·T, N)``."""
        if projected.ndim == 4:
            return (vectors @ projected).flatten(1, 2)
        batch, _, tokens, _ = vectors.shape
        scores = vectors.transpose(0, 1).flatten(1, 2) @ projected
        return scores.view(self.count, batch, tokens, -1).transpose(0, 1).flatten(1, 2)


class _SelfAttention(_Attention):
    def __call__(self, at: Tensor, values: Tensor) -> Tensor:
        """``at``: what queries and keys are made of; both ``(B, T, C)``."""
        q, k = self.heads(F.linear(at, *self.q)), self.heads(F.linear(at, *self.k))
        x = F.scaled_dot_product_attention(q, k, self.heads(F.linear(values, *self.v)))
        return F.linear(x.transpose(1, 2).flatten(2), *self.out)


class _TokensToPixels(_Attention):
    """T tokens look at N pixels."""

    def __init__(self, attention: Any, positions: Tensor) -> None:
        super().__init__(attention)
        self.k_heads = self.by_head(self.k[0])
        self.v_heads = self.by_head(self.v[0]).mT.contiguous()
        self.k_positions = self.of_positions(self.k, positions)

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """``queries``: ``(B, T, C)``; ``keys``: ``(B, N, C)``, without their positions. ``(B, T, C)``."""
        q = self.queries(queries)
        scores = self.scores(q, self.k_positions)
        scores.baddbmm_((q @ self.k_heads).flatten(1, 2), keys.mT)
        seen = (torch.softmax(scores, -1) @ keys).unflatten(1, (self.count, -1)) @ self.v_heads
        return self.project(seen + self.v[1].view(self.count, 1, -1))

    def queries(self, queries: Tensor) -> Tensor:
        """``(B, T, C)`` to ``(B, heads, T, d)``, scaled."""
        return self.heads(F.linear(queries, *self.q)) * self.scale

    def values(self, attention: Tensor, values: Tensor) -> Tensor:
        """``(B, heads·T, N)`` times ``(heads, N, d)`` that all prompts share, or ``(B, heads, N, d)``:
        ``(B, heads, T, d)``."""
        if values.ndim == 4:
            return attention.unflatten(1, (self.count, -1)) @ values
        by_head = attention.unflatten(1, (self.count, -1)).transpose(0, 1)
        return (by_head.flatten(1, 2) @ values).unflatten(1, (len(attention), -1)).transpose(0, 1)

    def project(self, seen: Tensor) -> Tensor:
        """``(B, heads, T, d)`` to ``(B, T, C)``."""
        return F.linear(seen.transpose(1, 2).flatten(2), *self.out)


class _PixelsToTokens(_Attention):
    """N pixels look at T tokens."""

    def __init__(self, attention: Any, positions: Tensor) -> None:
        super().__init__(attention)
        self.q_heads = self.by_head(self.q[0])
        self.out_heads = self.out[0].T.reshape(self.count, -1, len(self.out[0]))
        self.q_positions = self.of_positions(self.q, positions)

    def __call__(self, queries: Tensor, values: Tensor, keys: Tensor) -> Tensor:
        """``keys``, ``(B, N, C)``, plus what they see in ``queries`` and ``values``; they are overwritten."""
        k = self.keys(queries)
        scores = self.scores(k, self.q_positions)
        scores.baddbmm_((k @ self.q_heads).flatten(1, 2), keys.mT)
        return keys.baddbmm_(self.over_tokens(scores), self.folded(values))

    def keys(self, queries: Tensor) -> Tensor:
        """What the pixels compare themselves with: ``(B, T, C)`` to ``(B, heads, T, d)``, scaled."""
        return self.heads(F.linear(queries, *self.k)) * self.scale

    def over_tokens(self, scores: Tensor) -> Tensor:
        """Softmax over the tokens of each head: ``(B, heads·T, N)`` to ``(B, N, heads·T)``."""
        return torch.softmax(scores.unflatten(1, (self.count, -1)), 2).flatten(1, 2).mT

    def folded(self, values: Tensor) -> Tensor:
        """Values through the output projection, per head: ``(B, heads·T, C)``."""
        folded = self.heads(F.linear(values, *self.v)) @ self.out_heads
        # The attention of a head adds up to one, so that the output's bias can ride on the values of one head.
        folded[:, 0] += self.out[1]
        return folded.flatten(1, 2)


class _MaskInput:
    """The dense embedding of a previous mask: ``channels @ weight + bias``."""

    def __init__(self, embed: Any) -> None:
        self.conv1, self.norm1 = _patches(embed.conv1), _weights(embed.layer_norm1)
        self.conv2, self.norm2 = _patches(embed.conv2), _weights(embed.layer_norm2)
        self.weight, self.bias = embed.conv3.weight.detach().flatten(1).T.contiguous(), embed.conv3.bias.detach()

    def __call__(self, logits: Tensor) -> Tensor:
        """``(B, 4·grid, 4·grid)`` logits to channels ``(B, N, 16)``."""
        batch, grid = len(logits), logits.shape[-1] // 4
        # Every pixel of the embedding sees 4x4 logits: 2x2 of the second convolution, 2x2 of the first in each.
        x = logits.view(batch, grid, 2, 2, grid, 2, 2).permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, -1, 4)
        x = F.linear(x, *self.conv1)
        x = F.gelu(F.layer_norm(x, x.shape[-1:], *self.norm1, EPS_2D))
        x = F.linear(x.view(batch, grid**2, -1), *self.conv2)
        return F.gelu(F.layer_norm(x, x.shape[-1:], *self.norm2, EPS_2D))


def _weights(layer: Any) -> Weights:
    return layer.weight.detach(), layer.bias.detach()


def _transposed(convolution: Any) -> Weights:
    """A 2x2 transposed convolution of stride 2 as a linear layer: outputs ``(row, column, channel)`` of each pixel."""
    weight = convolution.weight.detach()
    return weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0]).contiguous(), convolution.bias.detach().repeat(4)


def _patches(convolution: Any) -> Weights:
    """A 2x2 convolution of stride 2 as a linear layer: inputs ``(row, column, channel)``."""
    return convolution.weight.detach().permute(0, 2, 3, 1).flatten(1).contiguous(), convolution.bias.detach()


def _feed_forward(mlp: Any) -> list[Any]:
    return [mlp.proj_in, *mlp.layers, mlp.proj_out]


def _parts(decoder: Any) -> range:
    return range(len(_feed_forward(decoder.output_hypernetworks_mlps[0])))


def _stacked(mlps: Any, part: int) -> Weights:
    """Layer ``part`` of the four hypernetworks: ``(4, in, out)`` and ``(4, 1, out)``."""
    layers = [_feed_forward(mlp)[part] for mlp in mlps]
    return (
        torch.stack([layer.weight.detach().T for layer in layers]),
        torch.stack([layer.bias.detach()[None] for layer in layers]),
    )
