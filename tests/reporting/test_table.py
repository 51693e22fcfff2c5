"""The forms of a table."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.summaries import HOSTILE

from sambench.reporting import formatting
from sambench.reporting.table import Column, Shown, Table


@dataclass(frozen=True)
class Result:
    name: str
    value: float | None
    ok: bool = True


COLUMNS = (
    Column("name", "model", left=True),
    Column("value", "mIoU (%)", lambda row: Shown(formatting.number(row.value), "1.0", "†") if row.ok else "–"),
    Column("ok"),
    Column("", "remark", lambda row: "" if row.ok else "failed", left=True),
)
TABLE = Table(COLUMNS, [Result("a_b", 0.5), Result("c@1", None, ok=False)])


def test_forms_by_hand() -> None:
    assert TABLE.console() == [
        "model      mIoU (%)  remark",
        "a_b    50.0 ± 1.0 †",
        "c@1               –  failed",
    ]
    assert TABLE.markdown().splitlines() == [
        "| model | mIoU (%) | remark |",
        "| --- | ---: | --- |",
        "| a\\_b | 50.0 ± 1.0 † |  |",
        "| c@1 | – | failed |",
    ]
    assert TABLE.latex()[1] == "a\\_b & $50.0 \\pm 1.0$$^{\\dagger}$ &  \\\\"
    assert TABLE.csv() == "name,value,ok\na_b,0.5,true\nc@1,,false\n"
    assert TABLE.records() == [
        {"name": "a_b", "value": 0.5, "ok": True},
        {"name": "c@1", "value": None, "ok": False},
    ]


def test_a_cell_stays_a_cell() -> None:
    table = Table(COLUMNS, [Result(HOSTILE, 0.5)])
    assert len(table.console()) == 2
    assert len(table.markdown().splitlines()) == 3
    assert table.records()[0]["name"] == HOSTILE


def test_cells_of_every_row_are_its_own() -> None:
    table = Table.of_texts(("k", "square"), ([k, k * k] for k in range(3)), left=(-1,))
    assert table.texts() == [["k", "square"], ["0", "0"], ["1", "1"], ["2", "4"]]
    assert table.markdown().splitlines()[1] == "| ---: | --- |"
    assert Table.of_records(("b", "a"), [{"a": 1, "b": None, "c": 2}]).csv() == "b,a\n,1\n"
