"""Answers to phrases, ranked and padded as :class:`sambench.core.model.TextPrediction` says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Mask


@dataclass(frozen=True, eq=False)
class Answer:
    """The candidates of one phrase, best first; as :class:`sambench.models.text.text_model.Named` otherwise."""

    masks: Sequence[Mask]
    scores: NDArray[np.float32]
    instances: NDArray[np.bool_]
    presence: float
    note: str


class TextAnswers:
    """The answers to N phrases about an image of ``size`` ``(H, W)``, see :class:`sambench.core.model.TextPrediction`.
    ``limit``: candidates of a phrase, None for all."""

    def __init__(self, size: tuple[int, int], answers: Sequence[Answer], limit: int | None) -> None:
        self.size = size
        self._masks = [answer.masks for answer in answers]
        width = max([1, *(len(answer.scores) for answer in answers)]) if limit is None else limit
        self.scores = np.zeros((len(answers), width), np.float32)
        self.instances = np.zeros((len(answers), width), np.bool_)
        for n, answer in enumerate(answers):
            held = min(width, len(answer.scores))
            self.scores[n, :held] = answer.scores[:held]
            self.scores[n, held:] = min(0.0, float(answer.scores[held - 1])) if held else 0.0
            self.instances[n, :held] = answer.instances[:held]
        self.presence = np.array([answer.presence for answer in answers], np.float32)
        self.notes = [answer.note for answer in answers]

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        """The masks of (prompt, candidate) pairs, empty where a phrase has no such candidate."""
        return [self._masks[n][m] if m < len(self._masks[n]) else Mask.empty(self.size) for n, m in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> None:
        """None: a phrase takes no mask along."""
