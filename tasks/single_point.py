"""Zero-shot single point valid mask evaluation (Segment Anything, §7.1 and §D.1; protocol §2).

Every mask of a dataset is prompted with a click at its distance-transform centre; the model's most confident mask is
compared with it (``miou``), and so is the best of its candidates (``oracle_miou``). Corrective clicks follow, each at
the pixel farthest from the boundary of the error region.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sambench.errors import DataError
from sambench.metrics import iou as metric
from sambench.metrics.stats import metric_of, metrics_by
from sambench.prompts import Click, next_click, random_first_click
from sambench.readers import mask_results
from sambench.types import Context, Instance, Mask, Measured, Metric, Predictions, Prompts, Sample, Scores, View

GROUP = 64
"""Instances of one image that go through the clicks together: bounds the memory that their masks take."""

SMALL, LARGE = 32**2, 96**2
"""COCO's size bins in pixels of mask area: small below the first, large above the second (cocoeval.py)."""

FEW_VALUES = 12
"""An attribute of at most so many different values is a cut of its own accord (COCO has 12 supercategories)."""

ATTRIBUTE_METRICS = ("miou", "miou@3")
"""What is broken down by attributes: 1 and 3 points, as in Tables 2 and 6 of the paper."""


@dataclass
class _State:
    """One instance on its way through the clicks."""

    instance: Instance
    target: Mask
    clicks: list[Click] = field(default_factory=list)
    predicted: Mask | None = None
    ious: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    chosen: int = 0
    candidate_ious: list[float] = field(default_factory=list)
    candidate_scores: list[float] = field(default_factory=list)


