"""The functions of :mod:`sambench.metrics.coco` by the code of the reference packages, pycocotools and lvis: the judges
in the tests, and ``--set task.evaluator=reference``.

IoUs come from ``pycocotools.mask.iou``, matches from ``COCOeval.evaluateImg`` and ``LVISEval.evaluate_img``, curves
from their ``accumulate``, fed image by image with the little that those methods read. Both packages are loaded on first
use.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import logging
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import numpy as np

from sambench.metrics import coco
from sambench.metrics.coco import (
    AREAS,
    IOU_THRESHOLDS,
    Accumulated,
    Annotated,
    Detected,
    Flags,
    Floats,
    Integers,
    Matches,
    Rules,
)
from sambench.metrics.run_lengths import RunLengths

_RANGES = [list(bounds) for bounds in AREAS.values()]
_EVERY = (1 << len(IOU_THRESHOLDS)) - 1
_ONE_CLASS = -1
"""What both packages put in a category's place where classes do not matter."""


def mask_ious(detections: RunLengths, truths: RunLengths, crowd: Flags | None = None) -> Floats:
    """As :func:`sambench.metrics.coco.mask_ious`."""
    return _ious(_codes(detections), _codes(truths), crowd, len(truths))


def box_ious(detections: Floats, truths: Floats, crowd: Flags | None = None) -> Floats:
    """As :func:`sambench.metrics.coco.box_ious`."""
    return _ious(detections, truths, crowd, len(truths))


def match(
    ious: Floats,
    scores: Floats,
    areas: Floats,
    truth_areas: Floats,
    crowd: Flags,
    *,
    categories: Integers | None = None,
    truth_categories: Integers | None = None,
    rules: Rules = "coco",
    unexhaustive: Flags | None = None,
    limit: int | None = None,
) -> Matches:
    """As :func:`sambench.metrics.coco.match`."""
    n, g = ious.shape
    if categories is None or truth_categories is None:
        categories, truth_categories = np.zeros(n, np.int64), np.zeros(g, np.int64)
    found = Matches(
        np.zeros(n, np.int32),
        np.zeros((n, len(AREAS)), np.uint16),
        np.zeros((n, len(AREAS)), np.uint16),
        np.zeros((g, len(AREAS)), np.bool_),
        np.full((g, len(AREAS), len(IOU_THRESHOLDS)), -1, np.int32),
    )
    for category in np.unique(np.concatenate([categories, truth_categories])).tolist():
        d, t = np.flatnonzero(categories == category), np.flatnonzero(truth_categories == category)
        d = d[np.argsort(-scores[d], kind="mergesort")]
        found.rank[d] = np.arange(len(d))
        d = d[:limit]
        if rules == "lvis":
            # LVIS.get_ann_ids, through which the evaluator reads both, leaves out what has no area.
            found.ignored[d[areas[d] <= 0]] = _EVERY
            found.truth_ignored[t[truth_areas[t] <= 0]] = True
            d, t = d[areas[d] > 0], t[truth_areas[t] > 0]
        # Ids from 1: to both packages 0 means that nothing was matched.
        detections = [
            {"id": k + 1, "image_id": 1, "category_id": category, "score": scores[k], "area": areas[k]}
            for k in d.tolist()
        ]
        truths = [
            {"id": k + 1, "image_id": 1, "category_id": category, "area": truth_areas[k], "iscrowd": int(crowd[k])}
            for k in t.tolist()
        ]
        table: Any = ious[d][:, t] if len(d) and len(t) else []
        if rules == "coco":
            results = _by_coco(detections, truths, table, category)
        else:
            lacking = unexhaustive is not None and bool(unexhaustive[d].any())
            results = _by_lvis(detections, truths, table, category, lacking)
        for a, result in enumerate(results):
            _enter(found, a, result)
    return found


