"""When each stage ran, for `--profile`."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sambench.engine.job import Batch, Span


@dataclass
class Elapsed:
    """``seconds``: how long a span took, once it is over."""

    seconds: float = 0.0


class SpanRecorder:
    """Measures spans, and records them if ``enabled``. Safe on any thread."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._spans: deque[Span] = deque()

    @contextmanager
    def span(self, stage: str, batch: Batch | None, about: str = "") -> Iterator[Elapsed]:
        elapsed = Elapsed()
        epoch, began = time.time_ns(), time.perf_counter_ns()
        try:
            yield elapsed
        finally:
            took = time.perf_counter_ns() - began
            elapsed.seconds = took / 1e9
            if self._enabled:
                where = (f"{os.uname().nodename} {os.getpid()}", threading.current_thread().name)
                name = about or (f"batch {batch.number}" if batch else "")
                self._spans.append(Span(stage, epoch // 1000, took // 1000, where, name))

    def collect(self) -> list[Span]:
        """The spans recorded since the last call."""
        return [self._spans.popleft() for _ in range(len(self._spans))]
