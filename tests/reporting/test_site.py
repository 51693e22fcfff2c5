"""The site of a report as files: what its pages say, where they lead, and that names from anywhere stay names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import jinja2
import pytest
from helpers.site_runs import HARM, LONG, RTL, add_gallery, digest, hostile, many, write_edges
from helpers.summaries import metric, write_run
from hypothesis import given
from hypothesis import strategies as st

from sambench.errors import UsageError
from sambench.reporting import write_report
from sambench.reporting.cuts import cuts
from sambench.reporting.leaderboard import leaderboards
from sambench.reporting.reference import Published, published
from sambench.reporting.site import site_links, site_views, templates
from sambench.reporting.site.site_charts import charts
from sambench.reporting.site.site_gallery import gallery
from sambench.runs.summaries import load_summaries

__all__ = ["hostile", "many"]


class Page(HTMLParser):
    """Elements of a page (name, attributes), its text, and the cells of its tables."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.rows[-1][-1] = " ".join(self.rows[-1][-1].split())
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data

    def addresses(self) -> Iterator[str]:
        for _, attributes in self.elements:
            for name in ("href", "src"):
                if attributes.get(name):
                    yield attributes[name] or ""

    def row(self, start: str) -> list[str]:
        """Cells of the first row whose second cell, the model, begins so."""
        return next(row for row in self.rows if len(row) > 1 and row[1].startswith(start))


def pages(site: Path) -> list[Page]:
    return [Page(file) for file in sorted(site.rglob("*.html"))]


def bytes_of(site: Path) -> dict[str, bytes]:
    return {str(f.relative_to(site)): f.read_bytes() for f in sorted(site.rglob("*")) if f.is_file()}


# --- what leads where ---


@pytest.mark.parametrize("which", ["many", "hostile"])
def test_every_link_leads_to_a_file_of_the_site_or_to_a_source(which: str, request: pytest.FixtureRequest) -> None:
    site = request.getfixturevalue(which)
    seen = 0
    for page in pages(site):
        ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
        for address in page.addresses():
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            if parts.scheme:
                assert parts.scheme == "https"
                assert ("a", address) in {(tag, a.get("href")) for tag, a in page.elements}, "a link, never a request"
            elif parts.path:
                assert (page.file.parent / unquote(parts.path)).is_file(), (page.file, address)
            else:
                assert parts.fragment in ids, (page.file, address)
            seen += 1
    assert seen > 50


def test_there_is_a_page_for_each_run_model_and_dataset(many: Path) -> None:
    # 3 models on 3 datasets, 2 runs of the partial one, edges, two of instances; models: 4, edgy, one, two.
    counts = {folder: len(list((many / folder).glob("*.html"))) for folder in ("runs", "models", "datasets")}
    assert counts == {"runs": 14, "models": 7, "datasets": 4}


def test_the_same_runs_give_the_same_bytes(many: Path, tmp_path: Path) -> None:
    before = bytes_of(many)
    times = {file: file.stat().st_mtime_ns for file in many.rglob("*.html")}
    write_report([many.parent / "runs"], many, "middle")
    assert bytes_of(many) == before
    assert {file: file.stat().st_mtime_ns for file in many.rglob("*.html")} == times, "written again"
    write_report([many.parent / "runs"], tmp_path / "elsewhere", "middle")
    without = {name for name, content in bytes_of(tmp_path / "elsewhere").items() if before[name] != content}
    assert without == {next(n for n in before if n.startswith("runs/single_point-ade20k-best"))}, "has the gallery"


@given(st.text(), st.text())
def test_page_names_are_plain_and_different(first: str, second: str) -> None:
    names = [site_links.dataset_page(first), site_links.model_page(first, "d")]
    for name in names:
        assert re.fullmatch(r"(datasets|models)/[a-z0-9_-]{8,80}\.html", name)
    assert (site_links.dataset_page(second) == names[0]) == (first == second)


# --- what pages say ---


