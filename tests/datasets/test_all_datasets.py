"""All datasets, each in its real layout, under one data root: found, checked, and evaluated in one command."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import TESTS

from sambench.analysis.macro_means import macro_means
from sambench.data import checks
from sambench.planning.find_datasets import members
from sambench.plugins import registry
from sambench.runs.summaries import load_summaries

Call = Callable[..., subprocess.CompletedProcess[str]]
LAYOUTS = TESTS / "helpers" / "layouts"
BUILT = sorted(path.stem for path in LAYOUTS.glob("*.py"))
SAM23 = members("sam23", "single_point")
ALL = members("all", "single_point")


def build(name: str, root: Path) -> None:
    """Runs the builder of ``tests/helpers/layouts/NAME.py``."""
    spec = importlib.util.spec_from_file_location(f"layout_{name}", LAYOUTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.build(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in BUILT:
        build(name, folder)
    return folder


def test_the_set_of_the_paper() -> None:
    assert len(SAM23) == 23


@pytest.mark.parametrize("name", sorted({*members("all", None), *BUILT}))
def test_every_dataset_has_a_fixture(name: str) -> None:
    fixture = f"tests/helpers/layouts/{name}.py"
    assert name in BUILT, f"{fixture} is missing: write build(root), a tiny copy of the real layout (CONTRIBUTING.md)"
    assert name in members("all", None), f"{fixture} builds no dataset of datasets/: remove it"


@pytest.mark.parametrize("name", BUILT)
def test_found_checked_and_read(root: Path, name: str) -> None:
    """Among all the others, and alone; from the root and from its own folder. Counts are those of no complete copy."""
    plugin = registry.load("datasets", name)
    options = plugin.Options()
    split = plugin.card.default_split
    report = checks.check(plugin, root, split, options, deep=True)
    failed = {row.what: row.detail for row in report.rows if row.status == "fail"}
    assert report.root is not None, f"datasets/{name}.py: locate() does not find tests/helpers/layouts/{name}.py"
    assert set(failed) <= {"images", "masks"}, report.text()
    there = checks.presence(plugin, root, split, options)
    assert there.images
    assert there.state == ("incomplete" if failed else "present")
    ids = [entry.id for entry in plugin(report.root, split, options).index()]
    again = plugin.locate(report.root, split, options)
    assert again is not None
    assert [entry.id for entry in plugin(again, split, options).index()] == ids


def test_list_says_what_is_there(root: Path, sambench_cli: Call, tmp_path: Path) -> None:
    rows = json.loads(sambench_cli("list", "datasets", "--data-root", root, "--json").stdout)
    states = {row["name"]: row["status"] for row in rows}
    assert {states[name] for name in BUILT} <= {"present", "incomplete"}
    assert (states["demo"], states["mask_pngs"]) == ("made", "yours")
    assert next(row for row in rows if row["name"] == "coco")["detail"].startswith("images: ")
    elsewhere = sambench_cli("list", "datasets", "--data-root", tmp_path).stdout.splitlines()
    assert {line.split()[1] for line in elsewhere[1:]} == {"missing", "made", "yours"}


ARGUMENTS = ("--workers", 1, "--set", "task.clicks=1,2")


@pytest.fixture(scope="module")
def ran(root: Path, sambench_cli: Call, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The runs of everything with the embedded model, and what was printed."""
    out = tmp_path_factory.mktemp("runs")
    done = sambench_cli("run", "-t", "single_point", "-d", "all", "--data-root", root, "--out", out, *ARGUMENTS)
    return out, done.stdout


def rows(printed: str) -> dict[str, list[str]]:
    """The table's lines by their second column."""
    table = printed.partition("\n\n")[0].splitlines()[2:]
    return {line.split()[1]: line.split() for line in table if line.startswith("region_tree@")}


def test_run_all(ran: tuple[Path, str]) -> None:
    out, printed = ran
    summaries = {p.parts[-3]: json.loads(p.read_text()) for p in out.glob("single_point/*/*/summary.json")}
    assert sorted(summaries) == sorted(ALL)
    assert all(summary["complete"] for summary in summaries.values())
    assert {*ALL, "mean"} == set(rows(printed))
    assert f"mean of {len(ALL)}" in printed
    # The paper's mean is that over its 23, whatever else was evaluated.
    values = [summaries[name]["metrics"]["miou"]["value"] for name in SAM23]
    (line,) = [line for line in printed.splitlines() if line.startswith("sam23, single_point, region_tree@")]
    assert line.endswith(f": {100 * sum(values) / 23:.1f}, mean mIoU over its 23 datasets")
    assert "over its 5 datasets" in printed


def test_an_incomplete_set_has_no_mean(ran: tuple[Path, str]) -> None:
    out, _ = ran
    some = load_summaries([out / "single_point" / name for name in SAM23[1:]])
    (line,) = macro_means(["sam23"], some)
    assert line.endswith("no mean, 22 of its 23 datasets are evaluated to the end")
    whole = load_summaries([out])
    cut = [replace(s, complete=False) if s.dataset == SAM23[0] else s for s in whole]
    assert macro_means(["sam23"], cut) == [line]
    assert [text.partition(",")[0] for text in macro_means(["all"], whole)] == ["sam23", "ritm5"]
    assert macro_means(["coco,bbbc038"], whole) == []
