"""The leaderboard: models against datasets, one for each task.

A row is a model with its weights and one signature, so that no average mixes two ways of measuring. A row has an
average only if it has a complete run on every dataset of the table: a model that was measured on the easy half must
not stand beside one that was measured on all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from sambench.core.task import MetricValue
from sambench.reporting import formatting
from sambench.reporting.table import Shown, Table
from sambench.runs.summaries import SHORT_DIGEST, RunSummary

TITLES = {
    "miou": "mIoU",
    "oracle_miou": "oracle mIoU",
    "ods": "ODS",
    "ois": "OIS",
    "ap": "AP",
    "r50": "R50",
    "ap50": "AP50",
    "ap75": "AP75",
    **{f"ap_{group}": f"AP {group}" for group in ("small", "medium", "large", "rare", "common", "frequent")},
    "box_ap": "box AP",
    "detector_mask_ap": "AP of the detector's masks",
    "ar": "AR",
    "ciou": "cIoU",
    "miou_point": "mIoU with a point",
    "gain_point": "gain of the point",
    "rejection_accuracy": "rejection accuracy",
}
"""How a metric is headed; ``miou@K`` and what :data:`_BEGINNINGS` names follow from their names, any other stands as it
is."""

_BEGINNINGS = {"noc@": "NoC@", "ar@": "AR@", "p@": "P@"}

NOT_ZERO_SHOT, UNKNOWN, INCOMPLETE = "†", "?", "…"
LEGEND = {
    NOT_ZERO_SHOT: "not zero-shot: the model was trained on this dataset",
    UNKNOWN: "nobody has said whether the model was trained on this dataset",
    INCOMPLETE: "incomplete run: some images have no result yet, or failed",
}


@dataclass(frozen=True, order=True)
class Column:
    """A dataset as measured."""

    dataset: str
    split: str
    subset: str


@dataclass(frozen=True)
class Row:
    """A model with one signature. ``cells``: its run for each column of the table, None where there is none."""

    model: str
    weights_digest: str
    signature: str
    cells: tuple[RunSummary | None, ...]

    @property
    def name(self) -> str:
        return f"{self.model}@{self.weights_digest[:SHORT_DIGEST]}"

    @property
    def runs(self) -> list[RunSummary]:
        return [cell for cell in self.cells if cell is not None]

    @property
    def complete(self) -> bool:
        """There is a complete run in every cell."""
        return all(cell is not None and cell.complete for cell in self.cells)

    def mean(self, metric: str) -> float | None:
        """The unweighted mean over the columns (over datasets, protocol §2.6); None unless there is a complete run
        with a value in every cell."""
        if not self.complete:
            return None
        values = [run.metrics[metric].value if metric in run.metrics else None for run in self.runs]
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if len(known) == len(values) else None


@dataclass(frozen=True)
class Leaderboard:
    """One task. ``rows`` are sorted by the mean of the primary metric; rows without one follow, by name.

    ``metrics``: all names, in the order of the summaries. ``headlines``: those with a table of their own, as the task
    names them, its primary metric first.
    ``averaged``: whether there is a column of means; not with one dataset, and not when a dataset stands in two
    columns (two splits or subsets) and would count twice.
    """

    task: str
    task_version: int
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    metrics: tuple[str, ...]
    headlines: tuple[str, ...]
    averaged: bool

    def labels(self) -> list[str]:
        """A heading for each column: the dataset, with split and subset where it has several columns."""
        names = [column.dataset for column in self.columns]
        return [
            c.dataset if names.count(c.dataset) == 1 else f"{c.dataset} ({c.split}, {c.subset})" for c in self.columns
        ]

    def footnotes(self) -> dict[str, int]:
        """A number for each distinct signature, from 1, in the order of the rows."""
        return {s: k for k, s in enumerate(dict.fromkeys(row.signature for row in self.rows), 1)}

    def unit(self, metric: str) -> str:
        """What the metric's values in tables are in: ``%`` for fractions; empty if the runs do not agree."""
        return unit_of([run.metrics[metric] for run in self._runs() if metric in run.metrics])

    def heading(self, metric: str) -> str:
        """The metric with the unit that tables show it in."""
        return in_unit(title(metric), self.unit(metric))

    def measured_in(self, metric: str) -> str:
        """The unit as in :class:`sambench.core.task.MetricValue`."""
        return next((run.metrics[metric].unit for run in self._runs() if metric in run.metrics), "fraction")

    def lower_is_better(self, metric: str) -> bool:
        """Less of the metric is more."""
        return any(metric in run.lower_is_better for run in self._runs())

    def legend(self) -> list[str]:
        """What a reader must know of the table: one line each, only what occurs in it."""
        lines = []
        if any(
            formatting.half_width(run.metrics[m]) for run in self._runs() for m in self.headlines if m in run.metrics
        ):
            lines.append("±: half of the 95 % interval, normal over masks.")
        if self.averaged:
            lines.append("mean: unweighted over the datasets; a row without a complete run on each of them has none.")
        elif len(self.columns) > 1:
            lines.append("No mean is shown: a dataset stands in more than one column and would count twice.")
        for label, runs in zip(self.labels(), zip(*(row.cells for row in self.rows), strict=True), strict=True):
            if len({run.index_digest for run in runs if run is not None}) > 1:
                lines.append(f"{label}: the runs are not of the same images (their index digests differ).")
        return lines + [f"{mark} {LEGEND[mark]}." for mark in all_marks(marks(run) for run in self._runs())]

    def table(self, metric: str) -> Table:
        """Models in rows, datasets in columns, and the means where there are any."""
        footnotes = self.footnotes()
        rows = [
            [
                Shown(row.name, marks=f"[{footnotes[row.signature]}]"),
                *(cell(run, metric) for run in row.cells),
                *([average(row, metric)] if self.averaged else []),
            ]
            for row in self.rows
        ]
        return Table.of_texts(["model", *self.labels(), *(["mean"] if self.averaged else [])], rows)

    def _runs(self) -> list[RunSummary]:
        return [run for row in self.rows for run in row.runs]


