"""Metrics computed on threads, behind the model."""

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
"""Samples that may wait for each evaluating thread, besides its current one: bounds the memory they hold."""


class DeferredMetrics:
    """Metrics computed on threads while the model goes on, a bounded number of samples ahead.

    Holds batches in order of arrival, with their remaining work.
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
        """Whether the oldest batch is complete."""
        return not self._unfinished([self._waiting[0]])

    @property
    def full(self) -> bool:
        """Whether the model should wait."""
        return self._unfinished(self._waiting) > (1 + BEHIND) * self._threads

    @staticmethod
    def _unfinished(waiting: Iterable[tuple[BatchResult, Sequence[tuple[Result, Future[Result]]]]]) -> int:
        return sum(not future.done() for _, futures in waiting for _, future in futures)

    def pop(self) -> BatchResult:
        """The oldest batch, once it is complete."""
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
        """Cancels work that has not begun, and waits for the rest."""
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
    """Results with their deferred work done, on ``threads`` threads, in order of arrival.

    The next result is asked for while few samples of earlier ones are unfinished.
    """
    deferred = DeferredMetrics(schemas, threads)
    try:
        for done in results:
            deferred.add(done)
            while len(deferred) and (deferred.full or deferred.ready):
                yield deferred.pop()
        while len(deferred):
            yield deferred.pop()
    finally:
        deferred.close()
