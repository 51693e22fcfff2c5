"""Runs from end to end through the command line: resume, kill, workers, limits, failures, a full disk."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers.toy_runs import (
    DRIVER,
    Call,
    Gate,
    arguments,
    children,
    interrupt,
    read,
    shards,
    start,
    the_run,
    wait_for,
)
from PIL import Image

from sambench.runs.directory import read_records, records_digest


def summary(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = read(the_run(out) / "summary.json")
    return loaded


def table(out: Path) -> pa.Table:
    return read_records(the_run(out)).drop_columns(["time_ms"])


def test_a_run_is_complete_and_says_so(undisturbed: Path, toy_data: Path) -> None:
    done = summary(undisturbed)
    assert done["complete"]
    assert (done["n_expected"], done["n_scored"], done["n_failed"], done["n_excluded"]) == (12, 12, 0, 0)
    assert done["n_masks"] == 30 == table(undisturbed).num_rows
    assert done["records_digest"] == records_digest(read_records(the_run(undisturbed)))
    ious = [row["iou"][0] for row in table(undisturbed).to_pylist()]
    assert done["metrics"]["miou"]["value"] == pytest.approx(np.mean(ious), abs=1e-12)
    assert 0.2 < np.mean(ious) < 1
    manifest = json.loads((the_run(undisturbed) / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert {"load", "encode", "decode", "postprocess", "metric", "write", "wait", "wall"} <= set(manifest["timings"])
    assert manifest["sessions"][0]["versions"]["numpy"] == np.__version__
    assert (undisturbed / "report" / "report.md").is_file()


def test_the_same_command_again_does_nothing(
    undisturbed: Path, sambench_cli: Call, toy_data: Path, toy_model: str
) -> None:
    shards = {p: p.stat().st_mtime_ns for p in (the_run(undisturbed) / "records").iterdir()}
    before = summary(undisturbed)
    again = sambench_cli(*arguments(toy_data, toy_model, undisturbed), TOY_GATE="/nowhere/gate")
    assert "12/12" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in (the_run(undisturbed) / "records").iterdir()} == shards
    assert summary(undisturbed) == before


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_nothing(
    undisturbed: Path, sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path, workers: int
) -> None:
    sambench_cli(*arguments(toy_data, toy_model, tmp_path / "many", "--workers", workers))
    assert table(tmp_path / "many").equals(table(undisturbed))
    assert summary(tmp_path / "many") == summary(undisturbed)


def test_a_limited_run_goes_on_to_the_full_one(
    undisturbed: Path, sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    out = tmp_path / "limited"
    limited = sambench_cli(*arguments(toy_data, toy_model, out, "--limit", 5), code=1)
    assert "7 images left out by --limit" in limited.stderr
    assert (summary(out)["complete"], summary(out)["n_scored"], summary(out)["n_pending"]) == (False, 5, 7)
    first = table(out)
    assert first.equals(table(undisturbed).slice(0, first.num_rows))
    sambench_cli(*arguments(toy_data, toy_model, out))
    assert table(out).equals(table(undisturbed))
    assert summary(out) == summary(undisturbed)


KILLED = """
import os, sys, threading
shards, calls = int(sys.argv.pop(1)), int(sys.argv.pop(1))

def count(frame, event, argument):
    global calls
    calls -= 1
    if calls <= 0:
        os.kill(os.getpid(), 9)

def begin():
    threading.setprofile(count)
    sys.setprofile(count)

if not shards:
    begin()
import sambench.engine.result_writer as writer

class Counted(writer.ShardWriter):
    def flush(self):
        global shards
        shards -= 1
        if not shards:
            begin()
        super().flush()

