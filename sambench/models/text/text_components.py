"""The parts that a text-prompted model is put together from: networks of transformers with the tokenizer and the image
processor that belong to them, and whatever promptable model makes the masks.

Importing this module imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sambench.core.mask import Image
from sambench.core.model import Model
from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints, pretrained
from sambench.models.common.checkpoints import Source
from sambench.models.zoo import LocatedModel

_VOCABULARY = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")
_PROCESSOR = ("preprocessor_config.json", "processor_config.json")
"""Files of which each network has one beside weights and configuration. Without its vocabulary transformers makes a
tokenizer that knows no words."""
_PREPARATION = (
    *_VOCABULARY,
    *_PROCESSOR,
    "tokenizer_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""All files that say how images and phrases are prepared."""


@dataclass(frozen=True)
class Component:
    """A network that was found but not loaded.

    ``option``: the model's option that names it. ``name``: its hub id, or the name of its folder. ``kind``: the
    ``model_type`` of its configuration. ``source``: weights and configuration. ``preparation``: the folder of tokenizer
    and image processor. ``digest``: sha256 (hex) of all of these.
    """

    option: str
    name: str
    kind: str
    source: Source
    preparation: Path
    digest: str

    def trained_on(self, released: Mapping[str, frozenset[str]]) -> frozenset[str] | None:
        """What ``released`` says of its hub id; None for a local folder, which may hold anything."""
        return released.get(self.source.hub)

    def network(self, automatic: Any, device: str, **changes: Any) -> Any:
        """The network in float32 on a device, for inference. ``automatic``: transformers' class that loads its kind.
        Raises UsageError if the folder does not hold all of it."""
        called = f"{self.kind} network"
        return pretrained.load(automatic, self.source.path, called, "cannot be loaded", device, **changes)

    def images(self) -> Images:
        """Its image processor."""
        from transformers import AutoImageProcessor

        return Images(self._prepared(AutoImageProcessor, "image processor", backend="pil"))

    def phrases(self, limit: int, *, padding: Literal["longest", "max_length"]) -> Phrases:
        """Its tokenizer. ``limit``: tokens that the network takes."""
        from transformers import AutoTokenizer

        tokenizer = self._prepared(AutoTokenizer, "tokenizer")
        return Phrases(tokenizer, min(limit, tokenizer.model_max_length), padding)

    def _prepared(self, automatic: Any, what: str, **changes: Any) -> Any:
        pretrained.quiet()
        try:
            return automatic.from_pretrained(self.preparation, local_files_only=True, **changes)
        except Exception as error:
            raise UsageError(
                f"{self.preparation}: the {what} cannot be used ({checkpoints.one_line(error)})"
            ) from error


class Images:
    """Images as a network wants them, through Pillow whether or not torchvision is there, so that the same pixels come
    to it everywhere."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, images: Sequence[Image]) -> dict[str, Tensor]:
        """``pixel_values`` ``(B, 3, h, w)`` and what else the network takes."""
        # An image of one or three rows would be taken for one with its channels first.
        return dict(self.processor(images=list(images), input_data_format="channels_last", return_tensors="pt"))


class Phrases:
    """Phrases as tokens, ``limit`` of them at most. ``padding``: what the network was trained with."""

    def __init__(self, tokenizer: Any, limit: int, padding: Literal["longest", "max_length"]) -> None:
        self.tokenizer, self.limit, self.padding = tokenizer, limit, padding
        marks = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
        # A tokenizer of bytes knows everything, and its token for the unknown is its last one.
        self._unknown = None if tokenizer.unk_token_id in marks else tokenizer.unk_token_id

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids`` ``(N, T)`` int64 and what else the network takes."""
        return dict(
            self.tokenizer(
                list(texts), padding=self.padding, truncation=True, max_length=self.limit, return_tensors="pt"
            )
        )

    def note(self, text: str) -> str:
        """What a record should say about how a text is read: that it is cut, or in part unknown; else nothing."""
        tokens = self.tokenizer(text, truncation=False, verbose=False)["input_ids"]
        notes = []
        if len(tokens) > self.limit:
            notes.append(f"cut to {self.limit} of {len(tokens)} tokens")
        if self._unknown in tokens:
            notes.append(f"{tokens.count(self._unknown)} of {len(tokens)} tokens unknown to the text encoder")
        return "; ".join(notes)


