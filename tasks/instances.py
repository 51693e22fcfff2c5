"""Zero-shot instance segmentation from boxes (Segment Anything, §7.4 and §D.4; protocol §5).

A detector says where objects are and of which class; the model is prompted with each box, and its mask takes the place
of the detector's. Class and score stay the detector's. The masks are scored by the rules of the dataset's own toolkit.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Gt, Le, Lt, MinLen
from numpy.typing import NDArray
from typing_extensions import override

from sambench import masks
from sambench.errors import DataError, UsageError
from sambench.metrics import coco, coco_reference, run_lengths
from sambench.metrics.iou import iou
from sambench.metrics.run_lengths import RunLengths
from sambench.metrics.stats import metric_of
from sambench.models.common.box_prompts import BoxMasks, masks_of_boxes, moved
from sambench.protocols.records import columns, flat, lengths, signature
from sambench.readers.predictions import detections
from sambench.readers.predictions.detections import Detections, Results
from sambench.types import (
    Answer,
    Artifacts,
    Context,
    Dataset,
    DeferredResult,
    Instance,
    Mask,
    MetricValue,
    Predictions,
    Recorded,
    Replay,
    Sample,
    SampleResult,
    Task,
    TaskSummary,
    View,
)

TRUTH = "truth"
LIMITS: Mapping[coco.Rules, int] = {"coco": 100, "lvis": 300}
"""Detections that count: of each category in an image (pycocotools' maxDets), of an image (lvis' max_dets)."""

THRESHOLDS: Mapping[coco.Rules, float] = {"coco": 0.05, "lvis": 0.02}
"""Scores above which the public ViTDet configurations keep a detection (OQ-20)."""

KINDS = ("", "box_", "detector_mask_")
"""What is matched with the truth: the model's masks, the boxes that it was given, the detector's own masks."""

MATCHES = {"area": pa.float64(), "rank": pa.int32(), "matched": pa.uint16(), "ignored": pa.uint16()}
"""The columns of each kind: what :class:`sambench.metrics.coco.Matches` says of each detection."""

BEST = (1, 10)
"""By COCO's rules, recall is also counted with so many detections of a category in an image."""

SIZES = tuple(size for size in coco.AREAS if size != "all")

HEADLINES = (
    *(f"ap_{size}" for size in SIZES),
    *(f"ap_{frequency}" for frequency in coco.FREQUENCIES.values()),
    "box_ap",
    "detector_mask_ap",
    "miou",
)

NO_CATEGORY = 0
"""The category of everything in a dataset without categories."""


@dataclass(frozen=True)
class _Asked:
    """What is prompted for in an image. ``targets``: the instances that it belongs to, where it is the truth.
    ``left_out``: by rule. ``strangers``: labels of a detector that the dataset does not have."""

    detections: Detections
    targets: Sequence[Instance] | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    strangers: Sequence[str] = ()


class _TruthBoxes:
    """The annotated boxes. ``origin``: where the boxes come from, with a short digest."""

    origin = TRUTH
    inputs: Mapping[str, str] = {}

    def prepare(self, dataset: Dataset, known: Mapping[int, str], label: str) -> None:
        """Nothing can be wrong."""

    def asked(self, sample: Sample, context: Context, rules: coco.Rules) -> _Asked:
        targets = _prompted(sample)
        boxes = np.array([_box(one) for one in targets], np.float64).reshape(-1, 4)
        categories = np.array([_category(one) for one in targets], np.int64)
        return _Asked(Detections(np.arange(len(targets)), categories, np.ones(len(targets)), boxes), targets)


