"""FocalClick: answers equal the authors' code's (docs/parity/focalclick.md), and what its checkpoints are told by."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import focalclick_cases as cases
from helpers.click_answers import answers
from helpers.click_weights import picture
from helpers.parity import MISTAKES, PRECISIONS, Comparison, computing, float64, mistaken, shifted
from helpers.paths import STORED
from helpers.threads import one_thread
from numpy.typing import NDArray

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.common import checkpoints
from sambench.models.families.focalclick import COMBINED
from sambench.models.interactive import focalclick, focalclick_weights
from sambench.models.interactive.focalclick import Options
from sambench.models.interactive.focalclick_network import FocalClickNetwork, aligned
from sambench.models.interactive.focalclick_predictor import COARSE_CLICKS, FocalClickModel, focus_crop
from sambench.models.interactive.zoom_in import Crop
from sambench.plugins import options
from sambench.types import Prompts

__all__ = ["one_thread"]

THRESHOLD = 0.5
"""Above which a probability is foreground."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("focalclick")
    return {version: cases.checkpoint(folder / f"{version}.pth", "b0", version) for version in ("s1", "s2")}


@pytest.fixture(scope="module")
def models(files: dict[str, Path]) -> dict[str, FocalClickModel]:
    return {
        version: focalclick.load(f"focalclick_segformer_b0_{version}", Options(weights=str(path)), "cpu", 1)
        for version, path in files.items()
    }


@pytest.fixture(scope="module")
def official() -> dict[str, NDArray[Any]]:
    with np.load(STORED / "focalclick_official.npz") as held:
        return dict(held)


# The authors' answers ------------------------------------------------------------------------------------------------


def compare(
    file: Path, name: str, official: dict[str, NDArray[Any]], precision: str, count: int, mistake: str = ""
) -> Comparison:
    """After each of the first ``count`` clicks of a case."""
    case = cases.CASES[name]
    comparison = Comparison({"maps": official[f"{name}_rounding"]} if precision == "float32" else {})
    model = focalclick.load(f"focalclick_segformer_b0_{case.version}", Options(weights=str(file)), "cpu", 1)
    encoder = "feature_extractor.backbone"
    mistaken(model.networks, mistake, f"{encoder}.block2.0.norm1", f"{encoder}.block3.1.mlp.fc1.bias")
    view = model.encode([shifted(picture(*case.size), mistake)])[0]
    expected, crops, areas = (official[f"{name}_{part}"] for part in ("probabilities", "crops", "areas"))
    assert expected.std() > 0.1, "a flat map would make this comparison empty"
    assert len(expected) == case.clicks
    for n, prediction in enumerate(answers(view, cases.clicks(case.size, count))):
        memory = prediction.feedback([(0, 0)])[0]
        seen, focus = crops[n]
        comparison.equal("crops", (memory.crop or Crop.whole(case.size)) == _inclusive(seen))
        comparison.equal("crops", memory.focus == _inclusive(focus))
        ours = prediction.probabilities(0)
        comparison.values("maps", ours[:: cases.STRIDE, :: cases.STRIDE], expected[n])
        mask = prediction.masks([(0, 0)])[0]
        comparison.pixels("maps", mask.dense()[:: cases.STRIDE, :: cases.STRIDE], expected[n], THRESHOLD)
        comparison.area("maps", mask.area, int(areas[n]), ours, THRESHOLD)
    return comparison


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", list(cases.CASES))
def test_probabilities_and_crops_equal_the_official_ones(
    files: dict[str, Path], official: dict[str, NDArray[Any]], name: str, precision: str
) -> None:
    case = cases.CASES[name]
    with computing(precision):
        found = compare(files[case.version], name, official, precision, case.clicks)
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(files: dict[str, Path], official: dict[str, NDArray[Any]], mistake: str) -> None:
    with float64():
        found = compare(files["s1"], "s1", official, "float64", 1, mistake)
    assert found.worst > 2


def _inclusive(box: NDArray[Any]) -> Crop:
    """Of the authors' rows and columns, the last ones excluded."""
    return Crop(int(box[0]), int(box[1]) - 1, int(box[2]), int(box[3]) - 1)


def test_the_comparison_has_all_branches_at_work(official: dict[str, NDArray[Any]]) -> None:
    crops = official["s1_crops"]
    assert any((seen != focus).any() for seen, focus in crops[1:]), "a focus crop within the crop"
    assert len({tuple(seen) for seen in crops[:, 0].tolist()}) > 4, "a crop that moves"
    # No object is left at the second click: the third sees the whole image and writes into the crop of the second.
    assert official["s1_areas"][1] == 0
    assert (crops[2, 0] == crops[1, 0]).all()
    assert len(official["s2_crops"]) > COARSE_CLICKS


