"""A worker in a separate thread, which a process or an actor feeds."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sambench.engine.job import Batch, BatchResult, Job
from sambench.engine.worker import Worker


@dataclass(frozen=True)
class WorkerReport:
    """``done``: results since the last report. ``taken``: how many batches it has begun to read in all. ``ended``:
    nothing more will come."""

    done: list[BatchResult]
    taken: int
    ended: bool


class WorkerThread:
    """A worker on a separate thread, with an inbox and an outbox. The job is loaded there, not by this call."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._inbox: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._news = threading.Condition()
        self._done: list[BatchResult] = []
        self._taken = self._reported = 0
        self._ended = False
        self._error: Exception | None = None
        threading.Thread(target=self._work, name="worker", daemon=True).start()

    def submit(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self._inbox.put(batch)

    def stop(self) -> None:
        """Finish the current batch, begin no other."""
        self._stop.set()
        self._inbox.put(None)

    def poll(self, seconds: float) -> WorkerReport:
        """Waits for news, at most ``seconds``. Raises the exception that ended the worker early."""
        with self._news:
            self._news.wait_for(lambda: self._done or self._taken > self._reported or self._ended, seconds)
            done, self._done, self._reported = self._done, [], self._taken
            if self._error is not None and not done:
                raise self._error
            return WorkerReport(done, self._taken, self._ended and self._error is None)

    def next(self, *, wait: bool) -> Batch | None:
        """As :class:`Inbox` says, for the worker's thread."""
        try:
            batch = self._inbox.get(block=wait)
        except queue.Empty:
            return None
        if batch is None:
            self._inbox.put(None)  # whoever asks again is told again
            raise EOFError
        with self._news:
            self._taken += 1
            self._news.notify_all()
        return batch

    def _work(self) -> None:
        try:
            for done in Worker(self._job).stream(self, self._stop):
                with self._news:
                    self._done.append(done)
                    self._news.notify_all()
        except Exception as error:
            self._error = error
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()
