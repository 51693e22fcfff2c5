"""Number of clicks: RITM's metric by hand, whole interactions as its own code made them, and runs from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers.paths import STORED
from numpy.typing import NDArray

from sambench import masks
from sambench.errors import UsageError
from sambench.plugins import options
from sambench.protocols.click_loop import Policy, click_through
from sambench.suite.tasks.noc import PLUGIN as NumberOfClicks
from sambench.suite.tasks.noc import THRESHOLDS, clicks_until
from sambench.types import Click, Context, GroundTruth, Instance, Mask, Prompts, Sample

Call = Callable[..., CompletedProcess[str]]
RITM = json.loads((STORED / "ritm_noc.json").read_text())
CONTEXT = Context("toy", 0, frozenset({"points"}))


class Painter:
    """The painter of docs/parity/ritm_noc.md as a view: its answer follows from truth and clicks alone."""

    def __init__(self, truth: NDArray[np.bool_], radius: int, spill: int) -> None:
        self.truth, self.radius, self.spill = truth, radius, spill
        self.calls: list[int] = []

    def predict(self, prompts: Prompts, *, multimask: bool) -> _Painted:
        assert prompts.points is not None
        assert prompts.labels is not None
        self.calls.append(len(prompts))
        return _Painted([self.paint(*one) for one in zip(prompts.points, prompts.labels, strict=True)])

    def paint(self, points: NDArray[Any], labels: NDArray[Any]) -> Mask:
        painted = np.zeros(self.truth.shape, bool)
        rows, columns = np.indices(self.truth.shape)
        for (x, y), positive in zip(points, labels, strict=True):
            near = (rows - y) ** 2 + (columns - x) ** 2
            if positive:
                painted |= (near <= self.spill**2) | (self.truth & (near <= self.radius**2))
            else:
                painted &= self.truth | (near > self.radius**2)
        return Mask.from_dense(painted)


class _Painted:
    def __init__(self, answers: Sequence[Mask]) -> None:
        self.answers, self.scores = answers, np.zeros((len(answers), 1), np.float32)

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        return [self.answers[n] for n, _ in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> None:
        return None


def sample(truth: Sequence[Mask], void: Mask | None = None) -> Sample:
    size = truth[0].size
    known = GroundTruth([Instance(str(n), mask) for n, mask in enumerate(truth)], void)
    return Sample("img", size, lambda: np.zeros((*size, 3), np.uint8), lambda: known)


def decoded(case: dict[str, Any], what: str) -> Mask:
    return masks.from_rle({"size": case["size"], "counts": case[what]})


def test_interactions_equal_ritm() -> None:
    """Every click and every IoU of 60 interactions by RITM's evaluate_sample, half of which stop at 90 %."""
    assert {case["stop"] for case in RITM["cases"]} == {0.9, 1.01}
    for case in RITM["cases"]:
        truth, void = decoded(case, "truth"), decoded(case, "void")
        one = sample([truth], void)
        view = Painter(truth.dense(), case["radius"], case["spill"])
        (got,) = click_through(one.truth.instances, one, view, CONTEXT, Policy(20, enough=case["stop"]))
        assert got.clicks == [Click(*click) for click in case["clicks"]]
        made = len(case["ious"])
        # RITM keeps float32.
        assert np.array(got.ious[:made], np.float32).tolist() == case["ious"]
        assert got.ious[made:] == [got.ious[made - 1]] * (20 - made)


def padded(case: dict[str, Any]) -> list[float]:
    return case["ious"] + [case["ious"][-1]] * (20 - len(case["ious"]))


def test_the_metric_equals_ritm() -> None:
    """compute_noc_metric on the same IoUs: of each object, the means, and how many are at the limit."""
    ious = np.array([padded(case) for case in RITM["cases"]])
    for k, threshold in enumerate(THRESHOLDS):
        noc = clicks_until(ious, threshold / 100)
        assert noc.tolist() == [case["noc"][k] for case in RITM["cases"]]
        assert noc.mean() == pytest.approx(RITM["noc"][k], abs=1e-12)
        assert int((noc == 20).sum()) == RITM["at_limit"][k]


