"""Finding datasets on disk, and explaining how to get the missing ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sambench.core.dataset import Card, Dataset
from sambench.data import download
from sambench.errors import UsageError
from sambench.planning.settings import COLLECTIONS, Settings
from sambench.plugins import options, registry


@dataclass(frozen=True)
class LocatedDataset:
    """A dataset on disk, for one task."""

    label: str
    reference: str
    plugin: Any
    root: Path
    split: str
    options: Any

    @property
    def card(self) -> Card:
        card: Card = self.plugin.card
        return card

    @property
    def changed_options(self) -> dict[str, Any]:
        """Those that are not the default, without what a generic dataset is called with."""
        default = options.as_dict(self.plugin.Options())
        given = options.as_dict(self.options)
        return {k: v for k, v in given.items() if v != default[k] and k not in self.plugin.arguments}

    def open(self) -> Dataset:
        dataset: Dataset = self.plugin(self.root, self.split, self.options)
        return dataset


@dataclass(frozen=True)
class Missing:
    """A dataset that was asked for and is not there."""

    card: Card
    looked_at: Path


def find_datasets(
    settings: Settings, task: str | None, values: Mapping[str, str], *, asked: bool = True
) -> tuple[list[LocatedDataset], list[Missing]]:
    """The datasets that were asked for, and the members of collections that are not there. ``task`` None: for any;
    ``asked``: it was asked for by its name.

    Raises UsageError for one that was named itself and is not there, or that such a task is not defined on.
    """
    found: list[LocatedDataset] = []
    absent: list[Missing] = []
    for request in registry.parse_datasets(settings.datasets):
        collection = request.name in COLLECTIONS
        for name in members(request.name, task) if collection else [request.name]:
            plugin = registry.load("datasets", name)
            if not collection and task is not None and task not in plugin.card.tasks:
                if not asked:
                    continue
                raise UsageError(
                    f"task {task} is not defined on dataset {name} (it has: {', '.join(plugin.card.tasks)})"
                )
            one = locate(plugin, name, request.arguments, settings, task, {} if collection else values)
            if one is not None:
                found.append(one)
            elif collection:
                absent.append(Missing(plugin.card, settings.data_root))
            else:
                raise UsageError(explain_missing([Missing(plugin.card, settings.data_root)]))
    return found, absent


def members(collection: str, task: str | None) -> list[str]:
    """The datasets of a collection that the task (if any) is defined on, by their cards."""
    cards = {name: registry.load("datasets", name).card for name in registry.names("datasets")}
    groups = ("sam23", "reference", "ritm5") if collection == "all" else (collection,)
    return [name for name, card in cards.items() if card.group in groups and (task is None or task in card.tasks)]


def locate(
    plugin: Any,
    reference: str,
    arguments: Sequence[str],
    settings: Settings,
    task: str | None,
    values: Mapping[str, str],
) -> LocatedDataset | None:
    """The dataset on disk, or None. Raises UsageError on an unknown split or option, or a copy that is on its way."""
    split, built = choose(plugin, arguments, settings, task, values)
    root = plugin.locate(settings.data_root, split, built)
    if root is None:
        return None
    name = plugin.card.name
    if coming := download.unfinished(name, root):
        record, missing = coming
        raise UsageError(
            f"dataset {name} at {root} is not whole yet, {', '.join(missing)} is to come: `sambench data get {name}` "
            f"goes on; to use what is there, delete {record}"
        )
    return LocatedDataset(str(registry.Request(name, tuple(arguments))), reference, plugin, root, split, built)


def choose(
    plugin: Any, arguments: Sequence[str], settings: Settings, task: str | None, values: Mapping[str, str]
) -> tuple[str, Any]:
    """Split and options of a dataset as asked for. Raises UsageError on an unknown one."""
    card: Card = plugin.card
    if len(arguments) != len(plugin.arguments):
        raise UsageError(f"dataset {card.name}: write it as {card.name}:{','.join(plugin.arguments).upper()}")
    split = settings.split or card.task_splits.get(task or "", card.default_split)
    if split not in card.splits:
        near = options.did_you_mean(split, card.splits)
        raise UsageError(f"dataset {card.name} has no split {split!r}{near} (it has: {', '.join(card.splits)})")
    given = {**dict(zip(plugin.arguments, arguments, strict=True)), **values}
    return split, options.build(plugin.Options, given, "dataset")


def explain_missing(missing: Sequence[Missing]) -> str:
    """How to get each dataset, for people."""
    blocks = []
    for one in {m.card.name: m for m in missing}.values():
        card = one.card
        layout = "\n".join(f"      {line}" for line in card.layout.strip("\n").splitlines())
        access = "\n".join(f"    {line}" for line in card.access.strip("\n").splitlines())
        verb = f" (or `sambench data get {card.name}`)" if any(a.url for a in card.archives) else ""
        blocks.append(
            f"{card.name}: not found at {one.looked_at}\n  {card.title} ({card.url}; licence: {card.licence})\n"
            f"  To get it:{verb}\n{access}\n  It should look like this, under --data-root or one of its folders "
            f"{', '.join(card.folders) or card.name}:\n{layout}"
        )
    what = "the dataset is" if len(blocks) == 1 else "none of these datasets is"
    return f"nothing to run: {what} present\n\n" + "\n\n".join(blocks)
