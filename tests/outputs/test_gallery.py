"""Galleries: which cases are chosen, what the pictures show, and what is said where there is none."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_runs import run, scored
from helpers.tiny_datasets import photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sambench import masks
from sambench.errors import UsageError
from sambench.outputs import drawing, gallery
from sambench.protocols.phrases import PhraseProtocol
from sambench.reporting import write_report
from sambench.reporting.site import site_links
from sambench.runs.directory import read_json, read_records
from sambench.runs.summaries import load_summaries
from sambench.suite.datasets.demo import PLUGIN as Demo
from sambench.suite.tasks.text_to_mask import TextToMask
from sambench.types import Cases, Click, Mask

Call = Callable[..., subprocess.CompletedProcess[str]]


def cases(values: list[float], images: list[str] | None = None) -> Cases:
    names = [str(k) for k in range(len(values))]
    return Cases(images or ["one"] * len(values), names, {"miou": np.array(values)})


def chosen(values: list[float], number: int, *, lower_is_better: bool = False) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {kind: [] for kind in gallery.KINDS}
    for one in gallery.choose(cases(values), "miou", number, lower_is_better=lower_is_better):
        found[one.kind].append(values[one.row])
    return found


# --- which cases -----------------------------------------------------------------------------------------------------


def test_the_extremes_come_first_and_the_median_is_in_the_middle() -> None:
    found = chosen([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.6], 2)
    # Sorted: .1 .2 .3 .5 .6 .7 .9; (7 - 2) // 2 = 2 are left below the middle two.
    assert found["worst"] == [0.1, 0.2]
    assert found["median"] == [0.3, 0.5]
    assert found["best"] == [0.9, 0.7]
    assert len(set(found["random"])) == 2


def test_where_less_is_better_the_worst_is_the_largest() -> None:
    found = chosen([20, 1, 3, 5], 1, lower_is_better=True)
    assert (found["worst"], found["best"]) == ([20], [1])


def test_cases_without_a_value_are_left_out_and_few_cases_are_of_several_kinds() -> None:
    found = chosen([np.nan, 0.4, 0.8], 5)
    assert found == {"worst": [0.4, 0.8], "median": [0.4, 0.8], "best": [0.8, 0.4], "random": found["random"]}
    assert sorted(found["random"]) == [0.4, 0.8]
    assert gallery.choose(cases([np.nan]), "miou", 3, lower_is_better=False) == []


@given(st.permutations(range(12)), st.integers(1, 5))
def test_the_order_of_the_records_does_not_matter(order: list[int], number: int) -> None:
    """Values with many ties."""
    plain = cases([k // 4 / 4 for k in range(12)], [f"image {k % 5}" for k in range(12)])
    mixed = Cases(
        [plain.images[k] for k in order], [plain.names[k] for k in order], {"miou": plain.values["miou"][order]}
    )

    def shown(of: Cases) -> list[tuple[str, str, str]]:
        found = gallery.choose(of, "miou", number, lower_is_better=False)
        return [(one.kind, of.images[one.row], of.names[one.row]) for one in found]

    assert shown(mixed) == shown(plain)


# --- pictures --------------------------------------------------------------------------------------------------------


def square(size: tuple[int, int], top: int, left: int, side: int) -> Mask:
    dense = np.zeros(size, np.bool_)
    dense[top : top + side, left : left + side] = True
    return Mask.from_dense(dense)


def panels(content: bytes) -> list[Any]:
    """The three panels of a picture whose panels are equally large, as float arrays."""
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), float)
    width = (picture.shape[1] - 2 * 8) // 3
    return [picture[22:, k * (width + 8) : k * (width + 8) + width] for k in range(3)]


def near(panel: Any, colour: tuple[int, int, int], within: float = 60) -> Any:
    """Pixels about as coloured; JPEG changes them a little."""
    return np.abs(panel - np.array(colour)).sum(axis=2) < within


def grey(height: int, width: int) -> Any:
    return np.full((height, width, 3), 128, np.uint8)


def test_truth_and_prediction_have_panels_and_outlines_of_their_own() -> None:
    size = (200, 300)
    content = drawing.case_picture(grey(*size), square(size, 40, 50, 120), square(size, 20, 100, 150))
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.width) == ("JPEG", 1000)
    first, second, third = panels(content)
    assert not near(first, drawing.TRUTH).any()
    assert near(second, drawing.TRUTH).sum() > 300
    assert not near(second, drawing.PREDICTION).any()
    assert near(third, drawing.PREDICTION).sum() > 200
    assert not near(third, drawing.TRUTH).any()


def test_the_outlines_differ_without_colour() -> None:
    """Along the upper edge the truth's line is unbroken, the prediction's has black gaps."""
    size = (300, 300)
    mask = square(size, 75, 75, 150)
    _, second, third = panels(drawing.case_picture(grey(*size), mask, mask))
    row = round(75.5 * 328 / 300)
    left, right = round(90 * 328 / 300), round(210 * 328 / 300)
    solid, dashed = (panel[row - 1 : row + 2, left:right].mean(axis=2).max(axis=0) for panel in (second, third))
    assert solid.min() > 100
    gaps = dashed < 70
    assert 0.2 < gaps.mean() < 0.6
    # (210 - 90) * 328 / 300 = 131 pixels; a dash begins every 15.
    assert 7 <= np.count_nonzero(np.diff(gaps.astype(int)) == 1) <= 10


def test_a_mask_of_one_pixel_is_seen_and_enlarged() -> None:
    size = (600, 900)
    pixel = square(size, 300, 400, 1)
    first, second, _ = panels(drawing.case_picture(grey(*size), pixel, Mask.empty(size)))
    assert near(first, (255, 255, 255)).any(), "the frame that says where the window lies"
    assert near(second, drawing.TRUTH).sum() > 40
    # With a prediction that fills the image nothing is cut out, and the pixel is still there.
    first, second, _ = panels(drawing.case_picture(grey(*size), pixel, square(size, 0, 0, 599)))
    assert not near(first, (255, 255, 255)).any()
    assert near(second, drawing.TRUTH).any()


def test_clicks_are_drawn_where_they_were_made() -> None:
    size = (328, 328)
    whole = square(size, 0, 0, 328)
    _, second, third = panels(
        drawing.case_picture(grey(*size), whole, Mask.empty(size), [Click(100, 200, True), Click(250, 60, False)])
    )
    # The window is the whole image at scale 1: a click's disc has its colour five pixels from its middle.
    assert near(third[196:197, 95:96], drawing.POSITIVE).all()
    assert near(third[56:57, 245:246], drawing.NEGATIVE).all()
    # A plus is white above its middle, a minus is not.
    assert third[197, 100].min() > 180
    assert not third[57, 250].min() > 180
    assert not near(second[190:210, 90:110], drawing.POSITIVE).any()


def test_a_box_is_drawn_and_tall_images_fit() -> None:
    size = (900, 100)
    content = drawing.case_picture(
        photo(*size), square(size, 100, 10, 50), square(size, 700, 10, 50), box=(10.0, 100.0, 60.0, 150.0)
    )
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.height == 440 + 22
        assert picture.width < 1000
    assert near(panels(content)[2], drawing.POSITIVE).any()


def test_edges_are_dark_on_white() -> None:
    size = (984, 984)
    lines = np.zeros(size, np.bool_)
    lines[300] = True
    content = drawing.edges_picture(grey(*size), [lines, np.zeros(size, np.bool_)], lines.astype(np.uint8) * 255)
    _, drawn, edges = panels(content)
    # Three rows of the image become one of the panel: without amends a line of one row would have a third of its
    # strength. One of two people drew it: half of black.
    assert edges[100, 164].mean() < 30
    assert 100 < drawn[100, 164].mean() < 155
    assert edges[50, 164].mean() > 245


@settings(max_examples=15)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_masks_can_be_drawn(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = (Mask.from_dense(rng.random((height, width)) < share) for share in (0.4, rng.random()))
    clicks = [Click(int(rng.integers(width)), int(rng.integers(height)), bool(k % 2)) for k in range(3)]
    content = drawing.case_picture(grey(height, width), truth, predicted, clicks)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.width <= 1000
    assert content == drawing.case_picture(grey(height, width), truth, predicted, clicks)


# --- galleries of runs -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clicked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("single_point", tmp_path_factory.mktemp("clicked"), "task.clicks=1,2")


@pytest.fixture(scope="module")
def toy_run(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on a copy of the toy data, and the copy."""
    folder = tmp_path_factory.mktemp("toy")
    shutil.copytree(toy_data, folder / "data")
    dataset = f"mask_pngs:{folder / 'data'}"
    return run("single_point", folder / "runs", "task.clicks=1", dataset=dataset, subset="4"), folder / "data"


