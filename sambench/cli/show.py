"""`sambench list` and `sambench show`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import click

from sambench.cli.common import (
    cli,
    default_data_root,
)
from sambench.cli.flags import data_root_flag, flag, plugins_flag

if TYPE_CHECKING:
    pass


@cli.command("list")
@click.argument("kind", type=click.Choice(["tasks", "datasets", "models"]))
@data_root_flag
@plugins_flag
@flag("--json", "as_json", is_flag=True, help="As JSON.")
def list_(kind: str, data_root: Path | None, plugin_folders: Sequence[Path], as_json: bool) -> int:
    """List tasks, datasets (with local status) or models."""
    from sambench.data import catalogue

    if kind == "datasets":
        _list_datasets(data_root or default_data_root(), plugin_folders, as_json)
        return 0
    rows = catalogue.tasks(plugin_folders) if kind == "tasks" else catalogue.models()
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    elif kind == "tasks":
        width = max(len(r["name"]) for r in rows)
        for row in rows:
            click.echo(f"{row['name']:<{width}}  {row['summary']}")
    else:
        _echo_models(rows)
    return 0


def _echo_models(rows: Sequence[dict[str, Any]]) -> None:
    headings = ("model", "parameters", "memory", "takes", "trained on", "licence", "run here", "what it is")
    table = [headings]
    for row in rows:
        count, trained_on = row.get("parameters"), row.get("trained_on")
        table.append(
            (
                row["name"],
                "" if count is None else f"{count / 1e6:.1f}M" if count else "0",
                row.get("memory", "").partition(",")[0],
                " ".join(row.get("capabilities", [])),
                "unknown"
                if trained_on is None
                else shorten(", ".join(trained_on) or "nothing", 36, placeholder=" ..."),
                shorten(row.get("licence", ""), 28, placeholder=" ..."),
                "yes" if row.get("ran_released_weights") else "no",
                row["summary"],
            )
        )
    widths = [max(len(line[i]) for line in table) for i in range(len(headings) - 1)]
    for line in table:
        click.echo("  ".join([*(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=False)), line[-1]]))
    click.echo(
        "\nmemory: of one image of 1024 pixels; run here: this project has run it with its authors' released weights."
    )


def _list_datasets(data_root: Path, plugin_folders: Sequence[Path], as_json: bool) -> None:
    from sambench.data import catalogue

    rows = catalogue.datasets(data_root, plugin_folders)
    if as_json:
        click.echo(json.dumps(list(rows), indent=1, ensure_ascii=False))
        return
    click.echo(f"at {data_root}:")
    for row in rows:
        counts = "" if row["images"] is None else f", {row['images']} images, {row['masks']} masks"
        click.echo(f"{row['name']:<14} {row['status']:<10}  {row['title']} [{row['group']}, {row['kind']}{counts}]")
        if row["detail"]:
            click.echo(f"{'':<14} {'':<10}  -> {row['detail']}")


@cli.command()
@click.argument("kind", type=click.Choice(["task", "dataset", "model"]))
@click.argument("name")
@plugins_flag
@flag("--json", "as_json", is_flag=True, help="As JSON.")
def show(kind: str, name: str, plugin_folders: Sequence[Path], as_json: bool) -> int:
    """Show the card and the options of one task, dataset or model."""
    from sambench.data import catalogue

    card = catalogue.card(kind, name, plugin_folders)
    click.echo(json.dumps(card, indent=1, ensure_ascii=False) if as_json else catalogue.text(card))
    return 0