class _FileBoxes:
    """Boxes from a file of detections in COCO's results form."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser()

    @cached_property
    def results(self) -> Results:
        return detections.load(self._path)

    @property
    def origin(self) -> str:
        return f"{self._path.name}@{self.results.digest[:8]}"

    @property
    def inputs(self) -> Mapping[str, str]:
        return {"boxes": f"sha256:{self.results.digest}"}

    def prepare(self, dataset: Dataset, known: Mapping[int, str], label: str) -> None:
        self.results.require("bbox", *(["category_id"] if known else []))
        index = {entry.id for entry in dataset.index()}
        self.results.require_known(
            known or {NO_CATEGORY: ""}, lambda id: id in index or _is_known(dataset, id), f"dataset {label}"
        )

    def asked(self, sample: Sample, context: Context, rules: coco.Rules) -> _Asked:
        return _Asked(self.results.read(sample.id))


class _DetectorBoxes:
    """Boxes of a detector that runs beside the model. ``least``: score above which they count, None: by the rules."""

    def __init__(self, reference: str, least: float | None) -> None:
        self._reference, self._least = reference, least
        self._detector: Any = None

    @cached_property
    def _located(self) -> Any:
        # Not before it is asked for: this brings torch.
        from sambench.models.detectors import detectors

        return detectors.locate(self._reference)

    @property
    def origin(self) -> str:
        return f"{self._located.name}@{self._located.digest[:8]}"

    @property
    def inputs(self) -> Mapping[str, str]:
        return {"detector": f"{self._located.name}@{self._located.digest}"}

    def prepare(self, dataset: Dataset, known: Mapping[int, str], label: str) -> None:
        from sambench.models.detectors import detectors

        if not known:
            raise UsageError(f"dataset {label} does not name its categories, so a detector's cannot be told")
        self._numbers = detectors.numbers_of(self._located, known, f"dataset {label}")

    def asked(self, sample: Sample, context: Context, rules: coco.Rules) -> _Asked:
        from sambench.models.detectors import detectors

        if self._detector is None:
            self._detector = detectors.Detector(self._located, context.device, context.threads)
        found = self._detector(sample.image, THRESHOLDS[rules] if self._least is None else self._least)
        numbers = [self._numbers.get(label) for label in found.labels.tolist()]
        known = np.array([number is not None for number in numbers], np.bool_)
        everything = Detections(
            np.arange(len(numbers)),
            np.array([NO_CATEGORY if number is None else number for number in numbers], np.int64),
            found.scores,
            found.boxes,
            found.masks,
        )
        names = {self._located.labels.get(label, str(label)) for label in found.labels[~known].tolist()}
        return _Asked(everything.take(known), strangers=sorted(names))


class _BoxReplay(Replay):
    """Prompts with the annotated boxes again."""

    ignores_void = False

    def __init__(self, task: Instances) -> None:
        self._task = task
        o = task.options
        self.prompt_rule = f"box expansion: {o.box_expansion}, jitter: {o.box_jitter}"

    def prompted(self, sample: Sample) -> list[Instance]:
        return _prompted(sample)

    def recorded(self, records: pa.Table) -> dict[tuple[str, str], Recorded]:
        names = ("image_id", "height", "width", "truth_id", "truth_crowd", "truth_area", "iou", "score")
        columns = (records.column(name).to_pylist() for name in names)
        found = {}
        for image, height, width, ids, crowd, areas, ious, scores in zip(*columns, strict=True):
            objects = [(one, area) for one, is_crowd, area in zip(ids, crowd, areas, strict=True) if not is_crowd]
            for k, (one, area) in enumerate(objects):
                iou_of, score = (values[k : k + 1] for values in (ious or [], scores))
                found[image, one] = Recorded(area, (height, width), iou_of, score)
        return found

    def answers(
        self, sample: Sample, view: View, context: Context, wanted: Collection[str], clicks: int
    ) -> Iterator[Answer]:
        asked, prompts, made = self._task.prompt(sample, view, context)
        for one, box, mask in zip(asked.targets or (), prompts.tolist(), made.masks, strict=True):
            yield Answer(one, (), tuple(box), mask)


class Instances(Task):
    name = "instances"
    version = 1
    requires = frozenset({"boxes"})
    primary = "ap"
    decode_jointly = True
    artifacts = Artifacts("save_masks", coco_results=True)

    @dataclass(frozen=True)
    class Options:
        boxes: Annotated[str, MinLen(1)] = TRUTH
        """`truth` for the annotated boxes, or a file of detections in COCO's results form."""
        detector: str = ""
        """Detector to run in place of `boxes`: hub id or folder of transformers, or `detectron2:CONFIG,CHECKPOINT`."""
        detector_threshold: Annotated[float, Ge(0), Lt(1)] | None = None
        """Keep the detector's boxes above this score; none: 0.05, by LVIS's rules 0.02."""
        passes: Literal[1, 2] = 2
        """`1`: prompt with the box alone, as later work does; `2`: then with its mask's logits too (§D.4; OQ-6)."""
        box_expansion: Annotated[float, Gt(-1), Le(10)] = 0.0
        """Share by which width and height of a box grow about its centre."""
        box_jitter: Annotated[float, Ge(0), Lt(0.5)] = 0.0
        """Move each edge by up to this share of the side across it: uniform, drawn from seed, dataset, image and the
        place of the box."""
        rules: Literal["auto", "coco", "lvis"] = "auto"
        """`auto`: LVIS's where the annotations say which categories were looked for."""
        max_detections: Annotated[int, Ge(0)] = 0
        """Detections that count; 0: as the rules have it (COCO 100 of a category in an image, LVIS 300 of an image)."""
        evaluator: Literal["compiled", "reference"] = "compiled"
        """`reference`: the matching and curves of pycocotools and lvis, slower, with the same answer."""
        save_masks: bool = False
        """Keep the masks with the run in COCO's results form: `files/masks/ID.json`."""

        def __post_init__(self) -> None:
            if self.detector and self.boxes != TRUTH:
                raise ValueError(f"boxes={self.boxes}: must be {TRUTH} where detector is given")

    def __init__(self, options: Options) -> None:
        self.options = options
        self._categories: Mapping[int, str] = {}
        self._label = "the dataset"
        self._given: Results | None = None
        self._source: _TruthBoxes | _FileBoxes | _DetectorBoxes = _TruthBoxes()
        if options.boxes != TRUTH:
            self._source = _FileBoxes(options.boxes)
        elif options.detector:
            self._source = _DetectorBoxes(options.detector, options.detector_threshold)

    # --- what a run is made of ---------------------------------------------------------------------------------------

    @property
    @override
    def inputs(self) -> Mapping[str, str]:
        return self._source.inputs

    @override
    def prepare(self, dataset: Dataset, label: str) -> None:
        self._label, self._categories = label, dataset.categories or {}
        self._source.prepare(dataset, self._categories, label)

    @property
    def signature(self) -> str:
        o = self.options
        rules = (o.rules != "auto" and f"rules:{o.rules}", f"max:{o.max_detections or 'toolkit'}")
        if self._given is not None:
            return signature("masks:given", *rules, f"v:{self.version}")
        least = "toolkit" if o.detector_threshold is None else o.detector_threshold
        return signature(
            f"boxes:{self._source.origin}",
            o.detector and f"score>{least}",
            o.box_expansion and f"expanded:{o.box_expansion}",
            o.box_jitter and f"jitter:{o.box_jitter}",
            "mask:top-score" if o.passes == 1 else "mask:top-score-then-single+logits",
            *rules,
            f"v:{self.version}",
        )

    @property
    def schema(self) -> pa.Schema:
        numbers, texts = pa.list_(pa.int64()), pa.list_(pa.string())
        return pa.schema(
            [
                *columns(pa.string(), "dataset", "image_id"),
                *columns(pa.int32(), "height", "width"),
                ("rules", pa.string()),
                ("passes", pa.int8()),
                ("unknown_labels", texts),
                *columns(numbers, "place", "category"),
                ("score", pa.list_(pa.float64())),
                ("prompt", pa.list_(pa.float32())),
                ("chosen", pa.list_(pa.int8())),
                ("predicted_iou", pa.list_(pa.float32())),
                ("iou", pa.list_(pa.float64())),
                *((f"{kind}{name}", pa.list_(type_)) for kind in KINDS for name, type_ in MATCHES.items()),
                ("truth_id", texts),
                ("truth_category", numbers),
                *columns(texts, "truth_class", "truth_frequency"),
                ("truth_area", pa.list_(pa.float64())),
                *columns(pa.list_(pa.bool_()), "truth_crowd", "truth_ignored"),
                ("time_ms", pa.float64()),
            ]
        )

    def excludes(self, sample: Sample) -> str:
        by_truth = isinstance(self._source, _TruthBoxes) and self._given is None
        return "no_valid_mask" if by_truth and not _prompted(sample) else ""

    # --- one image ---------------------------------------------------------------------------------------------------

    def prompt(self, sample: Sample, view: View, context: Context) -> tuple[_Asked, NDArray[np.float32], BoxMasks]:
        """What is asked in an image, the boxes that the model is prompted with ``(D, 4)`` xyxy, and its masks."""
        asked = self._source.asked(sample, context, self._rules(sample))
        if asked.targets is None:
            kept, left_out = self._counted(sample, asked.detections)
            asked = replace(asked, detections=kept, left_out=left_out)
        found, o = asked.detections, self.options
        assert found.boxes is not None
        keys = [(context.dataset, sample.id, str(k)) for k in found.places.tolist()]
        prompts = moved(
            found.boxes, sample.size, expansion=o.box_expansion, jitter=o.box_jitter, seed=context.seed, keys=keys
        )
        made = masks_of_boxes(view, prompts, sample.size, passes=o.passes, feedback="masks" in context.capabilities)
        return asked, prompts, made

    def measure(self, sample: Sample, view: View, context: Context) -> DeferredResult:
        began = time.perf_counter()
        asked, prompts, made = self.prompt(sample, view, context)
        if asked.targets is not None:
            # Nothing has scored the annotated boxes, so the model's own estimate ranks its masks.
            scores = np.nan_to_num(made.predicted_iou.astype(np.float64), nan=0.0)
            asked = replace(asked, detections=replace(asked.detections, scores=scores))
        columns = {
            "passes": made.passes,
            "unknown_labels": asked.strangers,
            "prompt": prompts.ravel(),
            "chosen": made.chosen,
            "predicted_iou": made.predicted_iou,
        }
        return partial(self._measure, sample, context.dataset, asked, made, columns, time.perf_counter() - began)

    @override
    def replay(self) -> _BoxReplay:
        if self._given is not None or not isinstance(self._source, _TruthBoxes):
            raise UsageError("its prompts are detections, not annotations")
        return _BoxReplay(self)

    def _measure(
        self, sample: Sample, dataset: str, asked: _Asked, made: BoxMasks, columns: dict[str, Any], spent: float
    ) -> SampleResult:
        began = time.perf_counter() - spent
        found, targets = asked.detections, asked.targets
        shapes = {"": run_lengths.from_masks(made.masks, sample.size)}
        if targets is not None:
            columns["iou"] = [iou(mask, one.mask) for mask, one in zip(made.masks, targets, strict=True)]
        if found.segmentations is not None:
            shapes["detector_mask_"] = detections.own_masks(sample, found, "masks")
        row = self._row(sample, dataset, found, shapes, found.boxes if targets is None else None, columns, began)
        files = {f"masks/{sample.id}.json": _results(sample.id, found, made.masks)} if self.options.save_masks else {}
        return SampleResult([row], dict(+(_unprompted(sample) + asked.left_out)), files)

    def _counted(self, sample: Sample, found: Detections) -> tuple[Detections, Counter[str]]:
        """The detections that the toolkit counts, and how many it does not, by rule."""
        rules = self._rules(sample)
        limit = self.options.max_detections or LIMITS[rules]
        order = coco.top(found.scores, len(found))
        if rules == "lvis":
            kept = found.take(order[:limit])
            truths = (*sample.truth.instances, *sample.truth.empty)
            judged = coco.judged(
                kept.categories, {_category(one) for one in truths}, sample.attributes.get("neg_category_ids", ())
            )
            left_out = Counter(beyond_max_detections=len(found) - len(kept), not_judged=int((~judged).sum()))
            return kept.take(judged), left_out
        seen: Counter[int] = Counter()
        counts = np.zeros(len(found), np.bool_)
        for place, category in zip(order.tolist(), found.categories[order].tolist(), strict=True):
            counts[place] = seen[category] < limit
            seen[category] += 1
        return found.take(counts), Counter(beyond_max_detections=int((~counts).sum()))

    def _rules(self, sample: Sample) -> coco.Rules:
        if self.options.rules != "auto":
            return self.options.rules
        return "lvis" if "neg_category_ids" in sample.attributes else "coco"

    def _row(
        self,
        sample: Sample,
        dataset: str,
        found: Detections,
        shapes: Mapping[str, RunLengths],
        boxes: NDArray[np.float64] | None,
        columns: Mapping[str, Any],
        began: float,
    ) -> dict[str, Any]:
        """``shapes``: masks by kind. ``boxes``: ``(D, 4)`` xywh, None if they are not compared."""
        rules = self._rules(sample)
        evaluator = coco if self.options.evaluator == "compiled" else coco_reference
        truths = (*sample.truth.instances, *sample.truth.empty)
        crowd = np.array([one.crowd for one in truths], np.bool_)
        areas = np.array([one.mask.area if one.annotated_area is None else one.annotated_area for one in truths], float)
        of_truths = np.array([_category(one) for one in truths], np.int64)
        true_masks = run_lengths.from_masks([one.mask for one in truths], sample.size)
        unexhaustive = np.isin(found.categories, list(sample.attributes.get("not_exhaustive_category_ids", ())))
        match = partial(
            evaluator.match,
            scores=found.scores,
            truth_areas=areas,
            crowd=crowd,
            categories=found.categories,
            truth_categories=of_truths,
            rules=rules,
            unexhaustive=unexhaustive if rules == "lvis" else None,
        )
        counted_crowd = crowd if rules == "coco" else None
        compared: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {
            kind: (evaluator.mask_ious(shape, true_masks, counted_crowd), shape.area.astype(np.float64))
            for kind, shape in shapes.items()
        }
        if boxes is not None:
            true_boxes = np.array([_box(one) for one in truths], np.float64).reshape(-1, 4)
            compared["box_"] = (evaluator.box_ious(boxes, true_boxes, counted_crowd), boxes[:, 2] * boxes[:, 3])
        matched: dict[str, Any] = {}
        for kind, (ious, sizes) in compared.items():
            matches = match(ious, areas=sizes)
            matched |= {
                f"{kind}area": sizes,
                f"{kind}rank": matches.rank,
                f"{kind}matched": matches.matched.ravel(),
                f"{kind}ignored": matches.ignored.ravel(),
                "truth_ignored": matches.truth_ignored.ravel(),
            }
        return {
            "dataset": dataset,
            "image_id": sample.id,
            "height": sample.size[0],
            "width": sample.size[1],
            "rules": rules,
            **columns,
            "place": found.places,
            "category": found.categories,
            "score": found.scores,
            **matched,
            "truth_id": [one.id for one in truths],
            "truth_category": of_truths,
            "truth_class": [one.class_name for one in truths],
            "truth_frequency": [coco.FREQUENCIES.get(str(one.attributes.get("frequency"))) for one in truths],
            "truth_area": areas,
            "truth_crowd": crowd,
            "time_ms": (time.perf_counter() - began) * 1000,
        }

    # --- masks made elsewhere ----------------------------------------------------------------------------------------

    def read_predictions(self, path: Path) -> Predictions:
        self._given = results = detections.load(path)
        known = self._categories
        results.require("segmentation", *(["category_id"] if known else []))
        results.require_known(known or {NO_CATEGORY: ""}, lambda id: True, f"dataset {self._label}")
        return Predictions(list(results.ids), results.digest, results.read)

    def score(self, sample: Sample, answer: Detections, context: Context) -> DeferredResult:
        return partial(self._score, sample, answer, context.dataset)

    def _score(self, sample: Sample, answer: Detections, dataset: str) -> SampleResult:
        began = time.perf_counter()
        found, left_out = self._counted(sample, answer)
        row = self._row(
            sample, dataset, found, {"": detections.own_masks(sample, found, "masks")}, found.boxes, {}, began
        )
        return SampleResult([row], dict(+(_unprompted(sample) + left_out)))

    # --- all images --------------------------------------------------------------------------------------------------

    def summarize(self, records: pa.Table, context: Context) -> TaskSummary:
        places = coco.image_places(records.column("image_id").to_pylist())
        truths = coco.Annotated(
            flat(records, "truth_category"), flat(records, "truth_ignored").reshape(-1, len(coco.AREAS))
        )
        lvis = "lvis" in records.column("rules").to_pylist()
        metrics: dict[str, MetricValue] = {}
        breakdowns: dict[str, dict[str, dict[str, MetricValue]]] = {"iou": {}, "size": {}, "frequency": {}, "class": {}}
        groups = _groups(records, truths)
        for kind in KINDS:
            if records.column(f"{kind}rank").null_count:
                continue
            curves, *best = self._curves(records, kind, places, truths, lvis)
            found = _averages(curves, truths, groups)
            for name, metric in found.pop(("", "")).items():
                if name == "ap" or not kind:
                    metrics[f"{kind}{name}"] = metric
            for (cut, value), of_cut in found.items():
                if not kind and cut != "class":
                    metrics[{"0.50": "ap50", "0.75": "ap75"}.get(value, f"ap_{value}")] = of_cut["ap"]
                for name, metric in of_cut.items():
                    breakdowns[cut].setdefault(value, {})[f"{kind}{name}"] = metric
            for limit, curve in zip(BEST, best, strict=False):
                metrics[f"ar@{limit}"] = MetricValue(curve.average_recall(), _count(truths))
        if records.num_rows and not records.column("iou").null_count:
            images = np.repeat(records.column("image_id").to_pylist(), lengths(records, "iou"))
            metrics["miou"] = metric_of(flat(records, "iou"), images.tolist(), context.seed)
        return TaskSummary(
            metrics,
            {cut: values for cut, values in breakdowns.items() if values},
            int((~flat(records, "truth_crowd")).sum()),
            warnings=self._warnings(records),
            headlines=[name for name in HEADLINES if name in metrics],
        )

    def _curves(
        self, records: pa.Table, kind: str, places: NDArray[np.int64], truths: coco.Annotated, lvis: bool
    ) -> list[coco.Accumulated]:
        """Of all detections that count; by COCO's rules also of the best 1 and 10 of each category in an image."""
        found = coco.Detected(
            np.repeat(places, lengths(records, "category")),
            flat(records, "category"),
            flat(records, "score"),
            flat(records, f"{kind}rank"),
            flat(records, f"{kind}matched").reshape(-1, len(coco.AREAS)),
            flat(records, f"{kind}ignored").reshape(-1, len(coco.AREAS)),
        )
        evaluator = coco if self.options.evaluator == "compiled" else coco_reference
        categories = np.unique(truths.category).tolist()
        rules: coco.Rules = "lvis" if lvis else "coco"
        limits: tuple[int | None, ...] = (None,) if lvis or kind else (None, *BEST)
        return [evaluator.accumulate(found, truths, categories, limit=limit, rules=rules) for limit in limits]

    def _warnings(self, records: pa.Table) -> list[str]:
        warnings: list[str] = []
        prompted = records.num_rows and not records.column("prompt").null_count
        if not prompted:
            return warnings
        if not records.column("iou").null_count:
            warnings.append(
                "the boxes are the annotated ones and the scores the model's own: AP is not that of a detector's boxes "
                "(Table 5 of the paper)"
            )
        once = int((records.column("passes").to_numpy() < self.options.passes).sum())
        if once:
            warnings.append(
                f"the model gave no logits to prompt it with again: {once} of {records.num_rows} images had one pass"
            )
        chosen = flat(records, "chosen")
        unusable = int((chosen < 0).sum())
        if unusable:
            warnings.append(f"{unusable} of {len(chosen)} boxes hold no part of their image; their masks are empty")
        strangers = sorted({label for label in _texts(records, "unknown_labels") if label is not None})
        if strangers:
            shown = ", ".join(strangers[: detections.SHOWN])
            warnings.append(
                f"of what the detector saw, {len(strangers)} classes are not the dataset's and were left out: {shown}"
            )
        return warnings


