"""FastSAM: choosing among masks as the authors' code does, and weights read without the classes that they name.

The package ultralytics is not installed for tests: what it answers is stood in for by objects of the same form.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sambench.errors import UsageError
from sambench.models.common import checkpoints
from sambench.models.fast_sam import fast_sam, fast_sam_weights
from sambench.models.fast_sam.fast_sam import FastSamModel, FastSamView, Options, of_result
from sambench.models.sam import sam
from sambench.models.zoo import ZOO
from sambench.types import Prompts

SIZE = (8, 10)


def _rectangle(top: int, left: int, bottom: int, right: int) -> NDArray[np.uint8]:
    mask = np.zeros(SIZE, np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


WHOLE, LEFT, SMALL = _rectangle(0, 0, 8, 10), _rectangle(0, 0, 8, 5), _rectangle(2, 1, 4, 4)
"""80, 40 and 6 pixels, one in the other."""


@pytest.fixture
def view() -> FastSamView:
    return FastSamView(SIZE, np.stack([SMALL, WHOLE, LEFT]), np.array([0.9, 0.5, 0.7], np.float32))


def _at(view: FastSamView, *clicks: tuple[float, float, int]) -> tuple[NDArray[np.bool_], float]:
    points = np.array([[click[:2] for click in clicks]], np.float32)
    labels = np.array([[click[2] for click in clicks]], np.int64)
    prediction = view.predict(Prompts(points=points, labels=labels), multimask=True)
    assert prediction.scores.shape == (1, 1)
    return prediction.masks([(0, 0)])[0].dense(), float(prediction.scores[0, 0])


def test_a_point_takes_every_mask_that_it_lies_in(view: FastSamView) -> None:
    drawn, score = _at(view, (1, 2, 1))
    np.testing.assert_array_equal(drawn, WHOLE == 1)
    assert score == pytest.approx(0.9)
    drawn, score = _at(view, (9, 0, 1))
    np.testing.assert_array_equal(drawn, WHOLE == 1)
    assert score == pytest.approx(0.5)


def test_a_background_point_erases_in_the_order_of_falling_area(view: FastSamView) -> None:
    # (0, 0) is in WHOLE and LEFT, (1, 2) in all three: WHOLE and LEFT obey the last click in them, SMALL its own.
    drawn, score = _at(view, (1, 2, 1), (0, 0, 0))
    np.testing.assert_array_equal(drawn, SMALL == 1)
    assert score == pytest.approx(0.9)
    # The other order: WHOLE and LEFT are drawn, SMALL too.
    drawn, _ = _at(view, (0, 0, 0), (1, 2, 1))
    np.testing.assert_array_equal(drawn, WHOLE == 1)
    # SMALL is erased from WHOLE and LEFT, which the second click draws.
    drawn, score = _at(view, (2, 3, 0), (9, 7, 1))
    np.testing.assert_array_equal(drawn, (WHOLE == 1) & (LEFT == 0))
    assert score == pytest.approx(0.5)
    drawn, score = _at(view, (2, 3, 0))
    assert not drawn.any()
    assert score == 0


def test_padding_is_no_click_and_clicks_outside_are_moved_in(view: FastSamView) -> None:
    drawn, _ = _at(view, (1, 2, 1), (0, 0, -1))
    np.testing.assert_array_equal(drawn, WHOLE == 1)
    drawn, _ = _at(view, (40, -3, 1))
    np.testing.assert_array_equal(drawn, WHOLE == 1)


def test_a_box_takes_the_mask_of_the_highest_iou(view: FastSamView) -> None:
    # 1..4 x 2..4 is SMALL itself; 0..5 x 0..6 is 30 pixels, all in LEFT (30 / 40), of WHOLE 30 / 80, of SMALL 6 / 30.
    boxes = np.array([[1, 2, 4, 4], [0.2, -3, 5.4, 6], [-5, -5, 99, 99]], np.float32)
    prediction = view.predict(Prompts(boxes=boxes), multimask=False)
    for mask, expected in zip(prediction.masks([(0, 0), (1, 0), (2, 0)]), (SMALL, LEFT, WHOLE), strict=True):
        np.testing.assert_array_equal(mask.dense(), expected == 1)
    np.testing.assert_allclose(prediction.scores.ravel(), [0.9, 0.7, 0.5], rtol=1e-6)


def test_where_nothing_was_found_masks_are_empty() -> None:
    view = FastSamView(SIZE, *of_result(SimpleNamespace(masks=None, boxes=None), SIZE))
    drawn, score = _at(view, (1, 2, 1))
    assert not drawn.any()
    assert score == 0
    prediction = view.predict(Prompts(boxes=np.array([[0, 0, 3, 3]], np.float32)), multimask=False)
    assert (prediction.masks([(0, 0)])[0].area, prediction.scores[0, 0]) == (0, 0)


def test_what_the_model_does_not_take(view: FastSamView) -> None:
    point = {"points": np.zeros((1, 1, 2), np.float32), "labels": np.ones((1, 1), np.int64)}
    assert view.predict(Prompts(**point), multimask=False).feedback([(0, 0)]) is None
    with pytest.raises(ValueError, match="neither text nor masks"):
        view.predict(Prompts(text=["a cat"]), multimask=False)
    with pytest.raises(ValueError, match="neither text nor masks"):
        view.predict(Prompts(**point, mask_logits=np.zeros((1, 4, 4))), multimask=False)
    with pytest.raises(ValueError, match="not both at once"):
        view.predict(Prompts(**point, boxes=np.zeros((1, 4), np.float32)), multimask=False)


def test_masks_are_found_once_for_each_image() -> None:
    seen = []

    def everything(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        seen.append(image.shape)
        masks = SimpleNamespace(data=torch.from_numpy(np.stack([WHOLE, SMALL])))
        return of_result(SimpleNamespace(masks=masks, boxes=SimpleNamespace(conf=torch.tensor([0.5, 0.75]))), SIZE)

    model = FastSamModel(everything, sam.WeightsInfo("fast_sam_s", "", "0", None))
    views = model.encode([np.zeros((*SIZE, 3), np.uint8)] * 2)
    for _ in range(3):
        assert _at(views[1], (1, 2, 1))[1] == 0.75
    assert seen == [(*SIZE, 3)] * 2


# Weights -------------------------------------------------------------------------------------------------------------


class _Network(nn.Module):
    """A few of YOLOv8-seg's tensors, in a class that is gone when the file is read."""

    def __init__(self, width: int, classes: int = 1) -> None:
        super().__init__()
        first = nn.Module()
        first.conv = nn.Conv2d(3, width, 3, bias=False)
        first.bn = nn.BatchNorm2d(width)
        last = nn.Module()
        last.cv3 = nn.ModuleList([nn.Sequential(nn.Identity(), nn.Identity(), nn.Conv2d(4, classes, 1))])
        last.dfl = nn.Module()
        last.dfl.conv = nn.Conv2d(26, 1, 1, bias=False)
        self.model = nn.Sequential(first, *(nn.Identity() for _ in range(21)), last)
        self.names = {0: "object"}


