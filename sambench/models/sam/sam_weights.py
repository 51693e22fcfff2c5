"""Weights of SAM: told apart by their tensors, put into transformers' SamModel.

What a file is, is read from its tensors, never from its name. Every function raises
:class:`sambench.errors.UsageError` with one line when a source cannot be used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sambench.errors import UsageError
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source, some
from sambench.models.common.renaming import PROMPTED, apply, rules
from sambench.models.families.sam import CARDS

HUB = {card.name: card.hub for card in CARDS}
"""The released weights on the Hugging Face hub."""

RELEASED = {
    "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912": "sam_vit_b_01ec64.pth",
    "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622": "sam_vit_l_0b3195.pth",
    "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e": "sam_vit_h_4b8939.pth",
}
"""sha256 of the files that the Segment Anything repository links to."""

_OFFICIAL = {(768, 12, 12): "sam_vit_b", (1024, 24, 16): "sam_vit_l", (1280, 32, 16): "sam_vit_h"}

_POSITIONS = "shared_image_embedding.positional_embedding"
_POSITIONS_AGAIN = "prompt_encoder.shared_embedding.positional_embedding"

_RENAMED = (
    *rules(
        (r"^image_encoder\.", "vision_encoder."),
        (r"^vision_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
        (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
        (r"^(vision_encoder\.layers\..*)\.norm(\d)\.", r"\1.layer_norm\2."),
        (r"^vision_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
        (r"^vision_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
        (r"^vision_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
        (r"^vision_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
        (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", _POSITIONS),
    ),
    *PROMPTED,
)
"""Official names to those of transformers, applied in this order."""


@dataclass(frozen=True)
class Architecture:
    """The sizes of an image encoder. ``grid``: patches per side. ``global_layers``: the layers without windows."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    patch: int
    grid: int
    window: int
    global_layers: tuple[int, ...]

    @property
    def name(self) -> str:
        """``sam_vit_b``, ``sam_vit_l``, ``sam_vit_h``, or one made of the sizes if it is none of the three."""
        return _OFFICIAL.get((self.width, self.depth, self.heads), f"sam_vit_{self.width}x{self.depth}")

    @property
    def side(self) -> int:
        """Of the square input, in pixels."""
        return self.grid * self.patch

    @property
    def vision(self) -> dict[str, Any]:
        """The arguments of transformers' configuration of the encoder."""
        return {
            "hidden_size": self.width,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "mlp_dim": self.mlp_width,
            "image_size": self.side,
            "patch_size": self.patch,
            "window_size": self.window,
            "global_attn_indexes": list(self.global_layers),
        }


def find(weights: str, name: str | None = None) -> Source:
    """The source that ``weights`` names: a file, a folder, a hub id, or the released weights of ``name`` if empty."""
    source = checkpoints.find(weights, HUB.get(name or "", ""))
    kind = (source.config() or {"model_type": "sam"}).get("model_type")
    if kind != "sam":
        raise UsageError(f"{source.path} holds a model of type {kind!r}, not 'sam'")
    return source


def trained_on(source: Source) -> frozenset[str] | None:
    """``{"sa1b"}`` for the released weights, which the hub id or the digest proves; else nobody has said."""
    return frozenset({"sa1b"}) if source.hub in HUB.values() or source.digest() in RELEASED else None


def read(source: Source) -> dict[str, Tensor]:
    """The tensors by their name in ``transformers``' SamModel, official names being translated."""
    state = checkpoints.tensors(source)
    if any(key.startswith("image_encoder.") for key in state):
        state = {apply(key, _RENAMED): value for key, value in state.items()}
    if _POSITIONS not in state and _POSITIONS_AGAIN in state:
        state[_POSITIONS] = state[_POSITIONS_AGAIN]
    if _POSITIONS in state:
        state[_POSITIONS_AGAIN] = state[_POSITIONS]
    return state


def architecture(state: dict[str, Tensor], path: Path) -> Architecture:
    """What the shapes of the tensors say. ``path`` is for the message if they are not of a SAM."""
    position = state.get("vision_encoder.pos_embed")
    patch = state.get("vision_encoder.patch_embed.projection.weight")
    tables = {}
    for key, value in state.items():
        found = re.fullmatch(r"vision_encoder\.layers\.(\d+)\.attn\.rel_pos_h", key)
        if found and value.ndim == 2:
            tables[int(found[1])] = value
    mlp = state.get("vision_encoder.layers.0.mlp.lin1.weight")
    if position is None or patch is None or mlp is None or sorted(tables) != list(range(len(tables))) or not tables:
        raise UsageError(f"{path} is not a Segment Anything checkpoint: it holds {some(state)}")
    if position.ndim != 4 or patch.ndim != 4:
        raise UsageError(f"{path} is not a Segment Anything checkpoint: its position embedding has another shape")
    grid, width = position.shape[1], position.shape[3]
    sides = {layer: (len(table) + 1) // 2 for layer, table in tables.items()}
    windowed = {side for side in sides.values() if side != grid}
    if len(windowed) > 1:
        raise UsageError(f"{path}: attention windows of several sizes {sorted(windowed)} are in no SAM")
    return Architecture(
        width=width,
        depth=len(tables),
        heads=width // tables[0].shape[1],
        mlp_width=len(mlp),
        patch=patch.shape[-1],
        grid=grid,
        window=windowed.pop() if windowed else 0,
        global_layers=tuple(layer for layer in sorted(sides) if sides[layer] == grid),
    )


def identify(path: str | Path) -> str:
    """The name of the architecture of a checkpoint file or folder, e.g. ``sam_vit_b``, from its tensors."""
    source = find(str(path))
    return architecture(read(source), source.path).name


def module(source: Source, name: str | None = None) -> Any:
    """``transformers.SamModel`` with the weights of the source, float32, on the CPU, none missing, none left over.

    ``name``: the architecture that was asked for; weights of another are refused.
    """
    from transformers import SamConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    state = read(source)
    sizes = architecture(state, source.path)
    checkpoints.refuse_other(source.path, sizes.name, name)
    config = SamConfig(
        vision_config=SamVisionConfig(**sizes.vision),
        prompt_encoder_config=SamPromptEncoderConfig(image_size=sizes.side, patch_size=sizes.patch),
    )
    with torch.device("meta"):
        model = SamModel(config)
    return checkpoints.fill(model, state, source.path, sizes.name)
