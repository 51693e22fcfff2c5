"""Whether runs hold up against an earlier report: for ``sambench gate``, in CI.

The baseline is the ``leaderboard.csv`` of a report, kept in the repository. Every run in it is asked for again: same
task and version, dataset, split, subset, signature and model name; the weights may be others, that is the point.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as xml

from sambench import text
from sambench.errors import UsageError
from sambench.reporting import data, formatting
from sambench.reporting.table import Column, Shown, Table
from sambench.runs.summaries import RunSummary

Verdict = Literal["passed", "failed"]


@dataclass(frozen=True)
class Check:
    """One metric of one run against its baseline. ``bound``: the value that it must not be worse than; ``why``: of the
    verdict, in words."""

    task: str
    dataset: str
    split: str
    model: str
    metric: str
    unit: str
    baseline: float | None
    bound: float | None
    value: float | None
    verdict: Verdict
    why: str

    @property
    def passed(self) -> bool:
        return self.verdict == "passed"


def gate(
    runs: Sequence[RunSummary], baseline: Path, *, metrics: Sequence[str] = (), max_drop: float | None = None
) -> list[Check]:
    """A check for each run and metric of the baseline file.

    ``metrics``: which; empty: the primary metric of each run. ``max_drop``: how much worse a value may be, in the
    unit of the metric (fractions of 1, so .01 is one point); None: it may be as bad as the far end of the baseline's
    bootstrap interval (or of its normal one where there is no other), and must not be worse at all where there is none.

    Raises UsageError: the file cannot be read, is no such table, or names nothing to check.
    """
    checks: list[Check] = []
    for row in _rows(baseline):
        run = _find(runs, row)
        if run is not None and row["metric"] in (metrics or (run.primary,)):
            checks.append(_check(run, row, max_drop))
        elif run is None and (row["metric"] in metrics if metrics else _is_first(checks, row)):
            checks.append(_refused(row, f"no such run: {_closest(runs, row)}"))
    if not checks:
        what = ", ".join(metrics) or "primary metric"
        raise UsageError(f"{baseline} names no {what} of any run: nothing would be checked")
    return checks


def markdown_table(checks: Sequence[Check]) -> str:
    """For a job's summary page: the verdict first, then the failures, then what passed."""
    failed = [c for c in checks if not c.passed]
    head = f"## sambench gate: {f'{len(failed)} of {len(checks)} failed' if failed else f'{len(checks)} passed'}\n"
    return f"{head}\n{Table(_COLUMNS, sorted(checks, key=lambda c: c.passed)).markdown()}"


_COLUMNS = (
    Column("", "", lambda c: "passed" if c.passed else Shown("", marks="**failed**"), left=True),
    *(Column("", name, attrgetter(name), left=True) for name in ("task", "dataset", "model", "metric")),
    Column("", "baseline", lambda c: formatting.number(c.baseline, c.unit)),
    Column("", "bound", lambda c: formatting.number(c.bound, c.unit)),
    Column("", "now", lambda c: formatting.number(c.value, c.unit)),
    Column("", "why", attrgetter("why"), left=True),
)


