"""Ratings on disk: two raters at once, undo, jobs that nobody finishes, a killed process, a damaged file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sambench.errors import SambenchError, UsageError
from sambench.study.storage import CLAIM_SECONDS, FILE, DrawnMask, Job, NewJob, NotYoursError, Prompt, Storage

CODE = {"size": [2, 2], "counts": "04"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def filled(folder: Path, jobs: int, clock: Clock | None = None) -> Storage:
    """A study of jobs ``job00``, ``job01``, ... in two queues, of which the later ids come first."""
    storage = Storage(folder, create=True, clock=clock or Clock())
    for k in range(jobs):
        mask = DrawnMask("toy", "im\udc80", str(k), "im.jpg", Prompt(point=(1, 1)))
        storage.add(int(k < jobs // 2), [(mask, NewJob(f"job{k:02d}", "a", CODE))])
    return storage


def test_queues_come_one_after_the_other(tmp_path: Path) -> None:
    storage = filled(tmp_path, 4)
    order = []
    while (id := storage.next_job("ann")) is not None:
        storage.rate(id, "ann", 5)
        order.append(id)
    assert order == ["job02", "job03", "job00", "job01"]


def test_what_is_on_the_screen_stays_there(tmp_path: Path) -> None:
    storage = filled(tmp_path, 4)
    assert storage.next_job("ann") == storage.next_job("ann") == "job02"
    assert storage.next_job("bob") == "job03"
    storage.rate("job02", "ann", 9)
    assert storage.next_job("ann") == "job00"
    assert storage.job("job02") == Job("job02", "im.jpg", Prompt(point=(1, 1)), CODE)
    assert storage.job("nothing") is None


def test_a_job_left_alone_goes_to_another(tmp_path: Path) -> None:
    clock = Clock()
    storage = filled(tmp_path, 1, clock)
    assert storage.next_job("ann") == "job00"
    clock.now += CLAIM_SECONDS - 1
    assert storage.next_job("bob") is None
    clock.now += 2
    assert storage.next_job("bob") == "job00"
    storage.rate("job00", "bob", 4)
    assert storage.next_job("ann") is None
    with pytest.raises(NotYoursError):
        storage.rate("job00", "ann", 4)
    assert [(r.rater, r.score) for r in storage.ratings()] == [("bob", 4)]


def test_undo_takes_the_last_one_back(tmp_path: Path) -> None:
    storage = filled(tmp_path, 3)
    assert storage.undo("ann") is None
    first = storage.next_job("ann")
    assert first is not None
    storage.rate(first, "ann", 3)
    assert storage.next_job("ann") != first
    assert storage.undo("ann") == (first, 3)
    assert storage.ratings() == []
    assert storage.next_job("ann") == first
    storage.rate(first, "ann", 8)
    assert [r.score for r in storage.ratings()] == [8]
    # What stood on the screen when it was undone is free again.
    assert storage.next_job("bob") != first


def test_sent_twice_counts_once(tmp_path: Path) -> None:
    storage = filled(tmp_path, 2)
    id = storage.next_job("ann")
    assert id is not None
    storage.rate(id, "ann", 6, 12.5)
    storage.rate(id, "ann", 6, 13.0)
    with pytest.raises(NotYoursError):
        storage.rate(id, "ann", 7)
    assert [(r.score, r.seconds) for r in storage.ratings()] == [(6, 12.5)]


@pytest.mark.parametrize("score", [0, 11, 5.5, "7", None, True])
def test_a_rating_is_a_whole_number_from_1_to_10(tmp_path: Path, score: object) -> None:
    storage = filled(tmp_path, 1)
    id = storage.next_job("ann")
    with pytest.raises(ValueError, match="from 1 to 10"):
        storage.rate(str(id), "ann", score)  # type: ignore[arg-type]
    assert storage.ratings() == []


def test_several_ratings_of_each_job(tmp_path: Path) -> None:
    storage = filled(tmp_path, 1)
    for number, rater in enumerate(("ann", "bob")):
        id = storage.next_job(rater, 2)
        assert id == "job00"
        storage.rate(id, rater, 5 + number)
        assert storage.next_job(rater, 2) is None, "nobody rates a mask twice"
    assert storage.next_job("cid", 2) is None
    progress = storage.progress("ann", 2)
    assert (progress.done, progress.total, progress.mine) == (2, 2, 1)


def test_raters_at_once_share_the_jobs_out(tmp_path: Path) -> None:
    """Each with a connection of its own, as two servers on one study have."""
    jobs = 40
    filled(tmp_path, jobs).close()
    failures: list[BaseException] = []

    def work(rater: str) -> None:
        try:
            with Storage(tmp_path) as storage:
                while (id := storage.next_job(rater)) is not None:
                    storage.rate(id, rater, 7)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with Storage(tmp_path) as storage:
        ratings = storage.ratings()
    assert sorted(r.job for r in ratings) == [f"job{k:02d}" for k in range(jobs)]


def test_a_killed_process_loses_nothing_that_it_said_was_kept(tmp_path: Path) -> None:
    filled(tmp_path, 60).close()
    program = (
        "import sys; from pathlib import Path; from sambench.study.storage import Storage\n"
        "storage = Storage(Path(sys.argv[1]))\n"
        "while (id := storage.next_job('ann')):\n"
        "    storage.rate(id, 'ann', 7); print(id, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline().strip() for _ in range(5)]
    os.kill(process.pid, signal.SIGKILL)
    said += process.stdout.read().split()
    process.wait()
    with Storage(tmp_path) as storage:
        kept = [r.job for r in storage.ratings()]
        assert set(said) <= set(kept)
        assert len(kept) <= len(said) + 1
        assert storage.next_job("bob") not in kept


def test_every_commit_is_flushed(tmp_path: Path) -> None:
    storage = filled(tmp_path, 1)
    asked = {
        name: storage._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert asked == {"journal_mode": "wal", "synchronous": 2}


def test_facts_are_kept(tmp_path: Path) -> None:
    with filled(tmp_path, 1) as storage:
        assert storage.fact("drawn") is None
        storage.set_fact("drawn", [{"dataset": "ünï"}])
    with Storage(tmp_path) as storage:
        assert storage.fact("drawn") == [{"dataset": "ünï"}]
        assert storage.has("a", "toy", "im\udc80")
        assert not storage.has("b", "toy", "im\udc80")
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_no_study_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no study"):
        Storage(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    filled(tmp_path, 40).close()
    path = tmp_path / FILE
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"\x55" * 8192
    path.write_bytes(content)
    with pytest.raises(SambenchError, match=r"study\.sqlite is damaged") as caught:
        Storage(tmp_path).ratings()
    assert "\n" not in str(caught.value)


def test_what_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"ratings, of a kind" * 100)
    with pytest.raises(SambenchError, match="is damaged"):
        Storage(tmp_path)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE recipes (cake TEXT)")
    with pytest.raises(UsageError, match="not a study of this version"):
        Storage(tmp_path)
