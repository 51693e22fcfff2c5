"""What a click model of ours answers. Apart from ``click_weights``, which serves where the authors' code runs too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from helpers.click_weights import Click

from sambench.models.interactive.click_predictor import ClickPrediction, ClickView
from sambench.types import Prompts


def answers(view: ClickView, clicks: Sequence[Click]) -> list[ClickPrediction]:
    """After each click, each given what the one before fed back."""
    found: list[ClickPrediction] = []
    for n in range(1, len(clicks) + 1):
        fed = found[-1].feedback([(0, 0)]) if found else None
        points = np.array([[(x, y) for x, y, _ in clicks[:n]]], np.float32)
        labels = np.array([[int(positive) for *_, positive in clicks[:n]]], np.int64)
        found.append(view.predict(Prompts(points, labels, mask_logits=fed), multimask=False))
    return found
