"""The map: load ahead, encode in batches, measure, write. One worker in this process or several of their own.

What goes into one encoder batch follows from the place of a sample in the index: batch b holds the samples
``b * encode_batch`` to ``(b + 1) * encode_batch - 1``, each in its own slot, whatever else is still to do. A slot
whose sample is already done, failed or excluded is filled with a black pixel, so that every other sample is computed
in the same batch shape at the same place: resuming, retrying and limits cannot change a record's last bit.

What a task leaves for later (:data:`sambench.types.Later`) runs on a few threads while the model goes on with the next
images; results leave in the order of the batches all the same.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sambench import options, plugins
from sambench.errors import SambenchError, UsageError
from sambench.models import zoo
from sambench.models.coded_masks import CodedMasks, CodedPrediction, MaskFilter
from sambench.models.logit_windows import LogitWindow, SoftPrediction
from sambench.run import Failure, Outcome, RunDirectory, check_file_name
from sambench.types import (
    Context,
    Dataset,
    Later,
    Mask,
    Measured,
    Model,
    Prediction,
    Prompts,
    Sample,
    TakesInputs,
    Task,
    View,
)

FLUSH_SAMPLES = 256
FLUSH_SECONDS = 15.0
"""A shard is written when it holds so many samples or is so old, whichever comes first: what a crash can lose."""

_AHEAD = 2
"""Batches that are read before the model needs them."""
_BEHIND = 2
"""Samples for each evaluating thread that may wait for it, besides the one in its hands: bounds what they hold."""
_BLACK = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True)
class Job:
    """What a worker needs to make records: names, places and options, never live objects."""

    task: str
    task_options: Mapping[str, Any]
    dataset: str
    dataset_options: Mapping[str, Any]
    root: Path
    split: str
    model: zoo.Located
    device: str
    threads: int
    encode_batch: int
    seed: int
    label: str
    """Name of the dataset in records and in the seeds of random clicks."""
    plugin_folders: tuple[str, ...] = ()
    helpers: int = 1


@dataclass
class Result:
    """What came of some samples: rows, outcomes and files to write, failures to list, seconds by stage.

    ``later``: what is still to be done for some of them, by their ids; see :func:`finished`.
    """

    tables: list[pa.Table] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    masks: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    later: list[tuple[str, Later]] = field(default_factory=list)

    def add(self, id: str, answer: Callable[[], Measured | Later], schema: pa.Schema) -> None:
        """Takes in what a task makes of one sample, or what it leaves for later; an exception becomes a failure."""
        try:
            measured = answer()
            if not isinstance(measured, Measured):
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


Slots = tuple[str | None, ...]
"""The ids of one encoder batch by slot; None where nothing is to do."""


class Progress(Protocol):
    """What is told how far the run is."""

    def update(self, images: int, masks: int, failed: int) -> None: ...


class Worker:
    """One task, one dataset, one model, and the way of a batch through them."""

    def __init__(self, job: Job, model: Model | None = None) -> None:
        _limit_threads(job)
        for folder in job.plugin_folders:
            plugins.add_folder(Path(folder))
        task_class = plugins.load("tasks", job.task)
        self.task: Task = task_class(options.build(task_class.Options, job.task_options, "task"))
        dataset_class = plugins.load("datasets", job.dataset)
        built = options.build(dataset_class.Options, job.dataset_options, "dataset")
        self.dataset: Dataset = dataset_class(job.root, job.split, built)
        if model is None:
            model = job.model.load(job.device, job.encode_batch)
        _require(self.task, model)
        self.model = model
        if isinstance(self.task, TakesInputs):
            self.task.prepare(self.dataset, job.label)
        self.context = Context(job.label, job.seed, model.capabilities, job.helpers, job.device, job.threads)
        self.batch = job.encode_batch

    def stream(self, work: Iterable[Slots]) -> Generator[Result, None, None]:
        """The results of batches, in their order. Reading runs ahead of the model on threads, and what the task leaves
        for later runs behind it."""
        with closing(self._measured(iter(work))) as measured:
            yield from finished(measured, self.task.schema, self.context.helpers)

    def _measured(self, work: Iterator[Slots]) -> Generator[Result, None, None]:
        def load(slots: Slots) -> tuple[list[Sample | Failure | None], float]:
            began = time.perf_counter()
            return self.load(slots), time.perf_counter() - began

        with ThreadPoolExecutor(max_workers=_AHEAD, thread_name_prefix="load") as pool:
            ahead = deque((slots, pool.submit(load, slots)) for slots in itertools.islice(work, _AHEAD))
            try:
                while ahead:
                    slots, future = ahead.popleft()
                    began = time.perf_counter()
                    loaded, load_seconds = future.result()
                    waited = time.perf_counter() - began
                    ahead.extend((following, pool.submit(load, following)) for following in itertools.islice(work, 1))
                    result = self.run(slots, loaded, load_seconds)
                    result.spend("wait", waited)
                    yield result
            finally:
                for _, future in ahead:
                    future.cancel()

    def load(self, slots: Slots) -> list[Sample | Failure | None]:
        """Reads image and ground truth of each slot; what cannot be read becomes a Failure."""
        return [None if id is None else self._load(id) for id in slots]

    def _load(self, id: str) -> Sample | Failure:
        try:
            sample = self.dataset.load(id)
            if not self.task.excludes(sample) and sample.image.shape[:2] != sample.size:
                h, w = sample.image.shape[:2]
                return Failure(
                    id,
                    f"image {id} is {w}x{h} pixels, its annotation says {sample.size[1]}x{sample.size[0]}",
                    "DataError",
                )
            return sample
        except Exception as error:
            return failure_of(id, error)

    def run(self, slots: Slots, loaded: Sequence[Sample | Failure | None], load_seconds: float) -> Result:
        """Encodes and measures one batch, but for what the task leaves for later."""
        result = Result(seconds={"load": load_seconds})
        active: list[tuple[int, Sample]] = []
        for slot, sample in enumerate(loaded):
            if isinstance(sample, Failure):
                result.failures.append(sample)
            elif sample is not None:
                rule = self.task.excludes(sample)
                if rule:
                    result.outcomes.append(Outcome(sample.id, "excluded", rule, dict(sample.truth.dropped)))
                else:
                    active.append((slot, sample))
        if not active:
            return result
        began = time.perf_counter()
        try:
            views = self._encode(active, len(slots))
        except Exception as error:
            result.failures.extend(failure_of(sample.id, error) for _, sample in active)
            return result
        result.seconds["encode"] = time.perf_counter() - began
        for (_, sample), view in zip(active, views, strict=True):
            began = time.perf_counter()
            timed = _TimedView(view)
            result.add(sample.id, partial(self.task.measure, sample, timed, self.context), self.task.schema)
            spent = time.perf_counter() - began
            result.spend("decode", timed.decode_seconds)
            result.spend("masks", timed.masks_seconds)
            result.spend("measure", spent - timed.decode_seconds - timed.masks_seconds)
        return result

    def _encode(self, active: Sequence[tuple[int, Sample]], slots: int) -> Sequence[View]:
        if slots == 1 or self.model.batch_invariant:
            return self.model.encode([sample.image for _, sample in active])
        images = [_BLACK] * self.batch
        for slot, sample in active:
            images[slot] = sample.image
        views = self.model.encode(images)
        return [views[slot] for slot, _ in active]


def _require(task: Task, model: Model) -> None:
    """Raises UsageError if the model cannot do the task."""
    lacking = [one for one in sorted(task.requires) if not model.capabilities & set(one.split("|"))]
    if lacking:
        needs = " and ".join(one.replace("|", " or ") for one in lacking)
        able = [
            name
            for name, card in zoo.ZOO.items()
            if all(card.capabilities & set(one.split("|")) for one in task.requires)
        ]
        raise UsageError(
            f"task {task.name} needs a model with the capability {needs}; {model.name} has: "
            f"{', '.join(sorted(model.capabilities)) or 'none'}; those that can: {', '.join(able) or 'none of the zoo'}"
        )


def finished(results: Iterable[Result], schema: pa.Schema, threads: int) -> Generator[Result, None, None]:
    """Results with everything done that was left for later, on so many threads, in the order in which they came.

    The next result is asked for while earlier ones are still in work, as long as few samples are.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="evaluate") as pool:
        waiting: deque[tuple[Result, list[Future[Result]]]] = deque()
        try:
            for result in results:
                waiting.append((result, [pool.submit(_evaluate, id, later, schema) for id, later in result.later]))
                while waiting and (_unfinished(waiting) > (1 + _BEHIND) * threads or not _unfinished([waiting[0]])):
                    yield _joined(*waiting.popleft())
            while waiting:
                yield _joined(*waiting.popleft())
        finally:
            for future in itertools.chain.from_iterable(futures for _, futures in waiting):
                future.cancel()


