"""The task ``edges``: records and scores of maps that can be counted by hand, and runs on real images of BSDS500."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers.tiny_datasets import photo
from PIL import Image

from sambench.errors import UsageError
from sambench.metrics import edges as metric
from sambench.metrics.edge_bootstrap import bootstrap_intervals
from sambench.plugins import options
from sambench.runs.directory import read_records
from sambench.suite.tasks.edges import PLUGIN as Edges
from sambench.types import Context, GroundTruth, Sample, SampleResult

Call = Callable[..., subprocess.CompletedProcess[str]]

SIZE = (60, 80)
"""Its diagonal is 100, so that a tolerance of .0201 is two pixels."""
OPTIONS = {"thresholds": 3, "tolerance": 0.0201, "edge_nms": False}
"""Thresholds of a quarter, a half and three quarters."""
CONTEXT = Context("demo", 0, frozenset({"edges"}))


def line(row: int, left: int, right: int) -> np.ndarray[Any, Any]:
    drawn = np.zeros(SIZE, np.bool_)
    drawn[row, left:right] = True
    return drawn


def sample(*boundaries: np.ndarray[Any, Any], id: str = "one") -> Sample:
    truth = GroundTruth((), boundaries=boundaries)
    return Sample(id, SIZE, lambda: photo(*SIZE), lambda: truth)


class Drawer:
    """A view of a model that draws edges itself."""

    edges_are_thin = False

    def __init__(self, strength: np.ndarray[Any, Any]) -> None:
        self.strength = strength

    def edges(self) -> np.ndarray[Any, Any]:
        return self.strength.astype(np.float32)


def measured(task: Any, sample: Sample, strength: np.ndarray[Any, Any]) -> SampleResult:
    later = task.measure(sample, Drawer(strength), CONTEXT)
    assert callable(later)
    answer = later()
    assert isinstance(answer, SampleResult)
    return answer


def summarized(task: Any, *rows: Any) -> Any:
    return task.summarize(pa.Table.from_pylist(list(rows), schema=task.schema), CONTEXT)


def test_counts_of_one_image() -> None:
    """Two people: a line of 40 pixels in row 20, and one of 30 in row 40. Drawn: 40 pixels in row 21 at .8; 20 pixels
    in row 5 at .4."""
    task = Edges(Edges.Options(**OPTIONS))
    truth = sample(line(20, 10, 50), line(40, 10, 40))
    strength = 0.8 * line(21, 10, 50) + 0.4 * line(5, 10, 30)
    (row,) = measured(task, truth, strength).rows
    # .8 becomes 204/255 and .4 becomes 102/255: both are drawn at 1/4, the first at 1/2 and 3/4. Row 21 is one pixel
    # from the first person's line: all 40 are matched; nothing is near the second's, and nothing is near row 5.
    assert row["sum_r"] == [70, 70, 70]
    assert row["cnt_r"] == [40, 40, 40]
    assert row["sum_p"] == [60, 40, 40]
    assert row["cnt_p"] == [40, 40, 40]
    # R = 40/70, P = 1 from the threshold 1/2 on: F = 2 · 4/7 / (11/7) = 8/11.
    assert (row["best_threshold"], row["best_precision"]) == (0.5, 1.0)
    assert row["best_recall"] == pytest.approx(4 / 7)
    assert row["best_f"] == pytest.approx(8 / 11)
    assert (row["dataset"], row["image_id"], row["height"], row["width"], row["annotators"]) == (
        "demo",
        "one",
        60,
        80,
        2,
    )
    assert "survivors" not in row
    scores = summarized(task, row)
    assert scores.n_masks == 2
    assert scores.metrics["ods"].value == scores.metrics["ois"].value == pytest.approx(8 / 11)
    assert scores.metrics["ods"].ci95_bootstrap is None
    assert scores.curves["precision_recall"] == {
        "threshold": [0.25, 0.5, 0.75],
        "recall": [4 / 7] * 3,
        "precision": [40 / 60, 1.0, 1.0],
        "f": pytest.approx([2 * (4 / 7) * (2 / 3) / (4 / 7 + 2 / 3), 8 / 11, 8 / 11]),
    }
    assert scores.curves["best_threshold"]["threshold"] == [0.5]
    assert scores.warnings == []


def test_an_empty_map_scores_nothing_and_says_nothing(recwarn: pytest.WarningsRecorder) -> None:
    task = Edges(Edges.Options(thresholds=5))
    truth = sample(line(20, 10, 50))
    rows = [{**measured(task, truth, np.zeros(SIZE)).rows[0], "image_id": id} for id in ("a", "b")]
    scores = summarized(task, *rows)
    assert [scores.metrics[m].value for m in ("ods", "ois", "ap")] == [0, 0, 0]
    assert scores.metrics["r50"].value is None
    assert scores.metrics["ods"].ci95_bootstrap == (0, 0)
    assert (scores.warnings, list(recwarn)) == ([], [])


def test_no_records_have_no_scores() -> None:
    scores = summarized(Edges(Edges.Options()))
    assert {m.value for m in scores.metrics.values()} == {None}
    assert (scores.curves, scores.warnings, scores.n_masks) == ({}, [], 0)


def test_images_without_boundaries_are_excluded() -> None:
    task = Edges(Edges.Options())
    assert task.excludes(sample()) == "no_boundaries"
    assert task.excludes(sample(line(1, 2, 3))) == ""


def test_maps_are_kept_on_request() -> None:
    strength = 0.5 * line(30, 20, 60)
    truth = sample(line(30, 20, 60))
    assert measured(Edges(Edges.Options()), truth, strength).files == {}
    kept = measured(Edges(Edges.Options(save_maps=True, **OPTIONS)), truth, strength).files
    assert list(kept) == ["edge_maps/one.png"]
    picture = Image.open(io.BytesIO(kept["edge_maps/one.png"]))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), 128 * line(30, 20, 60))  # 127.5, rounded half up


def test_edges_are_thinned_to_their_ridge() -> None:
    """A ridge of three rows: with edge NMS the middle one is left, away from the ends and the frame."""
    strength = 0.3 * line(29, 10, 70) + 0.6 * line(30, 10, 70) + 0.3 * line(31, 10, 70)
    kept = measured(Edges(Edges.Options(save_maps=True)), sample(line(30, 10, 70)), strength).files
    picture = np.asarray(Image.open(io.BytesIO(kept["edge_maps/one.png"])))
    assert (picture[30, 20:60] == 153).all()
    assert not picture[[29, 31], 20:60].any()


def test_ois_below_ods_is_a_warning() -> None:
    """Made-up counts at the thresholds 1/3 and 2/3, of two images with 100 boundary pixels each."""
    task = Edges(Edges.Options(thresholds=2))
    # a is best at 2/3 (R .12, P 1: F .214; at 1/3 R 1, P 1/9: F .2), b at 1/3 (R 1, P .5; at 2/3 it has nothing).
    a = {"sum_r": [100, 100], "cnt_r": [100, 12], "sum_p": [900, 12], "cnt_p": [100, 12]}
    b = {"sum_r": [100, 100], "cnt_r": [100, 0], "sum_p": [200, 0], "cnt_p": [100, 0]}
    # OIS pools these: R 112/200, P 112/212, F 224/412 = .5437. All images: at 1/3 R 1, P 2/11; at 2/3 R .06, P 1.
    # Between the two, R = 1 - .94s and P = 2/11 + 9/11 s; their F is .5632 where it is greatest.
    scores = summarized(task, row("a", a), row("b", b))
    assert scores.metrics["ois"].value == pytest.approx(224 / 412)
    steps = np.arange(100) / 99
    r, p = 1 - 0.94 * steps, 2 / 11 + 9 / 11 * steps
    assert scores.metrics["ods"].value == pytest.approx((2 * r * p / (r + p)).max())
    (warning,) = scores.warnings
    assert warning.startswith("OIS (0.5437) is below ODS (0.5632): ")
    assert summarized(task, row("b", b)).warnings == []


def row(id: str, counts: dict[str, list[int]]) -> dict[str, Any]:
    return {"image_id": id, "annotators": 1, **counts}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"thresholds": "0"}, "task.thresholds=0: must be an integer, at least 1 and at most 9999"),
        ({"tolerance": "0"}, "task.tolerance=0: must be a number, above 0 and at most 1"),
        ({"tolerance": "nan"}, "task.tolerance=nan"),
        ({"grid": "0"}, "task.grid=0"),
        ({"boundary": "middle"}, "task.boundary=middle: must be one of: outer, inner, both"),
        ({"nms": "0.5"}, "unknown option task.nms"),
    ],
)
def test_options_that_make_no_sense(values: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        options.build(Edges.Options, values, "task")
    assert complaint in str(caught.value)


def test_every_choice_is_in_the_signature() -> None:
    plain = Edges(Edges.Options())
    assert plain.signature == (
        "grid:16x16|boxnms:0.7|ring:outer|sobel:replicate|nms:se-o4-r1-m1.01-b5|t:99|tol:0.0075|v:1"
    )
    others = {
        "grid": 8, "box_nms": 0.8, "box_nms_batch": 64, "boundary": "both", "holes": False, "padding": "zero",
        "blur_radius": 1, "edge_nms": False, "orientation_radius": 2, "nms_radius": 2, "nms_multiplier": 1.1,
        "nms_border": 0, "thresholds": 5, "tolerance": 0.01, "thin": False,
    }  # fmt: skip
    signatures = {Edges(Edges.Options(**{name: value})).signature for name, value in others.items()}
    assert len(signatures - {plain.signature}) == len(others)
    # What decides no number is not in it.
    assert set(options.as_dict(Edges.Options())) - set(others) == {"save_maps"}


def test_the_bootstrap_is_that_of_the_scores() -> None:
    """Each resample scored as the benchmark scores images, one by one."""
    rng = np.random.default_rng(4)
    n, levels = 6, metric.thresholds(7)
    sum_r = np.repeat(rng.integers(50, 200, (n, 1)), 7, axis=1)
    cnt_r = np.sort(rng.integers(0, sum_r), axis=1)[:, ::-1]
    sum_p = np.sort(rng.integers(0, 400, (n, 7)), axis=1)[:, ::-1]
    cnt_p = (sum_p * np.sort(rng.random((n, 7)), axis=1)).astype(np.int64)
    counts = (sum_r, cnt_r, sum_p, cnt_p)
    drawn = np.random.default_rng(9)
    scores = [
        metric.aggregate(levels, *(c[which] for c in counts)) for which in (drawn.integers(0, n, n) for _ in range(300))
    ]
    intervals = bootstrap_intervals(*counts, np.random.default_rng(9), resamples=300)
    for name in ("ods", "ois", "ap"):
        assert intervals[name] == pytest.approx(tuple(np.quantile([getattr(s, name) for s in scores], (0.025, 0.975))))
        assert intervals[name][0] < intervals[name][1]
    assert bootstrap_intervals(*(c[:1] for c in counts), np.random.default_rng(9)) == {}


# --- from the command line -------------------------------------------------------------------------------------------


def arguments(data: Path, model: str, out: Path, *more: object) -> list[str]:
    given = ("run", "-t", "edges", "-d", "bsds500", "-m", model, "--data-root", data, "--out", out, *more)
    return [*map(str, given)]


def table(out: Path) -> pa.Table:
    (manifest,) = out.glob("edges/*/*/manifest.json")
    return read_records(manifest.parent).drop_columns(["time_ms"])


def summary(out: Path) -> dict[str, Any]:
    (file,) = out.glob("edges/*/*/summary.json")
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


@pytest.fixture(scope="module")
def few(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real images, cut to 160 x 160 pixels."""
    from helpers.layouts.bsds500 import write_mat

    from sambench.suite.datasets.bsds500 import PLUGIN as Bsds500

    at = tmp_path_factory.mktemp("few")
    root = Bsds500.locate(real_data / "bsds500_subset", "test", Bsds500.Options())
    dataset = Bsds500(root, "test", Bsds500.Options())
    for id in ("2018", "3063", "5096", "16004"):
        (at / "images" / "test").mkdir(parents=True, exist_ok=True)
        whole = dataset.load(id)
        Image.fromarray(whole.image[:160, :160]).save(at / "images" / "test" / f"{id}.jpg", quality=95)
        truth = [b[:160, :160].astype(np.uint8) for b in whole.truth.boundaries]
        write_mat(at / "groundTruth" / "test" / f"{id}.mat", truth)
    return at


