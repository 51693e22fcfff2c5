"""The task ``text_to_mask`` with each of the text-prompted models, as tiny random networks, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import tiny_text_models
from helpers.layouts import refcoco
from helpers.sam_folders import sam3_folder as sam3_folder
from helpers.threads import one_thread

from sambench.cli.main import cli
from sambench.runs.directory import read_records

__all__ = ["one_thread", "sam3_folder"]

PARTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "clip_sam": ("clip", tiny_text_models.clip),
    "clipseg_sam": ("clipseg", tiny_text_models.clipseg),
    "grounded_sam": ("detector", tiny_text_models.grounding_dino),
}
SETTINGS = {"task.with_point": "true", "task.negatives": "1", "task.truth": "instance"}


def ran(out: Path, root: Path, model: str, **values: object) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Summary and records of the runs on demo and on RefCOCO's layout, one image each."""
    given = {**SETTINGS, **{f"model.{key}": value for key, value in values.items()}}
    arguments = ["run", "-t", "text_to_mask", "-d", "demo", "-d", "refcoco", "-m", model, "--data-root", str(root)]
    arguments += ["--subset", "1", "--workers", "1", "--threads", "1", "--device", "cpu", "--out", str(out)]
    arguments += [text for key, value in given.items() for text in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False)
    assert done.return_value == 0, done.output
    paths = sorted(out.glob("text_to_mask/*/*/summary.json"))
    return [(json.loads(path.read_text()), read_records(path.parent).to_pylist()) for path in paths]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    refcoco.build(folder)
    return folder


@pytest.mark.parametrize("name", [*PARTS, "sam3"])
def test_end_to_end(name: str, root: Path, sam3_folder: Path, tmp_path: Path) -> None:
    if name == "sam3":
        runs = ran(tmp_path / "out", root, name, weights=sam3_folder)
    else:
        option, make = PARTS[name]
        runs = ran(tmp_path / "out", root, name, sam="region_tree", **{option: make(tmp_path / option)})
    (demo, of_demo), (referred, of_refcoco) = runs
    assert [row["phrase"] for row in of_refcoco] == ["left man", "man on the left", "right person", "cup"]
    assert {row["kind"] for row in of_demo} == {"class", "absent"}
    assert all(summary["complete"] for summary in (demo, referred))
    assert "ap" in demo["metrics"]
    for rows in (of_demo, of_refcoco):
        assert all((row["click"] is None) == (row["kind"] == "absent") for row in rows)
        # The centre click is a foreground point: none of these models is at a loss for a mask then.
        assert sum(row["point_union"] > row["area"] for row in rows if row["kind"] != "absent")
