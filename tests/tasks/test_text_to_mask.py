"""The task ``text_to_mask``: what is asked, figures computed by hand, points, masks made elsewhere, and runs from the
command line."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers.coco_entries import annotation, compressed, content, dense, image
from helpers.layouts import refcoco
from helpers.tiny_datasets import photo
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sambench import score as scoring
from sambench.errors import DataError, UsageError
from sambench.metrics import phrases
from sambench.models.common.wrapper import ModelAnswerError, PredictorModel
from sambench.planning.settings import Settings
from sambench.plugins import registry
from sambench.plugins.options import build
from sambench.protocols.phrases import union
from sambench.readers.predictions import phrases as phrase_results
from sambench.runs.directory import read_records
from sambench.types import Context, GroundTruth, Instance, Mask, Prompts, Sample

Call = Callable[..., subprocess.CompletedProcess[str]]
Task = registry.load("tasks", "text_to_mask")
SIZE = (20, 40)
CONTEXT = Context("toy", 0, frozenset({"text", "points"}))
NOT_THE_PAPERS = "not the paper's model: its text-aware SAM (section 7.5) was never released, and the paper gives no"


def task(**values: Any) -> Any:
    return Task(build(Task.Options, values, "task"))


def box(x0: int, y0: int, x1: int, y1: int) -> Mask:
    return Mask.from_dense(dense(*SIZE, (x0, y0, x1, y1)))


def one(id: str, mask: Mask, name: str | None = "cat", **more: Any) -> Instance:
    return Instance(id, mask, class_name=name, **more)


def sample(*instances: Instance, id: str = "7", void: Mask | None = None, **attributes: Any) -> Sample:
    return Sample(id, SIZE, lambda: photo(*SIZE), lambda: GroundTruth(instances, void), attributes)


def dataset(**categories: int) -> Any:
    """What :meth:`prepare` looks at."""
    return type("Named", (), {"categories": {number: name for name, number in categories.items()}})()


Candidates = Sequence[tuple[Mask, float, bool]]
"""Mask, score, instance."""


@dataclass
class Reader:
    """A view that answers each phrase with what it is told; to a phrase with a point, the mask at that point."""

    said: Mapping[str, Candidates]
    presence: Mapping[str, float] | None = None
    notes: Mapping[str, str] | None = None
    at_point: Mapping[tuple[int, int], Mask] | None = None

    def __post_init__(self) -> None:
        self.asked: list[Prompts] = []

    def predict(self, prompts: Prompts, *, multimask: bool) -> Any:
        self.asked.append(prompts)
        assert prompts.text is not None
        if prompts.points is not None:
            xy = [(int(x), int(y)) for x, y in prompts.points[:, 0]]
            return _Read([[((self.at_point or {})[at], 0.5, True)] for at in xy], [0.0] * len(xy), [""] * len(xy))
        texts = prompts.text
        return _Read(
            [self.said[text] for text in texts],
            [(self.presence or {}).get(text, 0.0) for text in texts],
            [(self.notes or {}).get(text, "") for text in texts],
        )


class _Read:
    def __init__(self, answers: Sequence[Candidates], presence: Sequence[float], notes: Sequence[str]) -> None:
        width = max([1, *map(len, answers)])
        padded = [[*found, *[(Mask.empty(SIZE), 0.0, False)] * (width - len(found))] for found in answers]
        self.answers, self.notes = padded, notes
        self.scores = np.array([[score for _, score, _ in found] for found in padded], np.float32)
        self.instances = np.array([[sure for _, _, sure in found] for found in padded])
        self.presence = np.array(presence, np.float32)

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        return [self.answers[n][m][0] for n, m in which]


def measured(made: Any, samples: Sequence[Sample], view: Any) -> pa.Table:
    rows = [row for one in samples for row in made.measure(one, view, CONTEXT).rows]
    return pa.Table.from_pylist(rows, schema=made.schema)


def values(made: Any, records: pa.Table) -> dict[str, float | None]:
    return {name: metric.value for name, metric in made.summarize(records, CONTEXT).metrics.items()}


def column(records: pa.Table, name: str) -> list[Any]:
    return list(records.column(name).to_pylist())


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_one_query_for_each_class_of_an_image() -> None:
    cats = [one("1", box(0, 0, 10, 10)), one("3", box(20, 0, 30, 10))]
    queries, left_out = task().asking.queries(sample(cats[0], one("2", box(0, 10, 5, 20), "dog_(animal)"), cats[1]))
    assert [(q.id, q.phrase, [i.id for i in q.instances], q.truth.area) for q in queries] == [
        ("cat", "cat", ["1", "3"], 200),
        ("dog (animal)", "dog (animal)", ["2"], 50),
    ]
    assert queries[0].truth.box == (0, 0, 30, 10)
    assert not +left_out
    # Synonyms, as ADE20K has them; the template; and two classes of one phrase are one query.
    named = sample(one("1", box(0, 0, 2, 2), "car, auto, machine"), one("2", box(4, 0, 6, 2), " car"))
    queries, _ = task(template="a photo of a {}").asking.queries(named)
    assert [(q.phrase, q.class_name, q.truth.area) for q in queries] == [("a photo of a car", "car, auto, machine", 8)]


def test_instance_truth_asks_for_each_object() -> None:
    cats = [one("1", box(0, 0, 10, 10)), one("3", box(20, 0, 30, 10))]
    queries, _ = task(truth="instance").asking.queries(sample(*cats))
    assert [(q.id, q.phrase, q.truth.area) for q in queries] == [("1", "cat", 100), ("3", "cat", 100)]
    assert [q.annotated is None for q in queries] == [False, True]


def test_what_is_left_out_is_counted() -> None:
    void = box(30, 0, 40, 20)
    truth = [
        one("1", box(0, 0, 10, 10)),
        one("2", box(0, 0, 40, 5), crowd=True),
        one("3", box(32, 0, 36, 4), "dog"),
        one("4", box(0, 15, 4, 20), None),
        one("5", box(0, 15, 4, 20), " "),
        one("6", box(5, 15, 9, 20), "cup", class_id=9),
        one("7", box(10, 15, 12, 20), "sheep", crowd=True),
    ]
    image = sample(*truth, void=void, not_exhaustive_category_ids=[9])
    queries, left_out = task().asking.queries(image)
    assert [q.id for q in queries] == ["cat"]
    assert left_out == {"crowd": 2, "all_void": 1, "no_phrase": 2, "not_exhaustive": 1}
    # The crowd of the same class counts for nothing where no single cat is: 40 x 5 less 10 x 5, and the void.
    assert queries[0].void is not None
    assert queries[0].void.area == 150 + 10 * 15
    # Each of several is asked for all the same, and then a crowd is no excuse.
    queries, left_out = task(truth="instance").asking.queries(image)
    assert [q.id for q in queries] == ["1", "6"]
    assert "not_exhaustive" not in left_out
    assert queries[0].void is void


def test_expressions_are_queries_where_there_are_any() -> None:
    referred = one("1", box(0, 0, 10, 10), attributes={"expressions": ("left  cat", " ", "la gata", "猫")})
    image = sample(referred, one("2", box(20, 0, 30, 10)))
    queries, left_out = task().asking.queries(image)
    assert [(q.id, q.kind, q.phrase) for q in queries] == [
        ("1/0", "expression", "left cat"),
        ("1/2", "expression", "la gata"),
        ("1/3", "expression", "猫"),
    ]
    assert left_out == {"no_phrase": 1}
    assert [q.id for q in task(phrases="class").asking.queries(image)[0]] == ["cat"]
    assert task(phrases="expression").excludes(sample(one("2", box(20, 0, 30, 10)))) == "no_phrase"
    assert task().excludes(sample(one("2", box(20, 0, 30, 10), None))) == "no_phrase"
    assert task().excludes(sample()) == "no_phrase"


def test_negatives_follow_from_seed_image_and_class_alone() -> None:
    made = task(negatives=2)
    made.prepare(dataset(cat=1, dog=2, cup=3, bus=4, sheep=5), "toy")
    image = sample(one("1", box(0, 0, 5, 5)), one("2", box(9, 9, 12, 12), "sheep", crowd=True))

    def drawn(made: Any, image: Sample, seed: int = 0) -> list[str]:
        queries, _ = made._queries(image, replace(CONTEXT, seed=seed))
        return [q.phrase for q in queries if q.kind == "absent"]

    # By hand: those of the smallest sha256 of seed, dataset, image and phrase.
    ranked = sorted(["dog", "cup", "bus"], key=lambda name: hashlib.sha256(f"0\0toy\0007\0{name}".encode()).digest())
    assert drawn(made, image) == ranked[:2]
    more = task(negatives=9)
    more.prepare(dataset(sheep=5, bus=4, cup=3, dog=2, cat=1), "toy")
    assert drawn(more, image) == ranked
    assert {tuple(drawn(made, replace(image, id=str(k)))) for k in range(20)} != {tuple(ranked[:2])}
    assert {tuple(drawn(made, image, seed)) for seed in range(20)} != {tuple(ranked[:2])}
    # LVIS says which classes were looked for and not found.
    assert drawn(more, sample(one("1", box(0, 0, 5, 5)), neg_category_ids=[3, 1])) == ["cup"]
    # An image of nothing can be asked what it does not show.
    assert made.excludes(sample()) == ""
    assert len(drawn(made, sample())) == 2


def test_negatives_need_names() -> None:
    made = task(negatives=1)
    unnamed = type("Unnamed", (), {"card": type("Card", (), {"classes": ()}), "categories": None})()
    with pytest.raises(UsageError, match=r"dataset toy does not name its classes.*leave task\.negatives at 0"):
        made.prepare(unnamed, "toy")
    task().prepare(unnamed, "toy")
    unnamed.card.classes = ("cat", "dog")
    made.prepare(unnamed, "toy")
    assert [known.phrase for known in made._known] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"template": "a photo"}, "task.template=a photo: must be a text, with one {}"),
        ({"template": "{} and {}"}, "must be a text, with one {}"),
        ({"negatives": "-1"}, "task.negatives=-1: must be an integer, at least 0"),
        ({"presence": "nan"}, "task.presence=nan: must be a number, finite"),
        ({"truth": "panoptic"}, "task.truth=panoptic: must be one of: semantic, instance"),
        ({"phrases": "captions"}, "task.phrases=captions: must be one of: auto, class, expression"),
    ],
)
def test_options_that_make_no_sense(wrong: Mapping[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        task(**wrong)


def test_the_signature_names_everything() -> None:
    assert task().signature == "masks:text|phrases:auto|truth:semantic|answer:union|presence:model|negatives:0|v:1"
    chosen = {"phrases": "class", "template": "a {}", "truth": "instance", "negatives": "3", "presence": ".5"}
    assert task(**chosen, with_point="true").signature == (
        "masks:text|phrases:class|template:a {}|truth:instance|answer:first|presence:>=0.5|negatives:3|"
        "point:edt-pad1-first|v:1"
    )
    assert task().requires == {"text"}
    assert task(with_point="true").requires == {"text", "points"}


# --- figures by hand -------------------------------------------------------------------------------------------------

CATS = (one("1", box(0, 0, 10, 10)), one("2", box(20, 0, 30, 10)))
DOG = one("3", box(0, 10, 10, 20), "dog")


def test_union_against_union_by_hand() -> None:
    # Cats: both given out, the second half covered: intersection 100 + 50, union 200: 0.75. Dog: 9 of 10 columns and
    # a candidate that is not given out: 90 / 100. In the second image the cat is missed: rejected, 0 / 100.
    view = Reader(
        {
            "cat": [(box(0, 0, 10, 10), 0.9, True), (box(20, 0, 25, 10), 0.8, True), (box(30, 10, 40, 20), 0.1, False)],
            "dog": [(box(0, 10, 9, 20), 0.7, True), (box(0, 0, 40, 20), 0.2, False)],
        }
    )
    blind = Reader({"cat": [(box(0, 0, 10, 10), 0.3, False)]}, {"cat": -1.5})
    made = task()
    first = made.measure(sample(*CATS, DOG), view, CONTEXT).rows
    second = made.measure(sample(CATS[0], id="8"), blind, CONTEXT).rows
    records = pa.Table.from_pylist([*first, *second], schema=made.schema)
    assert column(records, "iou") == [0.75, 0.9, 0.0]
    assert column(records, "intersection") == [150, 90, 0]
    assert column(records, "union") == [200, 100, 100]
    assert column(records, "rejected") == [False, False, True]
    assert column(records, "given") == [2, 1, 0]
    assert column(records, "answer_area") == [150, 90, 0]
    assert column(records, "score") == pytest.approx([0.9, 0.7, 0.3])
    assert column(records, "presence") == [0.0, 0.0, -1.5]
    assert column(records, "instances") == [2, 1, 1]
    assert column(records, "instance_id") == [None, "3", "1"]
    found = values(made, records)
    assert found["miou"] == pytest.approx((0.75 + 0.9 + 0) / 3, abs=1e-12)
    assert found["ciou"] == pytest.approx((150 + 90 + 0) / (200 + 100 + 100), abs=1e-12)
    assert [found[f"p@{least}"] for least in (0.5, 0.7, 0.9)] == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    assert found["acceptance"] == pytest.approx(2 / 3)
    assert "rejection_accuracy" not in found
    scores = made.summarize(records, CONTEXT)
    assert {name: cut["miou"].value for name, cut in scores.breakdowns["class"].items()} == {"cat": 0.375, "dog": 0.9}
    assert scores.breakdowns["class"]["cat"]["ciou"].value == 150 / 300
    assert (scores.n_masks, scores.metrics["miou"].n) == (3, 3)
    assert scores.warnings[0].startswith(NOT_THE_PAPERS)
    cases = made.cases(records)
    assert list(zip(cases.images, cases.names, strict=True)) == [("7", "cat"), ("7", "dog"), ("8", "cat")]
    assert next(iter(cases.values)) == "miou"
    assert cases.values["miou"].tolist() == [0.75, 0.9, 0.0]


def test_crowds_and_void_count_for_nothing() -> None:
    view = Reader({"cat": [(box(0, 0, 40, 10), 0.9, True)]})
    crowd = one("9", box(20, 0, 40, 10), crowd=True)
    records = measured(task(), [sample(CATS[0], crowd, void=box(10, 0, 15, 20))], view)
    # The answer is 400 pixels: 200 are the crowd's, 50 void, 100 the cat's, 50 wrong.
    assert (column(records, "intersection"), column(records, "union")) == ([100], [150])


def test_absent_classes_by_hand() -> None:
    made = task(negatives=3)
    made.prepare(dataset(cat=1, dog=2, cup=3, bus=4), "toy")
    wrong = [(box(0, 0, 5, 5), 0.6, True)]
    view = Reader({"cat": [(CATS[0].mask, 0.9, True)], "dog": wrong, "cup": [(box(0, 0, 5, 5), 0.1, False)], "bus": []})
    records = measured(made, [sample(CATS[0])], view)
    assert {row["phrase"]: row["rejected"] for row in records.to_pylist()} == {
        "cat": False,
        "dog": False,
        "cup": True,
        "bus": True,
    }
    assert [row["iou"] for row in records.to_pylist()] == [1.0, None, None, None]
    scores = made.summarize(records, CONTEXT)
    assert scores.metrics["rejection_accuracy"].value == pytest.approx(2 / 3)
    assert (scores.metrics["rejection_accuracy"].n, scores.metrics["acceptance"].value) == (3, 1.0)
    assert (scores.metrics["miou"].value, scores.metrics["miou"].n, scores.n_masks) == (1.0, 1, 1)
    assert scores.breakdowns["class"]["dog"]["rejection_accuracy"].value == 0
    cases = made.cases(records)
    assert sorted(cases.names) == ["absent: bus", "absent: cup", "absent: dog", "cat"]
    assert np.isnan(cases.values["miou"]).sum() == 3
    assert np.nansum(cases.values["rejection_accuracy"]) == 2


def test_a_threshold_on_presence_takes_the_model_s_place() -> None:
    said = {"cat": [(box(0, 0, 5, 10), 0.9, False)], "dog": [(DOG.mask, 0.8, True)]}
    view = Reader(said, {"cat": 0.4, "dog": 0.3})
    rows = {
        least: measured(task(presence=least), [sample(CATS[0], DOG)], view).to_pylist() for least in (".2", ".4", ".5")
    }
    # Cat: the model itself rejects it; above the threshold its first candidate is the answer, half the cat.
    assert [row["iou"] for row in rows[".2"]] == [0.5, 1.0]
    assert [row["iou"] for row in rows[".4"]] == [0.5, 0.0]
    assert [row["rejected"] for row in rows[".5"]] == [True, True]
    nothing = measured(task(presence="-1"), [sample(CATS[0])], Reader({"cat": []})).to_pylist()[0]
    assert (nothing["rejected"], nothing["given"], nothing["iou"]) == (False, 0, 0.0)


def test_an_expression_is_answered_by_the_first_mask_even_of_a_model_that_rejects_it() -> None:
    referred = one("1", box(0, 0, 10, 10), attributes={"expressions": ("left cat", "cat")})
    view = Reader(
        {
            "left cat": [(box(0, 0, 7, 10), 0.9, False), (box(0, 0, 10, 10), 0.8, False)],
            "cat": [(box(0, 0, 9, 10), 0.9, True), (box(20, 0, 30, 10), 0.8, True)],
        }
    )
    made = task()
    records = measured(made, [sample(referred)], view)
    assert column(records, "iou") == [0.7, 0.9]
    assert column(records, "rejected") == [True, False]
    found = values(made, records)
    # IoU at the threshold reaches it.
    assert [found[f"p@{least}"] for least in (0.5, 0.7, 0.9)] == [1, 1, 0.5]
    assert "ap" not in found


def test_all_phrases_of_an_image_are_asked_at_once_and_each_once() -> None:
    view = Reader({"cat": [(CATS[0].mask, 0.9, True)], "dog": []})
    records = measured(task(truth="instance"), [sample(*CATS, DOG)], view)
    assert [list(prompts.text or ()) for prompts in view.asked] == [["cat", "dog"]]
    assert column(records, "iou") == [1.0, 0.0, 0.0]
    assert column(records, "query_id") == ["1", "2", "3"]


def test_notes_are_in_the_records_and_the_warnings() -> None:
    view = Reader({"cat": [(CATS[0].mask, 0.9, True)], "dog": []}, notes={"cat": "cut after 77 of 90 tokens"})
    made = task()
    records = measured(made, [sample(*CATS, DOG)], view)
    assert column(records, "note") == ["cut after 77 of 90 tokens", None]
    assert (
        "1 of 2 phrases were not taken as they stand, e.g. cut after 77 of 90 tokens"
        in made.summarize(records, CONTEXT).warnings
    )


# --- a point helps ---------------------------------------------------------------------------------------------------


def test_the_gain_of_a_point_by_hand() -> None:
    # Centre clicks: of 10 x 10 pixels at (x, y) the farthest from the border are 4 and 5 in, of which the first counts.
    at = {(4, 4): box(0, 0, 10, 10), (24, 4): box(20, 0, 29, 10), (4, 14): box(0, 10, 4, 20)}
    view = Reader({"cat": [(box(0, 0, 2, 10), 0.9, True)], "dog": [(box(0, 10, 5, 20), 0.9, True)]}, at_point=at)
    made = task(truth="instance", with_point="true")
    records = measured(made, [sample(*CATS, DOG)], view)
    assert column(records, "iou") == [0.2, 0.0, 0.5]
    assert column(records, "click") == [{"x": 4, "y": 4}, {"x": 24, "y": 4}, {"x": 4, "y": 14}]
    assert column(records, "point_iou") == [1.0, 0.9, 0.4]
    assert list(view.asked[1].text or ()) == ["cat", "cat", "dog"]
    found = values(made, records)
    assert found["gain_point"] == pytest.approx((0.8 + 0.9 - 0.1) / 3)
    assert found["miou_point"] == pytest.approx((1.0 + 0.9 + 0.4) / 3)
    assert found["miou_of_pointed"] == found["miou"] == pytest.approx(0.7 / 3)
    assert found["ciou_point"] == pytest.approx((100 + 90 + 40) / 300)
    # Two of three phrases fail alone, and the point helps both.
    scores = made.summarize(records, CONTEXT)
    assert (scores.metrics["helped_point"].value, scores.metrics["helped_point"].n) == (1.0, 2)
    assert made.cases(records).values["gain_point"] == pytest.approx([0.8, 0.9, -0.1])
    assert not [warning for warning in scores.warnings if "point" in warning]


def test_no_point_where_it_would_mean_one_of_several() -> None:
    view = Reader(
        {"cat": [(CATS[0].mask, 0.9, True)], "dog": [(box(0, 10, 5, 20), 0.9, True)]}, at_point={(4, 14): DOG.mask}
    )
    made = task(with_point="true")
    records = measured(made, [sample(*CATS, DOG)], view)
    assert column(records, "point_iou") == [None, 1.0]
    scores = made.summarize(records, CONTEXT)
    assert (scores.metrics["gain_point"].value, scores.metrics["gain_point"].n) == (0.5, 1)
    assert scores.metrics["miou_of_pointed"].value == 0.5
    assert any(warning.startswith("a point was added to 1 of 2 phrases") for warning in scores.warnings)
    assert len(measured(made, [sample(*CATS)], view)) == 1
    nothing = made.summarize(measured(made, [sample(*CATS)], view), CONTEXT).metrics
    assert (nothing["gain_point"].value, nothing["helped_point"].n) == (None, 0)


# --- average precision -----------------------------------------------------------------------------------------------


def test_false_alarms_cost_average_precision_by_hand() -> None:
    made = task(negatives=5)
    made.prepare(dataset(cat=1, dog=2), "toy")
    right = Reader({"cat": [(box(0, 0, 9, 10), 0.8, True)], "dog": []})
    wrong = Reader({"cat": [(box(0, 0, 9, 10), 0.9, True)], "dog": [(DOG.mask, 0.5, True)]})
    rows = [
        *made.measure(sample(CATS[0]), right, CONTEXT).rows,
        *made.measure(sample(DOG, id="8"), wrong, CONTEXT).rows,
    ]
    records = pa.Table.from_pylist(rows, schema=made.schema)
    found = made.summarize(records, CONTEXT)
    # Cat: the better of two masks is a false alarm, so precision is 1/2 at every recall, at the nine thresholds up to
    # 0.9; dog: 1 at all ten.
    assert found.metrics["ap50"].value == pytest.approx((0.5 + 1) / 2)
    assert found.metrics["ap"].value == pytest.approx((0.45 + 1) / 2)
    assert found.breakdowns["class"]["cat"]["ap"].value == pytest.approx(0.45)
    assert found.metrics["ap"].n == 2
    assert not any("negatives" in warning for warning in found.warnings)
    # Not asked for what is not there, the false alarm is not seen, and a warning says so.
    blind = task()
    seen = blind.summarize(measured(blind, [sample(CATS[0])], right), CONTEXT)
    assert seen.metrics["ap50"].value == pytest.approx(1)
    assert any("task.negatives asks for absent ones too" in warning for warning in seen.warnings)


def test_average_precision_is_pycocotools_own() -> None:
    rng = np.random.default_rng(7)
    names = {1: "cat", 2: "dog", 3: "cup"}
    images, annotations, detections, samples, views = [], [], [], [], []
    made = task(truth="instance", negatives=3)
    made.prepare(dataset(**{name: number for number, name in names.items()}), "toy")
    for n in range(12):
        images.append(image(n, f"{n}.jpg", *SIZE))
        instances, said = [], {name: [] for name in names.values()}
        for number, name in names.items():
            for _ in range(int(rng.integers(0, 3))):
                x, y, w, h = (int(v) for v in rng.integers((0, 0, 6, 6), (30, 12, 10, 8)))
                crowd = bool(rng.random() < 0.15) and bool(instances)
                mask = box(x, y, x + w, y + h)
                id = len(annotations) + 1
                instances.append(one(str(id), mask, name, crowd=crowd))
                annotations.append(
                    annotation(id, n, compressed(mask.dense()), number, iscrowd=int(crowd), area=mask.area)
                )
                found = box(x, y, x + w - int(rng.integers(0, 3)), y + h)
                said[name].append((found, float(np.float32(rng.random())), True))
            if rng.random() < 0.4:
                said[name].append((box(0, 0, 4, 4), float(np.float32(rng.random())), True))
        only_crowds = {i.class_name for i in instances} - {i.class_name for i in instances if not i.crowd}
        for number, name in names.items():
            said[name].sort(key=lambda candidate: -candidate[1])
            if name in only_crowds:
                continue
            detections += [
                {"image_id": n, "category_id": number, "segmentation": compressed(mask.dense()), "score": score}
                for mask, score, _ in said[name]
            ]
        # The toolkit has no way not to be asked about a class of which there is a crowd alone.
        annotations = [a for a in annotations if a["image_id"] != n or names[a["category_id"]] not in only_crowds]
        samples.append(sample(*instances, id=str(n)))
        views.append(Reader(said))
    rows = [row for one, view in zip(samples, views, strict=True) for row in made.measure(one, view, CONTEXT).rows]
    found = values(made, pa.Table.from_pylist(rows, schema=made.schema))
    judge = COCO()
    judge.dataset = content(images, annotations, names)
    judge.createIndex()
    evaluation = COCOeval(judge, judge.loadRes(detections), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert 0.1 < evaluation.stats[0] < 0.9
    assert found["ap"] == pytest.approx(evaluation.stats[0], abs=1e-9)
    assert found["ap50"] == pytest.approx(evaluation.stats[1], abs=1e-9)


def test_lvis_leaves_unmatched_masks_of_an_open_ended_class_alone() -> None:
    cat = one("1", box(0, 0, 10, 10), class_id=1)
    view = Reader({"cat": [(box(20, 0, 30, 10), 0.9, True), (cat.mask, 0.8, True)]})
    made = task(truth="instance")
    found = values(made, measured(made, [sample(cat, not_exhaustive_category_ids=[1], neg_category_ids=[])], view))
    assert found["ap"] == pytest.approx(1)
    found = values(made, measured(made, [sample(cat, not_exhaustive_category_ids=[], neg_category_ids=[])], view))
    assert found["ap"] == pytest.approx(0.5)


# --- metrics ---------------------------------------------------------------------------------------------------------

pixels = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50), st.sampled_from("abcd")), min_size=1, max_size=12)


@given(pixels, st.randoms(use_true_random=False))
def test_region_metrics_do_not_depend_on_the_order(made: list[tuple[int, int, str]], random: Any) -> None:
    def metrics(rows: Sequence[tuple[int, int, str]]) -> Any:
        inter, rest, images = zip(*rows, strict=True)
        return phrases.region_metrics(np.array(inter), np.array(inter) + np.array(rest), images, 3)

    shuffled = made.copy()
    random.shuffle(shuffled)
    first = metrics(made)
    assert metrics(shuffled) == first
    ious = [i / (i + r) for i, r, _ in made]
    for name in ("miou", "ciou"):
        assert min(ious) - 1e-12 <= first[name].value <= max(ious) + 1e-12
        low, high = first[name].ci95_bootstrap or (first[name].value, first[name].value)
        assert min(ious) - 1e-12 <= low <= high <= max(ious) + 1e-12
    assert (first["ciou"].ci95_bootstrap is None) == (len({image for _, _, image in made}) == 1)
    assert first["p@0.5"].value == sum(v >= 0.5 for v in ious) / len(ious)


def test_the_interval_of_ciou_by_brute_force() -> None:
    inter, whole = np.array([5, 90, 10, 40]), np.array([10, 100, 100, 50])
    metric = phrases.cumulative_iou(inter, whole, ["a", "b", "b", "c"], 11)
    assert metric.value == 145 / 260
    assert metric.ci95 is None
    sums = np.array([[5, 10], [100, 200], [40, 50]])
    rng = np.random.default_rng(11)
    drawn = np.array([sums[rng.integers(0, 3, 3)].sum(axis=0) for _ in range(10_000)])
    assert metric.ci95_bootstrap == pytest.approx(tuple(np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))))


def test_nothing_has_no_figure() -> None:
    nothing = np.zeros(0, np.int64)
    assert {m.value for m in phrases.region_metrics(nothing, nothing, [], 0).values()} == {None}
    assert phrases.iou(np.array([0]), np.array([0])).tolist() == [0.0]


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), max_size=4))
def test_union_of_windows_is_that_of_the_whole_masks(boxes: list[tuple[int, int, int, int]]) -> None:
    parts = [box(x, y, x + w, y + h) for x, y, w, h in boxes]
    expected = np.zeros(SIZE, np.bool_)
    for part in parts:
        expected |= part.dense()
    assert np.array_equal(union(parts, SIZE).dense(), expected)


# --- masks made elsewhere --------------------------------------------------------------------------------------------


def entry(image: Any, phrase: Any, mask: Mask | None, score: float | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "image_id": image,
        "phrase": phrase,
        "segmentation": None if mask is None else compressed(mask.dense()),
    }
    return made if score is None else {**made, "score": score}


def scored(made: Any, path: Path, entries: Any, image: Sample) -> Any:
    path.write_text(json.dumps(entries))
    given = made.read_predictions(path)
    return made.score(image, given.read(image.id), CONTEXT)


def test_masks_made_elsewhere_by_hand(tmp_path: Path) -> None:
    made = task()
    entries = [
        entry(7, "cat", box(20, 0, 25, 10), 0.2),
        entry("7", " cat ", box(0, 0, 10, 10), 0.9),
        entry(7, "dog", None),
        entry(7, "horse", box(0, 0, 1, 1)),
    ]
    found = scored(made, tmp_path / "x.json", entries, sample(*CATS, DOG))
    assert [(row["phrase"], row["iou"], row["rejected"], row["given"]) for row in found.rows] == [
        ("cat", 0.75, False, 2),
        ("dog", 0.0, True, 0),
    ]
    assert found.excluded == {"not_asked": 1}
    assert found.rows[0]["presence"] == 0.9
    assert made.signature.startswith("masks:given|")
    # With a threshold, and where each object is asked for: the mask of the highest score.
    strict = scored(task(presence=".95"), tmp_path / "x.json", entries[:3], sample(*CATS, DOG))
    assert [row["rejected"] for row in strict.rows] == [True, True]
    each = scored(task(truth="instance"), tmp_path / "x.json", entries[:3], sample(*CATS, DOG))
    assert [row["iou"] for row in each.rows] == [1.0, 0.0, 0.0]
    # Without scores there is no average precision.
    plain = task()
    unscored = scored(plain, tmp_path / "x.json", [entry(7, "cat", CATS[0].mask)], sample(CATS[0]))
    assert values(plain, pa.Table.from_pylist(unscored.rows, schema=plain.schema)).keys().isdisjoint({"ap", "ap50"})
    assert "ap" in values(made, pa.Table.from_pylist(found.rows, schema=made.schema))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "expected a list of entries, found dict"),
        ([1], "entry 0 is not an object with image_id, phrase and segmentation"),
        ([{"image_id": 7, "phrase": "cat"}], "entry 0 is not an object"),
        ([entry(None, "cat", None)], "entry 0 has no 'image_id'"),
        ([entry(7, "cat", None), entry(7, " ", None)], "entry 1 has no 'phrase', or an empty one"),
        ([entry(7, 3, None)], "entry 0 has no 'phrase'"),
        ([{**entry(7, "cat", None), "segmentation": [[1, 2]]}], "segmentation must be a run-length code"),
        ([entry(7, "cat", CATS[0].mask, float("inf"))], "not JSON"),
        ([entry(7, "cat", CATS[0].mask, 1e300)], "entry 0 has a score that is not a finite number"),
        ([entry(7, "cat", CATS[0].mask), entry(7, "cat", CATS[1].mask, 1)], "entry 1: phrase 'cat' of image 7 has sev"),
        ([entry(7, "cat", CATS[0].mask, 1), entry(7, "cat", None)], "each needs a mask and a score"),
    ],
)
def test_files_that_cannot_be_scored(entries: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(entries))
    with pytest.raises(UsageError, match=message) as caught:
        task().read_predictions(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


def test_options_that_ask_for_more_than_a_file_has(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([entry(7, "cat", CATS[0].mask)]))
    with pytest.raises(UsageError, match=r"entry 0 has no 'score', and task\.presence asks for one"):
        task(presence="0").read_predictions(tmp_path / "x.json")
    with pytest.raises(UsageError, match=r"task\.with_point asks a model again"):
        task(with_point="true").read_predictions(tmp_path / "x.json")


def test_images_that_cannot_be_scored(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="image 7: there is no entry for phrase 'dog'; where nothing was found"):
        scored(task(), tmp_path / "x.json", [entry(7, "cat", None)], sample(*CATS, DOG))
    small = Mask.from_dense(np.ones((4, 5), np.bool_))
    with pytest.raises(DataError, match="the mask for phrase 'cat' of image 7 is 5x4, the image is 40x20"):
        scored(task(), tmp_path / "x.json", [entry(7, "cat", small)], sample(*CATS))
    broken = {**entry(7, "cat", None), "segmentation": {"size": [20, 40], "counts": "0"}}
    with pytest.raises(DataError, match="entry 0, phrase 'cat' of image 7: run lengths add up to 0"):
        scored(task(), tmp_path / "x.json", [broken], sample(*CATS))


def test_what_is_kept_can_be_scored_again(tmp_path: Path) -> None:
    made = task(save_masks="true", with_point="true")
    view = Reader(
        {"cat": [(CATS[0].mask, 0.9, True)], "dog": [(box(0, 10, 5, 20), 0.9, True)]}, at_point={(4, 14): DOG.mask}
    )
    image = sample(*CATS, DOG)
    found = made.measure(image, view, CONTEXT)
    ((name, stored),) = found.files.items()
    assert name == "masks/7.json"
    entries = json.loads(stored)
    assert [(e["image_id"], e["phrase"], e["query_id"], e.get("point")) for e in entries] == [
        (7, "cat", "cat", None),
        (7, "dog", "dog", [4, 14]),
    ]
    assert entries[1]["point_segmentation"] == compressed(DOG.mask.dense())
    (tmp_path / "x.json").write_bytes(stored)
    again = task(save_masks="true")
    given = phrase_results.read_predictions(tmp_path / "x.json")
    scored_again = again.score(image, given.read("7"), CONTEXT)
    assert [row["iou"] for row in scored_again.rows] == [row["iou"] for row in found.rows]
    assert list(scored_again.files) == ["masks/7.json"]


# --- models of one's own ---------------------------------------------------------------------------------------------


class Phrases:
    """Answers as many masks as the phrase has words, each a pixel more; no word of it is known that begins with x."""

    def set_image(self, image: Any) -> None:
        self.size = image.shape[:2]

    def predict(self, text: str, point_coords: Any = None, point_labels: Any = None) -> Any:
        self.last = text, None if point_coords is None else point_coords.tolist()
        words = [word for word in text.split() if not word.startswith("x")]
        masks = np.zeros((len(words), *self.size), bool)
        for k in range(len(words)):
            masks[k, 0, : k + 1] = True
        return masks, np.arange(len(words)) - 1.0


def test_a_predictor_with_a_parameter_text_takes_phrases() -> None:
    model = PredictorModel(Phrases(), "mine", "0")
    assert model.capabilities == {"text", "points"}
    (view,) = model.encode([photo(*SIZE)])
    found: Any = view.predict(Prompts(text=["a cat", "xyz", "one two three"]), multimask=True)
    assert found.scores.tolist() == [[0, -1, -1], [0, 0, 0], [1, 0, -1]]
    assert found.instances.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert found.presence.tolist() == [0, 0, 1]
    assert [mask.area for mask in found.masks([(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)])] == [2, 1, 0, 0, 3]
    assert (found.notes, found.feedback([(0, 0)])) == (["", "", ""], None)
    first: Any = view.predict(
        Prompts(np.array([[[3, 4]]], np.float32), np.array([[1]]), text=["one two"]), multimask=False
    )
    assert (first.scores.shape, first.masks([(0, 0)])[0].area) == ((1, 1), 2)
    assert model.predictor.last == ("one two", [[3, 4]])


def test_keywords_of_any_name_are_no_phrases() -> None:
    class Anything:
        def predict(self, **keywords: Any) -> Any: ...

    assert "text" not in PredictorModel(Anything(), "mine", "0").capabilities


def test_answers_of_another_form_are_refused() -> None:
    class Short(Phrases):
        def predict(self, text: str) -> Any:  # type: ignore[override]
            masks, _ = super().predict(text)
            return masks, [float("nan")] * len(masks) if text == "nan" else [1.0]

    (view,) = PredictorModel(Short(), "mine", "0").encode([photo(*SIZE)])
    for text in ("one two", "nan"):
        with pytest.raises(ModelAnswerError, match=r"mine: predict answered \d masks and the scores"):
            view.predict(Prompts(text=[text]), multimask=True)


# --- from the command line -------------------------------------------------------------------------------------------

MODEL = """
import numpy as np