def _groups(records: pa.Table, truths: coco.Annotated) -> dict[tuple[str, str], list[int]]:
    """Categories by cut and its value: LVIS's frequencies, and each category by itself."""
    groups: dict[tuple[str, str], list[int]] = {("frequency", name): [] for name in coco.FREQUENCIES.values()}
    classes, frequencies = _texts(records, "truth_class"), _texts(records, "truth_frequency")
    for category, place in zip(*(part.tolist() for part in np.unique(truths.category, return_index=True)), strict=True):
        for cut, name in (("frequency", frequencies[place]), ("class", classes[place])):
            if name is not None:
                groups.setdefault((cut, name), []).append(category)
    none = not any(frequencies)
    return {key: members for key, members in groups.items() if not (none and key[0] == "frequency")}


def _averages(
    curves: coco.Accumulated, truths: coco.Annotated, groups: Mapping[tuple[str, str], Sequence[int]]
) -> dict[tuple[str, str], dict[str, MetricValue]]:
    """AP and AR by cut and its value; over all under two empty names."""
    n = _count(truths)
    found = {
        ("", ""): {"ap": MetricValue(curves.average_precision(), n), "ar": MetricValue(curves.average_recall(), n)}
    }
    for threshold in (0.5, 0.75):
        found["iou", f"{threshold:.2f}"] = {"ap": MetricValue(curves.average_precision(iou=threshold), n)}
    for size in SIZES:
        of_size = _count(truths, area=size)
        average = (curves.average_precision(size), curves.average_recall(size))
        found["size", size] = {"ap": MetricValue(average[0], of_size), "ar": MetricValue(average[1], of_size)}
    for key, members in groups.items():
        found[key] = {"ap": MetricValue(curves.average_precision(categories=members), _count(truths, members))}
    return found


