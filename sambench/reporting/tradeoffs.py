"""Models beside each other as quality against latency: a table for each task, signature and setting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sambench.errors import UsageError
from sambench.reporting import formatting
from sambench.reporting.baseline import alike
from sambench.reporting.latencies import FIGURES, Latency, Quantiles, Setting, figures_as_dict
from sambench.reporting.leaderboard import Leaderboard, Row, average, cell, in_unit, title
from sambench.reporting.table import Table
from sambench.runs.summaries import RunSummary

JSON_SCHEMA = 1
PLOTTED = "point_mask"
"""What figures have along their axis: from a click to a mask that can be shown."""

CLAIM_MS = 50.0
"""Prompt encoder and mask decoder in a web browser on a CPU, after the image is encoded (Segment Anything, §3)."""

HEADINGS = {
    "encode": "encoding",
    "point": "point",
    "point_mask": "point + mask",
    "box": "box",
    "box_mask": "box + mask",
    "next_point": "next point",
    "next_point_mask": "next point + mask",
}
FIGURE_HEADINGS = tuple(in_unit(HEADINGS[name], unit) for name, unit in FIGURES.items())
NOTE = (
    "Times are p50 (p95), one image and one prompt at a time. encoding: all that an image costs before its prompts are "
    "quick. point, box: from the prompt to the scores of the candidates; + mask: to the best mask at the size of the "
    "image. next point: a second click with the first answer fed back. Segment Anything (§3) says about 50 ms for a "
    "prompt in a web browser on a CPU."
)
COLUMNS = (
    *("task", "task_version", "signature", "model", "weights_digest", "metric", "value", "metric_unit"),
    *(field.name for field in fields(Setting)),
    *("figure", "unit", "n", "p50", "p95"),
)


@dataclass(frozen=True)
class Tradeoff:
    """Rows of a leaderboard that have one signature, with what each takes in one setting. ``left_out``: names of rows
    whose latency says nothing of what was run, with the reason."""

    board: Leaderboard
    signature: str
    setting: Setting
    rows: tuple[tuple[Row, Latency], ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def metric(self) -> str:
        return self.board.headlines[0]

    @property
    def title(self) -> str:
        board = self.board
        return f"{title(self.metric)} by latency: {board.task}, version {board.task_version}, on {self.setting}"

    def points(self) -> list[tuple[str, float, Quantiles]]:
        """Name, mean of the metric and :data:`PLOTTED` of each row that has both, in the order of the table."""
        found = []
        for row, latency in self.rows:
            value, took = row.mean(self.metric), latency.figures[PLOTTED]
            if value is not None and took is not None:
                found.append((row.name, value, took))
        return found


def tradeoffs(boards: Iterable[Leaderboard], latencies: Sequence[Latency]) -> list[Tradeoff]:
    """In the order of the leaderboards, of their signatures and of the settings; only where a row has a latency."""
    found = []
    for board in boards:
        for rows in alike(board):
            for setting in dict.fromkeys(one.setting for one in latencies):
                measured = {(one.model, one.weights_digest): one for one in latencies if one.setting == setting}
                kept, left_out = [], []
                for row in rows:
                    latency = measured.get((row.model, row.weights_digest))
                    if latency is not None and (why := _other_options(row, latency)):
                        left_out.append((row.name, why))
                    elif latency is not None:
                        kept.append((row, latency))
                if kept or left_out:
                    found.append(Tradeoff(board, rows[0].signature, setting, tuple(kept), tuple(left_out)))
    return found


def _other_options(row: Row, latency: Latency) -> str:
    """Why the latency is not that of what was run, or the empty text."""
    for run in row.runs:
        ran = _model_options(run)
        for key, value in latency.options.items():
            if key in ran and ran[key] != value:
                return f"measured with model.{key}={value}, run with {ran[key]}"
    return ""


def _model_options(run: RunSummary) -> dict[str, Any]:
    """From the manifest; none where that does not say. Site pages tell of a manifest that is broken."""
    try:
        options = run.manifest()["spec"]["model_options"]
    except (UsageError, LookupError, TypeError):
        return {}
    return options if isinstance(options, dict) else {}


def table(tradeoff: Tradeoff) -> Table:
    """A line for each model."""
    header = ["model", tradeoff.board.heading(tradeoff.metric), *FIGURE_HEADINGS]
    rows = ([row.name, _quality(tradeoff, row), *figure_texts(latency)] for row, latency in tradeoff.rows)
    return Table.of_texts(header, rows)


def figure_texts(latency: Latency) -> list[str]:
    """Under :data:`FIGURE_HEADINGS`."""
    return [shown(latency.figures[name]) for name in FIGURES]


def notes(tradeoff: Tradeoff) -> list[str]:
    """A line for each row that is left out, and how often was measured. Not escaped."""
    counts = {q.n for _, latency in tradeoff.rows for name, q in latency.figures.items() if q and name != "encode"}
    encoded = {q.n for _, latency in tradeoff.rows if (q := latency.figures["encode"])}
    told = f"{_range(counts)} prompts of each kind, {_range(encoded)} encodings."
    return [*([told] if counts else []), *(f"left out: {name}: {why}" for name, why in tradeoff.left_out)]


def shown(quantiles: Quantiles | None) -> str:
    """``31.2 (40.1)``: p50 and p95."""
    return formatting.ABSENT if quantiles is None else f"{_digits(quantiles.p50)} ({_digits(quantiles.p95)})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 999.5 else f"{value:.3g}"


def _range(counts: set[int]) -> str:
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def _quality(tradeoff: Tradeoff, row: Row) -> str:
    averaged = tradeoff.board.averaged
    return str(average(row, tradeoff.metric) if averaged else cell(row.cells[0], tradeoff.metric))


def csv(found: Iterable[Tradeoff]) -> str:
    """One line for each row and figure, by :data:`COLUMNS`, in full precision."""
    rows = (
        {**_facts(one), **_measured(one, row), "figure": name, "unit": FIGURES[name], **asdict(q)}
        for one in found
        for row, latency in one.rows
        for name, q in latency.figures.items()
        if q is not None
    )
    return Table.of_records(COLUMNS, rows).csv()


def as_json(found: Iterable[Tradeoff]) -> dict[str, Any]:
    """The tables as plain values; ``docs/reports.md`` has a sentence for each field."""
    tables = [
        {
            **_facts(one),
            "rows": [{**_measured(one, row), "figures": figures_as_dict(latency.figures)} for row, latency in one.rows],
            "left_out": dict(one.left_out),
        }
        for one in found
    ]
    return {"schema": JSON_SCHEMA, "tradeoffs": tables}


def _facts(one: Tradeoff) -> dict[str, Any]:
    return {
        "task": one.board.task,
        "task_version": one.board.task_version,
        "signature": one.signature,
        "metric": one.metric,
        "metric_unit": one.board.measured_in(one.metric),
        **asdict(one.setting),
    }


def _measured(one: Tradeoff, row: Row) -> dict[str, Any]:
    return {"model": row.model, "weights_digest": row.weights_digest, "value": row.mean(one.metric)}
