"""Line charts of a run page: coordinates only, which the template draws as inline SVG in the colours of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sambench.reporting import formatting
from sambench.reporting.baseline import IOU_BY_CLICKS
from sambench.reporting.cuts import metrics_by_clicks
from sambench.reporting.figures import PRECISION_RECALL
from sambench.runs.summaries import RunSummary

WIDTH, HEIGHT = 480, 320
"""Of a chart, in its own units."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 44
_MOST_TICKS = 10


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in the chart's units, and what stands there."""

    place: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A line through points, from left to right. ``dots``, ``rings``: (x, y) in the chart's units, y down. ``header``
    and ``rows``: the same values as a table, for those who do not see the line."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    line: str
    dots: tuple[tuple[float, float], ...]
    rings: tuple[tuple[float, float], ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    ring_label: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def charts(run: RunSummary) -> list[Chart]:
    """IoU by number of clicks, and precision by recall, where the run has them."""
    return [chart for chart in (_clicks(run), _precision_recall(run)) if chart is not None]


def _clicks(run: RunSummary) -> Chart | None:
    points = _points(run, IOU_BY_CLICKS, "clicks", "miou") or [
        (float(k), m.value) for k, m in metrics_by_clicks(run).items() if m.value is not None
    ]
    if len(points) < 2:
        return None
    low, high = points[0][0], points[-1][0]
    oracle = run.metrics["oracle_miou"].value if "oracle_miou" in run.metrics and low == 1 else None
    x = [_x(k, low, high) for k, _ in points]
    every = -(-len(points) // _MOST_TICKS)
    return Chart(
        "Mean IoU by number of clicks",
        "clicks",
        "mIoU (%)",
        tuple(Tick(place, f"{k:g}") for place, (k, _) in list(zip(x, points, strict=True))[::every]),
        _Y_TICKS,
        _path(list(zip(x, (_y(v) for _, v in points), strict=True))),
        tuple(zip(x, (_y(v) for _, v in points), strict=True)),
        () if oracle is None else ((x[0], _y(oracle)),),
        ("clicks", "mIoU (%)"),
        tuple((f"{k:g}", formatting.number(v)) for k, v in points),
        "" if oracle is None else f"ring: oracle after one click, {formatting.number(oracle)}",
    )


def _precision_recall(run: RunSummary) -> Chart | None:
    points = _points(run, PRECISION_RECALL, "recall", "precision")
    if len(points) < 2:
        return None
    best = max(points, key=lambda rp: 2 * rp[0] * rp[1] / max(rp[0] + rp[1], 1e-12))
    places = [(_x(r, 0, 1), _y(p)) for r, p in points]
    return Chart(
        "Precision by recall",
        "recall (%)",
        "precision (%)",
        tuple(Tick(_x(k / 100, 0, 1), str(k)) for k in range(0, 101, 20)),
        _Y_TICKS,
        _path(places),
        ((_x(best[0], 0, 1), _y(best[1])),),
        (),
        ("recall (%)", "precision (%)"),
        tuple((formatting.number(r), formatting.number(p)) for r, p in points),
        f"dot: the best threshold, recall {formatting.number(best[0])}, precision {formatting.number(best[1])}",
    )


def _points(run: RunSummary, curve: str, x: str, y: str) -> list[tuple[float, float]]:
    """The points of a curve at which both axes are defined."""
    axes = run.curves.get(curve, {})
    pairs = zip(axes.get(x, ()), axes.get(y, ()), strict=False)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _x(value: float, low: float, high: float) -> float:
    return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low), 1)


def _y(value: float) -> float:
    """Of a fraction of 1."""
    return round(HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * value, 1)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


_Y_TICKS = tuple(Tick(_y(k / 100), str(k)) for k in range(0, 101, 20))
