"""Simulated interaction: the instances of an image get one click at a time, and each round is one call of the model.

The loop is that of Segment Anything's evaluation (§D.1; protocol §2.5) and, where clicking stops at an IoU, that of
RITM's (``isegm/inference/evaluation.py``). :mod:`sambench.clicks` places the clicks.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from typing_extensions import override

from sambench.clicks import next_click, random_first_click
from sambench.core.dataset import Instance, Sample
from sambench.core.mask import Mask
from sambench.core.model import Click, Prompts, View
from sambench.core.replay import Answer, Recorded, Replay
from sambench.core.task import Cases, Context, MetricValue, Task
from sambench.errors import DataError
from sambench.metrics import iou as metric
from sambench.metrics.stats import metric_of, metrics_by
from sambench.protocols.records import signature

FirstClick = Literal["centre", "random"]
"""The distance-transform centre, or a pixel drawn uniformly from the mask (OQ-11)."""

GROUP = 64
"""Instances of one image that go through the clicks together: bounds the memory that their masks take."""

SMALL, LARGE = 32**2, 96**2
"""COCO's size bins in pixels of mask area: small below the first, large above the second (cocoeval.py)."""

IDENTITY = (
    ("dataset", pa.string()),
    ("image_id", pa.string()),
    ("instance_id", pa.string()),
    ("class", pa.string()),
    ("height", pa.int32()),
    ("width", pa.int32()),
    ("area", pa.int64()),
    ("annotated_area", pa.float64()),
    ("attributes", pa.map_(pa.string(), pa.string())),
    ("clicks", pa.list_(pa.struct([("x", pa.int32()), ("y", pa.int32()), ("positive", pa.bool_())]))),
)
"""The first columns of a record of one clicked instance, see :meth:`Clicked.identity`."""


@dataclass(frozen=True)
class Policy:
    """The options of the loop.

    Attributes:
        clicks: Maximum number of clicks.
        first_click: The centre, or uniform over the mask (OQ-11).
        feed_mask: From the second click on, a model that takes mask prompts gets its previous answer.
        later_multimask: From the second click on, three candidates are read instead of one (OQ-3).
        enough: The IoU at which an instance gets no more clicks.
    """

    clicks: int
    first_click: FirstClick = "centre"
    feed_mask: bool = True
    later_multimask: bool = False
    enough: float = math.inf


@dataclass
class Clicked:
    """The state of one instance in the loop.

    Attributes:
        instance: The object.
        target: Its mask.
        clicks: In order.
        predicted: The latest mask.
        ious: After each round, carried forward where no click was made.
        scores: The model's own, likewise.
        chosen: Position of the chosen candidate among those of the first click.
        candidate_ious: Of the first click's candidates.
        candidate_scores: Of the first click's candidates.
        time_ms: Its even share of its group's time, in milliseconds.
    """

    instance: Instance
    target: Mask
    clicks: list[Click] = field(default_factory=list)
    predicted: Mask | None = None
    ious: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    chosen: int = 0
    candidate_ious: list[float] = field(default_factory=list)
    candidate_scores: list[float] = field(default_factory=list)
    time_ms: float = 0.0

    def answered(self, candidates: Sequence[Mask], scores: NDArray[np.float32], best: int, void: Mask | None) -> None:
        """Store the first answer.

        Args:
            candidates: M masks.
            scores: ``(M,)``.
            best: Position of the candidate to choose.
            void: Pixels that count in no IoU.
        """
        self.chosen, self.predicted = best, candidates[best]
        self.candidate_ious = [metric.iou(mask, self.target, void) for mask in candidates]
        self.candidate_scores = [float(s) for s in scores]
        self.ious.append(self.candidate_ious[best])
        self.scores.append(self.candidate_scores[best])

    def identity(self, sample: Sample, context: Context) -> dict[str, Any]:
        """Return the columns of :data:`IDENTITY`."""
        instance = self.instance
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
            "clicks": [{"x": c.x, "y": c.y, "positive": c.positive} for c in self.clicks],
        }


def countable(sample: Sample, min_area: int) -> tuple[list[Instance], dict[str, int]]:
    """Select the instances to prompt for (§2.3, OQ-2).

    Args:
        sample: An image and its annotations.
        min_area: Smallest mask area, in pixels.

    Returns:
        The instances, and the number of instances left out by rule.
    """
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
        elif instance.mask.area < min_area:
            rule = "below_min_area"
        if rule:
            excluded[rule] = excluded.get(rule, 0) + 1
        else:
            kept.append(instance)
    return kept, excluded


def size_bins(areas: NDArray[np.int64]) -> list[str]:
    """Return ``small``, ``medium`` or ``large`` for each mask area ``(n,)`` in pixels."""
    bins: list[str] = np.where(areas < SMALL, "small", np.where(areas > LARGE, "large", "medium")).tolist()
    return bins


