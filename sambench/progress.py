"""How far a run or a download is, on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Self

from tqdm import tqdm

_EVERY_SECONDS = 30.0


class RunProgress:
    """Images and masks per second and the time left. Use as a context manager."""

    def __init__(self, title: str, done: int, total: int) -> None:
        self.title, self.done, self.total = title, done, total
        self.masks = self.failed = 0
        self.began = self.last = time.monotonic()
        self.started_at = done
        self.bar: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self.bar = tqdm(total=self.total, initial=self.done, desc=self.title, unit="image", file=sys.stderr)
        else:
            self._line(f"{self.done} of {self.total} images done before")
        return self

    def __exit__(self, *exc: object) -> None:
        if self.bar is not None:
            self.bar.close()
        else:
            self._report()

    def update(self, images: int, masks: int, failed: int) -> None:
        self.done += images
        self.masks += masks
        self.failed += failed
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
