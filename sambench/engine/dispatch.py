"""Handing out batches to workers that may be lost, wherever they are.

A :class:`WorkerPool` knows how to reach workers: processes of this machine (:mod:`sambench.engine.local_workers`),
actors of a Ray cluster (:mod:`sambench.engine.ray_workers`). :func:`dispatch` decides who does what: a worker gets the
next batch when it is ready for one, what a lost worker had in hand goes to another, and a batch that has cost several
workers their lives is given up, sample by sample in the list of errors.
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
"""Batches that lie ready for a worker besides those that it has begun to read."""
ATTEMPTS = 3
"""Workers that may be lost over a batch before its samples are said to have failed; in a row, that a crew may lose
before any has finished anything."""
NEWS_SECONDS = 0.5


Name = TypeVar("Name", bound=Hashable)
"""What a crew calls its workers."""


@dataclass(frozen=True)
class News(Generic[Name]):
    """What became known of a worker. ``done``: batches that it finished. ``taken``: how many batches it has begun to
    read in all, of those that it was given. ``lost``: why it is gone, one line; empty while it works."""

    worker: Name
    done: Sequence[BatchResult] = ()
    taken: int = 0
    lost: str = ""


class WorkerPool(Protocol[Name]):
    """Workers that were hired, each evaluating batches of one job in the order in which it gets them."""

    def hire(self) -> Name:
        """Starts a worker and answers what it is called from now on, without waiting for it. Raises SambenchError if
        there can be none."""

    def ready(self, worker: Name) -> bool:
        """Whether it has begun, so that what it is given does not wait for it to find room."""

    def give(self, worker: Name, batches: Sequence[Batch]) -> None:
        """Hands a worker more batches, without waiting. One that is gone takes none; that becomes news."""

    def news(self, seconds: float) -> Sequence[News[Name]]:
        """Waits until there is some, at most so long. A SambenchError of a worker (its weights are unreadable, say) is
        raised here: another would fare no better."""

    def halt(self) -> None:
        """Tells all to finish the batch that they work on and to begin no other; each is lost after that."""

    def dismiss(self) -> None:
        """Ends all at once, whatever they do, and waits until they are gone."""


@dataclass
class _InFlight:
    """What a worker was given and has not finished, in that order."""

    batches: dict[int, Batch]
    given: int = 0
    taken: int = 0
    fruitful: bool = False


def dispatch(
    crew: WorkerPool[Name], work: Sequence[Batch], workers: int, tasks: int, stop: threading.Event
) -> Generator[BatchResult, None, None]:
    """What came of all batches, in any order. ``tasks``: how many the job has. ``stop``: once it is set, batches in
    work are finished and no other is begun.

    Raises SambenchError: a worker's own, or when workers are lost one after the other without finishing anything.
    """
    queue = deque(work)
    hands: dict[Name, _InFlight] = {}
    deaths: Counter[int] = Counter()
    fruitless = 0
    halted = False
    try:
        for _ in range(min(workers, len(queue))):
            hands[crew.hire()] = _InFlight({})
        while hands and (halted or queue or any(hand.batches for hand in hands.values())):
            if stop.is_set() and not halted:
                halted = True
                queue.clear()
                crew.halt()
            for worker, hand in hands.items():
                if crew.ready(worker):
                    _fill(crew, worker, hand, queue)
            for one in crew.news(NEWS_SECONDS):
                hand = hands[one.worker]
                hand.taken = max(hand.taken, one.taken)
                for done in one.done:
                    fruitless, hand.fruitful = 0, True
                    del hand.batches[done.number]
                    yield done
                if not one.lost:
                    continue
                del hands[one.worker]
                if halted:
                    continue
                # Several that had worked may go at once, with the node that they were on.
                fruitless += not hand.fruitful
                if fruitless >= ATTEMPTS:
                    raise SambenchError(
                        f"{fruitless} workers were lost without finishing anything, the last because {one.lost}; run "
                        "the same command again, with fewer --workers if they ran out of memory"
                    )
                held = list(hand.batches.values())
                if held:
                    deaths[held[0].number] += 1
                    if deaths[held[0].number] >= ATTEMPTS:
                        fruitless = 0
                        yield given_up(held[0], tasks, f"{ATTEMPTS} workers were lost over it, the last: {one.lost}")
                        del held[0]
                queue.extendleft(reversed(held))
                if queue:
                    hands[crew.hire()] = _InFlight({})
    finally:
        crew.dismiss()


def _fill(crew: WorkerPool[Name], worker: Name, hand: _InFlight, queue: deque[Batch]) -> None:
    more: list[Batch] = []
    while queue and hand.given - hand.taken < READY:
        more.append(queue.popleft())
        hand.given += 1
    if more:
        hand.batches.update((batch.number, batch) for batch in more)
        crew.give(worker, more)
