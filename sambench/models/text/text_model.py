"""What the text-prompted models have in common: a promptable model that makes masks, something that reads phrases, and
points that say which of several things is meant.

None of them is the model of Segment Anything §7.5, which was never released (protocol §6.3).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Image, Mask
from sambench.core.model import Model, Prediction, Prompts, View
from sambench.metrics.iou import counts
from sambench.models.cards import WeightsInfo
from sambench.models.common.text_answers import Answer, TextAnswers

WRONG_POINT = np.float32(2)
"""What a candidate's score loses for each point that it gets wrong: more than scores, which are cosines or
probabilities, lie apart, so that the points come before the phrase."""


@dataclass(frozen=True, eq=False)
class Named:
    """What a phrase brings up in an image, without points. ``masks``: k, in any order. ``scores``: ``(k,)`` float32 in
    [-1, 1]. ``sure``: ``(k,)`` bool, those that the model gives out as instances. ``presence``, ``note``: as in
    :class:`sambench.core.model.TextPrediction`."""

    masks: Sequence[Mask]
    scores: NDArray[np.float32]
    sure: NDArray[np.bool_]
    presence: float
    note: str = ""

    def with_more(self, more: Judged) -> Named:
        """With further candidates behind these, none of them sure."""
        masks, scores = more
        return replace(
            self,
            masks=[*self.masks, *masks],
            scores=np.concatenate([self.scores, scores]),
            sure=np.concatenate([self.sure, np.zeros(len(masks), np.bool_)]),
        )


Judged = tuple[Sequence[Mask], NDArray[np.float32]]
"""Masks and their scores, ``(k,)`` float32 as in :class:`Named`."""


class Reader(Protocol):
    """What reads phrases in one image of ``size`` ``(H, W)``. ``several``: a phrase can have more than one instance."""

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def several(self) -> bool: ...

    def name(self, phrases: Sequence[str]) -> list[Named]:
        """What the phrases bring up, all of them at once."""

    def at_points(self, prompts: Prompts) -> Prediction | None:
        """Masks at points alone; None if there is nothing that could make them."""

    def judge(self, phrase: str, masks: Sequence[Mask], predicted: NDArray[np.float32]) -> Judged:
        """Which of the masks at the points of a prompt may fit the phrase. ``predicted``: ``(k,)``, the scores that
        they came with."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image on its way to the promptable model. ``seen``: what that prepared, or the image where it prepares
    nothing."""

    image: Image
    seen: Any


class TextModel(Model):
    """A model that takes phrases besides what ``promptable`` takes, satisfying :class:`sambench.core.model.Model` and
    :class:`sambench.core.model.PreparesImages`; and :class:`sambench.core.model.KeepsEncodings` where ``promptable``
    does, whose encodings these are: what phrases need is computed when the first phrase comes.

    ``found``: whose weights these are. ``several``: a phrase can have more than one instance.
    """

    def __init__(self, found: WeightsInfo, promptable: Model, *, several: bool) -> None:
        self.name, self.weights_digest, self.trained_on = found.name, found.weights_digest, found.trained_on
        self.promptable, self.several = promptable, several
        self.encode_batch = promptable.encode_batch
        self.capabilities = promptable.capabilities & {"points", "boxes", "masks", "multimask"} | {"text"}
        self.encoding_key = promptable.encoding_key

    def encoding(self, view: TextView) -> Mapping[str, NDArray[Any]]:
        return self.promptable.encoding(view.seen)

    def view_of(self, image: Image, encoding: Mapping[str, NDArray[Any]]) -> TextView:
        return self.view(image, self.promptable.view_of(image, encoding))

    @property
    def halved(self) -> int:  # type: ignore[override]
        """Of the promptable model."""
        return self.promptable.halved

    def prepare(self, image: Image) -> Prepared:
        return Prepared(image, self.promptable.prepare(image))

    def encode_prepared(self, prepared: Sequence[Prepared]) -> list[TextView]:
        views = self.promptable.encode_prepared([one.seen for one in prepared])
        return [self.view(one.image, seen) for one, seen in zip(prepared, views, strict=True)]

    def encode(self, images: Sequence[Image]) -> list[TextView]:
        """Images for the promptable model; what phrases need is computed when the first phrase comes."""
        return self.encode_prepared([self.prepare(image) for image in images])

    @abstractmethod
    def view(self, image: Image, seen: View) -> TextView:
        """The view of one image, which the promptable model has ``seen``."""


class TextView(View):
    """An image with phrases. ``seen``: the promptable model's view, which answers prompts without a phrase."""

    def __init__(self, model: TextModel, image: Image, seen: View) -> None:
        self.model, self.image, self.seen = model, image, seen
        self.size, self.several = (image.shape[0], image.shape[1]), model.several

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[View] | None:
        """The promptable model's."""
        return self.seen.crops(boxes)

    @abstractmethod
    def name(self, phrases: Sequence[str]) -> list[Named]:
        """See :class:`Reader`."""

    @abstractmethod
    def judge(self, phrase: str, masks: Sequence[Mask], predicted: NDArray[np.float32]) -> Judged:
        """See :class:`Reader`."""

    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        """Phrases, alone or with points, are answered with a :class:`TextAnswers`; other prompts as by the promptable
        model. Raises ValueError for phrases with boxes or masks."""
        if prompts.text is None:
            return self.seen.predict(prompts, multimask=multimask)
        if prompts.boxes is not None or prompts.mask_logits is not None:
            raise ValueError(f"{self.model.name} takes a phrase alone or with points, not with boxes or masks")
        return answered(self, prompts, multimask)

    def at_points(self, prompts: Prompts) -> Prediction | None:
        """Masks at points alone; None if the promptable model takes no points."""
        if "points" not in self.model.promptable.capabilities:
            return None
        return self.seen.predict(prompts, multimask=True)


