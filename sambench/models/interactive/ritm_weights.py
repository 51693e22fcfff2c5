"""The authors' RITM checkpoints: ``{"state_dict": tensors, "config": plain data}``.

The configuration names a class and its arguments. Nothing of that name is imported: the names are compared, the
arguments are read, and the tensors have to fit what they say. Every function raises
:class:`sambench.errors.UsageError` with one line when a source cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sambench.errors import UsageError
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.interactive.ritm_network import Architecture, RitmNetwork

KIND = "HRNetModel"
"""The class that the configuration of a supported checkpoint names, without its module."""

NAMES = {
    (18, 48, True): "ritm_hrnet18s",
    (18, 64, False): "ritm_hrnet18",
    (32, 128, False): "ritm_hrnet32",
}
"""By ``width``, ``ocr_width`` and ``small``."""

RELEASED = {
    "coco_lvis_h18s_itermask": ("ritm_hrnet18s", frozenset({"coco", "lvis"})),
    "coco_lvis_h18_itermask": ("ritm_hrnet18", frozenset({"coco", "lvis"})),
    "coco_lvis_h32_itermask": ("ritm_hrnet32", frozenset({"coco", "lvis"})),
    "coco_lvis_h18_baseline": ("ritm_hrnet18_no_mask", frozenset({"coco", "lvis"})),
    "sbd_h18_itermask": ("ritm_hrnet18", frozenset({"sbd"})),
}
"""The authors' files, by name without ``.pth``: what they are, and what they were trained on."""

# What is not here has to be as the default says; the authors' defaults where a file leaves one out.
_DEFAULTS: dict[str, Any] = {
    "width": 48,
    "ocr_width": 256,
    "small": False,
    "with_prev_mask": False,
    "use_leaky_relu": False,
    "norm_radius": 260,
    "norm_mean_std": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}
_SUPPORTED: dict[str, tuple[Any, Any]] = {  # name: (the authors' default, what is needed)
    "use_rgb_conv": (True, False),
    "use_disks": (False, True),
    "clicks_groups": (None, None),
    "binary_prev_mask": (False, False),
    "conv_extend": (False, False),
}
_IRRELEVANT = {"backbone_lr_mult", "with_aux_output", "cpu_dist_maps", "norm_layer"}
"""What changes training, or how the same is computed."""


def is_ritm(held: Mapping[str, Any]) -> bool:
    """Whether the top level of a checkpoint is that of a RITM model with an HRNet. FocalClick names its models with
    HRNet alike, but has modules besides."""
    config, state = held.get("config"), held.get("state_dict")
    if not isinstance(config, Mapping) or not isinstance(state, Mapping):
        return False
    modules = {str(key).partition(".")[0] for key in state}
    return _class_of(config) == KIND and modules <= {"maps_transform", "rgb_conv", "feature_extractor"}


def read(source: Source) -> tuple[Architecture, dict[str, Tensor]]:
    """What the configuration of a source says, and its tensors."""
    held = checkpoints.contents(source)
    config = held.get("config")
    if "state_dict" not in held or not isinstance(config, Mapping):
        raise UsageError(
            f"{source.path} is not a checkpoint of RITM, which has a state_dict and a config: it holds "
            f"{checkpoints.some(held) or 'nothing'}"
        )
    if not is_ritm(held):
        raise UsageError(
            f"{source.path} is not a checkpoint of RITM with HRNet: its configuration says {_class_of(config)!r} "
            f"and it holds {checkpoints.some(sorted({str(key).partition('.')[0] for key in held['state_dict']}))}"
        )
    return architecture(config, source.path), checkpoints.tensors(source, "state_dict")


def architecture(config: Mapping[str, Any], path: Path) -> Architecture:
    """From ``{"class": name, "params": {argument: {"type", "value", "specified"}}}``. ``path`` is for messages."""
    said = config.get("params")
    if not isinstance(said, Mapping) or not all(isinstance(p, Mapping) and "value" in p for p in said.values()):
        raise UsageError(f"{path}: its configuration does not say the model's arguments as RITM's do")
    for name, (default, needed) in _SUPPORTED.items():
        value = said[name]["value"] if name in said else default
        if value != needed:
            raise UsageError(f"{path}: a RITM with {name}={value!r} is not supported, only {needed!r}")
    known = {*_DEFAULTS, *_SUPPORTED, *_IRRELEVANT}
    unknown = sorted(str(name) for name, p in said.items() if name not in known and p.get("specified", True))
    if unknown:
        raise UsageError(f"{path}: its configuration has arguments that RITM's models do not: {', '.join(unknown)}")
    values = {name: said[name]["value"] if name in said else default for name, default in _DEFAULTS.items()}
    try:
        mean, std = (tuple(map(float, three)) for three in values["norm_mean_std"])
        if len(mean) != 3 or len(std) != 3:
            raise ValueError("not three channels")
        return Architecture(
            width=int(values["width"]),
            ocr_width=int(values["ocr_width"]),
            small=bool(values["small"]),
            with_prev_mask=bool(values["with_prev_mask"]),
            use_leaky_relu=bool(values["use_leaky_relu"]),
            norm_radius=float(values["norm_radius"]),
            mean=(mean[0], mean[1], mean[2]),
            std=(std[0], std[1], std[2]),
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: its configuration cannot be read: {checkpoints.one_line(error)}") from error


def name_of(held: Architecture) -> str:
    """A name of the zoo, or one made of the sizes if it is none of those."""
    sizes = (held.width, held.ocr_width, held.small)
    made = f"ritm_hrnet{held.width}{'s' if held.small else ''}_ocr{held.ocr_width}"
    return NAMES.get(sizes, made) + ("" if held.with_prev_mask else "_no_mask")


def trained_on(source: Source, name: str) -> frozenset[str] | None:
    """What the authors' file of this name was trained on; None for any other file, or if it is no ``name``."""
    released, datasets = RELEASED.get(source.path.stem, ("", None))
    return datasets if released == name else None


def network(source: Source, name: str | None = None) -> tuple[RitmNetwork, Architecture]:
    """The network with the weights of the source, float32, on the CPU, none missing, none left over.

    ``name``: the model that was asked for; weights of another are refused.
    """
    held, state = read(source)
    checkpoints.refuse_other(source.path, name_of(held), name)
    with torch.device("meta"):
        empty = RitmNetwork(held)
    return checkpoints.fill(empty, state, source.path, name_of(held)), held


def _class_of(config: Mapping[str, Any]) -> str:
    return str(config.get("class", "")).rpartition(".")[2]
