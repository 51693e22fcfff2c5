"""A stock adapter for anything with ``set_image`` and ``predict``, the family's de-facto interface.

``set_image(image)``: ``(H, W, 3)`` uint8 RGB. ``predict(point_coords, point_labels, box, mask_input,
multimask_output)`` with ``(P, 2)`` float xy and ``(P,)`` int, ``(4,)`` xyxy, ``(1, h, w)`` logits, answering
``(masks (M, H, W), scores (M,), low-resolution logits (M, h, w))``, as ``SamPredictor.predict`` of the official package
does. Only the parameters that the method names are passed; the third answer may be missing or None.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.errors import SambenchError
from sambench.types import Image, Mask, Prompts

_CAPABILITY_OF = {
    "point_coords": "points",
    "box": "boxes",
    "mask_input": "masks",
    "multimask_output": "multimask",
}


class ModelAnswerError(SambenchError):
    """A model's answer does not have the form that its interface promises."""


class PredictorModel:
    """Makes a :class:`sambench.types.Model` of a predictor object.

    ``capabilities`` follow from the parameters of ``predict`` unless the object says ``capabilities`` itself;
    ``trained_on`` is taken from it too, if it is there. Prompting another view than before sets its image again.
    """

    encode_batch = 1
    batch_invariant = True

    def __init__(self, predictor: Any, name: str, weights_digest: str) -> None:
        parameters = inspect.signature(predictor.predict).parameters
        everything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self.takes = frozenset(_CAPABILITY_OF) if everything else frozenset(_CAPABILITY_OF) & frozenset(parameters)
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


class _PredictorView:
    def __init__(self, model: PredictorModel, image: Image) -> None:
        self.model, self.image = model, image

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[_PredictorView]:
        """As :class:`sambench.types.View` says."""
        return (_PredictorView(self.model, np.ascontiguousarray(self.image[y0:y1, x0:x1])) for x0, y0, x1, y1 in boxes)

    def predict(self, prompts: Prompts, *, multimask: bool) -> _PredictorPrediction:
        if self.model.current is not self:
            self.model.predictor.set_image(self.image)
            self.model.current = self
        answers = [self._one(prompts, i, multimask) for i in range(len(prompts))]
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
        if "multimask_output" in self.model.takes:
            arguments["multimask_output"] = multimask
        answer = self.model.predictor.predict(**arguments)
        masks, scores, *rest = answer if isinstance(answer, tuple) else (answer,)
        return masks, scores, rest[0] if rest else None


class _PredictorPrediction:
    def __init__(self, answers: list[tuple[Any, Any, Any]], size: tuple[int, int], name: str) -> None:
        self.size, self.name = size, name
        self._masks = [self._checked(np.asarray(masks)) for masks, _, _ in answers]
        self._logits = [None if logits is None else np.asarray(logits) for _, _, logits in answers]
        self.scores: NDArray[np.float32] = np.stack(
            [np.asarray(scores, np.float32).reshape(-1) for _, scores, _ in answers]
        )
        if any(len(m) != self.scores.shape[1] for m in self._masks):
            raise ModelAnswerError(
                f"{name}: predict answered {len(self._masks[0])} masks and {self.scores.shape[1]} scores"
            )

    def _checked(self, masks: NDArray[Any]) -> NDArray[np.bool_]:
        masks = masks[None] if masks.ndim == 2 else masks
        if masks.shape[1:] != self.size:
            raise ModelAnswerError(f"{self.name}: predict answered masks {masks.shape} for an image of {self.size}")
        binary: NDArray[np.bool_] = masks if masks.dtype == np.bool_ else masks > 0
        return binary

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        return [Mask.from_dense(self._masks[n][m]) for n, m in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> NDArray[Any] | None:
        if any(self._logits[n] is None for n, _ in chosen):
            return None
        return np.stack([logits[m] for n, m in chosen if (logits := self._logits[n]) is not None])