def folder_of(path: Path, out: Path) -> Path:
    (summary,) = load_summaries([path])
    return out / site_links.gallery_folder(summary)


def entries_of(path: Path, out: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = read_json(folder_of(path, out) / "index.json")
    return entries


def test_the_index_says_what_the_records_say(clicked: Path, tmp_path: Path) -> None:
    assert gallery.write_galleries([clicked], tmp_path, 3) == []
    entries = entries_of(clicked, tmp_path)
    rows = {(r["image_id"], r["instance_id"]): r for r in read_records(clicked).to_pylist()}
    ious = sorted(row["iou"][0] for row in rows.values())
    assert [e["kind"] for e in entries] == [kind for kind in gallery.KINDS for _ in range(3)]
    assert [e["value"] for e in entries[:3]] == ious[:3]
    assert [e["value"] for e in entries[6:9]] == ious[::-1][:3]
    for entry in entries:
        row = rows[entry["image_id"], entry["instance_id"]]
        assert (entry["metric"], entry["unit"], entry["value"]) == ("miou", "fraction", row["iou"][0])
        assert entry["iou"] == row["iou"][0], "the mask in the picture is the one that was scored"
        assert entry["clicks"] == row["clicks"][:1]
        assert "another" not in entry["caption"]
        with Image.open(folder_of(clicked, tmp_path) / entry["file"]) as picture:
            assert picture.width <= 1000


def test_the_same_run_gives_the_same_bytes_and_nothing_old_stays(clicked: Path, tmp_path: Path) -> None:
    def content() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder_of(clicked, tmp_path).iterdir()}

    gallery.write_galleries([clicked], tmp_path, 1)
    once = content()
    gallery.write_galleries([clicked], tmp_path, 4)
    assert len(content()) > len(once)
    (folder_of(clicked, tmp_path) / "mine.jpg").write_bytes(b"not a picture of the gallery")
    gallery.write_galleries([clicked], tmp_path, 1)
    assert content() == {**once, "mine.jpg": b"not a picture of the gallery"}


