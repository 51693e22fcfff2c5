"""Weights of SAM 2's line: the authors' names put into transformers', what only videos need left out.

Every function raises :class:`sambench.errors.UsageError` with one line when a source cannot be used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sambench.errors import UsageError
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source, some
from sambench.models.common.renaming import PROMPTED, apply, rules

_PROMPTED = (
    *rules(
        (r"^sam_prompt_encoder\.", "prompt_encoder."),
        (r"^sam_mask_decoder\.", "mask_decoder."),
        (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "prompt_encoder.shared_embedding.positional_embedding"),  # noqa: E501
    ),
    *PROMPTED,
    *rules(
        (r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.(?:layers\.0|lin1)\.", r"\1.proj_in."),
        (r"^(mask_decoder\.transformer\.layers\.\d+\.mlp)\.(?:layers\.1|lin2)\.", r"\1.proj_out."),
        (r"^(mask_decoder\.transformer\..*)\.out_proj\.", r"\1.o_proj."),
        (r"^no_mem_embed$", "no_memory_embedding"),
    ),
)  # fmt: skip
_ENCODER = rules(
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^image_encoder\.trunk\.body\.", "vision_encoder.backbone.timm_model."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^vision_encoder\.backbone\.patch_embed\.proj\.", "vision_encoder.backbone.patch_embed.projection."),
    (r"^(vision_encoder\.backbone\.blocks\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"^(vision_encoder\.backbone\.blocks\.\d+\.mlp)\.layers\.0\.", r"\1.proj_in."),
    (r"^(vision_encoder\.backbone\.blocks\.\d+\.mlp)\.layers\.1\.", r"\1.proj_out."),
)
"""The authors' names to those of transformers, applied in this order."""

_VIDEO = re.compile(
    r"^(memory_|maskmem_|mask_downsample|obj_ptr_|object_pointer_|no_obj_|no_object_|no_mem_pos_enc|"
    r"no_memory_positional_encoding|temporal_positional_encoding_|occlusion_spatial_|spatial_perceiver|transformer\.)"
)
"""What only videos need, by the authors' names and by transformers'."""
_AGAIN = "shared_image_embedding.positional_embedding"
"""transformers keeps the matrix of the prompt encoder's positions twice."""
_ONLY_IN_2_1 = ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter")
_ONLY_IN_VIDEO_2 = ("no_obj_ptr", "no_object_pointer")


def translated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image part by transformers' names, whether the names are the authors' or transformers' already (of which some
    would be the authors' for another tensor)."""
    authors = any(key.startswith("sam_mask_decoder.") for key in state)
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        renamed = apply(key, (*_PROMPTED, *_ENCODER)) if authors else key
        if renamed != _AGAIN and not _VIDEO.match(renamed):
            found[renamed] = value
    one = "prompt_encoder.point_embed.{}.weight"
    if all(one.format(i) in found for i in range(4)):
        found["prompt_encoder.point_embed.weight"] = torch.cat([found.pop(one.format(i)) for i in range(4)])
    return found


def read(source: Source) -> dict[str, Tensor]:
    """The tensors by name: the authors' file keeps them under ``model``."""
    return checkpoints.tensors(source, "model")


@dataclass(frozen=True)
class Size:
    """A released size of Hiera, by the sizes that tensors show (``width``, ``blocks``) and those that they do not."""

    name: str
    width: int
    blocks: int
    stages: tuple[int, ...]
    heads: int
    global_blocks: tuple[int, ...]
    background: int = 7
    windows: tuple[int, ...] = (8, 4, 14, 7)

    def config(self) -> dict[str, Any]:
        """As ``config.json`` has it."""
        widths = [self.width * 2**i for i in range(4)]
        return {
            "model_type": "sam2",
            "vision_config": {
                "backbone_config": {
                    "model_type": "sam2_hiera_det_model",
                    "hidden_size": self.width,
                    "num_attention_heads": self.heads,
                    "blocks_per_stage": list(self.stages),
                    "embed_dim_per_stage": widths,
                    "num_attention_heads_per_stage": [self.heads * 2**i for i in range(4)],
                    "window_size_per_stage": list(self.windows),
                    "global_attention_blocks": list(self.global_blocks),
                    "window_positional_embedding_background_size": [self.background, self.background],
                },
                "backbone_channel_list": widths[::-1],
            },
        }


SIZES = (
    Size("tiny", 96, 12, (1, 2, 7, 2), 1, (5, 7, 9)),
    Size("small", 96, 16, (1, 2, 11, 2), 1, (7, 10, 13)),
    Size("base_plus", 112, 24, (2, 3, 16, 3), 2, (12, 16, 20), background=14),
    Size("large", 144, 48, (2, 6, 36, 4), 2, (23, 33, 43), windows=(8, 4, 16, 8)),
)
"""sam2/configs/sam2.1/*.yaml; base_plus takes the defaults of sam2/modeling/backbones/hieradet.py."""


@dataclass(frozen=True)
class Held:
    """What a source holds. ``name``: of the zoo, or one made of the sizes; with ``x`` for the version where the image
    part alone is there, in which 2 and 2.1 do not differ. ``config``: as ``config.json`` has it."""

    name: str
    config: Mapping[str, Any]

    def is_called(self, name: str) -> bool:
        """Whether these can be the weights of ``name``."""
        return name == self.name or self.name.replace("sam2.x_", "sam2_") == name.replace("sam2.1_", "sam2_")


def identify(source: Source, present: frozenset[str]) -> Held:
    """What a source holds: a folder by its ``config.json``, a file by its tensors; the version by what the video part
    has, or by the hub id. ``present``: :func:`keys` of it."""
    config = source.config()
    if config is None:
        widths, blocks = _sizes(source)
    else:
        backbone = (config.get("vision_config") or {}).get("backbone_config") or {}
        widths, blocks = backbone.get("hidden_size", 96), sum(backbone.get("blocks_per_stage") or (1, 2, 7, 2))
    size = next((size for size in SIZES if (size.width, size.blocks) == (widths, blocks)), None)
    if config is None and size is None:
        known = ", ".join(f"{size.name} {size.width}x{size.blocks}" for size in SIZES)
        raise UsageError(
            f"{source.path} holds a SAM 2 of width {widths} with {blocks} blocks, and tensors do not say the rest: "
            f"pass a folder with config.json (as files are known {known})"
        )
    label = f"{widths}x{blocks}" if size is None else size.name
    return Held(f"{_version(present, source.hub)}_hiera_{label}", config or (size or SIZES[0]).config())


def _sizes(source: Source) -> tuple[int, int]:
    """Width and number of blocks of Hiera, from the shapes of its tensors."""
    state = translated(read(source))
    patch = state.get("vision_encoder.backbone.patch_embed.projection.weight")
    found = {key.split(".")[3] for key in state if key.startswith("vision_encoder.backbone.blocks.")}
    if patch is None or patch.ndim != 4 or not found:
        raise UsageError(f"{source.path} is not a SAM 2 checkpoint: it holds {some(state)}")
    return len(patch), len(found)


def _version(present: frozenset[str], hub: str) -> str:
    if any(key in present for key in _ONLY_IN_2_1) or "sam2.1-" in hub:
        return "sam2.1"
    return "sam2" if any(key in present for key in _ONLY_IN_VIDEO_2) or "sam2-" in hub else "sam2.x"
