"""FocalClick's checkpoints on SegFormer's encoder: ``{"state_dict", "config"}`` of the authors' trainer, or the tensors
alone.

What a file is, is read from the shapes of its tensors; whether the coarse segmenter sees its input at half the size
(S1) or not (S2), from ``config``. Every function raises :class:`sambench.errors.UsageError` with one line when a source
cannot be used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sambench.errors import UsageError
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source, some
from sambench.models.families.focalclick import COCO_LVIS, COMBINED
from sambench.models.interactive.click_checkpoints import arguments
from sambench.models.interactive.focalclick_network import HEADS, FocalClickNetwork, Sizes

_ENCODERS: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = {
    ((32, 64, 160, 256), (2, 2, 2, 2)): "b0",
    ((64, 128, 320, 512), (3, 4, 18, 3)): "b3",
    ((64, 128, 320, 512), (3, 6, 40, 3)): "b5",
}
"""SegFormer's name by widths and depths; those that the authors' code can build."""

_TRAINED_ON = {"comb": COMBINED, "cclvs": COCO_LVIS, "sbd": frozenset({"sbd"})}
"""By the last part of the names that the authors give their models (``segformerB3_S2_comb``)."""

_BACKBONE = "feature_extractor.backbone."
# Made by the authors' code and used by none of it in these models.
_IDLE = re.compile(r"maps_transform\.|refiner\.feature_gate\.")


def read(source: Source) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors by name, without those that no answer depends on, and the arguments that ``config`` names."""
    held = checkpoints.contents(source)
    state = checkpoints.tensors(source, "state_dict")
    return {key: value for key, value in state.items() if not _IDLE.match(key)}, arguments(held)


def is_focalclick(held: Mapping[str, Any]) -> bool:
    """Whether the top level of a checkpoint is that of a FocalClick, on whichever encoder."""
    state = held["state_dict"] if isinstance(held.get("state_dict"), Mapping) else held
    return "refiner.refine_pred.weight" in state and "refiner.refine_trimap.weight" in state


def sizes(source: Source, state: Mapping[str, Tensor], said: Mapping[str, Any], half: bool | None) -> Sizes:
    """What shapes and config say. ``half``: what is asked for, where the config does not say."""
    path = source.path
    if not is_focalclick(state):
        raise UsageError(f"{path} is not a FocalClick checkpoint: it holds {some(state)}")
    if f"{_BACKBONE}patch_embed_side1.proj.weight" not in state:
        raise UsageError(f"{path} is a FocalClick on another encoder than SegFormer's, which is not supported")
    if said.get("binary_prev_mask", False) is not False or said.get("with_prev_mask", True) is not True:
        raise UsageError(f"{path}: a FocalClick that sees no previous mask, or a binary one, is not supported")
    version = said.get("pipeline_version", {True: "s1", False: "s2", None: None}[half])
    if version not in ("s1", "s2"):
        raise UsageError(f"{path} does not say whether it is S1 or S2: name the model with --model")
    try:
        widths = tuple(len(state[f"{_BACKBONE}norm{i}.weight"]) for i in range(1, len(HEADS) + 1))
        mixed = len(state["feature_extractor.decode_head.linear_fuse.conv.weight"])
    except KeyError as error:
        raise UsageError(f"{path} is a FocalClick checkpoint without the tensor {error}") from error
    blocks = {found.groups() for key in state if (found := re.match(rf"{re.escape(_BACKBONE)}block(\d)\.(\d+)\.", key))}
    depths = tuple(sum(stage == str(i) for stage, _ in blocks) for i in range(1, len(HEADS) + 1))
    if any(width % heads for width, heads in zip(widths, HEADS, strict=True)):
        raise UsageError(f"{path}: widths {widths} are of no SegFormer")
    return Sizes(widths=widths, depths=depths, mixed=mixed, half=version == "s1")


def name_of(found: Sizes) -> str:
    """The zoo's name, or one of its pattern for what is not in the zoo."""
    made = "x".join(map(str, found.depths)) + f"w{found.widths[0]}"
    encoder = _ENCODERS.get((found.widths, found.depths), made)
    return f"focalclick_segformer_{encoder}_{'s1' if found.half else 's2'}"


def trained_on(source: Source) -> frozenset[str] | None:
    """What a file named after the authors' model says (``segformerB3_S2_comb.pth``); None for any other."""
    found = re.fullmatch(r"segformerB\d_S\d_(comb|cclvs|sbd)\.pth", source.path.name)
    return _TRAINED_ON[found[1]] if found else None


def network(source: Source, name: str) -> FocalClickNetwork:
    """The networks with the weights of the source, float32, on the CPU. ``name``: what was asked for; weights of
    another architecture are refused."""
    state, said = read(source)
    found = sizes(source, state, said, half_of(name))
    checkpoints.refuse_other(source.path, name_of(found), name)
    with torch.device("meta"):
        made = FocalClickNetwork(found)
    return checkpoints.fill(made, state, source.path, name)


def half_of(name: str | None) -> bool | None:
    """Whether a name asks for an S1 model; None without a name."""
    return None if name is None else name.endswith("_s1")
