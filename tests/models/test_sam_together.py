"""Prompts of several images decoded together, and those that do not fit into memory: answers are those of predict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from helpers import official_sam
from helpers.sam_family import picture
from helpers.threads import one_thread

from sambench.models.sam.sam import SamModel, SamOptions, SamPrediction, SamView, load_checkpoint
from sambench.types import Prompts

__all__ = ["one_thread"]

ROUNDING = 1e-4
"""Logits have a standard deviation above 0.5."""
SIZES = ((90, 120), (120, 80), (64, 64))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], SamModel]:
    """By the number of prompts decoded at once."""
    path = tmp_path_factory.mktemp("sam") / "weights.pth"
    torch.save(official_sam.build(side=256).state_dict(), path)
    return lambda prompt_batch: load_checkpoint(str(path), SamOptions(prompt_batch=prompt_batch), "cpu")


def _views(model: SamModel) -> list[SamView]:
    return [model.encode([picture(*size, seed=seed)])[0] for seed, size in enumerate(SIZES)]


def _points(count: int, each: int, size: tuple[int, int], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, [size[1], size[0]], (count, each, 2)).astype(np.float32)
    return {"points": points, "labels": rng.integers(0, 2, (count, each))}


def _boxes(count: int, size: tuple[int, int], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, [size[1] / 2, size[0] / 2], (count, 2))
    return {"boxes": np.concatenate([corners, corners + rng.uniform(5, 40, (count, 2))], 1).astype(np.float32)}


def _masks(count: int, seed: int) -> dict[str, Any]:
    return {"mask_logits": np.random.default_rng(seed).normal(0, 4, (count, 64, 64)).astype(np.float32)}


def _of_every_kind() -> list[tuple[int, Prompts]]:
    """Prompts, each with the number of the view that they are for."""
    made: list[tuple[int, dict[str, Any]]] = []
    for i, size in enumerate(SIZES):
        made += [
            (i, _points(3 + i, 1, size, 10 + i)),
            (i, _points(2, 2, size, 20 + i)),
            (i, _boxes(1 + i, size, 30 + i)),
            (i, {**_boxes(2, size, 40 + i), **_points(2, 2, size, 50 + i)}),
            (i, {**_points(3, 2, size, 60 + i), **_masks(3, 60 + i)}),
            (i, {**_boxes(2, size, 70 + i), **_masks(2, 70 + i)}),
            (i, _masks(1, 80 + i)),
            (i, _points(0, 1, size, 0)),
        ]
    return [(i, Prompts(**parts)) for i, parts in made]


def _each_alone(views: Sequence[SamView], asked: Sequence[tuple[int, Prompts]]) -> list[SamPrediction]:
    return [views[i].predict(prompts, multimask=True) for i, prompts in asked]


def _together(views: Sequence[SamView], asked: Sequence[tuple[int, Prompts]]) -> list[SamPrediction]:
    model = views[0].model
    return model.predict_together([views[i] for i, _ in asked], [prompts for _, prompts in asked], multimask=True)


def _difference(ours: SamPrediction, expected: SamPrediction) -> float:
    assert ours.low.shape == expected.low.shape
    assert ours.scores.shape == expected.scores.shape
    if not len(ours.low):
        return 0.0
    assert expected.low.std() > 0.5, "degenerate logits would make this comparison empty"
    np.testing.assert_allclose(ours.scores, expected.scores, atol=ROUNDING)
    return float((ours.low - expected.low).abs().max())


@pytest.mark.parametrize("batch", [4, 64])
def test_batches_that_span_images_answer_as_each_view_does(load: Callable[[int], SamModel], batch: int) -> None:
    views, asked = _views(load(batch)), _of_every_kind()
    worst = [_difference(*pair) for pair in zip(_together(views, asked), _each_alone(views, asked), strict=True)]
    print(f"batches of {batch}: {max(worst):.1e}")
    assert max(worst) < ROUNDING


def test_one_at_a_time_is_equal_to_the_bit(load: Callable[[int], SamModel]) -> None:
    views, asked = _views(load(1)), _of_every_kind()
    assert views[0].model.decodes_jointly
    for ours, expected in zip(_together(views, asked), _each_alone(views, asked), strict=True):
        assert torch.equal(ours.low, expected.low)
        assert ours.scores.tobytes() == expected.scores.tobytes()


def test_predictions_are_of_their_own_images(load: Callable[[int], SamModel]) -> None:
    views, asked = _views(load(64)), [(i, Prompts(**_points(2, 1, size, 5))) for i, size in enumerate(SIZES)]
    predictions = _together(views, asked)
    for prediction, size in zip(predictions, SIZES, strict=True):
        assert {mask.size for mask in prediction.masks([(0, 0), (1, 2)])} == {size}
    # The same image at another place of the batch.
    for ours, expected in zip(_together(views, asked[::-1])[::-1], predictions, strict=True):
        assert _difference(ours, expected) < ROUNDING


def test_only_prompts_with_the_same_tokens_share_a_batch(
    load: Callable[[int], SamModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One point, two points, one point with a box, one with a mask: in the order of their first prompts."""
    model = load(8)
    views, size = _views(model), SIZES[0]
    one, two = _points(2, 1, size, 0), _points(3, 2, size, 0)
    asked = [one, two, {**one, **_boxes(2, size, 0)}, one, {**one, **_masks(2, 0)}, two]
    batches = _spied(model, monkeypatch)
    _together(views, [(i % 3, Prompts(**parts)) for i, parts in enumerate(asked)])
    # Five output tokens and the points, with a padding point where there is no box, which brings two.
    assert batches == [(4, 7, False), (6, 8, False), (2, 8, False), (2, 7, True)]


