"""The leaderboard as Markdown."""

from __future__ import annotations

from sambench.reporting import formatting
from sambench.reporting.leaderboard import Leaderboard, in_unit, title


def leaderboard(board: Leaderboard) -> str:
    """A table for each headline metric, legend and signatures. Starts with a heading of the second level."""
    parts = [f"## {formatting.markdown(board.task)}, version {board.task_version}\n"]
    for metric in board.headlines:
        heading = in_unit(title(metric), board.unit(metric))
        parts.append(f"### {formatting.markdown(heading)}\n\n{board.table(metric).markdown()}")
    parts.append(formatting.markdown_list(board.legend()))
    signatures = (f"- [{k}] {formatting.code(s)}\n" for s, k in board.footnotes().items())
    return "\n".join(filter(None, [*parts, "Signatures:\n\n" + "".join(signatures)]))
