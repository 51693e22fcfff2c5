"""Instance segmentation from boxes: the two passes, and AP that equals pycocotools' and lvis' own."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import official_sam
from helpers.coco_entries import annotation, compressed, content, dense, image, rectangle
from helpers.perturbed_results import perturbed
from helpers.tiny_datasets import write_json
from lvis import LVIS, LVISResults
from numpy.typing import NDArray
from pycocotools import mask as api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sambench import score as scoring
from sambench.errors import DataError, UsageError
from sambench.metrics import coco_reference
from sambench.planning.settings import Settings
from sambench.plugins import registry
from sambench.plugins.options import build
from sambench.runs.directory import read_records
from sambench.types import Context, Dataset, Mask, MetricValue, Prompts, TaskSummary

Call = Callable[..., subprocess.CompletedProcess[str]]
Task = registry.load("tasks", "instances")
COCO_FILE = "coco_subset/annotations/instances_val2017.json"
LVIS_FILE = "lvis_val_100/lvis_val_100.json"


def task(**values: Any) -> Any:
    return Task(build(Task.Options, values, "task"))


def dataset(path: Path) -> Dataset:
    plugin = registry.load("datasets", "coco_json")
    made: Dataset = plugin(path.parent, "all", plugin.Options(annotations=str(path)))
    return made


class Fill:
    """A model whose mask is the inside of the box, one pixel less on each side for each candidate; the second is the
    one that it trusts most. Its logits say what they are of. Notes what it is asked."""

    def __init__(self, size: tuple[int, int], scores: Sequence[float] = (0.5, 0.9, 0.7), feeds: bool = True) -> None:
        self.size, self.scores, self.feeds = size, scores, feeds
        self.asked: list[tuple[Prompts, bool]] = []

    def predict(self, prompts: Prompts, *, multimask: bool) -> _Filled:
        self.asked.append((prompts, multimask))
        return _Filled(self, prompts, 3 if multimask else 1)


class _Filled:
    def __init__(self, view: Fill, prompts: Prompts, candidates: int) -> None:
        self.view, self.prompts = view, prompts
        self.scores = np.tile(np.float32(view.scores if candidates == 3 else [0.25]), (len(prompts), 1))

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        found = []
        for n, m in which:
            x0, y0, x1, y1 = np.rint(self.prompts.boxes[n]).astype(int).tolist()
            filled = np.zeros(self.view.size, np.bool_)
            filled[y0 + m : y1 - m, x0 + m : x1 - m] = True
            found.append(Mask.from_dense(filled))
        return found

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> NDArray[np.float32] | None:
        if not self.view.feeds:
            return None
        return np.array([[[10 * n + m]] for n, m in chosen], np.float32)


def measured(
    made: Any, data: Dataset, *, view: Callable[[tuple[int, int]], Any] = Fill, capabilities: str = "boxes masks"
) -> tuple[pa.Table, dict[str, int]]:
    """The records of all images, and what was left out."""
    made.prepare(data, "toy")
    context = Context("toy", 0, frozenset(capabilities.split()))
    rows, excluded = [], {}
    for entry in data.index():
        sample = data.load(entry.id)
        if not made.excludes(sample):
            found = made.measure(sample, view(sample.size), context)()
            rows += found.rows
            excluded |= {rule: excluded.get(rule, 0) + n for rule, n in found.excluded.items()}
    return pa.Table.from_pylist(rows, schema=made.schema), excluded


def values(scores: TaskSummary) -> dict[str, float | None]:
    """Metrics, and from the breakdowns what they do not have: ``ar_small``, ``box_ap50``."""
    found = {}
    for cut in ("iou", "size", "frequency"):
        for value, metrics in scores.breakdowns.get(cut, {}).items():
            end = str(round(100 * float(value))) if cut == "iou" else f"_{value}"
            found |= {f"{name}{end}": metric.value for name, metric in metrics.items()}
    shown = {name: metric.value for name, metric in scores.metrics.items()}
    assert all(found[name] == value for name, value in shown.items() if name in found)
    return found | shown


def figures(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """:func:`values` of a summary."""
    cuts = {
        cut: {value: {name: MetricValue(**one) for name, one in metrics.items()} for value, metrics in groups.items()}
        for cut, groups in summary["breakdowns"].items()
    }
    return values(TaskSummary({name: MetricValue(**one) for name, one in summary["metrics"].items()}, cuts))


# --- the protocol ----------------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Two images of 40 x 60 pixels: a cat and a dog; a cat and a crowd of cats."""
    annotations = [
        annotation(1, 1, [rectangle(10, 10, 30, 20)], 3, bbox=[10, 10, 20, 10], area=200),
        annotation(2, 1, [rectangle(40, 5, 50, 35)], 8, bbox=[40, 5, 10, 30], area=300),
        annotation(3, 2, [rectangle(0, 0, 10, 10)], 3, bbox=[0, 0, 10, 10], area=100),
        annotation(4, 2, compressed(dense(40, 60, (20, 20, 60, 40))), 3, bbox=[20, 20, 40, 20], area=800, iscrowd=1),
    ]
    images = [image(k, f"{k}.png", 40, 60) for k in (1, 2)]
    return write_json(tmp_path / "two.json", content(images, annotations, {3: "cat", 8: "dog"}))


