"""Ending a run from outside: the first Ctrl-C, or SIGTERM, lets it finish what it has in hand; the second ends it at
once.

What was finished is on disk either way, and the same command goes on.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_SECONDS = 10.0
"""How long a second Ctrl-C may take to write what is finished before the process ends whatever it does."""

INTERRUPTED = 130


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second raises KeyboardInterrupt, and ends the process if
    that does not (code may be deep inside a library, or a file system may not answer)."""
    stop = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        if not stop.is_set():
            stop.set()
            print(
                f"\n{signal.Signals(number).name}: finishing the current batch; once more to stop immediately",
                file=sys.stderr,
                flush=True,
            )
            return
        timer = threading.Timer(GRACE_SECONDS, os._exit, [INTERRUPTED])
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
