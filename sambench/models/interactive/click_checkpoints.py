"""What the checkpoints of SimpleClick and FocalClick have in common with each other: the format of RITM's trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source


def find(weights: str, name: str | None) -> Source:
    """The authors' file that ``weights`` names. Nothing fetches one: where none is named, the UsageError says where to
    get it."""
    return checkpoints.find(
        weights,
        wanted=f"no weights for {name}: download the authors' file (`sambench show model {name}` says where from) and "
        "pass it with --set model.weights=FILE",
    )


def arguments(held: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the network was made with, by name, from ``held["config"]``, which is
    ``{"class": name, "params": {name: {"type", "value", "specified"}}}``. Empty where there is no such thing."""
    config = held.get("config")
    said = config.get("params") if isinstance(config, Mapping) else None
    if not isinstance(said, Mapping):
        return {}
    return {
        str(name): entry["value"] for name, entry in said.items() if isinstance(entry, Mapping) and "value" in entry
    }
