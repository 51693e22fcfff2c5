"""The leaderboard as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sambench.reporting import formatting
from sambench.reporting.leaderboard import Leaderboard, average, cell, in_unit, title


def table(header: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """A pipe table, ending with a newline. Cells must be escaped already (:func:`text.markdown`). The first ``names``
    columns are aligned left, the others right."""
    rule = ["---" if i < names else "---:" for i in range(len(header))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *rows))


def leaderboard(board: Leaderboard) -> str:
    """A table for each headline metric, legend and signatures. Starts with a heading of the second level."""
    footnotes = board.footnotes()
    parts = [f"## {formatting.markdown(board.task)}, version {board.task_version}\n"]
    for metric in board.headlines:
        header = ["model", *map(formatting.markdown, board.labels()), *(["mean"] if board.averaged else [])]
        rows = []
        for row in board.rows:
            shown = [cell(run, metric) for run in row.cells] + ([average(row, metric)] if board.averaged else [])
            rows.append([f"{formatting.markdown(row.name)} [{footnotes[row.signature]}]", *map(str, shown)])
        heading = in_unit(title(metric), board.unit(metric))
        parts.append(f"### {formatting.markdown(heading)}\n\n{table(header, rows)}")
    parts.append("".join(f"- {line}\n" for line in board.legend()))
    parts.append("Signatures:\n\n" + "".join(f"- [{k}] {formatting.code(s)}\n" for s, k in footnotes.items()))
    return "\n".join(filter(None, parts))
