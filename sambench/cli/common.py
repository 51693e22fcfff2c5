"""The root command, and steps that several verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import sambench

if TYPE_CHECKING:
    from sambench.outputs.gallery import Absent
    from sambench.planning.find_datasets import Missing
    from sambench.planning.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sambench.__version__, prog_name="sambench")
def cli() -> None:
    """Zero-shot evaluation of promptable segmentation: the tasks and datasets of Segment Anything.

    Every flag has a twin in the environment: --data-root is SAMBENCH_DATA_ROOT.
    """


def settings_from(
    tasks: Sequence[str],
    datasets: Sequence[str],
    models: Sequence[str],
    data_root: Path | None = None,
    **rest: Any,
) -> Settings:
    from sambench.models import zoo
    from sambench.planning.settings import Settings
    from sambench.plugins import registry

    given = {k: v for k, v in rest.items() if v is not None}
    return Settings(
        tasks=registry.split_names(tasks),
        datasets=list(datasets),
        models=registry.split_names(models) or [zoo.DEFAULT],
        data_root=data_root or default_data_root(),
        **given,
    )


def default_data_root() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("sambench")) / "datasets"


def write_report_of(paths: Sequence[Path], out: Path, baseline: str = "") -> Path:
    from sambench.reporting import write_report

    return write_report(paths, out, baseline)


def write_galleries_of(runs: Sequence[Path], out: Path, number: int, **again: Any) -> list[Absent]:
    from sambench.outputs.gallery import write_galleries

    absent = write_galleries(runs, out, number, **again)
    for one in absent:
        click.echo(str(one), err=True)
    return absent


def echo_table(paths: Sequence[Path], baseline: str = "") -> None:
    from sambench.reporting import console_table
    from sambench.runs.summaries import load_summaries

    click.echo(console_table(load_summaries(paths), baseline))


def echo_macro_means(asked: Sequence[str], paths: Sequence[Path]) -> None:
    from sambench.analysis.macro_means import macro_means
    from sambench.runs.summaries import load_summaries

    lines = macro_means(asked, load_summaries(paths))
    if lines:
        click.echo("\n" + "\n".join(lines))


def echo_missing(missing: Sequence[Missing]) -> None:
    if missing:
        click.echo("\nnot present, not evaluated:")
        for one in missing:
            card = one.card
            where = one.looked_at / (card.folders[0] if card.folders else card.name)
            click.echo(
                f"  {card.name}: get it from {card.url}, put it at {where} (`sambench show dataset {card.name}`)"
            )


def echo_skipped(skipped: Sequence[str]) -> None:
    if skipped:
        click.echo("\nof all tasks, not evaluated:")
        for line in skipped:
            click.echo(f"  {line}")


def explain_incomplete(path: Path, summary: dict[str, Any], settings: Settings) -> None:
    if summary["n_failed"]:
        from sambench.runs.run import Run

        first = next(iter(Run(path).failures()))
        click.echo(
            f"{path}: {summary['n_failed']} of {summary['n_expected']} images could not be evaluated (first: image "
            f"{first.id}: {first.error}), see {path / 'errors.jsonl'}; the same command tries just them again",
            err=True,
        )
    elif settings.limit is not None:
        click.echo(f"{path}: {summary['n_pending']} images left out by --limit; without it the run goes on", err=True)
