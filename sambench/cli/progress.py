"""How far a run or a download is, on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Self

from tqdm import tqdm

from sambench.atomic_files import output_error
from sambench.errors import UsageError
from sambench.runs.directory import now

_EVERY_SECONDS = 30.0
_LOG_SECONDS = 1.0
"""A line of the log at most so often, but for the first and the last of a run."""


class Reporter:
    """Makes what shows how far runs are. ``log``: a file that gets it as lines of JSON too.

    Raises UsageError if the file cannot be written.
    """

    def __init__(self, log: Path | None = None) -> None:
        self.log = log
        if log is not None:
            try:
                log.parent.mkdir(parents=True, exist_ok=True)
                log.open("a").close()
            except OSError as error:
                raise UsageError(f"--log-json: {output_error(log, error)}") from error

    def __call__(self, title: str, done: int, total: int) -> RunProgress:
        return RunProgress(title, done, total, self.log)


class RunProgress:
    """Images and masks per second and the time left. Use as a context manager. ``done``, ``total``: images, counted
    once for each task. ``log``: as :class:`Reporter` has it."""

    def __init__(self, title: str, done: int, total: int, log: Path | None = None) -> None:
        self.title, self.done, self.total, self.log = title, done, total, log
        self.logged = float("-inf")
        self.masks = self.failed = 0
        self.began = self.last = time.monotonic()
        self.started_at = done
        self.bar: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self.bar = tqdm(total=self.total, initial=self.done, desc=self.title, unit="image", file=sys.stderr)
        else:
            self._line(f"{self.done} of {self.total} images done before")
        self._log("started")
        return self

    def __exit__(self, *exc: object) -> None:
        self._log("ended")
        if self.bar is not None:
            self.bar.close()
        else:
            self._report()

    def update(self, images: int, masks: int, failed: int) -> None:
        self.done += images
        self.masks += masks
        self.failed += failed
        if self.log is not None and time.monotonic() - self.logged >= _LOG_SECONDS:
            self._log("running")
        if self.bar is not None:
            self.bar.update(images)
            rate = self.masks / max(time.monotonic() - self.began, 1e-9)
            self.bar.set_postfix_str(f"{rate:.1f} masks/s" + (f", {self.failed} failed" if self.failed else ""))
        elif time.monotonic() - self.last >= _EVERY_SECONDS:
            self._report()

    def _report(self) -> None:
        self.last = time.monotonic()
        seconds = max(self.last - self.began, 1e-9)
        rate = (self.done - self.started_at) / seconds
        left = f", {_clock((self.total - self.done) / rate)} left" if rate and self.done < self.total else ""
        failed = f", {self.failed} failed" if self.failed else ""
        speed = f"{rate:.2f} images/s, {self.masks / seconds:.1f} masks/s"
        self._line(f"{self.done}/{self.total} images, {speed}{left}{failed}")

    def _log(self, state: str) -> None:
        """Adds a line in one piece, so that several processes may write to one file. A log that cannot be written is
        said once and given up: it is not what a run is for."""
        if self.log is None:
            return
        self.logged = time.monotonic()
        seconds = self.logged - self.began
        rate = (self.done - self.started_at) / seconds if seconds > 0 else 0.0
        facts = {
            "time": now(),
            "run": self.title,
            "state": state,
            "process": os.getpid(),
            "images_done": self.done,
            "images_total": self.total,
            "failed": self.failed,
            "masks": self.masks,
            "seconds": round(seconds, 3),
            "images_per_second": round(rate, 4),
            "seconds_left": round((self.total - self.done) / rate, 1) if rate else None,
        }
        try:
            with self.log.open("ab", buffering=0) as file:
                file.write(json.dumps(facts, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            self._line(f"{output_error(self.log, error)}: no more progress is written there")
            self.log = None

    def _line(self, text: str) -> None:
        print(f"{self.title}: {text}", file=sys.stderr, flush=True)


class ByteProgress:
    """How much of a file has come, or been unpacked, on stderr."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.title, self.done, self.last = "", 0, 0.0
        self.total: int | None = None

    def start(self, title: str, done: int, total: int | None) -> None:
        """``total``: bytes in all, None where nobody has said."""
        self.title, self.done, self.total = title, done, total
        self.last = time.monotonic()
        if sys.stderr.isatty():
            self.bar = tqdm(
                total=total, initial=done, desc=title, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr
            )

    def add(self, more: int) -> None:
        self.done += more
        if self.bar is not None:
            self.bar.update(more)
        elif time.monotonic() - self.last >= _EVERY_SECONDS:
            self.last = time.monotonic()
            of = f" of {self.total / 1e6:.1f}" if self.total else ""
            print(f"{self.title}: {self.done / 1e6:.1f}{of} MB", file=sys.stderr, flush=True)

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _clock(seconds: float) -> str:
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