def click_through(
    instances: Sequence[Instance], sample: Sample, view: View, context: Context, policy: Policy, group: int = GROUP
) -> Iterator[Clicked]:
    """Click instances, ``group`` of them together, and yield each with ``time_ms`` set.

    Args:
        instances: Of the sample, in order.
        sample: The image and its annotations.
        view: The model's view of the image.
        context: Facts of the run.
        policy: Options of the loop.
        group: Number of instances that are clicked together.
    """
    # The distance transforms of a round are many, independent, and let go of the interpreter's lock.
    with ThreadPoolExecutor(context.helpers) as pool:
        for start in range(0, len(instances), group):
            began = time.perf_counter()
            states = [Clicked(i, i.mask) for i in instances[start : start + group]]
            _click_group(states, sample, view, context, policy, pool)
            each = (time.perf_counter() - began) * 1000 / len(states)
            for state in states:
                state.time_ms = each
            yield from states


def _click_group(
    states: Sequence[Clicked], sample: Sample, view: View, context: Context, policy: Policy, pool: ThreadPoolExecutor
) -> None:
    """Advances all instances click by click; each round is one call of the model."""
    feed = policy.feed_mask and "masks" in context.capabilities
    void = sample.truth.void
    fed: Any = None
    rows_of: dict[int, int] = {}
    for n in range(1, policy.clicks + 1):
        active = []
        clicks = pool.map(partial(_click, sample=sample, context=context, policy=policy), states)
        for state, click in zip(states, clicks, strict=True):
            if click is not None:
                state.clicks.append(click)
                active.append(state)
            elif n > 1:
                # Nothing is left to correct, or it is enough: the mask is carried forward (OQ-10).
                state.ious.append(state.ious[-1])
                state.scores.append(state.scores[-1])
        if not active:
            continue
        points = np.array([[(c.x, c.y) for c in s.clicks] for s in active], np.float32)
        labels = np.array([[int(c.positive) for c in s.clicks] for s in active], np.int64)
        previous = _of_rows(fed, [rows_of[id(s)] for s in active]) if fed is not None else None
        multimask = n == 1 or policy.later_multimask
        prediction = view.predict(Prompts(points, labels, mask_logits=previous), multimask=multimask)
        scores = np.where(np.isnan(prediction.scores), -np.inf, prediction.scores)
        best = [int(k) for k in scores.argmax(axis=1)]
        if n == 1:
            masks = iter(prediction.masks([(i, m) for i in range(len(active)) for m in range(scores.shape[1])]))
            for i, state in enumerate(active):
                state.answered([next(masks) for _ in range(scores.shape[1])], prediction.scores[i], best[i], void)
        else:
            chosen = prediction.masks(list(enumerate(best)))
            for i, (state, mask) in enumerate(zip(active, chosen, strict=True)):
                state.predicted = mask
                state.ious.append(metric.iou(mask, state.target, void))
                state.scores.append(float(prediction.scores[i, best[i]]))
        fed = prediction.feedback(list(enumerate(best))) if feed else None
        rows_of = {id(s): i for i, s in enumerate(active)}


def _click(state: Clicked, sample: Sample, context: Context, policy: Policy) -> Click | None:
    if not state.ious:
        return first_click(state.instance, sample, context, policy.first_click)
    if state.ious[-1] >= policy.enough:
        return None
    return next_click(state.target, state.predicted, state.clicks, sample.truth.void)


def first_click(instance: Instance, sample: Sample, context: Context, rule: FirstClick) -> Click | None:
    """Return the first click on an object by a rule, None if all its pixels are void."""
    if rule == "random":
        key = (context.dataset, sample.id, instance.id)
        return random_first_click(instance.mask, context.seed, key, sample.truth.void)
    return next_click(instance.mask, void=sample.truth.void)


