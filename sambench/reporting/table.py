"""One table and its forms: aligned for a terminal, Markdown, LaTeX, CSV and plain values for JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any

from sambench import text
from sambench.reporting import formatting


@dataclass(frozen=True)
class Shown:
    """A cell as people read it, not escaped: ``value``, ``half`` of its 95 % interval if there is one, and ``marks``,
    which no form escapes."""

    value: str
    half: str | None = None
    marks: str = ""

    def __str__(self) -> str:
        return self._joined(self.value)

    def markdown(self) -> str:
        return self._joined(formatting.markdown(self.value))

    def latex(self) -> str:
        """Numbers in math mode."""
        if self.half:
            value = f"${self.value} \\pm {self.half}$"
        else:
            value = f"${self.value}$" if re.fullmatch(r"[+-]?[0-9.]+", self.value) else formatting.latex(self.value)
        return value + formatting.latex_marks(self.marks)

    def _joined(self, value: str) -> str:
        return " ".join(filter(None, (value, self.half and f"± {self.half}", self.marks)))


@dataclass(frozen=True)
class Column:
    """``key``: its name in CSV and JSON, empty if only people see it. ``title``: its heading for people, None if only
    machines see it. ``show``: a row's cell for people, as the raw one by default. ``value``: the raw cell, or the path
    of attributes to it; by default ``key``. ``left``: aligned so, as words are."""

    key: str = ""
    title: str | None = None
    show: Callable[[Any], object] | None = None
    value: Callable[[Any], Any] | str = ""
    left: bool = False

    @property
    def raw(self) -> Callable[[Any], Any]:
        """A row's cell in full precision."""
        return self.value if callable(self.value) else attrgetter(self.value or self.key)


@dataclass(frozen=True)
class Table:
    """``rows``: what the functions of the columns take."""

    columns: Sequence[Column]
    rows: Sequence[Any]

    @classmethod
    def of_texts(cls, header: Sequence[str], rows: Iterable[Sequence[object]], left: Collection[int] = (0,)) -> Table:
        """For people only: rows of cells. ``left``: places of the columns of words; below zero from the end."""
        places = {k % len(header) for k in left}
        return cls([Column("", name, itemgetter(k), left=k in places) for k, name in enumerate(header)], list(rows))

    @classmethod
    def of_records(cls, keys: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Table:
        """For machines only: what each row has under the keys."""
        return cls([Column(key, value=itemgetter(key)) for key in keys], list(rows))

    def texts(self, form: Callable[[Shown], str] = str) -> list[list[str]]:
        """Header and rows for people."""
        columns = self._for_people()
        cells = [column.show or column.raw for column in columns]
        lines: list[list[object]] = [[column.title for column in columns]]
        lines += ([cell(row) for cell in cells] for row in self.rows)
        return [[form(x if isinstance(x, Shown) else Shown(str(x))) for x in line] for line in lines]

    def console(self) -> list[str]:
        """Lines, padded to the widest cell of each column."""
        lines = self.texts(lambda cell: text.one_line(str(cell)))
        widths = [max(map(formatting.width, column)) for column in zip(*lines, strict=True)]
        places = [(width, not column.left) for width, column in zip(widths, self._for_people(), strict=True)]
        return ["  ".join(formatting.pad(f, *p) for f, p in zip(line, places, strict=True)).rstrip() for line in lines]

    def markdown(self) -> str:
        """A pipe table, ending with a newline."""
        header, *rows = self.texts(Shown.markdown)
        rule = ["---" if column.left else "---:" for column in self._for_people()]
        return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *rows))

    def latex(self) -> list[str]:
        """The lines of a tabular, its header first."""
        return [" & ".join(line) + r" \\" for line in self.texts(Shown.latex)]

    def records(self) -> list[dict[str, Any]]:
        """By key, in full precision; undefined is None."""
        raw = {column.key: column.raw for column in self.columns if column.key}
        return [{key: cell(row) for key, cell in raw.items()} for row in self.rows]

    def csv(self) -> str:
        raw = {column.key: column.raw for column in self.columns if column.key}
        return csv_text(list(raw), ([cell(row) for cell in raw.values()] for row in self.rows))

    def _for_people(self) -> list[Column]:
        return [column for column in self.columns if column.title is not None]


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV with a header; None is an empty field, booleans are lower case, numbers keep all their digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(map(_csv_field, row) for row in rows)
    return out.getvalue()


def _csv_field(value: Any) -> Any:
    """Every cell of every CSV file passes here."""
    return str(value).lower() if isinstance(value, bool) else value
