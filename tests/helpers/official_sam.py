"""The official ``segment-anything`` package with random weights, for tests and benchmarks to compare with.

It imports torchvision for three functions at import time. Where torchvision is not installed (no build of it fits
every torch), a stand-in with those functions takes its place during the import.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from types import ModuleType
from typing import Any

import PIL.Image
import torch
from torch import nn


def package() -> ModuleType:
    """The ``segment_anything`` package."""
    if "segment_anything" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        stand_in = _stand_in()
        sys.modules.update(stand_in)
        try:
            import segment_anything
        finally:
            for name in stand_in:
                del sys.modules[name]
    import segment_anything

    return segment_anything


def _stand_in() -> dict[str, ModuleType]:
    """``resize`` and ``to_pil_image`` as torchvision does them for PIL images; box functions nothing here calls."""

    def resize(image: PIL.Image.Image, size: tuple[int, int]) -> PIL.Image.Image:
        return image.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR)

    modules = {
        name: ModuleType(name)
        for name in (
            "torchvision",
            "torchvision.ops",
            "torchvision.ops.boxes",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        )
    }
    functional, boxes = modules["torchvision.transforms.functional"], modules["torchvision.ops.boxes"]
    functional.resize, functional.to_pil_image = resize, PIL.Image.fromarray  # type: ignore[attr-defined]
    boxes.batched_nms = boxes.box_area = None  # type: ignore[attr-defined]
    return modules


def build(
    width: int = 64, depth: int = 2, heads: int = 2, global_layers: tuple[int, ...] = (1,), side: int = 1024
) -> Any:
    """A ``segment_anything.modeling.Sam`` of these sizes with random weights, the same for the same sizes.

    Every parameter is perturbed, so that none can be mixed up or left out unseen, and the logits are scaled to spread
    around zero: with the default initialisation they would all be near one value, and any comparison would pass.
    """
    package()
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    generator = torch.Generator().manual_seed(width + depth)
    sam = Sam(
        image_encoder=ImageEncoderViT(
            depth=depth,
            embed_dim=width,
            img_size=side,
            mlp_ratio=4,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=heads,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=global_layers,
            window_size=14,
            out_chans=256,
        ),
        prompt_encoder=PromptEncoder(256, (side // 16, side // 16), (side, side), 16),
        mask_decoder=MaskDecoder(
            transformer_dim=256,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048),
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    ).eval()
    with torch.no_grad():
        for name, parameter in sam.named_parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 0
            spread = max(0.02, fan_in**-0.5 if fan_in else 0.0)
            noise = torch.randn(parameter.shape, generator=generator) * min(spread, 0.1)
            parameter.copy_(noise + 1 if name.endswith("weight") and parameter.ndim == 1 else noise)
        matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        matrix.copy_(torch.randn(matrix.shape, generator=generator))
        for embedding in (
            sam.mask_decoder.mask_tokens,
            sam.mask_decoder.iou_token,
            sam.prompt_encoder.not_a_point_embed,
            *sam.prompt_encoder.point_embeddings,
        ):
            embedding.weight.copy_(torch.randn(embedding.weight.shape, generator=generator))
    return sam
