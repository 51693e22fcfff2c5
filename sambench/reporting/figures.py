"""Pictures of a report as SVG; the same runs give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sambench.reporting import text
from sambench.reporting.load import RunSummary
from sambench.reporting.reference import Published

PRECISION_RECALL = "precision_recall"
"""Name of the curve, with the axes ``recall`` and ``precision``, one value for each threshold."""

# Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow that vanishes on white.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS = "osD^vP*"
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
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Text as text, for screen readers and search; ids from a fixed salt, for equal bytes.
    with rc_context({"svg.hashsalt": "sambench", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(9.6, 6.2), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        _lines_ofequal_f(axes)
        for k, run in enumerate(run for run in runs if PRECISION_RECALL in run.curves):
            _curve(axes, run, _COLOURS[k % len(_COLOURS)], "-" if k < len(_COLOURS) else "--")
        for k, point in enumerate(_points(published)):
            _published(axes, point, _MARKERS[k % len(_MARKERS)])
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.grid(alpha=0.25)
        figure.legend(loc="outside right upper", fontsize=7, frameon=False)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _lines_ofequal_f(axes: Any) -> None:
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


def _curve(axes: Any, run: RunSummary, colour: str, style: str) -> None:
    curve = run.curves[PRECISION_RECALL]
    pairs = [
        (r, p) for r, p in zip(curve["recall"], curve["precision"], strict=True) if r is not None and p is not None
    ]
    ods = run.metrics["ods"].value if "ods" in run.metrics else None
    label = text.one_line(run.name) + ("" if ods is None else f", ODS {ods:.3f}") + ("" if run.complete else " …")
    axes.plot(
        *(zip(*pairs, strict=True) if pairs else ((), ())), style, color=colour, label=label, linewidth=1.8, zorder=3
    )
    best = max(pairs, key=lambda rp: 2 * rp[0] * rp[1] / max(rp[0] + rp[1], 1e-12), default=None)
    if best is not None:
        axes.plot(*best, "o", color=colour, markersize=5, zorder=4)


def _points(published: Sequence[Published]) -> list[_Point]:
    models = dict.fromkeys((row.model, row.table) for row in published if row.metric in ("ODS", "R50"))
    points = []
    for model, table in models:
        of = {row.metric: row.number for row in published if (row.model, row.table) == (model, table)}
        source = "" if table.startswith("Table") else f" ({table.removeprefix('later: ')})"
        points.append(_Point(text.one_line(model + source), of.get("ODS"), of.get("R50")))
    return points


def _published(axes: Any, point: _Point, marker: str) -> None:
    label = f"published: {point.label}" + ("" if point.f is None else f", ODS {point.f:.3f}")
    if point.f is not None:
        # Where recall equals precision, both are F.
        axes.plot(
            [point.f], [point.f], marker, color="white", markeredgecolor="#404040", markersize=6, zorder=5, label=label
        )
    if point.r50 is not None:
        axes.plot([point.r50], [0.5], marker, color="#404040", markersize=5, zorder=5)
