"""The map: load ahead, encode in batches, measure, write. One worker in this process or several of their own.

What goes into one encoder batch follows from the place of a sample in the index: batch b holds the samples
``b * encode_batch`` to ``(b + 1) * encode_batch - 1``, each in its own slot, whatever else is still to do. A slot
whose sample is already done, failed or excluded is filled with a black pixel, so that every other sample is computed
in the same batch shape at the same place: resuming, retrying and limits cannot change a record's last bit.
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
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sambench import options, plugins
from sambench.errors import SambenchError
from sambench.models import zoo
from sambench.run import Failure, Outcome, RunDirectory
from sambench.types import Context, Dataset, Mask, Model, Prediction, Prompts, Sample, Task, View

FLUSH_SAMPLES = 256
FLUSH_SECONDS = 15.0
"""A shard is written when it holds so many samples or is so old, whichever comes first: what a crash can lose."""

_AHEAD = 2
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
    """What came of some samples: rows and outcomes to write, failures to list, seconds by stage."""

    tables: list[pa.Table] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    masks: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


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
        self.model = model
        self.context = Context(job.label, job.seed, model.capabilities, job.helpers)
        self.batch = job.encode_batch

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
        """Encodes and measures one batch."""
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
            try:
                measured = self.task.measure(sample, timed, self.context)
                table = pa.Table.from_pylist(list(measured.rows), schema=self.task.schema)
            except Exception as error:
                result.failures.append(failure_of(sample.id, error))
                continue
            result.tables.append(table)
            result.outcomes.append(Outcome(sample.id, "scored", excluded_masks=dict(measured.excluded)))
            result.masks += table.num_rows
            spent = time.perf_counter() - began
            measure = spent - timed.decode_seconds - timed.masks_seconds
            for stage, part in (("decode", timed.decode_seconds), ("masks", timed.masks_seconds), ("measure", measure)):
                result.seconds[stage] = result.seconds.get(stage, 0.0) + part
        return result

    def _encode(self, active: Sequence[tuple[int, Sample]], slots: int) -> Sequence[View]:
        if slots == 1 or self.model.batch_invariant:
            return self.model.encode([sample.image for _, sample in active])
        images = [_BLACK] * self.batch
        for slot, sample in active:
            images[slot] = sample.image
        views = self.model.encode(images)
        return [views[slot] for slot, _ in active]


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
    """Evaluates the samples ``todo`` and writes their records. Seconds by stage, summed over workers.

    What is finished when an exception (an interrupt, a full disk) ends this is on disk.
    """
    work = batches(directory.index, set(todo), job.encode_batch)
    seconds: dict[str, float] = {}
    writer = ShardWriter(directory)
    results = _here(job, work, model) if workers <= 1 else _spawned(job, work, min(workers, len(work)))
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
    """In this process; reading runs ahead on threads."""
    if not work:
        return
    worker = Worker(job, model)

    def load(slots: Slots) -> tuple[list[Sample | Failure | None], float]:
        began = time.perf_counter()
        return worker.load(slots), time.perf_counter() - began

    with ThreadPoolExecutor(max_workers=_AHEAD, thread_name_prefix="load") as pool:
        ahead: deque[tuple[Slots, Future[tuple[list[Sample | Failure | None], float]]]] = deque()
        rest = iter(work)
        try:
            for slots in itertools.islice(rest, _AHEAD):
                ahead.append((slots, pool.submit(load, slots)))
            while ahead:
                slots, future = ahead.popleft()
                began = time.perf_counter()
                loaded, load_seconds = future.result()
                waited = time.perf_counter() - began
                for following in itertools.islice(rest, 1):
                    ahead.append((following, pool.submit(load, following)))
                result = worker.run(slots, loaded, load_seconds)
                result.seconds["wait"] = waited
                yield result
        finally:
            for _, future in ahead:
                future.cancel()


_worker: Worker | None = None


def _start_worker(job: Job, parent: int, ranks: Any) -> None:
    """Initialises a worker process, on the next GPU in turn. It ends with its parent, also with one that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if job.device == "cuda":
        import torch

        with ranks.get_lock():
            rank = ranks.value
            ranks.value += 1
        job = replace(job, device=f"cuda:{rank % torch.cuda.device_count()}")
    global _worker
    _worker = Worker(job)


def _work(slots: Slots) -> Result:
    assert _worker is not None
    began = time.perf_counter()
    loaded = _worker.load(slots)
    return _worker.run(slots, loaded, time.perf_counter() - began)


def _spawned(job: Job, work: Sequence[Slots], workers: int) -> Generator[Result, None, None]:
    """In processes of their own, batches handed out as they finish: in any order."""
    if not work:
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        workers, spawn, initializer=_start_worker, initargs=(job, os.getpid(), spawn.Value("i", 0))
    )
    try:
        rest = iter(work)
        running = {pool.submit(_work, slots) for slots in itertools.islice(rest, 2 * workers)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                for slots in itertools.islice(rest, 1):
                    running.add(pool.submit(_work, slots))
                yield future.result()
    except BrokenProcessPool as error:
        raise SambenchError(
            "a worker process died (out of memory?): what it was doing is not recorded; run the same command again, "
            "with fewer --workers if it repeats"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def failure_of(id: str, error: Exception) -> Failure:
    """One line of an exception; for surprises also where it was raised."""
    if isinstance(error, SambenchError):
        return Failure(id, str(error), type(error).__name__)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split()) or type(error).__name__
    return Failure(id, f"{type(error).__name__}: {text}", type(error).__name__, f"{frame.filename}:{frame.lineno}")


class _TimedView:
    """A view that adds up how long the model takes: decoding prompts, and making full-size masks."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.decode_seconds = 0.0
        self.masks_seconds = 0.0

    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        began = time.perf_counter()
        prediction = self.view.predict(prompts, multimask=multimask)
        self.decode_seconds += time.perf_counter() - began
        return _TimedPrediction(prediction, self)


class _TimedPrediction:
    def __init__(self, prediction: Prediction, view: _TimedView) -> None:
        self.prediction, self.view = prediction, view

    @property
    def scores(self) -> NDArray[np.float32]:
        return self.prediction.scores

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> Any:
        return self.prediction.feedback(chosen)

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        began = time.perf_counter()
        masks = self.prediction.masks(which)
        self.view.masks_seconds += time.perf_counter() - began
        return masks


def _limit_threads(job: Job) -> None:
    """Pins the thread counts that numbers may depend on."""
    import cv2

    cv2.setNumThreads(1)
    if "torch" in sys.modules or job.device != "cpu" or job.threads > 1:
        import torch

        torch.set_num_threads(job.threads)