def result(
    image_id: int, box: Sequence[float], score: float = 0.5, category_id: int = 3, **more: Any
) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category_id, "bbox": list(box), "score": score, **more}


def test_two_passes_with_the_same_box_and_the_best_masks_logits(two: Path) -> None:
    views: list[Fill] = []

    def view(size: tuple[int, int]) -> Fill:
        views.append(Fill(size))
        return views[-1]

    records, _ = measured(task(), dataset(two), view=view)
    (first, many), (second, one) = views[0].asked
    assert (many, one) == (True, False)
    assert first.boxes.tolist() == second.boxes.tolist() == [[10, 10, 30, 20], [40, 5, 50, 35]]
    assert first.mask_logits is None
    # 10 * the prompt + the candidate, which is the second: of the highest predicted IoU.
    assert second.mask_logits.ravel().tolist() == [1, 11]
    row = records.to_pylist()[0]
    assert (row["passes"], row["chosen"]) == (2, [1, 1])
    # The second pass fills the box, as the annotation does; its own estimate is the score.
    assert row["iou"] == [1, 1]
    assert row["score"] == row["predicted_iou"] == [0.25, 0.25]
    assert (row["category"], row["truth_id"]) == ([3, 8], ["1", "2"])


@pytest.mark.parametrize(
    ("passes", "capabilities", "feeds"), [(1, "boxes masks", True), (2, "boxes", True), (2, "boxes masks", False)]
)
def test_one_pass(two: Path, passes: int, capabilities: str, feeds: bool) -> None:
    """Where one is asked for; for a model that takes no masks, and for one that gives no logits, which is told."""
    made = task(passes=passes)
    records, _ = measured(made, dataset(two), view=lambda size: Fill(size, feeds=feeds), capabilities=capabilities)
    assert records.column("passes").to_pylist() == [1, 1]
    # One pixel off on each side of 20 x 10: 18 * 8 / 200.
    assert records.to_pylist()[0]["iou"][0] == pytest.approx(0.72)
    told = [warning for warning in made.summarize(records, Context("toy", 0)).warnings if "one pass" in warning]
    assert len(told) == (passes == 2)


def test_a_nan_estimate_is_never_the_best(two: Path) -> None:
    records, _ = measured(task(passes=1), dataset(two), view=lambda size: Fill(size, scores=(np.nan, 0.1, np.nan)))
    assert records.to_pylist()[0]["chosen"] == [1, 1]


def test_annotated_boxes_by_hand(two: Path) -> None:
    """All three masks are exact. The crowd is neither prompted for nor to be found."""
    made = task()
    records, excluded = measured(made, dataset(two))
    scores = made.summarize(records, Context("toy", 0))
    assert excluded == {"crowd": 1}
    assert scores.n_masks == 3
    found = values(scores)
    # All areas are below 32 * 32.
    assert (found["ap"], found["ap_small"], found["ap_medium"], found["ar"], found["miou"]) == (1, 1, None, 1, 1)
    assert "box_ap" not in found
    assert "detector_mask_ap" not in found
    assert scores.breakdowns["class"]["dog"]["ap"].n == 1
    assert any("annotated ones" in warning for warning in scores.warnings)


