"""`sambench data`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sambench.cli.common import (
    cli,
    settings_from,
)
from sambench.cli.flags import SUBSETS, data_flags, flag
from sambench.errors import UsageError

if TYPE_CHECKING:
    pass


@cli.group()
def data() -> None:
    """Download, check and describe datasets."""


@data.command("get")
@click.argument("name")
@data_flags
@flag("--keep-archives", is_flag=True, help="Keep what was downloaded after it is unpacked.")
@flag("--yes", is_flag=True, help="Do not ask. Without a terminal nothing is asked anyway.")
@flag("--dry-run", is_flag=True, help="Print what would be downloaded, and where to, and stop.")
def data_get(name: str, keep_archives: bool, yes: bool, dry_run: bool, **arguments: Any) -> int:
    """Download and unpack a dataset, or say how to get it. Repeating the command goes on where it stopped."""
    from sambench.cli.progress import ByteProgress
    from sambench.data import checks as datachecks
    from sambench.data import download

    plugin, split, options, data_root = _choose_one(name, **arguments)
    card = plugin.card
    there = datachecks.presence(plugin, data_root, split, options)
    if there.state in ("made", "yours", "present"):
        click.echo(f"{card.name}: nothing to get: " + (f"complete at {there.root}" if there.root else card.access))
        return 0
    plan = download.make_plan(card, split, data_root)
    click.echo(f"{card.title} ({card.url})\nlicence: {card.licence}\nplease cite: {card.citation}\n{plan.text()}")
    todo = plan.todo("here", "download")
    if todo and not dry_run:
        if sys.stdin.isatty() and not yes:
            click.confirm("go on?", default=True, abort=True)
        download.carry_out(plan, ByteProgress(), lambda line: click.echo(line, err=True), keep_archives=keep_archives)
    if plan.todo("by hand") or not plan.items:
        click.echo("\nThe rest cannot be downloaded without you:" if todo else "\nTo get it:")
        for number, step in enumerate(download.steps(plan), 1):
            click.echo(f"  {number}. {step}")
        return 0 if dry_run else 1
    if not dry_run:
        click.echo(f"{card.name} is in {plan.folder}; see whether it is whole: {download.check_command(plan)}")
    return 0


@data.command("check")
@click.argument("name")
@data_flags
@flag("--deep", is_flag=True, help="Decode every image and mask, not only the headers.")
@flag("--json", "as_json", is_flag=True, help="As JSON.")
def data_check(name: str, deep: bool, as_json: bool, **arguments: Any) -> int:
    """Verify a dataset's files against its card."""
    from sambench.data import checks as datachecks

    plugin, split, options, data_root = _choose_one(name, **arguments)
    checked = datachecks.check(plugin, data_root, split, options, deep=deep)
    click.echo(json.dumps(checked.as_dict(), indent=1, ensure_ascii=False) if as_json else checked.text())
    return 0 if checked.passed else 1


@data.command("stats")
@click.argument("name")
@data_flags
@flag("--limit", type=click.IntRange(1), help="Only the first N images of the subset.")
@flag("--subset", default="paper", show_default=True, metavar=SUBSETS, help="Images to describe.")
@flag("--out", type=Path, default=Path("."), help="Folder for the picture.", show_default=True)
@flag("--json", "as_json", is_flag=True, help="As JSON.")
def data_stats(name: str, limit: int | None, subset: str, out: Path, as_json: bool, **arguments: Any) -> int:
    """Count a dataset's masks; draw sizes, concavity and a heat map of centres."""
    from sambench.data import statistics, subset_files

    found = _find_one(name, **arguments)
    dataset = found.open()
    drawn, _ = subset_files.draw(dataset.index(), subset, found.card.name, found.split)
    stats = statistics.stats(dataset, [entry.id for entry in drawn][:limit])
    picture = statistics.draw(stats, out / f"{found.card.name}_stats.png")
    click.echo(json.dumps(stats.as_dict(), indent=1, ensure_ascii=False) if as_json else stats.text())
    click.echo(f"picture: {picture}", err=as_json)
    return 0


@data.command("lock")
@click.argument("name")
@data_flags
@flag("--subset", default="paper", show_default=True, metavar="paper|full|N", help="Rule by which images are drawn.")
@flag("--out", type=Path, help="File to write. Default: DATASET-SPLIT-SUBSET.json here.")
def data_lock(name: str, subset: str, out: Path | None, **arguments: Any) -> int:
    """Write the drawn image ids with their digest to a file: to share, to cite, for --subset file:PATH."""
    from sambench.atomic_files import write_json
    from sambench.data import subset_files

    found = _find_one(name, **arguments)
    locked = subset_files.lock(found.card, found.split, found.changed_options, found.open().index(), subset)
    path = out or Path(f"{found.card.name}-{found.split}-{subset}.json")
    write_json(path, locked.as_dict())
    click.echo(f"{locked.images} of {locked.of_images} images, {locked.masks} of {locked.of_masks} masks -> {path}")
    click.echo(f"digest {locked.digest}")
    return 0


def _choose_one(name: str, **arguments: Any) -> tuple[Any, str, Any, Path]:
    """Plugin, split, options and data root of one dataset, there or not."""
    from sambench.planning.find_datasets import choose
    from sambench.planning.settings import COLLECTIONS, SET_OWNERS
    from sambench.plugins import options, registry

    settings = settings_from(tasks=(), datasets=(name,), models=(), **arguments)
    registry.add_folders(settings.plugin_folders)
    values = options.parse_assignments(settings.assignments, SET_OWNERS)
    requests = registry.parse_datasets(settings.datasets)
    if len(requests) != 1 or requests[0].name in COLLECTIONS:
        raise UsageError(f"name one dataset, not {name!r}")
    plugin = registry.load("datasets", requests[0].name)
    split, built = choose(plugin, requests[0].arguments, settings, None, values["dataset"])
    return plugin, split, built, settings.data_root


def _find_one(name: str, **arguments: Any) -> Any:
    from sambench.planning.find_datasets import find_datasets
    from sambench.planning.settings import SET_OWNERS
    from sambench.plugins import options, registry

    settings = settings_from(tasks=(), datasets=(name,), models=(), **arguments)
    registry.add_folders(settings.plugin_folders)
    values = options.parse_assignments(settings.assignments, SET_OWNERS)
    found, _ = find_datasets(settings, None, values["dataset"])
    if len(found) != 1:
        raise UsageError(f"name one dataset, not {name!r}")
    return found[0]
