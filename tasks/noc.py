"""Number of clicks (NoC): how many clicks a model needs until an object is segmented well enough.

RITM's evaluation (``isegm/inference/evaluation.py``, ``compute_noc_metric`` and ``get_iou`` of
``isegm/inference/utils.py``): clicks are placed one after the other, as in ``single_point``, until the IoU is 90 %, at
most 20 of them. An object that never gets there counts 20.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from annotated_types import Ge
from numpy.typing import NDArray

from sambench.errors import UsageError
from sambench.protocols.click_loop import IDENTITY, ClickTask, Policy, click_through, countable
from sambench.protocols.records import flat
from sambench.types import Context, MetricValue, Predictions, Sample, SampleResult, TaskSummary, View

THRESHOLDS = (80, 85, 90)
"""IoU in percent of the columns that RITM's script prints; clicking stops at the last."""

SHOWN_CLICKS = (1, 2, 3, 5, 10, 20)
"""Numbers of clicks of which RITM's script prints the mean IoU (``--print-ious``)."""

EFFORTS = ("noc@", "never_reached@", "at_limit@")
"""How the names of metrics begin of which less is more."""


class NumberOfClicks(ClickTask):
    name = "noc"
    version = 1
    primary = "noc@90"
    broken_down = ("noc@85", "noc@90")

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
        stop = "never" if o.all_clicks else THRESHOLDS[-1]
        return self.signed("point:edt-pad1", f"max:{o.max_clicks}", f"stop:{stop}")

    def measure(self, sample: Sample, view: View, context: Context) -> SampleResult:
        instances, excluded = countable(sample, self.options.min_area)
        rows = [
            {**one.identity(sample, context), "iou": one.ious, "score": one.scores, "time_ms": one.time_ms}
            for one in click_through(instances, sample, view, context, self.policy)
        ]
        return SampleResult(rows, excluded)

    @property
    def policy(self) -> Policy:
        o = self.options
        return Policy(
            o.max_clicks,
            feed_mask=o.feed_mask,
            later_multimask=o.later_multimask,
            enough=math.inf if o.all_clicks else THRESHOLDS[-1] / 100,
        )

    def read_predictions(self, path: Path) -> Predictions:
        raise UsageError(
            f"{path}: task noc places each click by the model's last answer, so stored predictions cannot be scored: "
            "name the model, `sambench run -t noc --model ...`"
        )

    def summarize(self, records: pa.Table, context: Context) -> TaskSummary:
        ious = self._ious(records)
        metrics, breakdowns = self.means(records, context.seed)
        for threshold in THRESHOLDS:
            at_limit = int((clicks_until(ious, threshold / 100) == self.options.max_clicks).sum())
            metrics[f"at_limit@{threshold}"] = MetricValue(
                float(at_limit) if len(ious) else None, len(ious), unit="masks"
            )
        curve = [math.fsum(column) / len(column) if len(column) else None for column in ious.T]
        return TaskSummary(
            metrics,
            breakdowns,
            len(ious),
            curves={"iou_by_clicks": {"clicks": [float(k) for k in range(1, len(curve) + 1)], "miou": curve}},
            headlines=("noc@85",),
            lower_is_better=[name for name in metrics if name.startswith(EFFORTS)],
        )

    def _ious(self, records: pa.Table) -> NDArray[np.float64]:
        """``(masks, max_clicks)``."""
        ious: NDArray[np.float64] = (
            flat(records, "iou").astype(np.float64, copy=False).reshape(-1, self.options.max_clicks)
        )
        return ious

    def values(self, records: pa.Table) -> Iterator[tuple[str, NDArray[np.float64], str]]:
        ious = self._ious(records)
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


PLUGIN = NumberOfClicks
