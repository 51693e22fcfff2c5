"""Results as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from sambench import text
from sambench.reporting import formatting
from sambench.reporting.baseline import Against, by_baseline, compare, difference_table, not_compared
from sambench.reporting.leaderboard import Leaderboard, average, cell, in_unit, leaderboards
from sambench.reporting.table import Table
from sambench.runs.summaries import RunSummary

METRICS_SHOWN = 9
"""Metrics of a line, the first that the task names; a report has all."""


def console_table(summaries: Sequence[RunSummary], baseline: str = "") -> str:
    """One line for each run, the mean of each row, remarks in words, and the signatures; a block for each task. With a
    ``baseline`` (as :func:`baseline.compare` takes it), a block of the other models' differences from that.

    Blocks are parted by an empty line; no newline at the end; empty if there are no runs.
    """
    boards = leaderboards(summaries)
    compared = compare(boards, baseline) if baseline else []
    return "\n\n".join([*map(_block, boards), *map(_differences, by_baseline(compared))])


def _block(board: Leaderboard) -> str:
    # miou@1 is miou under its other name.
    metrics = [m for m in board.metrics if m != "miou@1" or "miou" not in board.metrics][:METRICS_SHOWN]
    units = {m: board.unit(m) for m in metrics}
    headings = [m if units[m] == "%" else in_unit(m, units[m]) for m in metrics]
    rows = []
    footnotes = board.footnotes()
    note = {s: f" [{k}]" if len(footnotes) > 1 else "" for s, k in footnotes.items()}
    for row in board.rows:
        name = row.name + note[row.signature]
        for label, run in zip(board.labels(), row.cells, strict=True):
            if run is not None:
                counts = [f"{run.n_scored}/{run.n_expected}", str(run.n_masks)]
                rows.append([name, label, *_values(board, run, metrics), *counts, _remarks(run)])
        if board.averaged:
            means = [average(row, m).value if row.complete else formatting.ABSENT for m in metrics]
            why = "" if row.complete else "no mean: not complete on every dataset of the table"
            rows.append([name, f"mean of {len(board.columns)}", *means, "", "", why])
    heading = f"{text.one_line(board.task)}, version {board.task_version} (%; ±: half of the 95 % interval)"
    signatures = [f"signature{note[s]}: {text.one_line(s)}" for s in footnotes]
    table = Table.of_texts(["model", "dataset", *headings, "images", "masks", ""], rows, left=(0, 1, -1))
    return "\n".join([heading, *table.console(), *signatures])


def _differences(compared: Sequence[Against]) -> str:
    first, table = compared[0], difference_table(compared)
    what = f"{first.board.heading(first.metric)}, each model minus {first.baseline.name}"
    heading = f"{first.board.task}, version {first.board.task_version}: {what}"
    lines = table.console() if table.rows else []
    return "\n".join([text.one_line(heading), *lines, *map(text.one_line, not_compared(compared))])


def _values(board: Leaderboard, run: RunSummary, metrics: Sequence[str]) -> list[str]:
    shown = {m: cell(run, m) for m in metrics}
    return [s.value + (f" ± {s.half}" if s.half and m in board.headlines else "") for m, s in shown.items()]


def _remarks(run: RunSummary) -> str:
    zero_shot = {"yes": [], "no": ["not zero-shot"], "unknown": ["zero-shot unknown"]}[run.zero_shot]
    failed = f" ({run.n_failed} failed)" if run.n_failed else ""
    return ", ".join(zero_shot + ([] if run.complete else [f"incomplete{failed}"]))