def test_detections_by_hand(two: Path, tmp_path: Path) -> None:
    """Cats: a false one above two right ones, so precision 2/3 at both recalls: AP 2/3 but for box IoU 0.8 < t."""
    entries = [
        result(1, [0, 0, 5, 5], 0.9),
        result(1, [10, 10, 20, 10], 0.8),
        # 8 of 10 columns: IoU 0.8, right at 0.50 to 0.80, seven of ten thresholds.
        result(2, [0, 0, 8, 10], 0.7),
    ]
    made = task(boxes=write_json(tmp_path / "boxes.json", entries))
    records, _ = measured(made, dataset(two))
    found = values(made.summarize(records, Context("toy", 0)))
    # At 0.85 to 0.95 one of two cats is found, at precision 1/2: recalls 0 to .50 are 51 of 101 samples.
    cats = (7 * (2 / 3) + 3 * 0.5 * 51 / 101) / 10
    assert found["ap"] == found["box_ap"] == pytest.approx((cats + 0) / 2)
    assert found["ap50"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["ap75"] == found["ap50"]
    assert found["ar"] == pytest.approx(((7 * 1 + 3 * 0.5) / 10 + 0) / 2)
    # The best one of each image: at each threshold none of image 1, that of image 2 up to .80.
    assert found["ar@1"] == pytest.approx(7 * 0.5 / 10 / 2)


def test_boxes_are_grown_shaken_and_cut(two: Path, tmp_path: Path) -> None:
    entries = [result(2, [40, 10, 20, 20]), result(2, [100, 0, 5, 5]), result(2, [5, 5, 0, 3])]
    file = write_json(tmp_path / "boxes.json", entries)

    def prompts(**more: Any) -> NDArray[np.float32]:
        records, _ = measured(task(boxes=file, **more), dataset(two))
        return np.array(records.to_pylist()[1]["prompt"]).reshape(-1, 4)

    plain = prompts()
    assert plain.tolist() == [[40, 10, 60, 30], [60, 0, 60, 5], [5, 5, 5, 8]]
    # By a half of 20: 5 on each side, and no farther than the image.
    assert prompts(box_expansion=0.5)[0].tolist() == [35, 5, 60, 35]
    shaken = prompts(box_jitter=0.1)
    assert (shaken == prompts(box_jitter=0.1)).all()
    assert 0 < np.abs(shaken - plain)[0].max() <= 2
    made = task(boxes=file)
    records, _ = measured(made, dataset(two))
    row = records.to_pylist()[1]
    assert (row["chosen"], row["area"]) == ([1, -1, -1], [400, 0, 0])
    assert any("2 of 3 boxes hold no part" in one for one in made.summarize(records, Context("toy", 0)).warnings)


def test_jitter_is_another_for_each_box_and_seed(two: Path) -> None:
    from sambench.models.common.box_prompts import moved

    boxes = np.tile([10.0, 10, 20, 10], (2000, 1))
    keys = [("toy", "1", str(k)) for k in range(2000)]
    shaken = moved(boxes, (40, 60), jitter=0.2, keys=keys) - np.array([10, 10, 30, 20])
    # Uniform within a fifth of 20 and of 10: means 0, standard deviations 4 / sqrt(3) and 2 / sqrt(3).
    assert np.abs(shaken).max(axis=0) == pytest.approx([4, 2, 4, 2], abs=0.02)
    assert shaken.mean(axis=0) == pytest.approx([0] * 4, abs=0.2)
    assert shaken.std(axis=0) == pytest.approx(np.array([4, 2, 4, 2]) / 3**0.5, rel=0.05)
    assert not np.array_equal(shaken, moved(boxes, (40, 60), jitter=0.2, keys=keys, seed=1))


def test_limits_of_the_toolkits(two: Path, tmp_path: Path) -> None:
    """COCO: so many of a category in an image; LVIS: so many of an image, and then no unjudged category."""
    entries = [result(1, [10, 10, 20, 10], k / 10, 8 if k == 9 else 3) for k in range(1, 10)]
    file = write_json(tmp_path / "boxes.json", entries)
    records, excluded = measured(task(boxes=file, max_detections=2), dataset(two))
    assert records.to_pylist()[0]["score"] == [0.7, 0.8, 0.9]
    assert excluded == {"crowd": 1, "beyond_max_detections": 6}
    file_of_lvis = json.loads(two.read_text())
    for one in file_of_lvis["images"]:
        one |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    file_of_lvis["annotations"] = [one for one in file_of_lvis["annotations"] if one["category_id"] == 3]
    made = task(boxes=file, max_detections=2)
    records, excluded = measured(made, dataset(write_json(tmp_path / "lvis.json", file_of_lvis)))
    assert records.column("rules").to_pylist() == ["lvis", "lvis"]
    assert records.to_pylist()[0]["score"] == [0.8]
    assert excluded == {"crowd": 1, "beyond_max_detections": 7, "not_judged": 1}


# --- as the toolkits have it ------------------------------------------------------------------------------------------


def part_of(path: Path, images: int, to: Path) -> Path:
    """An annotation file of the first few images alone."""
    held = json.loads(path.read_text())
    held["images"] = held["images"][:images]
    kept = {one["id"] for one in held["images"]}
    held["annotations"] = [one for one in held["annotations"] if one["image_id"] in kept]
    return write_json(to / f"{images}_of_{path.name}", held)


@cache
def results_on(path: Path, per_image: int, seed: int = 3) -> list[dict[str, Any]]:
    """With boxes that are near the masks, not theirs. The first image has none."""
    rng = np.random.default_rng(seed)
    found = perturbed(json.loads(path.read_text()), per_image, rng)
    for one in found:
        one["bbox"] = (np.array(api.toBbox(one["segmentation"])) + rng.uniform(0, 3, 4)).round(2).tolist()
    return found


NAMES = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar@1",
    "ar@10",
    "ar",
    "ar_small",
    "ar_medium",
    "ar_large",
)


