"""The leaderboard as LaTeX tables for a paper."""

from __future__ import annotations

from collections.abc import Sequence

from sambench.reporting import formatting
from sambench.reporting.leaderboard import Leaderboard


def leaderboards(boards: Sequence[Leaderboard]) -> str:
    r"""A ``table`` float for each headline metric, to be ``\input`` where booktabs is loaded."""
    head = "% Made by sambench. Needs \\usepackage{booktabs}.\n"
    return head + "".join(_float(board, metric) for board in boards for metric in board.headlines)


def _float(board: Leaderboard, metric: str) -> str:
    table = board.table(metric)
    header, *body = table.latex()
    heading = formatting.latex(board.heading(metric))
    under = list(map(_legend, board.legend()))
    under += [rf"{{[}}{k}{{]}} \texttt{{{_breakable(s)}}}" for s, k in board.footnotes().items()]
    return "\n".join(
        [
            "",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{formatting.latex(board.task)}, version {board.task_version}: {heading}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            header,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par{{\footnotesize {line}\par}}" for line in under),
            r"\end{table}",
            "",
        ]
    )


def _legend(line: str) -> str:
    """A line that may begin with a mark."""
    mark, _, words = line.partition(" ")
    return f"{formatting.latex_marks(mark)} {formatting.latex(words)}" if len(mark) < 3 else formatting.latex(line)


def _breakable(signature: str) -> str:
    """A signature is one long word: it may break after each separator."""
    return formatting.latex(signature).replace(r"\textbar{}", r"\textbar{}\allowbreak{}")
