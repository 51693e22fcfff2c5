"""What ``--model`` can name, and how each becomes a model.

A zoo name, a checkpoint file, a hub id, a local folder, ``path/to/file.py:Class``, or an entry point of the group
``sambench.models``. Nothing here imports torch until a model that needs it is located or loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from sambench import options
from sambench.errors import UsageError
from sambench.models.wrapper import PredictorModel
from sambench.plugins import load_object, source_digest
from sambench.types import Model


@dataclass(frozen=True)
class Entry:
    """A model of the zoo. ``adapter``: the module under ``sambench.models`` that knows it. ``uses_torch``: it runs
    where ``--device`` says; otherwise on the CPU, alone on one thread. ``options``: the class in the adapter."""

    name: str
    summary: str
    adapter: str
    uses_torch: bool
    parameters: str = ""
    options: str = "Options"


ZOO: Mapping[str, Entry] = {
    e.name: e
    for e in (
        Entry("region_tree", "embedded baseline without learned weights", "region_tree", False, "0"),
        Entry("sam_vit_b", "Segment Anything, ViT-B (Kirillov et al. 2023)", "sam", True, "91M"),
        Entry("sam_vit_l", "Segment Anything, ViT-L (Kirillov et al. 2023)", "sam", True, "308M"),
        Entry("sam_vit_h", "Segment Anything, ViT-H (Kirillov et al. 2023), the paper's model", "sam", True, "636M"),
        Entry("sobel", "edges: the Sobel gradient", "edge_detectors", False, "0", "SobelOptions"),
        Entry("canny", "edges: Canny's detector without thresholds", "edge_detectors", False, "0", "CannyOptions"),
        Entry(
            "felzenszwalb",
            "edges: boundaries of Felzenszwalb and Huttenlocher's segments at several scales",
            "edge_detectors",
            False,
            "0",
            "FelzenszwalbOptions",
        ),
    )
}
DEFAULT = "region_tree"
GPU_BATCH = 8
_CHECKPOINTS = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class Located:
    """A model found but not loaded. ``name``: for directories and tables. ``options``: complete, of the adapter's
    options class. ``trained_on``: as in :class:`sambench.types.Model`."""

    reference: str
    name: str
    weights_digest: str
    trained_on: frozenset[str] | None
    options: Any
    uses_torch: bool
    weights_path: str = ""

    def encode_batch(self, device: str) -> int:
        """Images encoded at once unless ``--batch-size`` says otherwise."""
        return GPU_BATCH if device == "cuda" and _adapter(self.reference) is not None else 1

    def load(self, device: str, encode_batch: int) -> Model:
        """The model, ready on ``device``, encoding ``encode_batch`` images at once."""
        adapter = _adapter(self.reference)
        if adapter is not None:
            return cast("Model", adapter.load(self.name, self.options, device, encode_batch))
        return _user_model(self.reference, self.name, self.weights_digest, device)


def names() -> list[str]:
    """Zoo names and entry points, sorted."""
    return sorted({*ZOO, *(e.name for e in entry_points(group="sambench.models"))})


def options_class(name: str) -> type:
    """The options dataclass of a zoo model."""
    cls: type = getattr(importlib.import_module(f"sambench.models.{ZOO[name].adapter}"), ZOO[name].options)
    return cls


def locate(reference: str, values: Mapping[str, Any]) -> Located:
    """Finds a model and digests its weights without loading it. ``values``: what ``--set model.KEY=`` gave.

    Raises UsageError: unknown name (with near ones), missing or unusable weights, unknown option.
    """
    if reference in ZOO:
        entry = ZOO[reference]
        adapter = importlib.import_module(f"sambench.models.{entry.adapter}")
        built = options.build(options_class(reference), values, "model")
        found = adapter.locate(reference, built)
        return Located(
            reference, reference, found.weights_digest, found.trained_on, built, entry.uses_torch, found.path
        )
    if _is_weights(reference):
        adapter = importlib.import_module("sambench.models.sam")
        if "weights" in values:
            raise UsageError(f"--model {reference} and --set model.weights={values['weights']} both name weights")
        built = options.build(adapter.Options, {**values, "weights": reference}, "model")
        found = adapter.locate(None, built)
        return Located(reference, found.name, found.weights_digest, found.trained_on, built, True, found.path)
    if ".py:" in reference or reference in names():
        cls = _user_class(reference)
        name = reference.rpartition(":")[2] if ".py:" in reference else reference
        build_values = options.build(options.NoOptions, values, "model")
        digest = hashlib.sha256(source_digest(cls).encode())
        digest.update(str(getattr(cls, "weights_digest", "")).encode())
        trained_on = getattr(cls, "trained_on", None)
        trained_on = None if trained_on is None or isinstance(trained_on, property) else frozenset(trained_on)
        return Located(reference, name, digest.hexdigest(), trained_on, build_values, True)
    raise UsageError(
        f"unknown model {reference!r}{options.did_you_mean(reference, names())} (`sambench list models` prints them "
        "all; a checkpoint file, a local folder, a hub id such as owner/name and path/to/file.py:Class work too)"
    )


def _is_weights(reference: str) -> bool:
    if ".py:" in reference:
        return False
    path = Path(reference)
    hub_id = reference.count("/") == 1 and not reference.startswith((".", "/", "~")) and not path.suffix
    return path.suffix in _CHECKPOINTS or path.exists() or hub_id


def _adapter(reference: str) -> Any:
    if reference in ZOO:
        return importlib.import_module(f"sambench.models.{ZOO[reference].adapter}")
    return importlib.import_module("sambench.models.sam") if _is_weights(reference) else None


def _user_class(reference: str) -> Any:
    for entry in entry_points(group="sambench.models"):
        if entry.name == reference:
            return entry.load()
    return load_object(reference)


def _user_model(reference: str, name: str, weights_digest: str, device: str) -> Model:
    cls = _user_class(reference)
    takes_device = "device" in inspect.signature(cls).parameters
    try:
        made = cls(device=device) if takes_device else cls()
    except Exception as error:
        raise UsageError(f"model {reference} cannot be made: {type(error).__name__}: {error}") from error
    if hasattr(made, "encode"):
        for attribute, default in (
            ("name", name),
            ("weights_digest", weights_digest),
            ("trained_on", None),
            ("encode_batch", 1),
            ("batch_invariant", False),
        ):
            if not hasattr(made, attribute):
                setattr(made, attribute, default)
        if not hasattr(made, "capabilities"):
            raise UsageError(f"model {reference} has encode() but no 'capabilities'")
        return cast("Model", made)
    if hasattr(made, "set_image") and hasattr(made, "predict"):
        return PredictorModel(made, name, weights_digest)
    raise UsageError(f"model {reference} has neither encode() nor set_image() and predict(): see the README's example")