def by_pycocotools(path: Path, results: Sequence[Mapping[str, Any]], kind: str) -> dict[str, float]:
    keys = {"image_id", "category_id", "score", "segmentation" if kind == "segm" else "bbox"}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(path)
        evaluator = COCOeval(truth, truth.loadRes([{k: one[k] for k in keys} for one in results]), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return dict(zip(NAMES, evaluator.stats.tolist(), strict=True))


def by_lvis(path: Path, results: Sequence[Mapping[str, Any]], kind: str) -> dict[str, float]:
    """With the name that numpy has no more. Without boxes where masks are meant, whose sizes would be the boxes'."""
    keys = {"image_id", "category_id", "score", "segmentation" if kind == "segm" else "bbox"}
    module = __import__("lvis.eval", fromlist=["eval"])
    if not hasattr(module.np, "float"):
        module.np = coco_reference._OldNumpy()
    logging.disable(logging.WARNING)
    try:
        truth = LVIS(str(path))
        evaluator = module.LVISEval(truth, LVISResults(truth, [{k: one[k] for k in keys} for one in results]), kind)
        evaluator.run()
    finally:
        logging.disable(logging.NOTSET)
    theirs = {"AP": "ap", "AP50": "ap50", "AP75": "ap75", "AR@300": "ar"}
    for letter, size in (("s", "small"), ("m", "medium"), ("l", "large")):
        theirs |= {f"AP{letter}": f"ap_{size}", f"AR{letter}@300": f"ar_{size}"}
    theirs |= {"APr": "ap_rare", "APc": "ap_common", "APf": "ap_frequent"}
    return {ours: evaluator.results[name] for name, ours in theirs.items()}


def scored(annotations: Path, results: Path, out: Path, *assignments: str) -> dict[str, Any]:
    """The summary of ``sambench score``, without a process of its own."""
    named = f"coco_json:{annotations},"
    settings = Settings(["instances"], [named], data_root=out, out=out, subset="full", assignments=assignments)
    return scoring.score(settings, results, None, lambda *_: contextlib.nullcontext(Silent()))[1]


class Silent:
    def update(self, images: int, masks: int, failed: int) -> None:
        pass


def same(ours: Mapping[str, Any], theirs: Mapping[str, float], prefix: str = "") -> None:
    for name, value in theirs.items():
        if prefix and name in ("ar", "ar@1", "ar@10"):
            continue
        found = ours[f"{prefix}{name}"]
        assert (-1 if found is None else found) == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize(
    ("file", "judge", "images", "per_image"),
    [(COCO_FILE, by_pycocotools, 12, 300), (LVIS_FILE, by_lvis, 9, 320), (LVIS_FILE, by_lvis, 40, 12)],
)
def test_scores_equal_the_toolkits(
    real_data: Path, tmp_path: Path, file: str, judge: Callable[..., dict[str, float]], images: int, per_image: int
) -> None:
    """COCO's with a crowd, more of a category in an image than count; LVIS's with more in an image than count."""
    path = part_of(real_data / file, images, tmp_path)
    results = results_on(path, per_image)
    summary = scored(path, write_json(tmp_path / "results.json", results), tmp_path / "runs")
    assert summary["complete"]
    assert ("beyond_max_detections" in summary["excluded_masks"]) == (per_image > 100)
    found = figures(summary)
    for kind, prefix in (("segm", ""), ("bbox", "box_")):
        theirs = judge(path, results, kind)
        assert 0.1 < theirs["ap"] < 0.9
        same(found, theirs, prefix)


@pytest.mark.parametrize(("file", "per_image"), [(COCO_FILE, 20), (LVIS_FILE, 20)])
def test_the_reference_evaluator_answers_the_same(real_data: Path, tmp_path: Path, file: str, per_image: int) -> None:
    path = part_of(real_data / file, 10, tmp_path)
    given = write_json(tmp_path / "results.json", results_on(path, per_image, 4))
    ours, theirs = (
        figures(scored(path, given, tmp_path / one, *more))
        for one, more in (("a", ()), ("b", ("task.evaluator=reference",)))
    )
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert theirs[name] == (value if value is None else pytest.approx(value, abs=1e-12)), name


def test_a_detectors_boxes_and_own_masks_are_scored_too(real_data: Path, tmp_path: Path) -> None:
    """They and the model's: against pycocotools, the latter from what ``save_masks`` keeps."""
    path = part_of(real_data / COCO_FILE, 10, tmp_path)
    results = results_on(path, 15)
    made = task(boxes=write_json(tmp_path / "boxes.json", results), save_masks=True)
    data = dataset(path)
    made.prepare(data, "coco")
    rows, drawn = [], []
    for entry in data.index():
        sample = data.load(entry.id)
        found = made.measure(sample, Fill(sample.size), Context("coco", 0, frozenset({"boxes"})))()
        rows += found.rows
        drawn += json.loads(found.files[f"masks/{entry.id}.json"])
    ours = values(made.summarize(pa.Table.from_pylist(rows, schema=made.schema), Context("coco", 0)))
    same(ours, by_pycocotools(path, drawn, "segm"))
    same(ours, by_pycocotools(path, results, "segm"), "detector_mask_")
    same(ours, by_pycocotools(path, results, "bbox"), "box_")


# --- what cannot be used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([result(1, [0, 0, 5, 5]), result(9, [0, 0, 5, 5])], "1 of 2 images are not in dataset toy, e.g. image 9"),
        (
            [result(1, [0, 0, 5, 5], category_id=3), result(1, [0, 0, 5, 5], category_id=4)],
            "1 of 2 entries are of categories that dataset toy does not have, e.g. category 4",
        ),
        ([{"image_id": 1, "category_id": 3, "score": 1, "segmentation": {}}], "1 of 1 entries have no 'bbox'"),
        ([{"image_id": 1, "bbox": [0, 0, 1, 1], "score": 1}], "1 of 1 entries have no 'category_id'"),
    ],
)
def test_boxes_of_another_dataset(two: Path, tmp_path: Path, entries: list[Any], complaint: str) -> None:
    made = task(boxes=write_json(tmp_path / "boxes.json", entries))
    with pytest.raises(UsageError, match=complaint) as caught:
        made.prepare(dataset(two), "toy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        (compressed(dense(10, 60, (0, 0, 3, 3))), "10"),
        ({"size": [40, 60], "counts": [3, 4]}, "run lengths"),
        ({"size": [40, 60], "counts": "~~"}, "character|run"),
        ([[0, 0, 5, 0, 5, 5]], ""),
    ],
)
def test_masks_that_do_not_fit_fail_their_image(two: Path, tmp_path: Path, code: Any, complaint: str) -> None:
    """The other image is scored. A polygon is no result: the toolkits take run-length codes only."""
    entries = [
        result(1, [0, 0, 5, 5], segmentation=code),
        result(2, [0, 0, 10, 10], segmentation=compressed(dense(40, 60, (0, 0, 10, 10)))),
    ]
    given = write_json(tmp_path / "results.json", entries)
    summary = scored(two, given, tmp_path / "runs")
    assert (summary["n_scored"], summary["n_failed"]) == (1, 1)
    (errors,) = (tmp_path / "runs").rglob("errors.jsonl")
    (line,) = errors.read_text().splitlines()
    assert "image 1: 1 of 1 masks cannot be used (first: entry 0 of the file" in line
    made = task(boxes=given)
    made.prepare(dataset(two), "toy")
    with pytest.raises(DataError, match=f"image 1: 1 of 1 masks cannot be used.*{complaint}"):
        made.measure(dataset(two).load("1"), Fill((40, 60)), Context("toy", 0, frozenset({"boxes"})))()


