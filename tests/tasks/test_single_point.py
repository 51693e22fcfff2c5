"""The single point task against a scripted model: every rule of the protocol, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sambench.clicks import next_click
from sambench.errors import DataError, UsageError
from sambench.plugins import options
from sambench.suite.tasks import single_point
from sambench.suite.tasks.single_point import SinglePoint
from sambench.types import Click, Context, GroundTruth, Instance, Mask, MetricValue, Prompts, Sample

Options = SinglePoint.Options
CONTEXT = Context("toy", 0, frozenset({"points", "masks", "multimask"}))
SIZE = (20, 30)


def block(top: int, left: int, bottom: int, right: int) -> Mask:
    return Mask.from_window(SIZE, top, left, np.ones((bottom - top, right - left)))


def sample(*instances: Instance, void: Mask | None = None, dropped: dict[str, int] | None = None) -> Sample:
    truth = GroundTruth(instances, void, dropped=dropped or {})
    return Sample("img", SIZE, lambda: np.zeros((*SIZE, 3), np.uint8), lambda: truth)


class Scripted:
    """Answers each call with the next of a list of (masks, scores) for all prompts, and keeps what it was asked."""

    def __init__(self, *answers: Sequence[Sequence[tuple[Mask, float]]]) -> None:
        self.answers, self.asked = list(answers), []

    def predict(self, prompts: Prompts, *, multimask: bool) -> Any:
        self.asked.append((prompts, multimask))
        return _Answer(self.answers.pop(0), len(self.asked))


class _Answer:
    def __init__(self, answer: Sequence[Sequence[tuple[Mask, float]]], call: int) -> None:
        self.answer, self.call = answer, call
        self.scores = np.array([[score for _, score in one] for one in answer], np.float32)

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        return [self.answer[n][m][0] for n, m in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> np.ndarray:
        return np.array([[[100 * self.call + 10 * n + m]] for n, m in chosen], np.float32)


def measure(view: Scripted, one: Sample, **changes: Any) -> list[dict[str, Any]]:
    task = SinglePoint(Options(**changes))
    rows = task.measure(one, view, CONTEXT).rows
    return pa.Table.from_pylist(list(rows), schema=task.schema).to_pylist()


def test_one_click_takes_the_top_score_and_the_oracle_the_best() -> None:
    target = block(4, 4, 12, 16)  # 8 x 12 = 96 pixels
    half, twice = block(4, 4, 12, 10), block(4, 4, 20, 16)  # 48 inside; 192 with all 96 inside
    view = Scripted([[(half, 0.7), (target, 0.5), (twice, 0.9)]])
    (row,) = measure(view, sample(Instance("7", target, "block")), clicks=(1,))
    assert row["clicks"] == [{"x": 7, "y": 7, "positive": True}]
    assert row["chosen"] == 2
    assert row["iou"] == [96 / 192]
    assert row["candidate_iou"] == [48 / 96, 1.0, 96 / 192]
    assert row["oracle_iou"] == 1.0
    assert row["score"] == pytest.approx([0.9])
    assert (row["dataset"], row["image_id"], row["instance_id"], row["class"]) == ("toy", "img", "7", "block")
    assert (row["area"], row["height"], row["width"]) == (96, 20, 30)
    prompts, multimask = view.asked[0]
    assert multimask
    np.testing.assert_array_equal(prompts.points, [[[7, 7]]])
    np.testing.assert_array_equal(prompts.labels, [[1]])
    assert prompts.mask_logits is None


def test_equal_scores_take_the_first() -> None:
    a, b = block(0, 0, 4, 4), block(0, 0, 8, 8)
    (row,) = measure(Scripted([[(a, 0.5), (b, 0.5)]]), sample(Instance("1", b)), clicks=(1,))
    assert row["chosen"] == 0


def test_a_score_that_is_not_a_number_is_never_chosen() -> None:
    a, b = block(0, 0, 4, 4), block(0, 0, 8, 8)
    (row,) = measure(Scripted([[(a, float("nan")), (b, 0.1)]]), sample(Instance("1", b)), clicks=(1,))
    assert row["chosen"] == 1


def test_corrective_clicks_follow_the_chosen_mask_and_its_logits() -> None:
    target = block(4, 4, 12, 16)
    first, second = block(4, 4, 12, 8), block(4, 4, 12, 20)
    view = Scripted([[(target, 0.1), (first, 0.9)]], [[(second, 0.4)]], [[(target, 0.6)]])
    (row,) = measure(view, sample(Instance("1", target)), clicks=(1, 2, 3))
    clicks = [Click(**c) for c in row["clicks"]]
    # From the second on, the farthest pixel of the error region of the mask before, with RITM's rules.
    assert clicks[1] == next_click(target, first, clicks[:1])
    assert clicks[2] == next_click(target, second, clicks[:2])
    assert [c.positive for c in clicks] == [True, True, False]
    assert row["iou"] == [32 / 96, 96 / 128, 1.0]
    assert row["score"] == pytest.approx([0.9, 0.4, 0.6])
    assert row["oracle_iou"] == 1.0
    assert [multimask for _, multimask in view.asked] == [True, False, False]
    prompts = [p for p, _ in view.asked]
    np.testing.assert_array_equal(prompts[1].mask_logits, [[[101]]])  # call 1, prompt 0, candidate 1
    np.testing.assert_array_equal(prompts[2].mask_logits, [[[200]]])
    np.testing.assert_array_equal(prompts[2].points[0], [(c.x, c.y) for c in clicks])
    np.testing.assert_array_equal(prompts[2].labels, [[1, 1, 0]])


def test_a_perfect_mask_is_carried_forward() -> None:
    done, other = block(0, 0, 8, 8), block(10, 10, 18, 26)
    wrong = block(10, 10, 18, 18)
    view = Scripted([[(done, 0.9)], [(wrong, 0.8)]], [[(wrong, 0.7)]], [[(other, 0.6)]])
    rows = measure(view, sample(Instance("1", done), Instance("2", other)), clicks=(1, 2, 3))
    assert rows[0]["iou"] == [1.0, 1.0, 1.0]
    assert len(rows[0]["clicks"]) == 1
    assert rows[0]["score"] == pytest.approx([0.9, 0.9, 0.9])
    assert rows[1]["iou"] == [0.5, 0.5, 1.0]
    # Only the second instance was asked about again, with its own logits: call 1, prompt 1; then call 2, prompt 0.
    assert [len(p) for p, _ in view.asked] == [2, 1, 1]
    np.testing.assert_array_equal(view.asked[1][0].mask_logits, [[[110]]])
    np.testing.assert_array_equal(view.asked[2][0].mask_logits, [[[200]]])


def test_all_perfect_asks_nothing_more() -> None:
    view = Scripted([[(block(0, 0, 8, 8), 0.9)]])
    (row,) = measure(view, sample(Instance("1", block(0, 0, 8, 8))))
    assert row["iou"] == [1.0] * 9
    assert len(view.asked) == 1


def test_without_feedback_and_with_three_masks_later() -> None:
    target, wrong = block(0, 0, 8, 8), block(0, 0, 8, 4)
    view = Scripted([[(wrong, 0.9)]], [[(wrong, 0.1), (target, 0.8)]])
    (row,) = measure(view, sample(Instance("1", target)), clicks=(1, 2), feed_mask=False, later_multimask=True)
    assert row["iou"] == [0.5, 1.0]
    assert view.asked[1][0].mask_logits is None
    assert view.asked[1][1]


def test_a_model_without_mask_prompts_gets_none() -> None:
    target, wrong = block(0, 0, 8, 8), block(0, 0, 8, 4)
    view = Scripted([[(wrong, 0.9)]], [[(target, 0.8)]])
    task = SinglePoint(Options(clicks=(1, 2)))
    task.measure(sample(Instance("1", target)), view, Context("toy", 0, frozenset({"points"})))
    assert view.asked[1][0].mask_logits is None


def test_an_empty_prediction_scores_zero_and_is_clicked_on() -> None:
    target = block(4, 4, 12, 16)
    view = Scripted([[(Mask.empty(SIZE), 0.9)]], [[(target, 0.9)]])
    (row,) = measure(view, sample(Instance("1", target)), clicks=(1, 2))
    assert row["iou"] == [0.0, 1.0]
    # The centre is taken; the next farthest pixel, first in row order, is beside it.
    assert row["clicks"][1] == {"x": 8, "y": 7, "positive": True}


def test_void_counts_neither_in_clicks_nor_in_iou() -> None:
    target, void = block(0, 0, 10, 20), block(0, 10, 20, 30)
    view = Scripted([[(block(0, 0, 20, 30), 0.9)]])
    (row,) = measure(view, sample(Instance("1", target), void=void), clicks=(1,))
    assert row["clicks"] == [{"x": 4, "y": 4, "positive": True}]
    assert row["iou"] == [100 / 200]


def test_crowd_empty_void_and_small_masks_are_excluded_and_counted() -> None:
    kept = Instance("1", block(0, 0, 8, 8))
    others = [
        Instance("2", block(0, 0, 9, 9), crowd=True),
        Instance("3", Mask.empty(SIZE)),
        Instance("4", block(15, 15, 18, 18)),
        Instance("5", block(10, 0, 11, 3)),
    ]
    one = sample(kept, *others, void=block(14, 14, 20, 30), dropped={"empty_mask": 2})
    measured = SinglePoint(Options(clicks=(1,), min_area=4)).measure(one, Scripted([[(kept.mask, 1.0)]]), CONTEXT)
    assert [r["instance_id"] for r in measured.rows] == ["1"]
    assert measured.excluded == {"crowd": 1, "empty_mask": 3, "all_void": 1, "below_min_area": 1}


def test_a_sample_without_a_valid_mask_is_excluded_as_a_whole() -> None:
    task = SinglePoint(Options())
    assert task.excludes(sample(Instance("1", block(0, 0, 2, 2), crowd=True))) == "no_valid_mask"
    assert task.excludes(sample(Instance("1", block(0, 0, 2, 2)))) == ""


def test_random_first_click_differs_by_instance_and_seed_only_at_the_first() -> None:
    target = block(0, 0, 20, 30)
    instances = [Instance(str(i), target) for i in range(5)]
    seen = []
    for seed in (0, 1):
        half = block(0, 0, 20, 15)
        view = Scripted([[(half, 0.9)] for _ in instances], [[(target, 0.9)] for _ in instances])
        task = SinglePoint(Options(clicks=(1, 2), first_click="random"))
        rows = task.measure(sample(*instances), view, Context("toy", seed, CONTEXT.capabilities)).rows
        seen.append([tuple(r["clicks"][0].values()) for r in rows])
        for row in rows:
            first = [Click(**row["clicks"][0])]
            assert Click(**row["clicks"][1]) == next_click(target, half, first)
    assert len(set(seen[0])) > 1
    assert seen[0] != seen[1]


def test_many_instances_go_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_point, "GROUP", 2)
    masks = [block(i, 0, i + 3, 9) for i in range(5)]
    view = Scripted(*[[[(m, 0.5)] for m in masks[i : i + 2]] for i in (0, 2, 4)])
    rows = measure(view, sample(*[Instance(str(i), m) for i, m in enumerate(masks)]), clicks=(1,))
    assert [len(p) for p, _ in view.asked] == [2, 2, 1]
    assert [r["iou"] for r in rows] == [[1.0]] * 5
    assert [r["instance_id"] for r in rows] == list("01234")


def summary_of(rows: Sequence[dict[str, Any]], **changes: Any) -> Any:
    task = SinglePoint(Options(**changes))
    blank = {
        "dataset": "toy",
        "height": 20,
        "width": 30,
        "annotated_area": None,
        "attributes": [],
        "clicks": [],
        "chosen": 0,
        "score": [0.5],
        "candidate_iou": [0.5],
        "candidate_score": [0.5],
        "time_ms": 1.0,
    }
    return task.summarize(pa.Table.from_pylist([{**blank, **r} for r in rows], schema=task.schema), CONTEXT)


def test_summary_is_the_mean_over_masks_not_images() -> None:
    rows = [
        {"image_id": "a", "instance_id": "1", "class": "cat", "area": 100, "iou": [0.2, 0.4], "oracle_iou": 0.5},
        {"image_id": "a", "instance_id": "2", "class": "cat", "area": 1024, "iou": [0.4, 0.6], "oracle_iou": 0.5},
        {"image_id": "a", "instance_id": "3", "class": None, "area": 9216, "iou": [0.6, 0.6], "oracle_iou": 0.9},
        {"image_id": "b", "instance_id": "1", "class": "dog", "area": 9217, "iou": [1.0, 1.0], "oracle_iou": 1.0},
    ]
    scores = summary_of(rows, clicks=(1, 2))
    # (.2 + .4 + .6 + 1) / 4 = .55 over masks; over images it would be (.4 + 1) / 2 = .7.
    assert scores.metrics["miou"].value == pytest.approx(0.55)
    assert scores.metrics["miou@2"].value == pytest.approx(0.65)
    assert scores.metrics["oracle_miou"].value == pytest.approx(0.725)
    assert scores.n_masks == 4
    # s = sqrt((.35² + .15² + .05² + .45²) / 3) = .341565; 1.96 s / 2 = .334734.
    assert scores.metrics["miou"].ci95 == pytest.approx((0.55 - 0.334734, 0.55 + 0.334734), abs=1e-6)
    low, high = scores.metrics["miou"].ci95_bootstrap
    assert low == pytest.approx(0.4)
    assert high == pytest.approx(1.0)
    # COCO's bins: below 32² = 1024 small, from 1024 to 96² = 9216 medium, above large.
    assert {k: v["miou"].n for k, v in scores.breakdowns["size"].items()} == {"small": 1, "medium": 2, "large": 1}
    assert scores.breakdowns["class"]["cat"]["miou"].value == pytest.approx(0.3)
    assert set(scores.breakdowns["class"]) == {"cat", "dog"}


def test_records_carry_the_attributes_that_are_one_value() -> None:
    attributes = {"b": "x", "a": 3, "c": True, "d": np.float32(0.5), "none": None, "list": [1], "nan": float("nan")}
    instance = Instance("1", block(0, 0, 8, 8), attributes=attributes)
    (row,) = measure(Scripted([[(instance.mask, 0.9)]]), sample(instance), clicks=(1,))
    assert row["attributes"] == [("a", "3"), ("b", "x"), ("c", "true"), ("d", "0.5")]


def with_attributes(ious: Sequence[float], **attributes: Sequence[str | None]) -> list[dict[str, Any]]:
    """One mask an image; IoU after the third click is 1."""
    return [
        {
            "image_id": str(n),
            "instance_id": "1",
            "class": None,
            "area": 100,
            "iou": [iou, iou, 1.0],
            "oracle_iou": iou,
            "attributes": [(name, values[n]) for name, values in attributes.items() if values[n] is not None],
        }
        for n, iou in enumerate(ious)
    ]


def test_attributes_of_few_values_are_broken_down() -> None:
    ious = [0.1, 0.2, 0.3, 0.7, 0.8, 0.9, 0.5]
    age = ["old", "old", "old", "young", "young", "young", None]
    scores = summary_of(with_attributes(ious, age=age, track=list("1122334"), one=["x"] * 7), clicks=(1, 2, 3))
    # Numbers (track ids) and what is the same everywhere are no cut.
    assert set(scores.breakdowns) == {"size", "class", "age", "age: intervals apart"}
    cut = scores.breakdowns["age"]
    # The mask of unknown age is in no group.
    assert {group: set(metrics) for group, metrics in cut.items()} == {g: {"miou", "miou@3"} for g in ("old", "young")}
    assert cut["old"]["miou"].value == pytest.approx(0.2)
    assert (cut["old"]["miou"].n, cut["young"]["miou@3"].n) == (3, 3)
    # s = .1, 1.96 s / sqrt(3) = .113161.
    assert cut["young"]["miou"].ci95 == pytest.approx((0.8 - 0.113161, 0.8 + 0.113161), abs=1e-6)
    assert cut["young"]["miou"].ci95_bootstrap is not None
    # At 1 point [.087, .313] and [.687, .913] are apart by .2 - .8; at 3 points both are [1, 1].
    apart = scores.breakdowns["age: intervals apart"]
    assert set(apart) == {"old vs young"}
    assert set(apart["old vs young"]) == {"miou"}
    assert apart["old vs young"]["miou"].value == pytest.approx(-0.6)
    assert apart["old vs young"]["miou"].n == 6
    # The cuts leave the metrics as they were.
    assert scores.metrics == summary_of(with_attributes(ious), clicks=(1, 2, 3)).metrics


def test_intervals_that_overlap_are_not_said_to_be_apart() -> None:
    ious = [0.1, 0.2, 0.9, 0.15, 0.25, 0.95, 0.5]
    kind = ["a", "a", "a", "b", "b", "b", "c"]
    breakdowns = summary_of(with_attributes(ious, kind=kind), clicks=(1, 2, 3)).breakdowns
    # One mask of kind c has no interval.
    assert set(breakdowns["kind"]) == {"a", "b", "c"}
    assert breakdowns["kind: intervals apart"] == {}


def test_intervals_that_touch_overlap() -> None:
    low, high = MetricValue(0.2, 9, ci95=(0.1, 0.3)), MetricValue(0.4, 9, ci95=(0.3, 0.5))
    higher = MetricValue(0.6, 9, ci95=(0.51, 0.7))
    groups = {"a": {"miou": low}, "b": {"miou": high}, "c": {"miou": higher}}
    assert set(single_point._apart(groups)) == {"a vs c", "b vs c"}


def test_attributes_that_are_named_are_broken_down_whatever_they_are() -> None:
    rows = with_attributes([0.1, 0.2, 0.3], track=["7", "8", "9"], size=["s", "l", "l"], age=["a", "a", "b"])
    breakdowns = summary_of(rows, clicks=(1, 2, 3), by=("track", "size", "nobody has it")).breakdowns
    assert "age" not in breakdowns
    assert set(breakdowns["track"]) == {"7", "8", "9"}
    assert set(breakdowns["size (attribute)"]) == {"l", "s"}
    assert set(breakdowns["size"]) == {"small"}
    assert breakdowns["nobody has it"] == {}


def test_attributes_of_many_values_are_left_alone() -> None:
    many = [f"v{n}" for n in range(13)]
    assert "name" in summary_of(with_attributes([0.5] * 12, name=many[:12]), clicks=(1,)).breakdowns
    assert "name" not in summary_of(with_attributes([0.5] * 13, name=many), clicks=(1,)).breakdowns


@pytest.mark.parametrize("by", ["", "a,,b", "a, b"])
def test_attributes_are_named_without_spaces(by: str) -> None:
    with pytest.raises(UsageError, match=r"task\.by=.*no spaces around it"):
        options.build(Options, {"by": by}, "task")


def test_summary_of_nothing_is_undefined() -> None:
    scores = summary_of([])
    assert set(scores.metrics) == {"miou", "miou@2", "miou@3", "miou@5", "miou@9", "oracle_miou"}
    assert all(m.value is None and m.ci95 is None and m.n == 0 for m in scores.metrics.values())


def test_stored_masks_take_the_highest_score_and_the_best_as_oracle() -> None:
    target = block(4, 4, 12, 16)
    answers = {"1": [(block(4, 4, 12, 10), 0.9), (target, 0.2)], "2": [(target, float("nan"))]}
    one = sample(Instance("1", target), Instance("2", target))
    rows = SinglePoint(Options()).score(one, answers, CONTEXT).rows
    assert [(r["iou"], r["oracle_iou"], r["chosen"]) for r in rows] == [([0.5], 1.0, 0), ([1.0], 1.0, 0)]
    assert set(summary_of([dict(r) for r in rows]).metrics) == {"miou", "oracle_miou"}


def test_stored_masks_must_be_there_and_fit() -> None:
    one = sample(Instance("1", block(4, 4, 12, 16)))
    with pytest.raises(DataError, match="no predicted mask for annotation 1 of image img"):
        SinglePoint(Options()).score(one, {}, CONTEXT)
    with pytest.raises(DataError, match="is 3x2, the image is 30x20"):
        SinglePoint(Options()).score(one, {"1": [(Mask.empty((2, 3)), 1.0)]}, CONTEXT)


@pytest.mark.parametrize("clicks", ["2,3", "1,1", "3,1", ""])
def test_clicks_must_rise_from_one(clicks: str) -> None:
    with pytest.raises(UsageError, match=r"task\.clicks=.*: must be integers, separated by commas, rising from 1$"):
        options.build(Options, {"clicks": clicks}, "task")


def test_the_signature_says_every_choice() -> None:
    assert SinglePoint(Options()).signature == "point:edt-pad1|n:1,2,3,5,9|mask:top-score|later:single+logits|v:1"
    changed = SinglePoint(Options(first_click="random", feed_mask=False, later_multimask=True, min_area=9)).signature
    assert changed == "point:random-then-edt-pad1|n:1,2,3,5,9|mask:top-score|later:multi|minarea:9|v:1"