def test_the_overview_by_hand(many: Path) -> None:
    page = Page(many / "index.html")
    # best: (.75 + .78125 + .8125) / 3 = .78125
    assert page.row("best") == [
        "1",
        "best @62657374 [1]",
        "78.1",
        "75.0 ± 1.0",
        "78.1 ± 1.0",
        "81.2 ± 1.0",
        "yes",
        "yes, 3 of 3",
    ]
    assert page.row("middle") == [
        "2",
        "middle @6d696464 [1]",
        "53.1†",
        "50.0 ± 1.0",
        "53.1 ± 1.0†",
        "56.2 ± 1.0",
        "no on 1 of 3",
        "yes, 3 of 3",
    ]
    assert page.row("worst")[2:6] == ["28.1?", "25.0 ± 1.0", "28.1 ± 1.0", "31.2 ± 1.0?"]
    assert page.row("worst")[6] == "unknown on 1 of 3"
    # The highest values of all, and neither a mean nor a rank.
    assert page.row("partial") == [
        "–",
        "partial @70617274 [1]",
        "incomplete",
        "87.5 ± 1.0",
        "87.5 ± 1.0…",
        "–",
        "yes",
        "no, 1 of 3",
    ]
    assert "1 run is incomplete" in page.text
    assert "point:edt-pad1|n:1,3|mask:top-score|v:1" in page.text


def test_equal_means_share_a_rank(tmp_path: Path) -> None:
    for model, miou in (("a", 0.5), ("b", 0.75), ("c", 0.5), ("d", 0.25)):
        write_run(tmp_path, model=model, digest=digest(model), miou=miou)
    (board,) = leaderboards(load_summaries([tmp_path]))
    assert [row.model for row in board.rows] == ["b", "a", "c", "d"]
    assert site_views.ranks(board) == (1, 2, 2, 4)


