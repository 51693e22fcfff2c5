"""Our HQ-SAM against what the official predictor answered with the same random weights, kept in
``tests/stored/sam_hq_expected.npz`` (docs/parity/sam2.md says how it was made)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parity import MISTAKES, PRECISIONS, computing, float64, mistaken, shifted
from helpers.sam_family import DATA, LOOK, compare, family_weights
from helpers.threads import one_thread

from sambench.models.sam import sam_hq
from sambench.models.sam.sam import SamPrediction
from sambench.models.sam.sam_hq import SamHqOptions
from sambench.types import Prediction, Prompts

__all__ = ["one_thread"]

EXPECTED = dict(np.load(DATA / "sam_hq_expected.npz"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the authors write them: an encoder of width 32 with two layers, an input of 512 pixels."""
    path = tmp_path_factory.mktemp("sam_hq") / "weights.pth"
    torch.save(family_weights(json.loads(str(EXPECTED["shapes"]))), path)
    return path


class Best:
    """A view that answers the best candidate alone, as the official predictor does for three."""

    def __init__(self, view: Any) -> None:
        self.view = view

    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        found = self.view.predict(prompts, multimask=multimask)
        assert found.scores.shape[1] == (3 if multimask else 1)
        best = int(found.scores[0].argmax())
        return SamPrediction(found.frame, found.low[:, best : best + 1], found.scores[:, best : best + 1])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_answers_are_the_official_predictors(checkpoint: Path, precision: str) -> None:
    with computing(precision):
        model = sam_hq.load("sam_hq_vit_32x2", SamHqOptions(weights=str(checkpoint)), "cpu")
        found = compare(lambda image: Best(model.encode([image])[0]), EXPECTED, precision)
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_added_token_alone(checkpoint: Path, precision: str) -> None:
    expected = {key[len("only_") :]: value for key, value in EXPECTED.items() if key.startswith("only_")}
    with computing(precision):
        model = sam_hq.load("sam_hq_vit_32x2", SamHqOptions(weights=str(checkpoint), hq_token_only=True), "cpu")
        assert "multimask" not in model.capabilities
        found = compare(lambda image: model.encode([image])[0], expected, precision, looks=(((97, 120), 2),))
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(checkpoint: Path, mistake: str) -> None:
    with float64():
        model = sam_hq.load("sam_hq_vit_32x2", SamHqOptions(weights=str(checkpoint)), "cpu")
        mistaken(model.network, mistake, "vision_encoder.layers.0.layer_norm2", "vision_encoder.layers.1.mlp.lin1.bias")
        found = compare(lambda image: Best(model.encode([shifted(image, mistake)])[0]), EXPECTED, "float64", LOOK)
    assert found.worst > 2