def leaderboards(summaries: Iterable[RunSummary]) -> list[Leaderboard]:
    """One leaderboard for each task and version, sorted. Takes what :func:`load.load_summaries` answers."""
    ordered = sorted(summaries, key=lambda run: run.identity)
    return [_leaderboard(list(runs)) for _, runs in groupby(ordered, key=lambda run: (run.task, run.task_version))]


def _leaderboard(runs: Sequence[RunSummary]) -> Leaderboard:
    columns = tuple(sorted({_column(run) for run in runs}))
    cells: dict[tuple[str, str, str], dict[Column, RunSummary]] = {}
    for run in runs:
        cells.setdefault((run.model, run.weights_digest, run.signature), {})[_column(run)] = run
    rows = [Row(*key, tuple(found.get(column) for column in columns)) for key, found in cells.items()]
    task, metrics = runs[0].task, tuple(dict.fromkeys(name for run in runs for name in run.metrics))
    headlines = tuple(dict.fromkeys(name for run in runs for name in run.headlines if name in metrics))
    lower_first = {name for run in runs for name in run.lower_is_better}
    once = len({column.dataset for column in columns}) == len(columns)

    def rank(row: Row) -> tuple[bool, float, str, str, str]:
        mean = row.mean(headlines[0]) if headlines and once else None
        sign = 1 if headlines and headlines[0] in lower_first else -1
        return (mean is None, sign * (mean or 0.0), row.model, row.weights_digest, row.signature)

    rows.sort(key=rank)
    averaged = once and len(columns) > 1
    return Leaderboard(task, runs[0].task_version, columns, tuple(rows), metrics, headlines, averaged)


def _column(run: RunSummary) -> Column:
    return Column(run.dataset, run.split, run.subset)


def title(metric: str) -> str:
    """The heading of a metric."""
    k = formatting.clicks_of(metric)
    start = metric.partition("@")[0] + "@"
    name = _BEGINNINGS[start] + metric.removeprefix(start).replace("_", " ") if start in _BEGINNINGS else metric
    return TITLES.get(metric, name if k is None else f"mIoU, {k} click{'s' * (k != 1)}")


def unit_of(metrics: Iterable[MetricValue]) -> str:
    """``%`` for fractions, which tables show so, else the unit; empty if they do not agree."""
    units = {metric.unit for metric in metrics} or {"fraction"}
    return formatting.UNITS.get(next(iter(units)), next(iter(units))) if len(units) == 1 else ""


def in_unit(name: str, unit: str) -> str:
    """A name with its unit in brackets."""
    return f"{name} ({unit})" if unit else name


def marks(run: RunSummary) -> str:
    """What must be known before the run is compared: see LEGEND."""
    zero_shot = {"yes": "", "no": NOT_ZERO_SHOT, "unknown": UNKNOWN}[run.zero_shot]
    return zero_shot + ("" if run.complete else INCOMPLETE)


def all_marks(several: Iterable[str]) -> str:
    """The marks that occur, each once, in the order of :data:`LEGEND`."""
    used = "".join(several)
    return "".join(mark for mark in LEGEND if mark in used)


def measured(metric: MetricValue | None, marks: str = "") -> Shown:
    """What a table shows of a metric."""
    if metric is None:
        return Shown(formatting.ABSENT)
    return Shown(formatting.number(metric.value, metric.unit), formatting.half_width(metric), marks)


def cell(run: RunSummary | None, metric: str) -> Shown:
    """What a table shows of a run."""
    return Shown(formatting.ABSENT) if run is None else measured(run.metrics.get(metric), marks(run))


def average(row: Row, metric: str) -> Shown:
    """What a table shows as the mean of a row. A mean over a dataset that the model was trained on is not zero-shot
    either, so it has the marks of its cells."""
    value = row.mean(metric)
    if value is None:
        return Shown(formatting.UNDEFINED if row.complete else "incomplete")
    shown = formatting.number(value, row.runs[0].metrics[metric].unit)
    return Shown(shown, marks=all_marks(marks(run) for run in row.runs))
