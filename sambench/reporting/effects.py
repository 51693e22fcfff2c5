"""What an option does to the metrics, as text: for a terminal, Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sambench import text
from sambench.reporting import data, formatting, markdown
from sambench.reporting.console import aligned

JSON_SCHEMA = 1
_HEADER = (
    "option",
    "task",
    "dataset",
    "metric",
    "without",
    "with",
    "change",
    "95 %",
    "cases",
    "changed",
    "mean |change|",
)
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


COLUMNS = (
    *("option", "task", "dataset", "split", "metric", "unit", "baseline", "variant", "difference"),
    *("ci95_low", "ci95_high", "cases", "changed", "mean_change", "unpaired", "identical", "complete"),
)


def console(model: str, effects: Sequence[Effect]) -> str:
    """For a terminal; no newline at the end."""
    lines = [[*_HEADER, ""], *([*_cells(one), _remark(one)] for one in effects)]
    return "\n".join([text.one_line(model), *aligned(lines, names=4), "", *_NOTES])


def markdown_page(model: str, effects: Sequence[Effect]) -> str:
    rows = [[formatting.markdown(cell) for cell in (*_cells(one), _remark(one))] for one in effects]
    return "\n".join(
        [
            f"# What options change of {formatting.markdown(model)}\n",
            markdown.table([*map(formatting.markdown, _HEADER), "remark"], rows, names=4),
            *(f"- {formatting.markdown(note)}" for note in _NOTES),
            "",
        ]
    )


def as_json(model: str, effects: Sequence[Effect]) -> dict[str, Any]:
    """Fractions of 1, all digits; undefined is null."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in _rows(effects)]
    return {"schema": JSON_SCHEMA, "model": model, "effects": rows}


def write(model: str, effects: Sequence[Effect], out: Path) -> Path:
    """``effects.md``, ``.csv`` and ``.json`` in ``out``, each whole or not at all; answers the path of the first.
    Raises UsageError (``out`` cannot be made) and OutputError."""
    files = {
        "effects.csv": data.csv_text(COLUMNS, _rows(effects)),
        "effects.json": data.json_text(as_json(model, effects)),
        "effects.md": markdown_page(model, effects),
    }
    data.write_all(out, ((name, content.encode("utf-8", "backslashreplace")) for name, content in files.items()))
    return out / "effects.md"


def _rows(effects: Sequence[Effect]) -> Iterator[tuple[Any, ...]]:
    for one in effects:
        yield (
            *(one.option, one.task, one.dataset, one.split, one.metric, one.unit),
            *(one.baseline, one.variant, one.difference, *(one.ci95 or (None, None))),
            *(one.cases, one.changed, one.mean_change, one.unpaired, one.identical, one.complete),
        )


def _cells(one: Effect) -> list[str]:
    paired = one.cases > 0
    return [
        *(one.option, one.task, one.dataset, one.metric),
        *(formatting.number(value, one.unit) for value in (one.baseline, one.variant)),
        formatting.UNDEFINED if one.difference is None else _fine(one.difference, one.unit),
        f"{_fine(one.ci95[0], one.unit)} to {_fine(one.ci95[1], one.unit)}" if one.ci95 else formatting.ABSENT,
        str(one.cases) if paired else formatting.ABSENT,
        f"{100 * one.changed:.1f} %" if one.changed is not None else formatting.ABSENT,
        formatting.ABSENT if one.mean_change is None else _fine(one.mean_change, one.unit).removeprefix("+"),
    ]


def _fine(value: float, unit: str) -> str:
    """With its sign and three significant digits: what is looked for here is small, and small is not none (``+0``)."""
    return f"{100 * value if unit == 'fraction' else value:+.3g}"


def _remark(one: Effect) -> str:
    said = ["identical to the bit"] if one.identical else []
    said += [] if one.complete else ["incomplete"]
    said += [f"{one.unpaired} cases of one run alone left out"] if one.unpaired else []
    return ", ".join(said)
