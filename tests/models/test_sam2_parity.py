"""Our SAM 2 against what the official image predictor answered with the same random weights, kept in
``tests/stored/sam2_expected.npz`` (docs/parity/sam2.md says how it was made)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parity import MISTAKES, PRECISIONS, computing, float64, mistaken, shifted
from helpers.sam_family import DATA, LOOK, compare, family_weights, picture
from helpers.threads import one_thread

from sambench.models.sam2 import sam2, sam2_weights
from sambench.models.sam2.sam2 import Sam2Options
from sambench.types import Prompts

__all__ = ["one_thread"]

EXPECTED = dict(np.load(DATA / "sam2_expected.npz"))


class _Mini(sam2_weights.Size):
    def config(self) -> dict[str, Any]:
        return {**super().config(), "prompt_encoder_config": {"image_size": 512}}


MINI = _Mini("mini", 16, 6, (1, 2, 2, 1), 1, (4,))
"""What ``sam2_expected.npz`` was made with: Hiera made small, an input of 512 pixels, the rest as released."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the authors write them."""
    path = tmp_path_factory.mktemp("sam2") / "weights.pt"
    torch.save({"model": family_weights(json.loads(str(EXPECTED["shapes"])))}, path)
    return path


def model(checkpoint: Path, **options: Any) -> sam2.Sam2Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sam2_weights, "SIZES", (MINI,))
        return sam2.load("sam2.1_hiera_mini", Sam2Options(weights=str(checkpoint), **options), "cpu")


@pytest.fixture(scope="module")
def mini(checkpoint: Path) -> sam2.Sam2Model:
    return model(checkpoint)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_answers_are_the_official_predictors(checkpoint: Path, precision: str) -> None:
    """Boxes, points, both, nine clicks with feedback; the single mask gives way to the best of three."""
    with computing(precision):
        mini = model(checkpoint)
        found = compare(lambda image: mini.encode([image])[0], EXPECTED, precision)
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_without_the_stability_rule_the_single_mask_stays(checkpoint: Path, precision: str) -> None:
    expected = {key[len("token_") :]: value for key, value in EXPECTED.items() if key.startswith("token_")}
    with computing(precision):
        plain = model(checkpoint, dynamic_multimask=False)
        found = compare(lambda image: plain.encode([image])[0], expected, precision, looks=(((97, 120), 2),))
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(checkpoint: Path, mistake: str) -> None:
    with float64():
        mini = model(checkpoint)
        mistaken(
            mini.network, mistake, "vision_encoder.backbone.blocks.2.layer_norm1", "vision_encoder.neck.convs.1.bias"
        )
        found = compare(lambda image: mini.encode([shifted(image, mistake)])[0], EXPECTED, "float64", LOOK)
    assert found.worst > 2


def test_the_mask_prompt_matters(mini: sam2.Sam2Model) -> None:
    """Lest the comparison of clicks with feedback pass with the feedback ignored."""
    image = picture(97, 120)
    view = mini.encode([image])[0]
    prompts = Prompts(points=np.array([[[40, 30]]], np.float32), labels=np.array([[1]]))
    first = view.predict(prompts, multimask=True)
    second = view.predict(
        Prompts(points=prompts.points, labels=prompts.labels, mask_logits=first.feedback([(0, 0)])), multimask=True
    )
    assert float((first.feedback([(0, 0)]) - second.feedback([(0, 0)])).abs().max()) > 0.05
