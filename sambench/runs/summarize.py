"""A run's summary, computed from its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sambench
from sambench.core.task import Context, MetricValue, Task
from sambench.runs.directory import (
    SCHEMA,
    RunDirectory,
    records_digest,
)


def summarize(directory: RunDirectory, task: Task, context: Context) -> dict[str, Any]:
    """``summary.json`` from the records on disk. Every expected sample is scored, failed, excluded or pending."""
    spec, info = directory.spec, directory.manifest["info"]
    records = directory.records()
    scores = task.summarize(records, context)
    outcomes = list(directory.done.values())
    excluded: dict[str, int] = {}
    excluded_masks: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.status == "excluded":
            excluded[outcome.rule] = excluded.get(outcome.rule, 0) + 1
        for rule, n in outcome.excluded_masks.items():
            excluded_masks[rule] = excluded_masks.get(rule, 0) + n
    return {
        "schema": SCHEMA,
        "task": spec.task,
        "task_version": spec.task_version,
        "dataset": spec.dataset,
        "split": spec.split,
        "subset": spec.subset,
        "model": spec.model,
        "weights_digest": spec.weights_digest,
        "family": info["family"],
        "parameters": info["parameters"],
        "zero_shot": info["zero_shot"],
        "complete": len(outcomes) == len(directory.index),
        **counts(directory, len(directory.index)),
        "n_masks": scores.n_masks,
        "excluded": excluded,
        "excluded_masks": excluded_masks,
        "left_out_of_index": info["left_out_of_index"],
        "signature": info["signature"],
        "primary": task.primary,
        "headlines": [task.primary, *scores.headlines],
        "metrics": _jsonable(scores.metrics),
        "breakdowns": {k: {v: _jsonable(m) for v, m in cut.items()} for k, cut in scores.breakdowns.items()},
        "curves": {name: {axis: list(v) for axis, v in curve.items()} for name, curve in scores.curves.items()},
        "lower_is_better": list(scores.lower_is_better),
        "warnings": list(scores.warnings),
        "index_digest": spec.index_digest,
        "records_digest": records_digest(records),
        "sambench_version": sambench.__version__,
    }


def counts(directory: RunDirectory, expected: int) -> dict[str, int]:
    """What became of the samples that are expected of a directory: scored, failed, excluded or pending."""
    outcomes = directory.done.values()
    scored, failed = sum(o.status == "scored" for o in outcomes), len(directory.errors())
    return {
        "n_expected": expected,
        "n_scored": scored,
        "n_failed": failed,
        "n_excluded": len(outcomes) - scored,
        "n_pending": expected - len(outcomes) - failed,
    }


def _jsonable(metrics: Mapping[str, MetricValue]) -> dict[str, Any]:
    return {name: asdict(metric) for name, metric in metrics.items()}
