"""`sambench compare` on runs of a quick model: what it prints, what it refuses, and that both are as documented."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sambench.analysis import compare
from sambench.errors import UsageError
from sambench.runs.directory import read_records

Call = Callable[..., subprocess.CompletedProcess[str]]

TWO = ["--subset", "5", "--set", "task.clicks=1,2"]


@pytest.fixture(scope="module")
def runs(sambench_cli: Call, toy_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``a`` and ``b``: the same model on demo with the first click at the centre and at random; on grey images too."""
    out = tmp_path_factory.mktemp("runs")
    for name, first in (("a", "centre"), ("b", "random")):
        sambench_cli(
            *("run", "-t", "single_point", "-d", "demo", "-m", toy_model, "--out", out / name, *TWO),
            *("--set", f"task.first_click={first}"),
        )
    return out


def edited(run: Path, to: Path, **changes: Any) -> Path:
    """A copy of a folder with one run whose summary says something else."""
    shutil.copytree(run, to)
    (summary,) = to.rglob("summary.json")
    summary.write_text(json.dumps({**json.loads(summary.read_text()), **changes}))
    return to


def ious(folder: Path) -> dict[tuple[str, str], float]:
    (manifest,) = folder.rglob("manifest.json")
    rows = read_records(manifest.parent).select(["image_id", "instance_id", "iou"]).to_pylist()
    return {(row["image_id"], row["instance_id"]): row["iou"][0] for row in rows}


def test_differences_are_those_of_the_records(runs: Path) -> None:
    result = compare.compare([runs / "a"], [runs / "b"])
    (one,) = result.differences
    a, b = ious(runs / "a"), ious(runs / "b")
    changes = np.array([b[key] - a[key] for key in a])
    assert one.metric == "miou"
    assert one.difference == pytest.approx(changes.mean())
    assert (one.result.wins, one.result.losses) == ((changes > 0).sum(), (changes < 0).sum())
    assert one.result.n == len(a) == len(changes)
    assert one.ci95 is not None
    assert one.ci95[0] <= changes.mean() <= one.ci95[1]
    largest = max(a, key=lambda key: abs(b[key] - a[key]))
    assert abs(result.cases[0].second - result.cases[0].first) == pytest.approx(abs(b[largest] - a[largest]))
    assert len(result.signatures) == 1
    assert result.macros == ()


def test_a_model_against_itself(runs: Path) -> None:
    result = compare.compare([runs / "a"], [runs / "a"], metric="oracle_miou")
    (one,) = result.differences
    assert (one.difference, one.ci95, one.better, one.result.wins) == (0.0, (0.0, 0.0), "", 0)
    assert result.cases == ()


def test_the_command_and_its_files(runs: Path, sambench_cli: Call, tmp_path: Path) -> None:
    done = sambench_cli("compare", runs / "a", runs / "b", "--cases", "2", "--out", tmp_path / "out")
    assert "single_point" in done.stdout
    assert "The two asked in different ways" in done.stdout
    told = json.loads(sambench_cli("compare", runs / "a", runs / "b", "--json").stdout)
    (row,) = csv.DictReader((tmp_path / "out" / "comparison.csv").open())
    assert float(row["difference"]) == told["differences"][0]["difference"]
    assert told == {**told, **json.loads((tmp_path / "out" / "comparison.json").read_text()), "cases": told["cases"]}
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert page.count("| single\\_point | demo |") == 3  # the dataset and two cases


def test_several_datasets_have_a_mean_and_a_correction(runs: Path, tmp_path: Path) -> None:
    for side in "ab":
        shutil.copytree(runs / side, tmp_path / side / "demo")
        edited(runs / side, tmp_path / side / "other", dataset="other")
    result = compare.compare([tmp_path / "a"], [tmp_path / "b"])
    (mean,) = result.macros
    one, other = result.differences
    assert {one.dataset, other.dataset} == {"demo", "other"}
    assert mean.difference == pytest.approx(one.difference)
    # Twice the same data, drawn apart: the mean of two is surer than each.
    assert mean.ci95 is not None
    assert one.ci95 is not None
    assert mean.ci95[1] - mean.ci95[0] < one.ci95[1] - one.ci95[0]
    assert one.p_holm is not None
    assert one.result.p is not None
    assert one.p_holm >= one.result.p


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subset": "full"}, "they differ in subset '5' and 'full'"),
        ({"index_digest": "0" * 64}, "they differ in image list"),
        ({"task_version": 2}, "they differ in task version 1 and 2"),
        ({"dataset": "other"}, "no dataset in common: the first has single_point demo"),
        ({"split": "val"}, "no dataset in common"),
    ],
)
def test_other_questions_are_not_compared(runs: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    other = edited(runs / "b", tmp_path / "b", **changes)
    with pytest.raises(UsageError, match=message):
        compare.compare([runs / "a"], [other])


def test_a_dataset_of_one_side_is_refused_or_left_out(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "a" / "demo")
    edited(runs / "a", tmp_path / "a" / "other", dataset="other")
    with pytest.raises(
        UsageError, match=r"only the first has single_point other .*; only the second has none; --common"
    ):
        compare.compare([tmp_path / "a"], [runs / "b"])
    assert compare.compare([tmp_path / "a"], [runs / "b"], common=True).left_out == ("other",)


def test_several_models_of_a_folder_are_named(runs: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        edited(runs / "a", tmp_path / name, model=name)
    with pytest.raises(UsageError, match=r"several runs of single_point on demo .*--models A,B"):
        compare.compare([tmp_path], [runs / "b"])
    assert compare.compare([tmp_path], [tmp_path], keep=("one", "two")).first.startswith("one@")
    with pytest.raises(UsageError, match="no run of model 'three'"):
        compare.compare([tmp_path], [tmp_path], keep=("one", "three"))


def test_cases_of_one_side_only_are_told(runs: Path, tmp_path: Path) -> None:
    """An incomplete run: what the other lacks is left out of the pairs, and said."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    other = edited(runs / "b", tmp_path / "b", complete=False)
    shard = sorted(other.rglob("*.parquet"))[0]
    table = pq.read_table(shard)
    pq.write_table(table.slice(1), shard)
    assert isinstance(table, pa.Table)
    (one,) = compare.compare([runs / "a"], [other]).differences
    assert one.unpaired == (1, 0)
    assert one.complete == (True, False)


def test_usage(runs: Path, sambench_here: Call) -> None:
    assert "give two to compare" in sambench_here("compare", runs / "a", code=2).stderr
    assert "two different names" in sambench_here("compare", runs, "--models", "a", code=2).stderr
    wrong = sambench_here("compare", runs / "a", runs / "b", "--metric", "ods", code=2).stderr
    assert "'ods' is not a mean over the cases of task single_point; choose from miou, miou@2, oracle_miou" in wrong
