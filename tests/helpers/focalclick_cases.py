"""Random FocalClick checkpoints in the authors' format, the same on every machine, and what is asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from helpers.click_weights import Click, click_weights, nine_clicks
from torch import Tensor

SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "b0": ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b3": ((64, 128, 320, 512), (3, 4, 18, 3), 512),
}
"""Widths and depths of the encoder's stages, and channels of the mixed features."""
REDUCTIONS = (8, 4, 2, 1)

CLASS = "isegm.model.is_segformer_model.SegFormerModel"


def shapes(size: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of the authors' file, worked out from their code and not from ours."""
    widths, depths, mixed = SIZES[size]
    backbone, head = "feature_extractor.backbone.", "feature_extractor.decode_head."
    with_bias: dict[str, tuple[int, ...]] = {
        f"{backbone}patch_embed_side1.proj": (widths[0], 3, 7, 7),
        f"{backbone}patch_embed_side1.norm": (widths[0],),
        f"{head}linear_fuse.bn": (mixed,),
        f"{head}linear_pred": (1, mixed, 1, 1),
        "maps_transform.0": (16, 3, 3, 3),
        "maps_transform.2": (32, 16, 3, 3),
        "refiner.image_conv1.conv": (32, 6, 3, 3),
        "refiner.image_conv1.norm": (32,),
        "refiner.refine_fusion.conv": (32, mixed, 1, 1),
        "refiner.refine_fusion.norm": (32,),
        "refiner.feature_gate.0": (1, 32, 1, 1),
        "refiner.refine_pred": (1, 32, 3, 3),
        "refiner.refine_trimap": (1, 32, 3, 3),
    }
    for name in ("image_conv2", "image_conv3", "refine_fusion2", "refine_fusion3"):
        with_bias |= {
            f"refiner.{name}.conv3x3": (32, 1, 3, 3),
            f"refiner.{name}.conv1x1": (32, 32, 1, 1),
            f"refiner.{name}.norm": (32,),
        }
    for i, (c, depth, reduction) in enumerate(zip(widths, depths, REDUCTIONS, strict=True), start=1):
        given, patch = (3, 7) if i == 1 else (widths[i - 2], 3)
        with_bias |= {
            f"{backbone}patch_embed{i}.proj": (c, given, patch, patch),
            f"{backbone}patch_embed{i}.norm": (c,),
            f"{backbone}norm{i}": (c,),
            f"{head}linear_c{i}.proj": (mixed, c),
        }
        for j in range(depth):
            block = f"{backbone}block{i}.{j}."
            with_bias |= {
                f"{block}norm1": (c,), f"{block}norm2": (c,), f"{block}attn.q": (c, c), f"{block}attn.kv": (2 * c, c),
                f"{block}attn.proj": (c, c), f"{block}mlp.fc1": (4 * c, c), f"{block}mlp.fc2": (c, 4 * c),
                f"{block}mlp.dwconv.dwconv": (4 * c, 1, 3, 3),
            }  # fmt: skip
            if reduction > 1:
                with_bias |= {f"{block}attn.sr": (c, c, reduction, reduction), f"{block}attn.norm": (c,)}
    found: dict[str, tuple[int, ...]] = {
        f"{head}linear_fuse.conv.weight": (mixed, 4 * mixed, 1, 1),
        "maps_transform.3.scale": (1,),
    }
    for name, shape in with_bias.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        if (name.startswith("refiner.") and name.endswith(".norm")) or name.endswith(".bn"):
            found |= {f"{name}.running_mean": shape, f"{name}.running_var": shape, f"{name}.num_batches_tracked": ()}
    return found


def weights(shapes_by_name: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random ones with which the answer depends on clicks and the previous mask as much as on the picture."""
    state = click_weights(shapes_by_name)
    state["feature_extractor.backbone.patch_embed_side1.norm.weight"] *= 3
    state["feature_extractor.decode_head.linear_pred.weight"] *= 30
    state["feature_extractor.decode_head.linear_pred.bias"].fill_(14)
    state["refiner.refine_pred.weight"] *= 20
    state["refiner.refine_pred.bias"].zero_()
    return state


def config(size: str, version: str, **changed: Any) -> dict[str, Any]:
    """The configuration that the authors' trainer writes beside the tensors."""
    specified = {
        "pipeline_version": version, "model_version": size, "use_leaky_relu": True, "use_rgb_conv": False,
        "use_disks": True, "norm_radius": 5, "binary_prev_mask": False, "with_prev_mask": True, "with_aux_output": True,
        **changed,
    }  # fmt: skip
    params = {name: {"type": "builtin", "value": value, "specified": True} for name, value in specified.items()}
    params["norm_layer"] = {"type": "class", "value": "torch.nn.modules.batchnorm.BatchNorm2d", "specified": False}
    return {"class": CLASS, "params": params}


def checkpoint(path: Path, size: str, version: str, **changed: Any) -> Path:
    """Writes a checkpoint as the authors' trainer does."""
    torch.save({"state_dict": weights(shapes(size)), "config": config(size, version, **changed)}, path)
    return path


class Case(NamedTuple):
    """``clicks``: how many; beyond nine, more of the same around the object."""

    version: str
    size: tuple[int, int]
    clicks: int


CASES = {"s2": Case("s2", (300, 431), 12), "tall": Case("s2", (640, 213), 9), "s1": Case("s1", (300, 431), 9)}
STRIDE = 11
"""Of the probabilities one row and column in so many is stored."""


def clicks(size: tuple[int, int], count: int) -> list[Click]:
    """The nine, and more around the first."""
    x, y, _ = nine_clicks(size)[0]
    more = [(x + 9 * i, y - 7 * i, i % 2 == 0) for i in range(1, 1 + count)]
    return [*nine_clicks(size), *more][:count]
