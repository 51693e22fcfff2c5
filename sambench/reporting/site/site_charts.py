"""Line charts of a run page, as inline SVG in the colours of the page."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sambench.reporting import formatting, svg
from sambench.reporting.baseline import IOU_BY_CLICKS
from sambench.reporting.cuts import metrics_by_clicks
from sambench.reporting.figures import PRECISION_RECALL
from sambench.runs.summaries import RunSummary

WIDTH, HEIGHT = 480, 320
"""Of a chart, in its own units."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 44
_MOST_TICKS = 10


@dataclass(frozen=True)
class Chart:
    """A line through points, from left to right. ``svg``: what is inside the ``<svg>``. ``note``: on a mark of it.
    ``header`` and ``rows``: the same values as a table, for those who do not see the line."""

    title: str
    svg: str
    note: str
    header: tuple[str, str]
    rows: tuple[tuple[str, str], ...]
    width: int = WIDTH
    height: int = HEIGHT


def charts(run: RunSummary) -> list[Chart]:
    """IoU by number of clicks, and precision by recall, where the run has them."""
    return [chart for chart in (_clicks(run), _precision_recall(run)) if chart is not None]


def _clicks(run: RunSummary) -> Chart | None:
    points = _points(run, IOU_BY_CLICKS, "clicks", "miou") or [
        (float(k), m.value) for k, m in metrics_by_clicks(run).items() if m.value is not None
    ]
    if len(points) < 2:
        return None
    first = points[0][0]
    oracle = run.metrics["oracle_miou"].value if "oracle_miou" in run.metrics and first == 1 else None
    header, every = ("clicks", "mIoU (%)"), -(-len(points) // _MOST_TICKS)
    ticks = tuple(k for k, _ in points[::every])
    return Chart(
        "Mean IoU by number of clicks",
        _draw(header, (first, points[-1][0]), ticks, points, oracle=oracle),
        "" if oracle is None else f"ring: oracle after one click, {formatting.number(oracle)}",
        header,
        tuple((f"{k:g}", formatting.number(v)) for k, v in points),
    )


def _precision_recall(run: RunSummary) -> Chart | None:
    points = _points(run, PRECISION_RECALL, "recall", "precision")
    if len(points) < 2:
        return None
    best = max(points, key=lambda rp: 2 * rp[0] * rp[1] / max(rp[0] + rp[1], 1e-12))
    percent, dots = [(100 * r, p) for r, p in points], [points.index(best)]
    header = ("recall (%)", "precision (%)")
    return Chart(
        "Precision by recall",
        _draw(header, (0, 100), tuple(range(0, 101, 20)), percent, dots=dots),
        f"dot: the best threshold, recall {formatting.number(best[0])}, precision {formatting.number(best[1])}",
        header,
        tuple((formatting.number(r), formatting.number(p)) for r, p in points),
    )


def _points(run: RunSummary, curve: str, x: str, y: str) -> list[tuple[float, float]]:
    """The points of a curve at which both axes are defined."""
    axes = run.curves.get(curve, {})
    pairs = zip(axes.get(x, ()), axes.get(y, ()), strict=False)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _draw(
    labels: tuple[str, str],
    limits: tuple[float, float],
    ticks: tuple[float, ...],
    points: Sequence[tuple[float, float]],
    *,
    dots: Sequence[int] | None = None,
    oracle: float | None = None,
) -> str:
    """Fractions of 1 over ``limits``. ``dots``: points with a dot, all by default. ``oracle``: a ring at the first."""
    frame, place = _frame(labels, limits, ticks)

    def fill(figure: Any) -> None:
        from matplotlib.lines import Line2D

        def add(points: Sequence[tuple[float, float]], size: int, **style: Any) -> None:
            x, y = zip(*points, strict=True)
            style |= {"marker": "o", "markersize": size, "transform": place}
            figure.add_artist(Line2D(x, [100 * value for value in y], **style))

        add(points, 8, color=svg.THEMED["series-1"], linewidth=2, markeredgewidth=0, markevery=dots)
        if oracle is not None:
            add([(points[0][0], oracle)], 12, color=svg.THEMED["series-2"], markeredgewidth=2, fillstyle="none")

    marks, _ = svg.inline(WIDTH, HEIGHT, fill, labels[0])
    return frame + marks


@functools.cache
def _frame(labels: tuple[str, str], limits: tuple[float, float], ticks: tuple[float, ...]) -> tuple[str, Any]:
    """Axes and their labels, which take longest to draw and are the same on many pages; and the place of data in it."""

    def fill(figure: Any) -> Any:
        left, right, bottom, top = _LEFT / WIDTH, 1 - _RIGHT / WIDTH, _BOTTOM / HEIGHT, 1 - _TOP / HEIGHT
        axes = figure.add_axes((left, bottom, right - left, top - bottom), frameon=False)
        axes.set(xlim=limits, ylim=(0, 100))
        axes.set_xticks(ticks, [f"{k:g}" for k in ticks])
        axes.set_yticks(range(0, 101, 20))
        axes.tick_params(length=0, pad=7, labelsize=14)
        axes.grid(axis="y", color=svg.THEMED["line"], clip_on=False)
        corner = {"color": svg.THEMED["quiet"], "linewidth": 1, "clip_on": False}
        axes.plot([0, 0, 1], [1, 0, 0], transform=axes.transAxes, **corner)
        figure.text((left + right) / 2, 8 / HEIGHT, labels[0], ha="center", fontsize=14)
        figure.text(13 / WIDTH, (bottom + top) / 2, labels[1], ha="center", va="center", rotation=90, fontsize=14)
        return axes.transData.frozen()

    return svg.inline(WIDTH, HEIGHT, fill, "frame")
