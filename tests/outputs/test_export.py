"""`sambench export`: what other tools read is what the run holds."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.small_runs import run, scored
from PIL import Image

from sambench import masks
from sambench.errors import UsageError
from sambench.metrics.iou import iou
from sambench.outputs.export import export
from sambench.runs.directory import read_json, read_records

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def clicked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("single_point", tmp_path_factory.mktemp("clicked"), "task.clicks=1,2")


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("instances", tmp_path_factory.mktemp("boxed"), subset="1")


def records(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_records(path).to_pylist()
    return rows


def by_object(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["image_id"], row["instance_id"]): row for row in records(path)}


# --- records ---------------------------------------------------------------------------------------------------------


def test_csv_is_flat(clicked: Path, tmp_path: Path) -> None:
    (file,) = export(clicked, "csv", tmp_path)
    with file.open(encoding="utf-8", newline="") as opened:
        lines = list(csv.DictReader(opened))
    rows = records(clicked)
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert [float(line["iou_1"]), float(line["iou_2"])] == row["iou"]
        assert json.loads(line["clicks"]) == row["clicks"]
        assert json.loads(line["attributes"]) == dict(row["attributes"])
        assert line["class"] == (row["class"] or "")
    assert "iou" not in lines[0]
    assert "iou_3" not in lines[0]


def test_long_lists_are_json(tmp_path: Path) -> None:
    path = run("edges", tmp_path / "runs", "task.grid=2", "task.thresholds=40", subset="1")
    (file,) = export(path, "csv", tmp_path / "out")
    (line,) = csv.DictReader(file.open(encoding="utf-8", newline=""))
    (row,) = records(path)
    assert json.loads(line["cnt_r"]) == row["cnt_r"]
    assert len(row["cnt_r"]) == 40


def test_hugging_faces_library_opens_the_folder(clicked: Path, tmp_path: Path) -> None:
    import datasets

    export(clicked, "hf", tmp_path / "folder")
    loaded = datasets.load_dataset(str(tmp_path / "folder"), split="train", cache_dir=str(tmp_path / "cache"))
    rows = records(clicked)
    assert loaded.num_rows == len(rows)
    for mine, theirs in zip(rows, loaded, strict=True):
        assert theirs["iou"] == mine["iou"]
        assert theirs["clicks"] == mine["clicks"]
        assert {pair["key"]: pair["value"] for pair in theirs["attributes"]} == dict(mine["attributes"])
    card = (tmp_path / "folder" / "README.md").read_text()
    assert "# Records of single\\_point on demo by region\\_tree@" in card
    assert read_json(clicked / "summary.json")["records_digest"] in card


def test_the_documented_pandas_lines(clicked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "export.md").read_text()
    (code,) = re.findall(r"```python\n(import pandas.*?)```", text, re.DOTALL)
    exec(re.sub(r'"runs/[^"]*/records"', repr(str(clicked / "records")), code), {})
    rows = records(clicked)
    classes = {row["class"] for row in rows}
    means = {name: np.mean([row["iou"][0] for row in rows if row["class"] == name]) for name in classes}
    # The worst class comes first.
    worst = min(means, key=lambda name: means[name])
    name, value = capsys.readouterr().out.splitlines()[1].split()
    assert (name, float(value)) == (worst, pytest.approx(means[worst], abs=1e-6))


# --- masks -----------------------------------------------------------------------------------------------------------


def test_cocos_results_are_the_masks_that_were_scored(clicked: Path, tmp_path: Path) -> None:
    (file,) = export(clicked, "coco", tmp_path / "one")
    entries = read_json(file)
    rows = by_object(clicked)
    assert len(entries) == len(rows)
    for entry in entries:
        row = rows[str(entry["image_id"]), str(entry["annotation_id"])]
        assert entry["score"] == row["score"][0]
        assert entry["segmentation"]["size"] == [row["height"], row["width"]]
    path = scored("single_point", file, tmp_path / "runs")
    assert {key: row["iou"] for key, row in by_object(path).items()} == {k: row["iou"][:1] for k, row in rows.items()}


def test_masks_after_more_clicks(clicked: Path, tmp_path: Path) -> None:
    (file,) = export(clicked, "coco", tmp_path / "two", clicks=2)
    rows = by_object(clicked)
    assert {e["score"] for e in read_json(file)} == {row["score"][1] for row in rows.values()}
    path = scored("single_point", file, tmp_path / "runs")
    assert {key: row["iou"][0] for key, row in by_object(path).items()} == {k: r["iou"][1] for k, r in rows.items()}


def test_what_a_task_keeps_or_would_have_kept(tmp_path: Path) -> None:
    results = []
    for saved in ("true", "false"):
        path = run("proposals", tmp_path / saved, "task.points_per_side=4", f"task.save_proposals={saved}", subset="2")
        assert (path / "files").exists() == (saved == "true")
        results += export(path, "coco", tmp_path / f"out of {saved}")
    kept, made = map(read_json, results)
    assert kept == made
    assert len(kept) == sum({row["image_id"]: row["proposals"] for row in records(path)}.values())
    assert {"image_id", "category_id", "segmentation", "score"} == set(kept[0])


def test_instances_from_annotated_boxes(boxed: Path, tmp_path: Path) -> None:
    (file,) = export(boxed, "coco", tmp_path)
    (row,) = records(boxed)
    assert [entry["score"] for entry in read_json(file)] == row["score"]


@pytest.mark.parametrize("which", ["clicked", "boxed"])
def test_fiftyones_folder(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """COCO's layout, in which truth and predictions have the same images and categories."""
    path: Path = request.getfixturevalue(which)
    labels_file, predictions_file = export(path, "fiftyone", tmp_path)
    labels, predictions = read_json(labels_file), read_json(predictions_file)
    assert labels["images"] == predictions["images"]
    assert labels["categories"] == predictions["categories"]
    sizes = {}
    for image in labels["images"]:
        with Image.open(tmp_path / "data" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
        sizes[image["id"]] = (image["height"], image["width"])
    truths = {(one["image_id"], one["annotation_id"]): one for one in labels["annotations"]}
    assert len({one["id"] for one in labels["annotations"]}) == len(truths)
    for one in predictions["annotations"]:
        truth = truths[one["image_id"], one["annotation_id"]]
        a, b = (masks.from_rle(each["segmentation"]) for each in (one, truth))
        assert a.size == sizes[one["image_id"]]
        assert iou(a, b) == pytest.approx(one["iou"])
        x, y, width, height = one["bbox"]
        assert (x, y, x + width, y + height) == a.box
        assert one["category_id"] == truth["category_id"]
        assert 0 <= one["score"] <= 1
        # FiftyOne refuses a label with an attribute of this name.
        assert "instance_id" not in one
    names = {category["id"]: category["name"] for category in labels["categories"]}
    if which == "clicked":
        classes = [names[one["category_id"]] for one in labels["annotations"]]
        assert classes == [row["class"] for row in records(path)]


# --- what cannot be exported -----------------------------------------------------------------------------------------


def test_edges_are_no_masks(tmp_path: Path) -> None:
    path = run("edges", tmp_path / "runs", "task.grid=2", "task.thresholds=2", subset="1")
    for to in ("coco", "fiftyone"):
        with pytest.raises(UsageError, match="task edges does not answer"):
            export(path, to, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.json"))


def test_the_command(clicked: Path, sambench_cli: Call, tmp_path: Path) -> None:
    done = sambench_cli("export", clicked, "--to", "csv", "--out", tmp_path / "out")
    assert done.stdout.split() == [str(tmp_path / "out" / "records.csv")]
    done = sambench_cli("export", tmp_path, "--to", "csv", "--out", tmp_path / "out", code=2)
    assert "holds no finished run" in done.stderr


def test_one_run_at_a_time(tmp_path: Path) -> None:
    for first_click in ("centre", "random"):
        run("single_point", tmp_path / first_click, f"task.first_click={first_click}", "task.clicks=1", subset="1")
    with pytest.raises(UsageError, match="holds 2 runs: give the directory of one"):
        export(tmp_path, "csv", tmp_path / "out")
