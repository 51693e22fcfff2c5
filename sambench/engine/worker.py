"""Evaluates batches with one model on one dataset: read ahead, encode once for all tasks, measure, finish.

Reading runs ahead of the model on threads, and deferred work of a task (:data:`sambench.core.task.DeferredResult`) runs
behind it; results still leave in the order of the batches.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.core.dataset import Sample
from sambench.core.model import Model, View
from sambench.core.task import Context, DeferredResult, SampleResult, Task
from sambench.engine import joint_decoding
from sambench.engine.deferred import DeferredMetrics
from sambench.engine.encodings import Encodings, _say
from sambench.engine.inbox import AHEAD, Inbox
from sambench.engine.job import Batch, BatchResult, Job, Result, failure_of
from sambench.engine.spans import SpanRecorder
from sambench.engine.timing import TimedDecoding, TimedView
from sambench.models.requirements import require
from sambench.plugins import registry
from sambench.runs.directory import Failure, Outcome

STALLED_SECONDS = 60.0
"""A sample that takes longer to read is reported: its file system may be gone."""
BLACK = np.zeros((1, 1, 3), np.uint8)


@dataclass
class _Slot:
    """A sample in work. ``tasks``: the ones that measure it. ``refused``: by task, the rule that leaves it out.
    ``key``: of its encoding. ``kept``: the cached encoding."""

    sample: Sample
    tasks: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    prepared: Any = None
    key: str = ""
    kept: Mapping[str, NDArray[Any]] | None = None


Loaded = list[_Slot | Failure | None]
"""By slot; None where there is nothing to do."""


class Worker:
    """A loaded job. ``model``: a loaded model in place of the job's."""

    def __init__(self, job: Job, model: Model | None = None) -> None:
        self.job = job
        began = time.perf_counter()
        _limit_threads(job)
        registry.add_folders(map(Path, job.plugin_folders))
        self.tasks = [registry.build_task(task.name, task.options) for task in job.tasks]
        plugin, built = registry.dataset_class(job.dataset, job.dataset_options)
        self.dataset = plugin(job.root, job.split, built)
        if model is None:
            model = job.model.load(job.device, job.encode_batch)
        for task in self.tasks:
            require(task, model)
            task.prepare(self.dataset, job.label)
        self.model = model
        self.context = Context(job.label, job.seed, model.capabilities, job.helpers, job.device, job.threads)
        self.encodings = Encodings(job, model)
        self._trace = SpanRecorder(job.profile)
        self._started = time.perf_counter() - began
        self._stalled: tuple[float, float] | None = None

    @property
    def task(self) -> Task:
        """The only task."""
        (task,) = self.tasks
        return task

    def stream(self, inbox: Inbox, stop: threading.Event | None = None) -> Generator[BatchResult, None, None]:
        """The results of the batches of an inbox, in their order. Once ``stop`` is set, the current batch is finished
        and no other begun."""
        stop = stop or threading.Event()
        ahead: deque[tuple[Batch, Future[tuple[Loaded, float]]]] = deque()
        deferred = DeferredMetrics([task.schema for task in self.tasks], self.context.helpers, self._trace)
        pool = ThreadPoolExecutor(max_workers=AHEAD, thread_name_prefix="load")
        ended, since, starting = False, time.perf_counter(), self._started
        waited = 0.0

        def leave(done: BatchResult) -> BatchResult:
            nonlocal since, starting, waited
            now = time.perf_counter()
            tasks = [t for t, result in enumerate(done.results) if result.seconds] or range(len(done.results))
            done.share("wall", now - since, tasks)
            done.share("wait", waited, tasks)
            if starting:
                done.share("start", starting, tasks)
            since, starting, waited = now, 0.0, 0.0
            done.spans += self._trace.collect()
            return done

        try:
            while True:
                while not ended and len(ahead) < AHEAD:
                    began = time.perf_counter()
                    try:
                        batch = inbox.next(wait=not ahead and not len(deferred))
                    except EOFError:
                        ended = True
                        break
                    finally:
                        waited += time.perf_counter() - began
                    if batch is None:
                        break
                    ahead.append((batch, pool.submit(self._timed_load, batch)))
                if stop.is_set():
                    ended = True
                    ahead.clear()
                while len(deferred) and (deferred.ready or deferred.full):
                    yield leave(deferred.pop())
                if ahead:
                    batch, future = ahead[0]
                    began = time.perf_counter()
                    answer = self._read(batch, future)
                    waited += time.perf_counter() - began
                    if answer is None:
                        continue
                    ahead.popleft()
                    # Read on while this one is computed.
                    if not ended and (following := self._following(inbox)):
                        ahead.append((following, pool.submit(self._timed_load, following)))
                    deferred.add(self.run(batch, *answer))
                elif len(deferred):
                    yield leave(deferred.pop())
                elif ended:
                    return
        finally:
            deferred.close()
            self.encodings.close()
            # Not waited for: a file system that does not answer must not keep a run from ending.
            pool.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _following(inbox: Inbox) -> Batch | None:
        try:
            return inbox.next(wait=False)
        except EOFError:
            return None

    def _read(self, batch: Batch, future: Future[tuple[Loaded, float]]) -> tuple[Loaded, float] | None:
        """The contents of a batch if read within a moment, else None. Reports a stall from time to time."""
        with suppress(NotYet):
            answer = future.result(timeout=0.2)
            self._stalled = None
            return answer
        now = time.monotonic()
        if self._stalled is None:
            self._stalled = (now, now)
        since, said = self._stalled
        if now - said >= STALLED_SECONDS:
            self._stalled = (since, now)
            ids = ", ".join(id for id, todo in zip(batch.ids, batch.todo, strict=True) if todo and id)
            _say(
                f"{self.job.label}: still reading image {ids} after {now - since:.0f} s; does the file system of "
                f"{self.job.root} answer?"
            )
        return None

    def _timed_load(self, batch: Batch) -> tuple[Loaded, float]:
        with self._trace.span("load", batch) as span:
            loaded = self.load(batch)
        return loaded, span.seconds

    def load(self, batch: Batch) -> Loaded:
        """Reads image and ground truth of each slot; an unreadable sample becomes a Failure."""
        together = any(self._together(batch, task) for task in batch.tasks)
        return [
            # A neighbour that is done already is measured again where its prompts belong into the others' batches.
            self._load(id, range(len(self.tasks)) if together else todo, slot)
            if id is not None and (todo or together)
            else None
            for slot, (id, todo) in enumerate(zip(batch.ids, batch.todo, strict=True))
        ]

    def _load(self, id: str, tasks: Iterable[int], place: int) -> _Slot | Failure:
        try:
            sample = self.dataset.load(id)
            slot = _Slot(sample)
            for task in tasks:
                rule = self.tasks[task].excludes(sample)
                if rule:
                    slot.refused[task] = rule
                else:
                    slot.tasks.append(task)
            if slot.tasks:
                if sample.image.shape[:2] != sample.size:
                    h, w = sample.image.shape[:2]
                    return Failure(
                        id,
                        f"image {id} is {w}x{h} pixels, its annotation says {sample.size[1]}x{sample.size[0]}",
                        "DataError",
                    )
                slot.key, slot.kept = self.encodings.find(sample.image, place)
                if slot.kept is None:
                    slot.prepared = self.model.prepare(sample.image)
            return slot
        except Exception as error:
            return failure_of(id, error)

    def run(self, batch: Batch, loaded: Loaded, load_seconds: float) -> BatchResult:
        """Encodes and measures one batch, except for deferred work of the tasks."""
        done = BatchResult(batch.number, tuple(Result() for _ in self.tasks))
        done.share("load", load_seconds, batch.tasks)
        active: list[tuple[int, _Slot]] = []
        for place, slot in enumerate(loaded):
            if isinstance(slot, Failure):
                for task in batch.todo[place]:
                    done.results[task].failures.append(slot)
            elif slot is not None:
                for task in batch.todo[place]:
                    if rule := slot.refused.get(task):
                        dropped = dict(slot.sample.truth.dropped)
                        done.results[task].outcomes.append(Outcome(slot.sample.id, "excluded", rule, dropped))
                if slot.tasks:
                    active.append((place, slot))
        if not any(batch.todo[place] for place, _ in active):
            return done
        if any(slot.key for _, slot in active):
            done.notes["encodings_found"] = sum(slot.kept is not None for _, slot in active)
            done.notes["encodings_made"] = sum(slot.kept is None for _, slot in active)
        halved = self.model.halved
        try:
            with self._trace.span("encode", batch) as span:
                views = self._encode(active, len(batch.ids))
        except Exception as error:
            for place, slot in active:
                for task in set(batch.todo[place]) & set(slot.tasks):
                    done.results[task].failures.append(failure_of(slot.sample.id, error))
            return done
        done.share("encode", span.seconds, batch.tasks)
        for task in batch.tasks:
            self._measure(task, batch, [(p, s, v) for (p, s), v in zip(active, views, strict=True)], done)
        if times := self.model.halved - halved:
            done.notes["batches_halved"] = times
        return done

    def _measure(self, task: int, batch: Batch, seen: Sequence[tuple[int, _Slot, View]], done: BatchResult) -> None:
        """Measures one task on its images of a batch."""
        result = done.results[task]
        if self._together(batch, task):
            self._measure_together(task, batch, [item for item in seen if task in item[1].tasks], result)
            return
        for place, slot, plain in seen:
            if task not in batch.todo[place] or task not in slot.tasks:
                continue
            view = TimedView(plain)
            with self._trace.span(self.job.tasks[task].name, batch, slot.sample.id) as span:
                measure = partial(self.tasks[task].measure, slot.sample, view, self.context)
                result.add(slot.sample.id, measure, self.tasks[task].schema)
            result.spend("decode", view.decode_seconds)
            result.spend("postprocess", view.postprocess_seconds)
            result.spend("metric", span.seconds - view.decode_seconds - view.postprocess_seconds)

    def _measure_together(
        self, task: int, batch: Batch, seen: Sequence[tuple[int, _Slot, View]], result: Result
    ) -> None:
        """Measures with the prompts of all images decoded together."""
        timed = TimedDecoding(self.model)
        measure = self.tasks[task].measure

        def call(slot: _Slot) -> Callable[[View], SampleResult | DeferredResult]:
            return lambda view: measure(slot.sample, view, self.context)

        with self._trace.span(self.job.tasks[task].name, batch) as span:
            answers = joint_decoding.measure_together(
                [call(slot) for _, slot, _ in seen], [view for _, _, view in seen], timed
            )
        for (place, slot, _), answer in zip(seen, answers, strict=True):
            if task in batch.todo[place]:
                result.add(slot.sample.id, partial(_answer, answer), self.tasks[task].schema)
        result.spend("decode", timed.seconds)
        result.spend("metric", span.seconds - timed.seconds)

    def _together(self, batch: Batch, task: int) -> bool:
        return (
            self.job.together
            and self.tasks[task].decode_jointly
            and len(batch.ids) > 1
            and self.model.decodes_jointly
            and self.model.prompt_batch > 1
        )

    def _encode(self, active: Sequence[tuple[int, _Slot]], slots: int) -> list[View]:
        """The views of samples by their slots: cached ones restored, the others encoded as one batch."""
        views: dict[int, View] = {
            place: self.encodings.restored(slot.sample.image, slot.kept)
            for place, slot in active
            if slot.kept is not None
        }
        missing = [(place, slot) for place, slot in active if place not in views]
        for (place, slot), view in zip(missing, self._encoded(missing, slots), strict=True):
            views[place] = self.encodings.keep(slot.key, slot.sample.image, view)
        return [views[place] for place, _ in active]

    def _encoded(self, missing: Sequence[tuple[int, _Slot]], slots: int) -> Sequence[View]:
        if not missing:
            return []
        if slots == 1 or self.model.batch_invariant:
            return self._forward([slot for _, slot in missing])
        by_place: list[_Slot | None] = [None] * slots
        for place, slot in missing:
            by_place[place] = slot
        views = self._forward(by_place)
        return [views[place] for place, _ in missing]

    def _forward(self, slots: Sequence[_Slot | None]) -> Sequence[View]:
        return self.model.encode_prepared(
            [self.model.prepare(BLACK) if slot is None else slot.prepared for slot in slots]
        )

    def view(self, sample: Sample, place: int) -> View:
        """The view of a sample in a run that has it at this place of its index; nothing is kept."""
        slot = _Slot(sample, prepared=self.model.prepare(sample.image))
        slots = self.job.encode_batch
        (view,) = self._encoded([(place % slots, slot)], slots)
        return self.encodings.keep("", sample.image, view)


def _answer(answer: SampleResult | DeferredResult | Exception) -> SampleResult | DeferredResult:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _limit_threads(job: Job) -> None:
    """Pins the thread counts that numbers may depend on."""
    import cv2

    cv2.setNumThreads(1)
    if "torch" in sys.modules or job.device != "cpu" or job.threads > 1:
        import torch

        torch.set_num_threads(job.threads)
