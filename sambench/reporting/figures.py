"""Precision-recall curves of a report as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sambench import text
from sambench.reporting.reference import Published
from sambench.reporting.svg import COLOURS, colour, draw, label, marker
from sambench.runs.summaries import RunSummary

PRECISION_RECALL = "precision_recall"
"""Name of the curve, with the axes ``recall`` and ``precision``, one value for each threshold."""

_LEVELS = tuple(k / 10 for k in range(1, 10))


@dataclass(frozen=True)
class _Point:
    """What a publication prints of a curve: F at its best threshold (ODS), and the recall at precision 0.5 (R50)."""

    label: str
    f: float | None
    r50: float | None


def precision_recall(runs: Sequence[RunSummary], published: Sequence[Published]) -> bytes:
    """The precision-recall curves of runs on one dataset, over lines of equal F, with what is published beside them.

    ``runs``: those without the curve are left out. ``published``: rows with the metrics ODS and R50.
    """

    def fill(figure: Any, axes: Any) -> None:
        _lines_of_equal_f(axes)
        for k, run in enumerate(run for run in runs if PRECISION_RECALL in run.curves):
            _curve(axes, run, colour(k), "-" if k < len(COLOURS) else "--")
        for k, point in enumerate(_points(published)):
            _published(axes, point, marker(k))
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.grid(alpha=0.25)
        figure.legend(loc="outside right upper", fontsize=7, frameon=False)

    return draw(9.6, 6.2, fill)


def _lines_of_equal_f(axes: Any) -> None:
    for f in _LEVELS:
        recall, precision = equal_f(f)
        axes.plot(recall, precision, color="#b8c8b8", linewidth=0.8, zorder=1)
        axes.annotate(f"F = {f:.1f}", (1, f / (2 - f)), xytext=(-2, 2), textcoords="offset points", fontsize=6).set(
            color="#607060", ha="right"
        )


def equal_f(f: float) -> tuple[Any, Any]:
    """Recall and precision along a line of equal F: P = F·R / (2R - F)."""
    recall = np.linspace(f / (2 - f), 1, 200)
    return recall, f * recall / (2 * recall - f)


def _curve(axes: Any, run: RunSummary, hue: str, style: str) -> None:
    curve = run.curves[PRECISION_RECALL]
    pairs = [
        (r, p) for r, p in zip(curve["recall"], curve["precision"], strict=True) if r is not None and p is not None
    ]
    ods = run.metrics["ods"].value if "ods" in run.metrics else None
    shown = label(run.name) + ("" if ods is None else f", ODS {ods:.3f}") + ("" if run.complete else " …")
    axes.plot(
        *(zip(*pairs, strict=True) if pairs else ((), ())), style, color=hue, label=shown, linewidth=1.8, zorder=3
    )
    best = max(pairs, key=lambda rp: 2 * rp[0] * rp[1] / max(rp[0] + rp[1], 1e-12), default=None)
    if best is not None:
        axes.plot(*best, "o", color=hue, markersize=5, zorder=4)


def _points(published: Sequence[Published]) -> list[_Point]:
    models = dict.fromkeys((row.model, row.table) for row in published if row.metric in ("ODS", "R50"))
    points = []
    for model, table in models:
        of = {row.metric: row.number for row in published if (row.model, row.table) == (model, table)}
        source = "" if table.startswith("Table") else f" ({table.removeprefix('later: ')})"
        points.append(_Point(text.one_line(model + source), of.get("ODS"), of.get("R50")))
    return points


def _published(axes: Any, point: _Point, symbol: str) -> None:
    shown = f"published: {point.label}" + ("" if point.f is None else f", ODS {point.f:.3f}")
    if point.f is not None:
        # Where recall equals precision, both are F.
        axes.plot(
            [point.f], [point.f], symbol, color="white", markeredgecolor="#404040", markersize=6, zorder=5, label=shown
        )
    if point.r50 is not None:
        axes.plot([point.r50], [0.5], symbol, color="#404040", markersize=5, zorder=5)