# The refiner's crop --------------------------------------------------------------------------------------------------


def _box(size: tuple[int, int], top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
    out = np.zeros(size, np.bool_)
    out[top:bottom, left:right] = True
    return out


WHOLE = Crop(0, 99, 0, 199)


def test_at_the_first_click_the_crop_holds_the_object() -> None:
    """Rows 20 to 39: centre 29.5, 20·1.4 = 28 long: from 15.5 to 43.5, cut to 15 and 43, the last one excluded.
    Columns 50 to 99: centre 74.5, 70 long: 39.5 to 109.5."""
    predicted = _box((100, 200), 20, 40, 50, 100)
    assert focus_crop(predicted, np.zeros_like(predicted), WHOLE, (30, 70), 1.4) == Crop(15, 42, 39, 108)


def test_later_the_crop_holds_what_changed_around_the_click() -> None:
    """Added: rows 20 to 39 of columns 100 to 149: as tall as the object, and half as wide. 125.0 - 0.5 is the centre,
    70 the length: 89.5 to 159.5. Something that changed elsewhere does not count."""
    before = _box((100, 200), 20, 40, 50, 100)
    predicted = before | _box((100, 200), 20, 40, 100, 150) | _box((100, 200), 80, 90, 2, 30)
    predicted[80:90] = False
    predicted |= _box((100, 200), 60, 64, 60, 64)
    assert focus_crop(predicted, before, WHOLE, (30, 120), 1.4) == Crop(15, 42, 89, 158)


def test_a_small_change_is_seen_in_a_square_around_the_click() -> None:
    """The object spans 79 rows (10 to 89) and 99 columns; the change one of 4 pixels. 0.2·99 = 19.8 each way, 39.6 + 1
    long, times 1.4: 56.84: rows 50 ± 28.42, columns 100 ± 28.42."""
    before = _box((100, 200), 10, 90, 50, 150)
    predicted = before & ~_box((100, 200), 48, 52, 98, 102)
    assert focus_crop(predicted, before, WHOLE, (50, 100), 1.4) == Crop(21, 77, 71, 127)


def test_the_crop_stays_in_what_was_seen_or_there_is_none() -> None:
    before = _box((100, 200), 10, 90, 50, 150)
    predicted = before & ~_box((100, 200), 48, 52, 98, 102)
    assert focus_crop(predicted, before, Crop(40, 60, 90, 110), (50, 100), 1.4) == Crop(40, 60, 90, 110)
    # A click far from it, where next to nothing changed: the authors' code stops there.
    predicted[5, 5] = True
    assert focus_crop(predicted, before, Crop(80, 99, 150, 199), (5, 5), 1.4) == Crop(80, 99, 150, 199)
    predicted[5, 5:20] = True
    assert focus_crop(predicted, before, Crop(80, 99, 150, 199), (5, 5), 1.4) is None


def test_aligned_samples_bin_centres() -> None:
    """A ramp of 8 columns whose value is the column's centre: the box from 2 to 6 has bins of half a pixel, whose
    centres lie at 2.25, 2.75, ...; coordinates count from the first pixel's centre, 0.5."""
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    out = aligned(ramp, torch.tensor([[0.0, 8.0, 2.0, 6.0]]))
    assert torch.allclose(out[0, 0, 3], 2.25 - 0.5 + 0.5 * torch.arange(8.0))
    assert torch.equal(aligned(ramp, torch.tensor([[0.0, 8.0, 0.0, 8.0]])), ramp)
    edge = aligned(ramp, torch.tensor([[0.0, 8.0, 0.0, 1.0]]))[0, 0, 0]
    assert edge[0] == 0, "nothing lies before the first centre"


def test_a_prompt_does_not_depend_on_the_others(models: dict[str, FocalClickModel]) -> None:
    view = models["s1"].encode([picture(120, 160)])[0]
    points = np.array([[(40, 40), (50, 45)], [(90, 70), (60, 100)]], np.float32)
    labels = np.ones((2, 2), np.int64)
    fed = view.predict(Prompts(points[:, :1], labels[:, :1]), multimask=False).feedback([(0, 0), (1, 0)])
    both = view.predict(Prompts(points, labels, mask_logits=fed), multimask=False)
    for i in range(2):
        part = slice(i, i + 1)
        alone = view.predict(Prompts(points[part], labels[part], mask_logits=fed[part]), multimask=False)
        assert alone.probabilities(0).tobytes() == both.probabilities(i).tobytes()


def test_prompts_together_change_next_to_nothing(files: dict[str, Path], models: dict[str, FocalClickModel]) -> None:
    name = "focalclick_segformer_b0_s1"
    together = focalclick.load(name, Options(weights=str(files["s1"]), prompt_batch=3), "cpu", 1)
    points = np.array([[(40, 40)], [(90, 70)], [(20, 100)]], np.float32)
    prompts = Prompts(points, np.ones((3, 1), np.int64))
    a, b = (m.encode([picture(120, 160)])[0].predict(prompts, multimask=False) for m in (models["s1"], together))
    for i in range(3):
        assert np.abs(a.probabilities(i) - b.probabilities(i)).max() < 1e-4


# Checkpoints ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "version"), [("b0", "s1"), ("b0", "s2"), ("b3", "s2")])
def test_released_sizes_are_told_by_their_tensors(size: str, version: str) -> None:
    """Names and shapes of the authors' code, on the meta device; the counts are those of the cards."""
    widths, depths, mixed = cases.SIZES[size]
    with torch.device("meta"):
        network = FocalClickNetwork(focalclick_weights.Sizes(widths, depths, mixed, version == "s1"))
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    idle = ("maps_transform.", "refiner.feature_gate.")
    assert own == {key: shape for key, shape in cases.shapes(size).items() if not key.startswith(idle)}
    card = zoo.ZOO[f"focalclick_segformer_{size}_{version}"]
    assert sum(math.prod(value.shape) for value in network.parameters()) == card.parameters


def _message(path: Path, name: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        focalclick.locate(name, Options(weights=str(path)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_s1_and_s2_are_told_by_the_configuration(files: dict[str, Path], tmp_path: Path) -> None:
    for version, path in files.items():
        assert focalclick.recognise(checkpoints.find(str(path))) == f"focalclick_segformer_b0_{version}"
    message = _message(files["s1"], "focalclick_segformer_b0_s2")
    assert "holds weights of focalclick_segformer_b0_s1, not of focalclick_segformer_b0_s2" in message
    plain = tmp_path / "plain.pth"
    torch.save(cases.weights(cases.shapes("b0")), plain)
    assert "does not say whether it is S1 or S2" in _message(plain)
    assert focalclick.locate("focalclick_segformer_b0_s1", Options(weights=str(plain))).name.endswith("b0_s1")


def test_another_size_names_both(files: dict[str, Path]) -> None:
    message = _message(files["s2"], "focalclick_segformer_b3_s2")
    assert "holds weights of focalclick_segformer_b0_s2, not of focalclick_segformer_b3_s2" in message


@pytest.mark.parametrize(
    ("name", "seen"),
    [("segformerB0_S2_comb.pth", COMBINED), ("segformerB0_S2_cclvs.pth", {"coco", "lvis"}),
     ("segformerB0_S2_sbd.pth", {"sbd"}), ("last_checkpoint.pth", None)],
)  # fmt: skip
def test_training_data_by_the_authors_names(tmp_path: Path, files: dict[str, Path], name: str, seen: Any) -> None:
    path = tmp_path / name
    path.symlink_to(files["s2"])
    assert focalclick.locate(None, Options(weights=str(path))).trained_on == seen


def test_what_is_no_focalclick_on_segformer(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"patch_embed_coords.proj.weight": torch.zeros(1)}, other)
    assert focalclick.recognise(checkpoints.find(str(other))) is None
    assert "not a FocalClick checkpoint: it holds patch_embed_coords" in _message(other)
    refiner = {f"refiner.refine_{part}.weight": torch.zeros(1) for part in ("pred", "trimap")}
    torch.save({"state_dict": {**refiner, "feature_extractor.conv1.weight": torch.zeros(1)}}, other)
    assert "another encoder than SegFormer's" in _message(other, "focalclick_segformer_b0_s1")
    with pytest.raises(UsageError, match="sambench show model focalclick_segformer_b3_s2"):
        focalclick.locate("focalclick_segformer_b3_s2", Options())
    binary = cases.checkpoint(tmp_path / "binary.pth", "b0", "s2", binary_prev_mask=True)
    assert "binary one, is not supported" in _message(binary)


@pytest.mark.parametrize("values", [{"threshold": 0.0}, {"infer_size": 250}, {"focus_expansion": 0.5}])
def test_options_out_of_range(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"^model.{next(iter(values))}="):
        options.build(Options, values, "model")
