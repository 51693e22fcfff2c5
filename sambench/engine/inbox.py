"""Where a worker's batches come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from sambench.engine.job import Batch

AHEAD = 2
"""Batches read before the model needs them."""


class Inbox(Protocol):
    """Where a worker's batches come from."""

    def next(self, *, wait: bool) -> Batch | None:
        """The next batch, None if there is none at the moment. Raises EOFError if there will be none."""


class ListInbox:
    """An inbox that holds all batches."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)

    def next(self, *, wait: bool) -> Batch:
        for batch in self._batches:
            return batch
        raise EOFError