def test_there_is_no_rank_where_a_dataset_stands_in_two_columns(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", subset="full")
    (board,) = leaderboards(load_summaries([tmp_path]))
    assert site_views.ranks(board) == (None,)


def test_the_least_number_of_clicks_comes_first_and_it_is_said(tmp_path: Path) -> None:
    for model, clicks in (("many", 9.0), ("few", 2.5)):
        noc = {**metric(clicks, 0.5), "unit": "clicks"}
        write_run(
            tmp_path / "runs",
            model=model,
            digest=digest(model),
            metrics={"noc@90": noc},
            primary="noc@90",
            headlines=["noc@90"],
            lower_is_better=["noc@90"],
        )
    write_report([tmp_path / "runs"], tmp_path / "site")
    page = Page(tmp_path / "site" / "index.html")
    assert "NoC@90 (clicks), less is better" in page.text
    assert (page.row("few")[0], page.row("few")[2]) == ("1", "2.50 ± 0.50")
    assert {a.get("data-first") for tag, a in page.elements if tag == "th" and a.get("data-key") == "demo"} == {"asc"}


def test_published_results_stand_apart_and_lead_to_their_source(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", dataset="ade20k")
    write_report([tmp_path / "runs"], tmp_path / "site")
    page = Page(tmp_path / "site" / "index.html")
    assert "Published results, not measured here" in page.text
    assert "https://arxiv.org/abs/2304.02643" in page.addresses()
    assert [row for row in page.rows if "SA-23" in row]


def test_nearly_every_published_number_has_a_link() -> None:
    rows = published()
    without = {row.provenance for row in rows if not site_views.source_link(row)}
    assert sum(bool(site_views.source_link(row)) for row in rows) > 0.9 * len(rows), without
    mark = Published("", "", "", "", "", "", "", "SamsungLabs/ritm_interactive_segmentation repository, README")
    assert site_views.source_link(mark) == "https://github.com/SamsungLabs/ritm_interactive_segmentation"


def test_runs_that_have_no_summary_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "runs")
    unfinished = tmp_path / "runs" / "single_point" / "demo" / "half<b>@1"
    unfinished.mkdir()
    (unfinished / "manifest.json").write_text("{}")
    write_report([tmp_path / "runs"], tmp_path / "site")
    assert "single_point/demo/half<b>@1" in Page(tmp_path / "site" / "index.html").text


def test_a_run_page_says_how_it_was_measured_and_how_long_it_took(many: Path) -> None:
    page = Page(next(many.glob("runs/single_point-ade20k-best*")))
    assert ["mIoU (%)", "75.0", "74.0 to 76.0", "73.0 to 78.0", "100", "see cases of miou"] in page.rows
    for said in ("By size", "By class", "Mean IoU by number of clicks", "task_options.clicks", "[1, 3]", "numpy"):
        assert said in page.text
    assert ["encode", "30.0"] in page.rows
    assert "secret" not in page.file.read_text(), "a published page names neither the machine nor its folders"
    sizes = [row[0] for row in page.rows if row and row[0] in ("small", "medium", "large")]
    assert sizes == ["small", "medium", "large"]


def test_an_incomplete_run_says_so(many: Path) -> None:
    text = Page(next(many.glob("runs/single_point-coco-partial*"))).text
    # 10 expected, 3 scored, 2 failed, none excluded.
    assert " ".join(text.split()).count("3 of 10 images are scored, 2 failed, 5 are not done") == 1


def test_images_that_failed_are_listed(hostile: Path) -> None:
    for file in hostile.glob("runs/*.html"):
        assert f": {HARM}" in Page(file).text.split("Images that failed")[1]


def test_a_run_page_without_a_manifest_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs")
    for content in ("", "[1]", '{"sessions": 3, "timings": {"a": "b"}, "spec": [1]}'):
        (run / "manifest.json").write_text(content)
        write_report([tmp_path / "runs"], tmp_path / "site")
        text = Page(next((tmp_path / "site").glob("runs/*"))).text
        assert ("timings are not known" in text) == (not content.startswith("{"))


def test_long_breakdowns_are_cut_and_it_is_said(tmp_path: Path) -> None:
    classes = {f"c{k:03}": {"miou": metric(0.5, n=k + 1)} for k in range(150)}
    write_run(tmp_path / "runs", breakdowns={"class": classes, "size": {}})
    (run,) = load_summaries([tmp_path])
    (cut,) = cuts(run)
    assert [group.n for group in cut.groups[:3]] == [150, 149, 148]
    write_report([tmp_path / "runs"], tmp_path / "site")
    text = Page(next((tmp_path / "site").glob("runs/*"))).text
    assert "The 100 with most masks of 150" in text
    assert "c050" in text
    assert "c049" not in text


def test_charts_by_hand(tmp_path: Path) -> None:
    write_run(tmp_path / "a", metrics={"miou": metric(0.5), "miou@3": metric(1.0), "oracle_miou": metric(0.75)})
    write_edges(tmp_path / "b")
    by_title = {chart.title: chart for run in load_summaries([tmp_path]) for chart in charts(run)}
    line = by_title["Mean IoU by number of clicks"]
    marks = list(ElementTree.fromstring(f'<svg xmlns:xlink="x">{line.svg}</svg>').iter())
    # Inside x 48 to 468 and y 276 (0 %) to 12 (100 %): half of 264 is 132, a quarter 66.
    lines = [mark.attrib["d"].split() for mark in marks if "series-1); stroke-width: 2" in mark.get("style", "")]
    assert lines == [["M", "48", "144", "L", "468", "12"]]
    dots = [mark.attrib for mark in marks if mark.tag == "use" and "series-1" in mark.attrib["style"]]
    assert [(float(dot["x"]), float(dot["y"])) for dot in dots] == [(48.0, 144.0), (468.0, 12.0)]
    rings = [mark.attrib for mark in marks if mark.tag == "use" and "series-2" in mark.attrib["style"]]
    assert [(float(ring["x"]), float(ring["y"])) for ring in rings] == [(48.0, 78.0)]
    assert "ring: oracle after one click, 75.0" in line.note
    assert line.rows == (("1", "50.0"), ("3", "100.0"))
    assert len(by_title["Precision by recall"].rows) == 20


def test_charts_have_the_colours_of_the_page_and_no_id_twice(tmp_path: Path) -> None:
    curves = {"precision_recall": {"recall": [0.25, 0.5], "precision": [1.0, 0.5]}}
    run = write_run(tmp_path, metrics={"miou": metric(0.5), "miou@3": metric(1.0)}, curves=curves)
    svg = "".join(chart.svg for chart in charts(load_summaries([run])[0]))
    assert svg.count("<text") > 10
    assert not re.findall(r"(?:fill|stroke): #|font-|url\(|https?:", svg)
    variables = set(re.findall(r"var\((--[\w-]+)\)", svg))
    assert all(f"{name}:" in templates.asset("style.css").decode() for name in variables)
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'xlink:href="#([^"]+)"', svg)) == set(ids)


