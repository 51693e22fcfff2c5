"""Reports for machines: CSV with one measured number a line, JSON with the leaderboard as it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from sambench.atomic_files import output_error, write_atomic
from sambench.core.task import MetricValue
from sambench.errors import UsageError
from sambench.reporting.baseline import Against
from sambench.reporting.leaderboard import Leaderboard
from sambench.reporting.table import Column, Table
from sambench.reporting.table import csv_text as csv_text
from sambench.runs.summaries import Metrics, RunSummary

JSON_SCHEMA = 1

_RUN = ("task", "task_version", "dataset", "split", "subset", "model", "weights_digest", "signature")
_STATE = ("zero_shot", "complete")
_COUNTS = ("n_expected", "n_scored", "n_failed", "n_excluded", "n_masks", "records_digest", "sambench_version")
_METRIC = ("metric", "value", "ci95_low", "ci95_high", "ci95_bootstrap_low", "ci95_bootstrap_high", "n", "unit")

_MODEL = ("family", "parameters")

LEADERBOARD_COLUMNS = (*_RUN, *_METRIC, *_STATE, *_COUNTS, *_MODEL)
_BASELINE = ("baseline", "baseline_weights_digest")
DELTA_COLUMNS = (*_RUN, *_BASELINE, "metric", "value", "baseline_value", "delta", "oracle_delta", "unit")
BREAKDOWN_COLUMNS = (*_RUN, "cut", "group", *_METRIC, *_STATE)

PUBLISHED = (
    Column("task"),
    Column("dataset", "dataset", lambda one: one.dataset or "(all)", left=True),
    Column("published_dataset", "published as", value="published.dataset", left=True),
    *(Column(name, name, value=f"published.{name}", left=True) for name in ("model", "variant", "metric")),
    *(Column(name, value=f"published.{name}") for name in ("value", "table")),
    Column("source", "source", value="published.provenance", left=True),
    Column("", "value", attrgetter("published.value")),
)
PUBLISHED_COLUMNS = tuple(column.key for column in PUBLISHED if column.key)


def json_text(value: Any) -> str:
    """JSON, undefined as null and never NaN."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def leaderboard_csv(summaries: Iterable[RunSummary]) -> str:
    """One line for each run and metric. Values are as in the summaries, fractions of 1."""
    rows = ({**vars(run), **line} for run in summaries for line in _lines(run.metrics))
    return Table.of_records(LEADERBOARD_COLUMNS, rows).csv()


def breakdowns_csv(summaries: Iterable[RunSummary]) -> str:
    """One line for each run, cut (class, size), group of the cut and metric."""
    rows = (
        {**vars(run), "cut": cut, "group": group, **line}
        for run in summaries
        for cut, groups in run.breakdowns.items()
        for group, metrics in groups.items()
        for line in _lines(metrics)
    )
    return Table.of_records(BREAKDOWN_COLUMNS, rows).csv()


def deltas_csv(compared: Iterable[Against]) -> str:
    """One line for each model and dataset that is compared with the baseline, in full precision."""
    rows = (
        {
            **vars(one.board),
            **vars(one.row),
            "metric": one.metric,
            "unit": one.unit,
            "baseline": one.baseline.model,
            "baseline_weights_digest": one.baseline.weights_digest,
            **{name: getattr(d, name) for name in ("dataset", "split", "subset", "value", "delta", "oracle_delta")},
            "baseline_value": d.baseline,
        }
        for one in compared
        for d in one.deltas
    )
    return Table.of_records(DELTA_COLUMNS, rows).csv()


def leaderboard_json(boards: Sequence[Leaderboard]) -> dict[str, Any]:
    """The leaderboards as plain values; ``docs/reports.md`` has a sentence for each field."""
    return {"schema": JSON_SCHEMA, "leaderboards": [_board(board) for board in boards]}


def _lines(metrics: Metrics) -> list[dict[str, Any]]:
    """By :data:`_METRIC`."""
    nothing = (None, None)
    return [
        dict(
            zip(
                _METRIC, (name, m.value, *(m.ci95 or nothing), *(m.ci95_bootstrap or nothing), m.n, m.unit), strict=True
            )
        )
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
    state = {name: getattr(run, name) for name in (*_STATE, *_COUNTS, *_MODEL)}
    return {**state, "metrics": {name: _measured(metric) for name, metric in run.metrics.items()}}


def _measured(metric: MetricValue) -> dict[str, Any]:
    return {
        "value": metric.value,
        "ci95": metric.ci95 and list(metric.ci95),
        "ci95_bootstrap": metric.ci95_bootstrap and list(metric.ci95_bootstrap),
        "n": metric.n,
        "unit": metric.unit,
    }


def write_forms(out: Path, name: str, table: Table, content: Any, page: str) -> Path:
    """``name.csv`` of a table, ``name.json`` and ``name.md`` in ``out``, each whole or not at all; answers the path of
    the last. Raises as :func:`write_all`."""
    write_all(out, encoded({f"{name}.csv": table.csv(), f"{name}.json": json_text(content), f"{name}.md": page}))
    return out / f"{name}.md"


def encoded(files: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """As UTF-8, which cannot hold the half of a surrogate pair that JSON may have carried into a name."""
    return ((name, content.encode("utf-8", "backslashreplace")) for name, content in files.items())


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
