"""Quality against latency in a report: what is joined, what is left out, tables, figures, files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from helpers.browser import Tab, browser, tab
from helpers.paths import ROOT
from helpers.summaries import HOSTILE, metric, write

from sambench.errors import UsageError
from sambench.reporting import write_report
from sambench.reporting.latencies import FIGURES, Latency, Quantiles, Setting, load_latencies
from sambench.reporting.leaderboard import leaderboards
from sambench.reporting.tradeoffs import COLUMNS, Tradeoff, shown, tradeoffs
from sambench.runs.summaries import load_summaries

__all__ = ["browser", "tab"]

CPU = Setting("cpu", "Some CPU", 2, "leaf", 768, 1024)
GPU = Setting("cuda", "Some GPU", 2, "leaf", 768, 1024)


def digest(model: str) -> str:
    return (model.encode("utf-8", "replace").hex() * 64)[:64]


def time(out: Path, model: str, ms: float, setting: Setting = CPU, **changes: Any) -> Path:
    """A file as the verb writes it: encoding ms/8 s, a point ms/2, its mask ms; no boxes, no next point."""
    figures = {
        "encode": Quantiles(10, ms / 8, ms / 4),
        "point": Quantiles(50, ms / 2, ms / 2),
        "point_mask": Quantiles(50, ms, 2 * ms),
    }
    one = Latency(model, digest(model), {"dtype": "float32", **changes}, setting, figures)
    file = one.file(out) if len(model) < 40 else out / "latency" / "hostile@0" / f"{setting.device}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(one.as_dict()))
    return file


def make(out: Path) -> None:
    """Three models on two datasets; two of them timed on a CPU, two on a GPU."""
    for model, miou in (("good", 0.75), ("fair", 0.5), ("poor", 0.25)):
        write(out, model, "a", miou)
        write(out, model, "b", miou + 0.125)
    for model, ms, setting in (("good", 64, CPU), ("poor", 8, CPU), ("good", 4, GPU), ("fair", 2, GPU)):
        time(out, model, ms, setting)


def joined(out: Path, *paths: Path) -> list[Tradeoff]:
    runs = load_summaries([out])
    return tradeoffs(leaderboards(runs), load_latencies(paths or [out], runs))


def texts(svg: Path) -> list[str]:
    return [e.text or "" for e in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_models_are_beside_each_other_in_each_setting(tmp_path: Path) -> None:
    make(tmp_path)
    cpu, gpu = joined(tmp_path)
    assert [t.setting for t in (cpu, gpu)] == [CPU, GPU]
    # The means over a and b: .75 and .875, .25 and .375, .5 and .625.
    assert [(name, value, q.p50) for name, value, q in cpu.points()] == [
        ("good@676f6f64", 0.8125, 64),
        ("poor@706f6f72", 0.3125, 8),
    ]
    assert [(name, value, q.p50) for name, value, q in gpu.points()] == [
        ("good@676f6f64", 0.8125, 4),
        ("fair@66616972", 0.5625, 2),
    ]


def test_the_report_has_tables_figures_and_files(tmp_path: Path) -> None:
    make(tmp_path / "runs")
    out = write_report([tmp_path / "runs"], tmp_path / "out").parent
    page = (out / "report.md").read_text("utf-8")
    assert "## Quality against latency\n" in page
    assert "on cpu (Some CPU), 2 threads, image leaf, 1024 x 768 pixels\n" in page
    assert "| good@676f6f64 | 81.2 | 8 (16) | 32 (32) | 64 (128) | – | – | – | – |\n" in page
    assert "- 50 prompts of each kind, 10 encodings.\n" in page
    assert sorted(p.name for p in (out / "figures").glob("latency*")) == ["latency_1.svg", "latency_2.svg"]
    drawn = texts(out / "figures" / "latency_1.svg")
    assert {"good", "poor", "50 ms", "Some CPU", "ms from a click to its mask"} <= set(drawn)
    assert "fair" not in drawn
    with (out / "latency.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3
    assert [rows[0][k] for k in ("model", "value", "device_name", "figure", "unit", "n", "p50", "p95")] == [
        *("good", "0.8125", "Some CPU", "encode", "s", "10", "8.0", "16.0")
    ]
    told = json.loads((out / "latency.json").read_text("utf-8"))
    assert told["tradeoffs"][1]["rows"][1]["figures"]["point_mask"] == {"unit": "ms", "n": 50, "p50": 2.0, "p95": 4.0}
    assert told["tradeoffs"][1]["rows"][1]["figures"]["box"] is None
    site = (out / "index.html").read_text("utf-8")
    assert "Quality against latency" in site
    assert '<td class="n">64 (128)</td>' in site
    good, fair = (next((out / "models").glob(f"{m}-*")).read_text("utf-8") for m in ("good", "fair"))
    assert ("latency_1.svg" in good, "latency_1.svg" in fair, "latency_2.svg" in fair) == (True, False, True)


def test_the_site_in_a_browser(tab: Tab, tmp_path: Path) -> None:
    make(tmp_path / "runs")
    out = write_report([tmp_path / "runs"], tmp_path / "out").parent
    page = tab.open(out / "index.html")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert tab.serious_findings() == []
    table = page.get_by_role("region", name="mIoU by latency: single_point, version 1, on cuda")
    assert table.get_by_role("row").nth(1).inner_text().split()[:3] == ["good", "@676f6f64", "81.2"]
    picture = page.get_by_role("img", name="mIoU by latency: single_point, version 1, on cpu")
    picture.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector(\"img[src='figures/latency_1.svg']\").naturalWidth > 400")
    table.get_by_role("link", name="good").click()
    assert page.locator("h1").inner_text() == "Model good"
    assert (tab.console, tab.foreign_requests()) == ([], [])


def test_files_are_found_from_the_runs_themselves(tmp_path: Path) -> None:
    """As `sambench run` reports: of run directories, not of the output folder."""
    make(tmp_path / "runs")
    runs = [run.path for run in load_summaries([tmp_path / "runs"])]
    out = write_report(runs, tmp_path / "out").parent
    assert (out / "latency.csv").read_text() == (
        write_report([tmp_path / "runs"], tmp_path / "again").parent / "latency.csv"
    ).read_text()


def test_without_latencies_nothing_is_said(tmp_path: Path) -> None:
    write(tmp_path / "runs", "good", "a", 0.5)
    time(tmp_path / "runs", "another", 8)
    out = write_report([tmp_path / "runs"], tmp_path / "out").parent
    assert not (out / "latency.csv").exists()
    assert "latency" not in (out / "report.md").read_text("utf-8").lower()


def test_one_model_has_a_table_and_no_figure(tmp_path: Path) -> None:
    write(tmp_path / "runs", "good", "a", 0.5)
    time(tmp_path / "runs", "good", 8)
    out = write_report([tmp_path / "runs"], tmp_path / "out").parent
    assert "| good@676f6f64 | 50.0 | 1 (2) | 4 (4) | 8 (16) |" in (out / "report.md").read_text("utf-8")
    assert not (out / "figures").exists()


def test_a_latency_of_other_options_is_left_out(tmp_path: Path) -> None:
    make(tmp_path)
    for run in tmp_path.glob("single_point/*/good@*"):
        (run / "manifest.json").write_text(json.dumps({"spec": {"model_options": {"dtype": "bfloat16", "new": 1}}}))
    cpu, gpu = joined(tmp_path)
    assert [row.model for row, _ in cpu.rows] == ["poor"]
    assert cpu.left_out == (("good@676f6f64", "measured with model.dtype=float32, run with bfloat16"),)
    time(tmp_path, "good", 8, dtype="bfloat16")
    cpu, gpu = joined(tmp_path)
    assert [row.model for row, _ in cpu.rows] == ["good", "poor"]
    assert gpu.left_out != ()


def test_a_model_without_a_mean_is_in_the_table_alone(tmp_path: Path) -> None:
    make(tmp_path)
    write(tmp_path, "half", "a", 0.5)
    time(tmp_path, "half", 16)
    page = write_report([tmp_path], tmp_path / "out").read_text("utf-8")
    assert "| half@68616c66 | incomplete | 2 (4) |" in page
    assert "half" not in texts(tmp_path / "out" / "figures" / "latency_1.svg")


def test_less_may_be_better(tmp_path: Path) -> None:
    for model, clicks in (("quick", 2.0), ("slow", 5.0)):
        metrics = {"noc@90": metric(clicks) | {"unit": "clicks"}}
        known = {"primary": "noc@90", "headlines": ["noc@90"], "lower_is_better": ["noc@90"]}
        write(tmp_path, model, "a", 0.5, task="noc", metrics=metrics, **known)
        time(tmp_path, model, 0.25 if model == "quick" else 300)
    out = write_report([tmp_path], tmp_path / "out").parent
    drawn = texts(out / "figures" / "latency_1.svg")
    assert "NoC@90 (clicks), a, less is better" in drawn
    assert {"0.2", "500"} <= set(drawn)  # ticks around all that is shown


def test_names_that_mean_harm(tmp_path: Path) -> None:
    for place, model in enumerate(("good", HOSTILE)):
        write(tmp_path, model, "a", 0.5)
        time(tmp_path, model, 8 + place, Setting("cpu", HOSTILE, 1, HOSTILE, 8, 8))
    out = write_report([tmp_path], tmp_path / "out").parent
    assert all("\n" not in text for text in texts(out / "figures" / "latency_1.svg"))
    assert "<i>" not in (out / "index.html").read_text("utf-8").partition("Quality against")[2]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "does not hold a latency"),
        (b"[1]", "does not hold a latency"),
        (b"{}", "does not hold a latency .KeyError: 'schema'"),
        (b'{"schema": 2}', "schema 2, this sambench reads 1; measure it again"),
        (b'{"schema": 1, "figures": {}}', "does not hold a latency .KeyError: 'encode'"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, content: bytes, complaint: str) -> None:
    write(tmp_path, "good", "a", 0.5)
    file = time(tmp_path, "good", 8)
    file.write_bytes(content)
    with pytest.raises(UsageError, match=complaint) as caught:
        write_report([tmp_path], tmp_path / "out")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("p95", ["3", "NaN", "1e999"])
def test_quantiles_that_are_none_are_refused(tmp_path: Path, p95: str) -> None:
    file = time(tmp_path, "good", 8)
    file.write_text(file.read_text().replace('"p50": 8, "p95": 16', f'"p50": 8, "p95": {p95}'))
    with pytest.raises(UsageError, match=r"p50 8\.0 and p95"):
        load_latencies([tmp_path], [])


def test_the_same_model_twice_in_one_setting_is_refused(tmp_path: Path) -> None:
    for folder in "ab":
        time(tmp_path / folder, "good", 8)
    with pytest.raises(UsageError, match="hold the latency of good@676f6f64 twice"):
        load_latencies([tmp_path], [])


def test_numbers_are_short() -> None:
    assert [shown(Quantiles(1, v, v)) for v in (0.01234, 1.0, 99.96, 999.4, 999.6, 12345.6)] == [
        "0.0123 (0.0123)",
        "1 (1)",
        "100 (100)",
        "999 (999)",
        "1000 (1000)",
        "12346 (12346)",
    ]


def test_every_column_field_and_file_is_documented(tmp_path: Path) -> None:
    make(tmp_path / "runs")
    documented = (ROOT / "docs" / "reports.md").read_text("utf-8")
    out = write_report([tmp_path / "runs"], tmp_path / "out").parent
    for name in ("latency.csv", "latency.json"):
        assert f"| `{name}` |" in documented
        assert (out / name).is_file()
    one = json.loads((out / "latency.json").read_text())["tradeoffs"][0]
    fields = {*COLUMNS, *one, *one["rows"][0], *FIGURES}
    assert [field for field in fields if f"`{field}`" not in documented and f"`.{field}`" not in documented] == []
