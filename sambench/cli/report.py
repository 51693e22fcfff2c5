"""`sambench report`, `compare`, `gate`, `export`, `log` and `rate`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sambench.cli.common import (
    cli,
    echo_table,
    write_galleries_of,
    write_report_of,
)
from sambench.cli.flags import again_flags, data_root_flag, flag, plugins_flag
from sambench.errors import UsageError

if TYPE_CHECKING:
    pass


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=Path)
@flag("--out", type=Path, required=True, help="Folder for the report.")
@flag(
    "--against",
    "baseline",
    default="",
    metavar="MODEL",
    help="Show each model's difference from this one, on each dataset.",
)
@flag("--gallery", type=click.IntRange(0), default=0, metavar="N", help="Picture N cases of each kind of each run.")
@again_flags
@flag("--json", "as_json", is_flag=True, help="The leaderboard as JSON on stdout too.")
def report(
    runs: Sequence[Path],
    out: Path,
    baseline: str,
    gallery: int,
    as_json: bool,
    **again: Any,
) -> int:
    """Write a site, Markdown, CSV, JSON and LaTeX tables and figures of runs (folders, searched for runs)."""
    absent = write_galleries_of(runs, out, gallery, **again) if gallery else []
    path = write_report_of(list(runs), out, baseline)
    if as_json:
        click.echo((out / "leaderboard.json").read_text("utf-8"))
    else:
        echo_table(list(runs), baseline)
        click.echo(f"\nreport: {path.with_name('index.html')}, {path}")
    return 0 if all(one.expected for one in absent) else 1


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@flag("--models", metavar="A,B", help="The two models, where a folder holds runs of several (name or name@digest).")
@flag("--metric", default="", help="Which metric. Default: the task's first that is a mean over cases.")
@flag("--tie", type=click.FloatRange(0), default=0.0, help="Treat differences up to this as ties.")
@flag("--cases", type=click.IntRange(0), default=10, show_default=True, help="How many cases to show.")
@flag("--common", is_flag=True, help="Leave out datasets that only one side has, instead of refusing.")
@flag("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for Markdown, CSV and JSON.")
@plugins_flag
@flag("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def compare(
    runs: Sequence[Path],
    models: str | None,
    metric: str,
    tie: float,
    cases: int,
    common: bool,
    out: Path | None,
    plugin_folders: Sequence[Path],
    as_json: bool,
) -> int:
    """Compare two models case by case: RUNS are two folders of runs, or one or more that hold both with --models."""
    from sambench.analysis import compare as comparing
    from sambench.plugins import registry
    from sambench.reporting import comparison

    registry.add_folders(plugin_folders)
    if models is None and len(runs) != 2:
        raise UsageError(f"{len(runs)} folders given: give two to compare, or name the two with --models A,B")
    names = registry.split_names([models]) if models else ["", ""]
    if len(names) != 2:
        raise UsageError(f"--models {models}: give two different names with a comma between")
    sides = (runs, runs) if models else ([runs[0]], [runs[1]])
    result = comparing.compare(*sides, metric=metric, tie=tie, most=cases, common=common, keep=(names[0], names[1]))
    click.echo(json.dumps(comparison.as_json(result), indent=1) if as_json else comparison.console(result))
    if out is not None:
        click.echo(f"\ncomparison: {comparison.write(result, out)}", err=as_json)
    return 0


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@flag("--baseline", required=True, type=click.Path(path_type=Path), help="leaderboard.csv of an earlier report.")
@flag("--metric", "metrics", multiple=True, help="What to check. Repeatable. Default: each task's primary metric.")
@flag(
    "--max-drop", type=click.FloatRange(0), help="How much worse: .01 is a point. Default: to the 95 % interval's end."
)
@flag("--junit", type=click.Path(path_type=Path), help="Also write JUnit XML.")
@flag("--badge", type=click.Path(path_type=Path), help="Also write the JSON of a shields.io endpoint badge.")
def gate(
    runs: Sequence[Path],
    baseline: Path,
    metrics: Sequence[str],
    max_drop: float | None,
    junit: Path | None,
    badge: Path | None,
) -> int:
    """For CI: exit 1 where a run is worse than the baseline, incomplete or missing. Writes a table, also to
    GITHUB_STEP_SUMMARY where that is set."""
    from sambench.analysis import gate as gating
    from sambench.atomic_files import output_error, write_atomic
    from sambench.runs.summaries import load_summaries

    model_check = gating.gate(load_summaries(runs), baseline, metrics=metrics, max_drop=max_drop)
    table = gating.markdown_table(model_check)
    click.echo(table)
    for path, content in ((junit, gating.junit(model_check)), (badge, gating.badge(model_check))):
        if path is not None:
            write_atomic(path, content)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with open(summary, "a", encoding="utf-8") as file:
                file.write(table + "\n")
        except OSError as error:
            raise output_error(Path(summary), error) from error
    return 0 if all(check.passed for check in model_check) else 1


@cli.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@flag("--study", type=click.Path(path_type=Path), required=True, help="Folder of the study: masks, pictures, ratings.")
@flag("--masks", type=click.IntRange(1), default=1000, show_default=True, help="Objects to draw of each dataset.")
@flag("--raters", type=click.IntRange(1), default=1, show_default=True, help="Ratings that each mask gets.")
@flag("--model", "-m", "models", multiple=True, help="A run's model, where its manifest cannot tell it. Repeatable.")
@data_root_flag
@plugins_flag
@flag("--host", default="127.0.0.1", show_default=True, help="Address to serve at; 0.0.0.0: to others too.")
@flag("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any that is free.")
@flag("--token", default="", help="Password for raters. Default: a random one where others can reach the page.")
@flag("--prepare", is_flag=True, help="Draw the masks and make them, and stop.")
@flag("--summary", "as_summary", is_flag=True, help="Print the ratings so far, and stop.")
@flag("--json", "as_json", is_flag=True, help="The summary as JSON.")
def rate(
    runs: Sequence[Path],
    study: Path,
    masks: int,
    raters: int,
    host: str,
    port: int,
    token: str,
    prepare: bool,
    as_summary: bool,
    as_json: bool,
    **where: Any,
) -> int:
    """Have people rate masks of runs, and annotated masks, from 1 to 10, on a web page served here."""
    from sambench.study import studies, summary

    if as_summary:
        if runs:
            raise UsageError("--summary is of the study as it is: leave the runs out")
        found, path = studies.sum_up(study)
        click.echo(json.dumps(found.as_dict(), indent=1, ensure_ascii=False) if as_json else summary.page(found))
        click.echo(f"summary: {path}", err=True)
        return 0
    from sambench.cli.progress import RunProgress

    with studies.prepare(study, runs, masks, RunProgress, say=click.echo, **where) as storage:
        if not prepare:
            studies.serve(storage, host, port, token=token, raters=raters, say=click.echo)
    return 0


@cli.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@flag("--to", required=True, type=click.Choice(["coco", "csv", "fiftyone", "hf"]), help="Format.")
@flag("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for it.")
@flag("--clicks", type=click.IntRange(1), default=1, show_default=True, help="Masks after this many clicks.")
@again_flags
def export_(run: Path, to: str, out: Path, **again: Any) -> int:
    """Write a run for other tools: masks as COCO's results, records as CSV, or a folder for Hugging Face's datasets or
    FiftyOne. Masks that the run does not hold are made again."""
    from sambench.outputs.export import export

    for path in export(run, to, out, **again):
        click.echo(path)
    return 0


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@flag("--to", required=True, type=click.Choice(["mlflow", "wandb"]), help="Which service, through its own client.")
@flag("--project", default="sambench", show_default=True, help="Experiment of MLflow, or project of Weights & Biases.")
def log(runs: Sequence[Path], to: str, project: str) -> int:
    """Log finished runs to MLflow or Weights & Biases. Nothing else in sambench contacts a service."""
    from sambench.outputs import tracking

    for name in tracking.log(runs, to, project):
        click.echo(f"{to}: {name}")
    return 0