class SinglePoint:
    name = "single_point"
    version = 1
    requires = frozenset({"points"})
    primary = "miou"

    @dataclass(frozen=True)
    class Options:
        """``clicks``: numbers of clicks that are reported (§D.1). ``first_click``: ``centre``, or ``random``, which
        changes only the first click (Fig. 9d; OQ-11). ``feed_mask``: give the previous logits back from the second
        click on; ``later_multimask``: read three masks there instead of one (OQ-3). ``min_area``: pixels (OQ-2).
        ``by``: the attributes of instances that results are broken down by; empty: those with few different values.
        """

        clicks: tuple[int, ...] = (1, 2, 3, 5, 9)
        first_click: Literal["centre", "random"] = "centre"
        feed_mask: bool = True
        later_multimask: bool = False
        min_area: int = 1
        by: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            if not self.clicks or list(self.clicks) != sorted(set(self.clicks)) or self.clicks[0] != 1:
                raise ValueError(f"task.clicks={','.join(map(str, self.clicks))}: rising numbers that begin with 1")
            if self.min_area < 1:
                raise ValueError(f"task.min_area={self.min_area}: at least 1 pixel")
            if any(not name or name != name.strip() for name in self.by):
                raise ValueError(f"task.by={','.join(self.by)}: names of attributes, with commas and no spaces between")

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def schema(self) -> pa.Schema:
        click = pa.struct([("x", pa.int32()), ("y", pa.int32()), ("positive", pa.bool_())])
        return pa.schema(
            [
                ("dataset", pa.string()),
                ("image_id", pa.string()),
                ("instance_id", pa.string()),
                ("class", pa.string()),
                ("height", pa.int32()),
                ("width", pa.int32()),
                ("area", pa.int64()),
                ("annotated_area", pa.float64()),
                ("attributes", pa.map_(pa.string(), pa.string())),
                ("clicks", pa.list_(click)),
                ("chosen", pa.int8()),
                ("iou", pa.list_(pa.float64())),
                ("score", pa.list_(pa.float32())),
                ("oracle_iou", pa.float64()),
                ("candidate_iou", pa.list_(pa.float64())),
                ("candidate_score", pa.list_(pa.float32())),
                ("time_ms", pa.float64()),
            ]
        )

    @property
    def signature(self) -> str:
        o = self.options
        return "|".join(
            [
                "point:edt-pad1" if o.first_click == "centre" else "point:random-then-edt-pad1",
                f"n:{','.join(map(str, o.clicks))}",
                "mask:top-score",
                f"later:{'multi' if o.later_multimask else 'single'}{'+logits' if o.feed_mask else ''}",
                *([f"minarea:{o.min_area}"] if o.min_area > 1 else []),
                f"v:{self.version}",
            ]
        )

    def excludes(self, sample: Sample) -> str:
        return "" if self._instances(sample)[0] else "no_valid_mask"

    def measure(self, sample: Sample, view: View, context: Context) -> Measured:
        instances, excluded = self._instances(sample)
        rows: list[Mapping[str, Any]] = []
        # The distance transforms of a round are many, independent, and let go of the interpreter's lock.
        with ThreadPoolExecutor(context.helpers) as pool:
            for start in range(0, len(instances), GROUP):
                began = time.perf_counter()
                states = [_State(i, i.mask) for i in instances[start : start + GROUP]]
                self._click_through(states, sample, view, context, pool)
                each = (time.perf_counter() - began) * 1000 / len(states)
                rows.extend(self._row(state, sample, context, each) for state in states)
        return Measured(rows, excluded)

    def _click_through(
        self, states: Sequence[_State], sample: Sample, view: View, context: Context, pool: ThreadPoolExecutor
    ) -> None:
        """Advances all instances click by click; each round is one call of the model."""
        feed = self.options.feed_mask and "masks" in context.capabilities
        void = sample.truth.void
        fed: Any = None
        rows_of: dict[int, int] = {}
        for n in range(1, self.options.clicks[-1] + 1):
            active = []
            clicks = pool.map(partial(self._click, sample=sample, context=context, n=n), states)
            for state, click in zip(states, clicks, strict=True):
                if click is not None:
                    state.clicks.append(click)
                    active.append(state)
                elif n > 1:
                    # Nothing is left to correct: the mask is carried forward (OQ-10).
                    state.ious.append(state.ious[-1])
                    state.scores.append(state.scores[-1])
            if not active:
                continue
            points = np.array([[(c.x, c.y) for c in s.clicks] for s in active], np.float32)
            labels = np.array([[int(c.positive) for c in s.clicks] for s in active], np.int64)
            previous = fed[[rows_of[id(s)] for s in active]] if fed is not None else None
            multimask = n == 1 or self.options.later_multimask
            prediction = view.predict(Prompts(points, labels, mask_logits=previous), multimask=multimask)
            scores = np.where(np.isnan(prediction.scores), -np.inf, prediction.scores)
            best = [int(k) for k in scores.argmax(axis=1)]
            if n == 1:
                masks = iter(prediction.masks([(i, m) for i in range(len(active)) for m in range(scores.shape[1])]))
                for i, state in enumerate(active):
                    self._first(
                        state, [next(masks) for _ in range(scores.shape[1])], prediction.scores[i], best[i], void
                    )
            else:
                chosen = prediction.masks(list(enumerate(best)))
                for i, (state, mask) in enumerate(zip(active, chosen, strict=True)):
                    state.predicted = mask
                    state.ious.append(metric.iou(mask, state.target, void))
                    state.scores.append(float(prediction.scores[i, best[i]]))
            fed = prediction.feedback(list(enumerate(best))) if feed else None
            rows_of = {id(s): i for i, s in enumerate(active)}

    def _first(
        self, state: _State, candidates: Sequence[Mask], scores: NDArray[np.float32], best: int, void: Mask | None
    ) -> None:
        state.chosen, state.predicted = best, candidates[best]
        state.candidate_ious = [metric.iou(mask, state.target, void) for mask in candidates]
        state.candidate_scores = [float(s) for s in scores]
        state.ious.append(state.candidate_ious[best])
        state.scores.append(state.candidate_scores[best])

    def _click(self, state: _State, sample: Sample, context: Context, n: int) -> Click | None:
        if n == 1 and self.options.first_click == "random":
            key = (context.dataset, sample.id, state.instance.id)
            return random_first_click(state.target, context.seed, key, sample.truth.void)
        return next_click(state.target, state.predicted, state.clicks, sample.truth.void)

    def read_predictions(self, path: Path) -> Predictions:
        return mask_results.read_predictions(path)

    def score(self, sample: Sample, answers: Mapping[str, Sequence[tuple[Mask, float]]], context: Context) -> Measured:
        instances, excluded = self._instances(sample)
        rows = []
        for instance in instances:
            given = answers.get(instance.id)
            if not given:
                raise DataError(f"no predicted mask for annotation {instance.id} of image {sample.id}")
            for mask, _ in given:
                if mask.size != instance.mask.size:
                    raise DataError(
                        f"the predicted mask for annotation {instance.id} of image {sample.id} is "
                        f"{mask.size[1]}x{mask.size[0]}, the image is {instance.mask.size[1]}x{instance.mask.size[0]}"
                    )
            state = _State(instance, instance.mask)
            scores = np.array([s for _, s in given], np.float32)
            self._first(state, [m for m, _ in given], scores, int(scores.argmax()), sample.truth.void)
            rows.append(self._row(state, sample, context, 0.0))
        return Measured(rows, excluded)

    def _instances(self, sample: Sample) -> tuple[list[Instance], dict[str, int]]:
        """The instances that are prompted for, and how many are not, by rule (§2.3, OQ-2)."""
        kept: list[Instance] = []
        excluded = dict(sample.truth.dropped)
        void = sample.truth.void
        for instance in sample.truth.instances:
            rule = ""
            if instance.crowd:
                rule = "crowd"
            elif instance.mask.area == 0:
                rule = "empty_mask"
            elif metric.area_outside(instance.mask, void) == 0:
                rule = "all_void"
            elif instance.mask.area < self.options.min_area:
                rule = "below_min_area"
            if rule:
                excluded[rule] = excluded.get(rule, 0) + 1
            else:
                kept.append(instance)
        return kept, excluded

    def _row(self, state: _State, sample: Sample, context: Context, time_ms: float) -> dict[str, Any]:
        instance = state.instance
        return {
            "dataset": context.dataset,
            "image_id": sample.id,
            "instance_id": instance.id,
            "class": instance.class_name,
            "height": sample.size[0],
            "width": sample.size[1],
            "area": instance.mask.area,
            "annotated_area": instance.annotated_area,
            "attributes": _scalars(instance.attributes),
            "clicks": [{"x": c.x, "y": c.y, "positive": c.positive} for c in state.clicks],
            "chosen": state.chosen,
            "iou": state.ious,
            "score": state.scores,
            "oracle_iou": max(state.candidate_ious),
            "candidate_iou": state.candidate_ious,
            "candidate_score": state.candidate_scores,
            "time_ms": time_ms,
        }

    def summarize(self, records: pa.Table, context: Context) -> Scores:
        images = records.column("image_id").to_pylist()
        areas = records.column("area").to_numpy()
        sizes = np.where(areas < SMALL, "small", np.where(areas > LARGE, "large", "medium")).tolist()
        classes = [c if c is not None else "" for c in records.column("class").to_pylist()]
        metrics: dict[str, Metric] = {}
        breakdowns: dict[str, dict[str, dict[str, Metric]]] = {"size": {}, "class": {}}
        for name, values in self._values(records):
            metrics[name] = metric_of(values, images, context.seed)
            if name in ("miou", "oracle_miou"):
                for size, metric_ in metrics_by(values, sizes, images, context.seed).items():
                    breakdowns["size"].setdefault(size, {})[name] = metric_
                # Without the bootstrap: LVIS has 1230 classes.
                for class_, metric_ in metrics_by(values, classes, None, context.seed).items():
                    if class_:
                        breakdowns["class"].setdefault(class_, {})[name] = metric_
        breakdowns["size"] = {s: breakdowns["size"][s] for s in ("small", "medium", "large") if s in breakdowns["size"]}
        return Scores(
            metrics,
            {**breakdowns, **self._by_attributes(records, images, context)},
            len(images),
            headlines=("oracle_miou",),
        )

    def _by_attributes(
        self, records: pa.Table, images: Sequence[str], context: Context
    ) -> dict[str, dict[str, dict[str, Metric]]]:
        """For each attribute two cuts: by its values, and the pairs of values whose 95 % intervals do not overlap."""
        attributes = [dict(pairs) for pairs in records.column("attributes").to_pylist()]
        known = sorted({name for one in attributes for name in one})
        cuts: dict[str, dict[str, dict[str, Metric]]] = {}
        for name in self.options.by or [n for n in known if _is_cut({one[n] for one in attributes if n in one})]:
            rows = [row for row, one in enumerate(attributes) if name in one]
            values_of_attribute = [attributes[row][name] for row in rows]
            images_there = [images[row] for row in rows]
            groups: dict[str, dict[str, Metric]] = {}
            for metric_name, values in self._values(records):
                if metric_name in ATTRIBUTE_METRICS:
                    by_value = metrics_by(values[rows], values_of_attribute, images_there, context.seed)
                    for value, metric_ in by_value.items():
                        groups.setdefault(value, {})[metric_name] = metric_
            cut = f"{name} (attribute)" if name in ("size", "class") else name
            cuts[cut] = groups
            cuts[f"{cut}: intervals apart"] = _apart(groups)
        return cuts

    def _values(self, records: pa.Table) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Each metric's value for each record. Masks scored from stored predictions know one answer, not nine."""
        curve = records.column("iou").combine_chunks()
        lengths = curve.value_lengths().to_numpy(zero_copy_only=False)
        known = int(lengths.min()) if len(lengths) else self.options.clicks[-1]
        flat = curve.flatten().to_numpy(zero_copy_only=False)
        starts = np.cumsum(lengths) - lengths
        for n in self.options.clicks:
            if n <= known:
                yield "miou" if n == 1 else f"miou@{n}", flat[starts + n - 1]
        yield "oracle_miou", records.column("oracle_iou").to_numpy()