def test_a_run_of_clicks_is_shown_after_as_many_as_it_took(tmp_path: Path) -> None:
    path = run("noc", tmp_path / "runs", "task.max_clicks=4", subset="1")
    assert gallery.write_galleries([path], tmp_path / "out", 2) == []
    entries = entries_of(path, tmp_path / "out")
    rows = {(r["image_id"], r["instance_id"]): r for r in read_records(path).to_pylist()}
    assert entries[0]["value"] >= entries[-1]["value"]
    for entry in entries:
        row = rows[entry["image_id"], entry["instance_id"]]
        needed = next((k + 1 for k, iou in enumerate(row["iou"]) if np.float32(iou) >= np.float32(0.9)), 4)
        assert (entry["metric"], entry["unit"], entry["value"]) == ("noc@90", "clicks", needed)
        assert entry["clicks"] == row["clicks"][:needed]
        assert entry["iou"] == row["iou"][needed - 1]


def test_stored_masks_are_drawn_as_they_are(tmp_path: Path, clicked: Path) -> None:
    rows = read_records(clicked).to_pylist()
    predictions = [
        {
            "image_id": row["image_id"],
            "annotation_id": row["instance_id"],
            "segmentation": masks.to_rle(square((row["height"], row["width"]), 0, 0, 30)),
        }
        for row in rows
    ]
    (tmp_path / "squares.json").write_text(json.dumps(predictions))
    path = scored("single_point", tmp_path / "squares.json", tmp_path / "runs")
    assert gallery.write_galleries([path], tmp_path / "out", 1) == []
    best = next(e for e in entries_of(path, tmp_path / "out") if e["kind"] == "best")
    assert best["iou"] == best["value"] == max(row["iou"][0] for row in read_records(path).to_pylist())
    assert (best["clicks"], best["box"]) == ([], None)
    assert best["caption"].endswith("as stored.")


