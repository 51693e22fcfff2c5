"""Published results, kept in ``reports/reference/``, and how they join the datasets of a report."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import sambench.suite
from sambench.core.dataset import Card
from sambench.errors import SambenchError, UsageError
from sambench.plugins import registry

COLUMNS = ("table", "task", "model", "variant", "dataset", "metric", "value", "provenance")

SUITE = {"single_point": "SA-23"}
"""What published averages over a task's datasets are called (protocol §2.6: the unweighted mean of the 23)."""

SAMPLED = {"single_point": "datasets"}
"""The CSV's task under which the counts stand of what the paper sampled for a task (Table 7)."""


@dataclass(frozen=True)
class Published:
    """One printed number; the columns are described in ``reports/reference/README.md``. ``value``: as printed."""

    table: str
    task: str
    model: str
    variant: str
    dataset: str
    metric: str
    value: str
    provenance: str

    @property
    def number(self) -> float:
        """``value`` as a number (``91M`` is 91e6)."""
        return float(self.value[:-1]) * 1e6 if self.value.endswith("M") else float(self.value)


class Joined(NamedTuple):
    """A published number beside the runs of a report. ``dataset``: our name, None for the whole suite."""

    task: str
    dataset: str | None
    published: Published


def suite_folder(name: str) -> Path:
    """A folder under ``reports/`` of the checkout, or of the installed wheel."""
    for entry in sambench.suite.__path__:
        path = Path(entry) / "reports" / name
        if path.is_dir():
            return path
    raise UsageError(f"this installation lacks reports/{name}: install sambench again")


def folder() -> Path:
    """``reports/reference``."""
    return suite_folder("reference")


def published() -> list[Published]:
    """All published numbers, in the order of the file. Raises UsageError if the file is not what it should be."""
    path = folder() / "paper_results.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise UsageError(f"{path}: the columns are not {', '.join(COLUMNS)}")
            return [Published(**row) for row in reader]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read ({error}): install sambench again") from error


def card_of(dataset: str) -> Card | None:
    """The card of a dataset plugin by the name of a run's dataset. None where no plugin answers to it, and for one
    given as ``file.py:Class``: its file is code, and a report reads data only."""
    if ".py:" in dataset:
        return None
    try:
        card: Card = registry.load("datasets", dataset.partition(":")[0]).card
    except SambenchError:
        return None
    return card


def paper_names(task: str, datasets: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The paper's name of each of the (dataset, split) pairs that it evaluated, from the cards of the dataset plugins
    (``published_as``, ``paper.name``). Another split than a task's own is left out: LVIS v1 must not meet the numbers
    of LVIS v0.5.

    Names without a card (:func:`card_of`) are left out.
    """
    names: dict[str, str] = {}
    for dataset, split in datasets:
        card = card_of(dataset)
        if card is None:
            continue
        name = card.published_as.get(task, card.paper.name if card.paper is not None else "")
        if name and split == card.task_splits.get(task, card.default_split):
            names[dataset] = name
    return names


def beside(task: str, names: Mapping[str, str]) -> list[Joined]:
    """What was published for a task on the datasets of a report, in the order of ``names``, then averages over the
    task's suite.

    ``names``: our name to the paper's, see :func:`paper_names`.
    """
    tasks = {task, SAMPLED.get(task, task)}
    rows = [row for row in published() if row.task in tasks]
    found = [Joined(task, ours, row) for ours, theirs in names.items() for row in rows if row.dataset == theirs]
    return found + [Joined(task, None, row) for row in rows if row.dataset == SUITE.get(task)]
