"""Scores what was predicted elsewhere, as a run like any other. Each task says how its predictions are read."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sambench import evaluate
from sambench.core.dataset import Dataset
from sambench.core.options import NoOptions
from sambench.core.task import Context, Predictions, Task
from sambench.engine.deferred import finished
from sambench.engine.job import BatchResult, Result, failure_of
from sambench.engine.resources import processors
from sambench.engine.result_writer import Progress, Recorded, record
from sambench.errors import UsageError
from sambench.evaluate import ShowProgress
from sambench.models import zoo
from sambench.planning.plan import Triple, make_plan, specification
from sambench.planning.settings import Settings
from sambench.runs.directory import Outcome, RunDirectory

SHOWN = 5
"""Ids that a complaint about many images names."""


def score(
    settings: Settings, predictions: Path, name: str | None, progress: ShowProgress
) -> tuple[Path, dict[str, Any]]:
    """Scores the predictions at a path; answers the run directory and its summary. Raises UsageError if they cannot
    be used. The digest of the predictions stands where a model's has its weights'."""
    name = name or (predictions.stem if predictions.is_file() else predictions.resolve().name)
    unread = zoo.LocatedModel(str(predictions), name, "", None, NoOptions(), False, str(predictions))
    (triple,) = make_plan(settings, [unread]).triples
    given = triple.task.read_predictions(predictions)
    triple = replace(triple, model=replace(unread, weights_digest=given.digest))
    _check_ids(given, triple, predictions)
    spec = specification(triple)
    dataset = triple.found.open()
    context = Context(spec.dataset, spec.seed, helpers=processors())

    def work(directories: Sequence[RunDirectory], todo: Sequence[Sequence[str]], bar: Progress) -> Recorded:
        results = _results(triple.task, dataset, given, todo[0], context)
        return record(finished(results, [triple.task.schema], context.helpers), directories, bar)

    ((path, summary),) = evaluate.carry_out([(triple, spec)], work, progress)
    return path, summary


def _check_ids(given: Predictions, triple: Triple, path: Path) -> None:
    known, answered = set(triple.index), set(given.ids)
    where = f"dataset {triple.found.label}, split {triple.found.split}"
    strangers = [id for id in given.ids if id not in known]
    if strangers and triple.settings.subset == "full":
        raise UsageError(
            f"{path}: {len(strangers)} of {len(given.ids)} images are not in {where}, e.g. image "
            f"{', '.join(strangers[:SHOWN])}"
        )
    missing = sorted(known - answered) if given.whole_images else []
    if missing:
        raise UsageError(
            f"{path}: there is nothing for {len(missing)} of {len(known)} images of {where}, e.g. image "
            f"{', '.join(missing[:SHOWN])}"
        )


def _results(
    task: Task, dataset: Dataset, given: Predictions, todo: Sequence[str], context: Context
) -> Generator[BatchResult, None, None]:
    for number, id in enumerate(todo):
        result = Result()
        try:
            sample = dataset.load(id)
            rule = task.excludes(sample)
            if rule:
                result.outcomes.append(Outcome(id, "excluded", rule, dict(sample.truth.dropped)))
            else:
                result.add(id, partial(task.score, sample, given.read(id), context), task.schema)
        except Exception as error:
            result.failures.append(failure_of(id, error))
        yield BatchResult(number, (result,))
