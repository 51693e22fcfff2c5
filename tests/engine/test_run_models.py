"""The embedded model and a SAM through the whole command: workers, batches, resume, weights files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import official_sam

from sambench.runs.directory import read_records

Call = Callable[..., subprocess.CompletedProcess[str]]


def records(out: Path, model: str = "*") -> pa.Table:
    (manifest,) = out.glob(f"single_point/*/{model}/manifest.json")
    return read_records(manifest.parent).drop_columns(["time_ms"])


def arguments(out: Path, model: object, *more: object) -> list[object]:
    return ["run", "-t", "single_point", "-d", "demo", "-m", model, "--out", out, *more]


@pytest.mark.parametrize("more", [["--workers", "2"], ["--workers", "3", "--batch-size", "3"]])
def test_region_tree_gives_the_same_records_whatever_the_workers_and_batches(
    sambench_cli: Call, tmp_path: Path, more: list[str]
) -> None:
    some = ["--subset", "7", "--set", "task.clicks=1,3"]
    sambench_cli(*arguments(tmp_path / "one", "region_tree", *some, "--workers", 1))
    sambench_cli(*arguments(tmp_path / "other", "region_tree", *some, *more))
    assert records(tmp_path / "other").equals(records(tmp_path / "one"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SAM with random weights in the official format."""
    path = tmp_path_factory.mktemp("weights") / "random_sam.pth"
    torch.save(official_sam.build(side=512).state_dict(), path)
    return path


SOME = ["--subset", "4", "--set", "task.clicks=1,2", "--threads", "1"]


@pytest.fixture(scope="module")
def quiet(sambench_cli: Call, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of that SAM with one worker, images encoded in pairs."""
    out = tmp_path_factory.mktemp("quiet")
    sambench_cli(*arguments(out, checkpoint, *SOME, "--batch-size", 2, "--workers", 1))
    return out


def test_a_checkpoint_runs_and_says_what_it_is(quiet: Path, checkpoint: Path) -> None:
    (path,) = quiet.glob("single_point/demo/*/summary.json")
    summary = json.loads(path.read_text())
    assert summary["complete"]
    assert summary["zero_shot"] == "unknown"
    assert 0 < summary["metrics"]["miou"]["value"] <= summary["metrics"]["oracle_miou"]["value"] < 1
    assert records(quiet).column("candidate_iou").combine_chunks().value_lengths().unique().to_pylist() == [3]


@pytest.mark.parametrize("workers", [2, 3])
def test_sam_gives_the_same_records_with_any_number_of_workers(
    sambench_cli: Call, quiet: Path, checkpoint: Path, tmp_path: Path, workers: int
) -> None:
    sambench_cli(*arguments(tmp_path, checkpoint, *SOME, "--batch-size", 2, "--workers", workers))
    assert records(tmp_path).equals(records(quiet))


def test_sam_gives_the_same_records_when_a_batch_is_done_in_parts(
    sambench_cli: Call, quiet: Path, checkpoint: Path, tmp_path: Path
) -> None:
    more = arguments(tmp_path, checkpoint, *SOME, "--batch-size", 2, "--workers", 1)
    for limit in (1, 3):
        sambench_cli(*more, "--limit", limit, code=1)
    sambench_cli(*more)
    assert records(tmp_path).equals(records(quiet))


def test_another_batch_size_of_sam_differs_in_few_pixels_at_most(
    sambench_cli: Call, quiet: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """Sums in another order: predicted IoUs to about 1e-5 and masks in pixels at the threshold; docs/models/sam.md."""
    sambench_cli(*arguments(tmp_path, checkpoint, *SOME, "--batch-size", 1, "--workers", 1))
    one, two = records(tmp_path), records(quiet)
    for column in ("candidate_iou", "candidate_score"):
        a, b = (np.array(t.column(column).to_pylist()) for t in (one, two))
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_a_second_weights_file_under_one_name_gets_its_own_directory(
    sambench_cli: Call, quiet: Path, checkpoint: Path, tmp_path: Path
) -> None:
    state = torch.load(checkpoint, weights_only=True)
    state["mask_decoder.iou_token.weight"] += 1
    torch.save(state, tmp_path / "random_sam.pth")
    out = tmp_path / "out"
    for path in (checkpoint, tmp_path / "random_sam.pth"):
        sambench_cli(*arguments(out, path, "--subset", 1, "--set", "task.clicks=1", "--threads", 1))
    assert len(list(out.glob("single_point/demo/*@*/summary.json"))) == 2


def test_a_broken_checkpoint_is_one_line(sambench_cli: Call, checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pth"
    broken.write_bytes(checkpoint.read_bytes()[:100_000])
    done = sambench_cli(*arguments(tmp_path / "out", broken), code=2)
    assert str(broken) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