def answered(reader: Reader, prompts: Prompts, multimask: bool) -> TextAnswers:
    """What a reader answers to prompts with text, alone or with points. A phrase that comes several times, as with one
    point after the other, is read once."""
    assert prompts.text is not None
    phrases = list(dict.fromkeys(prompts.text))
    read = dict(zip(phrases, reader.name(phrases), strict=True)) if phrases else {}
    named = [read[phrase] for phrase in prompts.text]
    hits: list[Hits | None] = [None] * len(named)
    if prompts.points is not None and prompts.labels is not None:
        agreeing = [Hits.of(*each) for each in zip(named, prompts.points, prompts.labels, strict=True)]
        lost = [n for n, hit in enumerate(agreeing) if hit.foreground and not hit.right.any()]
        for n, more in _at_points(reader, prompts, lost):
            named[n] = named[n].with_more(more)
            agreeing[n] = Hits.of(named[n], prompts.points[n], prompts.labels[n])
        hits = [*agreeing]
    answers = [_ranked(*pair, reader.several) for pair in zip(named, hits, strict=True)]
    return TextAnswers(reader.size, answers, None if multimask else 1)


def _at_points(reader: Reader, prompts: Prompts, lost: Sequence[int]) -> Iterator[tuple[int, Judged]]:
    """For the prompts whose phrase brings up nothing that agrees with the points: further candidates, which the points
    alone make."""
    assert prompts.text is not None
    assert prompts.points is not None
    assert prompts.labels is not None
    which = list(lost)
    prediction = reader.at_points(Prompts(prompts.points[which], prompts.labels[which])) if which else None
    if prediction is None:
        return
    for k, n in enumerate(which):
        masks = prediction.masks([(k, m) for m in range(prediction.scores.shape[1])])
        there = [m for m, mask in enumerate(masks) if mask.area]
        yield n, reader.judge(prompts.text[n], [masks[m] for m in there], prediction.scores[k, there])


def _ranked(named: Named, hits: Hits | None, several: bool) -> Answer:
    scores, sure = named.scores.astype(np.float32), named.sure
    if hits is not None:
        scores = scores - WRONG_POINT * hits.wrong.astype(np.float32)
        sure = sure & (hits.spoiled == 0)
    order = np.argsort(-scores, kind="stable")
    instances = sure[order]
    if hits is not None and hits.foreground:
        instances[:1] = True
    if not several:
        instances[1:] = False
    return Answer([named.masks[k] for k in order.tolist()], scores[order], instances, named.presence, named.note)


@dataclass(frozen=True, eq=False)
class Hits:
    """How k masks agree with the points of a prompt. ``wrong``: ``(k,)`` int64, foreground points outside and
    background points inside. ``spoiled``: ``(k,)`` int64, the latter alone. ``foreground``: there is a foreground
    point."""

    wrong: NDArray[np.int64]
    spoiled: NDArray[np.int64]
    foreground: bool

    @property
    def right(self) -> NDArray[np.bool_]:
        """``(k,)``: the masks that get every point right."""
        right: NDArray[np.bool_] = self.wrong == 0
        return right

    @classmethod
    def of(cls, named: Named, points: NDArray[np.float32], labels: NDArray[np.int64]) -> Hits:
        """``points``: ``(P, 2)`` xy pixels, to the nearest; ``labels``: ``(P,)``, -1 is padding."""
        pixels = np.floor(points + 0.5).astype(np.int64)
        real = labels >= 0
        inside = np.array(
            [[(int(x), int(y)) in mask for x, y in pixels[real].tolist()] for mask in named.masks], np.bool_
        ).reshape(len(named.masks), int(real.sum()))
        positive = labels[real] == 1
        spoiled = (inside & ~positive).sum(axis=1)
        return cls((inside != positive).sum(axis=1), spoiled, bool(positive.any()))


def apart(masks: Sequence[Mask], order: Sequence[int]) -> list[int]:
    """Of the masks at the places ``order``, best first, those of which no better one that stays covers more than half
    or is covered to more than half: greedy, in their order."""
    stay: list[int] = []
    for k in order:
        mask = masks[k]
        if all(2 * counts(mask, masks[other])[0] <= min(mask.area, masks[other].area) for other in stay):
            stay.append(k)
    return stay


def most_confident(masks: Sequence[Mask], predicted: NDArray[np.float32]) -> Judged:
    """For :meth:`Reader.judge`, where a phrase says nothing about a given mask: the one of the highest predicted IoU,
    with a score of 0."""
    best = [int(np.argmax(predicted))] if len(masks) else []
    return [masks[k] for k in best], np.zeros(len(best), np.float32)