def test_images_without_predictions_keep_their_truth(two: Path, tmp_path: Path) -> None:
    """Image 2 has none: its cat is missed. No file at all of predictions is none of any image."""
    entries = [result(1, [10, 10, 20, 10], segmentation=compressed(dense(40, 60, (10, 10, 30, 20))))]
    summary = scored(two, write_json(tmp_path / "some.json", entries), tmp_path / "runs")
    # One of two cats at precision 1: 51 of 101 recalls; no dog.
    assert summary["metrics"]["ap"]["value"] == pytest.approx((51 / 101 + 0) / 2)
    nothing = scored(two, write_json(tmp_path / "none.json", []), tmp_path / "runs")
    assert (nothing["complete"], nothing["metrics"]["ap"]["value"], nothing["n_masks"]) == (True, 0, 3)


def test_annotations_without_a_pixel_count_as_missed(two: Path, tmp_path: Path) -> None:
    """As pycocotools has it. Other tasks leave them out."""
    held = json.loads(two.read_text())
    held["annotations"].append(
        annotation(5, 2, [rectangle(30.2, 30.2, 30.3, 30.3)], 8, bbox=[30, 30, 0.1, 0.1], area=0.01)
    )
    path = write_json(tmp_path / "a.json", held)
    assert dataset(path).load("2").truth.dropped == {"empty_mask": 1}
    entries = [result(1, [40, 5, 10, 30], 0.5, 8, segmentation=compressed(dense(40, 60, (40, 5, 50, 35))))]
    summary = scored(path, write_json(tmp_path / "r.json", entries), tmp_path / "runs")
    found = figures(summary)
    same(found, by_pycocotools(path, entries, "segm"))
    # One of two dogs, no cat.
    assert found["ap"] == pytest.approx((51 / 101 + 0) / 2)