def _saved(path: Path, width: int, classes: int = 1, **more: Any) -> dict[str, torch.Tensor]:
    """A checkpoint of a class in a module that nobody can import afterwards."""
    module = ModuleType("vanished")
    module.Network = type("Network", (_Network,), {"__module__": "vanished"})  # type: ignore[attr-defined]
    sys.modules["vanished"] = module
    try:
        network = module.Network(width, classes).half()
        torch.save({"epoch": -1, "model": network, "ema": None, "train_args": {"task": "segment"}, **more}, path)
    finally:
        del sys.modules["vanished"]
    state: dict[str, torch.Tensor] = network.state_dict()
    return state


@pytest.fixture
def ultralytics(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were installed: nothing of it is needed to find weights."""
    monkeypatch.setattr(fast_sam, "find_spec", lambda name: object())


def test_a_pickled_network_is_read_without_its_class(tmp_path: Path) -> None:
    path = tmp_path / "FastSAM-s.pt"
    expected = _saved(path, 32)
    state = fast_sam_weights.read(checkpoints.find(str(path)))
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    assert "model.0.bn.running_var" in state


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.check_call, (["touch", "ran"],)


def test_nothing_in_the_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pt"
    expected = _saved(path, 32, extra=_Code())
    assert fast_sam_weights.read(checkpoints.find(str(path))).keys() == expected.keys()
    assert not Path("ran").exists()


@pytest.mark.usefixtures("ultralytics")
def test_the_two_are_told_apart_by_their_tensors(tmp_path: Path) -> None:
    for name, width, file in (("fast_sam_x", 80, "FastSAM.pt"), ("fast_sam_s", 32, "FastSAM-s.pt")):
        path = tmp_path / file
        _saved(path, width)
        found = fast_sam.locate(name, Options(weights=str(path)))
        assert (found.name, found.trained_on) == (name, ZOO[name].trained_on)
        other = "fast_sam_s" if name == "fast_sam_x" else "fast_sam_x"
        with pytest.raises(UsageError) as caught:
            fast_sam.locate(other, Options(weights=str(path)))
        assert str(caught.value) == f"{path} holds weights of {name}, not of {other}: name the model {name}"
    renamed = tmp_path / "mine.pt"
    path.rename(renamed)
    assert fast_sam.locate("fast_sam_s", Options(weights=str(renamed))).trained_on is None


@pytest.mark.usefixtures("ultralytics")
def test_other_files_are_refused(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(UsageError) as caught:
            fast_sam.locate("fast_sam_s", Options(weights=str(path)))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    path = tmp_path / "w.pt"
    _saved(path, 32, classes=80)
    assert message(path).startswith(f"{path} is no FastSAM: it holds model.0.conv.weight")
    path.write_bytes(path.read_bytes()[:1000])
    assert "damaged or cut short" in message(path)
    torch.save({"a": torch.zeros(1)}, path)
    assert message(path) == f"{path} holds no network as ultralytics saves it"
    with pytest.raises(UsageError, match=r"pass FastSAM-s\.pt with --set model\.weights=FILE"):
        fast_sam.locate("fast_sam_s", Options())


def test_the_extra_is_named_with_its_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_sam, "find_spec", lambda name: None)
    for call in (fast_sam.locate, lambda name, options: fast_sam.load(name, options, "cpu")):
        with pytest.raises(UsageError, match=r"AGPL-3\.0: pip install 'sambench\[fastsam\]'"):
            call("fast_sam_x", Options())
    assert ZOO["fast_sam_x"].extra == "fastsam"
    assert "AGPL-3.0" in ZOO["fast_sam_x"].licence
