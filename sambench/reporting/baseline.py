"""Models beside each other, from summaries alone: differences from a baseline, IoU by clicks, a score by parameters.

Only what is alike is compared: runs of one task version with one signature, complete, on the same images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sambench import text
from sambench.errors import UsageError
from sambench.reporting import formatting
from sambench.reporting.leaderboard import Leaderboard, Row, all_marks, marks
from sambench.reporting.table import Table
from sambench.runs.summaries import RunSummary

IOU_BY_CLICKS = "iou_by_clicks"
"""Name of the curve with the axes ``clicks`` and ``miou``."""


@dataclass(frozen=True)
class Delta:
    """A model beside the baseline on one dataset. ``oracle``: the model's oracle metric, None where there is none.
    ``marks``: what must be known of either run, see :data:`sambench.reporting.leaderboard.LEGEND`."""

    dataset: str
    split: str
    subset: str
    label: str
    value: float
    baseline: float
    oracle: float | None
    marks: str

    @property
    def delta(self) -> float:
        return self.value - self.baseline

    @property
    def oracle_delta(self) -> float | None:
        """The best of the model's candidates minus the baseline's one answer, as Fig. 9a of the paper marks it."""
        return None if self.oracle is None else self.oracle - self.baseline


@dataclass(frozen=True)
class Against:
    """A row of a leaderboard against the baseline's of the same signature.

    ``deltas``: the largest first. ``not_compared``: labels of the other datasets, with the reason.
    """

    board: Leaderboard
    row: Row
    baseline: Row
    deltas: tuple[Delta, ...]
    not_compared: tuple[tuple[str, str], ...]

    @property
    def metric(self) -> str:
        """The board's primary one."""
        return self.board.headlines[0]

    @property
    def unit(self) -> str:
        return self.board.measured_in(self.metric)

    @property
    def mean(self) -> float | None:
        """The unweighted mean difference; None unless every dataset of the table is compared."""
        return None if self.not_compared else math.fsum(d.delta for d in self.deltas) / len(self.deltas)

    @property
    def oracle_mean(self) -> float | None:
        """The same of the oracle."""
        oracles = [d.oracle_delta for d in self.deltas]
        known = [delta for delta in oracles if delta is not None]
        return None if self.not_compared or len(known) < len(oracles) else math.fsum(known) / len(known)


@dataclass(frozen=True)
class ClickCurve:
    """Mean IoU over datasets by number of clicks. ``oracle``: of the best candidate after one click."""

    name: str
    clicks: tuple[float, ...]
    miou: tuple[float, ...]
    oracle: float | None


@dataclass(frozen=True)
class Sized:
    """A model with its number of parameters; ``value`` and ``oracle`` are means over datasets."""

    name: str
    family: str
    parameters: int
    value: float
    oracle: float | None


def compare(boards: Sequence[Leaderboard], baseline: str) -> list[Against]:
    """Every row against the baseline's row of the same task version and signature, in the order of the tables.

    ``baseline``: a model, or ``model@short digest`` where there are several weights of it. Raises UsageError: there is
    no such row, or several.
    """
    if not any(_is(row, baseline) for board in boards for row in board.rows):
        names = dict.fromkeys(row.name for board in boards for row in board.rows)
        raise UsageError(
            f"no run of the baseline {text.one_line(baseline)} is there; there are: "
            f"{', '.join(map(text.one_line, names))}"
        )
    return [against for board in boards for against in _compare_board(board, baseline)]


def _is(row: Row, baseline: str) -> bool:
    return baseline in (row.model, row.name)


def _compare_board(board: Leaderboard, baseline: str) -> list[Against]:
    found: list[Against] = []
    for signature in board.footnotes():
        rows = [row for row in board.rows if row.signature == signature]
        base = [row for row in rows if _is(row, baseline)]
        if len(base) > 1:
            names = ", ".join(text.one_line(row.name) for row in base)
            raise UsageError(f"there are runs of several weights of {text.one_line(baseline)}; name one: {names}")
        if base and board.headlines:
            found += [_against(board, row, base[0]) for row in rows if row is not base[0]]
    return found


def _against(board: Leaderboard, row: Row, base: Row) -> Against:
    metric = board.headlines[0]
    deltas: list[Delta] = []
    left: list[tuple[str, str]] = []
    for label, column, ours, theirs in zip(board.labels(), board.columns, row.cells, base.cells, strict=True):
        if ours is None or theirs is None:
            left.append((label, "the model has no run" if ours is None else "the baseline has no run"))
            continue
        value, reference = _value(ours, metric), _value(theirs, metric)
        if why := _why_not(ours, theirs):
            left.append((label, why))
        elif value is None or reference is None:
            left.append((label, f"{'the model' if value is None else 'the baseline'} has no value"))
        else:
            oracle = _value(ours, f"oracle_{metric}")
            used = all_marks((marks(ours), marks(theirs)))
            deltas.append(Delta(column.dataset, column.split, column.subset, label, value, reference, oracle, used))
    deltas.sort(key=lambda d: (-d.delta, d.label))
    return Against(board, row, base, tuple(deltas), tuple(left))


def _value(run: RunSummary, metric: str) -> float | None:
    return run.metrics[metric].value if metric in run.metrics else None


