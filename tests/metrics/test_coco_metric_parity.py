"""Average precision and recall on real annotations with perturbed ones as results, beside the reference packages run
as their manuals say, from the files to the numbers. ``docs/parity/ap_ar.md`` prints what is held here.

What the packages need to run at all: lvis 0.5.3 uses ``np.float``; LVIS files have no ``iscrowd``; pycocotools'
``summarize`` assumes 100 detections, so its arrays are read instead.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import lvis.eval
import numpy as np
import pytest
from helpers.official_coco import official_coco
from helpers.paths import ROOT
from helpers.perturbed_results import perturbed, truth_code
from lvis import LVIS, LVISEval, LVISResults
from pycocotools import mask as mask_api

from sambench.metrics import coco, coco_reference, run_lengths

DOCS = ROOT / "docs" / "parity" / "ap_ar.md"
TOLERANCE = 1e-9
AR_LIMITS = [1, 10, 100, 1000]


class WithFloat:
    """numpy, with the name that lvis 0.5.3 asks for."""

    float = float

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def first_images(content: Mapping[str, Any], n: int) -> dict[str, Any]:
    images = content["images"][:n]
    ids = {image["id"] for image in images}
    return {**content, "images": images, "annotations": [a for a in content["annotations"] if a["image_id"] in ids]}


@pytest.fixture(scope="module")
def coco_case(real_data: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """With the crowds of the subset, 300 results for each image, and images without any."""
    content = json.loads((real_data / "coco_subset" / "annotations" / "instances_val2017.json").read_bytes())
    crowded = {a["image_id"] for a in content["annotations"] if a["iscrowd"]}
    content["images"].sort(key=lambda image: image["id"] not in crowded)
    content = first_images(content, 8)
    return content, perturbed(content, 300, np.random.default_rng(3), empty_images=2)


@pytest.fixture(scope="module")
def lvis_case(real_data: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """With 330 results for each image, many of classes that the image says nothing about, and a rare class."""
    content = json.loads((real_data / "lvis_val_100" / "lvis_val_100.json").read_bytes())
    rare = {one["id"] for one in content["categories"] if one["frequency"] == "r"}
    last = {one["image_id"] for one in content["annotations"] if one["category_id"] in rare}
    content["images"] = [one for one in content["images"] if one["id"] not in last][:7] + [
        one for one in content["images"] if one["id"] in last
    ][:1]
    content = first_images(content, 8)
    results = perturbed(content, 330, np.random.default_rng(4), empty_images=1)
    # Objects of classes that are known to be absent, or not annotated exhaustively, where the image has such classes.
    listed = {image["id"]: image for image in content["images"]}
    for k, result in enumerate(results):
        image = listed[result["image_id"]]
        others = [*image["neg_category_ids"], *image["not_exhaustive_category_ids"]]
        if k % 5 == 0 and others:
            result["category_id"] = others[k % len(others)]
    return content, results


@pytest.fixture(scope="module")
def many_case(real_data: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """LVIS with 1000 results for most images and 1100 for some."""
    content = json.loads((real_data / "lvis_val_100" / "lvis_val_100.json").read_bytes())
    content["images"].sort(key=lambda image: image["height"] * image["width"])
    content = first_images(content, 4)
    return content, perturbed(content, 1100, np.random.default_rng(5), levels=300)


def official_lvis(content: Mapping[str, Any], results: Sequence[Any], path: Path) -> LVISEval:
    path.write_text(json.dumps(content))
    truth = LVIS(str(path))
    with mock.patch.object(lvis.eval, "np", WithFloat()):
        evaluator = LVISEval(truth, LVISResults(truth, copy.deepcopy(list(results))), "segm")
        evaluator.run()
    return evaluator


def equal(found: Any, official: Any) -> None:
    """The packages have -1 where we have NaN."""
    np.testing.assert_allclose(found, np.where(official > -1, official, np.nan), rtol=0, atol=TOLERANCE)


def measured(
    content: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    by: ModuleType,
    *,
    rules: coco.Rules = "coco",
    limit: int,
    kind: str = "segm",
) -> tuple[coco.Detected, coco.Annotated]:
    """What the tasks do with an image, for all of them."""
    theirs, ours = defaultdict(list), defaultdict(list)
    for annotation in content["annotations"]:
        theirs[annotation["image_id"]].append(annotation)
    for result in results:
        ours[result["image_id"]].append(result)
    images = content["images"]
    detected, annotated = [], []
    for image, place in zip(images, coco.image_places([str(i["id"]) for i in images]).tolist(), strict=True):
        size, truths, found = (image["height"], image["width"]), theirs[image["id"]], ours[image["id"]]
        federated: dict[str, Any] = {}
        if rules == "lvis":
            found = [found[k] for k in coco.top(np.array([one["score"] for one in found], float), limit)]
            of = np.array([one["category_id"] for one in found], np.int64)
            kept = coco.judged(of, {one["category_id"] for one in truths}, image["neg_category_ids"])
            found = [one for one, stays in zip(found, kept, strict=True) if stays]
            federated["unexhaustive"] = np.isin(of[kept], image["not_exhaustive_category_ids"])
        crowd = np.array([bool(one.get("iscrowd", 0)) for one in truths], bool)
        masks = run_lengths.from_codes([one["segmentation"] for one in found], size)
        if kind == "segm":
            codes = [truth_code(one, *size) for one in truths]
            ious, areas = by.mask_ious(masks, run_lengths.from_codes(codes, size), crowd), masks.area.astype(float)
        else:
            boxes = np.array([one["bbox"] for one in found], float).reshape(-1, 4)
            ious = by.box_ious(boxes, np.array([one["bbox"] for one in truths], float).reshape(-1, 4), crowd)
            areas = boxes[:, 2] * boxes[:, 3]
        categories = np.array([one["category_id"] for one in found], np.int64)
        scores = np.array([one["score"] for one in found], float)
        truth_categories = np.array([one["category_id"] for one in truths], np.int64)
        matches = by.match(
            ious,
            scores,
            areas,
            np.array([one["area"] for one in truths], float),
            crowd,
            categories=categories,
            truth_categories=truth_categories,
            rules=rules,
            limit=limit,
            **federated,
        )
        where = np.full(len(found), place)
        detected.append((where, categories, scores, matches.rank, matches.matched, matches.ignored))
        annotated.append((truth_categories, matches.truth_ignored))
    columns = [[np.concatenate(parts) for parts in zip(*rows, strict=True)] for rows in (detected, annotated)]
    return coco.Detected(*columns[0]), coco.Annotated(*columns[1])


@dataclass(frozen=True)
class Compared:
    """``official``: what the package answers, by name of the metric; ``found``: what ours does, by evaluator."""

    case: str
    official: Mapping[str, float]
    found: Mapping[str, Mapping[str, float | None]]

    def check(self) -> None:
        for name, values in self.found.items():
            numbers = {metric: -1 if value is None else value for metric, value in values.items()}
            assert numbers == pytest.approx(dict(self.official), abs=TOLERANCE), name
        first = next(iter(self.official.values()))
        assert 0.1 < first < 0.9


EVALUATORS = {"compiled": coco, "reference": coco_reference}


def sizes(case: tuple[dict[str, Any], list[dict[str, Any]]]) -> str:
    content, results = case
    return f"{len(content['images'])} images, {len(content['annotations'])} annotations, {len(results)} results"


def compare_coco(case: Any, kind: str) -> Compared:
    content, results = case
    if kind == "bbox":
        results = [{**one, "bbox": mask_api.toBbox(one["segmentation"]).tolist()} for one in results]
    official = official_coco(content, results, [1, 10, 100], use_cats=True, kind=kind)
    with contextlib.redirect_stdout(io.StringIO()):
        official.summarize()
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR@1", "AR@10", "AR@100", "ARs", "ARm", "ARl"]
    categories = [one["id"] for one in content["categories"]]
    summaries = {}
    for name, by in EVALUATORS.items():
        columns = measured(content, results, by, limit=100, kind=kind)
        of = [by.accumulate(*columns, categories, limit=limit) for limit in (1, 10, 100)]
        for m, found in enumerate(of):
            equal(found.precision, official.eval["precision"][..., m])
            equal(found.recall, official.eval["recall"][..., m])
        values = [of[2].average_precision(), of[2].average_precision(iou=0.5), of[2].average_precision(iou=0.75)]
        values += [of[2].average_precision(area) for area in ("small", "medium", "large")]
        values += [found.average_recall() for found in of]
        values += [of[2].average_recall(area) for area in ("small", "medium", "large")]
        summaries[name] = dict(zip(names, values, strict=True))
    what = "masks" if kind == "segm" else "boxes"
    return Compared(f"COCO AP, {what}", dict(zip(names, official.stats.tolist(), strict=True)), summaries)


def compare_lvis(case: Any, path: Path) -> Compared:
    content, results = case
    official = official_lvis(content, results, path)
    summaries = {}
    for name, by in EVALUATORS.items():
        columns = measured(content, results, by, rules="lvis", limit=300)
        found = by.accumulate(*columns, [one["id"] for one in content["categories"]], rules="lvis")
        equal(found.precision, official.eval["precision"])
        equal(found.recall, official.eval["recall"])
        summary = {
            "AP": found.average_precision(),
            "AP50": found.average_precision(iou=0.5),
            "AP75": found.average_precision(iou=0.75),
            **{f"AP{area[0]}": found.average_precision(area) for area in ("small", "medium", "large")},
        }
        for letter in "rcf":
            of = [one["id"] for one in content["categories"] if one["frequency"] == letter]
            summary[f"AP{letter}"] = found.average_precision(categories=of)
        summary["AR@300"] = found.average_recall()
        summary |= {f"AR{area[0]}@300": found.average_recall(area) for area in ("small", "medium", "large")}
        summaries[name] = summary
    return Compared("LVIS AP, masks", {name: float(value) for name, value in official.get_results().items()}, summaries)


def class_agnostic(
    content: Mapping[str, Any], results: Sequence[Mapping[str, Any]], by: ModuleType
) -> tuple[list[Any], list[Any], list[int]]:
    """``taken_by`` ``(A, T)`` and ``truth_ignored`` ``(A,)`` of each truth, and its image."""
    taken, ignored, places = [], [], []
    for place, image in enumerate(content["images"]):
        size = (image["height"], image["width"])
        truths = [one for one in content["annotations"] if one["image_id"] == image["id"]]
        found = [one for one in results if one["image_id"] == image["id"]]
        truths.sort(key=lambda one: one["category_id"])
        found.sort(key=lambda one: one["category_id"])
        crowd = np.array([bool(one.get("iscrowd", 0)) for one in truths], bool)
        masks = run_lengths.from_codes([one["segmentation"] for one in found], size)
        ious = by.mask_ious(masks, run_lengths.from_codes([truth_code(one, *size) for one in truths], size), crowd)
        scores, areas = np.array([one["score"] for one in found], float), masks.area.astype(float)
        truth_areas = np.array([one["area"] for one in truths], float)
        matches = by.match(ious, scores, areas, truth_areas, crowd, limit=1000)
        taken += list(matches.taken_by)
        ignored += list(matches.truth_ignored)
        places += [place] * len(truths)
    return taken, ignored, places


def compare_recall(case: Any, name: str) -> Compared:
    content, results = case
    recall = official_coco(content, results, AR_LIMITS, use_cats=False).eval["recall"]
    official = {
        f"AR{'' if area == 'all' else area[0]}@{limit}": float(recall[:, 0, a, m].mean())
        for a, area in enumerate(coco.AREAS)
        for m, limit in reversed(list(enumerate(AR_LIMITS)))
    }
    summaries: dict[str, dict[str, float | None]] = {}
    for evaluator, by in EVALUATORS.items():
        taken, ignored, places = (np.array(column) for column in class_agnostic(content, results, by))
        summaries[evaluator] = summary = {}
        for a, area in enumerate(coco.AREAS):
            of = taken[~ignored[:, a], a]
            values = [float(coco.recall_of_each(of, limit).mean()) for limit in AR_LIMITS]
            if by is coco_reference:
                values = by.average_recall(of, places[~ignored[:, a]], AR_LIMITS)
            letter = "" if area == "all" else area[0]
            summary |= {f"AR{letter}@{limit}": value for limit, value in zip(AR_LIMITS, values, strict=True)}
    return Compared(name, official, summaries)


@pytest.fixture(scope="module")
def coco_masks(coco_case: Any) -> Compared:
    return compare_coco(coco_case, "segm")


@pytest.fixture(scope="module")
def coco_boxes(coco_case: Any) -> Compared:
    return compare_coco(coco_case, "bbox")


@pytest.fixture(scope="module")
def lvis_masks(lvis_case: Any, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return compare_lvis(lvis_case, tmp_path_factory.mktemp("lvis") / "lvis.json")


@pytest.fixture(scope="module")
def coco_recall(coco_case: Any) -> Compared:
    return compare_recall(coco_case, "COCO class-agnostic AR")


@pytest.fixture(scope="module")
def lvis_recall(many_case: Any) -> Compared:
    return compare_recall(many_case, "LVIS class-agnostic AR")


def test_coco_ap_of_masks_and_of_boxes_equals_pycocotools(
    coco_case: Any, coco_masks: Compared, coco_boxes: Compared
) -> None:
    assert sum(a["iscrowd"] for a in coco_case[0]["annotations"]) >= 2
    coco_masks.check()
    coco_boxes.check()


def test_lvis_ap_equals_lvis(lvis_masks: Compared) -> None:
    lvis_masks.check()


def test_class_agnostic_ar_equals_pycocotools(coco_recall: Compared, lvis_recall: Compared) -> None:
    coco_recall.check()
    lvis_recall.check()


def test_the_documentation_prints_what_is_compared_here(
    coco_case: Any,
    lvis_case: Any,
    many_case: Any,
    coco_masks: Compared,
    coco_boxes: Compared,
    lvis_masks: Compared,
    coco_recall: Compared,
    lvis_recall: Compared,
) -> None:
    parts = []
    for compared, case in (
        (coco_masks, coco_case),
        (coco_boxes, coco_case),
        (lvis_masks, lvis_case),
        (coco_recall, coco_case),
        (lvis_recall, many_case),
    ):
        rows = [
            f"| {name} | {value:.9f} | "
            + " | ".join(f"{-1 if found[name] is None else found[name]:.9f}" for found in compared.found.values())
            + " |"
            for name, value in compared.official.items()
        ]
        head = f"| | package | {' | '.join(EVALUATORS)} |\n|---|---|---|---|"
        parts.append("\n".join([f"### {compared.case}: {sizes(case)}", "", head, *rows]))
    expected = "\n\n".join(parts)
    printed = DOCS.read_text().partition("<!-- tables -->\n")[2].partition("\n<!-- end of tables -->")[0]
    assert printed == expected, f"what stands between the markers in {DOCS.name} is not what is computed:\n{expected}"
