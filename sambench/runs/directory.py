"""A run on disk: one (task, dataset, model) triple, its records and what became of every sample.

``OUT/<task>/<dataset>/<model>@<short weights digest>/``

- ``manifest.json``: what was asked for (the specification) and what happened (status, sessions, timings).
- ``index.json``: the ids of all expected samples, in order.
- ``records/NNNNNN.parquet``: shards; each is whole or absent, none is ever changed. Besides the rows a shard holds, in
  its metadata, the outcome of each of its samples, so that a sample without rows is known to be done.
- ``files/``: what a task leaves besides rows, such as edge maps; there before the shard that says the sample is done.
- ``errors.jsonl``: samples that could not be evaluated, one line each; a later run tries them again.
- ``summary.json``: computed from all records on disk and nothing else.
- ``lock``: held by the process that writes here.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq

from sambench.atomic_files import output_error, sync_folder, write_atomic, write_json
from sambench.errors import SambenchError, UsageError

SCHEMA = 1
TIMING_COLUMNS = ("time_ms",)
"""Columns that say how long something took: never the same twice, left out of digests and comparisons."""

SHARDS = "shards"
"""The folder, beside the tasks', in which the parts of runs that were cut with ``--shard`` lie."""

_OUTCOMES = b"sambench.outcomes"


class RunError(SambenchError):
    """The run directory cannot be used as it is."""