class ClickReplay(Replay):
    """Clicks the objects of an image again, by the policy of a task.

    Args:
        policy: Of the run; its number of clicks does not matter.
        min_area: Smallest mask area in pixels, as in :func:`countable`.
        group: Number of objects that the run clicked together.
    """

    ignores_void = True

    def __init__(self, policy: Policy, min_area: int = 1, group: int = GROUP) -> None:
        self.policy, self.min_area, self.group = policy, min_area, group
        self.prompt_rule = f"first click: {policy.first_click}"

    def prompted(self, sample: Sample) -> list[Instance]:
        return countable(sample, self.min_area)[0]

    def recorded(self, records: pa.Table) -> dict[tuple[str, str], Recorded]:
        names = ("image_id", "instance_id", "area", "height", "width", "iou", "score", "clicks")
        columns = (records.column(name).to_pylist() for name in names)
        return {
            (image, instance): Recorded(area, (height, width), ious, scores, Click(**clicks[0]) if clicks else None)
            for image, instance, area, height, width, ious, scores, clicks in zip(*columns, strict=True)
        }

    def answers(
        self, sample: Sample, view: View, context: Context, wanted: Collection[str], clicks: int
    ) -> Iterator[Answer]:
        prompted, policy = self.prompted(sample), replace(self.policy, clicks=clicks)
        for start in range(0, len(prompted), self.group):
            group = prompted[start : start + self.group]
            if any(instance.id in wanted for instance in group):
                for state in click_through(group, sample, view, context, policy, self.group):
                    assert state.predicted is not None
                    yield Answer(state.instance, tuple(state.clicks), None, state.predicted)

    def stored(self, sample: Sample, instance: Instance, answer: Mapping[str, Sequence[tuple[Mask, float]]]) -> Mask:
        candidates = answer.get(instance.id)
        if not candidates:
            raise DataError(f"no predicted mask for annotation {instance.id} of image {sample.id}")
        return candidates[int(np.array([score for _, score in candidates], np.float32).argmax())][0]

    def first_click(self, sample: Sample, instance: Instance, context: Context) -> Click | None:
        return first_click(instance, sample, context, self.policy.first_click)


class ClickTask(Task):
    """A task that clicks each object of an image. Its options have ``feed_mask``, ``later_multimask`` and ``min_area``.

    Attributes:
        broken_down: The metrics that are also told by size and by class.
    """

    requires = frozenset({"points"})
    decode_jointly = True
    broken_down: tuple[str, ...]
    options: Any

    @property
    @abstractmethod
    def policy(self) -> Policy:
        """How objects are clicked."""

    @abstractmethod
    def values(self, records: pa.Table) -> Iterable[tuple[str, NDArray[np.float64], str]]:
        """Name, each object's value, and unit of the metrics that are means."""

    def signed(self, *rules: str) -> str:
        """The signature that begins with these rules."""
        o = self.options
        later = f"later:{'multi' if o.later_multimask else 'single'}{'+logits' if o.feed_mask else ''}"
        smallest = o.min_area > 1 and f"minarea:{o.min_area}"
        return signature(*rules, "mask:top-score", later, smallest, f"v:{self.version}")

    def excludes(self, sample: Sample) -> str:
        return "" if countable(sample, self.options.min_area)[0] else "no_valid_mask"

    @override
    def replay(self) -> ClickReplay:
        return ClickReplay(self.policy, self.options.min_area)

    def means(
        self, records: pa.Table, seed: int
    ) -> tuple[dict[str, MetricValue], dict[str, dict[str, dict[str, MetricValue]]]]:
        """The metrics of :meth:`values`, and those of :attr:`broken_down` by size and by class."""
        images = records.column("image_id").to_pylist()
        sizes = size_bins(records.column("area").to_numpy())
        classes = [c if c is not None else "" for c in records.column("class").to_pylist()]
        # Classes without the bootstrap: LVIS has 1230.
        cuts = (("size", sizes, images), ("class", classes, None))
        metrics: dict[str, MetricValue] = {}
        found: dict[str, dict[str, dict[str, MetricValue]]] = {"size": {}, "class": {}}
        for name, values, unit in self.values(records):
            metrics[name] = replace(metric_of(values, images, seed), unit=unit)
            for cut, groups, clusters in cuts if name in self.broken_down else ():
                for group, value in metrics_by(values, groups, clusters, seed).items():
                    found[cut].setdefault(group, {})[name] = replace(value, unit=unit)
        found["class"].pop("", None)
        found["size"] = {size: found["size"][size] for size in ("small", "medium", "large") if size in found["size"]}
        return metrics, found

    @override
    def cases(self, records: pa.Table) -> Cases:
        """Each mask; what :meth:`means` takes the means of."""
        names = records.column("instance_id").to_pylist()
        columns = {name: values for name, values, _ in self.values(records)}
        return Cases(records.column("image_id").to_pylist(), names, columns)


def _of_rows(fed: Any, rows: Sequence[int]) -> Any:
    """The rows of some prompts in the last round's answer: an array, a tensor, or any other sequence."""
    return fed[rows] if hasattr(fed, "shape") else [fed[row] for row in rows]


def _scalars(attributes: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The attributes that are one value, as text, by name. Truth values are ``true`` and ``false``; NaN is left out."""
    scalars = []
    for name, value in sorted(attributes.items()):
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, bool):
            scalars.append((name, str(plain).lower()))
        elif isinstance(plain, (str, int)) or (isinstance(plain, float) and not math.isnan(plain)):
            scalars.append((name, str(plain)))
    return scalars
