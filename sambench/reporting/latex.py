"""The leaderboard as LaTeX tables for a paper."""

from __future__ import annotations

from collections.abc import Sequence

from sambench.reporting import formatting
from sambench.reporting.leaderboard import (
    INCOMPLETE,
    NOT_ZERO_SHOT,
    UNKNOWN,
    Leaderboard,
    Shown,
    average,
    cell,
    in_unit,
    title,
)

_SYMBOLS = {
    NOT_ZERO_SHOT: r"$^{\dagger}$",
    UNKNOWN: r"$^{?}$",
    INCOMPLETE: r"$^{\ldots}$",
    "±": r"$\pm$",
    "%": r"\%",
}


def leaderboards(boards: Sequence[Leaderboard]) -> str:
    r"""A ``table`` float for each headline metric, to be ``\input`` where booktabs is loaded."""
    head = "% Made by sambench. Needs \\usepackage{booktabs}.\n"
    return head + "".join(_float(board, metric) for board in boards for metric in board.headlines)


def _float(board: Leaderboard, metric: str) -> str:
    footnotes = board.footnotes()
    header = ["model", *map(formatting.latex, board.labels()), *(["mean"] if board.averaged else [])]
    body = []
    for row in board.rows:
        shown = [cell(run, metric) for run in row.cells] + ([average(row, metric)] if board.averaged else [])
        body.append([f"{formatting.latex(row.name)} {{[}}{footnotes[row.signature]}{{]}}", *map(_cell, shown)])
    heading = formatting.latex(in_unit(title(metric), board.unit(metric)))
    caption = f"{formatting.latex(board.task)}, version {board.task_version}: {heading}"
    under = [_symbols(line) for line in board.legend()]
    under += [rf"{{[}}{k}{{]}} \texttt{{{_breakable(s)}}}" for s, k in footnotes.items()]
    return "\n".join(
        [
            "",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            *_lines([header]),
            r"\midrule",
            *_lines(body),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par{{\footnotesize {line}\par}}" for line in under),
            r"\end{table}",
            "",
        ]
    )


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    return [" & ".join(row) + r" \\" for row in rows]


def _cell(shown: Shown) -> str:
    if shown.half:
        value = f"${shown.value} \\pm {shown.half}$"
    else:
        value = f"${shown.value}$" if shown.value[-1].isdigit() else formatting.latex(shown.value)
    return value + _symbols(shown.marks)


def _symbols(line: str) -> str:
    return "".join(_SYMBOLS.get(c, c) for c in line)


def _breakable(signature: str) -> str:
    """A signature is one long word: it may break after each separator."""
    return formatting.latex(signature).replace(r"\textbar{}", r"\textbar{}\allowbreak{}")
