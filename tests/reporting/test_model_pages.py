"""Models beside each other in a report: differences from a baseline, IoU by clicks, scores by parameters."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.summaries import HOSTILE, metric, write, write_run

from sambench.errors import UsageError
from sambench.reporting import console_table, write_report
from sambench.reporting.baseline import by_parameters, click_curves, compare, families
from sambench.reporting.leaderboard import Leaderboard, leaderboards
from sambench.runs.summaries import load_summaries


def make_three(out: Path) -> None:
    """Two sizes of one family against another model, on two datasets; all numbers are exact in binary."""
    for model, family, parameters, on_a, on_b in (
        ("base", "old", 4_000_000, 0.5, 0.5),
        ("small", "new", 8_000_000, 0.75, 0.25),
        ("large", "new", 64_000_000, 0.875, 0.5),
    ):
        known = {"family": family, "parameters": parameters}
        write(out, model, "a", on_a, on_a if model == "base" else on_a + 0.125, **known)
        write(out, model, "b", on_b, zero_shot="no" if model == "base" else "yes", **known)


def board(out: Path) -> Leaderboard:
    (only,) = leaderboards(load_summaries([out]))
    return only


def texts(svg: Path) -> list[str]:
    return [e.text or "" for e in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_differences_by_hand(tmp_path: Path) -> None:
    make_three(tmp_path)
    large, small = compare([board(tmp_path)], "base")
    assert (large.row.model, small.row.model) == ("large", "small")
    # a: .75 - .5, oracle .875 - .5; b: .25 - .5, oracle the same; the largest first.
    assert [(d.label, d.delta, d.oracle_delta, d.marks) for d in small.deltas] == [
        ("a", 0.25, 0.375, ""),
        ("b", -0.25, -0.25, "†"),
    ]
    assert (small.mean, small.oracle_mean) == (0, 0.0625)
    assert (large.mean, large.oracle_mean) == (0.1875, 0.25)


def test_only_what_is_alike_is_compared(tmp_path: Path) -> None:
    for dataset in "abcde":
        write(tmp_path, "base", dataset, 0.5, index_digest="1" * 64)
    write(tmp_path, "new", "a", 0.75, index_digest="1" * 64)
    write(tmp_path, "new", "b", 0.75, index_digest="1" * 64, complete=False)
    write(tmp_path, "new", "c", 0.75, index_digest="2" * 64)
    write(tmp_path, "new", "d", 0.75, index_digest="1" * 64, metrics={"miou": metric(None, n=0)})
    write(tmp_path / "other", "new", "e", 0.75, signature="point:random")
    (only,) = compare([board(tmp_path)], "base")
    assert [d.label for d in only.deltas] == ["a"]
    assert only.not_compared == (
        ("b", "the model's run is incomplete"),
        ("c", "the runs are not of the same images"),
        ("d", "the model has no value"),
        ("e", "the model has no run"),
    )
    assert only.mean is None
    page = write_report([tmp_path], tmp_path / "out", "base").read_text("utf-8")
    assert "- not compared: new@6e65776e on c: the runs are not of the same images\n" in page


def test_a_baseline_that_is_not_there_or_not_clear(tmp_path: Path) -> None:
    write(tmp_path, "new", "a", 0.5)
    with pytest.raises(UsageError, match=r"no run of the baseline base is there; there are: new@6e65776e"):
        write_report([tmp_path], tmp_path / "out", "base")
    write(tmp_path, "base", "a", 0.5)
    write_run(tmp_path / "more", model="base", digest="e" * 64, dataset="a")
    with pytest.raises(UsageError, match=r"several weights of base; name one: base@\w{8}, base@\w{8}"):
        write_report([tmp_path], tmp_path / "out", "base")
    assert compare([board(tmp_path)], "base@eeeeeeee")[0].baseline.weights_digest == "e" * 64


def test_the_report_has_differences_and_figures_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    make_three(tmp_path / "runs")
    page = write_report([tmp_path / "runs"], tmp_path / "one", "base")
    again = write_report([tmp_path / "runs"], tmp_path / "two", "base").parent
    shown = page.read_text("utf-8")
    assert "## single\\_point, version 1: differences from base@62617365\n" in shown
    assert "| dataset | base@62617365 | large@6c617267 | oracle | small@736d616c | oracle |\n" in shown
    assert "| a | 50.0 | +37.5 | +50.0 | +25.0 | +37.5 |\n" in shown
    assert "| b | 50.0 | +0.0 † | +0.0 | -25.0 † | -25.0 |\n" in shown
    assert "| mean of 2 |  | +18.8 † | +25.0 | +0.0 † | +6.2 |\n" in shown
    pictures = sorted(path.name for path in (tmp_path / "one" / "figures").iterdir())
    assert pictures == ["clicks_1.svg", "deltas_1.svg", "deltas_2.svg", "parameters_1.svg"]
    for name in pictures:
        assert f"](figures/{name})" in shown
        assert (tmp_path / "one" / "figures" / name).read_bytes() == (again / "figures" / name).read_bytes()
    drawn = texts(tmp_path / "one" / "figures" / "deltas_2.svg")
    assert {"small@736d616c minus base@62617365", "+25.0", "-25.0", "b †", "oracle"} <= set(drawn)
    with (tmp_path / "one" / "deltas.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["model"], r["dataset"], r["delta"], r["oracle_delta"]) for r in rows] == [
        ("large", "a", "0.375", "0.5"),
        ("large", "b", "0.0", "0.0"),
        ("small", "a", "0.25", "0.375"),
        ("small", "b", "-0.25", "-0.25"),
    ]


def test_the_console_shows_differences_once_for_all_models(tmp_path: Path) -> None:
    make_three(tmp_path)
    block = console_table(load_summaries([tmp_path]), "base").split("\n\n")[-1]
    assert block.splitlines() == [
        "single_point, version 1: mIoU (%), each model minus base@62617365",
        "dataset    base@62617365  large@6c617267  oracle  small@736d616c  oracle",
        "a                   50.0           +37.5   +50.0           +25.0   +37.5",
        "b                   50.0          +0.0 †    +0.0         -25.0 †   -25.0",
        "mean of 2                        +18.8 †   +25.0          +0.0 †    +6.2",
    ]


def test_clicks_are_means_over_datasets(tmp_path: Path) -> None:
    make_three(tmp_path)
    write(tmp_path, "half", "a", 0.5)  # has no run on b
    curves = {c.name.partition("@")[0]: c for c in click_curves(board(tmp_path).rows)}
    assert set(curves) == {"base", "small", "large"}
    assert (curves["small"].clicks, curves["small"].miou) == ((1, 3), (0.5, 0.75))
    assert curves["small"].oracle == 0.5625


def test_a_curve_is_taken_before_single_numbers(tmp_path: Path) -> None:
    for dataset, last in (("a", 0.5), ("b", 1.0)):
        curve = {"iou_by_clicks": {"clicks": [1.0, 2.0], "miou": [0.25, last]}}
        write(tmp_path, "one", dataset, 0.125, curves=curve)
    (curve,) = click_curves(board(tmp_path).rows)
    assert (curve.clicks, curve.miou) == ((1.0, 2.0), (0.25, 0.75))


def test_parameters_by_family_and_size(tmp_path: Path) -> None:
    make_three(tmp_path)
    for dataset in "ab":
        write(tmp_path, "none", dataset, 0.5, family="tree", parameters=0)
        write(tmp_path, "nobody", dataset, 0.5, family="", parameters=None)
    sized = by_parameters(board(tmp_path).rows, "miou")
    assert [[one.name.partition("@")[0] for one in members] for members in families(sized)] == [
        ["small", "large"],
        ["base"],
    ]
    assert [(one.parameters, one.value, one.oracle) for one in sized] == [
        (8_000_000, 0.5, 0.5625),
        (64_000_000, 0.6875, 0.75),
        (4_000_000, 0.5, 0.5),
    ]


def test_one_model_alone_needs_no_figure(tmp_path: Path) -> None:
    write(tmp_path / "runs", "base", "a", 0.5)
    out = write_report([tmp_path / "runs"], tmp_path / "out").parent
    assert not (out / "figures").exists()
    assert not (out / "deltas.csv").exists()


def test_where_clicks_count_less_is_better(tmp_path: Path) -> None:
    def noc(model: str, clicks: float) -> None:
        metrics = {"noc@90": metric(clicks, 0.5) | {"unit": "clicks"}, "never_reached@90": metric(0.25)}
        changes = {
            "task": "noc",
            "metrics": metrics,
            "primary": "noc@90",
            "headlines": ["noc@90"],
            "lower_is_better": ["noc@90"],
        }
        write(tmp_path / "runs", model, "a", 0.5, **changes)

    for model, clicks in (("slow", 5.71), ("quick", 2.1), ("base", 4.0)):
        noc(model, clicks)
    assert [row.model for row in board(tmp_path / "runs").rows] == ["quick", "base", "slow"]
    page = write_report([tmp_path / "runs"], tmp_path / "out", "base").read_text("utf-8")
    assert "### NoC@90 (clicks)\n" in page
    assert "| 2.10 ± 0.50 |" in page
    assert "| a | 4.00 | -1.90 | – | +1.71 | – |\n" in page
    assert "| noc@90 (clicks) | 2.10 | 1.60 to 2.60 | n/a | 100 |" in page
    assert any("less is better" in text for text in texts(tmp_path / "out" / "figures" / "deltas_1.svg"))


def test_names_that_mean_harm_are_drawn_as_they_are(tmp_path: Path) -> None:
    for model in ("base", "_$m$" + HOSTILE):
        write(tmp_path / "runs", model, "demo:" + HOSTILE, 0.5, family=HOSTILE, parameters=7)
    write_report([tmp_path / "runs"], tmp_path / "out", "base")
    drawn = [text for path in (tmp_path / "out" / "figures").iterdir() for text in texts(path)]
    assert any("$m$" in text for text in drawn)  # no formula
    assert all(len(text) < 130 and "\n" not in text for text in drawn)


def test_old_summaries_without_parameters_are_read(tmp_path: Path) -> None:
    run = write(tmp_path, "base", "a", 0.5)
    content = json.loads((run / "summary.json").read_text())
    del content["family"], content["parameters"]
    (run / "summary.json").write_text(json.dumps(content))
    (summary,) = load_summaries([tmp_path])
    assert (summary.family, summary.parameters) == ("", None)
