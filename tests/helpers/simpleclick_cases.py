"""Random SimpleClick checkpoints in the authors' format, the same on every machine, and what is asked of them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import torch
from helpers.click_weights import click_weights
from torch import Tensor, nn

TINY: dict[str, Any] = {"width": 32, "depth": 8, "heads": 4, "patch": 28, "pyramid": (8, 16, 24, 32), "fused": 16}
"""Small, with every part: at 448 pixels, four windows and layers that see them all."""
SIZES: dict[str, dict[str, Any]] = {
    name: dict(zip(("width", "depth", "heads", "patch", "pyramid", "fused"), sizes, strict=True))
    for name, *sizes in (
        ("simpleclick_vit_xtiny", 160, 8, 4, 16, (96, 192, 288, 384), 128),
        ("simpleclick_vit_b", 768, 12, 12, 16, (128, 256, 512, 1024), 256),
        ("simpleclick_vit_l", 1024, 24, 16, 16, (192, 384, 768, 1536), 256),
        ("simpleclick_vit_h", 1280, 32, 16, 14, (240, 480, 960, 1920), 256),
    )
}
"""As the authors' training scripts have them (models/iter_mask/plainvit_*448_cocolvis_itermask.py)."""

CLASS = "isegm.model.is_plainvit_model.PlainVitModel"
LOSS = "isegm.model.modeling.transformer_helper.cross_entropy_loss"


def shapes(size: dict[str, Any], side: int = 448) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of the authors' file, worked out from their code and not from ours.

    ``side``: pixels that the position embedding was trained at.
    """
    c, depth, patch, fused = size["width"], size["depth"], size["patch"], size["fused"]
    c4, c8, c16, c32 = size["pyramid"]
    w4, w8, w32 = max(2 * c4, c // 2), max(c8, c // 2), max(c32, 2 * c)
    weights: dict[str, tuple[int, ...]] = {
        "patch_embed_coords.proj": (c, 3, patch, patch),
        "backbone.patch_embed.proj": (c, 3, patch, patch),
        **{
            f"backbone.blocks.{i}.{part}": shape
            for i in range(depth)
            for part, shape in (
                ("norm1", (c,)), ("norm2", (c,)), ("attn.qkv", (3 * c, c)), ("attn.proj", (c, c)),
                ("mlp.fc1", (4 * c, c)), ("mlp.fc2", (c, 4 * c)),
            )
        },
        "backbone.fc_norm": (c,),
        "backbone.head": (1000, c),
        "neck.down_4.1": (w4,), "neck.down_4.4": (w4 // 2,),
        "neck.down_4.5": (c4, w4 // 2, 1, 1), "neck.down_4.6": (c4,),
        "neck.down_8.1": (w8,), "neck.down_8.2": (c8, w8, 1, 1), "neck.down_8.3": (c8,),
        "neck.down_16.0": (c16, c, 1, 1), "neck.down_16.1": (c16,),
        "neck.down_32.0": (w32, c, 2, 2), "neck.down_32.1": (w32,),
        "neck.down_32.2": (c32, w32, 1, 1), "neck.down_32.3": (c32,),
        **{f"head.convs.{i}.conv": (fused, n, 1, 1) for i, n in enumerate(size["pyramid"])},
        "head.fusion_conv.conv": (fused, 4 * fused, 1, 1),
        "head.conv_seg": (1, fused, 1, 1),
    }  # fmt: skip
    for i, out in ((1, fused // 2), (2, fused // 4)):
        weights |= {f"head.up_conv{i}.1": (out,), f"head.up_conv{i}.2": (out, out, 1, 1), f"head.up_conv{i}.3": (out,)}
    found = {
        "backbone.cls_token": (1, 1, c),
        "backbone.pos_embed": (1, (side // patch) ** 2 + 1, c),
        **{f"{name}.weight": shape for name, shape in weights.items()},
        **{f"{name}.bias": shape[:1] for name, shape in weights.items()},
    }
    # Transposed convolutions keep their inputs first.
    for name, given, out in (
        ("neck.down_4.0", c, w4), ("neck.down_4.3", w4, w4 // 2), ("neck.down_8.0", c, w8),
        ("head.up_conv1.0", fused, fused // 2), ("head.up_conv2.0", fused // 2, fused // 4),
    ):  # fmt: skip
        found |= {f"{name}.weight": (given, out, 2, 2), f"{name}.bias": (out,)}
    return found


def weights(shapes_by_name: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random ones with which the answer depends on clicks and the previous mask more than on place and picture, so that
    the object is in one place and ZoomIn has work to do."""
    state = click_weights(shapes_by_name)
    state["backbone.pos_embed"] *= 0.03
    state["backbone.patch_embed.proj.weight"] *= 0.2
    state["patch_embed_coords.proj.weight"] *= torch.tensor([1.0, 30.0, 30.0]).view(1, 3, 1, 1)
    state["head.conv_seg.weight"] *= 8.4
    state["head.conv_seg.bias"].fill_(-4.4)
    return state