@dataclass(frozen=True)
class RunSpec:
    """What was asked for. Two runs with equal specifications have bit-identical records.

    ``subset``: ``paper``, ``full``, a number of images, or ``file:`` and 12 digits of the digest of a lock file.
    ``index_digest``: sha256 of the ordered sample ids. ``device``: ``cpu`` or ``cuda``. ``threads``: threads that each
    worker computes with (they can change sums in the last bit); ``encode_batch``: images encoded together.
    ``encodings``: to what an image's encoding is rounded before it is used.
    """

    task: str
    task_version: int
    task_options: Mapping[str, Any]
    dataset: str
    dataset_options: Mapping[str, Any]
    split: str
    subset: str
    index_digest: str
    model: str
    weights_digest: str
    model_options: Mapping[str, Any]
    device: str
    threads: int
    encode_batch: int
    seed: int
    encodings: Literal["float32", "float16"] = "float32"

    def directory(self, out: Path) -> Path:
        """Where the run lies under the output folder."""
        dataset = self.dataset.partition(":")[0]
        if dataset != self.dataset:
            dataset += "-" + hashlib.sha256(self.dataset.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return out / self.task / dataset / f"{self.model}@{self.weights_digest[:8]}"

    def differences(self, other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Names of what differs from a manifest's specification, with (theirs, ours); options as ``task.clicks``."""
        theirs, ours = _flat({"encodings": "float32", **other}), _flat(asdict(self))
        names = dict.fromkeys([*theirs, *ours])
        return {n: (theirs.get(n), ours.get(n)) for n in names if theirs.get(n) != ours.get(n)}


@dataclass(frozen=True)
class Outcome:
    """What became of one sample. ``scored``: it has rows. ``excluded``: ``rule`` left it out as a whole.
    ``excluded_masks``: instances left out, by rule."""

    id: str
    status: Literal["scored", "excluded"]
    rule: str = ""
    excluded_masks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A sample that could not be evaluated: the error's one line, and for surprises where it was raised."""

    id: str
    error: str
    kind: str
    where: str = ""


def check_file_name(name: str) -> None:
    """Raises ValueError unless the name of a file to be kept with a run is a plain relative path below its folder."""
    parts = PurePosixPath(name).parts
    if (
        name != "/".join(parts)
        or name.startswith("/")
        or any(p.startswith(".") or "\0" in p for p in parts)
        or not parts
    ):
        raise ValueError(f"{name!r} cannot be the name of a file of the run: give a relative path without '.' or '..'")


class RunDirectory:
    """An open run directory. Use as a context manager: entering makes, probes and locks it."""

    def __init__(self, path: Path, spec: RunSpec, index: Sequence[str], schema: pa.Schema) -> None:
        self.path, self.spec, self.index, self.schema = path, spec, list(index), schema
        self.done: dict[str, Outcome] = {}
        self._lock: int | None = None
        self._next_shard = 1
        self.manifest: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            (self.path / "records").mkdir(parents=True, exist_ok=True)
            self._acquire()
            try:
                probe = self.path / f".probe.{os.getpid()}"
                probe.write_bytes(b"probe")
                probe.unlink()
            except BaseException:
                self._release()
                raise
        except OSError as error:
            raise UsageError(f"{output_error(self.path, error)}; choose another --out") from error
        return self

    def __exit__(self, *exc: object) -> None:
        self._release()

    def _acquire(self) -> None:
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 300).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            raise UsageError(f"{self.path} is in use by {holder}: wait for it, or choose another --out") from None
        except OSError as error:
            os.close(descriptor)
            raise UsageError(f"cannot lock {self.path}: {error.strerror}; choose a --out that allows locks") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {now()}\n".encode(), 0)
        self._lock = descriptor

    def _release(self) -> None:
        if self._lock is not None:
            with suppress(OSError):
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def open(
        self,
        *,
        fresh: bool,
        session: Mapping[str, Any],
        info: Mapping[str, Any],
        shard: tuple[int, int] | None = None,
    ) -> None:
        """Starts the run, or goes on with what is there. ``session``: facts of this process (versions, host).
        ``info``: what the summary says besides the specification. ``shard``: that this is but part i of n of the run.

        Raises UsageError if the manifest's specification differs, naming what does.
        """
        if fresh:
            shutil.rmtree(self.path / "records")
            (self.path / "records").mkdir()
            shutil.rmtree(self.path / "files", ignore_errors=True)
            for name in ("manifest.json", "index.json", "errors.jsonl", "summary.json"):
                (self.path / name).unlink(missing_ok=True)
            sync_folder(self.path)
        unfinished = [at.glob(".*.tmp") for at in (self.path, self.path / "records")]
        for leftover in [*itertools.chain(*unfinished), *(self.path / "files").rglob(".*.tmp")]:
            leftover.unlink(missing_ok=True)
        earlier = read_json(self.path / "manifest.json") if (self.path / "manifest.json").exists() else None
        if earlier is not None:
            different = self.spec.differences(earlier["spec"])
            if different:
                what = "; ".join(f"{k} was {_short(a)}, is now {_short(b)}" for k, (a, b) in different.items())
                raise UsageError(
                    f"{self.path} holds a run with other parameters: {what}. Use the same, another --out, "
                    "or --fresh to start again"
                )
        elif any((self.path / "records").glob("*.parquet")):
            raise UsageError(f"{self.path} holds records without a manifest: use another --out, or --fresh")
        else:
            write_json(self.path / "index.json", self.index)
        sessions = [*(earlier["sessions"] if earlier else []), dict(session)]
        self.manifest = {
            "schema": SCHEMA,
            "spec": asdict(self.spec),
            "info": dict(info),
            "status": "started",
            "created": earlier["created"] if earlier else now(),
            "sessions": sessions,
            "timings": earlier["timings"] if earlier else {},
            "profile": earlier.get("profile", {}) if earlier else {},
        }
        if shard is not None:
            self.manifest["shard"] = list(shard)
        write_json(self.path / "manifest.json", self.manifest)
        for file in shards_of(self.path):
            for outcome in outcomes_of(file):
                if outcome.id in self.done:
                    raise RunError(f"{file}: sample {outcome.id!r} appears in two shards; rerun with --fresh")
                self.done[outcome.id] = outcome
            self._next_shard = int(file.stem) + 1

    def append(self, tables: Sequence[pa.Table], outcomes: Sequence[Outcome]) -> None:
        """Writes one shard: the rows of the samples in ``outcomes``. Whole or absent."""
        table = pa.concat_tables(tables) if tables else self.schema.empty_table()
        metadata = {_OUTCOMES: json.dumps([asdict(o) for o in outcomes], ensure_ascii=False).encode("utf-8")}
        table = table.cast(self.schema).replace_schema_metadata(metadata)
        path = self.path / "records" / f"{self._next_shard:06d}.parquet"
        write_atomic(path, lambda file: pq.write_table(table, file, compression="zstd"))
        self._next_shard += 1
        self.done.update((o.id, o) for o in outcomes)

    def add_file(self, name: str, content: bytes) -> None:
        """Writes ``files/NAME``, whole or not at all. ``name``: as :func:`check_file_name` wants it."""
        path = self.path / "files" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(path, error) from error
        write_atomic(path, content)

    def set_errors(self, failures: Sequence[Failure]) -> None:
        """Replaces ``errors.jsonl``."""
        lines = "".join(json.dumps(asdict(f), ensure_ascii=False) + "\n" for f in failures)
        write_atomic(self.path / "errors.jsonl", lines.encode("utf-8", "surrogateescape"))

    def add_error(self, failure: Failure) -> None:
        """Appends one line to ``errors.jsonl``, on the disk when this returns."""
        try:
            with (self.path / "errors.jsonl").open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(json.dumps(asdict(failure), ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise output_error(self.path / "errors.jsonl", error) from error

    def errors(self) -> list[Failure]:
        """Samples that failed and have no records yet."""
        return [f for f in failures(self.path) if f.id not in self.done]

    def records(self) -> pa.Table:
        """All rows on disk, in the order of the index (rows of a sample in the task's order)."""
        return read_records(self.path, self.index, self.schema)

    def finish(
        self,
        status: str,
        timings: Mapping[str, float],
        summary: Mapping[str, Any] | None,
        notes: Mapping[str, int] | None = None,
    ) -> None:
        """Writes the summary and the final state of the manifest. Timings add up over sessions (seconds). ``notes``:
        what happened in this session, and how often."""
        if summary is not None:
            write_json(self.path / "summary.json", summary)
        before = self.manifest["timings"]
        self.manifest["timings"] = {k: round(before.get(k, 0.0) + timings.get(k, 0.0), 3) for k in [*before, *timings]}
        self.manifest["profile"] = profile(self.manifest["timings"])
        self.manifest["status"] = status
        self.manifest["sessions"][-1] |= {"ended": now(), **({"notes": dict(notes)} if notes else {})}
        write_json(self.path / "manifest.json", self.manifest)


def profile(timings: Mapping[str, float]) -> dict[str, float]:
    """Each stage's share of the time that workers had (``wall``). ``load``, ``metric_behind`` and ``write`` are done on
    other threads while the model goes on, so that all shares together may be more than 1."""
    wall = timings.get("wall", 0.0)
    return {stage: round(spent / wall, 4) for stage, spent in timings.items() if stage != "wall"} if wall else {}


def shard_name(i: int, n: int) -> str:
    """The folder of shard i of n, so that they sort."""
    return f"{i:0{len(str(n))}d}-of-{n}"


def failures(run: Path) -> list[Failure]:
    """What ``errors.jsonl`` of a run says, the last of each sample; a torn last line (the process died in it) is not
    one."""
    path = run / "errors.jsonl"
    found: dict[str, Failure] = {}
    for line in path.read_text("utf-8", "surrogateescape").splitlines() if path.exists() else ():
        with suppress(ValueError, TypeError):
            failure = Failure(**json.loads(line))
            found[failure.id] = failure
    return list(found.values())


def shards_of(run: Path) -> list[Path]:
    """The shard files of a run, in the order in which they were written."""
    return sorted((run / "records").glob("[0-9]*.parquet"))


def read_records(run: Path, index: Sequence[str] | None = None, schema: pa.Schema | None = None) -> pa.Table:
    """All rows of a run in the order of its index, which does not depend on how the work was cut or interrupted."""
    if index is None:
        index = read_json(run / "index.json")
    tables = []
    for shard in shards_of(run):
        try:
            tables.append(pq.read_table(shard).replace_schema_metadata(None))
        except (pa.ArrowInvalid, OSError) as error:
            raise RunError(f"{shard} cannot be read ({str(error).splitlines()[0]}): delete it and run again") from error
    if not tables:
        return (schema or pa.schema([])).empty_table()
    table = pa.concat_tables(tables)
    position = {id: i for i, id in enumerate(index)}
    ids = table.column("image_id").to_pylist()
    order = sorted(range(len(ids)), key=lambda row: position[ids[row]])
    return table.take(pa.array(order, pa.int64())).combine_chunks()


def records_digest(table: pa.Table) -> str:
    """sha256 (hex) of the rows in canonical order, without the timing columns: equal for equal runs."""
    digest = hashlib.sha256()
    for name in table.column_names:
        if name not in TIMING_COLUMNS:
            # JSON, not Arrow's buffers: those carry padding and offsets of where the rows came from.
            values = json.dumps(table.column(name).to_pylist(), ensure_ascii=False)
            digest.update(f"{name}\0{values}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    """Raises RunError naming the file if it is not JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def now() -> str:
    """The time in UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def outcomes_of(shard: Path) -> list[Outcome]:
    """What a shard file says became of its samples. Raises RunError."""
    try:
        metadata = pq.read_schema(shard).metadata or {}
        return [Outcome(**o) for o in json.loads(metadata[_OUTCOMES])]
    except (pa.ArrowInvalid, OSError, KeyError, ValueError, TypeError) as error:
        raise RunError(f"{shard} is not a shard of a run ({str(error).splitlines()[0]}): delete it") from error


def _flat(spec: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in spec.items():
        if key.endswith("_options"):
            flat.update({f"{key.removesuffix('_options')}.{k}": v for k, v in value.items()})
        else:
            flat[key] = value
    return flat


def _short(value: Any) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 40 else text[:12] + "…"


TRACE = "trace.json"
"""The file of a run that `--profile` writes."""
