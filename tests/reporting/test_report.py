"""From run folders to leaderboards, pages and tables: exact outputs of small cases, and names that mean harm."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.summaries import HOSTILE, SIGNATURE, TREE, VIT_B, metric, write_run
from hypothesis import given
from hypothesis import strategies as st

from sambench import text
from sambench.errors import SambenchError, UsageError
from sambench.plugins import registry
from sambench.reporting import console_table, data, formatting, latex, markdown, write_report
from sambench.reporting.leaderboard import leaderboards
from sambench.runs.summaries import load_summaries, unsummarised


def board(out: Path):
    (only,) = leaderboards(load_summaries([out]))
    return only


# --- reading ---


def test_load_reads_every_field(tmp_path):
    run = write_run(
        tmp_path, breakdowns={"size": {"small": {"miou": metric(0.25, n=4)}}}, excluded_masks={"crowd": 3}, subset=25
    )
    (summary,) = load_summaries([tmp_path])
    assert summary.path == run
    assert (summary.task, summary.dataset, summary.name, summary.subset) == (
        "single_point",
        "demo",
        "region_tree@aaaa1111",
        "25",
    )
    assert summary.metrics["miou"].value == 0.5
    assert summary.metrics["miou"].ci95 == (0.49, 0.51)
    assert summary.metrics["oracle_miou"].ci95_bootstrap is None
    assert summary.breakdowns["size"]["small"]["miou"].n == 4
    assert summary.excluded_masks == {"crowd": 3}
    assert summary.complete is True


def test_load_finds_runs_once_and_in_one_order(tmp_path):
    second = write_run(tmp_path, dataset="zoo")
    first = write_run(tmp_path, dataset="ant")
    given_twice = load_summaries([tmp_path, second, first / "summary.json", str(tmp_path / "single_point")])
    assert [run.dataset for run in given_twice] == ["ant", "zoo"]
    assert load_summaries([first, second]) == given_twice


def test_a_path_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        load_summaries([tmp_path / "nowhere"])
    (tmp_path / "other.txt").write_text("x")
    for path in (tmp_path, tmp_path / "other.txt"):
        with pytest.raises(UsageError, match="holds no finished run"):
            load_summaries([path])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a whole JSON file"),
        (b'{"schema": 1, "task": "sing', "not a whole JSON file"),
        (b'{"schema": 1, "x": NaN}', "NaN is not JSON"),
        (b"\xff\xfe\x00", "not a whole JSON file"),
        (b"[" * 100000, "not a whole JSON file"),
        (b"[1]", "not a JSON object"),
        (b"{}", "schema None"),
        (b'{"schema": 2}', "schema 2, this sambench reads 1"),
        (b'{"schema": 1}', "field '.*' is missing"),
    ],
)
def test_a_broken_summary_is_one_line_that_names_the_file(tmp_path, content, complaint):
    run = write_run(tmp_path)
    (run / "summary.json").write_bytes(content)
    with pytest.raises(UsageError, match=complaint) as caught:
        load_summaries([tmp_path])
    assert str(run / "summary.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"zero_shot": "maybe"}, "'zero_shot' is 'maybe'"),
        ({"complete": 1}, "'complete' is int, not bool"),
        ({"n_masks": True}, "'n_masks' is bool, not int"),
        ({"n_failed": -1}, "'n_failed' is -1"),
        ({"metrics": {"miou": {"n": 1, "unit": "fraction"}}}, "'metrics.miou.value' is missing"),
        ({"metrics": {"miou": {"value": "0.5", "n": 1, "unit": "fraction"}}}, "'metrics.miou.value'"),
        ({"metrics": {"miou": metric(0.5) | {"ci95": [0.6, 0.4]}}}, "'metrics.miou.ci95'"),
        ({"metrics": {"miou": metric(10**400)}}, "'metrics.miou.value'"),
        ({"metrics": {"a\nb": None}}, "'metrics.a b' is NoneType"),
        ({"breakdowns": {"class": {"cat": {"miou": 3}}}}, "'breakdowns.class.cat.miou' is int"),
    ],
)
def test_a_summary_with_a_wrong_field_is_refused(tmp_path, changes, complaint):
    write_run(tmp_path, **changes)
    with pytest.raises(UsageError, match=complaint) as caught:
        load_summaries([tmp_path])
    assert "\n" not in str(caught.value)


def test_two_folders_with_the_same_evaluation_are_refused(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    with pytest.raises(UsageError, match="hold the same evaluation"):
        load_summaries([tmp_path / "a", tmp_path / "b"])


# --- the leaderboard ---


def test_mean_is_over_datasets_not_over_masks(tmp_path):
    write_run(tmp_path, dataset="big", miou=0.2, n_masks=10000)
    write_run(tmp_path, dataset="small", miou=0.8, n_masks=10)
    (row,) = board(tmp_path).rows
    assert row.mean("miou") == 0.5  # (.2 + .8) / 2, whatever the masks


def test_a_row_that_is_not_complete_everywhere_has_no_mean_and_no_rank(tmp_path):
    write_run(tmp_path, dataset="a", miou=0.3)
    write_run(tmp_path, dataset="b", miou=0.3)
    write_run(tmp_path, model="best", dataset="a", miou=0.9)  # has no run on b
    write_run(tmp_path, model="also", dataset="a", miou=0.9)
    write_run(tmp_path, model="also", dataset="b", miou=0.9, complete=False, n_scored=4)
    rows = board(tmp_path).rows
    assert [(row.model, row.mean("miou")) for row in rows] == [("region_tree", 0.3), ("also", None), ("best", None)]


def test_an_undefined_value_leaves_the_mean_undefined(tmp_path):
    write_run(tmp_path, dataset="a")
    write_run(tmp_path, dataset="b", metrics={"miou": metric(None, n=0)})
    shown = markdown.leaderboard(board(tmp_path))
    assert "| region\\_tree@aaaa1111 [1] | 50.0 ± 1.0 | n/a | n/a |" in shown


def test_rows_are_ranked_by_the_primary_metric(tmp_path):
    for model, miou in (("low", 0.1), ("high", 0.6), ("mid", 0.3)):
        write_run(tmp_path, model=model, miou=miou)
    assert [row.model for row in board(tmp_path).rows] == ["high", "mid", "low"]


def test_another_signature_or_weights_file_is_another_row(tmp_path):
    write_run(tmp_path / "a", dataset="a")
    write_run(tmp_path / "b", dataset="b", signature="point:random")
    write_run(tmp_path / "c", dataset="b", digest=VIT_B)
    rows = board(tmp_path).rows
    assert len(rows) == 3
    assert all(row.mean("miou") is None for row in rows)


def test_a_dataset_in_two_columns_is_not_averaged(tmp_path):
    write_run(tmp_path / "a", dataset="lvis", split="v1_val")
    write_run(tmp_path / "b", dataset="lvis", split="v0.5_val")
    table = board(tmp_path)
    assert table.labels() == ["lvis (v0.5_val, paper)", "lvis (v1_val, paper)"]
    shown = markdown.leaderboard(table)
    assert "mean |" not in shown
    assert "would count twice" in shown


def test_other_images_under_one_heading_are_told(tmp_path):
    write_run(tmp_path, model="one", index_digest="1" * 64)
    write_run(tmp_path, model="two", index_digest="2" * 64)
    assert "demo: the runs are not of the same images" in markdown.leaderboard(board(tmp_path))


def test_task_versions_are_never_in_one_table(tmp_path):
    write_run(tmp_path / "1")
    write_run(tmp_path / "2", task_version=2)
    assert [b.task_version for b in leaderboards(load_summaries([tmp_path]))] == [1, 2]


def make_two_by_two(out):
    write_run(out, dataset="coco", miou=0.5)
    write_run(out, dataset="demo", miou=0.25, complete=False, n_scored=7, n_failed=2)
    write_run(out, model="sam_vit_b", digest=VIT_B, dataset="coco", miou=0.75, zero_shot="no")
    write_run(out, model="sam_vit_b", digest=VIT_B, dataset="demo", miou=0.625, zero_shot="unknown")


def test_markdown_leaderboard_exactly(tmp_path):
    make_two_by_two(tmp_path)
    # (75 + 62.5) / 2 = 68.75, which prints as 68.8 (half to even on the binary value: .6875 is exact)
    assert markdown.leaderboard(board(tmp_path)) == (
        "## single\\_point, version 1\n"
        "\n"
        "### mIoU (%)\n"
        "\n"
        "| model | coco | demo | mean |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| sam\\_vit\\_b@bbbb2222 [1] | 75.0 ± 1.0 † | 62.5 ± 1.0 ? | 68.8 †? |\n"
        "| region\\_tree@aaaa1111 [1] | 50.0 ± 1.0 | 25.0 ± 1.0 … | incomplete |\n"
        "\n"
        "### oracle mIoU (%)\n"
        "\n"
        "| model | coco | demo | mean |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| sam\\_vit\\_b@bbbb2222 [1] | 87.5 ± 0.5 † | 87.5 ± 0.5 ? | 87.5 †? |\n"
        "| region\\_tree@aaaa1111 [1] | 87.5 ± 0.5 | 87.5 ± 0.5 … | incomplete |\n"
        "\n"
        "- ±: half of the 95 % interval, normal over masks.\n"
        "- mean: unweighted over the datasets; a row without a complete run on each of them has none.\n"
        "- † not zero-shot: the model was trained on this dataset.\n"
        "- ? nobody has said whether the model was trained on this dataset.\n"
        "- … incomplete run: some images have no result yet, or failed.\n"
        "\n"
        "Signatures:\n"
        "\n"
        f"- [1] `{SIGNATURE}`\n"
    )


def test_only_marks_that_occur_are_explained(tmp_path):
    write_run(tmp_path)
    shown = markdown.leaderboard(board(tmp_path))
    assert not any(mark in shown for mark in "†?…")
    assert "mean" not in shown


def test_console_table_exactly(tmp_path):
    make_two_by_two(tmp_path)
    assert console_table(load_summaries([tmp_path])) == (
        "single_point, version 1 (%; ±: half of the 95 % interval)\n"
        "model                 dataset          miou  miou@3  oracle_miou  images  masks\n"
        "sam_vit_b@bbbb2222    coco       75.0 ± 1.0    75.0   87.5 ± 0.5   10/10    100  not zero-shot\n"
        "sam_vit_b@bbbb2222    demo       62.5 ± 1.0    75.0   87.5 ± 0.5   10/10    100  zero-shot unknown\n"
        "sam_vit_b@bbbb2222    mean of 2        68.8    75.0         87.5\n"
        "region_tree@aaaa1111  coco       50.0 ± 1.0    75.0   87.5 ± 0.5   10/10    100\n"
        "region_tree@aaaa1111  demo       25.0 ± 1.0    75.0   87.5 ± 0.5    7/10    100  incomplete (2 failed)\n"
        "region_tree@aaaa1111  mean of 2           –       –            –                 "
        "no mean: not complete on every dataset of the table\n"
        f"signature: {SIGNATURE}"
    )
    assert console_table([]) == ""


def test_console_tells_signatures_apart(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", signature="point:random", miou=0.4)
    lines = console_table(load_summaries([tmp_path])).splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == ["region_tree@aaaa1111 [1]", "region_tree@aaaa1111 [2]"]
    assert lines[4:] == [f"signature [1]: {SIGNATURE}", "signature [2]: point:random"]


def test_leaderboard_csv_exactly(tmp_path):
    write_run(tmp_path, complete=False, metrics={"miou": metric(0.1, None, n=1, bootstrap=[0.0, 0.3])})
    expected = [
        "task,task_version,dataset,split,subset,model,weights_digest,signature,metric,value,ci95_low,ci95_high,"
        "ci95_bootstrap_low,ci95_bootstrap_high,n,unit,zero_shot,complete,n_expected,n_scored,n_failed,n_excluded,"
        "n_masks,records_digest,sambench_version,family,parameters",
        f'single_point,1,demo,val,paper,region_tree,{TREE},"{SIGNATURE}",miou,0.1,,,0.0,0.3,1,fraction,yes,false,'
        f"10,10,0,0,100,{'c' * 64},0.1.0,region_tree,0",
    ]
    assert data.leaderboard_csv(load_summaries([tmp_path])) == "\n".join(expected) + "\n"


def test_leaderboard_json(tmp_path):
    make_two_by_two(tmp_path)
    (table,) = data.leaderboard_json([board(tmp_path)])["leaderboards"]
    assert [d["dataset"] for d in table["datasets"]] == ["coco", "demo"]
    first, second = table["rows"]
    assert (first["complete"], first["mean"]["miou"]) == (True, 0.6875)
    assert (second["complete"], second["mean"]) == (False, {"miou": None, "miou@3": None, "oracle_miou": None})
    assert second["cells"][1]["n_failed"] == 2
    assert first["cells"][0]["metrics"]["miou"] == metric(0.75, 0.01, bootstrap=[0.73, 0.78])
    assert first["cells"][0]["zero_shot"] == "no"


def check_latex(source):
    """What would stop LaTeX: an unescaped special, unbalanced braces, a row with too many cells."""
    for line in source.splitlines():
        assert line.startswith("%") or not re.search(r"(?<!\\)[%#]", line), line
    assert not re.search(r"[^\x20-\x7e\nÀ-ÿ]", source)
    bare = re.sub(r"\\[{}\\$&#%_]", "", source)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert source.count(r"\begin{table}") == source.count(r"\end{table}")
    for columns, body in re.findall(r"\\begin{tabular}{(l?r*)}(.*?)\\end{tabular}", source, re.S):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1, row
            outside = re.sub(r"\$[^$]*\$", "", row)
            assert not re.search(r"(?<!\\)[_^]", outside), row


def test_latex(tmp_path):
    make_two_by_two(tmp_path)
    source = latex.leaderboards([board(tmp_path)])
    check_latex(source)
    assert source.count(r"\begin{tabular}{lrrr}") == 2
    assert (
        "sam\\_vit\\_b@bbbb2222 {[}1{]} & $75.0 \\pm 1.0$$^{\\dagger}$ & $62.5 \\pm 1.0$$^{?}$ & "
        "$68.8$$^{\\dagger}$$^{?}$ \\\\\n"
    ) in source
    assert " & incomplete \\\\\n" in source
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert source.count(rule) == 2


# --- names that mean harm ---


def test_hostile_names_everywhere(tmp_path):
    write_run(
        tmp_path / "runs",
        model=HOSTILE,
        dataset="demo:" + HOSTILE,
        signature=HOSTILE,
        breakdowns={"class": {HOSTILE: {"miou": metric(0.5, 0.1)}, "": {"miou": metric(0.4)}}},
    )
    out = tmp_path / "out"
    write_report([tmp_path / "runs"], out)
    page = (out / "report.md").read_text("utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", page, re.M)
    assert tables
    for table in tables:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table
    assert "\n# ü" not in page
    check_latex((out / "leaderboard.tex").read_text("utf-8"))
    clean = HOSTILE.encode("utf-8", "backslashreplace").decode()  # UTF-8 cannot hold half of a surrogate pair
    rows = list(csv.DictReader(io.StringIO((out / "leaderboard.csv").read_bytes().decode(), newline="")))
    assert {row["model"] for row in rows} == {clean}
    rows = list(csv.DictReader(io.StringIO((out / "breakdowns.csv").read_bytes().decode(), newline="")))
    assert [row["group"] for row in rows] == [clean, ""]
    (table,) = json.loads((out / "leaderboard.json").read_text("utf-8"))["leaderboards"]
    assert table["rows"][0]["model"] == HOSTILE
    console = console_table(load_summaries([tmp_path / "runs"]))
    assert len(console.splitlines()) == 4
    console.encode("utf-8")


@given(st.text())
def test_markdown_cells_stay_one_cell(name):
    shown = formatting.markdown(name)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", shown)
    assert "<" not in shown
    assert len(shown.splitlines()) <= 1


@given(st.text())
def test_latex_escapes_whatever_it_gets(name):
    shown = formatting.latex(name)
    assert re.fullmatch(r"[\x20-\x7eÀ-ÿ]*", shown)
    bare = re.sub(r"\\[{}$&#%_]", "", shown)
    assert not re.search(r"[$&#%_^~]", bare)
    assert bare.count("{") == bare.count("}")


@given(st.text())
def test_code_spans_close(name):
    shown = formatting.code(name)
    fence = re.match("`+", shown)[0]
    assert shown.endswith(fence)
    assert fence not in re.sub(f"^{fence}|{fence}$", "", shown) or text.one_line(name) == ""


@given(st.text())
def test_padding_fills_to_the_width(name):
    name = text.one_line(name)
    assert formatting.width(formatting.pad(name, 80)) == max(80, formatting.width(name))


def test_numbers():
    assert formatting.number(0.4804) == "48.0"
    assert formatting.number(1.0) == "100.0"
    assert formatting.number(-0.00001) == "0.0"
    assert formatting.number(None) == "n/a"
    assert formatting.number(12.34567, "seconds") == "12.35"
    assert formatting.interval((0.1, 0.25)) == "10.0 to 25.0"
    assert formatting.interval(None) == "n/a"


# --- the report ---


def test_report_files_and_their_bytes_are_the_same_each_time(tmp_path):
    make_two_by_two(tmp_path / "runs")
    page = write_report([tmp_path / "runs"], tmp_path / "new" / "one")
    assert page == tmp_path / "new" / "one" / "report.md"
    again = write_report([tmp_path / "runs"], tmp_path / "two").parent
    names = sorted(path.name for path in page.parent.iterdir())
    assert names == [
        "assets",
        "breakdowns.csv",
        "datasets",
        "index.html",
        "leaderboard.csv",
        "leaderboard.json",
        "leaderboard.tex",
        "models",
        "published.csv",
        "report.md",
        "runs",
    ]
    for path in page.parent.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(page.parent)).read_bytes()


def test_published_and_measured_are_never_mixed(tmp_path):
    split = registry.load("datasets", "bbbc038").card.default_split
    write_run(tmp_path / "runs", dataset="bbbc038", split=split, miou=0.42)
    out = tmp_path / "out"
    page = write_report([tmp_path / "runs"], out).read_text("utf-8")
    measured, heading, rest = page.partition("## Published results, not measured here\n")
    assert heading
    published, _, runs = rest.partition("\n## Runs\n")
    assert "42.0" in measured
    assert "SAM ViT-H" not in measured
    assert "SAM ViT-H" not in runs
    assert "region" not in published
    assert re.search(
        r"\| bbbc038 \| BBBC038v1 \| SAM ViT-H \| minus RITM .* \| SAM paper .* Fig. 9a .* \| 44.7 \|", published
    )
    assert re.search(r"\| \(all\) \| SA-23 \| SAM ViT-H \| .* \| mIoU@1 \| SAM 2 paper .* \| 58.1 \|", published)
    rows = list(csv.DictReader((out / "published.csv").open(encoding="utf-8", newline="")))
    assert list(rows[0]) == [
        "task",
        "dataset",
        "published_dataset",
        "model",
        "variant",
        "metric",
        "value",
        "table",
        "source",
    ]
    assert all(row["source"] for row in rows)
    assert {row["dataset"] for row in rows} == {"bbbc038", ""}
    assert "SAM ViT-H" not in (out / "leaderboard.csv").read_text("utf-8")
    assert "58.1" not in (out / "leaderboard.json").read_text("utf-8")
    assert "SAM ViT" not in (out / "leaderboard.tex").read_text("utf-8")


def test_the_section_of_a_run(tmp_path):
    classes = {f"c{i:02}": {"miou": metric(0.5, 0.01, n=i + 1)} for i in range(25)}
    sizes = {s: {"miou": metric(v, 0.01, n=5)} for s, v in (("large", 0.75), ("medium", 0.5), ("small", 0.25))}
    write_run(
        tmp_path / "runs",
        complete=False,
        zero_shot="no",
        n_scored=7,
        n_failed=2,
        excluded_masks={"crowd": 3, "empty_mask": 0},
        breakdowns={"size": sizes, "class": classes},
    )
    out = tmp_path / "out"
    page = write_report([tmp_path / "runs"], out).read_text("utf-8")
    section = page.partition("### region\\_tree@aaaa1111 on demo\n")[2]
    for line in (
        "Not zero-shot: the model was trained on this dataset.",
        "Incomplete run: some images have no result yet, or failed.",
        "| split, subset | val, paper |",
        "| images | 7 scored, 2 failed, 0 excluded, of 10 |",
        "| masks excluded, by rule | crowd: 3 |",
        "| metric | value (%) | 95 %, normal over masks | 95 %, bootstrap over images | n |",
        "| miou | 50.0 | 49.0 to 51.0 | 48.0 to 53.0 | 100 |",
        "| oracle\\_miou | 87.5 | 87.0 to 88.0 | n/a | 100 |",
        "| clicks | 1 | 3 |",
        "| mIoU (%) | 50.0 ± 1.0 | 75.0 ± 2.0 |",
        "| oracle (%) | 87.5 ± 0.5 |  |",
        "By class, the 20 with most masks of 25 (all: breakdowns.csv) (%):",
    ):
        assert line in section.splitlines(), line
    assert section.index("| small | 5 | 25.0 ± 1.0 |") < section.index("| medium |") < section.index("| large |")
    shown = re.findall(r"^\| (c\d\d) \|", section, re.M)
    assert shown == [f"c{i:02}" for i in range(24, 4, -1)]
    rows = list(csv.DictReader((out / "breakdowns.csv").open(encoding="utf-8", newline="")))
    assert len(rows) == 28
    assert {(r["zero_shot"], r["complete"]) for r in rows} == {("no", "false")}


def test_runs_without_a_summary_are_named(tmp_path):
    write_run(tmp_path, dataset="a")
    unfinished = write_run(tmp_path, dataset="b")
    (unfinished / "summary.json").unlink()
    assert unsummarised([tmp_path]) == [unfinished]
    page = write_report([tmp_path], tmp_path / "out").read_text("utf-8")
    assert "## Left out: runs without a summary" in page
    assert "- single\\_point/b/region\\_tree@aaaa1111\n" in page
    assert str(tmp_path) not in page


def test_an_unusable_out_is_one_line(tmp_path):
    write_run(tmp_path / "runs")
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SambenchError, match="cannot write") as caught:
            write_report([tmp_path / "runs"], out)
        assert "\n" not in str(caught.value)


def test_a_report_that_cannot_be_written_leaves_the_old_one_whole(tmp_path):
    write_run(tmp_path / "runs")
    out = tmp_path / "out"
    before = write_report([tmp_path / "runs"], out).read_bytes()
    (out / "published.csv").unlink()
    (out / "published.csv").mkdir()
    with pytest.raises(SambenchError, match=r"cannot write .*published\.csv"):
        write_report([tmp_path / "runs"], out)
    assert (out / "report.md").read_bytes() == before
    assert not list(out.glob(".*tmp"))


def test_reporting_imports_neither_torch_nor_pandas():
    code = "import sys, sambench.reporting; print([m for m in ('torch', 'pandas', 'pyarrow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- the documentation ---


def test_every_column_and_field_is_documented(tmp_path):
    documented = set(
        re.findall(r"`(?:[\w.\[\]]*\.)?(\w+)(?:\[\])?`", (ROOT / "docs" / "reports.md").read_text("utf-8"))
    )
    run = write_run(tmp_path)
    fields = set(json.loads((run / "summary.json").read_text()))
    columns = {*data.LEADERBOARD_COLUMNS, *data.BREAKDOWN_COLUMNS, *data.DELTA_COLUMNS, *data.PUBLISHED_COLUMNS}
    table = data.leaderboard_json([board(tmp_path)])["leaderboards"][0]
    keys = {*table, *table["rows"][0], *table["rows"][0]["cells"][0], *metric(0.5)}
    assert (fields | columns | keys) - documented == set()


def test_every_file_is_documented(tmp_path):
    write_run(tmp_path / "runs")
    documented = (ROOT / "docs" / "reports.md").read_text("utf-8")
    for path in write_report([tmp_path / "runs"], tmp_path / "out", "region_tree").parent.iterdir():
        assert f"| `{path.name}` |" in documented
