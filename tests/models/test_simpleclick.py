"""SimpleClick: answers equal the authors' code's (docs/parity/simpleclick.md), and what its checkpoints are told by."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import simpleclick_cases as cases
from helpers.click_answers import answers
from helpers.click_weights import nine_clicks, picture
from helpers.parity import MISTAKES, PRECISIONS, Comparison, computing, mistaken, shifted
from helpers.paths import STORED
from helpers.threads import one_thread
from numpy.typing import NDArray
from torch import Tensor

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.common import checkpoints
from sambench.models.interactive import simpleclick, simpleclick_weights
from sambench.models.interactive.click_predictor import ClickModel
from sambench.models.interactive.simpleclick import Options
from sambench.models.interactive.simpleclick_network import SimpleClickNetwork
from sambench.plugins import options
from sambench.types import Prompts

__all__ = ["one_thread"]

THRESHOLD = 0.49
"""Above which a probability is foreground."""
TINY = "simpleclick_vit_32x8"

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases.checkpoint(tmp_path_factory.mktemp("simpleclick") / "weights.pth", cases.TINY)


@pytest.fixture(scope="module")
def model(file: Path) -> ClickModel:
    return simpleclick.load(TINY, Options(weights=str(file)), "cpu", 1)


@pytest.fixture(scope="module")
def official() -> dict[str, NDArray[Any]]:
    with np.load(STORED / "simpleclick_official.npz") as held:
        return dict(held)


# The authors' answers ------------------------------------------------------------------------------------------------


def compare(
    folder: Path, name: str, official: dict[str, NDArray[Any]], precision: str, count: int, mistake: str = ""
) -> Comparison:
    """After each of the first ``count`` clicks of a case."""
    case = cases.CASES[name]
    comparison = Comparison({"maps": official[f"{name}_rounding"]} if precision == "float32" else {})
    path = cases.checkpoint(folder / "w.pth", cases.TINY, case.side)
    expected, crops, areas = (official[f"{name}_{part}"] for part in ("probabilities", "crops", "areas"))
    assert expected.std() > 0.05, "a flat map would make this comparison empty"
    assert len(expected) == case.clicks
    with computing(precision):
        model: Any = simpleclick.load(TINY, Options(weights=str(path), crop=case.crop), "cpu", 1)
        mistaken(model.network, mistake, "backbone.blocks.3.norm1", "backbone.blocks.3.mlp.fc1.bias")
        view = model.encode([shifted(picture(*case.size), mistake)])[0]
        predictions = answers(view, nine_clicks(case.size)[:count])
        maps = [prediction.probabilities(0) for prediction in predictions]
    for n, (ours, prediction) in enumerate(zip(maps, predictions, strict=True)):
        comparison.values("maps", ours[:: cases.STRIDE, :: cases.STRIDE], expected[n])
        comparison.equal("crops", prediction.feedback([(0, 0)])[0].crop == tuple(crops[n]))
        mask = prediction.masks([(0, 0)])[0]
        comparison.pixels("maps", mask.dense()[:: cases.STRIDE, :: cases.STRIDE], expected[n], THRESHOLD)
        comparison.area("maps", mask.area, int(areas[n]), ours, THRESHOLD)
    return comparison


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", list(cases.CASES))
def test_probabilities_equal_the_official_ones(
    tmp_path: Path, official: dict[str, NDArray[Any]], name: str, precision: str
) -> None:
    found = compare(tmp_path, name, official, precision, cases.CASES[name].clicks)
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(tmp_path: Path, official: dict[str, NDArray[Any]], mistake: str) -> None:
    found = compare(tmp_path, "wide", official, "float64", 1, mistake)
    assert found.worst > 2


def test_the_comparison_has_zoom_in_at_work(official: dict[str, NDArray[Any]]) -> None:
    """The first click sees the whole image; later ones parts of it, and not all the same."""
    crops = official["wide_crops"]
    assert crops[0].tolist() == [0, 299, 0, 430]
    assert len({tuple(crop) for crop in crops.tolist()}) == 3


# The network ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(cases.SIZES))
def test_released_sizes_are_told_by_their_tensors(name: str) -> None:
    """Names and shapes of the authors' code, on the meta device; the counts are those of the cards."""
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in cases.shapes(cases.SIZES[name]).items()}
        sizes = simpleclick_weights.sizes(state, {}, Path("w.pth"))
        network = SimpleClickNetwork(sizes)
    assert simpleclick_weights.name_of(sizes) == name
    assert sizes.heads == cases.SIZES[name]["heads"]
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in state.items()}
    idle = ("backbone.cls_token", "backbone.fc_norm", "backbone.head", "head.up_conv")
    assert own == {key: shape for key, shape in theirs.items() if not key.startswith(idle)}
    assert sum(math.prod(shape) for shape in own.values()) == zoo.ZOO[name].parameters


