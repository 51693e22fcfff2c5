"""The task ``proposals``: recall counted by hand and by brute force, the traps of LVIS, results made elsewhere, and
runs from the command line."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import official_sam
from helpers.coco_entries import compressed, dense
from helpers.official_coco import official_coco
from helpers.perturbed_results import perturbed
from helpers.tiny_datasets import photo
from pycocotools import mask as api

from sambench.errors import DataError, UsageError
from sambench.metrics import coco
from sambench.models.common import mask_generator
from sambench.plugins import options
from sambench.readers import coco_json
from sambench.readers.predictions.detections import Detections
from sambench.runs.directory import read_records
from sambench.suite.tasks import proposals as plugin
from sambench.suite.tasks.proposals import PLUGIN as Proposals
from sambench.types import Context, GroundTruth, Instance, Mask, Sample

Call = Callable[..., subprocess.CompletedProcess[str]]

SIZE = (40, 60)
CONTEXT = Context("demo", 0, frozenset({"points"}))


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return dense(*SIZE, (x0, y0, x1, y1))


def truth(id: str, mask: Any, **more: Any) -> Instance:
    return Instance(id, Mask.from_dense(mask), **more)


def sample(*instances: Instance, id: str = "7", **more: Any) -> Sample:
    return Sample(id, SIZE, lambda: photo(*SIZE), lambda: GroundTruth(instances), **more)


def answer(proposed: Sequence[tuple[Any, float]], categories: Sequence[int] | None = None) -> Detections:
    """From (mask, score) pairs."""
    return Detections(
        np.arange(len(proposed)),
        np.array([1] * len(proposed) if categories is None else categories, np.int64),
        np.array([score for _, score in proposed], float),
        None,
        [mask if isinstance(mask, dict) else compressed(mask) for mask, _ in proposed],
    )


def scored(task: Any, sample: Sample, answer: Detections) -> Any:
    return task.score(sample, answer, CONTEXT)()


def summarized(task: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    return task.summarize(pa.Table.from_pylist(list(rows), schema=task.schema), CONTEXT)


@pytest.fixture(params=["compiled", "reference"])
def task(request: pytest.FixtureRequest) -> Any:
    return Proposals(Proposals.Options(evaluator=request.param))


# --- recall by hand -------------------------------------------------------------------------------------------------


def test_recall_of_one_image_by_hand(task: Any) -> None:
    # Truths of 10 x 10. The best proposal has 9 of 10 columns of the first: IoU 90/100 = 0.9, enough for nine of the
    # ten thresholds. The second has 7 of 10 of the second: 0.7, enough for 0.50 to 0.70, five. The third truth is free.
    truths = [truth(str(k), rectangle(15 * k, 0, 15 * k + 10, 10)) for k in range(3)]
    given = answer([(rectangle(15, 0, 22, 10), 0.4), (rectangle(0, 0, 9, 10), 0.8), (rectangle(50, 30, 60, 40), 0.6)])
    rows = scored(task, sample(*truths), given).rows
    assert [row["rank_all"] for row in rows] == [[0] * 9 + [None], [2] * 5 + [None] * 5, [None] * 10]
    assert [row["rank_small"] for row in rows] == [row["rank_all"] for row in rows]
    assert not any("rank_medium" in row or "rank_frequency" in row for row in rows)
    assert [(row["area"], row["proposals"], row["empty_proposals"]) for row in rows] == [(100.0, 3, 0)] * 3
    metrics = summarized(task, rows).metrics
    assert metrics["ar@1000"].value == pytest.approx((0.9 + 0.5 + 0) / 3, abs=1e-12)
    assert metrics["ar@1"].value == pytest.approx(0.9 / 3, abs=1e-12)
    assert metrics["ar@10"].value == metrics["ar@100"].value == metrics["ar@1000"].value
    assert metrics["ar@1000_small"].n == 3
    assert (metrics["ar@1000_large"].value, metrics["ar@1000_large"].n) == (None, 0)
    assert metrics["proposals"].value == 3


def test_sizes_follow_the_annotated_area_and_both_ranges_hold_their_common_end(task: Any) -> None:
    truths = [
        truth("a", rectangle(0, 0, 10, 10), annotated_area=9300.0),
        truth("b", rectangle(15, 0, 25, 10), annotated_area=1024.0),
    ]
    rows = scored(task, sample(*truths), answer([(rectangle(0, 0, 10, 10), 0.5)])).rows
    found = [{name for name in ("small", "medium", "large") if f"rank_{name}" in row} for row in rows]
    assert found == [{"large"}, {"small", "medium"}]
    sizes = summarized(task, rows).breakdowns["size"]
    assert {name: (found["ar@1000"].value, found["ar@1000"].n) for name, found in sizes.items()} == {
        "small": (0, 1),
        "medium": (0, 1),
        "large": (1, 1),
    }


def test_crowds_take_proposals_and_are_not_to_be_found(task: Any) -> None:
    one, crowd = truth("a", rectangle(0, 0, 10, 10)), truth("b", rectangle(0, 0, 60, 40), crowd=True)
    measured = scored(task, sample(crowd, one), answer([(rectangle(0, 0, 10, 10), 0.5)]))
    assert [row["instance_id"] for row in measured.rows] == ["a"]
    assert measured.excluded == {"crowd": 1}
    assert summarized(task, measured.rows).metrics["ar@1000"].value == 1
    assert task.excludes(sample(crowd)) == task.excludes(sample()) == "no_instances"
    assert task.excludes(sample(crowd, one)) == ""


def test_annotations_without_a_pixel_are_not_found_and_count(task: Any) -> None:
    empty = truth("b", rectangle(0, 0, 0, 0), annotated_area=4.0)
    there = GroundTruth((truth("a", rectangle(0, 0, 10, 10)),), dropped={"empty_mask": 1}, empty=(empty,))
    image = Sample("7", SIZE, lambda: photo(*SIZE), lambda: there)
    measured = scored(task, image, answer([(rectangle(0, 0, 10, 10), 0.5)]))
    assert summarized(task, measured.rows).metrics["ar@1000"].value == 0.5
    assert measured.excluded == {}


# --- the traps of LVIS (protocol §4.3) ------------------------------------------------------------------------------


def noise(n: int, score: float) -> list[tuple[Any, float]]:
    return [(rectangle(0, 30, 5, 35), score)] * n


def test_proposals_beyond_300_count_up_to_1000(task: Any) -> None:
    image = sample(truth("a", rectangle(20, 0, 30, 10)))
    hit = (rectangle(20, 0, 30, 10), 0.1)
    late = summarized(task, scored(task, image, answer([hit, *noise(999, 0.5)])).rows)
    assert [late.metrics[f"ar@{k}"].value for k in (100, 1000)] == [0, 1]
    assert not late.warnings
    too_late = summarized(task, scored(task, image, answer([hit, *noise(1000, 0.5)])).rows)
    assert too_late.metrics["ar@1000"].value == 0
    assert too_late.warnings == [
        "1 of 1 images have more than 1000 proposals: the 1000 of the highest score count, as COCO's evaluator has it"
    ]
    # Equal scores: the first of the file.
    assert summarized(task, scored(task, image, answer([hit, *noise(1000, 0.1)])).rows).metrics["ar@1"].value == 1


def test_neither_class_nor_federated_lists_matter(task: Any) -> None:
    federated = {"neg_category_ids": [4], "not_exhaustive_category_ids": [9]}
    image = sample(truth("a", rectangle(20, 0, 30, 10), class_id=9), attributes=federated)
    for category in (1, 4, 9, 99_999):
        rows = scored(task, image, answer([(rectangle(20, 0, 30, 10), 0.5)], [category])).rows
        assert summarized(task, rows).metrics["ar@1000"].value == 1


def test_recall_is_of_all_truths_and_no_mean_of_classes(task: Any) -> None:
    truths = [truth(str(k), rectangle(15 * k, 0, 15 * k + 10, 10), class_id=k // 3) for k in range(4)]
    given = answer([(rectangle(15 * k, 0, 15 * k + 10, 10), 0.5) for k in range(3)])
    assert summarized(task, scored(task, sample(*truths), given).rows).metrics["ar@1000"].value == 0.75


def test_one_object_under_two_classes_is_two_truths(task: Any) -> None:
    twice = [truth(name, rectangle(0, 0, 10, 10), class_id=k) for k, name in enumerate("ab")]
    once = answer([(rectangle(0, 0, 10, 10), 0.5)])
    assert summarized(task, scored(task, sample(*twice), once).rows).metrics["ar@1000"].value == 0.5
    both = answer([(rectangle(0, 0, 10, 10), 0.5)] * 2)
    assert summarized(task, scored(task, sample(*twice), both).rows).metrics["ar@1000"].value == 1


def test_images_without_proposals_keep_their_truths(task: Any) -> None:
    found = scored(task, sample(truth("a", rectangle(0, 0, 10, 10))), answer([(rectangle(0, 0, 10, 10), 0.5)])).rows
    lost = scored(task, sample(*(truth(n, rectangle(0, 0, 9, 9)) for n in "bcd"), id="8"), answer([])).rows
    scores = summarized(task, [*found, *lost])
    assert (scores.metrics["ar@1000"].value, scores.metrics["ar@1000"].n) == (0.25, 4)
    assert scores.metrics["proposals"].value == 0.5
    assert scores.warnings == ["1 of 2 images have no proposal: none of their masks is found"]


def test_equal_scores_go_class_by_class_as_in_the_toolkit(task: Any) -> None:
    # The first of the file is of class 2: the toolkit gathers class 1 first.
    image = sample(truth("a", rectangle(0, 0, 10, 10)))
    given = answer([(rectangle(0, 0, 6, 10), 0.5), (rectangle(0, 0, 10, 10), 0.5)], [2, 1])
    assert scored(task, image, given).rows[0]["rank_all"] == [0] * 10


# --- by frequency, which no library has -----------------------------------------------------------------------------


def brute_force(masks: Sequence[Any], scores: Sequence[float], truths: Sequence[Any]) -> int:
    """How many truths are found, summed over thresholds, pixel by pixel: each proposal, best first, takes of the free
    truths the one of the highest IoU, of equal ones the last."""
    ious = [[(mask & t).sum() / max(1, (mask | t).sum()) for t in truths] for mask in masks]
    found = 0
    for threshold in coco.IOU_THRESHOLDS:
        free = set(range(len(truths)))
        for k in sorted(range(len(masks)), key=lambda k: -scores[k]):
            best = max(free, key=lambda g: (ious[k][g], g), default=None)
            if best is not None and ious[k][best] >= threshold:
                free.remove(best)
                found += 1
    return found


def test_recall_by_frequency_equals_a_brute_force_count(real_data: Path, task: Any) -> None:
    path = real_data / "lvis_val_100" / "lvis_val_100.json"
    content = json.loads(path.read_bytes())
    of = {one["id"]: coco.FREQUENCIES[one["frequency"]] for one in content["categories"]}
    letters: dict[int, set[str]] = {}
    for one in content["annotations"]:
        letters.setdefault(one["image_id"], set()).add(of[one["category_id"]])
    # Images with objects of several frequencies, the smallest first.
    images = sorted(
        (one for one in content["images"] if len(letters.get(one["id"], ())) > 1),
        key=lambda one: ("rare" not in letters[one["id"]], one["height"] * one["width"]),
    )[:3]
    results = perturbed({**content, "images": images}, 20, np.random.default_rng(8), empty_images=1)
    reader = coco_json.CocoReader(path, None)
    rows, expected = [], {name: [0, 0] for name in coco.FREQUENCIES.values()}
    for image in images:
        one = reader.load(str(image["id"]))
        given = [result for result in results if result["image_id"] == image["id"]]
        given.sort(key=lambda result: result["category_id"])
        scores = [result["score"] for result in given]
        rows += scored(task, one, answer([(r["segmentation"], r["score"]) for r in given])).rows
        masks = [api.decode(result["segmentation"]).astype(bool) for result in given]
        truths = sorted(one.truth.instances, key=lambda instance: instance.class_id or 0)
        for name, count in expected.items():
            mine = [t.mask.dense() for t in truths if of[t.class_id or 0] == name]
            count[0] += brute_force(masks, scores, mine)
            count[1] += 10 * len(mine)
    found = summarized(task, rows).metrics
    assert {name: found[f"ar@1000_{name}"].value for name in expected} == pytest.approx(
        {name: hits / total for name, (hits, total) in expected.items()}, abs=1e-12
    )
    assert sum(hits for hits, _ in expected.values()) > 0


# --- what the task makes itself -------------------------------------------------------------------------------------


def made(codes: Sequence[Any], predicted: Any, stability: Any) -> mask_generator.Proposals:
    n = len(codes)
    return mask_generator.Proposals(
        size=SIZE,
        codes=[code["counts"].encode() for code in codes],
        boxes=np.zeros((n, 4), np.int64),
        areas=np.zeros(n, np.int64),
        predicted_iou=np.array(predicted, np.float32),
        stability=np.array(stability, np.float32),
        points=np.zeros((n, 2), np.float32),
        crop_boxes=np.zeros((n, 4), np.int64),
        prompts=n,
        candidates=n,
    )


def test_the_best_1000_by_predicted_iou_and_stability_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    # 1002 proposals: the mean is 0.5 but for the first (0.45), the second (0.4) and the last (0.9).
    code, hit = compressed(rectangle(0, 30, 5, 35)), compressed(rectangle(20, 0, 30, 10))
    predicted, stability = np.full(1002, 0.25), np.full(1002, 0.75)
    predicted[:2], stability[:2] = (0.9, 0.0), (0.0, 0.8)
    predicted[-1], stability[-1] = 0.8, 1.0
    proposed = made([code] * 1001 + [hit], predicted, stability)
    monkeypatch.setattr(plugin.MaskGenerator, "generate", lambda *_: proposed)
    one = sample(truth("a", rectangle(20, 0, 30, 10)), id="012")
    task = Proposals(Proposals.Options())
    measured = task.measure(one, None, CONTEXT)()  # type: ignore[arg-type]
    (row,) = measured.rows
    assert (row["rank_all"], row["proposals"]) == ([0] * 10, 1000)
    entries = json.loads(measured.files["proposals/012.json"])
    assert len(entries) == 1000
    # 012 is no number: 12 would be another image.
    assert entries[0] == {"image_id": "012", "category_id": 1, "segmentation": hit, "score": pytest.approx(0.9)}
    assert {entry["score"] for entry in entries[1:]} == {0.5}
    again = task.score(one, answer([(e["segmentation"], e["score"]) for e in entries]), CONTEXT)().rows
    assert [{**r, "time_ms": 0} for r in again] == [{**row, "time_ms": 0}]
    assert not Proposals(Proposals.Options(save_proposals=False)).measure(one, None, CONTEXT)().files  # type: ignore[arg-type]


def test_defaults_are_the_papers_and_the_signature_says_what_is_not() -> None:
    default = Proposals.Options()
    assert (default.points_per_side, default.box_nms_thresh, default.crop_n_layers) == (64, 0.9, 0)
    assert (default.pred_iou_thresh, default.stability_score_thresh, default.full_image_thresh) == (0, 0, 0)
    assert default.min_mask_region_area == 0
    assert Proposals(default).signature == "grid:64x64|boxnms:0.9|top:1000-iou+stability|v:1"
    changes: dict[str, Any] = {
        "points_per_side": 32,
        "multimask": False,
        "pred_iou_thresh": 0.5,
        "stability_score_thresh": 0.9,
        "box_nms_thresh": 0.7,
        "crop_n_layers": 1,
        "full_image_thresh": 0.95,
        "min_mask_region_area": 100,
    }
    signatures = {Proposals(Proposals.Options(**{k: v})).signature for k, v in changes.items()}
    assert len(signatures | {Proposals(default).signature}) == len(changes) + 1
    # What changes time or place of writing and no number is not of the signature.
    same = Proposals.Options(points_per_batch=3, evaluator="reference", save_proposals=False)
    assert Proposals(same).signature == Proposals(default).signature
    with pytest.raises(UsageError, match=r"task\.evaluator=fast: must be one of: compiled, reference"):
        options.build(Proposals.Options, {"evaluator": "fast"}, "task")


# --- results made elsewhere -----------------------------------------------------------------------------------------


def test_masks_that_are_none_of_the_image_fail_it_with_number_and_first_entry(task: Any) -> None:
    good, bad = compressed(rectangle(0, 0, 10, 10)), compressed(dense(60, 40, (0, 0, 9, 9)))
    given = answer([(good, 0.9), (bad, 0.5), (good, 0.2), (bad, 0.1)])
    with pytest.raises(DataError) as caught:
        scored(task, sample(truth("a", rectangle(0, 0, 10, 10))), given)
    assert str(caught.value) == (
        "image 7: 2 of 4 proposals cannot be used (first: entry 1 of the file, the mask is of 40 x 60 pixels, the "
        "image of 60 x 40)"
    )


def test_masks_without_a_pixel_take_a_place_and_are_counted(task: Any) -> None:
    image = sample(truth("a", rectangle(0, 0, 10, 10)))
    given = answer([(dense(*SIZE), 0.9), (rectangle(0, 0, 10, 10), 0.5)])
    scores = summarized(task, scored(task, image, given).rows)
    assert [scores.metrics[name].value for name in ("ar@1", "ar@10")] == [0, 1]
    assert scores.warnings == [
        "1 of 2 proposals are masks without a pixel: they find nothing and take the place of others all the same"
    ]


def summary(out: Path) -> dict[str, Any]:
    (path,) = out.glob("proposals/*/*/summary.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def results(real_data: Path) -> list[dict[str, Any]]:
    """30 results for each image of the COCO subset but one."""
    content = json.loads((real_data / "coco_subset" / "annotations" / "instances_val2017.json").read_bytes())
    return perturbed(content, 30, np.random.default_rng(2))


def score_coco(results: Any, folder: Path, call: Call, real_data: Path, code: int = 0) -> str:
    """Standard error of scoring them, with the run in ``folder/runs``."""
    (folder / "results.json").write_text(json.dumps(results))
    command = ("score", "--task", "proposals", "--dataset", "coco", "--data-root", real_data / "coco_subset")
    done = call(
        *command, "--predictions", folder / "results.json", "--out", folder / "runs", "--subset", "full", code=code
    )
    return done.stderr


def test_score_equals_the_coco_evaluator(
    sambench_cli: Call, real_data: Path, results: list[dict[str, Any]], tmp_path: Path
) -> None:
    content = json.loads((real_data / "coco_subset" / "annotations" / "instances_val2017.json").read_bytes())
    official = official_coco(content, results, plugin.LIMITS, use_cats=False).eval["recall"].mean(axis=0)[0]
    score_coco(results, tmp_path, sambench_cli, real_data)
    metrics = {name: one["value"] for name, one in summary(tmp_path / "runs")["metrics"].items()}
    expected = {f"ar@{limit}": official[0, k] for k, limit in enumerate(plugin.LIMITS)}
    expected |= {f"ar@1000_{size}": official[a, 3] for a, size in enumerate(coco.AREAS) if a}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert 0.1 < metrics["ar@1000"] < 1


def test_unknown_images_are_refused_in_one_line(
    sambench_cli: Call, real_data: Path, results: list[dict[str, Any]], tmp_path: Path
) -> None:
    strangers = [{**results[0], "image_id": id} for id in (5, 6)]
    said = score_coco([*results, *strangers], tmp_path, sambench_cli, real_data, code=2)
    assert re.search(r"results\.json: 2 of \d+ images are not in dataset coco, split val2017, e\.g\. image 5, 6$", said)
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "results.json"),
        ({"score": None}, "entries have a score that is not a finite number (first: entry 3 of image"),
        ({"segmentation": None, "bbox": [1, 2, 3, 4]}, "entries have no 'segmentation' (first: entry 3)"),
    ],
    ids=["NaN", "no score", "no mask"],
)
def test_results_that_cannot_be_scored_are_refused_in_one_line(
    results: list[dict[str, Any]], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([*results[:3], results[3] | change]))
    with pytest.raises(UsageError) as caught:
        Proposals(Proposals.Options()).read_predictions(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- from the command line ------------------------------------------------------------------------------------------


def test_a_run_on_the_demo_and_its_proposals_scored_again(sambench_cli: Call, tmp_path: Path) -> None:
    small = ("--set", "task.points_per_side=6", "--subset", 2, "--out")
    sambench_cli("run", "--task", "proposals", "--dataset", "demo", "--model", "region_tree", *small, tmp_path / "a")
    (run,) = (tmp_path / "a").glob("proposals/demo/*")
    parts = sorted((run / "files" / "proposals").glob("*.json"))
    assert len(parts) == 2
    path = tmp_path / "proposals.json"
    path.write_text(json.dumps([entry for part in parts for entry in json.loads(part.read_bytes())]))
    command = ("score", "--task", "proposals", "--dataset", "demo", "--predictions", path)
    sambench_cli(*command, "--set", "task.evaluator=reference", *small, tmp_path / "b")
    first, again = summary(tmp_path / "a"), summary(tmp_path / "b")
    assert first["n_scored"] == again["n_scored"] == 2
    for name, metric in first["metrics"].items():
        assert metric["value"] == pytest.approx(again["metrics"][name]["value"], abs=1e-9), name
    assert first["records_digest"] == again["records_digest"]
    assert 0 < first["metrics"]["ar@1000"]["value"] < 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(official_sam.build().state_dict(), path)
    return path


def test_a_run_of_a_random_sam_on_real_images_of_lvis(
    sambench_cli: Call, real_data: Path, weights: Path, tmp_path: Path
) -> None:
    sambench_cli(
        *("run", "--task", "proposals", "--dataset", "lvis", "--data-root", real_data / "lvis_val_100"),
        *("--set", "dataset.annotations=lvis_val_100.json", "--set", "dataset.missing_images=exclude"),
        *("--model", weights, "--subset", 1, "--set", "task.points_per_side=3", "--out", tmp_path),
    )
    (run,) = tmp_path.glob("proposals/lvis/*")
    records = read_records(run)
    assert records.num_rows == summary(tmp_path)["n_masks"] > 0
    assert set(records.column("frequency").to_pylist()) <= set(coco.FREQUENCIES.values())
    (part,) = (run / "files" / "proposals").glob("*.json")
    entries = json.loads(part.read_bytes())
    assert 0 < len(entries) == records.column("proposals")[0].as_py() <= 27
    assert isinstance(entries[0]["image_id"], int)