def _count(truths: coco.Annotated, categories: Sequence[int] | None = None, area: str = "all") -> int:
    counted = ~truths.ignored[:, list(coco.AREAS).index(area)]
    return int((counted if categories is None else counted & np.isin(truths.category, categories)).sum())


def _prompted(sample: Sample) -> list[Instance]:
    """The instances that are prompted for where the boxes are the annotated ones."""
    return [one for one in sample.truth.instances if not one.crowd]


def _unprompted(sample: Sample) -> Counter[str]:
    """Annotations that count for nothing, by rule."""
    return Counter(sample.truth.dropped) + Counter(crowd=sum(one.crowd for one in sample.truth.instances))


def _category(instance: Instance) -> int:
    return NO_CATEGORY if instance.class_id is None else instance.class_id


def _box(instance: Instance) -> tuple[float, float, float, float]:
    """The annotated box, else the tight one of the mask: x, y, width, height."""
    if instance.annotated_box is not None:
        return instance.annotated_box
    x0, y0, x1, y1 = instance.mask.box
    return (x0, y0, x1 - x0, y1 - y0)


def _is_known(dataset: Dataset, id: str) -> bool:
    """Whether the dataset knows an image that is not of its index, such as one that is left out."""
    try:
        dataset.load(id)
    except DataError:
        return False
    return True


def _results(id: str, found: Detections, made: Sequence[Mask]) -> bytes:
    """The masks of an image in COCO's results form."""
    number = int(id) if id.isdecimal() and str(int(id)) == id else id
    entries = [
        {"image_id": number, "category_id": category, "segmentation": masks.to_rle(mask), "score": score}
        for category, score, mask in zip(found.categories.tolist(), found.scores.tolist(), made, strict=True)
    ]
    return json.dumps(entries).encode()


def _texts(records: pa.Table, name: str) -> list[str | None]:
    texts: list[str | None] = records.column(name).combine_chunks().flatten().to_pylist()
    return texts


PLUGIN = Instances
