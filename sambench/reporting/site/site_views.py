"""What the templates ask for beyond the leaderboards themselves: ranks, words for marks, facts of a manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sambench.core.task import MetricValue
from sambench.errors import UsageError
from sambench.reporting.leaderboard import Leaderboard, Row, in_unit, title
from sambench.reporting.reference import Published
from sambench.runs.summaries import RunSummary

MARK_WORDS = {"†": "not zero-shot", "?": "zero-shot unknown", "…": "incomplete"}
"""What a screen reader says for a mark; the legend of the table has the sentence."""

PRIVATE = ("host", "command", "data_root", "weights")
"""Facts of a session that pages leave out: a site is published, and these name a machine and its folders."""

_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
_REPOSITORY = re.compile(r"^([\w.-]+/[\w.-]+) repository\b")


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` of a run says, flat: names with dots, values as text. ``problem``: why there is nothing.
    ``timings``: seconds by stage, summed over workers and sessions. ``sessions``: how often the command was run."""

    facts: Mapping[str, str]
    session: Mapping[str, str]
    timings: Mapping[str, float]
    status: str = ""
    created: str = ""
    sessions: int = 0
    problem: str = ""


@dataclass(frozen=True)
class BoardView:
    """A leaderboard, with what several pages show of it. ``key``: its name in the address. ``ranks``: of each row.
    ``headings``: by headline metric; ``lower_first``: those of which the least comes first."""

    board: Leaderboard
    key: str
    ranks: tuple[int | None, ...]
    headings: Mapping[str, str]
    lower_first: frozenset[str]

    @property
    def ranked(self) -> list[tuple[Row, int | None]]:
        return list(zip(self.board.rows, self.ranks, strict=True))


def board_view(board: Leaderboard) -> BoardView:
    """The view of a leaderboard."""
    lower = frozenset(filter(board.lower_is_better, board.headlines))
    headings = {metric: heading(metric, board.unit(metric), metric in lower) for metric in board.headlines}
    return BoardView(board, f"{board.task}-{board.task_version}", ranks(board), headings, lower)


def ranks(board: Leaderboard) -> tuple[int | None, ...]:
    """The place of each row by the mean of the primary metric, equal means at one place; None for a row without a
    mean, which is not compared with the others."""
    if not board.headlines or not (board.averaged or len(board.columns) == 1):
        return (None,) * len(board.rows)
    means = [row.mean(board.headlines[0]) for row in board.rows]
    known = [mean for mean in means if mean is not None]
    return tuple(None if mean is None else known.index(mean) + 1 for mean in means)


def zero_shot(row: Row) -> str:
    """``yes``, ``no`` or ``unknown`` for a row, with on how many of its datasets if not on all."""
    runs = row.runs
    counts = [(word, sum(run.zero_shot == word for run in runs)) for word in ("no", "unknown")]
    told = [f"{word} on {n}" if n < len(runs) else word for word, n in counts if n]
    return ", ".join(told) + (f" of {len(runs)}" if told and "on" in told[0] else "") if told else "yes"


def finished(row: Row) -> str:
    """How many datasets of the table the row has a complete run on."""
    return f"{sum(run.complete for run in row.runs)} of {len(row.cells)}"


def source_link(published: Published) -> str:
    """Where a published number can be looked up, or the empty text."""
    if found := _ARXIV.search(published.provenance):
        return f"https://arxiv.org/abs/{found[1]}"
    if found := _REPOSITORY.search(published.provenance):
        return f"https://github.com/{found[1]}"
    return ""


def bar(metric: MetricValue | None, among: Sequence[MetricValue]) -> float | None:
    """Length of a bar in percent: of 1 for fractions, of the largest of its kind for counts; None without a value."""
    if metric is None or metric.value is None:
        return None
    full = 1.0 if metric.unit == "fraction" else max((m.value for m in among if m.value is not None), default=0.0)
    return round(100 * min(max(metric.value / full, 0.0), 1.0), 1) if full > 0 else 0.0


def heading(metric: str, unit: str, lower: bool) -> str:
    """A metric with its unit, and which way is better where that is not obvious."""
    return in_unit(title(metric), unit) + (", less is better" if lower else "")


def manifest(run: RunSummary) -> Manifest:
    """The manifest of a run directory. One that is missing or broken is no reason to withhold the results: the page
    says so."""
    try:
        content = run.manifest()
    except UsageError as error:
        # Not the folder: a page may be shown elsewhere.
        return Manifest({}, {}, {}, problem=str(error).removeprefix(f"{run.path}/"))
    sessions = [one for one in _list(content.get("sessions")) if isinstance(one, dict)]
    last = {key: value for key, value in (sessions[-1] if sessions else {}).items() if key not in PRIVATE}
    timings = _dict(content.get("timings"))
    return Manifest(
        _flat({key: _dict(content.get(key)) for key in ("spec", "info")}),
        _flat({"session": last}),
        {k: float(v) for k, v in timings.items() if isinstance(v, int | float) and not isinstance(v, bool)},
        status=str(content.get("status", "")),
        created=str(content.get("created", "")),
        sessions=len(sessions),
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _flat(content: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """``{"spec": {"task_options": {"seed": 0}}}`` as ``{"task_options.seed": "0"}``: the outermost name is left out."""
    flat: dict[str, str] = {}

    def enter(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                enter(f"{name}.{key}" if name else key, inner)
        else:
            flat[name] = value if isinstance(value, str) else json.dumps(value)

    for fields in content.values():
        enter("", fields)
    return {key: value for key, value in flat.items() if value not in ("", "null")}
