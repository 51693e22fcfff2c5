"""A study on disk: ``study.sqlite`` with what is to be rated and what was, and ``images/`` with what is shown.

A rating is on the disk when :meth:`Storage.rate` returns (write-ahead log, flushed at every commit). Several servers,
and a summary at any time, may open the same study.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sambench.errors import SambenchError, UsageError
from sambench.runs.directory import now

FILE = "study.sqlite"
SCHEMA = 1
TRUTH = "ground truth"
"""The source of the annotated masks."""

LEAST, MOST = 1, 10
"""The scale of ratings."""

CLAIM_SECONDS = 900.0
"""How long a job waits for the rater who has it on the screen before another one gets it: ten times the mean time that
the paper's raters took."""

SAME_IOU = 0.001
"""Masks made again on another device or with other versions differ by a few pixels."""

_BUSY_SECONDS = 20.0

_TABLES = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE masks (
    id INTEGER PRIMARY KEY, dataset TEXT NOT NULL, image TEXT NOT NULL, instance TEXT NOT NULL, picture TEXT NOT NULL,
    prompt TEXT NOT NULL, UNIQUE (dataset, image, instance)
);
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, queue INTEGER NOT NULL, mask INTEGER NOT NULL REFERENCES masks, source TEXT NOT NULL,
    code TEXT NOT NULL, iou REAL, recorded_iou REAL, UNIQUE (mask, source)
);
CREATE INDEX jobs_in_order ON jobs (queue, id);
CREATE TABLE ratings (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL REFERENCES jobs, rater TEXT NOT NULL,
    score INTEGER NOT NULL CHECK (score BETWEEN {LEAST} AND {MOST}), seconds REAL, at TEXT NOT NULL, UNIQUE (job, rater)
);
CREATE TABLE claims (rater TEXT PRIMARY KEY, job TEXT NOT NULL REFERENCES jobs, at REAL NOT NULL);
CREATE INDEX claims_of_job ON claims (job);
"""


@dataclass(frozen=True)
class Prompt:
    """What the mask answers. ``point``: xy; or ``box``: xyxy; in pixels of the picture."""

    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class DrawnMask:
    """One object to rate masks of. ``picture``: name of the file in ``images/``."""

    dataset: str
    image: str
    instance: str
    picture: str
    prompt: Prompt


@dataclass(frozen=True)
class NewJob:
    """A mask to be rated. ``id``: what raters and queues know it by; says nothing about the source. ``code``: COCO's
    run-length code of the mask. ``iou``: with the annotated mask; ``recorded_iou``: what the run recorded, None where
    it did not."""

    id: str
    source: str
    code: dict[str, Any]
    iou: float | None = None
    recorded_iou: float | None = None


@dataclass(frozen=True)
class Job:
    """A mask to be rated, without its source, which the server is never told."""

    id: str
    picture: str
    prompt: Prompt
    code: dict[str, Any]


@dataclass(frozen=True)
class Rating:
    """One rating, for the analysis. ``mask``: number of the object."""

    dataset: str
    mask: int
    source: str
    job: str
    rater: str
    score: int
    seconds: float | None


@dataclass(frozen=True)
class Progress:
    """``done`` and ``total``: ratings that the study has and wants. ``mine``: of one rater."""

    done: int
    total: int
    mine: int


class NotYoursError(SambenchError):
    """A rating for a job that the rater does not have on the screen (any more)."""


class Storage:
    """An open study, to be closed (or used as a context manager). Threads may share it."""

    def __init__(self, folder: Path, *, create: bool = False, clock: Callable[[], float] = time.time) -> None:
        """``create``: makes a study where there is none. ``clock``: seconds, by which claims grow old.

        Raises UsageError: no study there, one of another version, no permission; SambenchError: it is damaged.
        """
        self.path, self._clock = folder / FILE, clock
        self.images = folder / "images"
        if not self.path.is_file() and not create:
            raise UsageError(f"{folder} holds no study: `sambench rate RUNS... --study {folder}` makes one")
        try:
            self.images.mkdir(parents=True, exist_ok=True)
            # Not for others to read: the way in for raters on other machines stands in it.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from error
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._open()
        except BaseException:
            self._connection.close()
            raise

    def _open(self) -> None:
        with self._guarded():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}
        if not tables:
            with self._changing() as connection:
                if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    for statement in filter(str.strip, _TABLES.split(";")):
                        connection.execute(statement)
                    connection.execute("INSERT INTO facts VALUES ('schema', ?)", (str(SCHEMA),))
        elif "facts" not in tables or self.fact("schema") != SCHEMA:
            raise UsageError(f"{self.path} is not a study of this version of sambench")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.OperationalError as error:
                raise SambenchError(f"{self.path} cannot be used just now: {error}") from error
            except sqlite3.DatabaseError as error:
                what = " ".join(str(error).split())
                raise SambenchError(
                    f"{self.path} is damaged ({what}): put back a copy, or save what is whole "
                    f"(`sqlite3 {FILE} .recover`)"
                ) from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes beside, on the disk when it ends."""
        with self._guarded() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    # --- what the study is -------------------------------------------------------------------------------------------

    def fact(self, name: str) -> Any:
        """What :meth:`set_fact` kept, or None."""
        with self._guarded() as connection:
            row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_fact(self, name: str, value: Any) -> None:
        """Keeps a JSON value under a name, in place of an earlier one."""
        with self._changing() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def has(self, source: str, dataset: str, image: str) -> bool:
        """Whether an image's masks of a source are there."""
        with self._guarded() as connection:
            found = connection.execute(
                "SELECT 1 FROM jobs JOIN masks ON masks.id = jobs.mask WHERE source = ? AND dataset = ? AND image = ?",
                (source, dataset, json.dumps(image)),
            ).fetchone()
        return found is not None

    def prompts(self, dataset: str, image: str) -> dict[str, Prompt]:
        """The prompts of an image's drawn masks, by instance."""
        with self._guarded() as connection:
            rows = connection.execute(
                "SELECT instance, prompt FROM masks WHERE dataset = ? AND image = ?", (dataset, json.dumps(image))
            ).fetchall()
        return {json.loads(instance): _prompt(prompt) for instance, prompt in rows}

    def add(self, queue: int, jobs: Sequence[tuple[DrawnMask, NewJob]]) -> None:
        """Adds masks to be rated to a queue, all or none."""
        with self._changing() as connection:
            for mask, job in jobs:
                key = (mask.dataset, json.dumps(mask.image), json.dumps(mask.instance))
                connection.execute(
                    "INSERT OR IGNORE INTO masks (dataset, image, instance, picture, prompt) VALUES (?, ?, ?, ?, ?)",
                    (*key, mask.picture, json.dumps([mask.prompt.point, mask.prompt.box])),
                )
                connection.execute(
                    "INSERT INTO jobs SELECT ?, ?, id, ?, ?, ?, ? FROM masks "
                    "WHERE (dataset, image, instance) = (?, ?, ?)",
                    (job.id, queue, job.source, json.dumps(job.code), job.iou, job.recorded_iou, *key),
                )

    # --- rating ------------------------------------------------------------------------------------------------------

    def job(self, id: str) -> Job | None:
        with self._guarded() as connection:
            row = connection.execute(
                "SELECT picture, prompt, code FROM jobs JOIN masks ON masks.id = jobs.mask WHERE jobs.id = ?", (id,)
            ).fetchone()
        return None if row is None else Job(id, row[0], _prompt(row[1]), json.loads(row[2]))

    def next_job(self, rater: str, raters: int = 1) -> str | None:
        """The job on the rater's screen: the one that is there, or the first of the queues that still wants a rating
        and that nobody else has on the screen. None if there is none. ``raters``: ratings that each job wants."""
        since = self._clock() - CLAIM_SECONDS
        with self._changing() as connection:
            row = connection.execute("SELECT job FROM claims WHERE rater = ?", (rater,)).fetchone()
            if row is not None and self._wanted(connection, row[0], rater, raters, since):
                id: str | None = row[0]
            else:
                id = self._first(connection, rater, raters, since)
            connection.execute("DELETE FROM claims WHERE rater = ?", (rater,))
            if id is not None:
                connection.execute("INSERT INTO claims VALUES (?, ?, ?)", (rater, id, self._clock()))
        return id

    _WANTED = """
        (SELECT count(*) FROM ratings WHERE job = jobs.id)
        + (SELECT count(*) FROM claims WHERE job = jobs.id AND rater <> :rater AND at > :since) < :raters
        AND NOT EXISTS (SELECT 1 FROM ratings WHERE job = jobs.id AND rater = :rater)
    """

    def _wanted(self, connection: sqlite3.Connection, id: str, rater: str, raters: int, since: float) -> bool:
        values = {"id": id, "rater": rater, "raters": raters, "since": since}
        return (
            connection.execute(f"SELECT 1 FROM jobs WHERE id = :id AND {self._WANTED}", values).fetchone() is not None
        )

    def _first(self, connection: sqlite3.Connection, rater: str, raters: int, since: float) -> str | None:
        values = {"rater": rater, "raters": raters, "since": since}
        row = connection.execute(
            f"SELECT id FROM jobs WHERE {self._WANTED} ORDER BY queue, id LIMIT 1", values
        ).fetchone()
        return None if row is None else str(row[0])

    def rate(self, id: str, rater: str, score: int, seconds: float | None = None) -> None:
        """Keeps a rating; it is on the disk when this returns. ``seconds``: how long the rater looked.

        Raises ValueError: no score from 1 to 10; NotYoursError: the job is not on the rater's screen.
        """
        if isinstance(score, bool) or not isinstance(score, int) or not LEAST <= score <= MOST:
            raise ValueError(f"a rating is a whole number from {LEAST} to {MOST}, not {score!r}")
        with self._changing() as connection:
            # Sent again, because the answer to it was lost on the way.
            if connection.execute(
                "SELECT 1 FROM ratings WHERE job = ? AND rater = ? AND score = ?", (id, rater, score)
            ).fetchone():
                return
            if not connection.execute("DELETE FROM claims WHERE rater = ? AND job = ?", (rater, id)).rowcount:
                raise NotYoursError("this mask is not on your screen any more: somebody may have rated it meanwhile")
            connection.execute(
                "INSERT INTO ratings (job, rater, score, seconds, at) VALUES (?, ?, ?, ?, ?)",
                (id, rater, score, seconds, now()),
            )

    def undo(self, rater: str) -> tuple[str, int] | None:
        """Takes the rater's last rating back and puts its job on the screen again. Answers the job and the score that
        it had; None if the rater has rated nothing."""
        with self._changing() as connection:
            row = connection.execute(
                "SELECT number, job, score FROM ratings WHERE rater = ? ORDER BY number DESC LIMIT 1", (rater,)
            ).fetchone()
            if row is None:
                return None
            connection.execute("DELETE FROM ratings WHERE number = ?", (row[0],))
            connection.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", (rater, row[1], self._clock()))
        return str(row[1]), int(row[2])

    def progress(self, rater: str = "", raters: int = 1) -> Progress:
        """``raters``: ratings that each job wants."""
        with self._guarded() as connection:
            (done,) = connection.execute(
                "SELECT coalesce(sum(min(n, ?)), 0) FROM (SELECT count(*) AS n FROM ratings GROUP BY job)", (raters,)
            ).fetchone()
            (jobs,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
            (mine,) = connection.execute("SELECT count(*) FROM ratings WHERE rater = ?", (rater,)).fetchone()
        return Progress(done, jobs * raters, mine)

    # --- what came of it ---------------------------------------------------------------------------------------------

    def ratings(self) -> list[Rating]:
        """All ratings, by dataset, object, source and rater."""
        with self._guarded() as connection:
            rows = connection.execute(
                "SELECT dataset, mask, source, job, rater, score, seconds FROM ratings JOIN jobs ON jobs.id = job "
                "JOIN masks ON masks.id = mask ORDER BY queue, dataset, image, instance, source, rater"
            ).fetchall()
        return [Rating(*row) for row in rows]

    def differing(self) -> dict[str, tuple[int, int]]:
        """By source: how many masks have another IoU than the run recorded, by more than :data:`SAME_IOU`, and of how
        many that is known. Sources without such a mask are left out."""
        with self._guarded() as connection:
            rows = connection.execute(
                "SELECT source, sum(abs(iou - recorded_iou) > ?), count(recorded_iou) FROM jobs GROUP BY source",
                (SAME_IOU,),
            ).fetchall()
        return {source: (differ, known) for source, differ, known in rows if differ}

    def counts(self) -> dict[tuple[str, str], int]:
        """Jobs by dataset and source."""
        with self._guarded() as connection:
            rows = connection.execute(
                "SELECT dataset, source, count(*) FROM jobs JOIN masks ON masks.id = mask "
                "GROUP BY queue, dataset, source"
            ).fetchall()
        return {(dataset, source): n for dataset, source, n in rows}


def _prompt(text: str) -> Prompt:
    point, box = json.loads(text)
    return Prompt(None if point is None else tuple(point), None if box is None else tuple(box))
