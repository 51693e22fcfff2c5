"""What a task leaves for later: done on threads, in order, never far behind; and the files that a run keeps."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sambench.core.options import NoOptions
from sambench.engine import deferred
from sambench.engine.deferred import finished as finished_done
from sambench.engine.job import BatchResult, Job, Result, TaskJob
from sambench.engine.result_writer import ShardWriter
from sambench.engine.worker import Worker
from sambench.errors import DataError, UsageError
from sambench.models import zoo
from sambench.runs.directory import RunDirectory, RunSpec, check_file_name, failures
from sambench.types import DeferredResult, SampleResult

SCHEMA = pa.schema([("image_id", pa.string()), ("value", pa.int64())])


def row(id: str, value: int) -> SampleResult:
    return SampleResult([{"image_id": id, "value": value}], {"rule": 1}, {f"maps/{id}.bin": id.encode()})


def postponed(id: str, later: DeferredResult) -> Result:
    result = Result(seconds={"measure": 1.0})
    result.add(id, lambda: later, SCHEMA)
    return result


def finished(results: Iterable[Result], threads: int) -> Generator[Result, None, None]:
    """Of one task."""
    done = finished_done((BatchResult(0, (result,)) for result in results), [SCHEMA], threads)
    with closing(done):
        for one in done:
            yield one.results[0]


def values(result: Result) -> list[Any]:
    return [value for table in result.tables for value in table.column("value").to_pylist()]


def test_results_keep_their_order() -> None:
    """The last ends first, each other one after the next; one has nothing to wait for."""
    over = [threading.Event() for _ in range(5)]
    over[4].set()

    def after_the_next(k: int) -> SampleResult:
        over[k + 1].wait()
        over[k].set()
        return row(f"im{k}", k)

    results = [postponed(f"im{k}", partial(after_the_next, k)) for k in range(4)]
    results.insert(2, Result())
    results[2].add("now", lambda: row("now", 9), SCHEMA)
    done = list(finished(results, threads=4))
    assert [values(r) for r in done] == [[0], [1], [9], [2], [3]]
    assert [o.id for r in done for o in r.outcomes] == ["im0", "im1", "now", "im2", "im3"]
    assert done[0].files == {"maps/im0.bin": b"im0"}
    assert done[0].outcomes[0].excluded_masks == {"rule": 1}
    assert {"measure", "metric_behind", "wait"} <= set(done[0].seconds)
    assert not any(r.later for r in done)


def test_the_model_goes_on_meanwhile_but_not_far() -> None:
    """One thread that cannot finish: it has one sample in hand and two waiting, the fourth makes the model wait."""
    gate = threading.Event()
    asked: list[int] = []

    def source() -> Iterator[Result]:
        for k in range(8):
            asked.append(k)
            if k == 3:
                gate.set()
            yield postponed(f"im{k}", partial(held, k))

    def held(k: int) -> SampleResult:
        gate.wait()
        return row(f"im{k}", k)

    results = finished(source(), threads=1)
    assert values(next(results)) == [0]
    assert asked == [0, 1, 2, 3]
    assert [values(r) for r in results] == [[k] for k in range(1, 8)]


def test_an_error_later_fails_that_sample() -> None:
    def damaged() -> SampleResult:
        raise DataError("the truth is damaged")

    def surprise() -> SampleResult:
        return SampleResult([{"image_id": 3}])

    results = [postponed("a", damaged), postponed("b", surprise), postponed("c", lambda: row("c", 1))]
    a, b, c = finished(results, threads=2)
    assert [f.error for f in a.failures] == ["the truth is damaged"]
    assert (b.failures[0].id, b.outcomes, b.tables) == ("b", [], [])
    assert (c.failures, values(c)) == ([], [1])


def test_closing_early_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has begun goes on until closing waits for it; no other begins."""
    began: list[int] = []
    gate = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, *arguments: Any, **options: Any) -> None:
            gate.set()
            super().shutdown(*arguments, **options)

    def noted(k: int) -> SampleResult:
        began.append(k)
        if k:
            gate.wait()
        return row(f"im{k}", k)

    monkeypatch.setattr(deferred, "ThreadPoolExecutor", Pool)
    results = finished((postponed(f"im{k}", partial(noted, k)) for k in range(100)), threads=1)
    next(results)
    results.close()
    assert began in ([0], [0, 1])
    assert not [t for t in threading.enumerate() if t.name.startswith("evaluate")]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/etc/passwd", "a/../b", "a//b", "./a", "a/", ".hidden", "a/.b", "a\0"]
)
def test_names_that_lead_elsewhere_fail_the_sample(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a file of the run"):
        check_file_name(name)
    result = Result()
    result.add("im", lambda: SampleResult([], files={name: b""}), SCHEMA)
    assert (len(result.failures), result.outcomes, result.files) == (1, [], {})


def test_files_are_there_before_their_sample_is_done(tmp_path: Path) -> None:
    spec = RunSpec("t", 1, {}, "d", {}, "all", "full", "", "m", "0" * 64, {}, "cpu", 1, 1, 0)
    with RunDirectory(tmp_path / "run", spec, ["im"], SCHEMA) as directory:
        directory.open(fresh=False, session={}, info={})
        result = Result()
        result.add("im", lambda: row("im", 1), SCHEMA)
        writer = ShardWriter(directory)
        writer.add(result)
        kept = directory.path / "files" / "maps" / "im.bin"
        assert kept.read_bytes() == b"im"
        assert directory.done == {}
        writer.flush()
        assert set(directory.done) == {"im"}
        (kept.parent / ".im.bin.17.tmp").write_bytes(b"a torn one")
    with RunDirectory(tmp_path / "run", spec, ["im"], SCHEMA) as directory:
        directory.open(fresh=False, session={}, info={})
        assert [p.name for p in kept.parent.iterdir()] == ["im.bin"]
        directory.open(fresh=True, session={}, info={})
        assert not (directory.path / "files").exists()
    assert failures(tmp_path / "run") == []


def test_a_model_that_cannot_do_the_task_is_refused_at_once(tmp_path: Path) -> None:
    class Drawer:
        name, capabilities = "drawer", frozenset({"boxes"})

    located = zoo.LocatedModel("drawer", "drawer", "0", None, NoOptions(), False)
    for task, needs in (("single_point", "points"), ("edges", "edges or points")):
        job = Job((TaskJob(task),), "demo", {}, tmp_path, "all", located, "cpu", 1, 1, 0, "demo")
        with pytest.raises(
            UsageError, match=f"task {task} needs a model with the capability {needs}; drawer has: boxes"
        ):
            Worker(job, Drawer())  # type: ignore[arg-type]