def _scalars(attributes: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The attributes that are one value, as text, by name. Truth values are ``true`` and ``false``; NaN is no value."""
    found = []
    for name, value in sorted(attributes.items()):
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, bool):
            found.append((name, str(plain).lower()))
        elif isinstance(plain, (str, int)) or (isinstance(plain, float) and not math.isnan(plain)):
            found.append((name, str(plain)))
    return found


def _is_cut(values: set[str]) -> bool:
    """Whether an attribute of these values is broken down by unasked: few, and names rather than numbers."""
    return 1 < len(values) <= FEW_VALUES and not all(_is_number(value) for value in values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _apart(groups: Mapping[str, Mapping[str, Metric]]) -> dict[str, dict[str, Metric]]:
    """Pairs of groups with the metrics whose normal 95 % intervals do not overlap, which the paper takes for a
    difference (§6, §C; protocol §8.3): how much the first lies above the second."""
    pairs: dict[str, dict[str, Metric]] = {}
    for (first, ours), (second, theirs) in itertools.combinations(sorted(groups.items()), 2):
        for name, a in ours.items():
            b = theirs[name]
            if a.value is None or b.value is None or a.ci95 is None or b.ci95 is None:
                continue
            if a.ci95[1] < b.ci95[0] or b.ci95[1] < a.ci95[0]:
                pairs.setdefault(f"{first} vs {second}", {})[name] = Metric(a.value - b.value, a.n + b.n)
    return pairs


PLUGIN = SinglePoint