def test_edge_maps_are_the_kept_ones_or_made_again(tmp_path: Path) -> None:
    kept, not_kept = (
        run("edges", tmp_path / name, "task.grid=4", "task.thresholds=5", f"task.save_maps={name}")
        for name in ("true", "false")
    )
    found = []
    for path in (kept, not_kept):
        out = tmp_path / f"out of {path.parents[2].name}"
        assert gallery.write_galleries([path], out, 1) == []
        entry = entries_of(path, out)[0]
        assert (entry["metric"], entry["instance_id"], entry["iou"]) == ("best_f", "", None)
        found.append((folder_of(path, out) / entry["file"]).read_bytes())
    assert not (not_kept / "files").exists()
    assert found[0] == found[1]


def test_phrases_are_shown_with_their_answers(tmp_path: Path) -> None:
    """The first phrase of each image is answered with its truth, the others are rejected."""
    root = Demo.locate(Path("nowhere"), "all", Demo.Options())
    assert root is not None
    dataset = Demo(root, "all", Demo.Options())
    answers = []
    for entry in dataset.index():
        sample = dataset.load(entry.id)
        for k, query in enumerate(PhraseProtocol().queries(sample)[0]):
            code = None if k else masks.to_rle(query.truth)
            answers.append({"image_id": entry.id, "phrase": query.phrase, "segmentation": code, "score": 0.5})
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    path = scored("text_to_mask", tmp_path / "answers.json", tmp_path / "runs")
    assert gallery.write_galleries([path], tmp_path / "out", 1) == []
    entries = {entry["kind"]: entry for entry in entries_of(path, tmp_path / "out")}
    assert (entries["best"]["value"], entries["best"]["iou"]) == (1.0, 1.0)
    assert (entries["worst"]["value"], entries["worst"]["iou"]) == (0.0, 0.0)
    assert entries["worst"]["caption"].endswith("IoU 0.0 %, rejected.")
    assert entries["best"]["phrase"] in entries["best"]["caption"]


def test_a_phrase_with_a_point_has_a_panel_more(tmp_path: Path) -> None:
    root = Demo.locate(Path("nowhere"), "all", Demo.Options())
    assert root is not None
    dataset = Demo(root, "all", Demo.Options())
    sample = dataset.load(dataset.index()[0].id)
    query = PhraseProtocol().queries(sample)[0][0]
    code = masks.to_rle(query.truth)
    entry = {"query_id": query.id, "phrase": query.phrase, "segmentation": None}
    with_point = {**entry, "point": [9, 7], "point_segmentation": code}
    task = TextToMask(TextToMask.Options())
    without, drawn = (task.picture(sample, json.dumps([one]).encode(), query.id) for one in (entry, with_point))
    assert drawn.about.endswith("IoU 0.0 %, rejected. With a point at (9, 7): 100.0 %.")
    widths = [Image.open(io.BytesIO(gallery._picture(sample, one))).width for one in (without, drawn)]
    assert widths[1] > 1.3 * widths[0]


# --- where there is none ---------------------------------------------------------------------------------------------