@pytest.mark.parametrize(
    "values_",
    [
        {"passes": 3},
        {"box_jitter": 0.5},
        {"box_expansion": -1},
        {"detector_threshold": 1},
        {"max_detections": -1},
        {"boxes": "a.json", "detector": "b/c"},
    ],
)
def test_options_that_make_no_sense(values_: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"task\."):
        task(**values_)


def test_what_a_row_is_called_names_the_boxes(two: Path, tmp_path: Path) -> None:
    entries = [result(1, [10, 10, 20, 10])]
    first = task(boxes=write_json(tmp_path / "vitdet.json", entries))
    second = task(boxes=write_json(tmp_path / "other.json", [*entries, *entries]))
    assert first.signature.startswith(f"boxes:vitdet.json@{first._source.results.digest[:8]}|")
    assert first.signature != second.signature
    assert first.inputs == {"boxes": f"sha256:{first._source.results.digest}"}
    assert task(boxes=write_json(tmp_path / "copy.json", entries)).inputs == first.inputs
    assert (task().inputs, task().signature.split("|")[0]) == ({}, "boxes:truth")


# --- from the command line --------------------------------------------------------------------------------------------


def run(call: Call, out: Path, data: str, model: object, *more: object, code: int = 0) -> dict[str, Any]:
    done = call("run", "-t", "instances", "-d", data, "-m", model, "--out", out, "--json", *more, code=code)
    if code:
        return {"stderr": done.stderr}
    summary: dict[str, Any] = json.loads(done.stdout)[0]
    return summary


