"""EfficientSAM: stored answers of the released code, the authors' names of tensors, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parity import MISTAKES, PRECISIONS, computing, float64, mistaken
from helpers.paths import STORED
from helpers.stored_answers import compare, named_weights, picture
from helpers.threads import one_thread

from sambench.errors import UsageError
from sambench.models.common import checkpoints
from sambench.models.common.logit_windows import SoftPrediction
from sambench.models.sam import efficient_sam, mobile_sam, sam
from sambench.models.sam.efficient_sam import EfficientSamModel, Options
from sambench.models.sam.efficient_sam_network import EfficientSam
from sambench.models.zoo import ZOO, locate
from sambench.plugins import options
from sambench.types import Prompts

__all__ = ["one_thread"]

ANSWERS = STORED / "efficient_sam_answers.npz"


def _small(mistake: str = "") -> EfficientSamModel:
    """One block of the tiny image encoder, else as released."""
    network = EfficientSam(192, depth=1).eval().requires_grad_(False)
    network.load_state_dict(named_weights({key: value.shape for key, value in network.state_dict().items()}))
    mistaken(network, mistake, "image_encoder.blocks.0.norm2", "image_encoder.blocks.0.mlp.fc1.bias")
    return EfficientSamModel(network, sam.WeightsInfo("small", "", "0", None), Options(), "cpu", 0)


@pytest.fixture(scope="module")
def small() -> EfficientSamModel:
    return _small()


def _saved(path: Path, name: str, **more: Any) -> Path:
    """A file of the released names and shapes that takes no room: every tensor repeats one element."""
    with torch.device("meta"):
        network = EfficientSam(efficient_sam.WIDTHS[name])
    state = {key: torch.zeros(()).expand(value.shape) for key, value in network.state_dict().items()}
    torch.save({"model": {**state, **more}}, path)
    return path


def _points(*xy: tuple[float, float], labels: list[int] | None = None) -> Prompts:
    return Prompts(points=np.array([xy], np.float32), labels=np.array([labels or [1] * len(xy)], np.int64))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_answers_are_those_of_the_released_code(precision: str) -> None:
    """Points 1 to 9, boxes with and without points, one and three candidates; three shapes of image."""
    with computing(precision):
        found = compare(_small(), ANSWERS, precision)
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str) -> None:
    with float64():
        found = compare(_small(mistake), ANSWERS, "float64", mistake, answers=2)
    assert found.worst > 2


@pytest.mark.parametrize(
    ("name", "parameters", "tensors", "file"),
    [
        ("efficient_sam_ti", 10_223_204, 278, "efficient_sam_vitt.pt"),
        ("efficient_sam_s", 26_413_028, 278, "efficient_sam_vits.pt"),
    ],
)
def test_a_released_file_is_recognised_and_fits(
    tmp_path: Path, name: str, parameters: int, tensors: int, file: str
) -> None:
    """The numbers are those of the released builders."""
    path = _saved(tmp_path / file, name)
    source = checkpoints.find(str(path))
    assert efficient_sam.recognise(source) == name
    assert sam.recognise(source) is None
    assert mobile_sam.recognise(source) is None
    located = locate(str(path), {})
    assert (located.name, located.trained_on) == (name, ZOO[name].trained_on)
    network = efficient_sam.load(name, Options(weights=str(path)), "cpu").network
    assert sum(value.numel() for value in network.parameters()) == ZOO[name].parameters == parameters
    assert len(network.state_dict()) == tensors


def test_the_larger_one_as_the_authors_ship_it(tmp_path: Path) -> None:
    path = _saved(tmp_path / "efficient_sam_vits.pt", "efficient_sam_s")
    packed = tmp_path / "efficient_sam_vits.pt.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(path, path.name)
    with pytest.raises(UsageError) as caught:
        efficient_sam.locate("efficient_sam_s", Options(weights=str(packed)))
    assert str(caught.value) == f"{packed} is a zip archive: unpack it and pass the efficient_sam_vits.pt in it"


def test_other_weights_are_refused_naming_both(tmp_path: Path) -> None:
    def message(path: Path, name: str) -> str:
        with pytest.raises(UsageError) as caught:
            efficient_sam.locate(name, Options(weights=str(path)))
        return str(caught.value)

    small_one = _saved(tmp_path / "w.pt", "efficient_sam_s")
    assert efficient_sam.locate(None, Options(weights=str(small_one))).trained_on is None
    assert message(small_one, "efficient_sam_ti") == f"{small_one} holds efficient_sam_s, not efficient_sam_ti"
    other = tmp_path / "other.pt"
    torch.save({"fc.bias": torch.zeros(3)}, other)
    assert message(other, "efficient_sam_s") == f"{other} holds fc.bias, not efficient_sam_s"
    left_over = _saved(tmp_path / "more.pt", "efficient_sam_ti", extra=torch.zeros(1))
    with pytest.raises(UsageError, match=r"1 left over \(extra\)"):
        efficient_sam.load("efficient_sam_ti", Options(weights=str(left_over)), "cpu")


def test_no_file_named() -> None:
    with pytest.raises(UsageError, match=r"efficient_sam_vits\.pt with --set model\.weights=FILE"):
        efficient_sam.locate("efficient_sam_s", Options())
    with pytest.raises(UsageError, match=r"model\.prompt_batch=-1: must be an integer, at least 0"):
        options.build(Options, {"prompt_batch": "-1"}, "model")


def test_what_the_model_does_not_take(small: Any) -> None:
    view = small.encode([picture(20, 30)])[0]
    point = _points((1, 2))
    prediction = view.predict(point, multimask=False)
    assert prediction.feedback([(0, 0)]) is None
    for prompts in (
        Prompts(text=["a cat"]),
        Prompts(points=point.points, labels=point.labels, mask_logits=np.zeros((1, 256, 256), np.float32)),
    ):
        with pytest.raises(ValueError, match="neither text nor masks"):
            view.predict(prompts, multimask=False)


def test_candidates_fall_in_predicted_iou_and_one_is_the_first_of_three(small: Any) -> None:
    view = small.encode([picture(50, 40)])[0]
    points = np.array([[[3, 4]], [[30, 44]], [[20, 9]]], np.float32)
    prompts = Prompts(points=points, labels=np.ones((3, 1), np.int64))
    three, one = (view.predict(prompts, multimask=multimask) for multimask in (True, False))
    assert (np.diff(three.scores) <= 0).all()
    assert torch.equal(one.low, three.low[:, :1])
    np.testing.assert_array_equal(one.scores, three.scores[:, :1])


def test_six_points_are_seen_and_no_more_and_padding_is_the_released_padding(small: Any) -> None:
    view = small.encode([picture(50, 40)])[0]
    xy = [(3, 4), (30, 44), (20, 9), (1, 1), (7, 40), (9, 9), (38, 2)]
    labels = [1, 0, 1, 1, 0, 1, 1]
    six = view.predict(_points(*xy[:6], labels=labels[:6]), multimask=True)
    seven = view.predict(_points(*xy, labels=labels), multimask=True)
    assert torch.equal(six.low, seven.low)
    two = view.predict(_points(*xy[:2], labels=labels[:2]), multimask=True)
    padded = view.predict(_points(*xy[:4], labels=[*labels[:2], -1, -1]), multimask=True)
    assert torch.equal(two.low, padded.low)
    assert not torch.equal(two.low, six.low)
    # A box is two of the six, and counts first.
    box = np.array([[2, 3, 20, 30]], np.float32)
    four, five = (
        Prompts(points=np.array([xy[:n]], np.float32), labels=np.array([labels[:n]]), boxes=box) for n in (4, 5)
    )
    assert torch.equal(view.predict(four, multimask=True).low, view.predict(five, multimask=True).low)


def test_a_prompt_does_not_depend_on_the_others_nor_on_the_call(small: Any) -> None:
    image = picture(64, 80)
    view = small.encode([image])[0]
    points = np.array([[[10, 20]], [[60, 30]], [[5, 50]]], np.float32)
    together = view.predict(Prompts(points=points, labels=np.ones((3, 1), np.int64)), multimask=True)
    alone = view.predict(_points((60, 30)), multimask=True)
    assert torch.equal(together.low[1], alone.low[0])
    assert torch.equal(small.encode([image])[0].embedding, view.embedding)


def test_logits_boxes_and_masks_agree(small: Any) -> None:
    prediction = small.encode([picture(41, 67)])[0].predict(_points((10, 20)), multimask=True)
    assert isinstance(prediction, SoftPrediction)
    windows = list(prediction.logits([(0, 2), (0, 0)], 5))
    masks = prediction.masks([(0, 2), (0, 0)])
    for window, mask in zip(windows, masks, strict=True):
        assert (window.top, window.left, tuple(window.logits.shape)) == (0, 0, (1, 41, 67))
        np.testing.assert_array_equal(window.logits[0].numpy() >= 0, mask.dense())
    assert tuple(prediction.boxes()[0, 2]) == masks[0].box


def test_crops_are_images_of_their_own(small: Any) -> None:
    image = picture(60, 50)
    crop = next(small.encode([image])[0].crops([(10, 20, 40, 60)]))
    assert torch.equal(crop.embedding, small.encode([image[20:60, 10:40]])[0].embedding)
    assert crop.predict(_points((1, 1)), multimask=False).masks([(0, 0)])[0].size == (40, 30)