def _evaluate(id: str, later: Later, schema: pa.Schema) -> Result:
    began = time.perf_counter()
    result = Result()
    result.add(id, later, schema)
    result.spend("evaluate", time.perf_counter() - began)
    return result


def _unfinished(waiting: Iterable[tuple[Result, Sequence[Future[Result]]]]) -> int:
    return sum(not future.done() for _, futures in waiting for future in futures)


def _joined(result: Result, futures: Sequence[Future[Result]]) -> Result:
    began = time.perf_counter()
    parts = [future.result() for future in futures]
    result.spend("wait", time.perf_counter() - began)
    for part in parts:
        result.merge(part)
    result.later.clear()
    return result


def batches(index: Sequence[str], todo: set[str], encode_batch: int) -> list[Slots]:
    """The encoder batches that hold something to do, in the order of the index; each has ``encode_batch`` slots."""
    cut = []
    for start in range(0, len(index), encode_batch):
        ids = index[start : start + encode_batch]
        slots = tuple(id if id in todo else None for id in ids) + (None,) * (encode_batch - len(ids))
        if any(slots):
            cut.append(slots)
    return cut


def execute(
    job: Job, directory: RunDirectory, todo: Sequence[str], workers: int, progress: Progress, model: Model | None = None
) -> dict[str, float]:
    """Evaluates the samples ``todo`` and writes their records. Seconds by stage, summed over workers."""
    work = batches(directory.index, set(todo), job.encode_batch)
    results = _here(job, work, model) if workers <= 1 else _spawned(job, work, min(workers, len(work)))
    return record(results, directory, progress)


