"""A run's profile as a trace: the JSON that Perfetto and Chromium's ``chrome://tracing`` show, one row a thread."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sambench.engine.job import Span


def chrome(spans: Sequence[Span]) -> bytes:
    """The Trace Event Format: complete events in microseconds, processes and threads by name."""
    processes = {name: number for number, name in enumerate(sorted({span.where[0] for span in spans}), 1)}
    threads = {where: number for number, where in enumerate(sorted({span.where for span in spans}), 1)}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": number, "args": {"name": name}} for name, number in processes.items()
    ]
    events += [
        {"ph": "M", "name": "thread_name", "pid": processes[where[0]], "tid": number, "args": {"name": where[1]}}
        for where, number in threads.items()
    ]
    events += [
        {
            "ph": "X",
            "name": span.stage,
            "pid": processes[span.where[0]],
            "tid": threads[span.where],
            "ts": span.began,
            "dur": span.took,
            "args": {"about": span.about},
        }
        for span in sorted(spans, key=lambda span: span.began)
    ]
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode()