def junit(checks: Sequence[Check]) -> bytes:
    """JUnit XML: a test case for each check."""
    failures = sum(not c.passed for c in checks)
    suite = xml.Element("testsuite", name="sambench gate", tests=str(len(checks)), failures=str(failures), errors="0")
    for c in checks:
        case = xml.SubElement(
            suite,
            "testcase",
            classname=text.one_line(f"{c.task}.{c.dataset}.{c.split}"),
            name=text.one_line(f"{c.model} {c.metric}"),
        )
        if not c.passed:
            xml.SubElement(case, "failure", message=text.one_line(c.why)).text = text.one_line(c.why)
    return bytes(xml.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"


def badge(checks: Sequence[Check]) -> bytes:
    """JSON that the endpoint badge of shields.io reads."""
    failed = sum(not c.passed for c in checks)
    message = f"{failed} of {len(checks)} failed" if failed else f"{len(checks)} passed"
    content = {"schemaVersion": 1, "label": "sambench", "message": message, "color": "red" if failed else "brightgreen"}
    return (json.dumps(content, indent=1) + "\n").encode()


def _check(run: RunSummary, row: dict[str, Any], max_drop: float | None) -> Check:
    now, before = run.metrics.get(row["metric"]), row["value"]
    value = None if now is None else now.value
    sign = -1 if row["metric"] in run.lower_is_better else 1
    if before is None:
        bound = None
    elif max_drop is not None:
        bound = before - sign * max_drop
    else:
        far = "low" if sign > 0 else "high"
        ends = (row[f"ci95_bootstrap_{far}"], row[f"ci95_{far}"], before)
        bound = next(end for end in ends if end is not None)

    def said(verdict: Verdict, why: str) -> Check:
        names = (run.task, run.dataset, run.split, run.model, row["metric"], row["unit"])
        return Check(*names, before, bound, value, verdict, why)

    if not run.complete:
        return said("failed", f"the run is incomplete: {run.n_scored} of {run.n_expected} images are scored")
    if value is None:
        return said("failed", "it has no value")
    if before is None or bound is None:
        return said("passed", "the baseline has no value")
    if sign * (value - bound) < 0:
        beyond = "the allowed drop" if max_drop is not None else "the baseline's interval"
        return said(
            "failed",
            f"worse than the baseline by {formatting.number(abs(value - before), row['unit'])}, beyond {beyond}",
        )
    better = sign * (value - before)
    return said("passed", "as before" if better == 0 else "better" if better > 0 else "worse, but within tolerance")


def _refused(row: dict[str, Any], why: str) -> Check:
    names = (row["task"], row["dataset"], row["split"], row["model"], row["metric"], row["unit"])
    return Check(*names, row["value"], None, None, "failed", why)


def _find(runs: Sequence[RunSummary], row: dict[str, Any]) -> RunSummary | None:
    found = [run for run in runs if all(str(getattr(run, key)) == row[key] for key in _SAME)]
    if len(found) > 1:
        raise UsageError(f"{found[0].path} and {found[1].path} both answer to {_name(row)}: give one of them")
    return found[0] if found else None


_SAME = ("task", "task_version", "dataset", "split", "subset", "model", "signature")
_NUMBERS = ("value", "ci95_low", "ci95_high", "ci95_bootstrap_low", "ci95_bootstrap_high")


def _closest(runs: Sequence[RunSummary], row: dict[str, Any]) -> str:
    """What the run that is most like the wanted one has else."""
    like = [run for run in runs if (run.task, run.dataset, run.model) == (row["task"], row["dataset"], row["model"])]
    if not like:
        return f"nobody ran {_name(row)}"
    differ = [
        f"{key} {getattr(like[0], key)} for {row[key]}" for key in _SAME if str(getattr(like[0], key)) != row[key]
    ]
    return f"{like[0].path} has {', '.join(differ)}"


def _is_first(checks: Sequence[Check], row: dict[str, Any]) -> bool:
    """Whether a run that is missing has not been told yet: the file has a row for each of its metrics."""
    key = (row["task"], row["dataset"], row["split"], row["model"])
    return all((c.task, c.dataset, c.split, c.model) != key for c in checks)


def _name(row: dict[str, Any]) -> str:
    return f"{row['task']} on {row['dataset']} with {row['model']}"


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(file.read_text("utf-8"), newline=""), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read as a baseline: {text.one_line(str(error))}") from error
    missing = [name for name in data.LEADERBOARD_COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise UsageError(
            f"{file} is not a leaderboard.csv of `sambench report`: "
            + (f"no column {missing[0]}" if rows else "it is empty")
        )
    for number, row in enumerate(rows, 2):
        try:
            for name in _NUMBERS:
                row[name] = float(row[name]) if row[name] else None
                if row[name] is not None and not math.isfinite(row[name]):
                    raise ValueError
        except (TypeError, ValueError) as error:
            raise UsageError(f"{file}, line {number}: {name} is not a number") from error
    return rows
