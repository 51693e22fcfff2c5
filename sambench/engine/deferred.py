"""Metrics that are computed on threads, behind the model."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from sambench.core.task import DeferredResult
from sambench.engine.job import BatchResult, Result
from sambench.engine.spans import SpanRecorder

BEHIND = 2
"""Samples for each evaluating thread that may wait for it, besides the one in its hands: bounds what they hold."""


class DeferredMetrics:
    """What is measured later than the model needs it: on threads, while the model goes on, but not far.

    Holds batches in the order in which they came, with everything that is still to be done for them.
    """

    def __init__(self, schemas: Sequence[pa.Schema], threads: int, trace: SpanRecorder | None = None) -> None:
        self._schemas, self._threads = schemas, threads
        self._trace = trace or SpanRecorder(False)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="evaluate")
        self._waiting: deque[tuple[BatchResult, list[tuple[Result, Future[Result]]]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, done: BatchResult) -> None:
        futures = []
        for result, schema in zip(done.results, self._schemas, strict=True):
            futures += [(result, self._pool.submit(self._evaluate, id, later, schema)) for id, later in result.later]
        self._waiting.append((done, futures))

    @property
    def ready(self) -> bool:
        """Whether everything is done for the oldest."""
        return not self._unfinished([self._waiting[0]])

    @property
    def full(self) -> bool:
        """Whether the model should wait."""
        return self._unfinished(self._waiting) > (1 + BEHIND) * self._threads

    @staticmethod
    def _unfinished(waiting: Iterable[tuple[BatchResult, Sequence[tuple[Result, Future[Result]]]]]) -> int:
        return sum(not future.done() for _, futures in waiting for _, future in futures)

    def pop(self) -> BatchResult:
        """The oldest, once everything is done for it."""
        done, futures = self._waiting.popleft()
        for result, future in futures:
            began = time.perf_counter()
            part = future.result()
            result.spend("wait", time.perf_counter() - began)
            result.merge(part)
        for result in done.results:
            result.later.clear()
        return done

    def close(self) -> None:
        """Gives up what is not begun, and waits for what is."""
        for _, futures in self._waiting:
            for _, future in futures:
                future.cancel()
        self._waiting.clear()
        self._pool.shutdown()

    def _evaluate(self, id: str, later: DeferredResult, schema: pa.Schema) -> Result:
        result = Result()
        with self._trace.span("metric", None, id) as span:
            result.add(id, later, schema)
        result.spend("metric_behind", span.seconds)
        return result


def finished(
    results: Iterable[BatchResult], schemas: Sequence[pa.Schema], threads: int
) -> Generator[BatchResult, None, None]:
    """Results with everything done that was left for later, on so many threads, in the order in which they came.

    The next result is asked for while earlier ones are still in work, as long as few samples are.
    """
    behind = DeferredMetrics(schemas, threads)
    try:
        for done in results:
            behind.add(done)
            while len(behind) and (behind.full or behind.ready):
                yield behind.pop()
        while len(behind):
            yield behind.pop()
    finally:
        behind.close()
