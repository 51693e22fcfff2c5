"""SimpleClick's checkpoints: ``{"state_dict", "config"}`` of the authors' trainer, or the tensors alone.

What a file is, is read from the shapes of its tensors, and from ``config`` what shapes do not tell. Every function
raises :class:`sambench.errors.UsageError` with one line when a source cannot be used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sambench.errors import UsageError
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source, some
from sambench.models.interactive.click_checkpoints import arguments
from sambench.models.interactive.simpleclick_network import SimpleClickNetwork, Sizes

RADIUS = 5
"""Pixels of the discs that every released model was trained with."""

_NAMES = {
    (160, 8): "simpleclick_vit_xtiny",
    (768, 12): "simpleclick_vit_b",
    (1024, 24): "simpleclick_vit_l",
    (1280, 32): "simpleclick_vit_h",
}
_HEADS = {160: 4, 768: 12, 1024: 16, 1280: 16}
"""Attention heads by width, which no tensor tells."""

_FILES = {"cocolvis": frozenset({"coco", "lvis"}), "sbd": frozenset({"sbd"})}
"""How the authors' file names begin, and what it says of the training data."""

# Left by pretraining and by the head's other variants; nothing of it takes part in an answer.
_IDLE = re.compile(r"backbone\.(cls_token|fc_norm\.|head\.)")
_IDLE_IN_HEAD = re.compile(r"head\.up_conv(\d)\.")


def read(source: Source) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The tensors by name, without those that no answer depends on, and the arguments that ``config`` names."""
    held = checkpoints.contents(source)
    state = checkpoints.tensors(source, "state_dict")
    doublings = _doublings(state)
    kept = {key: value for key, value in state.items() if not _IDLE.match(key) and not _is_idle(key, doublings)}
    return kept, arguments(held)


def holds(source: Source) -> bool:
    """Whether a source holds a SimpleClick."""
    held = checkpoints.contents(source)
    return is_simpleclick(held.get("state_dict", held))


def is_simpleclick(state: Mapping[str, Any]) -> bool:
    """Whether tensors, or what else goes by these names, are of a SimpleClick."""
    return "patch_embed_coords.proj.weight" in state and "neck.down_4.0.weight" in state


def sizes(state: Mapping[str, Tensor], parameters: Mapping[str, Any], path: Path) -> Sizes:
    """What shapes and config say. ``path`` is for the message if they are not of a SimpleClick."""
    if not is_simpleclick(state):
        raise UsageError(f"{path} is not a SimpleClick checkpoint: it holds {some(state)}")
    if parameters.get("use_disks", True) is not True or parameters.get("norm_radius", RADIUS) != RADIUS:
        raise UsageError(f"{path} was trained with other click maps than discs of {RADIUS} pixels")
    try:
        width, _, _, patch = state["backbone.patch_embed.proj.weight"].shape
        grid = round((state["backbone.pos_embed"].shape[1] - 1) ** 0.5)
        layers = {found[1] for key in state if (found := re.match(r"backbone\.blocks\.(\d+)\.", key))}
        backbone = parameters.get("backbone_params")
        heads = backbone.get("num_heads") if isinstance(backbone, Mapping) else _HEADS.get(width)
        if not isinstance(heads, int) or heads < 1 or width % heads:
            raise UsageError(f"{path} does not say how many attention heads its encoder of width {width} has")
        return Sizes(
            width=width,
            depth=len(layers),
            heads=heads,
            mlp_width=len(state["backbone.blocks.0.mlp.fc1.weight"]),
            patch=patch,
            grid=grid,
            pyramid=tuple(state[f"head.convs.{i}.conv.weight"].shape[1] for i in range(4)),
            fused=len(state["head.fusion_conv.conv.weight"]),
            doublings=_doublings(state),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UsageError(f"{path} is a SimpleClick checkpoint with tensors missing or misshapen ({error})") from error


def name_of(found: Sizes) -> str:
    """The zoo's name of an architecture, or one made of its sizes if it is none of the released ones."""
    return _NAMES.get((found.width, found.depth), f"simpleclick_vit_{found.width}x{found.depth}")


def trained_on(source: Source) -> frozenset[str] | None:
    """What a file name as the authors give it says (``cocolvis_vit_huge.pth``); None for any other."""
    found = re.fullmatch(r"(cocolvis|sbd)_vit_(xtiny|base|large|huge)\.pth", source.path.name)
    return _FILES[found[1]] if found else None


def network(source: Source, name: str | None = None) -> SimpleClickNetwork:
    """The network with the weights of the source, float32, on the CPU. ``name``: what was asked for; weights of
    another size are refused."""
    state, parameters = read(source)
    found = sizes(state, parameters, source.path)
    checkpoints.refuse_other(source.path, name_of(found), name)
    with torch.device("meta"):
        made = SimpleClickNetwork(found)
    return checkpoints.fill(made, state, source.path, name_of(found))


def _doublings(state: Mapping[str, Tensor]) -> int:
    """How often the head halves its channels before it answers."""
    fused, read_by = state.get("head.fusion_conv.conv.weight"), state.get("head.conv_seg.weight")
    if fused is None or read_by is None or read_by.ndim != 4 or read_by.shape[1] < 1:
        return 0
    return max(0, (len(fused) // read_by.shape[1]).bit_length() - 1)


def _is_idle(key: str, doublings: int) -> bool:
    found = _IDLE_IN_HEAD.match(key)
    return found is not None and int(found[1]) > doublings
