"""What an option does to the metrics, as text: for a terminal, Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sambench import text
from sambench.reporting import data, formatting
from sambench.reporting.table import Column, Table

JSON_SCHEMA = 1
_NOTES = (
    "Metrics in percent (others in their unit). change: with the option minus without. 95 %: paired bootstrap, whole "
    "images drawn, 10,000 resamples; none where the metric is no mean over cases.",
    "changed: cases (masks, or images) whose value is another one, of those that both runs have. mean |change|: over "
    "all of these, in points of the metric.",
)


@dataclass(frozen=True)
class Effect:
    """One metric on one dataset without and with an option, fractions of 1. ``option``: ``OWNER.KEY=VALUE``.
    ``identical``: all records of the two runs are equal to the bit. ``complete``: both runs are.

    ``ci95`` and what follows: of the paired cases; None, and no cases, where the metric is no mean over cases.
    ``changed``: the share of them whose value is another. ``mean_change``: their mean absolute difference.
    ``unpaired``: cases that only one of the runs has."""

    option: str
    task: str
    dataset: str
    split: str
    metric: str
    unit: str
    baseline: float | None
    variant: float | None
    identical: bool
    complete: bool
    ci95: tuple[float, float] | None = None
    cases: int = 0
    changed: float | None = None
    mean_change: float | None = None
    unpaired: int = 0

    @property
    def difference(self) -> float | None:
        """With minus without, as the metric is printed."""
        return None if self.baseline is None or self.variant is None else self.variant - self.baseline


def console(model: str, effects: Sequence[Effect]) -> str:
    """For a terminal; no newline at the end."""
    return "\n".join([text.one_line(model), *Table(_TABLE, effects).console(), "", *_NOTES])


def as_json(model: str, effects: Sequence[Effect]) -> dict[str, Any]:
    """Fractions of 1, all digits; undefined is null."""
    return {"schema": JSON_SCHEMA, "model": model, "effects": Table(_TABLE, effects).records()}


def write(model: str, effects: Sequence[Effect], out: Path) -> Path:
    """``effects.md``, ``.csv`` and ``.json`` in ``out``, each whole or not at all; answers the path of the first.
    Raises UsageError (``out`` cannot be made) and OutputError."""
    table, heading = Table(_TABLE, effects), f"# What options change of {formatting.markdown(model)}\n"
    page = "\n".join([heading, table.markdown(), formatting.markdown_list(_NOTES)])
    return data.write_forms(out, "effects", table, as_json(model, effects), page)


def _fine(value: float | None, unit: str, absent: str = formatting.ABSENT) -> str:
    """With its sign and three significant digits: what is looked for here is small, and small is not none (``+0``)."""
    return absent if value is None else f"{100 * value if unit == 'fraction' else value:+.3g}"


def _remark(one: Effect) -> str:
    said = ["identical to the bit"] if one.identical else []
    said += [] if one.complete else ["incomplete"]
    said += [f"{one.unpaired} cases of one run alone left out"] if one.unpaired else []
    return ", ".join(said)


_TABLE = (
    *(Column(name, name, left=True) for name in ("option", "task", "dataset")),
    Column("split"),
    Column("metric", "metric", left=True),
    Column("unit"),
    Column("baseline", "without", lambda one: formatting.number(one.baseline, one.unit)),
    Column("variant", "with", lambda one: formatting.number(one.variant, one.unit)),
    Column("difference", "change", lambda one: _fine(one.difference, one.unit, formatting.UNDEFINED)),
    Column("", "95 %", lambda one: " to ".join(_fine(x, one.unit) for x in one.ci95 or (None,))),
    Column("ci95_low", value=lambda one: one.ci95 and one.ci95[0]),
    Column("ci95_high", value=lambda one: one.ci95 and one.ci95[1]),
    Column("cases", "cases", lambda one: one.cases or formatting.ABSENT),
    Column("changed", "changed", lambda x: formatting.ABSENT if x.changed is None else f"{100 * x.changed:.1f} %"),
    Column("mean_change", "mean |change|", lambda one: _fine(one.mean_change, one.unit).removeprefix("+")),
    *map(Column, ("unpaired", "identical", "complete")),
    Column("", "remark", _remark, left=True),
)
COLUMNS = tuple(column.key for column in _TABLE if column.key)