def accumulate(
    detected: Detected,
    annotated: Annotated,
    categories: Collection[int],
    *,
    limit: int | None = None,
    rules: Rules = "coco",
) -> Accumulated:
    """As :func:`sambench.metrics.coco.accumulate`. ``rules``: whose ``accumulate`` it is."""
    known = np.unique(np.asarray(categories, np.int64))
    entries = []
    for category in known.tolist():
        mine = np.flatnonzero(detected.category == category)
        mine = mine[np.lexsort((detected.rank[mine], detected.image[mine]))]
        if limit is not None:
            mine = mine[detected.rank[mine] < limit]
        theirs = annotated.category == category
        for a in range(len(AREAS)):
            # The images of a category as one: both packages only put them one after the other.
            matched, ignored = (_unpacked(column[mine, a]) for column in (detected.matched, detected.ignored))
            entry = {
                "Scores": detected.score[mine],
                "Ids": mine,
                "Matches": matched.astype(float),
                "Ignore": ignored,
            }
            gone = annotated.ignored[theirs, a].astype(int)
            empty = not len(mine) and not len(gone)
            if rules == "coco":
                entries.append(None if empty else {"gtIgnore": gone, **{f"dt{k}": v for k, v in entry.items()}})
            else:
                entries.append(
                    None if empty else {"gt_ignore": gone, **{f"dt_{k.lower()}": v for k, v in entry.items()}}
                )
    if rules == "coco":
        evaluator = _coco_evaluator(known.tolist(), [1], [len(detected.image) + 1])
        evaluator.evalImgs = entries
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator.accumulate()
        precision, recall = evaluator.eval["precision"][..., 0], evaluator.eval["recall"][..., 0]
    else:
        evaluator = _lvis_evaluator(known.tolist())
        evaluator.eval_imgs = entries
        evaluator.accumulate()
        precision, recall = evaluator.eval["precision"], evaluator.eval["recall"]
    return Accumulated(known, np.where(precision > -1, precision, np.nan), np.where(recall > -1, recall, np.nan))


def average_recall(taken_by: Integers, images: Integers, limits: Collection[int]) -> list[float | None]:
    """AR at each of ``limits`` by ``COCOeval.accumulate`` with ``useCats=0``, which cuts each image's detections.

    ``taken_by``: ``(M, T)``, as :func:`sambench.metrics.coco.recall_of_each`; ``images``: ``(M,)``, the image of each
    truth."""
    places = np.unique(images)
    if not len(places):
        return [None for _ in limits]
    evaluator = _coco_evaluator([_ONE_CLASS], places.tolist(), sorted(limits))
    evaluator.params.useCats = 0
    evaluator.params.areaRng = evaluator._paramsEval.areaRng = _RANGES[:1]
    evaluator.params.areaRngLbl = ["all"]
    order = np.argsort(images, kind="stable")
    for part in np.split(order, np.searchsorted(images[order], places[1:])):
        taken = taken_by[part]
        n = int(taken.max()) + 1
        matches = np.zeros((len(IOU_THRESHOLDS), n))
        truth, threshold = np.nonzero(taken >= 0)
        matches[threshold, taken[truth, threshold]] = truth + 1
        evaluator.evalImgs.append(
            {
                # Recall asks for the order of an image's detections only.
                "dtScores": -np.arange(n, dtype=float),
                "dtIds": np.arange(n),
                "dtMatches": matches,
                "dtIgnore": np.zeros(matches.shape, bool),
                "gtIgnore": np.zeros(len(part), int),
            }
        )
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
    recall = evaluator.eval["recall"][:, 0, 0]
    return [float(recall[:, sorted(limits).index(limit)].mean()) for limit in limits]


def _codes(masks: RunLengths) -> list[dict[str, Any]]:
    """COCO's codes of the masks."""
    from pycocotools import mask as api

    height, width = masks.size
    codes = []
    for begin, end in zip(masks.first[:-1].tolist(), masks.first[1:].tolist(), strict=True):
        edges = masks.edges[begin:end].astype(np.int64)
        runs = np.diff(edges, prepend=0, append=height * width)
        codes.append(api.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width))
    return codes


def _ious(detections: Any, truths: Any, crowd: Flags | None, n: int) -> Floats:
    from pycocotools import mask as api

    if not len(detections) or not n:
        return np.zeros((len(detections), n))
    flags = np.zeros(n, np.uint8) if crowd is None else crowd.astype(np.uint8)
    found: Floats = api.iou(detections, truths, flags)
    return found


