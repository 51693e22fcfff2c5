"""Parts of runs, for those who have only job arrays: cut exactly, merged to what an uncut run would have left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.toy_runs import Call, arguments, read, the_run
from hypothesis import given
from hypothesis import strategies as st

from sambench.planning.plan import part_of
from sambench.runs.directory import read_records


@given(n=st.integers(0, 60), shards=st.integers(1, 9), batch=st.integers(1, 8))
def test_shards_are_exact_and_contiguous(n: int, shards: int, batch: int) -> None:
    ids = [str(i) for i in range(n)]
    parts = [part_of(ids, (i, shards), batch) for i in range(1, shards + 1)]
    assert [id for part in parts for id in part] == ids
    # Cut between encoder batches only, and as evenly as that allows.
    assert all(int(part[0]) % batch == 0 for part in parts if part)
    sizes = [-(-len(part) // batch) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.fixture(scope="module")
def cut(sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of the same run in three shards, the second in two goes. Not to be changed."""
    out = tmp_path_factory.mktemp("cut")
    for shard in ("3/3", "1/3"):
        done = sambench_cli(*arguments(toy_data, toy_model, out, "--shard", shard, "--workers", 1))
    assert f"when all 3 are there: sambench merge {out}" in done.stdout
    sambench_cli(*arguments(toy_data, toy_model, out, "--shard", "2/3", "--workers", 2))
    return out


def test_shards_merge_to_the_run_that_was_not_cut(
    undisturbed: Path, cut: Path, sambench_here: Call, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(cut, tmp_path / "out"))
    assert not list(out.glob("single_point"))
    merged = sambench_here("merge", out)
    assert "12/12" in merged.stdout
    assert read(the_run(out) / "summary.json") == read(the_run(undisturbed) / "summary.json")
    records, expected = (read_records(the_run(at)).drop_columns(["time_ms"]) for at in (out, undisturbed))
    assert records.equals(expected)
    manifest = read(the_run(out) / "manifest.json")
    assert manifest["status"] == "complete"
    assert manifest["sessions"][-1]["merged"] == 3
    assert "shard" not in manifest
    parts = [read(path) for path in sorted((out / "shards").glob("*/*/*/*/manifest.json"))]
    assert manifest["timings"]["wall"] == pytest.approx(sum(part["timings"]["wall"] for part in parts), abs=0.01)
    # Again: nothing changes, but for one more session. And the run is one that `run` takes for done.
    shards = sorted((the_run(out) / "records").iterdir())
    sambench_here("merge", out, "--remove")
    assert sorted((the_run(out) / "records").iterdir()) == shards
    assert not list((out / "shards").glob("*/*/*/*"))


def test_a_merged_run_is_done(
    cut: Path, sambench_cli: Call, sambench_here: Call, toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(cut, tmp_path / "out"))
    sambench_here("merge", out)
    before = sorted((the_run(out) / "records").iterdir())
    again = sambench_cli(*arguments(toy_data, toy_model, out), TOY_GATE="/nowhere/gate")
    assert "12/12" in again.stdout
    assert sorted((the_run(out) / "records").iterdir()) == before


def test_a_report_does_not_take_a_shard_for_a_run(cut: Path, sambench_here: Call, tmp_path: Path) -> None:
    done = sambench_here("report", cut, "--out", tmp_path / "report", code=2)
    assert "no run" in done.stderr or "summary" in done.stderr


def test_a_missing_shard_is_named(cut: Path, sambench_here: Call, tmp_path: Path) -> None:
    out = Path(shutil.copytree(cut, tmp_path / "out"))
    shutil.rmtree(out / "shards" / "2-of-3")
    done = sambench_here("merge", out, code=1)
    assert "shard 2 of 3 is not there: run it with --shard I/3" in done.stderr
    assert not list(out.glob("single_point"))


def test_an_unfinished_shard_is_named_and_goes_on(
    undisturbed: Path, sambench_cli: Call, sambench_here: Call, toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(toy_data, tmp_path / "data"))
    image = data / "images" / "im07.png"
    good = image.read_bytes()
    out = tmp_path / "out"
    sambench_cli(*arguments(data, toy_model, out, "--shard", "1/2"))
    image.write_bytes(b"torn")
    sambench_cli(*arguments(data, toy_model, out, "--shard", "2/2"), code=1)
    done = sambench_here("merge", out, code=1)
    assert "shard 2 of 2 is incomplete, image im07:" in done.stderr
    image.write_bytes(good)
    sambench_cli(*arguments(data, toy_model, out, "--shard", "2/2"))
    sambench_here("merge", out)
    ours, theirs = (read(the_run(at) / "summary.json") for at in (out, undisturbed))
    assert ours["metrics"] == theirs["metrics"]


def test_shards_of_different_runs_are_refused(
    cut: Path, sambench_cli: Call, sambench_here: Call, toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(cut, tmp_path / "out"))
    sambench_cli(*arguments(toy_data, toy_model, out, "--shard", "2/3", "--seed", 7, "--fresh"))
    done = sambench_here("merge", out, code=2)
    assert "is of another run than" in done.stderr
    assert "seed: 0 and 7" in done.stderr or "seed: 7 and 0" in done.stderr
    shutil.rmtree(out / "shards" / "2-of-3")
    sambench_cli(*arguments(toy_data, toy_model, out, "--shard", "1/2"))
    done = sambench_here("merge", out, code=2)
    assert "was cut into 2 and into 3 shards" in done.stderr


def test_more_shards_than_batches(
    undisturbed: Path, sambench_cli: Call, sambench_here: Call, toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    """Twelve images in batches of five are three batches: of four shards one has nothing to do."""
    out = tmp_path / "out"
    for i in range(1, 5):
        sambench_cli(*arguments(toy_data, toy_model, out, "--batch-size", 5, "--shard", f"{i}/4"))
    counts = [read(path)["timings"].get("wall", 0) > 0 for path in sorted(out.glob("shards/*/*/*/*/manifest.json"))]
    assert counts.count(False) == 1
    assert "12/12" in sambench_here("merge", out).stdout
    assert read(the_run(out) / "summary.json")["metrics"] == read(the_run(undisturbed) / "summary.json")["metrics"]


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3"])
def test_what_is_no_shard(shard: str, sambench_here: Call, toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    done = sambench_here(*arguments(toy_data, toy_model, tmp_path / "out", "--shard", shard), code=2)
    assert f"--shard {shard}: write it as I/N, from 1/N to N/N" in done.stderr


def test_shards_of_a_sweep(
    undisturbed: Path, sambench_cli: Call, sambench_here: Call, toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for shard in ("1/2", "2/2"):
        sambench_cli(*arguments(toy_data, toy_model, out, "--shard", shard, "--sweep", "task.min_area=1,2"))
    merged = sambench_here("merge", out)
    assert merged.stdout.count("12/12") == 2
    (one,) = (out / "task.min_area=1").glob("single_point/*/*/summary.json")
    assert read(one)["metrics"]["miou"] == read(the_run(undisturbed) / "summary.json")["metrics"]["miou"]


def test_nothing_to_merge(sambench_here: Call, tmp_path: Path) -> None:
    assert "holds no shards" in sambench_here("merge", tmp_path, code=2).stderr
