"""What is known of a model that can be named: the words of ``sambench list models`` and ``sambench show model``.

A family of models is one file in ``sambench/models/families/`` with ``CARDS``; docs/adding_a_model.md walks
through one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from sambench.core.model import Model

GPU_IMAGES = 8
"""Images that a GPU encodes at once where nobody has said or measured how many fit."""


@dataclass(frozen=True)
class ModelCard:
    """A model of the zoo.

    ``parameters``: how many, None where nobody has counted. ``weights``: how to get them, one step a line. ``hub``: the
    Hugging Face id that they are fetched from when no file is given. ``licence``: of the weights. ``capabilities``: the
    prompts it takes, of :data:`sambench.core.model.CAPABILITIES`. ``trained_on``: names of the datasets that the
    released weights have seen (empty: nothing was trained, None: nobody has said); whether a given file *is* the
    released one is the adapter's to say. ``memory``: of one image of 1024 px, and how that is known.
    ``ran_released_weights``: this project has run it with the authors' weights. ``uses_torch``: it runs where
    ``--device`` says; otherwise on the CPU, alone on one thread. ``extra``: the optional extra of sambench that it
    needs. ``adapter``: the module that knows it, see :class:`Adapter`; ``options``: the name of the options class
    there.
    """

    name: str
    family: str
    summary: str
    adapter: str
    capabilities: frozenset[str]
    trained_on: frozenset[str] | None
    parameters: int | None = None
    citation: str = ""
    url: str = ""
    weights: str = ""
    hub: str = ""
    licence: str = ""
    memory: str = ""
    ran_released_weights: bool = False
    uses_torch: bool = True
    extra: str = ""
    options: str = "Options"


@dataclass(frozen=True)
class WeightsInfo:
    """Weights that were found but not loaded; the words are those of :class:`sambench.core.model.Model`.
    ``path``: the file or folder, empty where there is none."""

    name: str
    path: str
    weights_digest: str
    trained_on: frozenset[str] | None


class Adapter(Protocol):
    """A module that makes models of a family. Beside these functions it has the options classes that the cards name.

    A family that can tell its own checkpoints has :meth:`recognise`, and so can be named by file: ``--model FILE``; its
    options have a field ``weights``.
    """

    @staticmethod
    def locate(name: str | None, options: Any) -> WeightsInfo:
        """Finds and digests the weights. ``name``: of the zoo, or None for what the weights say they are.

        Raises UsageError: they cannot be found or read, are of another architecture (both are named), an optional
        package is missing (the extra is named).
        """

    @staticmethod
    def recognise(source: Any) -> str | None:
        """The name of the model whose weights a ``checkpoints.Source`` holds; None: another family. May be absent."""

    @staticmethod
    def load(name: str, options: Any, device: str, encode_batch: int) -> Model:
        """The model on ``device``, float32 unless the options say otherwise, encoding ``encode_batch`` images
        at once."""
