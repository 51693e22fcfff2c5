"""Precision-recall figures of a report, and the summary fields behind them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.summaries import metric, write_run

from sambench.errors import UsageError
from sambench.reporting import figures, write_report
from sambench.reporting.reference import Published
from sambench.runs.summaries import load_summaries

CURVE = {"threshold": [0.25, 0.5, 0.75], "recall": [0.9, 0.6, None], "precision": [0.3, 0.6, None]}


def write_edges(out: Path, **changes) -> Path:
    given = {
        "task": "edges",
        "dataset": "bsds500",
        "split": "test",
        "primary": "ods",
        "headlines": ["ods", "ois"],
        "metrics": {"ods": metric(0.6), "ois": metric(0.65), "ap": metric(0.5)},
        "curves": {"precision_recall": CURVE},
    }
    return write_run(out, **{**given, **changes})


def rows(*printed: tuple[str, str, str]) -> list[Published]:
    return [Published("Table 3", "edges", m, "", "BSDS500 test", name, value, "") for m, name, value in printed]


def texts(svg: bytes) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_figure_names_runs_and_published_points_and_is_the_same_twice(tmp_path: Path) -> None:
    write_edges(tmp_path)
    runs = load_summaries([tmp_path])
    published = rows(("HED", "ODS", "0.788"), ("HED", "R50", "0.923"), ("Sobel", "ODS", "0.539"), ("X", "AP", "0.5"))
    svg = figures.precision_recall(runs, published)
    shown = texts(svg)
    assert "region_tree@aaaa1111, ODS 0.600" in shown
    assert "published: HED, ODS 0.788" in shown
    assert "published: Sobel, ODS 0.539" in shown
    assert not any("X" in text for text in shown)
    assert {f"F = 0.{k}" for k in range(1, 10)} <= set(shown)
    assert svg == figures.precision_recall(runs, published)


def test_lines_of_equal_f_are_of_equal_f() -> None:
    for f in (0.1, 0.5, 0.9):
        recall, precision = figures.equal_f(f)
        assert 2 * recall * precision / (recall + precision) == pytest.approx(f)
        assert precision[0] == pytest.approx(1)


def test_report_shows_headlines_figure_and_warnings(tmp_path: Path) -> None:
    write_edges(tmp_path / "runs", warnings=["OIS is below ODS"])
    write_run(tmp_path / "runs", dataset="demo")
    page = write_report([tmp_path / "runs"], tmp_path / "out").read_text()
    assert re.findall(r"^### (.*)$", page, re.M)[:2] == ["ODS (%)", "OIS (%)"]  # not AP: it is no headline
    assert "Warning: OIS is below ODS." in page
    (picture,) = re.findall(r"\]\((figures/.*?)\)", page)
    assert "region_tree@aaaa1111, ODS 0.600" in texts((tmp_path / "out" / picture).read_bytes())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"curves": {"precision_recall": {"recall": [0.1, 0.2], "precision": [0.3]}}}, "different lengths"),
        ({"curves": {"precision_recall": {"recall": ["0.1"]}}}, "neither a number nor null"),
        ({"curves": {"precision_recall": [1]}}, "is list, not dict"),
        ({"headlines": [1]}, "not a list of texts"),
    ],
)
def test_summaries_with_unusable_curves_are_refused(tmp_path: Path, changes: dict, complaint: str) -> None:
    run = write_edges(tmp_path, **changes)
    with pytest.raises(UsageError, match=complaint):
        load_summaries([run])


def test_a_curve_without_a_defined_point_is_drawn_empty(tmp_path: Path) -> None:
    write_edges(tmp_path, curves={"precision_recall": {"recall": [None], "precision": [None]}}, complete=False)
    assert "region_tree@aaaa1111, ODS 0.600 …" in texts(figures.precision_recall(load_summaries([tmp_path]), []))


def test_old_summaries_without_headlines_show_the_primary_metric(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    content = json.loads((run / "summary.json").read_text())
    del content["headlines"]
    (run / "summary.json").write_text(json.dumps(content))
    assert load_summaries([run])[0].headlines == ("miou",)
