"""The run directory: whole shards, resume, refusal of other parameters, the lock, errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sambench.atomic_files import OutputError, write_atomic
from sambench.core.digests import index_digest
from sambench.errors import UsageError
from sambench.runs.directory import Failure, Outcome, RunDirectory, RunError, RunSpec, read_records, records_digest

SCHEMA = pa.schema([("image_id", pa.string()), ("value", pa.float64()), ("time_ms", pa.float64())])
INDEX = ["c", "a", "b"]
SPEC = RunSpec(
    task="t",
    task_version=1,
    task_options={"clicks": [1, 2]},
    dataset="d",
    dataset_options={},
    split="val",
    subset="full",
    index_digest=index_digest(INDEX),
    model="m",
    weights_digest="0123456789abcdef",
    model_options={"dtype": "float32"},
    device="cpu",
    threads=1,
    encode_batch=1,
    seed=0,
)


@contextmanager
def opened(path: Path, spec: RunSpec = SPEC, *, fresh: bool = False) -> Iterator[RunDirectory]:
    with RunDirectory(path, spec, INDEX, SCHEMA) as directory:
        directory.open(fresh=fresh, session={"host": "h"}, info={})
        yield directory


def touch(path: Path, spec: RunSpec = SPEC, *, fresh: bool = False) -> None:
    with opened(path, spec, fresh=fresh):
        pass


def rows(*items: tuple[str, float]) -> pa.Table:
    return pa.Table.from_pylist([{"image_id": i, "value": v, "time_ms": hash(i) % 7} for i, v in items], schema=SCHEMA)


def test_directory_name(tmp_path: Path) -> None:
    assert SPEC.directory(tmp_path) == tmp_path / "t" / "d" / "m@01234567"
    one, two = (replace(SPEC, dataset=f"mask_pngs:{p}").directory(tmp_path).parent.name for p in ("/x", "/y"))
    assert one.startswith("mask_pngs-")
    assert one != two


def test_shards_survive_and_come_back_in_index_order(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        directory.append([rows(("a", 1.0), ("a", 2.0))], [Outcome("a", "scored")])
        directory.append([], [Outcome("b", "excluded", "no_valid_mask", {"crowd": 2})])
    with opened(tmp_path) as directory:
        assert directory.done["b"] == Outcome("b", "excluded", "no_valid_mask", {"crowd": 2})
        assert set(directory.done) == {"a", "b"}
        directory.append([rows(("c", 3.0))], [Outcome("c", "scored")])
        assert directory.records().column("value").to_pylist() == [3.0, 1.0, 2.0]
        directory.finish("complete", {"load": 1.5}, {"fine": True})
    assert read_records(tmp_path).column("image_id").to_pylist() == ["c", "a", "a"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert len(manifest["sessions"]) == 2
    assert [p.name for p in sorted((tmp_path / "records").iterdir())] == [f"{i:06d}.parquet" for i in (1, 2, 3)]


def test_digest_ignores_time_and_the_way_the_work_was_cut() -> None:
    table = rows(("a", 1.0), ("b", 2.0))
    slower = table.set_column(2, "time_ms", pa.array([9.0, 9.0]))
    assert records_digest(table) == records_digest(slower)
    assert records_digest(table) == records_digest(pa.concat_tables([rows(("a", 1.0)), rows(("b", 2.0))]))
    assert records_digest(table) != records_digest(rows(("a", 1.0), ("b", 2.0000000000000004)))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 3}, "seed was 0, is now 3"),
        ({"task_options": {"clicks": [1]}}, r"task\.clicks was \[1, 2\], is now \[1\]"),
        ({"model_options": {"dtype": "bfloat16"}}, r"model\.dtype was float32, is now bfloat16"),
        ({"model_options": {}}, r"model\.dtype was float32, is now unset"),
        ({"index_digest": "x"}, "index_digest was"),
        ({"encode_batch": 4, "device": "cuda"}, "device was cpu, is now cuda; encode_batch was 1, is now 4"),
        ({"weights_digest": "0123456789ffffff"}, "weights_digest was"),
        ({"task_version": 2}, "task_version was 1, is now 2"),
    ],
)
def test_a_changed_parameter_is_refused_by_name(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    touch(tmp_path)
    with pytest.raises(UsageError, match=named):
        touch(tmp_path, replace(SPEC, **change))
    touch(tmp_path, replace(SPEC, **change), fresh=True)


def test_fresh_starts_again(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        directory.append([rows(("a", 1.0))], [Outcome("a", "scored")])
        directory.add_error(Failure("b", "bad", "DataError"))
    with opened(tmp_path, fresh=True) as directory:
        assert directory.done == {}
        assert directory.errors() == []


def test_the_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; import test_directory as t\n"
        "with t.opened(Path(sys.argv[1])): print('ready', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    with pytest.raises(UsageError, match=f"in use by process {child.pid} on "):
        touch(tmp_path)
    child.kill()
    child.wait()
    touch(tmp_path)  # the lock of a killed process is gone with it


def test_errors_are_listed_until_their_sample_is_done(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        directory.add_error(Failure("b", "first", "DataError"))
        directory.add_error(Failure("b", "again", "DataError"))
        directory.add_error(Failure("c", "other ü", "DataError"))
        with (tmp_path / "errors.jsonl").open("a") as file:
            file.write('{"id": "a", "error": "torn by a cra')
        assert [(f.id, f.error) for f in directory.errors()] == [("b", "again"), ("c", "other ü")]
        directory.append([rows(("b", 1.0))], [Outcome("b", "scored")])
        assert [f.id for f in directory.errors()] == ["c"]


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        directory.append([rows(("a", 1.0))], [Outcome("a", "scored")])
    shard = tmp_path / "records" / "000001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(RunError, match=r"000001\.parquet is not a shard"):
        touch(tmp_path)


def test_a_sample_in_two_shards_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        directory.append([rows(("a", 1.0))], [Outcome("a", "scored")])
        directory.append([rows(("a", 1.0))], [Outcome("a", "scored")])
    with pytest.raises(RunError, match="'a' appears in two shards"):
        touch(tmp_path)


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    leftover = tmp_path / "records" / ".000001.parquet.99.tmp"
    leftover.write_bytes(b"half")
    touch(tmp_path)
    assert not leftover.exists()


def test_records_without_a_manifest_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "000001.parquet").write_bytes(b"somebody's")
    with pytest.raises(UsageError, match="records without a manifest"):
        touch(tmp_path)


def test_an_unreadable_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RunError, match=r"manifest\.json cannot be read"):
        touch(tmp_path)


def test_an_unwritable_output_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot write .*; choose another --out"):
        touch(tmp_path / "file" / "run")


def test_write_atomic_leaves_nothing_when_it_fails(tmp_path: Path) -> None:
    def fail(file: Any) -> None:
        file.write(b"half")
        raise OSError(28, os.strerror(28))

    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(OutputError, match=r"cannot write .*x: the disk is full"):
        write_atomic(tmp_path / "x", fail)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x", b"old")]


def test_timings_add_up_over_sessions(tmp_path: Path) -> None:
    for _ in range(2):
        with opened(tmp_path) as directory:
            directory.finish("incomplete", {"load": 1.25}, None)
    assert json.loads((tmp_path / "manifest.json").read_text())["timings"] == {"load": 2.5}