def test_a_task_without_cases_is_no_failure(tmp_path: Path, clicked: Path) -> None:
    shutil.copytree(clicked, tmp_path / "copy")
    path = run("proposals", tmp_path / "runs", "task.points_per_side=2", subset="1")
    (absent,) = gallery.write_galleries([path], tmp_path / "out", 2)
    assert absent.expected
    assert "task proposals are not single cases" in str(absent)
    assert (folder_of(path, tmp_path / "out") / "absent.txt").read_text().strip() == absent.reason


def test_a_missing_image_costs_the_gallery_of_its_run_and_nothing_else(
    clicked: Path, toy_run: tuple[Path, Path], sambench_cli: Call, tmp_path: Path
) -> None:
    path, data = toy_run
    toy_text = f"no gallery for single_point on mask_pngs:{data}"
    out = tmp_path / "out"
    assert gallery.write_galleries([path], out, 1) == []
    lost = data / "images" / f"{entries_of(path, out)[0]['image_id']}.png"
    content = lost.read_bytes()
    lost.unlink()
    try:
        done = sambench_cli("report", path, clicked, "--gallery", 1, "--out", out, code=1)
    finally:
        lost.write_bytes(content)
    (line,) = [line for line in done.stderr.splitlines() if "no gallery" in line]
    assert line.startswith(toy_text)
    assert lost.stem in line
    assert (out / "report.md").is_file()
    assert [file.name for file in folder_of(path, out).iterdir()] == ["absent.txt"], "no pictures of another time"
    assert len(entries_of(clicked, out)) == 4


def test_another_data_root_is_said(clicked: Path, real_data: Path, tmp_path: Path) -> None:
    data = real_data / "bsds500_subset"
    path = run(
        "edges", tmp_path / "runs", "task.grid=2", "task.thresholds=2", dataset="bsds500", subset="1", data_root=data
    )
    (absent,) = gallery.write_galleries([path], tmp_path / "out", 1, data_root=tmp_path)
    assert not absent.expected
    assert f"dataset bsds500 is not at {tmp_path}: say with --data-root" in str(absent)
    assert gallery.write_galleries([path], tmp_path / "out", 1, data_root=data) == []
    assert not (folder_of(path, tmp_path / "out") / "absent.txt").exists()


def test_other_annotations_are_refused(toy_run: tuple[Path, Path], tmp_path: Path) -> None:
    path, data = toy_run
    shutil.copytree(path, tmp_path / "runs" / "run")
    shutil.copytree(data, tmp_path / "data")
    for file in sorted((tmp_path / "data" / "masks").rglob("*.png")):
        values = np.asarray(Image.open(file))
        Image.fromarray(np.roll(values, 7, axis=1)).save(file)
    manifest = tmp_path / "runs" / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(str(data), str(tmp_path / "data")))
    (absent,) = gallery.write_galleries([tmp_path / "runs"], tmp_path / "out", 1)
    assert "annotations" in absent.reason


def test_a_model_of_ones_own_is_named_again(toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    path = run(
        "single_point",
        tmp_path / "runs",
        "task.clicks=1",
        dataset=f"mask_pngs:{toy_data}",
        model=toy_model,
    )
    file = Path(toy_model.rpartition(":")[0])
    moved = Path(shutil.move(file, tmp_path / "moved.py"))
    (absent,) = gallery.write_galleries([path], tmp_path / "out", 1)
    shutil.move(moved, file)
    assert str(file) in str(absent)
    assert gallery.write_galleries([path], tmp_path / "out", 1, models=[toy_model]) == []
    assert all(entry["iou"] == entry["value"] for entry in entries_of(path, tmp_path / "out"))


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no finished run"):
        gallery.write_galleries([tmp_path], tmp_path / "out", 1)


def test_the_site_shows_it(clicked: Path, tmp_path: Path) -> None:
    gallery.write_galleries([clicked], tmp_path, 1)
    write_report([clicked], tmp_path)
    (summary,) = load_summaries([clicked])
    page = (tmp_path / site_links.run_page(summary)).read_text()
    for entry in entries_of(clicked, tmp_path):
        assert f"{site_links.gallery_folder(summary)}/{entry['file']}" in page
