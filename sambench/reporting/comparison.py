"""A comparison of two models as text: for a terminal, Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sambench import text
from sambench.metrics.paired import Paired
from sambench.reporting import data, formatting, markdown
from sambench.reporting.console import aligned

JSON_SCHEMA = 1
LEVEL = 0.05
"""A difference is called one where the corrected p value is below."""

_HEADER = ("task", "dataset", "metric", "A", "B", "B - A", "95 %", "p", "p (Holm)", "wins", "ties", "losses", "cases")


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
    lines = [[*_HEADER, ""], *([*_cells(d), _remark(d)] for d in (*comparison.differences, *comparison.macros))]
    parts = [f"A: {text.one_line(comparison.first)}\nB: {text.one_line(comparison.second)}"]
    parts.append("\n".join(aligned(lines, names=3)))
    if comparison.cases:
        cases = [["task", "dataset", "image", "instance", "A", "B", "B - A", ""], *map(_case_cells, comparison.cases)]
        parts.append("\n".join(["where they differ most:", *aligned(cases, names=4)]))
    return "\n\n".join([*parts, "\n".join(_notes(comparison))])


def markdown_page(comparison: Comparison) -> str:
    rows = [
        [formatting.markdown(c) for c in (*_cells(d), _remark(d))]
        for d in (*comparison.differences, *comparison.macros)
    ]
    cases = [[formatting.markdown(c) for c in _case_cells(case)[:-1]] for case in comparison.cases]
    return "\n".join(
        [
            "# Comparison\n",
            f"- A: {formatting.code(comparison.first)}\n- B: {formatting.code(comparison.second)}\n",
            markdown.table([*_HEADER, "remark"], rows, names=3),
            *(f"- {formatting.markdown(note)}" for note in _notes(comparison)),
            *(
                ["\n## Where they differ most\n", markdown.table(_CASE_HEADER, cases, names=4)]
                if comparison.cases
                else []
            ),
        ]
    )


_CASE_HEADER = ("task", "dataset", "image", "instance", "A", "B", "B - A")


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Fractions of 1, all digits; undefined is null."""
    return {
        "schema": JSON_SCHEMA,
        "first": comparison.first,
        "second": comparison.second,
        "differences": [dict(zip(_COLUMNS, row, strict=True)) for row in _rows(comparison.differences)],
        "macros": [dict(zip(_COLUMNS, row, strict=True)) for row in _rows(comparison.macros)],
        "cases": [vars(case) for case in comparison.cases],
        "left_out": list(comparison.left_out),
        "signatures": [list(pair) for pair in comparison.signatures],
    }


def write(comparison: Comparison, out: Path) -> Path:
    """``comparison.md``, ``.csv`` and ``.json`` in ``out``, each whole or not at all; answers the path of the first.
    Raises UsageError (``out`` cannot be made) and OutputError."""
    files = {
        "comparison.csv": data.csv_text(_COLUMNS, _rows((*comparison.differences, *comparison.macros))),
        "comparison.json": data.json_text(as_json(comparison)),
        "comparison.md": markdown_page(comparison),
    }
    data.write_all(out, ((name, content.encode("utf-8", "backslashreplace")) for name, content in files.items()))
    return out / "comparison.md"


_COLUMNS = (
    *("task", "dataset", "split", "metric", "first", "second", "difference", "ci95_low", "ci95_high", "p", "p_holm"),
    *("wins", "ties", "losses", "cases", "images", "only_first", "only_second", "first_complete", "second_complete"),
)


def _rows(differences: Sequence[Difference]) -> Iterator[tuple[Any, ...]]:
    for d in differences:
        r, (low, high) = d.result, d.ci95 or (None, None)
        yield (
            *(d.task, d.dataset, d.split, d.metric, d.first, d.second, d.difference, low, high, r.p, d.p_holm),
            *(r.wins, r.ties, r.losses, r.n, r.images, *d.unpaired, *d.complete),
        )


def _cells(d: Difference) -> list[str]:
    r, unit = d.result, d.unit
    return [
        *(d.task, d.dataset, d.metric),
        *(formatting.number(value, unit) for value in (d.first, d.second)),
        formatting.UNDEFINED if d.difference is None else formatting.signed(d.difference, unit),
        formatting.interval(d.ci95, unit),
        *(formatting.UNDEFINED if p is None else f"{p:.4f}" for p in (r.p,)),
        formatting.ABSENT if d.p_holm is None else f"{d.p_holm:.4f}",
        *map(str, (r.wins, r.ties, r.losses, r.n)),
    ]


def _case_cells(case: Case) -> list[str]:
    values = (formatting.number(v, case.unit) for v in (case.first, case.second))
    name = case.name or "(whole image)"
    return [
        case.task,
        case.dataset,
        case.image,
        name,
        *values,
        formatting.signed(case.second - case.first, case.unit),
        "",
    ]


def _remark(d: Difference) -> str:
    said = [f"{d.better} is better" if d.better else "no difference shown"]
    said += [f"{who} is incomplete" for who, whole in zip("AB", d.complete, strict=True) if not whole]
    said += [f"{n} cases of {who} alone left out" for who, n in zip("AB", d.unpaired, strict=True) if n]
    return ", ".join(said)


def _notes(comparison: Comparison) -> list[str]:
    notes = [
        "Metrics in percent (others in their unit). 95 %: paired bootstrap, whole images drawn, 10,000 resamples. "
        "wins: cases where B is better. A difference is called one where p is below "
        f"{LEVEL}, corrected by Holm for all the datasets above.",
    ]
    if comparison.left_out:
        notes.append(f"Not on both sides, left out: {', '.join(comparison.left_out)}.")
    for one, other in comparison.signatures:
        notes.append(f"The two asked in different ways: A {one}, B {other}.")
    return notes