def record(results: Generator[Result, None, None], directory: RunDirectory, progress: Progress) -> dict[str, float]:
    """Writes results as they come, and closes their source. Seconds by stage.

    What is finished when an exception (an interrupt, a full disk) ends this is on disk.
    """
    seconds: dict[str, float] = {}
    writer = ShardWriter(directory)
    try:
        for result in results:
            for stage, spent in result.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
            writer.add(result)
            progress.update(len(result.outcomes) + len(result.failures), result.masks, len(result.failures))
    except OSError as error:
        raise SambenchError(f"{type(error).__name__}: {error}") from error
    finally:
        # On the way out of an exception too, which a second failure to write must not replace.
        with suppress(SambenchError) if sys.exc_info()[0] is not None else nullcontext():
            writer.flush()
        results.close()
    seconds["write"] = writer.seconds
    return seconds


class ShardWriter:
    """Collects results and writes them as shards."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory, self.seconds = directory, 0.0
        self._pending = Result()
        self._since = time.monotonic()

    def add(self, result: Result) -> None:
        began = time.perf_counter()
        for failure in result.failures:
            self.directory.add_error(failure)
        for name, content in result.files.items():
            self.directory.add_file(name, content)
        if not self._pending.outcomes:
            self._since = time.monotonic()
        self._pending.tables += result.tables
        self._pending.outcomes += result.outcomes
        if len(self._pending.outcomes) >= FLUSH_SAMPLES or time.monotonic() - self._since >= FLUSH_SECONDS:
            self.flush()
        self.seconds += time.perf_counter() - began

    def flush(self) -> None:
        pending, self._pending = self._pending, Result()
        if pending.outcomes:
            self.directory.append(pending.tables, pending.outcomes)


def _here(job: Job, work: Sequence[Slots], model: Model | None) -> Generator[Result, None, None]:
    """In this process."""
    if work:
        yield from Worker(job, model).stream(work)


def _spawned(job: Job, work: Sequence[Slots], workers: int) -> Generator[Result, None, None]:
    """In processes of their own, each taking the next batch when it is ready for one: results in any order."""
    spawn = multiprocessing.get_context("spawn")
    tasks = spawn.Queue()
    for slots in [*work, *[None] * workers]:
        tasks.put(slots)
    processes: dict[Connection, Any] = {}
    try:
        for rank in range(workers):
            ours, theirs = spawn.Pipe(duplex=False)
            processes[ours] = spawn.Process(target=_serve, args=(job, rank, os.getpid(), tasks, theirs))
            processes[ours].start()
            theirs.close()
        busy = set(processes)
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                try:
                    message = ready.recv()
                except (EOFError, OSError):
                    processes[ready].join()
                    if processes[ready].exitcode:
                        raise SambenchError(
                            "a worker process died (out of memory?): what it was doing is not recorded; run the same "
                            "command again, with fewer --workers if it repeats"
                        ) from None
                    busy.remove(ready)
                    continue
                if isinstance(message, SambenchError):
                    raise message
                yield message
    finally:
        tasks.cancel_join_thread()
        tasks.close()
        for connection, process in processes.items():
            process.terminate()
            process.join()
            connection.close()


def _serve(job: Job, rank: int, parent: int, tasks: Any, results: Connection) -> None:
    """A worker process: batches from the queue until it says None, each result sent as soon as it is whole. It ends
    with its parent, also with one that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if job.device == "cuda":
        import torch

        job = replace(job, device=f"cuda:{rank % torch.cuda.device_count()}")
    try:
        for result in Worker(job).stream(iter(tasks.get, None)):
            results.send(result)
    except SambenchError as error:
        results.send(error)