SAID = {
    "left man": (2, 2, 7, 12, 0.9),
    "man on the left": (2, 2, 12, 12, 0.8),
    "right person": (30, 10, 50, 26, 0.7),
}

class Toy:
    \"\"\"Knows three expressions; sees a dark corner in anything else, but nothing that begins with a letter after m.
    With a point: the ten by ten pixels around it.\"\"\"
    trained_on = ()

    def set_image(self, image):
        self.size = image.shape[:2]

    def predict(self, text, point_coords=None, point_labels=None):
        if point_coords is not None:
            x, y = (int(v) for v in point_coords[0])
            found = [(x - 4, y - 4, x + 6, y + 6, 1.0)]
        elif text in SAID:
            found = [SAID[text]]
        else:
            found = [(0, 0, 12, 9, 0.25)] if text < "n" else []
        masks = np.zeros((len(found), *self.size), bool)
        for mask, (x0, y0, x1, y1, _) in zip(masks, found):
            mask[max(y0, 0):y1, max(x0, 0):x1] = True
        return masks, np.array([score for *_, score in found])
"""


class _Silent:
    def update(self, images: int, masks: int, failed: int) -> None: ...


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("model") / "reads.py"
    file.write_text(MODEL)
    return f"{file}:Toy"


def summary_of(call: Call, out: Path, *arguments: object) -> tuple[dict[str, Any], Path]:
    """The summary of the only run, which must be complete, and where it is."""
    call(*arguments, "--out", out)
    (path,) = out.glob("text_to_mask/*/*/summary.json")
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["complete"]
    return found, path.parent


def test_referring_expressions_end_to_end(sambench_cli: Call, model: str, tmp_path: Path) -> None:
    refcoco.build(tmp_path)
    settings = ("--data-root", tmp_path, "--set", "task.with_point=true", "--set", "task.negatives=2")
    summary, path = summary_of(
        sambench_cli, tmp_path / "out", "run", "-t", "text_to_mask", "-d", "refcoco", "-m", model, *settings,
        "--set", "task.save_masks=true",
    )  # fmt: skip
    # Intersections and unions: 50 / 100, 100 / 100, 320 / 400. Around the centre click: the small one exactly, and
    # 100 of the 400 pixels of the large one.
    metrics = {name: one["value"] for name, one in summary["metrics"].items()}
    assert metrics["miou"] == pytest.approx((0.5 + 1 + 0.8) / 3)
    assert metrics["ciou"] == pytest.approx(470 / 600)
    assert [metrics[f"p@{least}"] for least in (0.5, 0.7, 0.9)] == pytest.approx([1, 2 / 3, 1 / 3])
    assert metrics["miou_point"] == pytest.approx((1 + 1 + 0.25) / 3)
    assert metrics["gain_point"] == pytest.approx((0.5 + 0 - 0.55) / 3)
    # Neither a cup nor anything else that begins before n is absent to this model; person and dog are there.
    assert metrics["rejection_accuracy"] == 0
    assert "ap" not in metrics
    records = read_records(path)
    assert records.num_rows == 4
    assert {row["phrase"] for row in records.to_pylist() if row["kind"] == "absent"} == {"cup"}
    assert any(warning.startswith(NOT_THE_PAPERS) for warning in summary["warnings"])
    assert summary["signature"] == (
        "masks:text|phrases:auto|truth:semantic|answer:union|presence:model|negatives:2|point:edt-pad1-first|v:1"
    )
    # The same masks from a file.
    (kept,) = (path / "files" / "masks").iterdir()
    _, scored = scoring.score(
        Settings(
            tasks=["text_to_mask"], datasets=["refcoco"], data_root=tmp_path, out=tmp_path / "scored",
            assignments=["task.negatives=2"], subset="full",
        ), kept, None, lambda *_: nullcontext(_Silent()),
    )  # fmt: skip
    same = ("miou", "ciou", "p@0.5", "p@0.7", "p@0.9", "rejection_accuracy", "acceptance")
    assert [scored["metrics"][name]["value"] for name in same] == [metrics[name] for name in same]


def test_demo_end_to_end(sambench_cli: Call, model: str, tmp_path: Path) -> None:
    summary, path = summary_of(
        sambench_cli, tmp_path, "run", "-t", "text_to_mask", "-d", "demo", "-m", model, "--subset", 3,
        "--set", "task.negatives=4", "--workers", 1,
    )  # fmt: skip
    records = read_records(path).to_pylist()
    plugin = registry.load("datasets", "demo")
    demo = plugin(plugin.locate(Path(), "all", plugin.Options()), "all", plugin.Options())
    images = {row["image_id"] for row in records}
    assert len(images) == 3
    for id in images:
        classes = {i.class_name for i in demo.load(id).truth.instances if not i.crowd}
        assert {row["class"] for row in records if row["image_id"] == id and row["kind"] == "class"} == classes
        absent = [row["class"] for row in records if row["image_id"] == id and row["kind"] == "absent"]
        assert len(absent) == 4
        assert classes.isdisjoint(absent)
    rejected = [row["phrase"] >= "n" for row in records if row["kind"] == "absent"]
    assert summary["metrics"]["rejection_accuracy"]["value"] == pytest.approx(sum(rejected) / len(rejected))
    assert {"ap", "ap50", "acceptance"} <= summary["metrics"].keys()


def test_real_photographs_end_to_end(sambench_cli: Call, model: str, tmp_path: Path, real_data: Path) -> None:
    root = real_data / "coco_subset"
    summary, path = summary_of(
        sambench_cli, tmp_path, "run", "-t", "text_to_mask", "-d", "coco", "-m", model, "--data-root", root,
        "--workers", 1, "--set", "task.template=a photo of a {}",
    )  # fmt: skip
    truth = json.loads((root / "annotations" / "instances_val2017.json").read_text())
    pairs = {(str(a["image_id"]), a["category_id"]) for a in truth["annotations"] if not a["iscrowd"]}
    records = read_records(path).to_pylist()
    assert len(records) == len(pairs) == summary["n_masks"]
    names = {category["id"]: category["name"] for category in truth["categories"]}
    assert {(row["image_id"], row["phrase"]) for row in records} == {
        (image, f"a photo of a {names[number]}") for image, number in pairs
    }
    assert summary["excluded_masks"]["crowd"] == 2
    assert summary["metrics"]["miou"]["value"] == pytest.approx(np.mean([row["iou"] for row in records]))


def test_a_model_without_text_is_refused_with_those_that_can(sambench_cli: Call, tmp_path: Path) -> None:
    done = sambench_cli("run", "-t", "text_to_mask", "-d", "demo", "-m", "region_tree", "--out", tmp_path, code=2)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "task text_to_mask needs a model with the capability text; region_tree has: " in line
    assert "sam3" in line.partition("those that can: ")[2]
