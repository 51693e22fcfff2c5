"""Results as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from sambench.reporting import text
from sambench.reporting.load import RunSummary
from sambench.reporting.tables import Leaderboard, average, cell, leaderboards


def console_table(summaries: Sequence[RunSummary]) -> str:
    """One line for each run, the mean of each row, remarks in words, and the signatures; a block for each task.

    Blocks are parted by an empty line; no newline at the end; empty if there are no runs.
    """
    return "\n\n".join(_block(board) for board in leaderboards(summaries))


def _block(board: Leaderboard) -> str:
    # miou@1 is miou under its other name.
    metrics = [m for m in board.metrics if m != "miou@1" or "miou" not in board.metrics]
    lines = [["model", "dataset", *metrics, "images", "masks", ""]]
    footnotes = board.footnotes()
    note = {s: f" [{k}]" if len(footnotes) > 1 else "" for s, k in footnotes.items()}
    for row in board.rows:
        name = row.name + note[row.signature]
        for label, run in zip(board.labels(), row.cells, strict=True):
            if run is not None:
                counts = [f"{run.n_scored}/{run.n_expected}", str(run.n_masks)]
                lines.append([name, label, *_values(board, run, metrics), *counts, _remarks(run)])
        if board.averaged:
            means = [average(row, m).value if row.complete else text.ABSENT for m in metrics]
            why = "" if row.complete else "no mean: not complete on every dataset of the table"
            lines.append([name, f"mean of {len(board.columns)}", *means, "", "", why])
    heading = f"{text.one_line(board.task)}, version {board.task_version} (%; ±: half of the 95 % interval)"
    signatures = [f"signature{note[s]}: {text.one_line(s)}" for s in footnotes]
    return "\n".join([heading, *_aligned(lines), *signatures])


def _values(board: Leaderboard, run: RunSummary, metrics: Sequence[str]) -> list[str]:
    shown = {m: cell(run, m) for m in metrics}
    return [s.value + (f" ± {s.half}" if s.half and m in board.headlines else "") for m, s in shown.items()]


def _remarks(run: RunSummary) -> str:
    zero_shot = {"yes": [], "no": ["not zero-shot"], "unknown": ["zero-shot unknown"]}[run.zero_shot]
    failed = f" ({run.n_failed} failed)" if run.n_failed else ""
    return ", ".join(zero_shot + ([] if run.complete else [f"incomplete{failed}"]))


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Padded to the widest field of each column; names and remarks to the left, numbers to the right."""
    clean = [[text.one_line(field) for field in line] for line in lines]
    widths = [max(map(text.width, column)) for column in zip(*clean, strict=True)]
    numbers = range(2, len(widths) - 1)
    return [
        "  ".join(
            text.pad(f, w, right=i in numbers) for i, (f, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in clean
    ]
