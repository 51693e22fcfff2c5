"""`sambench merge` and `sambench score`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sambench.cli.common import (
    cli,
    echo_table,
    explain_incomplete,
    settings_from,
    write_report_of,
)
from sambench.cli.flags import SUBSETS, data_flags, flag, out_flag, plugins_flag

if TYPE_CHECKING:
    pass


@cli.command()
@click.argument("out", type=click.Path(path_type=Path), default=Path("runs"))
@plugins_flag
@flag("--remove", is_flag=True, help="Remove the shards of what was merged.")
@flag("--json", "as_json", is_flag=True, help="Summaries as JSON on stdout instead of a table.")
def merge(out: Path, plugin_folders: Sequence[Path], remove: bool, as_json: bool) -> int:
    """Join the shards (run --shard I/N) under OUT, the --out of the runs, to whole runs and report them. A run with
    shards missing or unfinished is left as it is, and said."""
    from sambench.plugins import registry
    from sambench.runs import merging

    registry.add_folders(plugin_folders)
    merged, unfinished = merging.merge(out, remove=remove)
    for line in unfinished:
        click.echo(line, err=True)
    if merged:
        report_path = write_report_of(merged, out / "report")
        if as_json:
            from sambench.runs.run import Run

            click.echo(json.dumps([Run(p).summary_content for p in merged], indent=1))
        else:
            echo_table(merged)
            click.echo(f"\nreport: {report_path.with_name('index.html')}, {report_path}")
    return 1 if unfinished else 0


@cli.command()
@flag("--task", "-t", required=True, help="Task the predictions answer.")
@flag("--dataset", "-d", required=True, help="Dataset with the ground truth; its images are not needed.")
@flag(
    "--predictions",
    required=True,
    type=Path,
    help="single_point: JSON list of {image_id, annotation_id, segmentation: RLE, score}, one or more for each "
    "annotation. edges: folder of PNG or .npy edge maps named by image id. proposals, instances: results JSON of "
    "{image_id, category_id, score, segmentation: RLE}. text_to_mask: JSON list of {image_id, phrase, "
    "segmentation: RLE}. See docs/tasks/.",
)
@flag("--no-nms", is_flag=True, help="Edge maps are thinned already (the same as --set task.edge_nms=false).")
@flag("--name", help="Name of the model. Default: the name of the file or folder.")
@data_flags
@out_flag
@flag("--subset", default="full", show_default=True, metavar=SUBSETS, help="Images that are scored.")
@flag("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@flag("--fresh", is_flag=True, help="Discard existing results and start again.")
@flag("--json", "as_json", is_flag=True, help="Summary as JSON on stdout instead of a table.")
def score(
    task: str,
    dataset: str,
    predictions: Path,
    no_nms: bool,
    name: str | None,
    as_json: bool,
    assignments: Sequence[str],
    **arguments: Any,
) -> int:
    """Score predictions made elsewhere."""
    from sambench import score as scoring
    from sambench.cli.progress import RunProgress

    if no_nms:
        assignments = [*assignments, "task.edge_nms=false"]
    arguments["assignments"] = assignments
    settings = settings_from(tasks=(task,), datasets=(dataset,), models=(), **arguments)
    path, summary = scoring.score(settings, predictions, name, RunProgress)
    if not summary["complete"]:
        explain_incomplete(path, summary, settings)
    report_path = write_report_of([path], settings.out / "report")
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    else:
        echo_table([path])
        click.echo(f"\nreport: {report_path.with_name('index.html')}, {report_path}")
    return 0 if summary["complete"] else 1