def test_clicks_until_by_hand() -> None:
    ious = np.array(
        [
            [0.2, 0.85, 0.99, 0.99],  # reached with the second click, exactly
            [0.9, 0.1, 0.1, 0.1],  # the first time counts, whatever comes later
            [0.1, 0.2, 0.3, 0.85],  # with the last
            [0.1, 0.2, 0.3, 0.84],  # never: counts as many as there were
        ]
    )
    assert clicks_until(ious, 0.85).tolist() == [2, 1, 4, 4]
    # 17 of 20 pixels; and RITM compares as float32, where an IoU a hair below is the same number.
    assert clicks_until(np.array([[17 / 20], [0.85 - 1e-9], [0.85 - 1e-6]]), 0.85).tolist() == [1, 1, 1]
    assert clicks_until(np.array([[0.85 - 1e-6, 0.0]]), 0.85).tolist() == [2]


def summary_of(curves: Sequence[Sequence[float]], images: Sequence[str], **changes: Any) -> Any:
    task = NumberOfClicks(NumberOfClicks.Options(**changes))
    blank = {"dataset": "toy", "height": 9, "width": 9, "attributes": [], "clicks": [], "score": [], "time_ms": 0.0}
    rows = [
        {**blank, "image_id": image, "instance_id": str(n), "class": "cat", "area": 40, "iou": list(curve)}
        for n, (curve, image) in enumerate(zip(curves, images, strict=True))
    ]
    return task.summarize(pa.Table.from_pylist(rows, schema=task.schema), CONTEXT)


def test_summary_by_hand() -> None:
    scores = summary_of([[0.5, 0.95, 0.95], [0.82, 0.82, 0.86], [0.1, 0.3, 0.91]], ["a", "a", "b"], max_clicks=3)
    value = {name: metric.value for name, metric in scores.metrics.items()}
    # NoC@80: 2, 1, 3; NoC@85: 2, 3, 3; NoC@90: 2, never (3), 3.
    assert value["noc@80"] == pytest.approx(2)
    assert value["noc@85"] == pytest.approx(8 / 3)
    assert value["noc@90"] == pytest.approx(8 / 3)
    # The third gets there with the last click: at the limit, as RITM counts, but reached.
    assert [value[f"never_reached@{t}"] for t in THRESHOLDS] == pytest.approx([0, 0, 1 / 3])
    assert [value[f"at_limit@{t}"] for t in THRESHOLDS] == [1, 2, 2]
    assert value["miou@1"] == pytest.approx((0.5 + 0.82 + 0.1) / 3)
    assert value["miou@3"] == pytest.approx((0.95 + 0.86 + 0.91) / 3)
    assert "miou@5" not in value
    curve = scores.curves["iou_by_clicks"]
    assert curve["clicks"] == [1, 2, 3]
    assert curve["miou"] == pytest.approx([1.42 / 3, 2.07 / 3, 2.72 / 3])
    assert {name: m.unit for name, m in scores.metrics.items() if m.unit != "fraction"} == {
        **{f"noc@{t}": "clicks" for t in THRESHOLDS},
        **{f"at_limit@{t}": "masks" for t in THRESHOLDS},
    }
    # s of 2, 3, 3 is sqrt(1/3): half of the interval is 1.96 sqrt(1/3) / sqrt(3) = 1.96 / 3.
    low, high = scores.metrics["noc@90"].ci95
    assert (high - low) / 2 == pytest.approx(1.96 / 3)
    assert scores.metrics["noc@90"].ci95_bootstrap is not None
    assert scores.breakdowns["class"]["cat"]["noc@90"].value == value["noc@90"]
    assert scores.breakdowns["size"]["small"]["noc@85"].unit == "clicks"
    assert next(iter(scores.metrics)) == NumberOfClicks.primary


def test_summary_of_nothing_is_undefined() -> None:
    scores = summary_of([], [])
    assert {metric.value for metric in scores.metrics.values()} == {None}


SIZE = (20, 30)


def block(left: int, right: int) -> Mask:
    return Mask.from_window(SIZE, 0, left, np.ones((20, right - left)))


def test_those_that_are_good_enough_are_clicked_no_more() -> None:
    # Radius 8 reaches all of the 4x4 block with one click; its disk of 197 pixels is less than half of the 22x20 one.
    easy, hard = Mask.from_window(SIZE, 0, 0, np.ones((4, 4))), block(8, 30)
    one = sample([easy, hard])
    view = Painter(easy.dense() | hard.dense(), 8, 0)
    view.paint = lambda points, labels: Mask.from_dense(  # type: ignore[method-assign]
        Painter.paint(view, points, labels).dense() & (easy if points[0][0] < 8 else hard).dense()
    )
    measured = NumberOfClicks(NumberOfClicks.Options(max_clicks=6)).measure(one, view, CONTEXT)
    first, second = measured.rows
    assert len(first["clicks"]) == 1
    assert first["iou"] == [1.0] * 6
    assert 1 < len(second["clicks"]) <= 6
    assert all(iou < 0.9 for iou in second["iou"][: len(second["clicks"]) - 1])
    assert view.calls[:2] == [2, 1]


