"""`sambench run`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sambench.cli.common import (
    cli,
    echo_macro_means,
    echo_missing,
    echo_skipped,
    echo_table,
    explain_incomplete,
    settings_from,
    write_report_of,
)
from sambench.cli.flags import SUBSETS, data_flags, flag, out_flag, set_flag
from sambench.errors import UsageError

if TYPE_CHECKING:
    from sambench.planning.settings import Settings


@cli.command()
@flag("--task", "-t", "tasks", multiple=True, required=True, metavar="T[,T]|all", help="Task, or several.")
@flag(
    "--dataset",
    "-d",
    "datasets",
    multiple=True,
    required=True,
    metavar="D[,D]|all",
    help="Dataset, several, a collection (all, sam23, ritm5), or a .txt file of names.",
)
@flag(
    "--model",
    "-m",
    "models",
    multiple=True,
    metavar="M[,M]",
    help="Zoo name, checkpoint file, hub id, local folder, or path/to/file.py:Class; of several the first is the "
    "report's baseline. Default: the embedded model.",
)
@data_flags
@out_flag
@flag("--limit", type=click.IntRange(1), help="Only the first N images: for trials. The full run goes on from there.")
@flag(
    "--subset",
    default="paper",
    show_default=True,
    metavar=SUBSETS,
    help="Images that are evaluated: the paper's rule (about 10k masks), all, N, or those of a `data lock` file.",
)
@flag(
    "--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Where models run."
)
@flag("--batch-size", type=click.IntRange(1), help="Images encoded at once. Default: 1 on a CPU, what fits on a GPU.")
@flag("--workers", type=click.IntRange(1), help="Workers. Default: by model and device; on a cluster all it has.")
@flag("--threads", type=click.IntRange(1), help="Threads each worker computes with. Default: by model and device.")
@flag("--backend", default="local", show_default=True, type=click.Choice(["local", "ray"]), help="Where workers run.")
@flag("--ray-address", default="", metavar="HOST:PORT", help="Ray cluster. Default: RAY_ADDRESS, or one made here.")
@flag("--shard", metavar="I/N", help="Only part I of N of each run, for job arrays; `sambench merge` joins them.")
@flag("--encodings", type=Path, metavar="DIR", help="Cache image encodings in this folder and reuse them.")
@flag("--encodings-size", default="50GB", show_default=True, help="Maximum size of that folder.")
@flag(
    "--encodings-dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "float16"]),
    help="Precision of encodings; float16 rounds them, also where they are not kept.",
)
@flag("--seed", type=int, default=0, show_default=True, help="Seed of random prompts and bootstraps.")
@flag("--fresh", is_flag=True, help="Discard existing results and start again.")
@set_flag(
    "OWNER.KEY=A,B",
    "As --set, with a run for each value, in an output folder of its own. Repeatable: every combination.",
    "--sweep",
    "sweeps",
)
@flag("--profile", is_flag=True, help="Also write files/trace.json of each run, a timeline for Perfetto.")
@flag("--log-json", type=Path, metavar="FILE", help="Append progress to a file as JSON lines, to watch it elsewhere.")
@flag("--dry-run", is_flag=True, help="Print the plan and stop.")
@flag("--json", "as_json", is_flag=True, help="Summaries as JSON on stdout instead of a table.")
def run(
    dry_run: bool,
    as_json: bool,
    sweeps: Sequence[str],
    ray_address: str,
    shard: str | None,
    encodings: Path | None,
    encodings_size: str,
    log_json: Path | None,
    **arguments: Any,
) -> int:
    """Evaluate models on datasets. Repeat the command to resume. Ctrl-C or SIGTERM finishes the current batch; a second
    one stops immediately."""
    from sambench import evaluate
    from sambench.cli.interrupts import stoppable
    from sambench.cli.progress import Reporter
    from sambench.engine.encoding_cache import EncodingsSpec, parse_size
    from sambench.planning.plan import make_plan, out_of, part_of, specification
    from sambench.planning.sweep import variants

    kept = None
    if encodings is not None:
        kept = EncodingsSpec(encodings.absolute(), parse_size(encodings_size), arguments["encodings_dtype"])
    settings = replace(settings_from(**arguments), encodings=kept, shard=_shard(shard))
    if dry_run:
        # Neither a cluster nor a GPU's memory is asked: where runs would lie does not depend on them.
        settings = replace(settings, backend="local", batch_size=settings.batch_size or int(settings.shard is None))
    elif settings.backend == "ray":
        from sambench.engine import ray_workers

        ray_workers.connect(ray_address)
    plans = [
        make_plan(
            replace(
                settings,
                out=settings.out / variant.folder,
                assignments=(*settings.assignments, *variant.assignments),
            )
        )
        for variant in variants(sweeps, settings.assignments)
    ]
    triples = [triple for plan in plans for triple in plan.triples]
    if dry_run:
        for triple in triples:
            spec = specification(triple)
            path, part = spec.directory(out_of(triple.settings)), ""
            if settings.shard is not None:
                part = f" ({len(part_of(triple.index, settings.shard, spec.encode_batch))} of them in this shard)"
            click.echo(f"{triple.title}: {len(triple.index)} images{part}, {triple.n_masks} masks -> {path}")
        echo_missing(plans[0].missing)
        echo_skipped(plans[0].skipped)
        return 0
    if not arguments["models"]:
        click.echo(f"no --model given: evaluating the embedded {settings.models[0]}", err=True)
    by_place, complete = {}, True
    with stoppable() as stop:
        for triple, path, summary in evaluate.evaluate(triples, Reporter(log_json), stop):
            by_place[id(triple)] = path
            if not summary["complete"]:
                complete = False
                explain_incomplete(path, summary, settings)
    paths = [by_place[id(triple)] for triple in triples]
    if settings.shard is not None:
        _echo_shard(paths, settings)
        return 0 if complete else 1
    baseline = f"{(m := triples[0].model).name}@{m.weights_digest[:8]}" if len(settings.models) > 1 else ""
    report_path = write_report_of(paths, settings.out / "report", baseline)
    if as_json:
        from sambench.runs.run import Run

        click.echo(json.dumps([Run(p).summary_content for p in paths], indent=1))
    else:
        echo_table(paths, baseline)
        echo_macro_means(settings.datasets, paths)
        echo_missing(plans[0].missing)
        echo_skipped(plans[0].skipped)
        click.echo(f"\nreport: {report_path.with_name('index.html')}, {report_path}")
    return 0 if complete else 1


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise UsageError(f"--shard {text}: write it as I/N, from 1/N to N/N")
    return int(i), int(n)


def _echo_shard(paths: Sequence[Path], settings: Settings) -> None:
    assert settings.shard is not None
    i, n = settings.shard
    for path in paths:
        click.echo(f"shard {i} of {n}: {path}")
    click.echo(f"when all {n} are there: sambench merge {settings.out}")
