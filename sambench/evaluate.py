"""From what was asked for to runs on disk: finds data and models, then evaluates triple by triple."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any

from sambench.core.task import Context
from sambench.engine import chrome_trace
from sambench.engine.encoding_cache import EncodingCache
from sambench.engine.execute import execute
from sambench.engine.job import Job, TaskJob
from sambench.engine.resources import processors
from sambench.engine.result_writer import Progress, Recorded
from sambench.errors import SambenchError
from sambench.planning.plan import Triple, groups, information, out_of, part_of, title, workers_for
from sambench.plugins import options, registry
from sambench.runs import provenance
from sambench.runs.directory import (
    TRACE,
    RunDirectory,
    RunSpec,
    now,
)
from sambench.runs.summarize import counts, summarize

ShowProgress = Callable[[str, int, int], AbstractContextManager[Progress]]
"""Called with title, images done before, images in all."""

Work = Callable[[Sequence[RunDirectory], Sequence[Sequence[str]], Progress], Recorded]
"""Evaluates what is to do for each directory and writes the records."""


def evaluate(
    triples: Sequence[Triple], progress: ShowProgress, stop: threading.Event | None = None
) -> Iterator[tuple[Triple, Path, dict[str, Any]]]:
    """Runs triples, or goes on with them; each with its directory and its summary (of a shard: see :func:`carry_out`)
    as soon as it is there. Tasks that can share encodings are run together.

    Raises SambenchError, and KeyboardInterrupt if ``stop`` was set; everything finished by then is on disk.
    """
    # Made and tried before anything is computed; a folder that goes later stays gone, it may have been a mount.
    for kept in {triple.settings.encodings for triple in triples}:
        if kept is not None:
            EncodingCache.check(kept)
    for group in groups(triples):
        stop = stop or threading.Event()
        yield from zip([t for t, _ in group], *zip(*_evaluate(group, progress, stop), strict=True), strict=True)


def _evaluate(
    group: Sequence[tuple[Triple, RunSpec]], progress: ShowProgress, stop: threading.Event
) -> list[tuple[Path, dict[str, Any]]]:
    triple, spec = group[0]
    settings = triple.settings
    workers = settings.workers or workers_for(triple.model, spec, settings)
    job = Job(
        tasks=tuple(TaskJob(one.task_reference, options.as_dict(one.task_options)) for one, _ in group),
        dataset=triple.found.reference,
        dataset_options=options.as_dict(triple.found.options),
        root=triple.found.root,
        split=spec.split,
        model=triple.model,
        device=spec.device,
        threads=spec.threads,
        encode_batch=spec.encode_batch,
        seed=spec.seed,
        label=spec.dataset,
        plugin_folders=tuple(str(f) for f in settings.plugin_folders),
        helpers=max(1, processors() // workers) if settings.backend == "local" else max(1, spec.threads),
        encodings=settings.encodings,
        rounding=spec.encodings,
        together=spec.device == "cuda",
        profile=settings.profile,
    )

    def work(directories: Sequence[RunDirectory], todo: Sequence[Sequence[str]], bar: Progress) -> Recorded:
        return execute(job, directories, todo, workers, bar, stop, backend=settings.backend)

    done = carry_out(group, work, progress, workers)
    if stop.is_set():
        raise KeyboardInterrupt
    return done


def carry_out(
    group: Sequence[tuple[Triple, RunSpec]], work: Work, progress: ShowProgress, workers: int = 1
) -> list[tuple[Path, dict[str, Any]]]:
    """Opens the run directories, has ``work`` do what is left to do, and sums up. Directories and summaries.

    A shard has no summary but ``{"complete", "n_expected", "n_scored", "n_failed", "n_excluded", "n_pending"}`` of its
    own samples: what it scored says nothing before it is merged with the others.
    """
    settings = group[0][0].settings
    session = {
        **provenance.facts(),
        "started": now(),
        "workers": workers,
        "backend": settings.backend,
        "limit": settings.limit,
        "together": [spec.task for _, spec in group],
    }
    with ExitStack() as opened:
        directories, expected, todo = [], [], []
        for triple, spec in group:
            at = spec.directory(out_of(triple.settings))
            directory = opened.enter_context(RunDirectory(at, spec, triple.index, triple.task.schema))
            facts = {
                "data_root": str(triple.found.root),
                "model": triple.model.reference,
                "weights": triple.model.weights_path,
                "task_source": registry.source_digest(type(triple.task)),
                "dataset_source": registry.source_digest(triple.found.plugin),
            }
            directory.open(
                fresh=settings.fresh, session=session | facts, info=information(triple), shard=settings.shard
            )
            directories.append(directory)
            expected.append(part_of(triple.index[: settings.limit], settings.shard, spec.encode_batch))
            todo.append([id for id in expected[-1] if id not in directory.done])
            retried = set(todo[-1])
            directory.set_errors([f for f in directory.errors() if f.id not in retried])
        recorded = Recorded(len(group))
        status = "failed"
        try:
            if any(todo):
                total, left = sum(map(len, expected)), sum(map(len, todo))
                with progress(title([triple for triple, _ in group]), total - left, total) as bar:
                    recorded = work(directories, todo, bar)
            status = "ended"
        except KeyboardInterrupt:
            status = "ended"
            raise
        finally:
            summaries = [
                _close(directory, triple, spec, ids, seconds, recorded, status)
                for directory, (triple, spec), ids, seconds in zip(
                    directories, group, expected, recorded.seconds, strict=True
                )
            ]
        return [(d.path, summary) for d, summary in zip(directories, summaries, strict=True)]


def _close(
    directory: RunDirectory,
    triple: Triple,
    spec: RunSpec,
    expected: Sequence[str],
    seconds: Mapping[str, float],
    recorded: Recorded,
    status: str,
) -> dict[str, Any]:
    """Writes how a run ended. ``status``: ``ended``, or ``failed`` where something is being raised: that is said on
    disk if it still can be, and not replaced."""
    if status == "failed":
        with suppress(SambenchError):
            directory.finish(status, seconds, None)
        return {}
    if recorded.spans:  # nothing was done: what an earlier command wrote stays
        directory.add_file(TRACE, chrome_trace.chrome(recorded.spans))
    summary = None
    if triple.settings.shard is None:
        complete = len(directory.done) == len(triple.index)
        summary = summarize(directory, triple.task, Context(spec.dataset, spec.seed))
    else:
        complete = all(id in directory.done for id in expected)
    directory.finish("complete" if complete else "incomplete", seconds, summary, recorded.notes)
    if summary is not None:
        return summary
    return {"complete": complete, **counts(directory, len(expected))}
