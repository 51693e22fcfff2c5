"""Images per second against workers: measured with 1 and 2 here, simulated up to 256 from measured service times.

    python benchmarks/scaling.py [--task single_point] [--model region_tree] [--subset 200] [--markdown FILE]
    python benchmarks/scaling.py --encode .08 --decode .15 --load .02 ...        # service times of another machine

The simulation follows a batch of one image through what it has to pass, event by event:

storage    shared by all workers, first come first served, at so many MB/s and so many requests/s
load       decoding image and annotations on one of a worker's two reading threads, ahead of the model
model      encoder, decoder, post-processing and metric, one image after the other (what the profile calls encode,
           decode, postprocess and metric)
driver     one process takes all results in, one after the other, and writes them

A worker has at most four images read or waiting. Where a run ends, the slowest worker does: that is the tail.
Assumptions and results are in docs/scaling.md.
"""

from __future__ import annotations

import argparse
import heapq
import json
import pickle
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from sambench import evaluate
from sambench.engine.job import BatchResult, Result
from sambench.engine.result_writer import record
from sambench.planning.plan import make_plan
from sambench.planning.settings import Settings
from sambench.runs.directory import Outcome, RunDirectory, RunSpec, read_records

AHEAD = 2
READY = 4
"""Images that a worker may have read or be reading, besides the one that the model has."""


@dataclass(frozen=True)
class Times:
    """Seconds for one image. ``load``: reading threads, without waiting for storage. ``model``: mean; ``spread``: its
    coefficient of variation (images have different numbers of masks). ``driver``: of the one process that collects.
    ``start``: a worker's, until it can take the first image. ``megabytes``: read for one image."""

    load: float
    model: float
    driver: float
    start: float = 0.0
    spread: float = 0.3
    megabytes: float = 0.3


@dataclass(frozen=True)
class Storage:
    """``bandwidth``: MB/s. ``requests``: per second."""

    bandwidth: float = 1000.0
    requests: float = 5000.0


@dataclass(frozen=True)
class Simulated:
    """``rate``: images/s from the first worker's readiness on; ``busy``: shares of the time in which storage, model
    (mean of the workers) and driver were busy."""

    workers: int
    rate: float
    seconds: float
    busy: dict[str, float]

    @property
    def bottleneck(self) -> str:
        return max(self.busy, key=lambda name: self.busy[name])


def simulate(times: Times, workers: int, images: int, storage: Storage | None = None) -> Simulated:
    """Event by event, deterministic."""
    storage = storage or Storage()
    fetch = max(times.megabytes / storage.bandwidth, 1 / storage.requests)
    storage_free = driver_free = 0.0
    storage_busy = driver_busy = 0.0
    model_busy = [0.0] * workers
    left = images
    ends = times.start
    # When each of a worker's reading threads and its model are free again, and the images that are read.
    threads = [[times.start] * AHEAD for _ in range(workers)]
    model_free = [times.start] * workers
    in_hand = [0] * workers
    events: list[tuple[float, int, str, int]] = []
    serial = 0

    def push(when: float, what: str, worker: int) -> None:
        nonlocal serial
        serial += 1
        heapq.heappush(events, (when, serial, what, worker))

    for worker in range(workers):
        for _ in range(READY):
            push(times.start, "ask", worker)
    while events:
        now, number, what, worker = heapq.heappop(events)
        if what == "ask" and left:
            left -= 1
            in_hand[worker] += 1
            thread = min(range(AHEAD), key=lambda k: threads[worker][k])
            begin = max(now, threads[worker][thread])
            storage_free = max(begin, storage_free) + fetch
            storage_busy += fetch
            threads[worker][thread] = storage_free + times.load
            push(threads[worker][thread], "read", worker)
        elif what == "read":
            took = times.model * (1 + times.spread * _wave(number))
            model_free[worker] = max(now, model_free[worker]) + took
            model_busy[worker] += took
            push(model_free[worker], "done", worker)
        elif what == "done":
            driver_free = max(now, driver_free) + times.driver
            driver_busy += times.driver
            ends = max(ends, driver_free)
            push(driver_free, "ask", worker)
    seconds = ends - times.start
    return Simulated(
        workers,
        images / seconds,
        ends,
        {
            "storage": storage_busy / seconds,
            "model": statistics.fmean(model_busy) / seconds,
            "reading": images * times.load / (AHEAD * workers * seconds),
            "driver": driver_busy / seconds,
        },
    )