def find(option: str, reference: str, kinds: Sequence[str]) -> Component:
    """The network that the option ``model.<option>`` names: a hub id, or a folder as ``save_pretrained`` writes it with
    its processor. ``kinds``: the ``model_type``s that will do. Raises UsageError: not found, or of another kind."""
    with _asked_for_by(option):
        source = checkpoints.find(reference)
        config = source.config()
        if config is None:
            raise UsageError(f"{reference}: model.{option} is a hub id or a folder with config.json, not a file")
        kind = str(config.get("model_type"))
        if kind not in kinds:
            raise UsageError(f"{reference} is of the kind {kind}; model.{option} takes {' or '.join(kinds)}")
        folder = _from_hub(source.hub, option) if source.hub else source.path
        for what, patterns in (("vocabulary", _VOCABULARY), ("image processor", _PROCESSOR)):
            if not _any(folder, patterns):
                raise UsageError(
                    f"{source.hub or source.path} has no {what} ({' or '.join(patterns)}), which model.{option} needs "
                    "beside the weights"
                )
    digest = hashlib.sha256(source.digest().encode())
    for file in sorted({file for pattern in _PREPARATION for file in folder.glob(pattern)}):
        digest.update(f"\0{file.name}\0".encode())
        digest.update(file.read_bytes())
    name = source.hub or source.path.resolve().name
    return Component(option, name, kind, source, folder, digest.hexdigest())


def find_promptable(option: str, reference: str, needed: str) -> LocatedModel:
    """The promptable model that ``model.<option>`` names, as ``--model`` names one. ``needed``: a capability that it
    must have, where that is known before it is loaded. Raises UsageError."""
    with _asked_for_by(option):
        located = zoo.locate(reference, {})
    card = zoo.ZOO.get(located.name)
    if card is not None and needed not in card.capabilities:
        raise UsageError(f"model.{option}={reference} takes no {needed}: name a promptable model")
    return located


def together(
    name: str, network: Component, promptable: LocatedModel, released: Mapping[str, frozenset[str]]
) -> WeightsInfo:
    """What is known of a network and a promptable model as one: the digest is of both, and what either was trained on
    the whole has seen; nobody knows it where nobody knows it of one."""
    seen = network.trained_on(released)
    both = None if seen is None or promptable.trained_on is None else seen | promptable.trained_on
    digest = hashlib.sha256(f"{network.option} {network.digest}\nsam {promptable.weights_digest}".encode())
    return WeightsInfo(name, str(network.source.path), digest.hexdigest(), both)


def load_promptable(option: str, reference: str, needed: str, device: str, encode_batch: int) -> Model:
    """The model of :func:`find_promptable`, on a device if it computes with torch. Raises UsageError."""
    with _asked_for_by(option):
        located = find_promptable(option, reference, needed)
        model = located.load(device if located.uses_torch else "cpu", encode_batch)
    if needed not in model.capabilities:
        raise UsageError(f"model.{option}={reference} takes no {needed}: name a promptable model")
    return model


def normalised(features: Tensor) -> Tensor:
    """``(B, D)`` float32 rows of length 1."""
    return torch.nn.functional.normalize(features.float(), dim=-1)


def corners(boxes: Tensor, scale: tuple[float, float]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """``(Q, 4)`` centre, width and height as shares of ``scale`` (width, height) to ``(Q, 4)`` xyxy in its units."""
    centre, sides = boxes[:, :2], boxes[:, 2:]
    wide = torch.cat([centre - sides / 2, centre + sides / 2], 1) * torch.tensor([*scale, *scale], device=boxes.device)
    return wide.float().cpu().numpy()


def _from_hub(hub_id: str, option: str) -> Path:
    """The folder of tokenizer and image processor in the hub's cache, downloaded if they are not there yet."""
    from huggingface_hub import snapshot_download

    for cached in (True, False):
        try:
            folder = Path(snapshot_download(hub_id, allow_patterns=list(_PREPARATION), local_files_only=cached))
        except Exception as error:  # a library's own and its HTTP client's, of many kinds
            if not cached:
                raise UsageError(
                    f"cannot get tokenizer and image processor of {hub_id} from the Hugging Face hub "
                    f"({checkpoints.one_line(error)}): where it can be reached, run `hf download {hub_id}`, and pass "
                    f"the folder with --set model.{option}=PATH"
                ) from error
            continue
        if _any(folder, ("preprocessor_config.json", "processor_config.json")) and _any(
            folder, ("tokenizer*", "vocab*")
        ):
            return folder
    raise UsageError(f"{hub_id} on the Hugging Face hub has no tokenizer and image processor")


def _any(folder: Path, patterns: Iterable[str]) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in patterns)


@contextmanager
def _asked_for_by(option: str) -> Iterator[None]:
    """What cannot be found is asked for by the option that names it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(str(error).replace("model.weights", f"model.{option}")) from error
