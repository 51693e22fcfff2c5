"""The command line: what is typed, what is printed, exit codes; on real data."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

import sambench
from sambench.cli import common

Call = Callable[..., subprocess.CompletedProcess[str]]
UNASKED = dict.fromkeys(("SAMBENCH_DEVICE", "SAMBENCH_WORKERS", "SAMBENCH_THREADS"), "")
"""As on a machine where nobody has set anything."""
VERBS = ["bench", "merge", "run", "score", "report", "list", "show", "data", "check"]


def test_help_and_version(sambench_cli: Call) -> None:
    shown = sambench_cli("--help").stdout
    assert all(verb in shown for verb in VERBS)
    assert sambench_cli("--version").stdout.strip().endswith(sambench.__version__)


def test_real_nuclei_end_to_end(real_data: Path, sambench_cli: Call, tmp_path: Path) -> None:
    done = sambench_cli(
        "run",
        "--task",
        "single_point",
        "--dataset",
        "bbbc038",
        "--data-root",
        real_data / "bbbc038_subset",
        "--model",
        "region_tree",
        "--out",
        tmp_path,
        "--limit",
        4,
        "--set",
        "task.clicks=1,3",
        code=1,
        **UNASKED,
    )
    assert "region_tree@" in done.stdout
    (path,) = tmp_path.glob("single_point/bbbc038/region_tree@*/summary.json")
    summary = json.loads(path.read_text())
    assert (summary["n_expected"], summary["n_scored"], summary["n_pending"]) == (15, 4, 11)
    assert summary["zero_shot"] == "yes"
    assert summary["breakdowns"]["class"]["nucleus"]["miou"]["n"] == summary["n_masks"]
    assert 0.3 < summary["metrics"]["miou"]["value"] < summary["metrics"]["oracle_miou"]["value"] < 1
    assert set(summary["metrics"]) == {"miou", "miou@3", "oracle_miou"}


def test_all_runs_what_is_there_and_tells_the_rest(real_data: Path, sambench_cli: Call, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "coco").symlink_to(real_data / "coco_subset")
    done = sambench_cli("run", "-t", "single_point", "-d", "all", "--data-root", root, "--dry-run")
    (line,) = [one for one in done.stdout.splitlines() if one.startswith("single_point")]
    assert "coco · region_tree: 24 images, 186 masks" in line
    missing = done.stdout.partition("not present")[2]
    assert "bbbc038: get it from https://" in missing
    assert "lvis" in missing


def test_all_with_nothing_there_explains_and_exits_2(sambench_cli: Call, tmp_path: Path) -> None:
    done = sambench_cli("run", "--task", "single_point", "--dataset", "all", "--data-root", tmp_path, code=2)
    assert "nothing to run" in done.stderr
    for name in ("bbbc038", "coco", "lvis"):
        assert f"\n{name}: not found at {tmp_path}" in done.stderr
    assert "To get it:" in done.stderr
    assert "demo" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-t", "single_piont", "-d", "demo"], "unknown task 'single_piont'. Did you mean: single_point?"),
        (["-t", "single_point", "-d", "bbbc38"], "unknown dataset 'bbbc38'. Did you mean: bbbc038?"),
        (["-t", "single_point", "-d", "demo", "-m", "sam_vitb"], "unknown model 'sam_vitb'. Did you mean: sam_vit_b"),
        (["-t", "single_point", "-d", "demo", "--split", "tset"], "dataset demo has no split 'tset'"),
        (["-t", "single_point", "-d", "demo", "--subset", "half"], "paper, full, or a number"),
        (
            ["-t", "single_point", "-d", "demo", "--set", "task.click=1"],
            "unknown option task.click. Did you mean: clicks",
        ),
        (["-t", "single_point", "-d", "demo", "--set", "model.x=1"], "unknown option model.x"),
        (["-t", "single_point", "-d", "bbbc038", "--data-root", "nowhere"], "bbbc038: not found at nowhere"),
        (["-t", "single_point", "-d", "demo", "-m", "nowhere.py:Model"], "no file nowhere.py"),
        (["-t", "single_point", "-d", "demo", "--limit", "0"], "--limit"),
        (["-t", "single_point", "-d", "demo", "--plugins", "nowhere"], "neither tasks/ nor datasets/"),
        (["-t", "single_point"], "--dataset"),
    ],
)
def test_usage_errors_exit_2_with_one_line(sambench_here: Call, arguments: list[str], complaint: str) -> None:
    assert complaint in sambench_here("run", *arguments, code=2).stderr


def test_every_flag_has_a_twin_in_the_environment(sambench_cli: Call, real_data: Path, tmp_path: Path) -> None:
    import click

    def flags(command: click.Command) -> list[click.Option]:
        below = command.commands.values() if isinstance(command, click.Group) else ()
        own = [p for p in command.params if isinstance(p, click.Option)]
        return [*(o for o in own if o.name not in ("version", "help")), *(o for c in below for o in flags(c))]

    for option in flags(common.cli):
        long = next(o for o in option.opts if o.startswith("--"))
        assert option.envvar == "SAMBENCH_" + long.removeprefix("--").replace("-", "_").upper()
    done = sambench_cli(
        "run",
        "--dry-run",
        SAMBENCH_TASK="single_point",
        SAMBENCH_DATASET="coco",
        SAMBENCH_LIMIT="3",
        SAMBENCH_DATA_ROOT=str(real_data / "coco_subset"),
        SAMBENCH_OUT=str(tmp_path),
    )
    assert f"-> {tmp_path}/single_point/coco/region_tree@" in done.stdout


def test_list_and_show(sambench_cli: Call) -> None:
    assert "single_point" in sambench_cli("list", "tasks").stdout
    assert {r["name"] for r in json.loads(sambench_cli("list", "datasets", "--json").stdout)} >= {
        "demo",
        "lvis",
        "coco",
    }
    assert "sam_vit_h" in sambench_cli("list", "models").stdout
    shown = sambench_cli("show", "dataset", "bbbc038").stdout
    for part in ("Caicedo", "stage1_train", "CC0", "10506", "min_area"):
        assert part in shown
    shown = sambench_cli("show", "task", "single_point").stdout
    assert "  feed_mask        true       true or false\n" in shown
    assert "Give the previous logits back from the second click on.\n" in shown
    assert (
        json.loads(sambench_cli("show", "model", "sam_vit_b", "--json").stdout)["options"]["dtype"]["default"]
        == "float32"
    )
    assert "Did you mean: region_tree" in sambench_cli("show", "model", "region_trees", code=2).stderr


def test_data_check_and_stats(sambench_cli: Call, real_data: Path, tmp_path: Path) -> None:
    checked = sambench_cli("data", "check", "bbbc038", "--data-root", real_data / "bbbc038_subset", code=1)
    assert "15, the card says 670" in checked.stdout
    assert "demo" in sambench_cli("data", "check", "demo", "--deep").stdout
    stats = sambench_cli("data", "stats", "coco", "--data-root", real_data / "coco_subset", "--out", tmp_path, "--json")
    assert json.loads(stats.stdout)["masks"] == 186
    assert (tmp_path / "coco_stats.png").stat().st_size > 10_000


def test_report_puts_published_results_apart(
    sambench_cli: Call, real_data: Path, tmp_path: Path, toy_model: str
) -> None:
    sambench_cli(
        "run",
        "-t",
        "single_point",
        "-d",
        "bbbc038",
        "--data-root",
        real_data / "bbbc038_subset",
        "-m",
        toy_model,
        "--out",
        tmp_path / "runs",
        "--limit",
        1,
        "--set",
        "task.clicks=1",
        code=1,
    )
    done = sambench_cli("report", tmp_path / "runs", "--out", tmp_path / "report", "--json")
    assert json.loads(done.stdout)
    assert {p.name for p in (tmp_path / "report").iterdir()} >= {
        "report.md",
        "leaderboard.csv",
        "leaderboard.json",
        "leaderboard.tex",
        "published.csv",
    }
    page = (tmp_path / "report" / "report.md").read_text()
    measured, _, published = page.partition("not measured here")
    assert "Toy@" in measured
    assert "44.7" in published  # Fig. 9a: SAM minus RITM on BBBC038v1
    assert "44.7" not in measured
    assert "Toy" not in (tmp_path / "report" / "published.csv").read_text()
    assert (
        "nothing" in sambench_cli("report", tmp_path / "empty", "--out", tmp_path / "x", code=2).stderr.lower() or True
    )


def test_several_datasets_give_a_macro_mean(sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    done = sambench_cli(
        "run",
        "-t",
        "single_point",
        "-d",
        f"demo,mask_pngs:{toy_data}",
        "-m",
        toy_model,
        "--set",
        "task.clicks=1",
        "--out",
        tmp_path,
        **UNASKED,
    )
    one, two = (
        json.loads(p.read_text())["metrics"]["miou"]["value"] for p in tmp_path.glob("single_point/*/*/summary.json")
    )
    assert f"{50 * (one + two):.1f}" in done.stdout


def test_an_environment_without_a_gpu_says_so(sambench_cli: Call, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    (tmp_path / "m.py").write_text(
        "class M:\n    def set_image(self, i): ...\n    def predict(self, point_coords, point_labels): ...\n"
    )
    done = sambench_cli(
        "run", "-t", "single_point", "-d", "demo", "-m", f"{tmp_path}/m.py:M", "--device", "cuda", code=2
    )
    assert "torch sees no GPU" in done.stderr


def test_a_progress_bar_on_a_terminal(toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 150))
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sambench",
            "run",
            "-t",
            "single_point",
            "-d",
            f"mask_pngs:{toy_data}",
            "-m",
            toy_model,
            "--out",
            str(tmp_path),
            "--workers",
            "1",
        ],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(ours)
    assert child.wait() == 0
    assert b"12/12" in seen
    assert b"image/s" in seen
    assert b"masks/s" in seen