def _wave(number: int) -> float:
    """Between -1.7 and 1.7, evenly, mean 0 and variance 1: an image's deviation from the mean, the same every time."""
    return ((number * 0.6180339887498949) % 1 - 0.5) * 12**0.5


class _Silent:
    def update(self, images: int, masks: int, failed: int) -> None: ...


@contextmanager
def _silently(title: str, done: int, total: int) -> Iterator[_Silent]:
    yield _Silent()


def measured(task: str, dataset: str, model: str, subset: str, workers: int, root: Path) -> tuple[float, Times, Path]:
    """Images per second of a run's workers once they have started, the service times of its profile, and the run."""
    out = Path(tempfile.mkdtemp())
    settings = Settings([task], [dataset], [model], root, out, subset=subset, workers=workers, threads=1)
    ((_, path, summary),) = evaluate.evaluate(make_plan(settings).triples, _silently)
    timings = json.loads((path / "manifest.json").read_text())["timings"]
    images = summary["n_scored"] + summary["n_excluded"]
    model_seconds = sum(timings.get(stage, 0.0) for stage in ("encode", "decode", "postprocess", "metric"))
    times = Times(timings["load"] / images, model_seconds / images, 0.0, timings["start"] / workers)
    return images / (timings["wall"] / workers), times, path


def driver_seconds(run: Path, images: int = 2000) -> float:
    """Seconds for an image that the collecting process needs: results as a worker sends them, unpickled, written."""
    spec = RunSpec(**json.loads((run / "manifest.json").read_text())["spec"])
    records: pa.Table = read_records(run)
    ids = records.column("image_id").to_pylist()
    first = records.take([row for row, id in enumerate(ids) if id == ids[0]])
    column = first.column_names.index("image_id")
    sent = []
    for number in range(images):
        named = first.set_column(column, first.schema.field(column), pa.array([f"{number}"] * len(first)))
        done = BatchResult(number, (Result([named], [Outcome(f"{number}", "scored")]),))
        sent.append(pickle.dumps(done))
    index = [f"{n}" for n in range(images)]
    with (
        tempfile.TemporaryDirectory() as folder,
        RunDirectory(Path(folder) / "run", spec, index, records.schema) as directory,
    ):
        directory.open(fresh=False, session={}, info={})
        began = time.process_time()
        record((pickle.loads(one) for one in sent), [directory], _Silent())
        return (time.process_time() - began) / images


def table(rows: Sequence[Simulated]) -> str:
    lines = ["| workers | images/s | of linear | 40,000 images | busy most |", "|---|---|---|---|---|"]
    for row in rows:
        share = row.rate / (rows[0].rate * row.workers / rows[0].workers)
        lines.append(
            f"| {row.workers} | {row.rate:,.1f} | {100 * share:.0f} % | {40000 / row.rate / 3600:.2f} h | "
            f"{row.bottleneck} ({100 * row.busy[row.bottleneck]:.0f} %) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="single_point")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--model", default="region_tree")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--subset", default="full")
    parser.add_argument("--images", type=int, default=40000, help="of the simulated run")
    parser.add_argument("--bandwidth", type=float, default=1000.0, help="MB/s of the shared storage")
    parser.add_argument("--requests", type=float, default=5000.0, help="files/s of the shared storage")
    parser.add_argument("--megabytes", type=float, default=0.3, help="read for one image")
    for name in ("load", "model-seconds", "driver", "start"):
        parser.add_argument(f"--{name}", type=float, help="seconds for an image, instead of what is measured")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {}
    times = Times(0.02, 0.1, 0.001, 10.0, megabytes=given.megabytes)
    if given.model_seconds is None:
        for workers in (1, 2, 1, 2):
            rate, found, run = measured(given.task, given.dataset, given.model, given.subset, workers, given.data_root)
            results.setdefault(f"measured_{workers}", []).append(rate)
            if workers == 1:
                times = replace(found, megabytes=given.megabytes, driver=driver_seconds(run))
            print(f"measured with {workers}: {rate:.2f} images/s ({found})")
    changes = {"load": given.load, "model": given.model_seconds, "driver": given.driver, "start": given.start}
    times = replace(times, **{name: value for name, value in changes.items() if value is not None})
    storage = Storage(given.bandwidth, given.requests)
    rows = [simulate(times, 2**k, given.images, storage) for k in range(9)]
    print(f"\n{times}\n{storage}\n\n{table(rows)}")
    if given.json:
        results |= {"times": times.__dict__, "simulated": [row.__dict__ for row in rows]}
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
