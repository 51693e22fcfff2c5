"""RITM's parts by hand-computed cases, its checkpoints, what is refused, and the model through the command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ritm_cases
from helpers.ritm_cases import as_prompts
from torch import nn

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.common import checkpoints
from sambench.models.interactive import ritm, ritm_weights
from sambench.models.interactive.click_maps import GridClick, discs, flipped
from sambench.models.interactive.click_predictor import ClickModel
from sambench.models.interactive.hrnet import folded
from sambench.models.interactive.zoom_in import Crop, ZoomIn, box_of, clicks_in, overlap
from sambench.plugins import options
from sambench.types import Prompts

TINY = "ritm_hrnet4s_ocr4"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ritm_cases.checkpoint(tmp_path_factory.mktemp("ritm") / "tiny.pth", "tiny")


def model(path: Path, **options: Any) -> ClickModel:
    return ritm.load(TINY, ritm.Options(weights=str(path), zoom_size=96, zoom_min_size=40, **options), "cpu", 1)


# Discs ---------------------------------------------------------------------------------------------------------------


def test_a_disc_of_radius_five_has_81_pixels() -> None:
    # Lattice points with x² + y² <= 25: 1 + 4·5 on the axes, 4·15 inside the quadrants (5 + 4 + 4 + 3 rows of x = 1..4
    # less the one too many: y up to 4, 4, 4, 3 = 15).
    maps = discs([GridClick(10, 12, True)], (21, 25), 5)
    assert maps.shape == (2, 21, 25)
    assert maps.dtype == torch.float32
    assert maps.sum((1, 2)).tolist() == [81, 0]
    assert maps[0, 5, 12] == maps[0, 10, 7] == maps[0, 13, 16] == 1
    assert maps[0, 4, 12] == maps[0, 14, 16] == 0


def test_discs_are_cut_at_the_border_and_joined() -> None:
    maps = discs([GridClick(0, 0, False), GridClick(0, 1, False), GridClick(3, -20, True)], (4, 9), 2)
    # Around (0, 0): 3 in row 0, 2 in row 1, 1 in row 2; (0, 1) adds one to each of the three and column 1 of row 2.
    assert maps[1].int().tolist()[:3] == [
        [1, 1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert maps[0].sum() == 0


def test_a_click_left_of_and_above_the_input_is_no_click() -> None:
    """The reference takes (-1, -1) for no click, by the larger of the two."""
    assert discs([GridClick(-0.5, -0.5, True)], (9, 9), 5).sum() == 0
    assert discs([GridClick(-0.5, 0, True)], (9, 9), 5).sum() > 0


def test_flipping_clicks_flips_discs() -> None:
    clicks = [GridClick(3, 2, True), GridClick(7, 13, False)]
    assert torch.equal(discs(flipped(clicks, 20), (12, 20), 5), discs(clicks, (12, 20), 5).flip(2))


# ZoomIn --------------------------------------------------------------------------------------------------------------


def test_the_crop_around_an_object() -> None:
    # Rows 100..299: centre 199.5, 1.4·200 = 280, hence 59.5 and 339.5, rounded to even: 60 and 340. Columns 300..309:
    # 14 is less than 200, hence 304.5 ∓ 100 = 204.5, 404.5: 204 and 404.
    assert ZoomIn().around(Crop(100, 299, 300, 309), [], (500, 500)) == (60, 340, 204, 404)
    # A positive click at row 250, column 20 widens the box to rows 100..250, columns 20..309: 175 ∓ 105.7, rounded 69
    # and 281; 164.5 ∓ 203, clamped and 367.5, rounded 368. A negative click does nothing.
    clicks = [GridClick(250, 20, True), GridClick(400, 400, False)]
    assert ZoomIn().around(Crop(100, 199, 300, 309), clicks, (500, 500)) == (69, 281, 0, 368)


def test_the_crop_stays_unless_it_has_to_move() -> None:
    size, box, zoom = (1000, 1000), Crop(400, 499, 400, 499), ZoomIn()
    near, far = [GridClick(450, 450, True)] * 2, [GridClick(450, 450, True), GridClick(900, 900, True)]
    first = zoom.crop(size, near, box, None)
    assert first == (350, 550, 350, 550)  # 449.5 ∓ 100 = 349.5, 549.5, rounded to even
    assert zoom.crop(size, near, box, Crop(340, 540, 350, 550)) == (340, 540, 350, 550)
    assert zoom.crop(size, near[:1], box, first) is None  # The first click sees the whole image.
    assert zoom.crop(size, near, None, first) is None  # Nothing was found.
    # Overlap below a half: rows 350..550 of 201 within 100..900 of 801.
    assert zoom.crop(size, near, box, Crop(100, 900, 350, 550)) == first
    moved = zoom.crop(size, far, box, first)
    assert moved is not None
    assert moved != first
    # The last row of the crop in use does not hold a click.
    edge = [GridClick(450, 450, True), GridClick(550, 450, True)]
    assert zoom.crop(size, edge, box, first) != first
    assert ZoomIn(skip_clicks=-1).crop(size, near[:1], None, None) == (0, 999, 0, 999)


def test_overlap_multiplies_rows_and_columns() -> None:
    assert overlap(Crop(0, 9, 0, 9), Crop(0, 9, 0, 9)) == 1
    assert overlap(Crop(0, 9, 0, 9), Crop(5, 14, 0, 9)) == pytest.approx(5 / 15)
    assert overlap(Crop(0, 9, 0, 9), Crop(5, 14, 5, 14)) == pytest.approx(1 / 9)
    assert overlap(Crop(0, 9, 0, 9), Crop(10, 14, 0, 9)) == 0


def test_crops_are_resized_by_their_long_side() -> None:
    assert ZoomIn().input_size(Crop(0, 199, 0, 99)) == (400, 200)
    assert ZoomIn().input_size(Crop(0, 0, 0, 999)) == (1, 400)
    assert ZoomIn(target=(448, 448)).input_size(Crop(0, 199, 0, 99)) == (448, 448)
    # Row 30 is the 20th of 200 that become 400.
    assert clicks_in(Crop(10, 209, 0, 99), (400, 200), [GridClick(30, 1, True)]) == [(40, 2, True)]


def test_box_of_a_region() -> None:
    region = torch.zeros((5, 6), dtype=torch.bool)
    assert box_of(region) is None
    region[1, 2] = region[3, 4] = True
    assert box_of(region, 10, 20) == (11, 13, 22, 24)


# The network ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ritm_hrnet18", "ritm_hrnet18s", "ritm_hrnet32"])
def test_cards_count_the_parameters(name: str) -> None:
    shapes = ritm_cases.shapes(name)
    learned = [s.numel() for key, s in shapes.items() if "running" not in key and "num_batches" not in key]
    assert zoo.ZOO[name].parameters == sum(learned)


def test_every_norm_is_folded_and_nothing_changes(tiny: Path) -> None:
    network, _ = ritm_weights.network(checkpoints.find(str(tiny)))
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand((1, n, 40, 52), generator=generator) for n in (3, 1, 2)]
    with torch.inference_mode():
        before = network(*maps)
        folded(network)
        after = network(*maps)
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert float((before - after).abs().max()) < 1e-4
    assert before.std() > 0.1


# Checkpoints ---------------------------------------------------------------------------------------------------------


def refused(path: Path, name: str | None = None) -> str:
    options = ritm.Options(weights=str(path))
    with pytest.raises(UsageError) as caught:
        ritm.load(ritm.locate(name, options).name, options, "cpu", 1)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["ritm_hrnet18s"])
def test_the_released_sizes_are_told_by_their_configuration(tmp_path: Path, name: str) -> None:
    path = tmp_path / "any.pth"
    state = {key: torch.zeros(()).expand(shape) for key, shape in ritm_cases.shapes(name).items()}
    torch.save({"state_dict": state, "config": ritm_cases.config(name)}, path)
    assert ritm.recognise(checkpoints.find(str(path))) == name
    found = zoo.locate(str(path), {})
    assert (found.name, found.trained_on) == (name, None)
    assert f"holds weights of {name}, not of ritm_hrnet32" in refused(path, "ritm_hrnet32")


@pytest.mark.parametrize(
    ("file", "model_name", "expected"),
    [
        ("coco_lvis_h18s_itermask.pth", "ritm_hrnet18s", {"coco", "lvis"}),
        ("coco_lvis_h32_itermask.pth", "ritm_hrnet32", {"coco", "lvis"}),
        ("sbd_h18_itermask.pth", "ritm_hrnet18", {"sbd"}),
        ("sbd_h18_itermask.pth", "ritm_hrnet32", None),
        ("mine.pth", "ritm_hrnet32", None),
    ],
)
def test_the_authors_file_names_say_what_was_seen(
    tmp_path: Path, file: str, model_name: str, expected: set[str] | None
) -> None:
    path = tmp_path / file
    path.write_bytes(b"")
    assert ritm_weights.trained_on(checkpoints.find(str(path)), model_name) == expected


def test_the_configuration_has_to_be_one_of_ritm(tmp_path: Path, tiny: Path) -> None:
    held = torch.load(tiny, weights_only=True)

    def with_config(**changed: Any) -> Path:
        path = tmp_path / "other.pth"
        torch.save({**held, "config": ritm_cases.config("tiny", **changed)}, path)
        return path

    assert "use_disks=False is not supported" in refused(with_config(use_disks=False))
    assert "conv_extend=True is not supported" in refused(with_config(conv_extend=True))
    assert "arguments that RITM's models do not: depth" in refused(with_config(depth=3))
    assert "cannot be read" in refused(with_config(norm_mean_std=([1, 2], [1, 2])))
    # Another width than the tensors have.
    assert "tensor" in refused(with_config(width=8))
    path = tmp_path / "deeplab.pth"
    torch.save({**held, "config": {"class": "isegm.model.is_deeplab_model.DeeplabModel", "params": {}}}, path)
    assert "'DeeplabModel'" in refused(path, "ritm_hrnet32")
    assert ritm.recognise(checkpoints.find(str(path))) is None
    torch.save({**held, "config": {**held["config"], "params": 3}}, path)
    assert "arguments as RITM's do" in refused(path)
    torch.save(held["state_dict"], path)
    assert "has a state_dict and a config" in refused(path, "ritm_hrnet18")
    assert ritm.recognise(checkpoints.find(str(path))) is None
    more = {**held["state_dict"], "refiner.weight": torch.zeros(1)}
    torch.save({**held, "state_dict": more}, path)
    assert ritm.recognise(checkpoints.find(str(path))) is None
    del more["refiner.weight"], more["maps_transform.3.scale"]
    torch.save({**held, "state_dict": more}, path)
    assert "1 missing (maps_transform.3.scale)" in refused(path)


def test_without_weights_the_message_says_which_file() -> None:
    with pytest.raises(UsageError, match=r"coco_lvis_h32_itermask\.pth"):
        ritm.locate("ritm_hrnet32", ritm.Options())


@pytest.mark.parametrize(
    ("key", "value"),
    [("threshold", 1.0), ("zoom_threshold", 0.0), ("zoom_size", 0), ("zoom_skip_clicks", 0), ("zoom_skip_clicks", -2),
     ("clicks_limit", -1), ("prompt_batch", -1), ("zoom_expansion", 0.5), ("zoom_min_size", 0)],
)  # fmt: skip
def test_options_out_of_range(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"^model\.{key}="):
        options.build(ritm.Options, {key: value}, "model")


# The model -----------------------------------------------------------------------------------------------------------

SIZE = (72, 110)


def test_prompts_do_not_depend_on_each_other_and_views_hold_no_state(tiny: Path) -> None:
    view = model(tiny).encode([ritm_cases.picture(*SIZE)])[0]
    one, two = ritm_cases.clicks(*SIZE)[:3], ritm_cases.clicks(*SIZE)[3:6]
    first = view.predict(as_prompts([one[:2], two[:2]]), multimask=True)
    assert first.scores.shape == (2, 1)
    assert first.scores.dtype == np.float32
    fed = first.feedback([(0, 0), (1, 0)])
    both = view.predict(as_prompts([one, two], fed), multimask=False)
    # In another order, alone, and after other calls: the same to the bit.
    alone = view.predict(as_prompts([two], fed[[1]]), multimask=False)
    assert np.array_equal(alone.probabilities(0), both.probabilities(1))
    assert alone.scores[0] == both.scores[1]
    assert alone.masks([(0, 0)])[0].area == both.masks([(1, 0)])[0].area
    fresh = view.predict(as_prompts([two]), multimask=False)
    assert not np.array_equal(fresh.probabilities(0), alone.probabilities(0))


def test_batches_of_prompts_change_next_to_nothing(tiny: Path) -> None:
    image = ritm_cases.picture(*SIZE)
    clicks = ritm_cases.clicks(*SIZE)
    answers = []
    for batch in (1, 2):
        view = model(tiny, prompt_batch=batch).encode([image])[0]
        first = view.predict(as_prompts([clicks[:1], clicks[1:2], clicks[2:3]]), multimask=True)
        fed = first.feedback([(i, 0) for i in range(3)])
        second = view.predict(as_prompts([clicks[:2], clicks[1:3], clicks[2:4]], fed), multimask=False)
        answers.append([second.probabilities(i) for i in range(3)])
    for a, b in zip(*answers, strict=True):
        assert np.abs(a - b).max() < 1e-4


def test_score_is_the_mean_probability_of_the_mask(tiny: Path) -> None:
    view = model(tiny).encode([ritm_cases.picture(*SIZE)])[0]
    prediction = view.predict(as_prompts([ritm_cases.clicks(*SIZE)[:1]]), multimask=True)
    (mask,) = prediction.masks([(0, 0)])
    assert 0 < mask.area < SIZE[0] * SIZE[1]
    assert prediction.scores[0, 0] == pytest.approx(prediction.probabilities(0)[mask.dense()].mean(), abs=1e-5)
    none = model(tiny, threshold=0.9999).encode([ritm_cases.picture(*SIZE)])[0]
    empty = none.predict(as_prompts([ritm_cases.clicks(*SIZE)[:1]]), multimask=True)
    assert empty.masks([(0, 0)])[0].area == empty.scores[0, 0] == 0


def test_padding_labels_are_passed_over(tiny: Path) -> None:
    view = model(tiny).encode([ritm_cases.picture(*SIZE)])[0]
    padded = Prompts(np.array([[[30, 20], [0, 0]]], np.float32), np.array([[1, -1]], np.int64))
    plain = Prompts(np.array([[[30, 20]]], np.float32), np.array([[1]], np.int64))
    a, b = (view.predict(p, multimask=False).probabilities(0) for p in (padded, plain))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 300), (200, 3)])
def test_extreme_shapes(tiny: Path, size: tuple[int, int]) -> None:
    view = model(tiny).encode([ritm_cases.picture(*size)])[0]
    fed = None
    for n in (1, 2, 3):
        prediction = view.predict(as_prompts([[(size[1] - 1, size[0] - 1, True)] * n], fed), multimask=False)
        fed = prediction.feedback([(0, 0)])
        assert prediction.probabilities(0).shape == size
        assert np.isfinite(prediction.probabilities(0)).all()


def test_boxes_text_and_no_click_are_refused(tiny: Path) -> None:
    view = model(tiny).encode([ritm_cases.picture(*SIZE)])[0]
    with pytest.raises(ValueError, match="not boxes and not text"):
        view.predict(Prompts(boxes=np.zeros((1, 4), np.float32)), multimask=False)
    with pytest.raises(ValueError, match="no click"):
        view.predict(Prompts(np.zeros((1, 1, 2), np.float32), np.array([[-1]], np.int64)), multimask=False)
    none = Prompts(np.zeros((0, 1, 2), np.float32), np.zeros((0, 1), np.int64))
    assert view.predict(none, multimask=True).scores.shape == (0, 1)


# Through the command -------------------------------------------------------------------------------------------------

FEW = ["--threads", "1", "--set", "task.min_area=4000", "--set", "task.clicks=1,2", "--set", "model.zoom_size=64"]
"""Only the large objects of an image, and a small crop: what takes time is the network."""


def summary(out: Path) -> dict[str, Any]:
    (path,) = out.glob("single_point/demo/*/summary.json")
    held: dict[str, Any] = json.loads(path.read_text())
    return held


def test_a_file_in_the_authors_format_runs(
    sambench_cli: Callable[..., subprocess.CompletedProcess[str]], tiny: Path, tmp_path: Path
) -> None:
    run = ["run", "--task", "single_point", "--dataset", "demo", "--out", tmp_path]
    # What --limit leaves out is unfinished.
    done = sambench_cli(*run, "--model", tiny, "--limit", "2", "--set", "model.flip=false", *FEW, code=1)
    assert TINY in done.stdout
    held = summary(tmp_path)
    assert 0 <= held["metrics"]["miou"]["value"] <= 1
    assert held["metrics"]["miou@2"]["n"] > 0
    assert held["zero_shot"] == "unknown"


def test_by_name_with_weights(sambench_cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    path = ritm_cases.checkpoint(tmp_path / "coco_lvis_h18s_itermask.pth", "ritm_hrnet18s")
    run = ["run", "--task", "single_point", "--dataset", "demo", "--out", tmp_path / "out", "--limit", "1"]
    sambench_cli(*run, "--model", "ritm_hrnet18s", *FEW, "--set", f"model.weights={path}", code=1)
    held = summary(tmp_path / "out")
    assert held["metrics"]["miou@2"]["n"] > 0
    assert held["zero_shot"] == "yes"