def _by_coco(detections: Any, truths: Any, ious: Any, category: int) -> list[dict[str, Any] | None]:
    evaluator = _coco_evaluator([category], [1], [len(detections)])
    evaluator._dts, evaluator._gts = {(1, category): detections}, {(1, category): truths}
    for truth in truths:
        truth["ignore"] = truth["iscrowd"]
    evaluator.ious = {(1, category): ious}
    return [evaluator.evaluateImg(1, category, bounds, len(detections)) for bounds in _RANGES]


def _by_lvis(detections: Any, truths: Any, ious: Any, category: int, unexhaustive: bool) -> list[dict[str, Any] | None]:
    evaluator = _lvis_evaluator([category])
    evaluator._dts, evaluator._gts = {(1, category): detections}, {(1, category): truths}
    for truth in truths:
        truth["ignore"] = 0
    evaluator.img_nel = {1: [category] if unexhaustive else []}
    evaluator.ious = {(1, category): ious}
    results = []
    for bounds in _RANGES:
        result = evaluator.evaluate_img(1, category, bounds)
        named = {"dt_ids": "dtIds", "gt_ids": "gtIds", "dt_matches": "dtMatches", "gt_matches": "gtMatches"}
        named |= {"gt_ignore": "gtIgnore", "dt_ignore": "dtIgnore"}
        results.append(None if result is None else {named.get(key, key): value for key, value in result.items()})
    return results


def _enter(found: Matches, a: int, result: dict[str, Any] | None) -> None:
    """Writes what an evaluator answers for one category and area range where it belongs."""
    if result is None:
        return
    d, t = np.array(result["dtIds"], np.int64) - 1, np.array(result["gtIds"], np.int64) - 1
    bits = 1 << np.arange(len(IOU_THRESHOLDS))[:, None]
    found.matched[d, a] = (bits * (result["dtMatches"] > 0)).sum(axis=0)
    found.ignored[d, a] = (bits * result["dtIgnore"].astype(bool)).sum(axis=0)
    found.truth_ignored[t, a] = result["gtIgnore"].astype(bool)
    taken = result["gtMatches"].astype(np.int64).T - 1
    found.taken_by[t, a] = np.where(taken >= 0, found.rank[taken], -1) if len(found.rank) else -1


def _unpacked(bits: Any) -> Any:
    """``(T, n)`` bool of ``(n,)`` bits."""
    return (bits >> np.arange(len(IOU_THRESHOLDS), dtype=np.uint16)[:, None]) & 1 == 1


def _coco_evaluator(categories: list[int], images: list[int], limits: list[int]) -> Any:
    from pycocotools.cocoeval import COCOeval

    evaluator = COCOeval(iouType="segm")
    p = evaluator.params
    p.catIds, p.imgIds, p.maxDets, p.areaRng = categories, images, limits, _RANGES
    p.areaRngLbl, p.iouThrs, p.recThrs = list(AREAS), IOU_THRESHOLDS, coco.RECALL_THRESHOLDS
    evaluator._paramsEval = copy.deepcopy(p)
    evaluator.evalImgs = []
    return evaluator


def _lvis_evaluator(categories: list[int]) -> Any:
    module = importlib.import_module("lvis.eval")
    if not hasattr(module.np, "float"):
        module.np = _OldNumpy()  # type: ignore[attr-defined]
    evaluator = module.LVISEval.__new__(module.LVISEval)
    evaluator.logger = logging.getLogger(__name__)
    evaluator.params = module.Params(iou_type="segm")
    p = evaluator.params
    p.cat_ids, p.img_ids, p.area_rng, p.area_rng_lbl = categories, [1], _RANGES, list(AREAS)
    p.iou_thrs, p.rec_thrs = IOU_THRESHOLDS, coco.RECALL_THRESHOLDS
    evaluator.eval, evaluator.ious = {}, {}
    evaluator._gts, evaluator._dts = defaultdict(list), defaultdict(list)
    return evaluator


class _OldNumpy:
    """numpy with the name ``float``, which lvis 0.5.3 uses and numpy 1.24 removed."""

    float = float

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)
