"""Runs that are stopped, whose workers, files or clock go astray: what is finished stays, the same command goes on, and
the records are those of a run that nothing happened to."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from helpers.toy_runs import (
    DRIVER,
    Call,
    Gate,
    arguments,
    children,
    ended,
    interrupt,
    read,
    say_until,
    shards,
    start,
    the_run,
    wait_for,
)

from sambench.runs.directory import read_records


def manifest(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = read(the_run(out) / "manifest.json")
    return loaded


def table(out: Path) -> pa.Table:
    """Without what tells a copy of the dataset from the original."""
    return read_records(the_run(out)).drop_columns(["time_ms", "dataset"])


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_finishes_what_is_in_hand(
    undisturbed: Path, sambench_cli: Call, toy_data: Path, toy_model: str, gate: Gate, tmp_path: Path, workers: int
) -> None:
    """What a cluster sends before it takes the machine away."""
    out = tmp_path / "out"
    child = start(arguments(toy_data, toy_model, out, "--workers", workers), gate)
    gate.let(1)
    wait_for(lambda: shards(out))
    complaint = interrupt(child, signal.SIGTERM, gate, out)
    assert "SIGTERM: finishing the current batch; once more to stop immediately" in complaint
    assert "the same command goes on" in complaint
    assert manifest(out)["status"] == "incomplete"
    assert 1 <= table(out).num_rows < 30
    # It ended in good order: also how long it took is written.
    assert manifest(out)["timings"]["wall"] > 0
    sambench_cli(*arguments(toy_data, toy_model, out))
    assert table(out).equals(table(undisturbed))


def test_the_second_interrupt_stops_at_once(toy_data: Path, toy_model: str, gate: Gate, tmp_path: Path) -> None:
    """A model that never finishes what is in hand."""
    child = start(arguments(toy_data, toy_model, tmp_path / "out", "--workers", 1), gate)
    wait_for(lambda: gate.asked)
    child.send_signal(signal.SIGINT)
    say_until(child, "finishing")
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    assert "the same command goes on" in ended(child, 130)
    assert gate.asked == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_never_answers_does_not_keep_a_run_from_ending(
    undisturbed: Path, sambench_cli: Call, own_data: Path, toy_model: str, tmp_path: Path, workers: int
) -> None:
    """A pipe that nobody writes to stands in for a network file system that hangs."""
    image, good, out = own_data / "images" / "im05.png", tmp_path / "good.png", tmp_path / "out"
    assert read(the_run(undisturbed) / "index.json").index("im05") > 0
    image.rename(good)
    os.mkfifo(image)
    driver = "import sambench.engine.worker as w; w.STALLED_SECONDS = 1.0\n" + DRIVER.replace("; ", "\n")
    child = start(arguments(own_data, toy_model, out, "--workers", workers), driver=driver)
    # It is said by name while it hangs (in workers of their own after a minute, for which no test waits).
    if workers == 1:
        assert "does the file system of" in say_until(child, "still reading image im05 after")
    # What comes before it in the same hands is on disk; with another worker all the others are.
    wait_for(lambda: list(out.glob("single_point/*/*/index.json")))
    done = read(the_run(out) / "index.json").index("im05") if workers == 1 else 7
    wait_for(lambda: shards(out) and len(read_records(the_run(out)).column("image_id").unique()) >= done)
    child.send_signal(signal.SIGINT)
    ended(child, 130)
    image.unlink()
    good.rename(image)
    sambench_cli(*arguments(own_data, toy_model, out))
    assert table(out).equals(table(undisturbed))


def test_a_killed_worker_is_replaced(
    undisturbed: Path, toy_data: Path, toy_model: str, gate: Gate, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    child = start(arguments(toy_data, toy_model, out, "--workers", 2), gate)
    gate.let(1)
    wait_for(lambda: shards(out))
    os.kill(children(child.pid)[0], signal.SIGKILL)
    gate.let(100)
    ended(child, 0)
    assert table(out).equals(table(undisturbed))
    assert manifest(out)["status"] == "complete"


def test_a_dataset_that_vanishes_and_comes_back(
    undisturbed: Path, sambench_cli: Call, own_data: Path, toy_model: str, gate: Gate, tmp_path: Path
) -> None:
    out, away = tmp_path / "out", tmp_path / "away"
    child = start(arguments(own_data, toy_model, out, "--workers", 1), gate)
    gate.let(1)
    wait_for(lambda: shards(out))
    own_data.rename(away)
    gate.let(100)
    complaint = ended(child, 1)
    assert "images could not be evaluated (first: image im" in complaint
    away.rename(own_data)
    sambench_cli(*arguments(own_data, toy_model, out))
    assert table(out).equals(table(undisturbed))


def test_an_output_folder_that_vanishes_is_one_line(toy_data: Path, toy_model: str, gate: Gate, tmp_path: Path) -> None:
    out = tmp_path / "out"
    child = start(arguments(toy_data, toy_model, out, "--workers", 1), gate)
    gate.let(1)
    wait_for(lambda: shards(out))
    shutil.rmtree(out)
    gate.let(100)
    complaint = ended(child, 1)
    (line,) = [one for one in complaint.splitlines() if one.startswith("error")]
    assert "cannot write" in line


BACKWARDS = (
    "import time, itertools\n"
    "real, calls = time.time, itertools.count()\n"
    "time.time = lambda: real() - 86400 * (next(calls) % 3)\n"
    "time.time_ns = lambda: int(time.time() * 1e9)\n"
)


def test_a_clock_that_jumps_changes_nothing(undisturbed: Path, toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    driver = BACKWARDS + DRIVER.replace("; ", "\n")
    ended(start(arguments(toy_data, toy_model, out, "--workers", 1), driver=driver), 0)
    assert table(out).equals(table(undisturbed))
    assert all(seconds >= 0 for seconds in manifest(out)["timings"].values())


def test_an_image_without_enough_memory_fails_that_image(
    sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    """An array that no machine can hold, asked for by the model on the fourth image."""
    source = Path(toy_model.removesuffix(":Toy")).read_text()
    greedy = tmp_path / "greedy.py"
    greedy.write_text(source.replace("self.image = ", "if len(image) == 43: np.zeros(1 << 50)\n        self.image = "))
    out = tmp_path / "out"
    done = sambench_cli(*arguments(toy_data, f"{greedy}:Toy", out, "--workers", 1), code=1)
    assert "1 of 12 images could not be evaluated (first: image im03: " in done.stderr
    assert "Unable to allocate" in done.stderr


def test_progress_and_profile_are_written(sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "logs" / "progress.jsonl"
    sambench_cli(*arguments(toy_data, toy_model, out, "--workers", 2, "--profile", "--log-json", log))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [lines[0]["state"], lines[-1]["state"]] == ["started", "ended"]
    assert lines[0]["images_done"] == 0
    assert (lines[-1]["images_done"], lines[-1]["images_total"], lines[-1]["masks"]) == (12, 12, 30)
    assert lines[-1]["run"].startswith("single_point · mask_pngs:")
    trace = read(the_run(out) / "files" / "trace.json")["traceEvents"]
    spans = [event for event in trace if event["ph"] == "X"]
    assert {"load", "encode", "single_point"} == {event["name"] for event in spans}
    assert sorted(e["args"]["about"] for e in spans if e["name"] == "single_point") == [f"im{n:02d}" for n in range(12)]
    assert len([event for event in trace if event["name"] == "process_name"]) == 2
    profile, timings = manifest(out)["profile"], manifest(out)["timings"]
    assert {"load", "encode", "decode", "postprocess", "metric", "write", "wait", "start"} <= set(profile)
    assert profile == {stage: round(spent / timings["wall"], 4) for stage, spent in timings.items() if stage != "wall"}
    assert all(share >= 0 for share in profile.values())
    # What a worker does one after the other is part of its time; each figure is rounded to a millisecond.
    assert sum(timings[stage] for stage in ("encode", "decode", "postprocess", "metric")) <= timings["wall"] + 0.003
    # Nothing else is in what the task keeps, and a log that cannot be written is said before anything runs.
    refused = sambench_cli(
        *arguments(toy_data, toy_model, out, "--log-json", toy_data / "images" / "im00.png" / "x"), code=2
    )
    assert "--log-json: cannot write" in refused.stderr