def test_heads_that_double_the_resolution(tmp_path: Path) -> None:
    """``upsample`` of x2: the head's last layer reads half as many channels, of maps twice as large."""
    state = cases.weights(cases.shapes(cases.TINY))
    state["head.conv_seg.weight"] = state["head.conv_seg.weight"][:, :8]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="attention heads"):  # plain tensors of a width that is not released
        simpleclick_weights.network(checkpoints.find(str(tmp_path / "w.pth")))
    heads = {"params": {"backbone_params": {"value": {"num_heads": 4}}}}
    torch.save({"state_dict": state, "config": heads}, tmp_path / "w.pth")
    network = simpleclick_weights.network(checkpoints.find(str(tmp_path / "w.pth")))
    assert network.sizes.doublings == 1
    network.prepare(448, torch.float32)
    with torch.inference_mode():
        out = network(torch.rand(1, 3, 448, 448), torch.zeros(1, 1, 448, 448), torch.zeros(1, 2, 448, 448))
    assert out.shape == (1, 1, 128, 128)  # 16 patches, four times as fine, and doubled


def test_low_precision_is_near(file: Path, model: ClickModel) -> None:
    image, clicks = picture(120, 160), nine_clicks((120, 160))[:1]
    exact = answers(model.encode([image])[0], clicks)[0].probabilities(0)
    near_model = simpleclick.load(TINY, Options(weights=str(file), dtype="bfloat16"), "cpu", 1)
    near = answers(near_model.encode([image])[0], clicks)[0].probabilities(0)
    assert 0 < np.abs(near - exact).max() < 0.1


def test_a_prompt_does_not_depend_on_the_others(model: ClickModel) -> None:
    view = model.encode([picture(120, 160)])[0]
    points = np.array([[(40, 40)], [(90, 70)]], np.float32)
    labels = np.ones((2, 1), np.int64)
    both = view.predict(Prompts(points, labels), multimask=True)
    assert both.scores.shape == (2, 1)
    for i in range(2):
        alone = view.predict(Prompts(points[i : i + 1], labels[i : i + 1]), multimask=True)
        assert alone.probabilities(0).tobytes() == both.probabilities(i).tobytes()


# Checkpoints ---------------------------------------------------------------------------------------------------------


def test_the_released_format_is_read_without_the_loss_that_it_holds(file: Path) -> None:
    """``weights_only`` alone would refuse the object in the configuration; what is allowed for it stays allowed no
    longer than that."""
    allowed = set(torch.serialization.get_safe_globals())  # told from a set: its order is no promise
    with pytest.raises(Exception, match=r"isegm\.model\.modeling"):
        torch.load(file, weights_only=True)
    assert simpleclick.recognise(checkpoints.find(str(file))) == TINY
    found = simpleclick.locate(None, Options(weights=str(file)))
    assert (found.name, found.path, found.trained_on) == (TINY, str(file), None)
    assert set(torch.serialization.get_safe_globals()) == allowed


@pytest.mark.parametrize(
    ("name", "seen"),
    [("cocolvis_vit_huge.pth", {"coco", "lvis"}), ("sbd_vit_base.pth", {"sbd"}), ("my_vit_huge.pth", None)],
)
def test_training_data_by_the_authors_file_names(tmp_path: Path, name: str, seen: set[str] | None) -> None:
    path = cases.checkpoint(tmp_path / name, cases.TINY)
    assert simpleclick.locate(None, Options(weights=str(path))).trained_on == seen


def _message(path: Path, name: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        simpleclick.locate(name, Options(weights=str(path)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_size_names_both(file: Path) -> None:
    message = _message(file, "simpleclick_vit_h")
    assert f"holds weights of {TINY}, not of simpleclick_vit_h" in message


def test_what_is_no_simpleclick(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 4, 4, 8)}, other)
    assert simpleclick.recognise(checkpoints.find(str(other))) is None
    assert "not a SimpleClick checkpoint: it holds image_encoder.pos_embed" in _message(other, "simpleclick_vit_b")
    with pytest.raises(UsageError, match="sambench show model simpleclick_vit_b"):
        simpleclick.locate("simpleclick_vit_b", Options())


def test_other_click_maps_and_lacking_tensors(tmp_path: Path) -> None:
    wide = cases.checkpoint(tmp_path / "wide.pth", cases.TINY, norm_radius=9)
    assert "other click maps than discs of 5 pixels" in _message(wide)
    state = cases.weights(cases.shapes(cases.TINY))
    heads = {"params": {"backbone_params": {"value": {"num_heads": 4}}}}
    lacking: State = {key: value for key, value in state.items() if key != "neck.down_8.2.bias"}
    torch.save({"state_dict": lacking, "config": heads}, tmp_path / "lacking.pth")
    with pytest.raises(UsageError, match=r"1 missing \(neck.down_8.2.bias\) and 0 left over"):
        simpleclick.load(TINY, Options(weights=str(tmp_path / "lacking.pth")), "cpu", 1)
    del lacking["head.convs.2.conv.weight"]
    torch.save({"state_dict": lacking, "config": heads}, tmp_path / "lacking.pth")
    assert "tensors missing or misshapen" in _message(tmp_path / "lacking.pth")


@pytest.mark.parametrize("values", [{"threshold": 1.0}, {"crop": 400}, {"prompt_batch": -1}])
def test_options_out_of_range(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"^model.{next(iter(values))}="):
        options.build(Options, values, "model")
