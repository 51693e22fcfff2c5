"""`sambench log`, with stand-ins for the clients: what they are given, and that nobody is told unasked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.small_runs import run

from sambench.atomic_files import OutputError
from sambench.errors import UsageError
from sambench.outputs import tracking
from sambench.runs.directory import read_json

Call = Callable[..., subprocess.CompletedProcess[str]]

MLFLOW = """
from contextlib import contextmanager
told = []

def set_experiment(name):
    told.append(("experiment", name))

@contextmanager
def start_run(run_name):
    told.append(("run", run_name))
    yield
    told.append(("end",))

def log_params(values):
    assert all(type(v) is str for v in values.values())
    told.append(("params", values))

def log_metrics(values):
    if any("@" in name for name in values):
        raise ValueError("Invalid metric name")
    told.append(("metrics", values))

def log_artifact(path):
    told.append(("artifact", path))
"""

WANDB = """
told = []

class Run:
    def __init__(self, **given):
        told.append(given)
        self.summary = {}
    def __enter__(self):
        return self
    def __exit__(self, *error):
        told.append((self.summary, self.saved))
    def save(self, path, base_path, policy):
        self.saved = path

def init(**given):
    if given["project"] == "closed":
        raise RuntimeError("no such project\\nor no right to it")
    return Run(**given)
"""


@pytest.fixture(scope="module")
def clicked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("single_point", tmp_path_factory.mktemp("clicked"), "task.clicks=1,2", subset="1")


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clients"
    folder.mkdir()
    (folder / "mlflow.py").write_text(MLFLOW)
    (folder / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(folder)
    for name in ("mlflow", "wandb"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


def test_mlflow_is_told_of_a_run(clicked: Path, clients: Path) -> None:
    (name,) = tracking.log([clicked], "mlflow", "mine")
    told = sys.modules["mlflow"].told
    summary = read_json(clicked / "summary.json")
    assert [one[0] for one in told] == ["experiment", "run", "params", "metrics", "artifact", "end"]
    assert told[0][1] == "mine"
    assert told[1][1] == name == f"single_point demo region_tree@{summary['weights_digest'][:8]}"
    assert told[2][1]["signature"] == summary["signature"]
    assert told[2][1]["task.clicks"] == "[1, 2]"
    assert told[3][1]["miou"] == summary["metrics"]["miou"]["value"]
    assert told[3][1]["miou_at_2"] == summary["metrics"]["miou@2"]["value"]
    assert told[4][1] == str(clicked / "summary.json")


def test_wandb_is_told_of_a_run(clicked: Path, clients: Path) -> None:
    tracking.log([clicked], "wandb")
    given, (summary, saved) = sys.modules["wandb"].told
    assert given["project"] == "sambench"
    assert given["config"]["task.clicks"] == [1, 2]
    assert summary["miou@2"] == read_json(clicked / "summary.json")["metrics"]["miou@2"]["value"]
    assert saved == str(clicked / "summary.json")


def test_what_the_client_refuses_is_one_line(clicked: Path, clients: Path) -> None:
    with pytest.raises(
        OutputError, match=r"^wandb did not take single_point demo .*: no such project or no right to it$"
    ):
        tracking.log([clicked], "wandb", "closed")


def test_a_client_that_is_not_installed(clicked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UsageError, match=r"pip install 'sambench\[mlflow\]'"):
        tracking.log([clicked], "mlflow")


def test_the_command_and_that_no_other_logs(clicked: Path, clients: Path, sambench_cli: Call, tmp_path: Path) -> None:
    done = sambench_cli("log", clicked, "--to", "wandb", PYTHONPATH=str(clients))
    assert done.stdout.startswith("wandb: single_point demo region_tree@")
    (clients / "wandb.py").write_text("raise SystemExit('imported unasked')")
    (clients / "mlflow.py").write_text("raise SystemExit('imported unasked')")
    sambench_cli("report", clicked, "--out", tmp_path / "out", PYTHONPATH=str(clients))
