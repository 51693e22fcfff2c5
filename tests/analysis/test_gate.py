"""`sambench gate`: what passes, what fails, and the three files that CI systems read."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.summaries import VIT_B, metric, write_run

from sambench.analysis import gate
from sambench.errors import UsageError
from sambench.reporting import write_report
from sambench.runs.summaries import load_summaries

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """region_tree on demo at .5, its bootstrap interval .48 to .53."""
    write_run(tmp_path / "before")
    write_report([tmp_path / "before"], tmp_path / "report")
    return tmp_path / "report" / "leaderboard.csv"


def checked(tmp_path: Path, baseline: Path, **how: object) -> list[gate.Check]:
    return gate.gate(load_summaries([tmp_path / "now"]), baseline, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("miou", "passed", "why"),
    [
        (0.5, True, "as before"),
        (0.6, True, "better"),
        (0.485, True, "worse, but within tolerance"),
        (0.48, True, "worse, but within tolerance"),
        (0.479, False, "worse than the baseline by 2.1, beyond the baseline's interval"),
    ],
)
def test_within_the_interval(tmp_path: Path, baseline: Path, miou: float, passed: bool, why: str) -> None:
    write_run(tmp_path / "now", miou=miou, digest=VIT_B)  # new weights of the same model
    (check,) = checked(tmp_path, baseline)
    assert (check.passed, check.why) == (passed, why)
    assert (check.baseline, check.bound, check.value) == (0.5, 0.48, miou)


@pytest.mark.parametrize(("miou", "passed"), [(0.495, True), (0.489, False)])
def test_within_a_given_drop(tmp_path: Path, baseline: Path, miou: float, passed: bool) -> None:
    write_run(tmp_path / "now", miou=miou)
    (check,) = checked(tmp_path, baseline, max_drop=0.01)
    assert check.passed == passed


def test_less_may_be_more(tmp_path: Path) -> None:
    clicks = {"metrics": {"noc@85": {**metric(5.0, bootstrap=[4.5, 5.5]), "unit": "clicks"}}, "primary": "noc@85"}
    for folder, value in (("before", 5.0), ("fewer", 3.0), ("more", 5.6)):
        clicks["metrics"]["noc@85"]["value"] = value
        write_run(tmp_path / folder, **clicks, headlines=["noc@85"], lower_is_better=["noc@85"])
    write_report([tmp_path / "before"], tmp_path / "report")
    verdicts = {
        folder: gate.gate(load_summaries([tmp_path / folder]), tmp_path / "report" / "leaderboard.csv")[0]
        for folder in ("fewer", "more")
    }
    assert verdicts["fewer"].why == "better"
    assert not verdicts["more"].passed
    assert verdicts["more"].bound == 5.5


def test_named_metrics(tmp_path: Path, baseline: Path) -> None:
    write_run(tmp_path / "now", metrics={"miou": metric(0.1), "oracle_miou": metric(0.875)})
    (check,) = checked(tmp_path, baseline, metrics=["oracle_miou"])
    assert check.passed
    with pytest.raises(UsageError, match="names no ods of any run"):
        checked(tmp_path, baseline, metrics=["ods"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"complete": False, "n_scored": 7}, "the run is incomplete: 7 of 10 images are scored"),
        ({"metrics": {"miou": metric(None)}}, "it has no value"),
        ({"dataset": "other"}, "no such run: nobody ran single_point on demo with region_tree"),
        ({"subset": "full"}, "has subset full for paper"),
        ({"task_version": 2}, "has task_version 2 for 1"),
        ({"signature": "other"}, "has signature other for point:edt-pad1"),
    ],
)
def test_what_cannot_be_compared_fails(tmp_path: Path, baseline: Path, changes: dict[str, object], why: str) -> None:
    write_run(tmp_path / "now", **changes)
    (check,) = checked(tmp_path, baseline)
    assert not check.passed
    assert why in check.why


def test_bad_baselines(tmp_path: Path, baseline: Path) -> None:
    write_run(tmp_path / "now")
    for content, message in (
        ("", "it is empty"),
        ("a,b\n1,2\n", "no column task"),
        (baseline.read_text().replace("0.5", "half", 1), r"leaderboard.csv, line 2: value is not a number"),
    ):
        baseline.write_text(content)
        with pytest.raises(UsageError, match=message):
            checked(tmp_path, baseline)
    with pytest.raises(UsageError, match="cannot be read"):
        checked(tmp_path, tmp_path / "absent.csv")


def test_the_command_and_its_files(tmp_path: Path, baseline: Path, sambench_cli: Call) -> None:
    write_run(tmp_path / "now", miou=0.4)
    summary = tmp_path / "job.md"
    files = ["--junit", tmp_path / "gate.xml", "--badge", tmp_path / "badge.json"]
    done = sambench_cli(
        "gate", tmp_path / "now", "--baseline", baseline, *files, code=1, GITHUB_STEP_SUMMARY=str(summary)
    )
    assert "1 of 1 failed" in done.stdout
    assert "**failed** | single\\_point | demo | region\\_tree | miou | 50.0 | 48.0 | 40.0" in summary.read_text()
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    (case,) = suite
    assert (case.get("classname"), case.get("name")) == ("single_point.demo.val", "region_tree miou")
    assert case[0].tag == "failure"
    assert json.loads((tmp_path / "badge.json").read_text())["color"] == "red"
    passed = sambench_cli("gate", tmp_path / "now", "--baseline", baseline, "--max-drop", "0.2")
    assert "1 passed" in passed.stdout
    again = sambench_cli("gate", tmp_path / "now", "--baseline", tmp_path / "absent", code=2)
    assert "cannot be read" in again.stderr


def test_names_that_mean_harm(tmp_path: Path) -> None:
    write_run(tmp_path / "before", dataset="<script>|\n\x00é")
    write_report([tmp_path / "before"], tmp_path / "report")
    file = tmp_path / "report" / "leaderboard.csv"
    checks = gate.gate(load_summaries([tmp_path / "before"]), file)
    assert "<script>" not in gate.markdown_table(checks)
    assert "<script>| é" in ElementTree.fromstring(gate.junit(checks))[0].get("classname", "")
    assert list(csv.DictReader(file.open(newline="")))
