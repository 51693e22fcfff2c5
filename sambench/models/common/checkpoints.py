"""Weights on disk and on the hub: found, digested, and read without running anything that they hold.

A source is a file (``.pth``, ``.pt``, ``.bin``, ``.safetensors``), a folder as ``save_pretrained`` writes it, or a hub
id. Every function raises :class:`sambench.errors.UsageError` with one line when a source cannot be used.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sambench.errors import UsageError
from sambench.models.common import checkpoints

HeldT = TypeVar("HeldT")
ModuleT = TypeVar("ModuleT", bound=nn.Module)


class _Mentioned:
    """Stands for an object of an author's code. Keeps nothing and does nothing."""

    def __setstate__(self, state: object) -> None:
        pass


_MENTIONED: list[Any] = [
    # SimpleClick's files hold the loss that the network was trained with, as an object.
    (_Mentioned, f"isegm.model.modeling.transformer_helper.cross_entropy_loss.{name}")
    for name in ("CrossEntropyLoss", "cross_entropy")
]
"""Names that may be met in released files, and what is made in their place. Any other name is refused."""

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
"""How the name of a checkpoint file ends."""


@dataclass(frozen=True)
class Source:
    """Where weights lie: ``path`` is a file or a folder. ``files``: what is read and digested, in order. ``hub``: the
    hub id that they came from, empty for a local file or folder."""

    path: Path
    files: tuple[Path, ...]
    hub: str = ""

    def digest(self) -> str:
        """sha256 (hex) of the one file, or of the files of the folder one after the other."""
        return _sha256(tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in self.files))

    def config(self) -> Mapping[str, Any] | None:
        """The folder's ``config.json``; None for a file."""
        return _config(self.path) if self.path.is_dir() else None


class OpenSource(Source):
    """A source whose files are read once, when they are first asked for, and held for as long as it lives: for asking
    several families whether it is theirs."""

    @cached_property
    def held(self) -> Mapping[str, Any]:
        """As :func:`contents` of any source."""
        return _read(self)


def find(weights: str, hub: str = "", wanted: str = "") -> Source:
    """The source that ``weights`` names: a file, a folder, a hub id; if empty, the hub id ``hub``.

    ``wanted``: what the message says to pass where nothing was named and no hub has it.
    """
    path = Path(weights).expanduser()
    if weights and path.is_dir():
        return _folder(path)
    if weights and path.is_file():
        return Source(path, (path,))
    hub_id = weights or hub
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", hub_id) and Path(hub_id).suffix not in SUFFIXES:
        return _folder(_snapshot(hub_id), hub_id)
    if not weights:
        raise UsageError(wanted or "no weights named: pass a file with --set model.weights=FILE")
    raise UsageError(f"no weights at {weights}: no such file or folder")


def contents(source: Source) -> dict[str, Any]:
    """What the files hold at their top level: tensors and plain values by name (a checkpoint of tensors alone, or one
    with them under ``state_dict`` or ``model``). Nothing that a file holds is ever run."""
    return dict(source.held) if isinstance(source, OpenSource) else _read(source)


def _read(source: Source) -> dict[str, Any]:
    held: dict[str, Any] = {}
    for file in source.files:
        if file.suffix != ".json":
            held.update(_contents(file))
    return held


def tensors(source: Source, *inside: str) -> dict[str, Tensor]:
    """The tensors by name. ``inside``: keys under which authors keep them (``state_dict``, ``model``), tried in order
    where the top level holds more than tensors."""
    held: Any = contents(source)
    for key in inside:
        if isinstance(held.get(key), Mapping):
            held = held[key]
            break
    if not held or not all(isinstance(value, Tensor) for value in held.values()):
        raise UsageError(
            f"{source.path} is not a dictionary of tensors: it holds {some(map(str, held)) or 'no tensors'}"
        )
    return {str(key): value for key, value in held.items()}


