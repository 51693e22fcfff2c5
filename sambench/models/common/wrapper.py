"""A stock adapter for anything with ``set_image`` and ``predict``, the family's de-facto interface.

``set_image(image)``: ``(H, W, 3)`` uint8 RGB. ``predict(point_coords, point_labels, box, mask_input,
multimask_output)`` with ``(P, 2)`` float xy and ``(P,)`` int, ``(4,)`` xyxy, ``(1, h, w)`` logits, answering
``(masks (M, H, W), scores (M,), low-resolution logits (M, h, w))``, as ``SamPredictor.predict`` of the official package
does. Only the parameters that the method names are passed; the third answer may be missing or None.

A ``predict`` that has a parameter ``text`` is asked with one phrase, or with a phrase and points; M may be 0 then, and
differ from phrase to phrase: masks and scores of the things that it names, none for a phrase that names nothing. The
highest score stands for how sure the model is that there is such a thing.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Image, Mask
from sambench.core.model import Model, Prediction, Prompts, View
from sambench.errors import SambenchError
from sambench.models.common.text_answers import Answer, TextAnswers

_CAPABILITY_OF = {
    "point_coords": "points",
    "box": "boxes",
    "mask_input": "masks",
    "multimask_output": "multimask",
    "text": "text",
}


class ModelAnswerError(SambenchError):
    """A model's answer does not have the form that its interface promises."""


class AdaptedModel(Model):
    """A user's model that has ``encode`` and ``capabilities`` and derives from nothing, with all defaults."""

    def __init__(self, made: Any, name: str, weights_digest: str) -> None:
        self.made, self.name, self.weights_digest = made, name, weights_digest
        for key in Model.__annotations__:
            if hasattr(made, key):
                setattr(self, key, getattr(made, key))
        for key in ("prepare", "view_of"):
            if hasattr(made, key):
                setattr(self, key, getattr(made, key))

    def encode(self, images: Sequence[Image]) -> list[View]:
        return [_adapted(view) for view in self.made.encode(images)]

    def encode_prepared(self, prepared: Sequence[Any]) -> list[View]:
        encode = self.made.encode_prepared if hasattr(self.made, "encode_prepared") else self.made.encode
        return [_adapted(view) for view in encode(prepared)]

    def encoding(self, view: Any) -> Mapping[str, NDArray[Any]]:
        encoding: Mapping[str, NDArray[Any]] = self.made.encoding(_own(view))
        return encoding

    def predict_together(
        self, views: Sequence[Any], prompts: Sequence[Prompts], *, multimask: bool
    ) -> Sequence[Prediction]:
        answers: Sequence[Prediction] = self.made.predict_together(
            [_own(view) for view in views], prompts, multimask=multimask
        )
        return answers


class _AdaptedView(View):
    def __init__(self, view: Any) -> None:
        self.view = view
        self.edges_are_thin = getattr(view, "edges_are_thin", False)

    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        prediction: Prediction = self.view.predict(prompts, multimask=multimask)
        return prediction

    def edges(self) -> NDArray[np.float32]:
        edges: NDArray[np.float32] = self.view.edges() if hasattr(self.view, "edges") else super().edges()
        return edges

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[View] | None:
        return map(_adapted, self.view.crops(boxes)) if hasattr(self.view, "crops") else None


def _adapted(view: Any) -> View:
    return view if isinstance(view, View) else _AdaptedView(view)


def _own(view: Any) -> Any:
    return view.view if isinstance(view, _AdaptedView) else view


class PredictorModel(Model):
    """Makes a :class:`sambench.core.model.Model` of a predictor object.

    ``capabilities`` follow from the parameters of ``predict`` unless the object says ``capabilities`` itself;
    ``trained_on`` is taken from it too, if it is there. Prompting another view than before sets its image again.
    """

    batch_invariant = True

    def __init__(self, predictor: Any, name: str, weights_digest: str) -> None:
        parameters = inspect.signature(predictor.predict).parameters
        everything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        # Whoever takes any keyword does not know of phrases for that.
        unnamed = frozenset(_CAPABILITY_OF) - {"text"} if everything else frozenset()
        self.takes = unnamed | (frozenset(_CAPABILITY_OF) & frozenset(parameters))
        if "point_coords" in self.takes and not everything and "point_labels" not in parameters:
            raise ModelAnswerError(f"{name}: predict takes point_coords but not point_labels")
        found = frozenset(_CAPABILITY_OF[p] for p in self.takes)
        self.capabilities: frozenset[str] = frozenset(getattr(predictor, "capabilities", found))
        trained_on = getattr(predictor, "trained_on", None)
        self.trained_on = None if trained_on is None else frozenset(trained_on)
        self.name, self.weights_digest, self.predictor = name, weights_digest, predictor
        self.current: _PredictorView | None = None

    def encode(self, images: Sequence[Image]) -> list[_PredictorView]:
        return [_PredictorView(self, image) for image in images]


