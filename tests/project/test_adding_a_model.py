"""The family in docs/adding_a_model.md is one that works, from the list of models to a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.paths import ROOT

IN_PLACE = """
import json, sys
from sambench.models import families
families.__path__.append(sys.argv[1])
from sambench.cli.main import cli
for command in json.loads(sys.argv[2]):
    print("$", command[0], flush=True)
    cli.main(command, standalone_mode=False)
"""
"""One process for all commands, with the file found as if it lay in the package."""


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """A folder with the example as the guide has it."""
    found = re.findall(
        r"<!-- template: sambench/models/families/(\w+\.py) -->\n```python\n(.*?)```",
        (ROOT / "docs" / "adding_a_model.md").read_text("utf-8"),
        re.DOTALL,
    )
    assert len(found) == 1
    path = tmp_path / "families" / found[0][0]
    path.parent.mkdir()
    path.write_text(found[0][1])
    return path


def weights(path: Path) -> Path:
    # Far in colour costs more than far in place; at the click itself the logit is 3.
    torch.save({"ruler.weight": torch.tensor([[-9.0, -9.0, -9.0, -6.0]]), "ruler.bias": torch.tensor([3.0])}, path)
    return path


def test_the_example_is_listed_checked_and_run(family: Path, tmp_path: Path) -> None:
    file = str(weights(tmp_path / "ruler.pth"))
    commands = [
        ["list", "models"],
        ["show", "model", "colour_ruler"],
        ["check", "model", "colour_ruler", "--set", f"model.weights={file}"],
        [
            *("run", "-t", "single_point", "-d", "demo", "--limit", "1", "-m", file, "--out", "runs"),
            *("--workers", "1", "--threads", "1", "--set", "task.clicks=1,2"),
        ],
    ]
    done = subprocess.run(
        [sys.executable, "-c", IN_PLACE, str(family.parent), json.dumps(commands)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # tests run beside each other
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed, shown, checked, ran = re.split(r"^\$ \w+\n", done.stdout, flags=re.M)[1:]
    assert re.search(r"^colour_ruler +0\.0M +masks points +coco +CC0 +no +marks pixels", listed, re.M)
    assert "--model ruler.pth" in shown
    ticks = dict(line[2:].split(": ", 1) for line in checked.splitlines() if line.startswith("✓"))
    assert "✗" not in checked
    assert {"points", "masks", "answers again the same"} <= set(ticks)
    assert re.search(r"^colour_ruler@\w{8} +demo .* 1/24 .*zero-shot unknown, incomplete", ran, re.M)
    (path,) = (tmp_path / "runs").glob("single_point/demo/colour_ruler@*/summary.json")
    summary = json.loads(path.read_text())
    assert (summary["family"], summary["parameters"]) == ("colour_ruler", 5)
    assert summary["metrics"]["miou"]["value"] > 0.1


def test_the_example_refuses_other_weights(family: Path, tmp_path: Path) -> None:
    torch.save({"other.weight": torch.zeros(1, 4)}, tmp_path / "other.pth")
    torch.save({"ruler.weight": torch.zeros(1, 9), "ruler.bias": torch.zeros(1)}, tmp_path / "wide.pth")
    code = (
        "import sys\nfrom sambench.models import families\nfamilies.__path__.append(sys.argv[1])\n"
        "from sambench.errors import UsageError\nfrom sambench.models import zoo\n"
        "for values in ({}, {'weights': 'other.pth'}, {'weights': 'wide.pth'}):\n"
        "    try:\n        zoo.locate('colour_ruler', values).load('cpu', 1)\n"
        "    except UsageError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(family.parent)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    none, other, wide = done.stdout.splitlines()
    assert "needs its weights. Download ruler.pth" in none
    assert other == "other.pth is no checkpoint of colour_ruler: it holds other.weight"
    assert wide == "wide.pth: tensor ruler.weight is [1, 9], colour_ruler has [1, 4]"


def test_the_example_passes_the_linter(family: Path) -> None:
    config = str(ROOT / "pyproject.toml")
    for tool in (["ruff", "format", "--check"], ["ruff", "check"]):
        done = subprocess.run(
            [sys.executable, "-m", *tool, "--config", config, str(family)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{tool}: {done.stdout}{done.stderr}"
