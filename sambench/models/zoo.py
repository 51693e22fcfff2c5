"""What ``--model`` can name, and how each becomes a model.

A zoo name, a checkpoint file, a hub id, a local folder, ``path/to/file.py:Class``, or an entry point of the group
``sambench.models``. Nothing here imports torch until a model that needs it is located or loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from sambench.core.model import Model
from sambench.core.options import NoOptions
from sambench.errors import UsageError
from sambench.models import families
from sambench.models.cards import GPU_IMAGES, Adapter, ModelCard, WeightsInfo
from sambench.models.common.wrapper import AdaptedModel, PredictorModel
from sambench.plugins import options
from sambench.plugins.registry import load_object, source_digest


def _cards() -> dict[str, ModelCard]:
    found: dict[str, ModelCard] = {}
    for module in sorted(pkgutil.iter_modules(families.__path__), key=lambda module: module.name):
        for card in importlib.import_module(f"{families.__name__}.{module.name}").CARDS:
            if card.name in found:
                raise ValueError(f"two families offer a model {card.name}")
            found[card.name] = card
    return found


ZOO: Mapping[str, ModelCard] = _cards()
"""Every model that has a card, by name."""
DEFAULT = "region_tree"


@dataclass(frozen=True)
class LocatedModel:
    """A model found but not loaded. ``name``: for directories and tables. ``options``: complete, of the adapter's
    options class. ``trained_on``: as in :class:`sambench.core.model.Model`. ``adapter``: the module that loads it,
    empty for a model of the user's own. ``capabilities``: None where only the loaded model knows them."""

    reference: str
    name: str
    weights_digest: str
    trained_on: frozenset[str] | None
    options: Any
    uses_torch: bool
    weights_path: str = ""
    adapter: str = ""
    capabilities: frozenset[str] | None = None

    def encode_batch(self, device: str) -> int:
        """Images encoded at once unless ``--batch-size`` says otherwise."""
        return GPU_IMAGES if device == "cuda" and self.adapter else 1

    def load(self, device: str, encode_batch: int) -> Model:
        """The model, ready on ``device``, encoding ``encode_batch`` images at once."""
        if self.adapter:
            made = adapter(self.adapter).load(self.name, self.options, device, encode_batch)
            # A family of a user's own may derive from nothing.
            return made if isinstance(made, Model) else AdaptedModel(made, self.name, self.weights_digest)
        return _user_model(self.reference, self.name, self.weights_digest, device)


def names() -> list[str]:
    """Zoo names and entry points, sorted."""
    return sorted({*ZOO, *(e.name for e in entry_points(group="sambench.models"))})


def adapter(module: str) -> Adapter:
    """The module that a card names."""
    made = importlib.import_module(module)
    made.__dict__.setdefault("recognise", _recognises_nothing)
    return cast("Adapter", made)


def _recognises_nothing(source: Any) -> None:
    """Of a family that no file is told to be of."""


def options_class(name: str) -> type:
    """The options dataclass of a zoo model."""
    cls: type = getattr(adapter(ZOO[name].adapter), ZOO[name].options)
    return cls


def locate(reference: str, values: Mapping[str, Any]) -> LocatedModel:
    """Finds a model and digests its weights without loading it. ``values``: what ``--set model.KEY=`` gave.

    Raises UsageError: unknown name (with near ones), missing or unusable weights, unknown option.
    """
    if reference in ZOO:
        card = ZOO[reference]
        built = options.build(options_class(reference), values, "model")
        return _found(reference, adapter(card.adapter).locate(reference, built), built, card)
    if _is_weights(reference):
        if "weights" in values:
            raise UsageError(f"--model {reference} and --set model.weights={values['weights']} both name weights")
        card = _recognised(reference)
        built = options.build(options_class(card.name), {**values, "weights": reference}, "model")
        # Not by its name: one of a family that is in no list (another size, say) has another.
        return _found(reference, adapter(card.adapter).locate(None, built), built, card)
    if ".py:" in reference or reference in names():
        cls = _user_class(reference)
        name = reference.rpartition(":")[2] if ".py:" in reference else reference
        build_values = options.build(NoOptions, values, "model")
        digest = hashlib.sha256(f"{source_digest(cls)} {cls.__qualname__}".encode())
        digest.update(str(getattr(cls, "weights_digest", "")).encode())
        trained_on = getattr(cls, "trained_on", None)
        trained_on = None if trained_on is None or isinstance(trained_on, property) else frozenset(trained_on)
        return LocatedModel(reference, name, digest.hexdigest(), trained_on, build_values, True)
    raise UsageError(
        f"unknown model {reference!r}{options.did_you_mean(reference, names())} (`sambench list models` prints them "
        "all; a checkpoint file, a local folder, a hub id such as owner/name and path/to/file.py:Class work too)"
    )


def _found(reference: str, found: WeightsInfo, built: Any, card: ModelCard) -> LocatedModel:
    return LocatedModel(
        reference,
        found.name,
        found.weights_digest,
        found.trained_on,
        built,
        card.uses_torch,
        found.path,
        card.adapter,
        frozenset(ZOO.get(found.name, card).capabilities),
    )


def _is_weights(reference: str) -> bool:
    if ".py:" in reference:
        return False
    path = Path(reference)
    hub_id = reference.count("/") == 1 and not reference.startswith((".", "/", "~")) and not path.suffix
    return path.suffix in (".pth", ".pt", ".bin", ".safetensors") or path.exists() or hub_id


def _recognised(reference: str) -> ModelCard:
    """The card whose adapter knows the weights; those of the first card of its family where they are in no list."""
    from sambench.models.common import checkpoints

    found = checkpoints.find(reference)
    source = checkpoints.OpenSource(found.path, found.files, found.hub)
    for module in dict.fromkeys(card.adapter for card in ZOO.values()):
        name = adapter(module).recognise(source)
        if name is not None:
            return ZOO.get(name) or next(card for card in ZOO.values() if card.adapter == module)
    held = source.config() or checkpoints.contents(source)
    what = held.get("model_type") or checkpoints.some(map(str, held)) or "no tensors"
    able = sorted({card.family for card in ZOO.values() if adapter(card.adapter).recognise is not _recognises_nothing})
    raise UsageError(f"{reference} is of no known family ({', '.join(able)}): it holds {what}")


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
    if isinstance(made, Model):
        made.name, made.weights_digest = getattr(made, "name", name), getattr(made, "weights_digest", weights_digest)
        return made
    if hasattr(made, "encode"):
        if not hasattr(made, "capabilities"):
            raise UsageError(f"model {reference} has encode() but no 'capabilities'")
        return AdaptedModel(made, name, weights_digest)
    if hasattr(made, "set_image") and hasattr(made, "predict"):
        return PredictorModel(made, name, weights_digest)
    raise UsageError(f"model {reference} has neither encode() nor set_image() and predict(): see the README's example")
