"""Names and numbers as text: escaped for Markdown and LaTeX, in percent, padded for a terminal.

Names come from annotation files and folders, so they may hold anything: pipes, newlines, control characters, any
script. Every function here answers with one line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from sambench.core.task import MetricValue
from sambench.text import one_line

UNDEFINED = "n/a"
"""Shown for a metric without a value."""

ABSENT = "–"
"""Shown where there is no run."""

UNITS = {"fraction": "%"}
"""What numbers of a unit are shown in, where that is not its own name."""

_PLAIN = re.compile(r"[A-Za-z0-9.,+–±-]*(?: [A-Za-z0-9.,+–±-]+)*")
"""What needs no escape, as most cells do not: escaping takes longest of a page's tables."""

_DECIMALS = {"fraction": 1, "clicks": 2, "masks": 0}


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After \\ or a rule a bracket or a star would be taken for its argument.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}


def markdown(text: str) -> str:
    """Escaped so that a Markdown table cell or paragraph shows it as it is."""
    if _PLAIN.fullmatch(text):
        return text
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|~$#])", r"\\\1", text)


def markdown_list(lines: Iterable[str]) -> str:
    """Escaped lines, a bullet before each."""
    return "".join(f"- {markdown(line)}\n" for line in lines)


def code(text: str) -> str:
    """A Markdown code span (outside tables: a pipe would still end a cell)."""
    text = one_line(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    # A space on each side is taken off again, and keeps a backtick of the text apart from the fence.
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def latex(text: str) -> str:
    """Escaped for running text of any LaTeX engine. Letters that pdfLaTeX's standard fonts lack become {[}U+XXXX{]}."""
    return "".join(_latex_character(c) for c in unicodedata.normalize("NFC", one_line(text)))


def _latex_character(c: str) -> str:
    if c in _LATEX:
        return _LATEX[c]
    # The accented Latin-1 letters; eth and thorn are not in the default font encoding.
    if c.isascii() or ("À" <= c <= "ÿ" and c not in "×÷ÐðÞþ"):
        return c
    return {"…": r"\ldots{}", "–": "--", "—": "---"}.get(c, f"{{[}}U+{ord(c):04X}{{]}}")


_LATEX_MARKS = {"†": r"$^{\dagger}$", "?": "$^{?}$", "…": r"$^{\ldots}$", "±": r"$\pm$", "[": " {[}", "]": "{]}"}


def latex_marks(marks: str) -> str:
    """Marks beside a cell, as they stand in a legend too."""
    return "".join(_LATEX_MARKS.get(c, c) for c in marks)


def number(value: float | None, unit: str = "fraction") -> str:
    """Fractions in percent with one decimal and clicks with two, as the papers print them; masks are counted; other
    units with four significant digits."""
    if value is None:
        return UNDEFINED
    if unit not in _DECIMALS:
        return f"{value:.4g}"
    decimals = _DECIMALS[unit]
    # Adding zero turns the -0.0 of a rounded small negative number into 0.0.
    return f"{round(100 * value if unit == 'fraction' else value, decimals) + 0.0:.{decimals}f}"


def signed(value: float | None, unit: str = "fraction") -> str:
    """A difference: a :func:`number` with its sign, ``+0.0`` for none."""
    shown = number(value, unit)
    return shown if value is None or shown.startswith("-") else f"+{shown}"


def half_width(metric: MetricValue) -> str | None:
    """Half of the normal 95 % interval, as it stands after ±; None if there is no interval."""
    return None if metric.ci95 is None else number((metric.ci95[1] - metric.ci95[0]) / 2, metric.unit)


def interval(limits: tuple[float, float] | None, unit: str = "fraction") -> str:
    """``61.0 to 62.4``, or n/a."""
    return UNDEFINED if limits is None else f"{number(limits[0], unit)} to {number(limits[1], unit)}"


def shortened(text: str, longest: int = 40) -> str:
    """One line of at most ``longest`` characters; what is too long loses its middle."""
    text = one_line(text)
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, columns: int, right: bool = False) -> str:
    """Filled with spaces to a number of terminal columns."""
    spaces = " " * max(0, columns - width(text))
    return spaces + text if right else text + spaces


def clicks_of(metric_name: str) -> int | None:
    """K of ``miou@K``; None for any other name."""
    found = re.fullmatch(r"miou@([0-9]{1,9})", metric_name)
    return int(found[1]) if found else None
