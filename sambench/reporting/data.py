"""Reports for machines: CSV with one measured number a line, JSON with the leaderboard as it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sambench.atomic_files import output_error, write_atomic
from sambench.core.task import MetricValue
from sambench.errors import UsageError
from sambench.reporting.baseline import Against
from sambench.reporting.leaderboard import Leaderboard
from sambench.runs.summaries import Metrics, RunSummary

JSON_SCHEMA = 1

_RUN = ("task", "task_version", "dataset", "split", "subset", "model", "weights_digest", "signature")
_STATE = ("zero_shot", "complete")
_COUNTS = ("n_expected", "n_scored", "n_failed", "n_excluded", "n_masks", "records_digest", "sambench_version")
_METRIC = ("metric", "value", "ci95_low", "ci95_high", "ci95_bootstrap_low", "ci95_bootstrap_high", "n", "unit")

LEADERBOARD_COLUMNS = (*_RUN, *_METRIC, *_STATE, *_COUNTS, "family", "parameters")
DELTA_COLUMNS = (
    *_RUN,
    "baseline",
    "baseline_weights_digest",
    "metric",
    "value",
    "baseline_value",
    "delta",
    "oracle_delta",
    "unit",
)
BREAKDOWN_COLUMNS = (*_RUN, "cut", "group", *_METRIC, *_STATE)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV with a header; None is an empty field, booleans are lower case, numbers keep all their digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([str(v).lower() if isinstance(v, bool) else v for v in row] for row in rows)
    return out.getvalue()


def json_text(value: Any) -> str:
    """JSON, undefined as null and never NaN."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def leaderboard_csv(summaries: Iterable[RunSummary]) -> str:
    """One line for each run and metric. Values are as in the summaries, fractions of 1."""
    return csv_text(
        LEADERBOARD_COLUMNS,
        (
            (*_fields(run, _RUN), *line, *_fields(run, _STATE), *_fields(run, _COUNTS), run.family, run.parameters)
            for run in summaries
            for line in _lines(run.metrics)
        ),
    )


def breakdowns_csv(summaries: Iterable[RunSummary]) -> str:
    """One line for each run, cut (class, size), group of the cut and metric."""
    return csv_text(
        BREAKDOWN_COLUMNS,
        (
            (*_fields(run, _RUN), cut, group, *line, *_fields(run, _STATE))
            for run in summaries
            for cut, groups in run.breakdowns.items()
            for group, metrics in groups.items()
            for line in _lines(metrics)
        ),
    )


def deltas_csv(compared: Iterable[Against]) -> str:
    """One line for each model and dataset that is compared with the baseline, in full precision."""
    return csv_text(
        DELTA_COLUMNS,
        (
            (
                one.task,
                one.task_version,
                d.dataset,
                d.split,
                d.subset,
                one.row.model,
                one.row.weights_digest,
                one.row.signature,
                one.baseline.model,
                one.baseline.weights_digest,
                one.metric,
                d.value,
                d.baseline,
                d.delta,
                d.oracle_delta,
                one.unit,
            )
            for one in compared
            for d in one.deltas
        ),
    )


def leaderboard_json(boards: Sequence[Leaderboard]) -> dict[str, Any]:
    """The leaderboards as plain values; ``docs/reports.md`` has a sentence for each field."""
    return {"schema": JSON_SCHEMA, "leaderboards": [_board(board) for board in boards]}


def _fields(run: RunSummary, names: Sequence[str]) -> list[Any]:
    return [getattr(run, name) for name in names]


def _lines(metrics: Metrics) -> list[list[Any]]:
    nothing = (None, None)
    return [
        [name, m.value, *(m.ci95 or nothing), *(m.ci95_bootstrap or nothing), m.n, m.unit]
        for name, m in metrics.items()
    ]


def _board(board: Leaderboard) -> dict[str, Any]:
    return {
        "task": board.task,
        "task_version": board.task_version,
        "metrics": list(board.metrics),
        "datasets": [{"dataset": c.dataset, "split": c.split, "subset": c.subset} for c in board.columns],
        "rows": [
            {
                "model": row.model,
                "weights_digest": row.weights_digest,
                "signature": row.signature,
                "complete": row.complete,
                "mean": {m: row.mean(m) for m in board.metrics} if board.averaged else None,
                "cells": [None if run is None else _cell(run) for run in row.cells],
            }
            for row in board.rows
        ],
    }


def _cell(run: RunSummary) -> dict[str, Any]:
    state = {name: getattr(run, name) for name in (*_STATE, *_COUNTS, "family", "parameters")}
    return {**state, "metrics": {name: _measured(metric) for name, metric in run.metrics.items()}}


def _measured(metric: MetricValue) -> dict[str, Any]:
    return {
        "value": metric.value,
        "ci95": metric.ci95 and list(metric.ci95),
        "ci95_bootstrap": metric.ci95_bootstrap and list(metric.ci95_bootstrap),
        "n": metric.n,
        "unit": metric.unit,
    }


def write_all(out: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Writes files, by their names in ``out``. One that is there as it should be is left alone: a site of thousands of
    pages is mostly the one of yesterday.

    Raises UsageError (``out`` cannot be made or read) and OutputError.
    """
    made: set[Path] = set()
    for name, content in files:
        path = out / name
        try:
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            if path.is_file() and path.read_bytes() == content:
                continue
        except OSError as error:
            raise UsageError(f"{output_error(out, error)}; choose another --out") from error
        write_atomic(path, content)
