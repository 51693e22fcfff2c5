"""Sweeps: which runs one command stands for, and where they lie."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sambench.errors import UsageError
from sambench.planning.sweep import Variant, variants


def test_every_combination_the_last_key_fastest() -> None:
    found = variants(["task.a=1,2", "model.b=x, y"], ["task.c=3"])
    folders = ["task.a=1,model.b=x", "task.a=1,model.b=y", "task.a=2,model.b=x", "task.a=2,model.b=y"]
    assert [v.folder for v in found] == folders
    assert found[1].assignments == ("task.a=1", "model.b=y")


def test_nothing_swept_is_one_variant_without_a_folder() -> None:
    assert variants([], ["task.a=1"]) == [Variant("", ())]


@pytest.mark.parametrize(
    ("sweeps", "fixed", "complaint"),
    [
        (["task.a"], [], "write it as"),
        (["task.a=1,,2"], [], "write it as"),
        (["task.a=1,1"], [], "twice"),
        (["task.a=1,2", "task.a=3"], [], "swept twice"),
        (["task.a=1,2"], ["task.a=1"], "also given with --set"),
        (["model.weights=/x/a.pth,/x/b.pth"], [], "cannot name a folder"),
    ],
)
def test_what_cannot_be_swept(sweeps: list[str], fixed: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        variants(sweeps, fixed)


def test_one_command_one_run_for_each_value(
    toy_data: Path, sambench_cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    command = ["run", "--task", "single_point", "--dataset", f"mask_pngs:{toy_data}"]
    command += ["--out", tmp_path, "--set", "task.clicks=1", "--workers", 1]
    done = sambench_cli(*command, "--sweep", "task.min_area=1,2")
    for area in (1, 2):
        (path,) = (tmp_path / f"task.min_area={area}").rglob("summary.json")
        assert json.loads((path.parent / "manifest.json").read_text())["spec"]["task_options"]["min_area"] == area
    # Two signatures, so two rows of one table, and one report of both.
    assert "[1]" in done.stdout
    assert "[2]" in done.stdout
    assert (tmp_path / "report" / "report.md").is_file()
    assert "min_area" in sambench_cli(*command, "--sweep", "task.min_aera=1,2", code=2).stderr