def test_region_tree_on_coco_with_a_file_of_boxes(real_data: Path, sambench_cli: Call, tmp_path: Path) -> None:
    root = real_data / "coco_subset"
    boxes = write_json(tmp_path / "boxes.json", results_on(real_data / COCO_FILE, 8))
    more = ("--data-root", root, "--set", f"task.boxes={boxes}", "--subset", 3, "--set", "task.save_masks=true")
    summary = run(sambench_cli, tmp_path / "runs", "coco", "region_tree", *more)
    found = {name: metric["value"] for name, metric in summary["metrics"].items()}
    assert summary["complete"]
    assert summary["headlines"][0] == "ap"
    assert 0 < found["ap"] < found["detector_mask_ap"]
    assert found["box_ap"] > 0
    assert summary["signature"].startswith("boxes:boxes.json@")
    (manifest,) = (tmp_path / "runs").rglob("manifest.json")
    held = json.loads(manifest.read_text())
    assert held["spec"]["task_options"]["boxes"].startswith("sha256:")
    # The masks that it kept, scored as any others are: the same.
    kept = [one for file in sorted(manifest.parent.glob("files/masks/*.json")) for one in json.loads(file.read_text())]
    again = write_json(tmp_path / "kept.json", kept)
    scored_again = sambench_cli(
        *("score", "-t", "instances", "-d", "coco", "--predictions", again, "--data-root", root, "--subset", 3),
        *("--out", tmp_path / "scored", "--json"),
    )
    assert json.loads(scored_again.stdout)["metrics"]["ap"]["value"] == pytest.approx(found["ap"], abs=1e-12)
    # Other boxes are another run.
    write_json(tmp_path / "boxes.json", results_on(real_data / COCO_FILE, 2))
    refused = run(sambench_cli, tmp_path / "runs", "coco", "region_tree", *more, code=2)
    assert "task_options.boxes" in refused["stderr"] or "task.boxes" in refused["stderr"]


def test_region_tree_on_lvis(real_data: Path, sambench_cli: Call, tmp_path: Path) -> None:
    """Boxes for all 100 images, the pixels of six, of which two are drawn."""
    root = real_data / "lvis_val_100"
    boxes = write_json(tmp_path / "boxes.json", results_on(real_data / LVIS_FILE, 6, 4))
    options = ("dataset.annotations=lvis_val_100.json", "dataset.missing_images=exclude", f"task.boxes={boxes}")
    more = [word for option in options for word in ("--set", option)]
    summary = run(sambench_cli, tmp_path, "lvis", "region_tree", "--data-root", root, "--subset", 2, *more)
    assert summary["complete"]
    assert summary["split"] == "v1_val"
    assert {"ap_rare", "ap_common", "ap_frequent"} <= set(summary["metrics"])
    assert summary["excluded_masks"]["not_judged"] > 0


def test_a_sam_on_the_demo(sambench_cli: Call, tmp_path: Path) -> None:
    weights = tmp_path / "random_sam.pth"
    torch.save(official_sam.build().state_dict(), weights)
    summary = run(sambench_cli, tmp_path / "runs", "demo", weights, "--subset", 1, "--threads", 1)
    assert summary["complete"]
    assert 0 < summary["metrics"]["miou"]["value"] < 1
    (manifest,) = (tmp_path / "runs").rglob("manifest.json")
    (row,) = read_records(manifest.parent).to_pylist()
    assert row["passes"] == 2
    assert len(set(row["chosen"])) > 1
    assert row["score"] == pytest.approx(row["predicted_iou"])


def test_a_model_that_takes_no_boxes(sambench_cli: Call, toy_model: str, tmp_path: Path) -> None:
    told = run(sambench_cli, tmp_path, "demo", toy_model, "--subset", 1, code=2)["stderr"]
    assert "needs a model with the capability boxes" in told
    assert "region_tree" in told
    assert "sam_vit_h" in told
