"""Hands the batches of a job to one worker or many, and writes the results.

The records do not depend on the number of workers, their places, earlier sessions, or the order of results.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence

from sambench.core.model import Model
from sambench.engine.dispatch import dispatch
from sambench.engine.inbox import ListInbox
from sambench.engine.job import Batch, BatchResult, Job, batches
from sambench.engine.local_workers import ProcessPool
from sambench.engine.result_writer import Progress, Recorded, record
from sambench.engine.worker import Worker
from sambench.runs.directory import RunDirectory


def execute(
    job: Job,
    directories: Sequence[RunDirectory],
    todo: Sequence[Sequence[str]],
    workers: int,
    progress: Progress,
    stop: threading.Event,
    *,
    backend: str = "local",
    model: Model | None = None,
) -> Recorded:
    """Evaluates the samples ``todo`` of each task of a job and writes their records, each task's to its directory.

    ``directories``: of one index. ``backend``: ``local``, or ``ray`` for the cluster that is connected
    (:func:`sambench.engine.ray_workers.connect`). Once ``stop`` is set, current batches are finished and no more begun.
    """
    work = batches(directories[0].index, todo, job.encode_batch)
    results: Generator[BatchResult, None, None]
    if backend == "ray":
        from sambench.engine.ray_workers import RayPool

        results = dispatch(RayPool(job), work, workers, len(job.tasks), stop)
    elif workers <= 1:
        results = _here(job, work, stop, model)
    else:
        results = dispatch(ProcessPool(job), work, workers, len(job.tasks), stop)
    return record(results, directories, progress)


def _here(
    job: Job, work: Sequence[Batch], stop: threading.Event, model: Model | None
) -> Generator[BatchResult, None, None]:
    """In this process."""
    if work:
        yield from Worker(job, model).stream(ListInbox(work), stop)
