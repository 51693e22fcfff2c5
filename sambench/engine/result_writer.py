"""Writing results while the next ones are made: on a separate thread, with few waiting, in order of arrival."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import nullcontext, suppress
from typing import Protocol

from sambench.engine.job import BatchResult, Result, Span
from sambench.errors import SambenchError
from sambench.runs.directory import RunDirectory

FLUSH_SAMPLES = 256
FLUSH_SECONDS = 15.0
"""A shard is written when it holds that many samples or is that old, whichever comes first: a crash loses no more."""
WAITING = 16
"""Batches that may wait to be written; with more, their producers wait."""


class Progress(Protocol):
    """Progress sink."""

    def update(self, images: int, masks: int, failed: int) -> None: ...


class Recorded:
    """Figures of the written batches for the run's manifest. ``seconds``: by stage, for each task."""

    def __init__(self, tasks: int) -> None:
        self.seconds: list[dict[str, float]] = [{} for _ in range(tasks)]
        self.spans: list[Span] = []
        self.notes: dict[str, int] = {}

    def add(self, done: BatchResult) -> None:
        for seconds, result in zip(self.seconds, done.results, strict=True):
            for stage, spent in result.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
        self.spans += done.spans
        for event, times in done.notes.items():
            self.notes[event] = self.notes.get(event, 0) + times


def record(
    results: Generator[BatchResult, None, None], directories: Sequence[RunDirectory], progress: Progress
) -> Recorded:
    """Writes results as they come, each task's to its directory, and closes their source.

    When an exception (an interrupt, a full disk) ends this, all finished results are on disk.
    """
    recorded = Recorded(len(directories))
    writer = BackgroundWriter([ShardWriter(directory) for directory in directories])
    try:
        for done in results:
            recorded.add(done)
            writer.put(done)
            for result in done.results:
                progress.update(len(result.outcomes) + len(result.failures), result.masks, len(result.failures))
    finally:
        # On the way out of an exception too, which a second failure to write must not replace.
        with suppress(SambenchError) if sys.exc_info()[0] is not None else nullcontext():
            writer.close()
        results.close()
    for seconds, shards in zip(recorded.seconds, writer.writers, strict=True):
        seconds["write"] = shards.seconds
    return recorded


class ShardWriter:
    """Collects results of one task and writes them as shards. ``seconds``: spent on that."""

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
        self.seconds += time.perf_counter() - began
        if len(self._pending.outcomes) >= FLUSH_SAMPLES:
            self.flush()

    def flush_if_old(self) -> None:
        if self._pending.outcomes and time.monotonic() - self._since >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        began = time.perf_counter()
        pending, self._pending = self._pending, Result()
        if pending.outcomes:
            self.directory.append(pending.tables, pending.outcomes)
        self.seconds += time.perf_counter() - began


class BackgroundWriter:
    """Passes results to their writers on a thread. :meth:`put` blocks while :data:`WAITING` are waiting."""

    def __init__(self, writers: Sequence[ShardWriter]) -> None:
        self.writers = writers
        self._error: BaseException | None = None
        self._queue: queue.Queue[BatchResult | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="write", daemon=True)
        self._thread.start()

    def put(self, done: BatchResult) -> None:
        """Raises the exception of an earlier write."""
        self._raise()
        self._queue.put(done)

    def close(self) -> None:
        """Writes all that is waiting. Raises the exception of a write."""
        self._queue.put(None)
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            if isinstance(self._error, OSError):
                raise SambenchError(f"{type(self._error).__name__}: {self._error}") from self._error
            raise self._error

    def _work(self) -> None:
        ended = False
        while not ended:
            try:
                done = self._queue.get(timeout=min(1.0, max(FLUSH_SECONDS, 0.01)))
            except queue.Empty:
                done = None
            else:
                ended = done is None
            if self._error is not None:
                continue
            try:
                if done is not None:
                    for writer, result in zip(self.writers, done.results, strict=True):
                        writer.add(result)
                for writer in self.writers:
                    if ended:
                        writer.flush()
                    else:
                        writer.flush_if_old()
            except BaseException as error:
                self._error = error
