"""Number of clicks (NoC): how many clicks a model needs until an object is segmented well enough.

RITM's evaluation (``isegm/inference/evaluation.py``, ``compute_noc_metric`` and ``get_iou`` of
``isegm/inference/utils.py``): clicks are placed one after the other, as in ``single_point``, until the IoU is 90 %, at
most 20 of them. An object that never gets there counts 20.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from annotated_types import Ge
from numpy.typing import NDArray
from typing_extensions import override

from sambench.errors import UsageError
from sambench.metrics.stats import metric_of, metrics_by
from sambench.protocols.click_loop import IDENTITY, ClickReplay, Policy, click_through, countable, size_bins
from sambench.types import Cases, Context, MetricValue, Predictions, Sample, SampleResult, Task, TaskSummary, View

THRESHOLDS = (80, 85, 90)
"""IoU in percent of the columns that RITM's script prints; clicking stops at the last."""

SHOWN_CLICKS = (1, 2, 3, 5, 10, 20)
"""Numbers of clicks of which RITM's script prints the mean IoU (``--print-ious``)."""

EFFORTS = ("noc@", "never_reached@", "at_limit@")
"""How the names of metrics begin of which less is more."""

BROKEN_DOWN = ("noc@85", "noc@90")


class NumberOfClicks(Task):
    name = "noc"
    version = 1
    requires = frozenset({"points"})
    primary = "noc@90"
    decode_jointly = True

    @dataclass(frozen=True)
    class Options:
        max_clicks: Annotated[int, Ge(1)] = 20
        """Clicks that an object gets at most, and that count if it never gets there."""
        all_clicks: bool = False
        """Click on at 90 %, so that the mean IoU after k clicks is of answers after k clicks (RITM's `--iou-analysis`);
        NoC stays the same."""
        feed_mask: bool = True
        """Give the previous logits back from the second click on."""
        later_multimask: bool = False
        """Read three masks from the second click on and take the top score."""
        min_area: Annotated[int, Ge(1)] = 1
        """Leave out masks of fewer pixels."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                *IDENTITY,
                ("iou", pa.list_(pa.float64())),
                ("score", pa.list_(pa.float32())),
                ("time_ms", pa.float64()),
            ]
        )

    @property
    def signature(self) -> str:
        o = self.options
        return "|".join(
            [
                "point:edt-pad1",
                f"max:{o.max_clicks}",
                "stop:never" if o.all_clicks else f"stop:{THRESHOLDS[-1]}",
                "mask:top-score",
                f"later:{'multi' if o.later_multimask else 'single'}{'+logits' if o.feed_mask else ''}",
                *([f"minarea:{o.min_area}"] if o.min_area > 1 else []),
                f"v:{self.version}",
            ]
        )

    def excludes(self, sample: Sample) -> str:
        return "" if countable(sample, self.options.min_area)[0] else "no_valid_mask"

    def measure(self, sample: Sample, view: View, context: Context) -> SampleResult:
        instances, excluded = countable(sample, self.options.min_area)
        rows = [
            {**one.identity(sample, context), "iou": one.ious, "score": one.scores, "time_ms": one.time_ms}
            for one in click_through(instances, sample, view, context, self._policy)
        ]
        return SampleResult(rows, excluded)

    @property
    def _policy(self) -> Policy:
        o = self.options
        return Policy(
            o.max_clicks,
            feed_mask=o.feed_mask,
            later_multimask=o.later_multimask,
            enough=math.inf if o.all_clicks else THRESHOLDS[-1] / 100,
        )

    @override
    def replay(self) -> ClickReplay:
        return ClickReplay(self._policy, self.options.min_area)

    def read_predictions(self, path: Path) -> Predictions:
        raise UsageError(
            f"{path}: task noc places each click by the model's last answer, so stored predictions cannot be scored: "
            "name the model, `sambench run -t noc --model ...`"
        )

    def summarize(self, records: pa.Table, context: Context) -> TaskSummary:
        images = records.column("image_id").to_pylist()
        sizes = size_bins(records.column("area").to_numpy())
        classes = [c if c is not None else "" for c in records.column("class").to_pylist()]
        ious = self._ious(records)
        metrics: dict[str, MetricValue] = {}
        by_size: dict[str, dict[str, MetricValue]] = {}
        by_class: dict[str, dict[str, MetricValue]] = {}
        for name, values, unit in self._values(ious):
            metrics[name] = replace(metric_of(values, images, context.seed), unit=unit)
            if name in BROKEN_DOWN:
                _add(by_size, name, metrics_by(values, sizes, images, context.seed), unit)
                # Without the bootstrap, as in single_point: LVIS has 1230 classes.
                _add(by_class, name, metrics_by(values, classes, None, context.seed), unit)
        for threshold in THRESHOLDS:
            at_limit = int((clicks_until(ious, threshold / 100) == self.options.max_clicks).sum())
            metrics[f"at_limit@{threshold}"] = MetricValue(
                float(at_limit) if len(ious) else None, len(ious), unit="masks"
            )
        by_class.pop("", None)
        curve = [math.fsum(column) / len(column) if len(column) else None for column in ious.T]
        return TaskSummary(
            metrics,
            {"size": {s: by_size[s] for s in ("small", "medium", "large") if s in by_size}, "class": by_class},
            len(images),
            curves={"iou_by_clicks": {"clicks": [float(k) for k in range(1, len(curve) + 1)], "miou": curve}},
            headlines=("noc@85",),
            lower_is_better=[name for name in metrics if name.startswith(EFFORTS)],
        )

    @override
    def cases(self, records: pa.Table) -> Cases:
        """Each mask; what :meth:`summarize` takes the means of."""
        names, values = records.column("instance_id").to_pylist(), self._values(self._ious(records))
        return Cases(records.column("image_id").to_pylist(), names, {name: column for name, column, _ in values})

    def _ious(self, records: pa.Table) -> NDArray[np.float64]:
        """``(masks, max_clicks)``."""
        flat = records.column("iou").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        ious: NDArray[np.float64] = flat.astype(np.float64, copy=False).reshape(-1, self.options.max_clicks)
        return ious

    def _values(self, ious: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64], str]]:
        """Name, each mask's value and unit of the metrics that are means."""
        for threshold in reversed(THRESHOLDS):
            yield f"noc@{threshold}", clicks_until(ious, threshold / 100).astype(np.float64), "clicks"
        for threshold in reversed(THRESHOLDS):
            yield f"never_reached@{threshold}", (~reached(ious, threshold / 100).any(axis=1)).astype(float), "fraction"
        for k in SHOWN_CLICKS:
            if k <= self.options.max_clicks:
                yield f"miou@{k}", ious[:, k - 1], "fraction"


def reached(ious: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Whether each IoU is at least the threshold, both as float32, which is how RITM keeps and compares them."""
    enough: NDArray[np.bool_] = ious.astype(np.float32) >= np.float32(threshold)
    return enough


def clicks_until(ious: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """NoC: after how many clicks each mask first reached the threshold, or how many there were if it never did.

    ``ious``: ``(masks, clicks)``. Answers ``(masks,)`` int64.
    """
    enough = reached(ious, threshold)
    noc: NDArray[np.int64] = np.where(enough.any(axis=1), enough.argmax(axis=1) + 1, ious.shape[1])
    return noc


def _add(groups: dict[str, dict[str, MetricValue]], name: str, metrics: Mapping[str, MetricValue], unit: str) -> None:
    for group, metric in metrics.items():
        groups.setdefault(group, {})[name] = replace(metric, unit=unit)


PLUGIN = NumberOfClicks
