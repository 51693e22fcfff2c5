"""The template in CONTRIBUTING.md is a plugin that works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from PIL import Image

from sambench.errors import DataError
from sambench.plugins import registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's plugin folder with the template in it, beside a data root with two leaves."""
    found = re.findall(
        r"<!-- template: (datasets/\w+\.py) -->\n```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL
    )
    assert len(found) == 1
    path = tmp_path / "plugins" / found[0][0]
    path.parent.mkdir(parents=True)
    path.write_text(found[0][1])
    for kind in ("images", "masks"):
        (tmp_path / "data" / "leaves" / kind).mkdir(parents=True)
    mask = np.zeros((6, 8), np.uint8)
    mask[1:4, 2:7] = 255
    for name in ("oak", "ash"):
        Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(tmp_path / "data" / "leaves" / "images" / f"{name}.jpg")
        Image.fromarray(mask).save(tmp_path / "data" / "leaves" / "masks" / f"{name}.png")
    return tmp_path


def test_the_template_finds_and_loads_its_samples(folder: Path) -> None:
    leaves = registry.load("datasets", f"{folder / 'plugins' / 'datasets' / 'leaves.py'}:Leaves")
    options = leaves.Options()
    assert leaves.locate(folder / "plugins", "all", options) is None
    root = leaves.locate(folder / "data", "all", options)
    assert root == folder / "data" / "leaves"
    dataset = leaves(root, "all", options)
    assert [(entry.id, entry.n_masks) for entry in dataset.index()] == [("ash", 1), ("oak", 1)]
    sample = dataset.load("oak")
    assert sample.image.shape == (6, 8, 3)
    (instance,) = sample.truth.instances
    # Rows 1 to 3 and columns 2 to 6: 3 times 5 pixels.
    assert (instance.class_name, instance.mask.area, instance.mask.box) == ("leaf", 15, (2, 1, 7, 4))
    with pytest.raises(DataError, match="no mask"):
        dataset.load("elm")


def test_the_template_works_from_a_users_folder(folder: Path) -> None:
    """By its name and in a fresh process, as the command line finds it."""
    command = ["show", "dataset", "leaves", "--plugins", str(folder / "plugins")]
    done = subprocess.run(
        [sys.executable, "-m", "sambench", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Leaves, one a photograph" in done.stdout


def test_the_template_passes_the_linter(folder: Path) -> None:
    path = folder / "plugins" / "datasets" / "leaves.py"
    config = str(ROOT / "pyproject.toml")
    for tool in (["ruff", "format", "--check"], ["ruff", "check"]):
        done = subprocess.run(
            [sys.executable, "-m", *tool, "--config", config, str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{tool}: {done.stdout}{done.stderr}"