def test_figures_of_ap_by_size_and_frequency(many: Path) -> None:
    page = Page(next(many.glob("datasets/lvis*")))
    (name,) = [a for a in page.addresses() if "groups_" in a and a.endswith(".svg")][:1]
    svg = (page.file.parent / name).read_text()
    words = [svg.index(f">{word}<") for word in ("small", "medium", "large", "rare", "common", "frequent")]
    assert words == sorted(words)
    assert "two@" in svg
    assert "one@" in svg


# --- names from anywhere ---


def test_names_are_shown_as_they_are_and_do_nothing(hostile: Path) -> None:
    found = pages(hostile)
    for page in found:
        scripts = [attributes.get("src") for tag, attributes in page.elements if tag == "script"]
        assert all(script and script.endswith("assets/site.js") for script in scripts), page.file
        assert not [a for tag, a in page.elements if any(name.startswith("on") for name in a)]
        assert not [a for tag, a in page.elements if tag == "img" and a.get("src") == "x"]
        assert "\u202e" not in page.file.read_text("utf-8"), "text must not turn round"
        assert "\x07" not in page.file.read_text("utf-8")
    everything = "".join(page.text for page in found)
    for name in (HARM, LONG, "<b>عربي</b>", '"><img src=x onerror=alert(1)>'):
        assert name in everything


def test_half_of_a_surrogate_pair_is_no_crash(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs")
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"model": "half\ud800", "dataset": "\udfff", "signature": "\ud800"}
    (run / "summary.json").write_text(json.dumps(summary))
    write_report([tmp_path / "runs"], tmp_path / "site")
    assert "half\ufffd" in Page(tmp_path / "site" / "index.html").text


def test_templates_escape_and_refuse_what_nobody_gave() -> None:
    with pytest.raises(jinja2.UndefinedError):
        templates.render("base.html")
    page = templates.render("base.html", title=f"{HARM}{RTL}", root="")
    assert "<script>document" not in page
    assert "&lt;script&gt;document" in page


# --- galleries ---


def test_a_gallery_is_shown_and_its_metric_leads_there(many: Path) -> None:
    page = Page(next(many.glob("runs/single_point-ade20k-best*")))
    assert "#cases-0" in page.addresses()
    images = [
        attributes for tag, attributes in page.elements if tag == "img" and "gallery" in (attributes["src"] or "")
    ]
    assert [Path(unquote(image["src"] or "")).name for image in images] == ["worst.png", "best.png"]
    assert all(image["alt"] for image in images)
    assert "The picture random.png is missing" in page.text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "strange"}, "'kind' is 'strange'"),
        ({"file": "../../secret.png"}, "not the name of a JPEG or PNG"),
        ({"file": "x.svg"}, "not the name of a JPEG or PNG"),
        ({"file": None}, "'file' is missing"),
        ({"value": "high"}, "'value' is neither"),
        ({"metric": True}, "'metric' is missing or not a text"),
    ],
)
def test_a_broken_gallery_is_refused(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    add_gallery(tmp_path / "gallery")
    file = tmp_path / "gallery" / "index.json"
    cases = json.loads(file.read_text())
    assert len(gallery(tmp_path / "gallery").cases) == 3
    cases[1] |= change
    file.write_text(json.dumps(cases))
    with pytest.raises(UsageError, match=complaint) as caught:
        gallery(tmp_path / "gallery")
    assert "index.json: case 2" in str(caught.value)
    file.write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        gallery(tmp_path / "gallery")
