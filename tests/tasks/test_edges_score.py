"""Edge maps made elsewhere: the benchmark's own example from the command line, and folders that cannot be used."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.layouts import bsds500
from helpers.tiny_datasets import save
from PIL import Image

from sambench import score as scoring
from sambench.errors import DataError, UsageError
from sambench.models.edges.edge_map import EdgeMapOptions, non_maximum_suppression, to_8bit
from sambench.planning.settings import Settings
from sambench.readers.predictions.edge_maps import read_edge_map, read_predictions
from sambench.runs.directory import read_records

Call = Callable[..., subprocess.CompletedProcess[str]]


def score(call: Call, folder: Path, data: Path, out: Path, *more: object, code: int = 0) -> Any:
    given = ("score", "-t", "edges", "-d", "bsds500", "--predictions", folder, "--data-root", data, "--out", out, *more)
    return call(*given, code=code)


def scored(folder: Path, data: Path, out: Path, *assignments: str) -> dict[str, Any]:
    """The same without a process of its own; the summary."""
    settings = Settings(["edges"], ["bsds500"], data_root=data, out=out, subset="full", assignments=assignments)
    return scoring.score(settings, folder, None, lambda *_: nullcontext(Silent()))[1]


class Silent:
    def update(self, images: int, masks: int, failed: int) -> None:
        pass


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    (manifest,) = out.glob(f"edges/bsds500/{name}@*/manifest.json")
    table: list[dict[str, Any]] = read_records(manifest.parent).drop_columns(["time_ms"]).to_pylist()
    return table


def test_the_benchmarks_own_example(real_data: Path, sambench_cli: Call, tmp_path: Path) -> None:
    """``bench/data/png`` at 5 thresholds, as the official program scored it; its matching is random to .001."""
    example = real_data / "bsds500_subset" / "bench" / "data"
    more = ("--no-nms", "--set", "task.thresholds=5", "--name", "example", "--json")
    summary = json.loads(score(sambench_cli, example / "png", example, tmp_path, *more).stdout)
    _, recall, precision, ods, *_, ois, ap = map(float, (example / "test_2" / "eval_bdry.txt").read_text().split())
    assert (summary["model"], summary["complete"], summary["n_scored"], summary["n_masks"]) == ("example", True, 5, 26)
    assert summary["metrics"]["ods"]["value"] == pytest.approx(ods, abs=1e-3)
    assert summary["metrics"]["ois"]["value"] == pytest.approx(ois, abs=1e-3)
    assert summary["metrics"]["ap"]["value"] == pytest.approx(ap, abs=1e-3)
    best = summary["curves"]["best_threshold"]
    assert (best["recall"][0], best["precision"][0]) == pytest.approx((recall, precision), abs=1e-3)


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    bsds500.build(tmp_path)
    return tmp_path


def strength_of(id: str) -> np.ndarray[Any, Any]:
    """A ridge where the first person drew, a fifth and a third lower beside it; multiples of 1/255."""
    strength = np.zeros(bsds500.size_of(id))
    strength[9:12] = np.array([[120], [180], [144]]) / 255
    return strength


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good folder for the two test images, 8 bits."""
    for id in bsds500.IDS["test"]:
        save(tmp_path / "maps" / f"{id}.png", np.rint(strength_of(id) * 255).astype(np.uint8))
    return tmp_path / "maps"


def test_every_form_of_a_map_counts_the_same(data: Path, folder: Path, tmp_path: Path) -> None:
    """8-bit PNG against each other form, thinned here; and thinned beforehand, without thinning here."""
    out = tmp_path / "runs"
    for form in ("png16", "float", "ready"):
        at = tmp_path / form
        at.mkdir()
        for id in bsds500.IDS["test"]:
            strength = strength_of(id)
            if form == "png16":
                Image.fromarray(np.rint(strength * 65535).astype(np.uint16)).save(at / f"{id}.png")
            elif form == "float":
                np.save(at / f"{id}.npy", strength)
            else:
                thinned = to_8bit(non_maximum_suppression(strength.astype(np.float32), EdgeMapOptions()))
                assert 0 < np.count_nonzero(thinned) < np.count_nonzero(strength)
                np.save(at / f"{id}.npy", thinned)
        scored(at, data, out, *(["task.edge_nms=false"] if form == "ready" else []))
    assert scored(folder, data, out)["complete"]
    expected = rows(out, "maps")
    assert {row["image_id"] for row in expected} == {"100007", "2018"}
    assert all(row["best_f"] > 0.3 for row in expected)
    for form in ("png16", "float", "ready"):
        assert rows(out, form) == expected
    assert len({path.parent.name.partition("@")[2] for path in out.glob("edges/bsds500/*/manifest.json")}) == 4