def fill(model: ModuleT, state: Mapping[str, Tensor], path: Path, name: str) -> ModuleT:
    """``model`` (made on the meta device or not) with the tensors of ``state``, float32, for inference: none missing,
    none left over, every shape as expected. Copied, so that a file that changes later does not change the model."""
    expected = {key: value.shape for key, value in model.state_dict().items()}
    missing, left = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or left:
        parts = [f"{len(keys)} {what} ({some(keys)})" for keys, what in ((missing, "missing"), (left, "left over"))]
        raise UsageError(f"{path} does not fit {name}: of its tensors are {' and '.join(parts)}")
    for key, shape in expected.items():
        if state[key].shape != shape:
            raise UsageError(f"{path}: tensor {key} is {list(state[key].shape)}, {name} has {list(shape)}")
    copied = {
        key: value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
        for key, value in state.items()
    }
    model.load_state_dict(copied, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def some(keys: Iterable[str]) -> str:
    """The first three of the keys, for a message."""
    names = list(keys)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def one_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _config(path: Path) -> Mapping[str, Any]:
    try:
        held = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if not isinstance(held, dict):
            raise ValueError("it is no JSON object")
    except (ValueError, AttributeError, OSError) as error:
        raise UsageError(
            f"{path / 'config.json'} cannot be read as a model configuration: {one_line(error)}"
        ) from error
    found: Mapping[str, Any] = held
    return found


def _folder(path: Path, hub: str = "") -> Source:
    config = path / "config.json"
    weights = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.bin"))
    if not config.is_file() or not weights:
        lacking = "config.json" if not config.is_file() else "weights (model.safetensors or pytorch_model.bin)"
        raise UsageError(f"{path} is not a model folder of transformers: it has no {lacking}")
    _config(path)
    return Source(path, (*weights, config), hub)


def _snapshot(hub_id: str) -> Path:
    """The hub's files in the local cache, downloaded if they are not there yet."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    for patterns in (["config.json", "*.safetensors"], ["config.json", "*.bin"]):
        for cached in (True, False):
            try:
                folder = Path(snapshot_download(hub_id, allow_patterns=patterns, local_files_only=cached))
            except GatedRepoError as error:
                raise UsageError(
                    f"{hub_id} is gated: accept its licence at https://huggingface.co/{hub_id} with your account, then "
                    f"run `hf auth login` and the same command again, or pass a folder with --set model.weights=PATH"
                ) from error
            except Exception as error:  # a library's own and its HTTP client's, of many kinds
                if not cached:
                    raise UsageError(
                        f"cannot get {hub_id} from the Hugging Face hub ({one_line(error)}): where it can be reached, "
                        f"run `hf download {hub_id}`, or download the authors' file, and pass the folder or file with "
                        "--set model.weights=PATH"
                    ) from error
                continue
            if (folder / "config.json").is_file() and any(folder.glob(patterns[1])):
                return folder
    raise UsageError(f"{hub_id} on the Hugging Face hub has no config.json with safetensors or bin weights")


def _contents(path: Path) -> dict[str, Any]:
    """The top level of one file."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if head.startswith(b"version https://git-lfs"):
        raise UsageError(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` where it came from")
    damaged = f"{path} is damaged or cut short, or no checkpoint at all ({path.stat().st_size} bytes): get it again"
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except (SafetensorError, OSError, ValueError) as error:
            raise UsageError(damaged) from error
    zipped = zipfile.is_zipfile(path)
    if not zipped and head.startswith(b"PK"):
        raise UsageError(damaged)
    if zipped:
        with zipfile.ZipFile(path) as archive:
            packed = [name for name in archive.namelist() if name.endswith(SUFFIXES)]
        if packed:
            raise UsageError(f"{path} is an archive: unpack it and give {packed[0]}")
    try:
        with torch.serialization.safe_globals(_MENTIONED):
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # damaged bytes can ask the unpickler for anything
        called = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if called is None:
            raise UsageError(damaged) from error
        raise UsageError(f"{path} was not loaded: it holds more than tensors and wants to run {called[1]}") from error
    if not isinstance(loaded, dict):
        raise UsageError(f"{path} is not a dictionary of tensors: it holds one {type(loaded).__name__}")
    return {str(key): value for key, value in loaded.items()}


@lru_cache(maxsize=16)
def _sha256(files: tuple[tuple[str, int, int], ...]) -> str:
    """Sizes and times are in the key, so that a file that changed is digested again."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def keys(source: Source) -> frozenset[str]:
    """The names of the tensors of any source, none for one that holds something else; for telling families apart."""
    held: Any = checkpoints.contents(source)
    held = held["model"] if isinstance(held.get("model"), Mapping) else held
    return frozenset(str(key) for key, value in held.items() if isinstance(value, Tensor))


def description(source: Source) -> str:
    """What a source of another family holds, for a message."""
    config = source.config()
    return (
        f"it is of type {config.get('model_type')!r}"
        if config
        else f"it holds {some(sorted(keys(source))) or 'no tensors'}"
    )


def require(source: Source, held: HeldT | None, called: str) -> HeldT:
    """What a source holds. Raises UsageError if that is not ``called`` so, which is None."""
    if held is None:
        raise UsageError(f"{source.path} is not {called} checkpoint: {description(source)}")
    return held


def refuse_other(path: Path, held: str, wanted: str | None) -> None:
    """Raises UsageError, naming both, if weights are of another architecture than was asked for."""
    if wanted is not None and held != wanted:
        raise UsageError(f"{path} holds weights of {held}, not of {wanted}: name the model {held}")
