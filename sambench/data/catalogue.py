"""What can be named, and what is known about it: for ``sambench list`` and ``sambench show``."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from sambench.core.dataset import Card
from sambench.data import checks
from sambench.errors import UsageError
from sambench.models import zoo
from sambench.plugins import options, registry


def tasks(plugin_folders: Sequence[Path]) -> list[dict[str, str]]:
    """``{"name", "summary"}`` of every task."""
    _add(plugin_folders)
    return [{"name": n, "summary": _first_line(registry.load("tasks", n))} for n in registry.names("tasks")]


def models() -> list[dict[str, Any]]:
    """The cards of the zoo by family, then the entry points that other packages offer, as plain JSON values."""
    cards = sorted(zoo.ZOO.values(), key=lambda card: card.family)
    offered = [name for name in zoo.names() if name not in zoo.ZOO]
    return [_plain(dataclasses.asdict(card)) for card in cards] + [
        {"name": name, "summary": "offered by an installed package"} for name in offered
    ]


def datasets(data_root: Path, plugin_folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Every dataset with what is there of its default split: see :class:`datachecks.Presence`. One after the other,
    because an index of a large dataset takes its time."""
    _add(plugin_folders)
    for name in registry.names("datasets"):
        plugin = registry.load("datasets", name)
        card: Card = plugin.card
        there = checks.presence(plugin, data_root, card.default_split, plugin.Options())
        yield {
            "name": card.name,
            "title": card.title,
            "group": card.group,
            "kind": card.kind,
            "split": card.default_split,
            "status": there.state,
            "root": None if there.root is None else str(there.root),
            "images": there.images,
            "masks": there.masks,
            "detail": there.detail,
            "paper": None if card.paper is None else dataclasses.asdict(card.paper),
        }


def card(kind: str, name: str, plugin_folders: Sequence[Path]) -> dict[str, Any]:
    """Everything about one of them, as plain JSON values. Raises UsageError for an unknown name."""
    _add(plugin_folders)
    if kind == "model":
        if name not in zoo.ZOO:
            raise UsageError(f"unknown model {name!r}{options.did_you_mean(name, zoo.names())}")
        known = _plain(dataclasses.asdict(zoo.ZOO[name]))
        return {**known, **_options(zoo.options_class(name))}
    if kind == "task":
        task = registry.load("tasks", name)
        return {
            "name": task.name,
            "version": task.version,
            "summary": inspect.getdoc(inspect.getmodule(task)),
            "requires": sorted(task.requires),
            "primary metric": task.primary,
            **_options(task.Options),
        }
    dataset = registry.load("datasets", name)
    known = _plain(dataclasses.asdict(dataset.card))
    if known["paper"] is not None:
        known["paper"] = {"section": "Segment Anything, Table 7", **known["paper"]}
    return {**known, **_options(dataset.Options)}


def text(card: Mapping[str, Any]) -> str:
    """A card for people: one fact a line, nested ones indented, then the table of options."""
    known = {key: value for key, value in card.items() if key != "options"}
    return "\n".join([*_lines(known, ""), *_option_lines(card["options"])])


def _option_lines(table: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Name, default and what it takes in columns; the meaning below."""
    names, defaults = (max(map(len, column), default=0) for column in (table, (o["default"] for o in table.values())))
    yield from ["options:"] * bool(table)
    for name, option in table.items():
        yield f"  {name:<{names}}  {option['default']:<{defaults}}  {option['takes']}"
        yield from wrap(option["meaning"], 120, initial_indent=(indent := " " * (names + 4)), subsequent_indent=indent)


def _lines(value: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, item in value.items():
        if item in (None, "", [], {}) or item is False:
            continue
        if isinstance(item, list) and any(isinstance(part, Mapping) for part in item):
            for part in item:
                first, *more = _lines(part, indent + "    ")
                lines += [f"{indent}{key}:"] * (part is item[0]) + [f"{indent}  - {first.strip()}", *more]
        elif isinstance(item, Mapping):
            lines += [f"{indent}{key}:", *_lines(item, indent + "  ")]
        elif isinstance(item, str) and "\n" in item:
            lines += [f"{indent}{key}:", *(f"{indent}  {line}" for line in item.strip("\n").splitlines())]
        elif isinstance(item, list) and any(len(str(i)) > 20 for i in item):
            lines += [f"{indent}{key}:", *(f"{indent}  - {i}" for i in item)]
        else:
            lines.append(f"{indent}{key}: {', '.join(map(str, item)) if isinstance(item, list) else item}")
    return lines


def _options(cls: type) -> dict[str, Any]:
    """``options``: what each takes, its default as ``--set`` takes it, and what it means, by name."""
    table = {
        one.name: {"takes": one.takes, "default": one.default, "meaning": one.meaning} for one in options.described(cls)
    }
    return {"about the options": options.about(cls), "options": table}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return sorted(value) if isinstance(value, (set, frozenset)) else value


def _first_line(plugin: type) -> str:
    return (inspect.getdoc(inspect.getmodule(plugin)) or "").partition("\n")[0]


def _add(folders: Sequence[Path]) -> None:
    for folder in folders:
        registry.add_folder(folder)
