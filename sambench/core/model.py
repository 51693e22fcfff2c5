"""Models: prompts in, predictions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Image, Mask


@dataclass(frozen=True, slots=True)
class Click:
    """A click on a pixel of the original image.

    Attributes:
        x: Column, from 0.
        y: Row, from 0.
        positive: On the object (True) or on the background.
    """

    x: int
    y: int
    positive: bool


@dataclass(frozen=True, eq=False)
class Prompts:
    """N prompts for one image; all parts that are present have the same N.

    A model with the capability ``text`` answers phrases as :class:`TextPrediction` says.

    Attributes:
        points: ``(N, P, 2)`` float32 xy in pixels of the original image.
        labels: ``(N, P)`` int64: 1 foreground, 0 background, -1 padding; with ``points`` only.
        boxes: ``(N, 4)`` float32 xyxy in pixels of the original image.
        mask_logits: ``(N, h, w)``, as :meth:`Prediction.feedback` of the same view returned it earlier.
        text: N phrases, none empty; points beside them say which of several objects is meant.

    Raises:
        ValueError: No part, parts of different lengths, or a wrong shape.
    """

    points: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    boxes: NDArray[np.float32] | None = None
    mask_logits: Any = None
    text: Sequence[str] | None = None

    def __post_init__(self) -> None:
        sizes = {
            len(part)
            for part in (self.points, self.labels, self.boxes, self.mask_logits, self.text)
            if part is not None
        }
        if len(sizes) != 1:
            raise ValueError(f"the parts of Prompts must have one common length, got {sorted(sizes)}")
        if (self.points is None) != (self.labels is None):
            raise ValueError("points and labels are given together or not at all")
        if (
            self.points is not None
            and self.labels is not None
            and (self.points.ndim != 3 or self.points.shape[:2] != self.labels.shape or self.points.shape[2] != 2)
        ):
            raise ValueError(
                f"points must be (N, P, 2) and labels (N, P), got {self.points.shape} and {self.labels.shape}"
            )
        if self.boxes is not None and self.boxes.shape[1:] != (4,):
            raise ValueError(f"boxes must be (N, 4) xyxy, got {self.boxes.shape}")

    def __len__(self) -> int:
        for part in (self.points, self.boxes, self.mask_logits, self.text):
            if part is not None:
                return len(part)
        raise AssertionError("unreachable: __post_init__ requires a part")


class Prediction(Protocol):
    """M candidate masks for each of N prompts.

    Attributes:
        scores: ``(N, M)`` float32, the model's own estimate (of the IoU, for SAM's family); higher is better.
    """

    @property
    def scores(self) -> NDArray[np.float32]: ...

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        """Return binary masks of the original image's size, made in chunks.

        Args:
            which: ``(prompt, candidate)`` pairs, from 0.
        """

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> Any:
        """Return the mask prompts for a next round, as ``Prompts.mask_logits`` takes them.

        Args:
            chosen: ``(prompt, candidate)`` pairs, from 0.

        Returns:
            Unthresholded low-resolution logits ``(len(chosen), h, w)``; None if the model takes no mask prompts.
        """


class TextPrediction(Prediction, Protocol):
    """The answer of a model with the capability ``text`` to N phrases, with ``multimask=True``.

    With ``multimask=False`` it is the same, reduced to the first candidate of each phrase (M is 1).

    Candidate 0 answers a phrase that is taken to name one object, also where the model finds no such object. The
    instances answer a phrase that names all objects of a kind; their union is its region.

    With points, the candidates that contain the foreground points and none of the background points come first;
    candidate 0 is an instance if there is a foreground point (and it is not empty), and no other candidate that
    contains a background point is an instance.

    Attributes:
        scores: ``(N, M)`` float32, M at least 1, finite, in descending order for each phrase. They rank the candidates;
            their meaning (a cosine similarity, a probability) is up to the model. A phrase with fewer than M candidates
            is padded with empty masks, none of them an instance, whose score is 0 or the last candidate's if that is
            lower.
        instances: ``(N, M)`` bool, the candidates that the model presents as objects that the phrase names. All False:
            the model finds no such object in the image, and rejects the phrase.
        presence: ``(N,)`` float32, finite: how sure the model is that there is such an object, from phrase and image
            alone, whatever the points; higher is surer, comparable between phrases and images.
        notes: N texts for the records on how the phrase was read ("cut to 77 of 90 tokens"); empty where there is
            nothing to report.
    """

    @property
    def instances(self) -> NDArray[np.bool_]: ...

    @property
    def presence(self) -> NDArray[np.float32]: ...

    @property
    def notes(self) -> Sequence[str]: ...


class View(ABC):
    """A model looking at one image: encoded once, prompted many times.

    Attributes:
        edges_are_thin: :meth:`edges` answers a map that must not be thinned again.
    """

    edges_are_thin: bool = False

    @abstractmethod
    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        """Answer prompts about the image; with text, a :class:`TextPrediction` (capability ``text``).

        Args:
            prompts: N prompts.
            multimask: Three candidates (whole, part, subpart) for an ambiguous prompt, else one.
        """

    def edges(self) -> NDArray[np.float32]:
        """Compute the edge strength, with the capability ``edges``.

        Returns:
            ``(H, W)`` float32 in [0, 1].
        """
        raise NotImplementedError

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[View] | None:
        """Yield each part of the image as a separate image, encoded when its turn comes.

        Args:
            boxes: xyxy in pixels, right and bottom exclusive.

        Returns:
            None if the model cannot.
        """
        return None


CAPABILITIES = frozenset({"points", "boxes", "masks", "text", "multimask", "edges"})


class Model(ABC):
    """A promptable model.

    Attributes:
        name: Name in run directories.
        capabilities: Subset of :data:`CAPABILITIES`.
        trained_on: Dataset names; empty for a model that was not trained, None if nobody has said.
        weights_digest: sha256 (hex) of what makes the model's answers: the weights file, or name and version of an
            algorithm.
        encode_batch: Images that :meth:`encode` takes at once.
        batch_invariant: An image's view does not depend, to the bit, on how many others were encoded with it.
        halved: How often memory ran out, so that fewer images or prompts were computed at once.
        encoding_key: Everything that an encoding depends on besides the image, the weights and what is encoded with
            it: a version of the preprocessing and of the encoder, the dtype. Empty: encodings cannot be kept.
        decodes_jointly: :meth:`predict_together` decodes the prompts of several images at once.
        prompt_batch: How many prompts; where it is 1 nothing is gained.
    """

    name: str
    capabilities: frozenset[str]
    trained_on: frozenset[str] | None = None
    weights_digest: str
    encode_batch: int = 1
    batch_invariant: bool = False
    halved: int = 0
    encoding_key: str = ""
    decodes_jointly: bool = False
    prompt_batch: int = 1

    @abstractmethod
    def encode(self, images: Sequence[Image]) -> Sequence[View]:
        """Return the views of images, ``(H, W, 3)`` uint8 RGB each."""

    def prepare(self, image: Image) -> Any:
        """Take an image as far as the accelerator beforehand, on any thread, while the model encodes others."""
        return image

    def encode_prepared(self, prepared: Sequence[Any]) -> Sequence[View]:
        """Return what :meth:`encode` returns for the images, to the bit, from what :meth:`prepare` made of them."""
        return self.encode(prepared)

    def encoding(self, view: Any) -> Mapping[str, NDArray[Any]]:
        """Return all that is needed of a view of this model, float32 arrays by name."""
        raise NotImplementedError

    def view_of(self, image: Image, encoding: Mapping[str, NDArray[Any]]) -> View:
        """Return the view of an image that has such an encoding; it answers as the first one did, to the bit."""
        raise NotImplementedError

    def predict_together(
        self, views: Sequence[Any], prompts: Sequence[Prompts], *, multimask: bool
    ) -> Sequence[Prediction]:
        """Return what each view's ``predict`` answers, up to the rounding of another batch."""
        raise NotImplementedError
