"""Zero-shot object proposals (Segment Anything, §7.3 and §D.3; protocol §4).

The automatic mask generator, with a dense grid and nothing filtered by confidence, proposes up to 1000 masks for each
image. Recall of the annotated masks, whatever their class, is averaged over IoU thresholds from 0.5 to 0.95: AR@1000,
as COCO's evaluator counts it with ``useCats=0``, over all masks, by size, and (LVIS) by how frequent their class is.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from annotated_types import Ge
from numpy.typing import NDArray

from sambench.metrics import coco, coco_reference, run_lengths
from sambench.metrics.run_lengths import RunLengths
from sambench.metrics.stats import metric_of
from sambench.models.common.mask_generator import GeneratorOptions, MaskGenerator
from sambench.plugins.options import UnitInterval
from sambench.protocols.records import columns, signature
from sambench.readers.predictions import detections
from sambench.readers.predictions.detections import Detections
from sambench.types import (
    Artifacts,
    Context,
    DeferredResult,
    Instance,
    MetricValue,
    Predictions,
    Sample,
    SampleResult,
    Task,
    TaskSummary,
    View,
)

LIMITS = (1, 10, 100, 1000)
"""Numbers of proposals that recall is reported at; no more than the last count (§D.3)."""

GROUPS = (*coco.AREAS, "frequency")
"""Truths among which a proposal looks for one to take: all of them, those of a size, those of the same frequency."""


class Proposals(Task):
    name = "proposals"
    version = 1
    requires = frozenset({"points"})
    primary = "ar@1000"
    artifacts = Artifacts("save_proposals", coco_results=True)

    @dataclass(frozen=True)
    class Options(GeneratorOptions):
        """The mask generator's, with the paper's values for this task as defaults (§D.3; OQ-15): a 64 x 64 grid, box
        NMS 0.9, and no other filter."""

        points_per_side: Annotated[int, Ge(1)] = 64
        pred_iou_thresh: float = 0.0
        stability_score_thresh: UnitInterval = 0.0
        box_nms_thresh: UnitInterval = 0.9
        evaluator: Literal["compiled", "reference"] = "compiled"
        """`reference`: pycocotools' own code, slower, for the same numbers to 1e-9."""
        save_proposals: bool = True
        """Keep the proposals with the run in COCO's results form: `files/proposals/ID.json`."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                *columns(pa.string(), "dataset", "image_id", "instance_id", "class", "frequency"),
                *columns(pa.int32(), "height", "width"),
                ("area", pa.float64()),
                *columns(pa.int32(), "proposals", "empty_proposals"),
                *columns(pa.list_(pa.int32()), *(f"rank_{group}" for group in GROUPS)),
                ("time_ms", pa.float64()),
            ]
        )

    @property
    def signature(self) -> str:
        o = self.options
        return signature(
            f"grid:{o.points_per_side}x{o.points_per_side}{'' if o.multimask else '-single'}",
            o.pred_iou_thresh and f"iou>{o.pred_iou_thresh}",
            o.stability_score_thresh and f"stability>={o.stability_score_thresh}+-{o.stability_score_offset}",
            f"boxnms:{o.box_nms_thresh}",
            o.crop_n_layers
            and f"crops:{o.crop_n_layers}-nms{o.crop_nms_thresh}-overlap{o.crop_overlap_ratio:.3f}"
            f"-down{o.crop_n_points_downscale_factor}-edge{o.crop_edge_distance}",
            o.full_image_thresh and f"full<{o.full_image_thresh}",
            o.min_mask_region_area and f"regions:{o.min_mask_region_area}{'-keep' if o.keep_largest_region else ''}",
            f"top:{LIMITS[-1]}-iou+stability",
            f"v:{self.version}",
        )

    def excludes(self, sample: Sample) -> str:
        return "" if any(not instance.crowd for instance in _truths(sample)) else "no_instances"

    def measure(self, sample: Sample, view: View, context: Context) -> DeferredResult:
        began = time.perf_counter()
        made = MaskGenerator(self.options).generate(view, sample.size, context.capabilities)
        confidence = (made.predicted_iou.astype(np.float64) + made.stability) / 2
        best = coco.top(confidence, LIMITS[-1])
        made, confidence = made.take(best), confidence[best]
        return partial(self._measure, sample, made.rles, confidence, context.dataset, time.perf_counter() - began)

    def _measure(
        self,
        sample: Sample,
        codes: Sequence[Mapping[str, Any]],
        scores: NDArray[np.float64],
        dataset: str,
        spent: float,
    ) -> SampleResult:
        began = time.perf_counter() - spent
        masks = run_lengths.from_codes(codes, sample.size)
        files = (
            {f"proposals/{sample.id}.json": _results(sample.id, codes, scores)} if self.options.save_proposals else {}
        )
        return SampleResult(*self._compare(sample, masks, scores, dataset, began), files)

    def read_predictions(self, path: Path) -> Predictions:
        results = detections.load(path)
        results.require("segmentation")
        return Predictions(list(results.ids), results.digest, results.read)

    def score(self, sample: Sample, answer: Detections, context: Context) -> DeferredResult:
        # Within an image the toolkit takes detections class by class, which decides among equal scores.
        answer = answer.take(np.argsort(answer.categories, kind="stable"))
        return partial(self._score, sample, answer, context.dataset)

    def _score(self, sample: Sample, answer: Detections, dataset: str) -> SampleResult:
        began = time.perf_counter()
        masks = detections.own_masks(sample, answer, "proposals")
        return SampleResult(*self._compare(sample, masks, answer.scores, dataset, began))

    def _compare(
        self, sample: Sample, proposed: RunLengths, scores: NDArray[np.float64], dataset: str, began: float
    ) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """Rows, and instances left out, by rule."""
        evaluator: Any = coco if self.options.evaluator == "compiled" else coco_reference
        # Within an image the toolkit takes the truths class by class, which decides among equal IoUs.
        truths = sorted(_truths(sample), key=_by_class)
        crowd = np.array([one.crowd for one in truths], np.bool_)
        areas = np.array([one.mask.area if one.annotated_area is None else one.annotated_area for one in truths], float)
        frequencies = [coco.FREQUENCIES.get(one.attributes.get("frequency", "")) for one in truths]
        ious = evaluator.mask_ious(proposed, run_lengths.from_masks([one.mask for one in truths], sample.size), crowd)

        proposed_areas = proposed.area.astype(np.float64)

        def match(which: NDArray[np.int64]) -> coco.Matches:
            found: coco.Matches = evaluator.match(
                ious[:, which], scores, proposed_areas, areas[which], crowd[which], limit=LIMITS[-1]
            )
            return found

        matches = match(np.arange(len(truths)))
        ranks: list[dict[str, list[int | None]]] = [
            {
                f"rank_{group}": _nullable(matches.taken_by[k, a])
                for a, group in enumerate(coco.AREAS)
                if not matches.truth_ignored[k, a]
            }
            for k in range(len(truths))
        ]
        for frequency in dict.fromkeys(filter(None, frequencies)):
            which = np.array([k for k, one in enumerate(frequencies) if one == frequency])
            for k, taken in zip(which.tolist(), match(which).taken_by[:, 0], strict=True):
                ranks[k]["rank_frequency"] = _nullable(taken)
        rows = [
            {
                "dataset": dataset,
                "image_id": sample.id,
                "instance_id": one.id,
                "class": one.class_name,
                "frequency": frequency,
                "height": sample.size[0],
                "width": sample.size[1],
                "area": area,
                "proposals": len(proposed),
                "empty_proposals": int(np.count_nonzero(proposed.area == 0)),
                **found,
                "time_ms": (time.perf_counter() - began) * 1000,
            }
            for one, frequency, area, found in zip(truths, frequencies, areas.tolist(), ranks, strict=True)
            if not one.crowd
        ]
        excluded = Counter(sample.truth.dropped)
        excluded["empty_mask"] -= len(sample.truth.empty)
        excluded["crowd"] += int(crowd.sum())
        return rows, dict(+excluded)

    def summarize(self, records: pa.Table, context: Context) -> TaskSummary:
        images = np.array(records.column("image_id").to_pylist(), dtype=object)
        metrics: dict[str, MetricValue] = {}
        breakdowns: dict[str, dict[str, dict[str, MetricValue]]] = {}
        for cut, subset, rows, taken in _subsets(records):
            found = self._recall(taken, images[rows].tolist(), context.seed)
            if subset == "all":
                metrics |= found
            else:
                metrics[f"{self.primary}_{subset}"] = found[self.primary]
                breakdowns.setdefault(cut, {})[subset] = found
        first = np.unique(images.astype(str), return_index=True)[1]
        given, empty = (records.column(name).to_numpy()[first] for name in ("proposals", "empty_proposals"))
        metrics["proposals"] = replace(metric_of(given.astype(float), None, context.seed), unit="masks per image")
        headlines = tuple(name for name in metrics if name.startswith(f"{self.primary}_"))
        return TaskSummary(metrics, breakdowns, records.num_rows, warnings=_warnings(given, empty), headlines=headlines)

    def _recall(self, taken: NDArray[np.int64], images: Sequence[str], seed: int) -> dict[str, MetricValue]:
        """AR at each of :data:`LIMITS` of M truths. ``taken``: ``(M, T)``, -1 for none; ``images``: of each truth."""
        found = {
            f"ar@{limit}": metric_of(coco.recall_of_each(taken, limit), images, seed) for limit in reversed(LIMITS)
        }
        if self.options.evaluator == "reference":
            values = coco_reference.average_recall(taken, np.unique(images, return_inverse=True)[1], LIMITS)
            found |= {
                f"ar@{limit}": replace(found[f"ar@{limit}"], value=value)
                for limit, value in zip(LIMITS, values, strict=True)
            }
        return found


def _truths(sample: Sample) -> tuple[Instance, ...]:
    """Those without a pixel too: nothing finds them, and the toolkit counts them."""
    return (*sample.truth.instances, *sample.truth.empty)


def _by_class(instance: Instance) -> int:
    return 0 if instance.class_id is None else instance.class_id


def _nullable(ranks: NDArray[np.int32]) -> list[int | None]:
    return [None if rank < 0 else rank for rank in ranks.tolist()]


def _subsets(records: pa.Table) -> Iterator[tuple[str, str, NDArray[np.int64], NDArray[np.int64]]]:
    """Cut, subset, its records, and their ranks ``(M, T)``, -1 for none."""
    frequencies = np.array(records.column("frequency").to_pylist(), dtype=object)
    for group in GROUPS:
        column = records.column(f"rank_{group}").combine_chunks()
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        taken = column.flatten().fill_null(-1).to_numpy().astype(np.int64).reshape(-1, len(coco.IOU_THRESHOLDS))
        if group != "frequency":
            yield "size", group, rows, taken
            continue
        for frequency in reversed([*coco.FREQUENCIES.values()]):  # in the order of the paper's Table 4
            mine = frequencies[rows] == frequency
            if mine.any():
                yield "frequency", frequency, rows[mine], taken[mine]


def _warnings(given: NDArray[np.int64], empty: NDArray[np.int64]) -> list[str]:
    """``given``, ``empty``: proposals of each image, and how many of them hold no pixel."""
    warnings = []
    if over := int(np.count_nonzero(given > LIMITS[-1])):
        warnings.append(
            f"{over} of {len(given)} images have more than {LIMITS[-1]} proposals: the {LIMITS[-1]} of the highest "
            "score count, as COCO's evaluator has it"
        )
    if lacking := int(np.count_nonzero(given == 0)):
        warnings.append(f"{lacking} of {len(given)} images have no proposal: none of their masks is found")
    if hollow := int(empty.sum()):
        warnings.append(
            f"{hollow} of {int(given.sum())} proposals are masks without a pixel: they find nothing and take the place "
            "of others all the same"
        )
    return warnings


def _results(image: str, codes: Sequence[Mapping[str, Any]], scores: NDArray[np.float64]) -> bytes:
    """The proposals of an image as COCO's results: best first, without a box, of which the toolkits would take the area
    in place of the mask's (loadRes). Numbers as image ids are numbers again."""
    number: int | str = int(image) if image.isdecimal() and str(int(image)) == image else image
    entries = [
        {"image_id": number, "category_id": 1, "segmentation": code, "score": score}
        for code, score in zip(codes, scores.tolist(), strict=True)
    ]
    return json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


PLUGIN = Proposals