@pytest.fixture(scope="module")
def undisturbed(sambench_cli: Call, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    sambench_cli(*arguments(few, "canny", out, "--workers", 1))
    return out


def test_a_run(undisturbed: Path) -> None:
    done = summary(undisturbed)
    assert (done["complete"], done["n_scored"], done["headlines"]) == (True, 4, ["ods", "ois", "ap", "r50"])
    assert 0.3 < done["metrics"]["ods"]["value"] < 0.9
    low, high = done["metrics"]["ods"]["ci95_bootstrap"]
    assert low < done["metrics"]["ods"]["value"] < high
    assert len(done["curves"]["precision_recall"]["recall"]) == 99
    (manifest,) = undisturbed.glob("edges/*/*/manifest.json")
    assert {"load", "decode", "metric", "metric_behind"} <= set(json.loads(manifest.read_text())["timings"])
    assert (undisturbed / "report" / "report.md").is_file()


def test_workers_and_interruptions_change_nothing(
    undisturbed: Path, sambench_cli: Call, few: Path, tmp_path: Path
) -> None:
    sambench_cli(*arguments(few, "canny", tmp_path / "two", "--workers", 2))
    assert table(tmp_path / "two").equals(table(undisturbed))
    assert summary(tmp_path / "two") == summary(undisturbed)
    sambench_cli(*arguments(few, "canny", tmp_path / "limited", "--limit", 1, "--workers", 1), code=1)
    assert table(tmp_path / "limited").num_rows == 1
    sambench_cli(*arguments(few, "canny", tmp_path / "limited", "--workers", 1))
    assert table(tmp_path / "limited").equals(table(undisturbed))
    assert summary(tmp_path / "limited") == summary(undisturbed)


def test_a_promptable_model_and_its_maps(sambench_cli: Call, few: Path, tmp_path: Path) -> None:
    """Points of a grid, and what is left of their masks; the kept maps scored as anybody's give the same numbers."""
    more = ("--set", "task.grid=6", "--set", "task.save_maps=true", "--limit", 2, "--workers", 1)
    sambench_cli(*arguments(few, "region_tree", tmp_path / "run", *more), code=1)
    rows = table(tmp_path / "run").to_pylist()
    assert len(rows) == 2
    for row in rows:
        assert (row["prompts"], row["masks"]) == (36, 108)
        assert 1 < row["survivors"] < 108
        assert 0 < row["best_f"] < 1
    (maps,) = tmp_path.glob("run/edges/*/*/files/edge_maps")
    assert sorted(p.stem for p in maps.iterdir()) == sorted(row["image_id"] for row in rows)
    scored = ("--predictions", maps, "--no-nms", "--subset", 2, "--out", tmp_path / "scored", "--data-root", few)
    sambench_cli("score", "-t", "edges", "-d", "bsds500", *scored)
    columns = ["image_id", "map_sha256", "sum_r", "cnt_r", "sum_p", "cnt_p", "best_f"]
    assert table(tmp_path / "scored").select(columns).equals(table(tmp_path / "run").select(columns))


def test_a_damaged_truth_is_one_failed_image(sambench_cli: Call, few: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(few, tmp_path / "data"))
    (data / "groundTruth" / "test" / "3063.mat").write_bytes(b"MATLAB 5.0")
    done = sambench_cli(
        *arguments(data, "sobel", tmp_path / "out", "--workers", 1, "--set", "task.thresholds=5"), code=1
    )
    assert "1 of 4 images could not be evaluated (first: image 3063: " in done.stderr
    assert "3063.mat: not a MATLAB file of version 5), see" in done.stderr
    assert summary(tmp_path / "out")["n_scored"] == 3


def test_the_demo_has_edges_too(sambench_cli: Call, tmp_path: Path) -> None:
    more = ("--out", tmp_path, "--limit", 1, "--workers", 1, "--set", "task.thresholds=5")
    assert "1/24" in sambench_cli("run", "-t", "edges", "-d", "demo", "-m", "sobel", *more, code=1).stdout


def test_a_model_without_the_capability(sambench_cli: Call, tmp_path: Path) -> None:
    """Found out in a worker process, said in one line by the one that started it."""
    more = ("--out", tmp_path, "--workers", 2)
    done = sambench_cli("run", "-t", "single_point", "-d", "demo", "-m", "canny", *more, code=2)
    complaint = "error: task single_point needs a model with the capability points; canny has: edges; those that can: "
    assert done.stderr.splitlines()[-1].startswith(complaint + "region_tree, ")
    assert "sobel" not in done.stderr.splitlines()[-1]


def test_importing_the_task_loads_no_torch() -> None:
    program = "import sys, sambench.suite.tasks.edges; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