def failure_of(id: str, error: Exception) -> Failure:
    """One line of an exception; for surprises also where it was raised."""
    if isinstance(error, SambenchError):
        return Failure(id, str(error), type(error).__name__)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split()) or type(error).__name__
    return Failure(id, f"{type(error).__name__}: {text}", type(error).__name__, f"{frame.filename}:{frame.lineno}")


class _TimedView:
    """A view that adds up how long the model takes: decoding prompts, and making full-size masks. With those of its
    crops; encoding them counts as decoding."""

    def __init__(self, view: View, whole: _TimedView | None = None) -> None:
        self.view = view
        self.whole = whole or self
        self.decode_seconds = 0.0
        self.masks_seconds = 0.0
        if hasattr(view, "crops"):
            self.crops = self._crops

    def _crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[_TimedView]:
        crops = self.view.crops(boxes)  # type: ignore[attr-defined]
        while True:
            began = time.perf_counter()
            crop = next(crops, None)
            self.whole.decode_seconds += time.perf_counter() - began
            if crop is None:
                return
            yield _TimedView(crop, self.whole)

    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        began = time.perf_counter()
        prediction = self.view.predict(prompts, multimask=multimask)
        self.whole.decode_seconds += time.perf_counter() - began
        wrapper = _TimedSoftPrediction if isinstance(prediction, SoftPrediction) else _TimedPrediction
        timed = wrapper(prediction, self.whole)
        if isinstance(prediction, CodedPrediction):
            timed.coded = timed.time_coded  # type: ignore[attr-defined]
        if prompts.text is not None:
            for name in ("instances", "presence", "notes"):
                setattr(timed, name, getattr(prediction, name))
        return timed

    def edges(self) -> NDArray[np.float32]:
        began = time.perf_counter()
        edges: NDArray[np.float32] = self.view.edges()  # type: ignore[attr-defined]
        self.decode_seconds += time.perf_counter() - began
        return edges

    @property
    def edges_are_thin(self) -> bool:
        return getattr(self.view, "edges_are_thin", False)


class _TimedPrediction:
    def __init__(self, prediction: Any, view: _TimedView) -> None:
        self.prediction, self.view = prediction, view

    @property
    def scores(self) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self.prediction.scores
        return scores

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> Any:
        return self.prediction.feedback(chosen)

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        began = time.perf_counter()
        masks: list[Mask] = self.prediction.masks(which)
        self.view.masks_seconds += time.perf_counter() - began
        return masks

    def time_coded(self, wanted: MaskFilter) -> CodedMasks:
        began = time.perf_counter()
        masks: CodedMasks = self.prediction.coded(wanted)
        self.view.masks_seconds += time.perf_counter() - began
        return masks


class _TimedSoftPrediction(_TimedPrediction):
    def logits(self, which: Sequence[tuple[int, int]], margin: int) -> Iterator[LogitWindow]:
        windows = self.prediction.logits(which, margin)
        while True:
            began = time.perf_counter()
            window = next(windows, None)
            self.view.masks_seconds += time.perf_counter() - began
            if window is None:
                return
            yield window

    def boxes(self) -> NDArray[np.int64]:
        began = time.perf_counter()
        boxes: NDArray[np.int64] = self.prediction.boxes()
        self.view.masks_seconds += time.perf_counter() - began
        return boxes


def _limit_threads(job: Job) -> None:
    """Pins the thread counts that numbers may depend on."""
    import cv2

    cv2.setNumThreads(1)
    if "torch" in sys.modules or job.device != "cpu" or job.threads > 1:
        import torch

        torch.set_num_threads(job.threads)