def test_all_clicks_goes_on_and_changes_no_noc() -> None:
    case = next(case for case in RITM["cases"] if case["stop"] == 0.9 and 2 < len(case["clicks"]) < 10)
    one = sample([decoded(case, "truth")], decoded(case, "void"))
    found = []
    for all_clicks in (False, True):
        view = Painter(decoded(case, "truth").dense(), case["radius"], case["spill"])
        task = NumberOfClicks(NumberOfClicks.Options(all_clicks=all_clicks))
        (row,) = task.measure(one, view, CONTEXT).rows
        found.append((len(row["clicks"]), clicks_until(np.array([row["iou"]]), 0.9)[0]))
    assert found[0][1] == found[1][1] == len(case["clicks"])
    assert found[1][0] > found[0][0]


def test_what_a_model_feeds_back_may_be_any_sequence() -> None:
    """An object for each prompt, of which those still clicked are given back in their order."""
    seen: list[Any] = []

    class Remembers(Painter):
        def predict(self, prompts: Prompts, *, multimask: bool) -> _Painted:
            seen.append(prompts.mask_logits)
            answer = super().predict(prompts, multimask=multimask)
            answer.feedback = lambda chosen: [("state", n) for n, _ in chosen]  # type: ignore[method-assign]
            return answer

    truth = [block(0, 4), block(8, 30)]
    view = Remembers(truth[0].dense() | truth[1].dense(), 11, 0)
    one = sample(truth)
    context = Context("toy", 0, frozenset({"points", "masks"}))
    list(click_through(one.truth.instances, one, view, context, Policy(2)))
    assert seen == [None, [("state", 0), ("state", 1)]]


def test_stored_predictions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stored predictions cannot be scored"):
        NumberOfClicks(NumberOfClicks.Options()).read_predictions(tmp_path / "answers.json")


@pytest.mark.parametrize("option", ["max_clicks", "min_area"])
def test_options_are_at_least_one(option: str) -> None:
    with pytest.raises(UsageError, match=rf"task\.{option}=0: must be an integer, at least 1$"):
        options.build(NumberOfClicks.Options, {option: "0"}, "task")


def test_the_signature_says_every_choice() -> None:
    def signature(**changes: Any) -> str:
        return NumberOfClicks(NumberOfClicks.Options(**changes)).signature

    assert signature() == "point:edt-pad1|max:20|stop:90|mask:top-score|later:single+logits|v:1"
    changes: list[dict[str, Any]] = [
        {"max_clicks": 10},
        {"all_clicks": True},
        {"feed_mask": False},
        {"later_multimask": True},
        {"min_area": 2},
    ]
    assert len({signature(**change) for change in changes} | {signature()}) == 6


def test_run_of_two_models_and_their_report(sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    given = ["-t", "noc", "-d", f"mask_pngs:{toy_data}", "--set", "task.max_clicks=3"]
    done = sambench_cli("run", *given, "-m", f"{toy_model},region_tree", "--out", tmp_path)
    assert "noc@90 (clicks)" in done.stdout
    assert "NoC@90 (clicks), each model minus Toy@" in done.stdout
    page = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "### NoC@90 (clicks)" in page
    assert "| never\\_reached@90 |" in page
    figures = {path.name for path in (tmp_path / "report" / "figures").iterdir()}
    assert figures == {"deltas_1.svg", "clicks_1.svg"}


def test_run_on_the_demo(sambench_cli: Call, tmp_path: Path) -> None:
    sambench_cli("run", "-t", "noc", "-d", "demo", "--limit", 1, "--out", tmp_path, code=1)
    (path,) = tmp_path.glob("noc/demo/*/summary.json")
    metrics = json.loads(path.read_text())["metrics"]
    # A stricter threshold takes at least as many clicks and is reached at most as often.
    assert 1 <= metrics["noc@80"]["value"] <= metrics["noc@85"]["value"] <= metrics["noc@90"]["value"] <= 20
    assert 0 <= metrics["never_reached@80"]["value"] <= metrics["never_reached@90"]["value"] < 1
    assert metrics["miou@1"]["value"] < metrics["miou@20"]["value"]
