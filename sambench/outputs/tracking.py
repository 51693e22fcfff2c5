"""Runs logged to MLflow or Weights & Biases through their own clients, when ``sambench log`` is asked to.

The client decides where things go, by its own settings (``MLFLOW_TRACKING_URI``, ``WANDB_MODE``, ``wandb login``).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sambench import text
from sambench.atomic_files import OutputError
from sambench.errors import UsageError
from sambench.runs.run import Run
from sambench.runs.summaries import RunSummary, load_summaries

PROJECT = "sambench"


@dataclass(frozen=True)
class Entry:
    """What is logged of a run. ``parameters``: what was asked for and on what; ``metrics``: name to value, those that
    are defined; ``file``: the summary."""

    name: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    file: Path


def log(paths: Sequence[Path], to: str, project: str = PROJECT) -> list[str]:
    """Logs the finished runs at and under ``paths`` to one of :data:`CLIENTS`; answers their names.

    A run that is logged twice is there twice: neither service keeps one apart from its repetition. Raises UsageError
    (no run, the client is not installed) and OutputError (it refuses).
    """
    runs = load_summaries(paths)
    try:
        client = importlib.import_module(to)
    except ImportError as error:
        raise UsageError(f"{to} cannot be imported ({error}): pip install 'sambench[{to}]'") from error
    entries = [_entry(run) for run in runs]
    for entry in entries:
        try:
            CLIENTS[to](client, project, entry)
        except Exception as error:
            # Its own errors, of which there are many; what it logged before stays.
            raise OutputError(f"{to} did not take {entry.name}: {text.one_line(str(error))}") from error
    return [entry.name for entry in entries]


def _entry(run: RunSummary) -> Entry:
    spec = asdict(Run(run.path).spec)
    options = {
        f"{owner}.{name}": value
        for owner in ("task", "dataset", "model")
        for name, value in spec[f"{owner}_options"].items()
    }
    about = {
        "task": run.task,
        "task_version": run.task_version,
        "dataset": run.dataset,
        "split": run.split,
        "subset": run.subset,
        "model": run.model,
        "weights_digest": run.weights_digest,
        "zero_shot": run.zero_shot,
        "complete": run.complete,
        "n_masks": run.n_masks,
        "seed": spec["seed"],
        "device": spec["device"],
        "signature": run.signature,
        "records_digest": run.records_digest,
        "sambench_version": run.sambench_version,
    }
    metrics = {name: metric.value for name, metric in run.metrics.items() if metric.value is not None}
    return Entry(f"{run.task} {run.dataset} {run.name}", about | options, metrics, run.file)


def _to_mlflow(mlflow: Any, project: str, entry: Entry) -> None:
    mlflow.set_experiment(project)
    with mlflow.start_run(run_name=entry.name):
        mlflow.log_params({name: str(value) for name, value in entry.parameters.items()})
        # MLflow takes no @ in a name.
        mlflow.log_metrics({name.replace("@", "_at_"): value for name, value in entry.metrics.items()})
        mlflow.log_artifact(str(entry.file))


def _to_wandb(wandb: Any, project: str, entry: Entry) -> None:
    with wandb.init(project=project, name=entry.name, config=dict(entry.parameters)) as run:
        run.summary.update(dict(entry.metrics))
        run.save(str(entry.file), base_path=str(entry.file.parent), policy="now")


CLIENTS: Mapping[str, Callable[[Any, str, Entry], None]] = {"mlflow": _to_mlflow, "wandb": _to_wandb}
