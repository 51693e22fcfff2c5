"""The messages to and from a worker: plain data, which any process can send to any other.

A :class:`Job` says what is evaluated, a :class:`Batch` on which images, a :class:`BatchResult` holds the results.

The place of a sample in the index decides its encoder batch: batch b holds the samples ``b * encode_batch`` to
``(b + 1) * encode_batch - 1``, each in its own slot, whatever else is still to do. A slot with nothing to do is filled
with a black pixel, so that every other sample is computed in the same batch shape at the same place: resuming,
retrying, limits and shards cannot change a record's last bit.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from sambench.core.task import DeferredResult, SampleResult
from sambench.engine.encoding_cache import EncodingsSpec
from sambench.errors import SambenchError
from sambench.models import zoo
from sambench.runs.directory import Failure, Outcome, check_file_name


@dataclass(frozen=True)
class TaskJob:
    """A task and its options, by name."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """All that a worker needs to make records: names, places and options, never live objects.

    ``tasks``: one or several, which share the encoding of an image. ``label``: name of the dataset in records and in
    the seeds of random clicks. ``helpers``: threads for work without the model. ``encodings``: where encodings are
    kept between runs. ``rounding``: the dtype to which every encoding is rounded before it is used, kept or not.
    ``together``: a model that can decodes the prompts of the images of a batch together. ``profile``: results include
    their spans.
    """

    tasks: tuple[TaskJob, ...]
    dataset: str
    dataset_options: Mapping[str, Any]
    root: Path
    split: str
    model: zoo.LocatedModel
    device: str
    threads: int
    encode_batch: int
    seed: int
    label: str
    plugin_folders: tuple[str, ...] = ()
    helpers: int = 1
    encodings: EncodingsSpec | None = None
    rounding: Literal["float32", "float16"] = "float32"
    together: bool = False
    profile: bool = False


@dataclass(frozen=True)
class Batch:
    """One encoder batch. ``number``: its place in the index. ``ids``: of the index by slot, None past its end.
    ``todo``: by slot, the job's tasks that have yet to measure the sample; none: it is done, or not asked for."""

    number: int
    ids: tuple[str | None, ...]
    todo: tuple[tuple[int, ...], ...]

    @property
    def tasks(self) -> list[int]:
        """The tasks with anything to do here."""
        return sorted({task for tasks in self.todo for task in tasks})


def batches(index: Sequence[str], todo: Sequence[Collection[str]], encode_batch: int) -> list[Batch]:
    """The encoder batches that hold something to do, in the order of the index; each has ``encode_batch`` slots.

    ``todo``: ids, for each task of the job.
    """
    selected = [frozenset(ids) for ids in todo]
    cut = []
    for number, start in enumerate(range(0, len(index), encode_batch)):
        ids = index[start : start + encode_batch]
        by_slot = tuple(tuple(t for t, chosen in enumerate(selected) if id in chosen) for id in ids)
        if any(by_slot):
            empty = encode_batch - len(ids)
            cut.append(Batch(number, (*ids, *[None] * empty), (*by_slot, *[()] * empty)))
    return cut


@dataclass
class Result:
    """The results of some samples in one task: rows, outcomes and files to write, failures to list, seconds by stage.

    ``later``: work still to do for some of them, by their ids.
    """

    tables: list[pa.Table] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    masks: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    later: list[tuple[str, DeferredResult]] = field(default_factory=list)

    def add(self, id: str, answer: Callable[[], SampleResult | DeferredResult], schema: pa.Schema) -> None:
        """Adds a task's answer for one sample, or the work that it defers; an exception becomes a failure."""
        try:
            measured = answer()
            if not isinstance(measured, SampleResult):
                self.later.append((id, measured))
                return
            for name in measured.files:
                check_file_name(name)
            table = pa.Table.from_pylist(list(measured.rows), schema=schema)
        except Exception as error:
            self.failures.append(failure_of(id, error))
            return
        self.tables.append(table)
        self.outcomes.append(Outcome(id, "scored", excluded_masks=dict(measured.excluded)))
        self.files.update(measured.files)
        self.masks += table.num_rows

    def spend(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def merge(self, other: Result) -> None:
        self.tables += other.tables
        self.outcomes += other.outcomes
        self.failures += other.failures
        self.files.update(other.files)
        self.masks += other.masks
        for stage, seconds in other.seconds.items():
            self.spend(stage, seconds)


@dataclass(frozen=True)
class Span:
    """When a stage ran. ``began`` and ``took``: microseconds, the former since the epoch. ``where``: process and
    thread."""

    stage: str
    began: int
    took: int
    where: tuple[str, str]
    about: str = ""


@dataclass
class BatchResult:
    """The results of one batch, for each task of the job. ``notes``: counts of events for the run's manifest
    (``batches_halved``: one did not fit into memory)."""

    number: int
    results: tuple[Result, ...]
    spans: list[Span] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    def share(self, stage: str, seconds: float, tasks: Collection[int]) -> None:
        """Splits seconds that these tasks have in common equally among them."""
        for task in tasks:
            self.results[task].spend(stage, seconds / len(tasks))


def given_up(batch: Batch, tasks: int, why: str) -> BatchResult:
    """Every sample of a batch failed for one reason."""
    results = tuple(Result() for _ in range(tasks))
    for id, todo in zip(batch.ids, batch.todo, strict=True):
        for task in todo:
            assert id is not None
            results[task].failures.append(Failure(id, why, "WorkerLost"))
    return BatchResult(batch.number, results)


def failure_of(id: str, error: Exception) -> Failure:
    """One line of an exception; for surprises also where it was raised."""
    if isinstance(error, SambenchError):
        return Failure(id, str(error), type(error).__name__)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split()) or type(error).__name__
    return Failure(id, f"{type(error).__name__}: {text}", type(error).__name__, f"{frame.filename}:{frame.lineno}")
