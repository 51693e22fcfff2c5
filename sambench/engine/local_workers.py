"""Workers in processes of this machine, one for each share of its cores or each of its GPUs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from sambench.engine.dispatch import News
from sambench.engine.job import Batch, Job, failure_of
from sambench.engine.worker_thread import WorkerReport, WorkerThread
from sambench.errors import SambenchError

_END_SECONDS = 5.0
"""How long a worker may take to end by itself after it said so."""


class ProcessPool:
    """A :class:`sambench.engine.dispatch.WorkerPool` of spawned processes, which end with this one, also when it is
    killed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[Any, Connection]] = {}

    def start(self) -> int:
        rank = next(rank for rank in range(len(self._workers) + 1) if rank not in self._workers)
        ours, theirs = self._spawn.Pipe()
        process = self._spawn.Process(target=_serve, args=(self._job, rank, os.getpid(), theirs))
        process.start()
        theirs.close()
        self._workers[rank] = process, ours
        return rank

    def ready(self, worker: int) -> bool:
        return True

    def submit(self, worker: int, batches: Sequence[Batch]) -> None:
        with suppress(OSError):
            self._workers[worker][1].send(list(batches))

    def poll(self, seconds: float) -> list[News[int]]:
        by_connection = {connection: rank for rank, (_, connection) in self._workers.items()}
        return [
            self._read(by_connection[ready], ready)
            for ready in wait(list(by_connection), seconds)
            if isinstance(ready, Connection)
        ]

    def _read(self, rank: int, connection: Connection) -> News[int]:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return News(rank, lost=self._end(rank))
        if isinstance(message, SambenchError):
            raise message
        if isinstance(message, str):
            self._end(rank)
            return News(rank, lost=message)
        assert isinstance(message, WorkerReport)
        return News(rank, message.done, message.taken, self._end(rank) if message.ended else "")

    def _end(self, rank: int) -> str:
        """Waits for the end of a worker, and returns its cause."""
        process, connection = self._workers.pop(rank)
        process.join(_END_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        connection.close()
        code = process.exitcode
        if code is not None and code < 0:
            return f"its process was ended by {signal.Signals(-code).name} (out of memory?)"
        return f"its process ended with exit code {code}" if code else "its process has ended"

    def stop(self) -> None:
        for _, connection in self._workers.values():
            with suppress(OSError):
                connection.send(None)

    def kill(self) -> None:
        for process, _ in self._workers.values():
            process.kill()
        for process, connection in self._workers.values():
            process.join()
            connection.close()
        self._workers.clear()


def _serve(job: Job, rank: int, parent: int, connection: Connection) -> None:
    """A worker process: batches from the pipe, results to it as soon as they are whole. It ends with its parent, even a
    killed one, and ignores the signals to the whole group with which the parent ends in good order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if job.device == "cuda":
        import torch

        job = replace(job, device=f"cuda:{rank % torch.cuda.device_count()}")
    thread = WorkerThread(job)

    def listen() -> None:
        with suppress(EOFError, OSError):
            while (batches := connection.recv()) is not None:
                thread.submit(batches)
            thread.stop()

    threading.Thread(target=listen, daemon=True).start()
    try:
        while True:
            report = thread.poll(60)
            connection.send(report)
            if report.ended:
                break
    except SambenchError as error:
        connection.send(error)
    except OSError:  # the parent does not listen any more
        return
    except Exception as error:
        connection.send(failure_of("", error).error)
    # Immediately: a thread that still reads from a file system that does not answer would be waited for.
    connection.close()
    os._exit(0)
