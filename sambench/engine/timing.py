"""Views that measure how long their model takes, for the profile of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Mask
from sambench.core.model import Model, Prediction, Prompts, View
from sambench.models.common.coded_masks import CodedMasks, CodedPrediction, MaskFilter
from sambench.models.common.logit_windows import LogitWindow, SoftPrediction

Item = TypeVar("Item")


class TimedView(View):
    """A view that adds up how long the model takes: decoding prompts, and making full-size masks. With those of its
    crops; encoding them counts as decoding."""

    def __init__(self, view: View, whole: TimedView | None = None) -> None:
        self.view = view
        self.whole = whole or self
        self.decode_seconds = 0.0
        self.postprocess_seconds = 0.0
        self.edges_are_thin = view.edges_are_thin

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[TimedView] | None:
        crops = self.view.crops(boxes)
        return None if crops is None else self._timed(crops)

    def _timed(self, crops: Iterator[View]) -> Iterator[TimedView]:
        for crop, seconds in _clocked(crops):
            self.whole.decode_seconds += seconds
            yield TimedView(crop, self.whole)

    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        began = time.perf_counter()
        prediction = self.view.predict(prompts, multimask=multimask)
        self.whole.decode_seconds += time.perf_counter() - began
        wrapper = _TimedSoftPrediction if isinstance(prediction, SoftPrediction) else _TimedPrediction
        timed = wrapper(prediction, self.whole)
        if isinstance(prediction, CodedPrediction):
            timed.coded = timed.time_coded  # type: ignore[attr-defined]
        if prompts.text is not None:
            for name in ("instances", "presence", "notes"):
                setattr(timed, name, getattr(prediction, name))
        return timed

    def edges(self) -> NDArray[np.float32]:
        began = time.perf_counter()
        edges = self.view.edges()
        self.decode_seconds += time.perf_counter() - began
        return edges


class _TimedPrediction:
    def __init__(self, prediction: Any, view: TimedView) -> None:
        self.prediction, self.view = prediction, view

    @property
    def scores(self) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self.prediction.scores
        return scores

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> Any:
        return self.prediction.feedback(chosen)

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        began = time.perf_counter()
        masks: list[Mask] = self.prediction.masks(which)
        self.view.postprocess_seconds += time.perf_counter() - began
        return masks

    def time_coded(self, mask_filter: MaskFilter) -> CodedMasks:
        began = time.perf_counter()
        masks: CodedMasks = self.prediction.coded(mask_filter)
        self.view.postprocess_seconds += time.perf_counter() - began
        return masks


class _TimedSoftPrediction(_TimedPrediction):
    def logits(self, which: Sequence[tuple[int, int]], margin: int) -> Iterator[LogitWindow]:
        windows = self.prediction.logits(which, margin)
        for window, seconds in _clocked(windows):
            self.view.postprocess_seconds += seconds
            yield window

    def boxes(self) -> NDArray[np.int64]:
        began = time.perf_counter()
        boxes: NDArray[np.int64] = self.prediction.boxes()
        self.view.postprocess_seconds += time.perf_counter() - began
        return boxes


def _clocked(items: Iterator[Item]) -> Iterator[tuple[Item, float]]:
    """Each item with the seconds it took to arrive."""
    while True:
        began = time.perf_counter()
        try:
            item = next(items)
        except StopIteration:
            return
        yield item, time.perf_counter() - began


class TimedDecoding:
    """A model that decodes the prompts of several images together, and the seconds that took in all."""

    def __init__(self, model: Model) -> None:
        self.model, self.prompt_batch, self.seconds = model, model.prompt_batch, 0.0

    def predict_together(
        self, views: Sequence[View], prompts: Sequence[Prompts], *, multimask: bool
    ) -> Sequence[Prediction]:
        began = time.perf_counter()
        predictions = self.model.predict_together(views, prompts, multimask=multimask)
        self.seconds += time.perf_counter() - began
        return predictions