def _spied(model: SamModel, monkeypatch: pytest.MonkeyPatch, fits: int | None = None) -> list[tuple[int, int, bool]]:
    """Prompts, tokens and whether there are masks of every batch from now on; more than ``fits`` find no memory."""
    batches: list[tuple[int, int, bool]] = []
    decoder = type(model.decoder).__call__

    def spy(self: Any, images: Any, tokens: torch.Tensor, masks: torch.Tensor | None, multimask: bool) -> Any:
        batches.append((len(images), tokens.shape[1], masks is not None))
        if fits is not None and len(images) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decoder(self, images, tokens, masks, multimask)

    monkeypatch.setattr(type(model.decoder), "__call__", spy)
    return batches


def test_prompts_that_do_not_fit_into_memory_go_on_by_halves(
    load: Callable[[int], SamModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(8)
    views = _views(model)
    asked = [(i, Prompts(**_points(5, 1, size, i))) for i, size in enumerate(SIZES)]
    expected = _each_alone(views, asked)
    batches = _spied(model, monkeypatch, fits=3)
    for ours, other in zip(_together(views, asked), expected, strict=True):
        assert _difference(ours, other) < ROUNDING
    assert [count for count, _, _ in batches] == [8, 4, 2, 2, 2, 2, 2, 2, 2, 1]
    assert model.halved == 2
    batches.clear()
    assert _difference(views[0].predict(asked[0][1], multimask=True), expected[0]) < ROUNDING
    assert [count for count, _, _ in batches] == [5, 3, 2]


def test_one_prompt_that_does_not_fit_says_so(load: Callable[[int], SamModel], monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(2)
    view = _views(model)[0]
    _spied(model, monkeypatch, fits=0)
    with pytest.raises(torch.OutOfMemoryError):
        view.predict(Prompts(**_points(3, 1, SIZES[0], 0)), multimask=True)


def test_text_is_refused(load: Callable[[int], SamModel]) -> None:
    views = _views(load(2))
    with pytest.raises(ValueError, match="not text"):
        _together(views, [(0, Prompts(**_points(1, 1, SIZES[0], 0))), (1, Prompts(text=["a cat"]))])
