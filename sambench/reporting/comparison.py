"""A comparison of two models as text: for a terminal, Markdown, CSV and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sambench import text
from sambench.metrics.paired import Paired
from sambench.reporting import data, formatting
from sambench.reporting.table import Column, Table

JSON_SCHEMA = 1
LEVEL = 0.05
"""A difference is called one where the corrected p value is below."""


@dataclass(frozen=True, eq=False)
class Difference:
    """The two models on one dataset, or in the mean over several. ``unit``: as in
    :class:`sambench.core.task.MetricValue`. ``sign``: -1 if less is more; ``result`` then holds negated values, so
    that more is better everywhere in it. ``p_holm``: corrected for the number of datasets; None for a mean.
    ``unpaired``: cases that only the first, only the second has. ``complete``: of each run."""

    task: str
    dataset: str
    split: str
    metric: str
    unit: str
    sign: int
    result: Paired
    p_holm: float | None
    unpaired: tuple[int, int]
    complete: tuple[bool, bool]

    @property
    def first(self) -> float | None:
        return None if self.result.first is None else self.sign * self.result.first

    @property
    def second(self) -> float | None:
        return None if self.result.second is None else self.sign * self.result.second

    @property
    def difference(self) -> float | None:
        """Second minus first, as the metric is printed: below zero is better where less is more."""
        return None if self.result.difference is None else self.sign * self.result.difference

    @property
    def ci95(self) -> tuple[float, float] | None:
        if self.result.ci95 is None:
            return None
        low, high = sorted(self.sign * limit for limit in self.result.ci95)
        return (low, high)

    @property
    def better(self) -> str:
        """``A`` or ``B`` where the difference is beyond chance, else an empty text."""
        p = self.result.p if self.p_holm is None else self.p_holm
        if p is None or p >= LEVEL or not self.result.difference:
            return ""
        return "B" if self.result.difference > 0 else "A"


@dataclass(frozen=True)
class Case:
    """One case on which the two differ. ``name``: the instance, empty for the image as a whole."""

    task: str
    dataset: str
    image: str
    name: str
    first: float
    second: float
    unit: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """``first``, ``second``: names of the models. ``macros``: means over the datasets of a task. ``cases``: those that
    differ most. ``left_out``: datasets that only one side has. ``signatures``: pairs that differ."""

    first: str
    second: str
    differences: tuple[Difference, ...]
    macros: tuple[Difference, ...]
    cases: tuple[Case, ...]
    left_out: tuple[str, ...]
    signatures: tuple[tuple[str, str], ...]


def console(comparison: Comparison) -> str:
    """For a terminal; no newline at the end."""
    parts = [f"A: {text.one_line(comparison.first)}\nB: {text.one_line(comparison.second)}"]
    parts.append("\n".join(_table(comparison).console()))
    if comparison.cases:
        parts.append("\n".join(["where they differ most:", *Table(_CASES, comparison.cases).console()]))
    return "\n\n".join([*parts, "\n".join(_notes(comparison))])


def markdown_page(comparison: Comparison) -> str:
    parts = [
        "# Comparison\n",
        f"- A: {formatting.code(comparison.first)}\n- B: {formatting.code(comparison.second)}\n",
        _table(comparison).markdown(),
        formatting.markdown_list(_notes(comparison)),
    ]
    if comparison.cases:
        parts += ["## Where they differ most\n", Table(_CASES, comparison.cases).markdown()]
    return "\n".join(parts)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Fractions of 1, all digits; undefined is null."""
    return {
        "schema": JSON_SCHEMA,
        "first": comparison.first,
        "second": comparison.second,
        "differences": Table(_COLUMNS, comparison.differences).records(),
        "macros": Table(_COLUMNS, comparison.macros).records(),
        "cases": [vars(case) for case in comparison.cases],
        "left_out": list(comparison.left_out),
        "signatures": [list(pair) for pair in comparison.signatures],
    }


def write(comparison: Comparison, out: Path) -> Path:
    """``comparison.md``, ``.csv`` and ``.json`` in ``out``, each whole or not at all; answers the path of the first.
    Raises UsageError (``out`` cannot be made) and OutputError."""
    page = markdown_page(comparison)
    return data.write_forms(out, "comparison", _table(comparison), as_json(comparison), page)


def _table(comparison: Comparison) -> Table:
    return Table(_COLUMNS, (*comparison.differences, *comparison.macros))


def _remark(d: Difference) -> str:
    said = [f"{d.better} is better" if d.better else "no difference shown"]
    said += [f"{who} is incomplete" for who, whole in zip("AB", d.complete, strict=True) if not whole]
    said += [f"{n} cases of {who} alone left out" for who, n in zip("AB", d.unpaired, strict=True) if n]
    return ", ".join(said)


def _p(value: float | None, undefined: str) -> str:
    return undefined if value is None else f"{value:.4f}"


_COLUMNS = (
    *(Column(name, name, left=True) for name in ("task", "dataset")),
    Column("split"),
    Column("metric", "metric", left=True),
    Column("first", "A", lambda d: formatting.number(d.first, d.unit)),
    Column("second", "B", lambda d: formatting.number(d.second, d.unit)),
    Column("difference", "B - A", lambda d: formatting.signed(d.difference, d.unit)),
    Column("", "95 %", lambda d: formatting.interval(d.ci95, d.unit)),
    Column("ci95_low", value=lambda d: d.ci95 and d.ci95[0]),
    Column("ci95_high", value=lambda d: d.ci95 and d.ci95[1]),
    Column("p", "p", lambda d: _p(d.result.p, formatting.UNDEFINED), "result.p"),
    Column("p_holm", "p (Holm)", lambda d: _p(d.p_holm, formatting.ABSENT)),
    *(Column(name, name, value=f"result.{name}") for name in ("wins", "ties", "losses")),
    Column("cases", "cases", value="result.n"),
    Column("images", value="result.images"),
    Column("only_first", value=lambda d: d.unpaired[0]),
    Column("only_second", value=lambda d: d.unpaired[1]),
    Column("first_complete", value=lambda d: d.complete[0]),
    Column("second_complete", value=lambda d: d.complete[1]),
    Column("", "remark", _remark, left=True),
)

_CASES = (
    *(Column(name, name, left=True) for name in ("task", "dataset", "image")),
    Column("name", "instance", lambda case: case.name or "(whole image)", left=True),
    Column("first", "A", lambda case: formatting.number(case.first, case.unit)),
    Column("second", "B", lambda case: formatting.number(case.second, case.unit)),
    Column("", "B - A", lambda case: formatting.signed(case.second - case.first, case.unit)),
)


def _notes(comparison: Comparison) -> list[str]:
    notes = [
        "Metrics in percent (others in their unit). 95 %: paired bootstrap, whole images drawn, 10,000 resamples. "
        f"wins: cases where B is better. A difference is called one where p is below {LEVEL}, corrected by Holm for "
        "all the datasets above.",
    ]
    if comparison.left_out:
        notes.append(f"Not on both sides, left out: {', '.join(comparison.left_out)}.")
    for one, other in comparison.signatures:
        notes.append(f"The two asked in different ways: A {one}, B {other}.")
    return notes
