"""Who gets which batch, and what becomes of those of a worker that is lost: with a pool of the tests' own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sambench.engine.dispatch import ATTEMPTS, READY, News, dispatch
from sambench.engine.job import Batch, BatchResult, Result
from sambench.errors import SambenchError
from sambench.runs.directory import Outcome


def batch(number: int) -> Batch:
    return Batch(number, (f"im{number}",), ((0,),))


class WorkerPool:
    """Workers that finish one batch a turn, read two ahead, and are lost as a plan says.

    ``losses``: by turn, the workers (in the order of their start) that are lost in it. ``deadly``: batches that no
    worker survives.
    """

    def __init__(self, losses: Sequence[Sequence[int]] = (), deadly: Sequence[int] = ()) -> None:
        self.losses, self.deadly = deque(losses), set(deadly)
        self.inboxes: dict[int, deque[Batch]] = {}
        self.taken: dict[int, int] = {}
        self.calls: dict[int, int] = {}
        self.begun: list[int] = []
        self.started = self.most = 0
        self.stopped = self.killed = False

    def start(self) -> int:
        self.started += 1
        self.inboxes[self.started], self.taken[self.started], self.calls[self.started] = deque(), 0, 0
        return self.started

    def ready(self, worker: int) -> bool:
        return self.calls[worker] > 1

    def submit(self, worker: int, batches: Sequence[Batch]) -> None:
        assert self.ready(worker), "it has not begun"
        if worker in self.inboxes:
            self.inboxes[worker] += batches
            self.most = max(self.most, len(self.inboxes[worker]))

    def poll(self, seconds: float) -> list[News[int]]:
        lost = self.losses.popleft() if self.losses else ()
        news = []
        for worker in self.calls:
            self.calls[worker] += 1
        for worker, inbox in list(self.inboxes.items()):
            deadly = bool(inbox) and inbox[0].number in self.deadly
            if worker in lost or deadly:
                del self.inboxes[worker]
                news.append(News(worker, lost="it was shot"))
            elif self.stopped:
                del self.inboxes[worker]
                news.append(News(worker, [self.finish(worker, inbox)] if inbox else [], lost="it was told to end"))
            elif inbox:
                news.append(News(worker, [self.finish(worker, inbox)], self.taken[worker] + min(len(inbox), 2)))
        return news

    def finish(self, worker: int, inbox: deque[Batch]) -> BatchResult:
        done = inbox.popleft()
        self.taken[worker] += 1
        self.begun.append(done.number)
        return BatchResult(done.number, (Result(outcomes=[Outcome(done.ids[0] or "", "scored")]),))

    def stop(self) -> None:
        self.stopped = True

    def kill(self) -> None:
        self.killed = True


def numbers(done: Sequence[BatchResult]) -> list[int]:
    return sorted(one.number for one in done)


@given(
    work=st.integers(0, 12),
    workers=st.integers(1, 4),
    losses=st.lists(st.lists(st.integers(1, 12), max_size=2), max_size=12),
)
def test_every_batch_is_done_once_whoever_is_lost(work: int, workers: int, losses: list[list[int]]) -> None:
    pool = WorkerPool(losses)
    done: list[BatchResult] = []
    # Given up only where one worker after the other was lost.
    with nullcontext() if sum(map(len, losses)) < ATTEMPTS else suppress(SambenchError):
        done += dispatch(pool, [batch(n) for n in range(work)], workers, 1, threading.Event())
        assert numbers(done) == list(range(work))
        failed = {one.number for one in done if one.results[0].failures}
        assert len(failed) * ATTEMPTS <= sum(map(len, losses))
    assert pool.killed
    assert pool.most <= READY + 2


def test_a_deadly_batch_is_given_up_and_the_others_are_done() -> None:
    pool = WorkerPool(deadly=[2])
    done = list(dispatch(pool, [batch(n) for n in range(6)], 2, 1, threading.Event()))
    assert numbers(done) == [0, 1, 2, 3, 4, 5]
    (failure,) = [failure for one in done for failure in one.results[0].failures]
    assert (failure.id, failure.kind) == ("im2", "WorkerLost")
    assert failure.error == f"{ATTEMPTS} workers were lost over it, the last: it was shot"
    assert pool.started == 2 + ATTEMPTS


def test_a_pool_that_only_loses_workers_is_given_up() -> None:
    pool = WorkerPool([[n] for n in range(1, 9)])
    with pytest.raises(
        SambenchError, match=f"{ATTEMPTS} workers were lost without finishing anything, the last because"
    ):
        list(dispatch(pool, [batch(n) for n in range(6)], 1, 1, threading.Event()))
    assert pool.killed


def test_no_more_workers_than_batches() -> None:
    pool = WorkerPool()
    list(dispatch(pool, [batch(0), batch(1)], 8, 1, threading.Event()))
    assert pool.started == 2


def test_a_stop_finishes_what_is_in_work_and_begins_no_other() -> None:
    pool, stop = WorkerPool(), threading.Event()
    done = []
    for one in dispatch(pool, [batch(n) for n in range(20)], 2, 1, stop):
        done.append(one)
        if len(done) == 4:
            stop.set()
    assert numbers(done) == sorted(pool.begun)
    assert 4 <= len(done) <= 6
    assert pool.killed


def test_a_lost_worker_s_error_ends_all() -> None:
    class Refusing(WorkerPool):
        def poll(self, seconds: float) -> list[News[int]]:
            raise SambenchError("weights.pth: torn")

    pool = Refusing()
    with pytest.raises(SambenchError, match="torn"):
        list(dispatch(pool, [batch(0)], 1, 1, threading.Event()))
    assert pool.killed
