"""Checkpoints that hold a whole pickled network, as ultralytics writes them: read for their tensors, without running
anything and without the classes that they name."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sambench.errors import UsageError
from sambench.models.common.checkpoints import Source, one_line


class _Inert:
    """Stands for an object of any class that a pickle names: remembers the state, and nothing else."""

    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read(source: Source) -> dict[str, Tensor]:
    """The parameters and buffers of the network under ``ema`` or ``model``, by name.

    Raises UsageError: not such a checkpoint, or a file that cannot be read.
    """
    path = source.path
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins: list[Any] = [(type("Inert", (_Inert,), {}), name) for name in named]
        with torch.serialization.safe_globals(stand_ins):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(f"{path} was not loaded: {one_line(error)}") from error
    except Exception as error:  # damaged bytes can ask the unpickler for anything
        raise UsageError(f"{path} is damaged or cut short, or no checkpoint at all: get it again") from error
    tensors: dict[str, Tensor] = {}
    if isinstance(held, Mapping):
        _collect(held.get("ema") or held.get("model"), "", tensors)
    if not tensors:
        raise UsageError(f"{path} holds no network as ultralytics saves it")
    return tensors


def _collect(module: Any, prefix: str, into: dict[str, Tensor]) -> None:
    """The tensors of a module and of those in it, as ``state_dict`` names them."""
    state = module.state if isinstance(module, _Inert) else None
    if not isinstance(state, Mapping):
        return
    for kind in ("_parameters", "_buffers"):
        into.update((prefix + name, value) for name, value in state[kind].items() if isinstance(value, Tensor))
    for name, child in state["_modules"].items():
        _collect(child, f"{prefix}{name}.", into)