class _PredictorView(View):
    def __init__(self, model: PredictorModel, image: Image) -> None:
        self.model, self.image = model, image

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[_PredictorView]:
        return (_PredictorView(self.model, np.ascontiguousarray(self.image[y0:y1, x0:x1])) for x0, y0, x1, y1 in boxes)

    def predict(self, prompts: Prompts, *, multimask: bool) -> _PredictorPrediction | TextAnswers:
        if self.model.current is not self:
            self.model.predictor.set_image(self.image)
            self.model.current = self
        answers = [self._one(prompts, i, multimask) for i in range(len(prompts))]
        if prompts.text is not None:
            return _of_phrases(answers, self.image.shape[:2], self.model.name, None if multimask else 1)
        return _PredictorPrediction(answers, self.image.shape[:2], self.model.name)

    def _one(self, prompts: Prompts, i: int, multimask: bool) -> tuple[Any, Any, Any]:
        arguments: dict[str, Any] = {}
        if prompts.points is not None and prompts.labels is not None:
            real = prompts.labels[i] >= 0
            arguments |= {"point_coords": prompts.points[i][real], "point_labels": prompts.labels[i][real]}
        if prompts.boxes is not None:
            arguments["box"] = prompts.boxes[i]
        if prompts.mask_logits is not None:
            arguments["mask_input"] = np.asarray(prompts.mask_logits[i])[None]
        if prompts.text is not None:
            arguments["text"] = prompts.text[i]
        if "multimask_output" in self.model.takes:
            arguments["multimask_output"] = multimask
        answer = self.model.predictor.predict(**arguments)
        masks, scores, *rest = answer if isinstance(answer, tuple) else (answer,)
        return masks, scores, rest[0] if rest else None


class _PredictorPrediction:
    def __init__(self, answers: list[tuple[Any, Any, Any]], size: tuple[int, int], name: str) -> None:
        self.size, self.name = size, name
        self._masks = [_checked(np.asarray(masks), size, name) for masks, _, _ in answers]
        self._logits = [None if logits is None else np.asarray(logits) for _, _, logits in answers]
        self.scores: NDArray[np.float32] = np.stack(
            [np.asarray(scores, np.float32).reshape(-1) for _, scores, _ in answers]
        )
        if any(len(m) != self.scores.shape[1] for m in self._masks):
            raise ModelAnswerError(
                f"{name}: predict answered {len(self._masks[0])} masks and {self.scores.shape[1]} scores"
            )

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        return [Mask.from_dense(self._masks[n][m]) for n, m in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> NDArray[Any] | None:
        if any(self._logits[n] is None for n, _ in chosen):
            return None
        return np.stack([logits[m] for n, m in chosen if (logits := self._logits[n]) is not None])


def _of_phrases(
    answers: list[tuple[Any, Any, Any]], size: tuple[int, int], name: str, limit: int | None
) -> TextAnswers:
    """Every mask that is not empty is an instance."""
    read = []
    for masks, scores, _ in answers:
        made = np.asarray(masks)
        found = _checked(made, size, name) if made.size else np.zeros((0, *size), np.bool_)
        given = np.asarray(scores, np.float32).reshape(-1)
        if len(found) != len(given) or not np.isfinite(given).all():
            raise ModelAnswerError(f"{name}: predict answered {len(found)} masks and the scores {given.tolist()}")
        there = np.flatnonzero(found.any(axis=(1, 2)))
        order = there[np.argsort(-given[there], kind="stable")][:limit]
        presence = float(given[order[0]]) if len(order) else 0.0
        named = [Mask.from_dense(found[k]) for k in order]
        read.append(Answer(named, given[order], np.ones(len(order), np.bool_), presence, ""))
    return TextAnswers(size, read, limit)


def _checked(masks: NDArray[Any], size: tuple[int, int], name: str) -> NDArray[np.bool_]:
    """``(M, H, W)`` of one mask or several, as truth values."""
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.shape[1:] != size:
        raise ModelAnswerError(f"{name}: predict answered masks {masks.shape} for an image of {size}")
    binary: NDArray[np.bool_] = masks if masks.dtype == np.bool_ else masks > 0
    return binary