def test_nothing_predicted_scores_nothing_and_says_nothing(
    data: Path, folder: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    for path in folder.iterdir():
        save(path, np.zeros_like(np.asarray(Image.open(path))))
    summary = scored(folder, data, tmp_path / "runs")
    assert [summary["metrics"][name]["value"] for name in ("ods", "ois", "ap", "r50")] == [0, 0, 0, None]
    assert (summary["complete"], summary["warnings"], list(recwarn)) == (True, [], [])


def test_photographs_are_not_needed(data: Path, folder: Path, tmp_path: Path) -> None:
    for photograph in (data / "BSDS500" / "data" / "images" / "test").iterdir():
        photograph.unlink()
    assert scored(folder, data, tmp_path / "runs")["n_scored"] == 2


def test_missing_and_strange_maps_are_named(data: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "2018.png").rename(folder / "02018.png")
    with pytest.raises(UsageError, match=r"1 of 2 images are not in dataset bsds500, split test, e\.g\. image 02018"):
        scored(folder, data, tmp_path / "runs")
    (folder / "02018.png").unlink()
    with pytest.raises(UsageError, match=r"nothing for 1 of 2 images of .* split test, e\.g\. image 2018"):
        scored(folder, data, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_an_unusable_map_is_one_failed_image(data: Path, folder: Path, sambench_cli: Call, tmp_path: Path) -> None:
    save(folder / "2018.png", np.zeros((24, 32), np.uint8))
    done = score(sambench_cli, folder, data, tmp_path / "runs", code=1)
    assert (
        "1 of 2 images could not be evaluated (first: image 2018: the edge map of image 2018 is 24 x 32 pixels, the "
        in (done.stderr)
    )
    assert "image 32 x 24 (height x width))" in done.stderr
    assert [row["image_id"] for row in rows(tmp_path / "runs", "maps")] == ["100007"]


def test_another_task_has_no_edge_maps(data: Path, folder: Path, sambench_cli: Call, tmp_path: Path) -> None:
    given = ("-t", "single_point", "-d", "demo", "--predictions", folder, "--out", tmp_path / "runs", "--no-nms")
    assert "unknown option task.edge_nms" in sambench_cli("score", *given, code=2).stderr


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.full((4, 5), np.nan), "holds 20 values that are not a number"),
        (np.full((4, 5), 1.5, np.float32), "values from 1.5 to 1.5, expected 0 to 1"),
        (np.full((4, 5), -0.1), "values from -0.1 to -0.1, expected 0 to 1"),
        (np.full((4, 5), np.inf), "values from inf to inf, expected 0 to 1"),
        (np.zeros((4, 5), np.int64), "an edge map is uint8, uint16 or floating-point, this one is int64"),
        (np.zeros((4, 5, 3)), r"two dimensions, this array has the shape \(4, 5, 3\)"),
        (np.zeros((0, 5)), "two dimensions"),
        (np.array([{}]), "not a numpy array file"),
    ],
)
def test_arrays_that_are_no_edge_map(tmp_path: Path, values: Any, says: str) -> None:
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(DataError, match=f"x.npy: .*{says}") as caught:
        read_edge_map(tmp_path / "x.npy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\1\0", b"\x93NUMPY\1\0\x10\0{'descr': '<f8'", b"PK\3\4", b"text"])
def test_files_that_are_no_array(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npy: ") as caught:
        read_edge_map(tmp_path / "x.npy")
    assert "\n" not in str(caught.value)


def test_a_header_that_announces_too_much(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 5)))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content.replace(b"(4, 5)", b"(4000000, 5000000)").replace(b" " * 12, b"", 1))
    with pytest.raises(DataError, match=r"x\.npy: "):
        read_edge_map(tmp_path / "x.npy")


def test_pictures_that_are_no_edge_map(tmp_path: Path) -> None:
    colour = np.zeros((4, 5, 3), np.uint8)
    colour[0, 0, 0] = 9
    save(tmp_path / "colour.png", colour)
    Image.fromarray(colour).convert("P").save(tmp_path / "palette.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "colour.png").read_bytes()[:-25])
    (tmp_path / "text.png").write_bytes(b"text")
    for name, says in (
        ("colour", "this is a colour picture"),
        ("palette", "a picture with a palette; store the edge strength as 8 or 16-bit grey"),
        ("half", "damaged or truncated"),
        ("text", "not an image"),
        ("nothing", "no such file"),
    ):
        with pytest.raises(DataError, match=f"{name}.png: .*{says}"):
            read_edge_map(tmp_path / f"{name}.png")


def test_pictures_that_are_edge_maps(tmp_path: Path) -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    save(tmp_path / "equal.png", np.dstack([grey] * 3))
    assert np.array_equal(read_edge_map(tmp_path / "equal.png"), grey)
    Image.fromarray(grey > 9).save(tmp_path / "bit.png")
    assert np.array_equal(read_edge_map(tmp_path / "bit.png"), 255 * (grey > 9))
    np.save(tmp_path / "foreign.npy", grey.astype(">u2"))
    foreign = read_edge_map(tmp_path / "foreign.npy")
    assert foreign.dtype == np.uint16
    assert np.array_equal(foreign, grey)


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: is not a folder"):
        read_predictions(tmp_path / "nowhere")
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"holds no edge maps; expected PNG or \.npy files named by image id"):
        read_predictions(tmp_path)
    save(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    first = read_predictions(tmp_path)
    assert (first.ids, first.whole_images) == (["a"], True)
    save(tmp_path / "a.png", np.ones((4, 5), np.uint8))
    assert read_predictions(tmp_path).digest != first.digest
    np.save(tmp_path / "a.npy", np.zeros((4, 5)))
    with pytest.raises(UsageError, match="would have the same id"):
        read_predictions(tmp_path)
