"""The single cases of a run on disk, for whoever pairs them or looks at them."""

from __future__ import annotations

from typing import Any

from sambench.core.task import Cases, HasCases
from sambench.errors import UsageError
from sambench.plugins import options, registry
from sambench.runs.directory import read_json, read_records
from sambench.runs.summaries import RunSummary


def read_cases(run: RunSummary) -> Cases | None:
    """What the run's task says its cases are; None if it has none. Raises UsageError (the run is of another version of
    the task) and RunError (records that cannot be read)."""
    spec: dict[str, Any] = read_json(run.path / "manifest.json")["spec"]
    plugin = registry.load("tasks", run.task)
    if run.task_version != plugin.version:
        raise UsageError(
            f"{run.path} holds {run.task} version {run.task_version}, this sambench has {plugin.version}: use the "
            "sambench that wrote it"
        )
    task = plugin(options.build(plugin.Options, spec["task_options"], "task"))
    return task.cases(read_records(run.path)) if isinstance(task, HasCases) else None


def unit_of(run: RunSummary, metric: str) -> str:
    """As the summary has it; what it does not name (the mean of each image's best F) is a fraction."""
    return run.metrics[metric].unit if metric in run.metrics else "fraction"