def config(size: dict[str, Any], side: int = 448, **changed: Any) -> dict[str, Any]:
    """The configuration that the authors' trainer writes beside the tensors. The loss is an object there."""
    specified = {
        "use_disks": True,
        "norm_radius": 5,
        "with_prev_mask": True,
        "backbone_params": {
            "img_size": (side, side), "patch_size": (size["patch"],) * 2, "in_chans": 3, "embed_dim": size["width"],
            "depth": size["depth"], "num_heads": size["heads"], "mlp_ratio": 4, "qkv_bias": True,
        },
        "neck_params": {"in_dim": size["width"], "out_dims": list(size["pyramid"])},
        "head_params": {
            "in_channels": list(size["pyramid"]), "in_index": [0, 1, 2, 3], "dropout_ratio": 0.1, "num_classes": 1,
            "loss_decode": loss(), "align_corners": False, "upsample": "x1", "channels": size["fused"],
        },
        **changed,
    }  # fmt: skip
    return {
        "class": CLASS,
        "params": {name: {"type": "builtin", "value": value, "specified": True} for name, value in specified.items()},
    }


class CrossEntropyLoss(nn.Module):
    """Has what the authors' class of the name has."""

    def __init__(self) -> None:
        super().__init__()
        self.use_sigmoid, self.class_weight, self.loss_weight, self.reduction = False, None, 1.0, "mean"
        self.cls_criterion = cross_entropy


def cross_entropy() -> None:
    """Has the name of the authors' function."""


for _named in (CrossEntropyLoss, cross_entropy):
    _named.__module__ = LOSS


def loss() -> CrossEntropyLoss:
    """What the released files hold in their configuration."""
    return CrossEntropyLoss()


def checkpoint(path: Path, size: dict[str, Any], side: int = 448, **changed: Any) -> Path:
    """Writes a checkpoint as the authors' trainer does, its loss pickled under the authors' name for it."""
    module = ModuleType(LOSS)
    vars(module).update(CrossEntropyLoss=CrossEntropyLoss, cross_entropy=cross_entropy)
    parts = LOSS.split(".")
    packages = {".".join(parts[:i]): ModuleType(".".join(parts[:i])) for i in range(1, len(parts))}
    with mock.patch.dict(sys.modules, {**packages, LOSS: module}):
        torch.save({"state_dict": weights(shapes(size, side)), "config": config(size, side, **changed)}, path)
    return path


class Case(NamedTuple):
    """``side``: pixels that the position embedding was trained at. ``crop``: of the predictor. ``clicks``: how many."""

    size: tuple[int, int]
    side: int
    crop: int
    clicks: int


CASES = {
    "wide": Case((300, 431), 448, 448, 9),
    "tall": Case((640, 213), 448, 448, 4),
    "interpolated": Case((300, 431), 224, 448, 3),
    "large": Case((520, 700), 448, 672, 3),
}
STRIDE = 11
"""Of the probabilities one row and column in so many is stored."""
