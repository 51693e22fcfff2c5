"""`sambench check` and `sambench bench`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sambench.cli.common import (
    cli,
    echo_missing,
    explain_incomplete,
    settings_from,
)
from sambench.cli.flags import SUBSETS, data_flags, flag, out_flag, set_flag

if TYPE_CHECKING:
    pass


@cli.group()
def check() -> None:
    """Check a model before a run."""


@check.command("model")
@click.argument("name")
@set_flag("model.KEY=VALUE", "Option of the model. Repeatable.")
@flag("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Where it runs.")
@flag("--json", "as_json", is_flag=True, help="As JSON.")
def check_model(name: str, assignments: Sequence[str], device: str, as_json: bool) -> int:
    """Try a model on a few demo images: a tick or a cross for each capability."""
    from sambench.bench import model_check

    results = model_check.check_model(name, assignments, device)
    if as_json:
        click.echo(json.dumps([r.as_dict() for r in results], indent=1, ensure_ascii=False))
    else:
        for result in results:
            click.echo(f"{'✓' if result.passed else '✗'} {result.what}: {result.detail}")
    return 0 if all(r.passed for r in results) else 1


@cli.group()
def bench() -> None:
    """Measure how fast a model answers, and what options that make it faster cost."""


@bench.command("latency")
@flag("--model", "-m", "models", multiple=True, required=True, metavar="M[,M]", help="Model, or several.")
@flag("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Where it runs.")
@flag("--image", type=click.Path(path_type=Path), help="Image file. Default: a scene of the demo.")
@flag("--size", type=click.IntRange(16), default=1024, show_default=True, help="Resize its longer side to this.")
@flag("--repeats", type=click.IntRange(1), default=50, show_default=True, help="Prompts of each kind that are timed.")
@flag("--images", type=click.IntRange(1), default=10, show_default=True, help="Encodings that are timed.")
@flag("--warmup", type=click.IntRange(0), default=5, show_default=True, help="Untimed repetitions of each first.")
@flag("--threads", type=click.IntRange(1), help="Threads to compute with. Default: one on each processor.")
@set_flag("model.KEY=VALUE", "Option of the models. Repeatable.")
@out_flag
@flag("--json", "as_json", is_flag=True, help="As JSON on stdout instead of a table.")
def bench_latency(
    models: Sequence[str],
    device: str,
    image: Path | None,
    size: int,
    repeats: int,
    images: int,
    warmup: int,
    threads: int | None,
    assignments: Sequence[str],
    out: Path,
    as_json: bool,
) -> int:
    """Time encodings and single prompts on this machine. A report of OUT then shows quality against latency."""
    from sambench.bench import latency
    from sambench.plugins import registry

    found = latency.bench(
        registry.split_names(models),
        latency.Plan(repeats, warmup, images),
        out,
        device=device,
        image=image,
        size=size,
        threads=threads or 0,
        assignments=assignments,
        say=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in found], indent=1, ensure_ascii=False))
    else:
        click.echo(latency.console(found))
        click.echo("\n" + "\n".join(f"latency: {one.file(out)}" for one in found))
    return 0


@bench.command("accuracy-of")
@click.argument("changes", metavar="OWNER.KEY=VALUE...", nargs=-1, required=True)
@flag("--task", "-t", "tasks", multiple=True, required=True, metavar="T[,T]|all", help="Task, or several.")
@flag("--dataset", "-d", "datasets", multiple=True, required=True, metavar="D[,D]|all", help="As `sambench run` says.")
@flag("--model", "-m", "models", multiple=True, required=True, metavar="M", help="The one model.")
@data_flags
@out_flag
@flag("--limit", type=click.IntRange(1), help="Only the first N images.")
@flag("--subset", default="paper", show_default=True, metavar=SUBSETS, help="Images that are evaluated.")
@flag(
    "--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Of the baseline."
)
@flag("--batch-size", type=click.IntRange(1), help="Of the baseline. Default: by device.")
@flag("--workers", type=click.IntRange(1), help="Of the baseline. Default: by model and device.")
@flag("--threads", type=click.IntRange(1), help="Of the baseline. Default: by model and device.")
@flag("--seed", type=int, default=0, show_default=True, help="Seed of random prompts and bootstraps.")
@flag("--fresh", is_flag=True, help="Discard existing results and start again.")
@flag("--json", "as_json", is_flag=True, help="As JSON on stdout instead of a table.")
def bench_accuracy_of(changes: Sequence[str], as_json: bool, **arguments: Any) -> int:
    """Measure how options change the metrics: run the baseline and each variant, then compare case by case. OPTIONS are
    those of --set (model.dtype=bfloat16) and the flags run.batch_size, run.threads, run.device and run.encodings_dtype
    of `sambench run`. Existing runs are reused.
    """
    from sambench.bench import accuracy
    from sambench.cli.interrupts import stoppable
    from sambench.cli.progress import RunProgress
    from sambench.reporting import effects

    settings = settings_from(**arguments)
    plan = accuracy.make_plan(settings, changes)
    with stoppable() as stop:
        found, incomplete = accuracy.carry_out(plan, RunProgress, stop)
    for path, summary in incomplete:
        explain_incomplete(path, summary, settings)
    written = effects.write(plan.model, found, plan.folder)
    if as_json:
        click.echo(json.dumps(effects.as_json(plan.model, found), indent=1, ensure_ascii=False))
    else:
        click.echo(effects.console(plan.model, found))
        echo_missing(plan.missing)
        click.echo(f"\neffects: {written}")
    return 1 if incomplete else 0