writer.ShardWriter, writer.FLUSH_SAMPLES = Counted, 1
from sambench.cli.main import main
main()
"""
"""``python -c`` of it is ``sambench`` that kills itself at a call of a function, also of one in C: counted
from the given shard on, which it begins to write then; shard 0 is its start."""


@pytest.mark.timeout(3000)  # twenty starts of a run, which take long where the cores are taken
def test_kill_nine_at_random_moments(undisturbed: Path, toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    """At least 20 kills, of runs with one worker and with two; then the records are those of a quiet run."""
    rng = random.Random(1)
    kills = partial = attempt = 0
    while kills < 20:
        out = tmp_path / f"killed{attempt}"
        while True:
            # Sometimes at any moment from the start on, mostly while records are written or soon after.
            from_start = rng.random() < 0.2
            moment = (0, rng.randrange(500_000)) if from_start else (rng.randrange(1, 6), rng.randrange(5000))
            command = [*map(str, moment), *arguments(toy_data, toy_model, out, "--workers", 1 + attempt % 2)]
            done = subprocess.run([sys.executable, "-c", KILLED, *command], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
            assert done.returncode == -signal.SIGKILL, done.stderr
            kills += 1
            partial += 0 < len(shards(out)) < 12
        assert table(out).equals(table(undisturbed))
        assert summary(out) == summary(undisturbed)
        attempt += 1
    assert partial >= 5, "many kills must hit a run that has some records"


def test_an_interrupt_says_how_to_go_on(
    undisturbed: Path, sambench_cli: Call, toy_data: Path, toy_model: str, gate: Gate, tmp_path: Path
) -> None:
    out = tmp_path / "interrupted"
    child = start(arguments(toy_data, toy_model, out, "--workers", 1), gate)
    gate.let(2)
    wait_for(lambda: len(shards(out)) >= 2)
    assert "the same command goes on" in interrupt(child, signal.SIGINT, gate, out)
    assert not summary(out)["complete"]
    assert 2 <= summary(out)["n_scored"] < 12
    sambench_cli(*arguments(toy_data, toy_model, out, "--workers", 2))
    assert table(out).equals(table(undisturbed))


def test_workers_end_with_a_killed_parent(toy_data: Path, toy_model: str, gate: Gate, tmp_path: Path) -> None:
    out = tmp_path / "orphans"
    child = start(arguments(toy_data, toy_model, out, "--workers", 2), gate)
    wait_for(lambda: gate.asked >= 2)
    workers = children(child.pid)
    assert len(workers) >= 2
    child.kill()
    child.wait()
    wait_for(lambda: not any(_alive(pid) for pid in workers))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_two_processes_on_one_directory(
    sambench_cli: Call, toy_data: Path, toy_model: str, gate: Gate, tmp_path: Path
) -> None:
    out = tmp_path / "shared"
    first = start(arguments(toy_data, toy_model, out, "--workers", 1), gate)
    wait_for(lambda: gate.asked)
    second = sambench_cli(*arguments(toy_data, toy_model, out), code=2)
    assert f"in use by process {first.pid} on" in second.stderr
    interrupt(first, signal.SIGINT, gate, out)
    sambench_cli(*arguments(toy_data, toy_model, out))
    assert summary(out)["complete"]


def test_a_changed_parameter_is_refused(
    undisturbed: Path, sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(undisturbed, tmp_path / "out"))
    changed = sambench_cli(*arguments(toy_data, toy_model, out, "--set", "task.clicks=1,2"), code=2)
    assert "task.clicks was [1, 2, 3, 5, 9], is now [1, 2]" in changed.stderr
    changed = sambench_cli(*arguments(toy_data, toy_model, out, "--seed", 5), code=2)
    assert "seed was 0, is now 5" in changed.stderr
    fresh = sambench_cli(*arguments(toy_data, toy_model, out, "--seed", 5, "--fresh"))
    assert "12/12" in fresh.stdout


def test_an_unreadable_sample_is_listed_and_retried_alone(
    sambench_cli: Call, own_data: Path, toy_model: str, tmp_path: Path
) -> None:
    out, quiet = tmp_path / "unreadable", tmp_path / "quiet"
    sambench_cli(*arguments(own_data, toy_model, quiet))
    image = own_data / "images" / "im07.png"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    failed = sambench_cli(*arguments(own_data, toy_model, out), code=1)
    assert "1 of 12 images could not be evaluated" in failed.stderr
    (line,) = (the_run(out) / "errors.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == "im07"
    assert "im07.png" in json.loads(line)["error"]
    done = summary(out)
    assert (done["complete"], done["n_scored"], done["n_failed"], done["n_pending"]) == (False, 11, 1, 0)
    image.write_bytes(whole)
    written = len(shards(out))
    sambench_cli(*arguments(own_data, toy_model, out))
    assert len(shards(out)) == written + 1
    assert (the_run(out) / "errors.jsonl").read_text() == ""
    assert table(out).equals(table(quiet))
    assert summary(out) == summary(quiet)


def test_a_model_that_fails_on_an_image_fails_that_image(
    sambench_cli: Call, own_data: Path, toy_model: str, tmp_path: Path
) -> None:
    path = own_data / "images" / "im03.png"
    image = np.asarray(Image.open(path)).copy()
    image[0, 0, 0] = 13
    Image.fromarray(image).save(path)
    sambench_cli(*arguments(own_data, toy_model, tmp_path / "out"), code=1)
    (line,) = (the_run(tmp_path / "out") / "errors.jsonl").read_text().splitlines()
    failure = json.loads(line)
    assert (failure["id"], failure["error"]) == ("im03", "RuntimeError: an unlucky image")
    assert "toy_model.py" in failure["where"]
    assert summary(tmp_path / "out")["n_scored"] == 11


def test_an_image_without_masks_is_excluded_by_rule(
    sambench_cli: Call, own_data: Path, toy_model: str, tmp_path: Path
) -> None:
    for mask in (own_data / "masks" / "im02").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(mask)))).save(mask)
    sambench_cli(*arguments(own_data, toy_model, tmp_path / "out", "--subset", "full"))
    done = summary(tmp_path / "out")
    assert (done["complete"], done["n_scored"], done["n_excluded"]) == (True, 11, 1)
    assert done["excluded"] == {"no_valid_mask": 1}
    assert done["excluded_masks"] == {"empty_mask": 3}


FULL = (
    "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "import sambench.runs.directory as r, sambench.engine.result_writer as e; e.FLUSH_SECONDS = 0.0\n"
    "original = r.RunDirectory.append\n"
    "def append(self, *a):\n"
    "    if self._next_shard == 6: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
    "    return original(self, *a)\n"
    "r.RunDirectory.append = append\n"
    "from sambench.cli.main import main; main()"
)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_line_and_the_run_can_go_on(
    undisturbed: Path, sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path, workers: int
) -> None:
    """A limit on file sizes stands in for the full disk: the sixth shard cannot be written."""
    out = tmp_path / "full"
    more = arguments(toy_data, toy_model, out, "--workers", workers)
    failed = subprocess.run([sys.executable, "-c", FULL, *more], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    (line,) = [one for one in failed.stderr.splitlines() if one.startswith("error")]
    assert "cannot write" in line
    assert "000006.parquet: a file size limit is hit" in line
    assert "Traceback" not in failed.stderr
    assert len(shards(out)) == 5
    assert not list(out.glob("single_point/*/*/records/.*"))
    sambench_cli(*more)
    assert table(out).equals(table(undisturbed))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_tmpfs(undisturbed: Path, sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        (small / "ballast").write_bytes(bytes(36 * 1024))
        more = arguments(toy_data, toy_model, small / "out", "--workers", 1)
        quick = [sys.executable, "-c", DRIVER, *more]
        failed = subprocess.run(quick, capture_output=True, text=True, check=False)
        assert failed.returncode in (1, 2), failed.stderr
        assert "the disk is full" in failed.stderr
        assert "Traceback" not in failed.stderr
        subprocess.run(["mount", "-o", "remount,size=16m", small], check=True)
        sambench_cli(*more)
        assert table(small / "out").equals(table(undisturbed))
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_second_version_of_a_model_gets_its_own_directory(
    sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    file = Path(shutil.copy(toy_model.removesuffix(":Toy"), tmp_path))
    for _ in range(2):
        sambench_cli(*arguments(toy_data, f"{file}:Toy", tmp_path / "out"))
        file.write_text(file.read_text().replace("60 - distance", "50 - distance"))
    one, two = (json.loads(p.read_text()) for p in (tmp_path / "out").glob("single_point/*/Toy@*/summary.json"))
    assert one["weights_digest"] != two["weights_digest"]
    assert one["records_digest"] != two["records_digest"]


def test_an_unwritable_output(sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = sambench_cli(*arguments(toy_data, toy_model, tmp_path / "file"), code=2)
    assert "cannot write" in done.stderr
    assert "choose another --out" in done.stderr
