"""Handing out batches to workers that may be lost, wherever they are.

A :class:`WorkerPool` knows how to reach workers: processes of this machine (:mod:`sambench.engine.local_workers`),
actors of a Ray cluster (:mod:`sambench.engine.ray_workers`). :func:`dispatch` decides who does what: a worker gets the
next batch when it is ready for it, the batches of a lost worker go to another, and a batch over which several workers
were lost is given up, sample by sample in the list of errors.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sambench.engine.job import Batch, BatchResult, given_up
from sambench.errors import SambenchError

READY = 2
"""Batches queued at a worker besides those that it has begun to read."""
ATTEMPTS = 3
"""Workers that may be lost over a batch before its samples fail; in a row, that a pool may lose before any has finished
anything."""
POLL_SECONDS = 0.5


Name = TypeVar("Name", bound=Hashable)
"""What a pool calls its workers."""


@dataclass(frozen=True)
class News(Generic[Name]):
    """What became known of a worker. ``done``: batches that it finished. ``taken``: how many of its batches it has
    begun to read in all. ``lost``: why it is gone, one line; empty while it works."""

    worker: Name
    done: Sequence[BatchResult] = ()
    taken: int = 0
    lost: str = ""


class WorkerPool(Protocol[Name]):
    """Workers that evaluate batches of one job, each in the order in which it gets them."""

    def start(self) -> Name:
        """Starts a worker and returns its name, without waiting for it. Raises SambenchError if that is impossible."""

    def ready(self, worker: Name) -> bool:
        """Whether it has begun, so that its batches do not wait for it to find room."""

    def submit(self, worker: Name, batches: Sequence[Batch]) -> None:
        """Sends a worker more batches, without waiting. A lost one takes none; :meth:`poll` reports the loss."""

    def poll(self, seconds: float) -> Sequence[News[Name]]:
        """Waits for news, at most ``seconds``. Raises a worker's SambenchError (unreadable weights, say): another
        worker would fail too."""

    def stop(self) -> None:
        """Tells all to finish the current batch and to begin no other; each is lost after that."""

    def kill(self) -> None:
        """Ends all immediately, whatever they do, and waits until they are gone."""


@dataclass
class _InFlight:
    """The unfinished batches of a worker, in the order of submission."""

    batches: dict[int, Batch]
    submitted: int = 0
    taken: int = 0
    fruitful: bool = False


def dispatch(
    pool: WorkerPool[Name], work: Sequence[Batch], workers: int, tasks: int, stop: threading.Event
) -> Generator[BatchResult, None, None]:
    """The results of all batches, in any order. ``tasks``: how many the job has. ``stop``: once it is set, current
    batches are finished and no other is begun.

    Raises SambenchError: a worker's own, or when workers are lost one after the other without finishing anything.
    """
    queue = deque(work)
    in_flight: dict[Name, _InFlight] = {}
    losses: Counter[int] = Counter()
    fruitless = 0
    stopped = False
    try:
        for _ in range(min(workers, len(queue))):
            in_flight[pool.start()] = _InFlight({})
        while in_flight and (stopped or queue or any(state.batches for state in in_flight.values())):
            if stop.is_set() and not stopped:
                stopped = True
                queue.clear()
                pool.stop()
            for worker, state in in_flight.items():
                if pool.ready(worker):
                    _fill(pool, worker, state, queue)
            for news in pool.poll(POLL_SECONDS):
                state = in_flight[news.worker]
                state.taken = max(state.taken, news.taken)
                for done in news.done:
                    fruitless, state.fruitful = 0, True
                    del state.batches[done.number]
                    yield done
                if not news.lost:
                    continue
                del in_flight[news.worker]
                if stopped:
                    continue
                # Several that had worked may go together, with the node that they were on.
                fruitless += not state.fruitful
                if fruitless >= ATTEMPTS:
                    raise SambenchError(
                        f"{fruitless} workers were lost without finishing anything, the last because {news.lost}; run "
                        "the same command again, with fewer --workers if they ran out of memory"
                    )
                held = list(state.batches.values())
                if held:
                    losses[held[0].number] += 1
                    if losses[held[0].number] >= ATTEMPTS:
                        fruitless = 0
                        yield given_up(held[0], tasks, f"{ATTEMPTS} workers were lost over it, the last: {news.lost}")
                        del held[0]
                queue.extendleft(reversed(held))
                if queue:
                    in_flight[pool.start()] = _InFlight({})
    finally:
        pool.kill()


def _fill(pool: WorkerPool[Name], worker: Name, state: _InFlight, queue: deque[Batch]) -> None:
    more: list[Batch] = []
    while queue and state.submitted - state.taken < READY:
        more.append(queue.popleft())
        state.submitted += 1
    if more:
        state.batches.update((batch.number, batch) for batch in more)
        pool.submit(worker, more)