def _why_not(ours: RunSummary, theirs: RunSummary) -> str:
    """Why two runs are not compared, or the empty text."""
    if not ours.complete or not theirs.complete:
        return f"the {'baseline' if ours.complete else 'model'}'s run is incomplete"
    return "the runs are not of the same images" if ours.index_digest != theirs.index_digest else ""


def by_baseline(compared: Iterable[Against]) -> list[list[Against]]:
    """The comparisons of one task version with one baseline and signature together."""

    def key(one: Against) -> tuple[str, int, str, str]:
        return one.board.task, one.board.task_version, one.baseline.name, one.baseline.signature

    return [list(members) for _, members in groupby(compared, key=key)]


def difference_table(compared: Sequence[Against]) -> Table:
    """Several models against one baseline: its value on each dataset, then each model's difference and its oracle's,
    and their means. Of one baseline, as :func:`by_baseline` groups them; without rows if nothing is compared."""
    first = compared[0]
    by_label = [{d.label: d for d in one.deltas} for one in compared]
    header = ["dataset", first.baseline.name, *(name for one in compared for name in (one.row.name, "oracle"))]
    rows: list[list[str]] = []
    labels = sorted({label for deltas in by_label for label in deltas})
    for label in labels:
        found = [deltas.get(label) for deltas in by_label]
        value = next(formatting.number(d.baseline, first.unit) for d in found if d is not None)
        pairs = (_pair(d.delta, d.oracle_delta, first.unit, d.marks) if d else _pair(None, None) for d in found)
        rows.append([label, value, *itertools.chain(*pairs)])
    if len(labels) > 1:
        seen = [all_marks(d.marks for d in one.deltas) for one in compared]
        means = (_pair(a.mean, a.oracle_mean, first.unit, m) for a, m in zip(compared, seen, strict=True))
        rows.append([f"mean of {len(labels)}", "", *itertools.chain(*means)])
    return Table.of_texts(header, rows)


def _pair(delta: float | None, oracle_delta: float | None, unit: str = "", marks: str = "") -> list[str]:
    shown = [formatting.ABSENT if value is None else formatting.signed(value, unit) for value in (delta, oracle_delta)]
    return [shown[0] if delta is None else f"{shown[0]} {marks}".rstrip(), shown[1]]


def not_compared(compared: Iterable[Against]) -> list[str]:
    """A line for each model and dataset that is left out, with the reason. Not escaped."""
    return [f"not compared: {one.row.name} on {label}: {why}" for one in compared for label, why in one.not_compared]


def alike(board: Leaderboard) -> Iterator[list[Row]]:
    """The rows of each signature, where a mean over the columns is one over datasets."""
    if board.headlines and (board.averaged or len(board.columns) == 1):
        for signature in board.footnotes():
            yield [row for row in board.rows if row.signature == signature]


def click_curves(rows: Iterable[Row]) -> list[ClickCurve]:
    """Mean IoU by clicks (Fig. 9c and 9d of the paper), of the rows that have it on every dataset."""
    curves = []
    for row in rows:
        points = _clicks_of_curves(row) or _clicks_of_metrics(row)
        if len(points) > 1:
            clicks, miou = zip(*points, strict=True)
            curves.append(ClickCurve(row.name, clicks, miou, row.mean("oracle_miou")))
    return curves


def _clicks_of_curves(row: Row) -> list[tuple[float, float]]:
    """From the curve that every run of the row has."""
    curves = [run.curves[IOU_BY_CLICKS] for run in row.runs if IOU_BY_CLICKS in run.curves]
    if not row.complete or len(curves) < len(row.cells) or len({curve["clicks"] for curve in curves}) > 1:
        return []
    points = []
    for k, *values in zip(curves[0]["clicks"], *(curve["miou"] for curve in curves), strict=True):
        known = [value for value in values if value is not None]
        if k is not None and len(known) == len(values):
            points.append((k, math.fsum(known) / len(known)))
    return points


def _clicks_of_metrics(row: Row) -> list[tuple[float, float]]:
    """From ``miou`` and ``miou@K``."""
    by_clicks = {k: name for run in row.runs for name in run.metrics if (k := formatting.clicks_of(name)) is not None}
    by_clicks.setdefault(1, "miou")
    means = [(float(k), row.mean(by_clicks[k])) for k in sorted(by_clicks)]
    return [(k, mean) for k, mean in means if mean is not None]


def by_parameters(rows: Iterable[Row], metric: str) -> list[Sized]:
    """A metric and its oracle by number of parameters (Fig. 13, right, of the paper), of the rows that have a mean and
    a known number; families together, each by size."""
    sized = []
    for row in rows:
        value = row.mean(metric)
        known = {(run.family, run.parameters) for run in row.runs}
        family, parameters = known.pop() if len(known) == 1 else ("", None)
        if value is not None and parameters:
            sized.append(Sized(row.name, family, parameters, value, row.mean(f"oracle_{metric}")))
    return sorted(sized, key=lambda one: (one.family, one.parameters, one.name))


def families(sized: Iterable[Sized]) -> list[list[Sized]]:
    """Those of each family, as :func:`by_parameters` sorted them; a model without a family stands alone."""
    return [list(members) for _, members in groupby(sized, key=lambda one: one.family or one.name)]
