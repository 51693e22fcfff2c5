"""Figures that set models beside each other, after Fig. 9a, 9c, 9d and 13 and Tables 4 and 5 of Segment Anything.

An oracle that is no better than the model's own choice, as that of a model with one answer, is not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sambench.core.task import MetricValue
from sambench.reporting import formatting
from sambench.reporting.baseline import Against, ClickCurve, Sized, families
from sambench.reporting.cuts import cuts
from sambench.reporting.leaderboard import title
from sambench.reporting.svg import COLOURS, colour, draw, label, legend, marker
from sambench.reporting.tradeoffs import Tradeoff
from sambench.runs.summaries import RunSummary

_BETTER, _WORSE = COLOURS[0], COLOURS[1]
_GREY = "#404040"
_RING = {"linestyle": "none", "marker": "o", "color": "white", "zorder": 3}


def deltas(against: Against) -> bytes:
    """A bar for each dataset: the model minus the baseline, the largest on top, with a ring where the model's oracle
    lies (Fig. 9a)."""
    scale = _scale(against.unit)
    lower = against.board.lower_is_better(against.metric)
    shown = against.deltas[::-1]
    places = range(len(shown))

    def fill(figure: Any, axes: Any) -> None:
        values = [scale * d.delta for d in shown]
        axes.barh(places, values, color=[_BETTER if (v < 0) == lower else _WORSE for v in values], height=0.7)
        for y, value, d in zip(places, values, shown, strict=True):
            offset, side = (4, "left") if value >= 0 else (-4, "right")
            _note(axes, formatting.signed(d.delta, against.unit), (value, y), (offset, 0), ha=side, va="center")
        oracles = [(d.oracle_delta, y) for y, d in enumerate(shown) if d.oracle_delta != d.delta]
        rings = [(scale * oracle, y) for oracle, y in oracles if oracle is not None]
        if rings:
            axes.plot(*zip(*rings, strict=True), **_RING, markeredgecolor=_GREY, markersize=6, label="oracle")
            legend(figure)
        axes.set_yticks(places, [f"{label(d.label)} {d.marks}".rstrip() for d in shown], fontsize=8)
        axes.axvline(0, color=_GREY, linewidth=0.8)
        unit = ("points" if scale == 100 else against.unit) + (", less is better" if lower else "")
        base = label(against.baseline.name)
        axes.set_xlabel(f"{label(title(against.metric))}: difference from {base} ({unit})")
        axes.set_title(f"{label(against.row.name)} minus {base}", fontsize=9)
        axes.margins(x=0.14)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        _grid(axes, "x")

    return draw(7.2, 1.5 + 0.28 * len(shown), fill)


def clicks(curves: Sequence[ClickCurve], over: str) -> bytes:
    """Mean IoU against the number of clicks, a line for each model, a ring for its oracle after one click (Fig. 9c and
    9d). ``over``: what the mean is over, for the axis."""

    def fill(figure: Any, axes: Any) -> None:
        for place, curve in enumerate(curves):
            style = {"linestyle": "-" if place < len(COLOURS) else "--", "marker": marker(place), "markersize": 4}
            miou = [100 * value for value in curve.miou]
            axes.plot(curve.clicks, miou, color=colour(place), label=label(curve.name), **style)
            if curve.oracle is not None and curve.oracle != curve.miou[0]:
                axes.plot([1], [100 * curve.oracle], **_RING, markeredgecolor=colour(place), markersize=8)
        if any(curve.oracle is not None for curve in curves):
            axes.plot([], [], **_RING, markeredgecolor=_GREY, markersize=8, label="oracle")
        axes.set_xticks(sorted({k for curve in curves for k in curve.clicks}))
        axes.set(xlabel="clicks", ylabel=f"mIoU (%), {over}")
        _grid(axes, "both")
        legend(figure)

    return draw(6.4, 4.8, fill)


def parameters(sized: Sequence[Sized], metric: str, unit: str, over: str) -> bytes:
    """A metric against the number of parameters, on a logarithmic axis: a line through the sizes of each family, filled
    for the model's own choice and open for the oracle (Fig. 13, right). ``unit``: as tables show it."""
    scale = 100 if unit == "%" else 1

    def fill(figure: Any, axes: Any) -> None:
        for place, members in enumerate(families(sized)):
            style = {"color": colour(place), "marker": marker(place), "markersize": 6}
            axes.plot([one.parameters for one in members], [scale * one.value for one in members], "-", **style)
            oracles = [(one.parameters, scale * one.oracle) for one in members if one.oracle not in (None, one.value)]
            if oracles:
                axes.plot(*zip(*oracles, strict=True), "--", markerfacecolor="white", **style)
            for one in members:
                _note(axes, label(one.name.partition("@")[0]), (one.parameters, scale * one.value), (0, -12))
        _logarithmic(axes, [one.parameters for one in sized], lambda tick: f"{tick / 1e6:g}M")
        axes.plot([], [], "o-", color=_GREY, markersize=6, label="ranked")
        if any(one.oracle is not None for one in sized):
            axes.plot([], [], "o--", color=_GREY, markerfacecolor="white", markersize=6, label="oracle")
        axes.set(xlabel="parameters", ylabel=f"{label(title(metric))} ({unit}), {over}")
        axes.margins(y=0.14)
        _grid(axes, "both")
        legend(figure)

    return draw(6.4, 4.6, fill)


def latency(tradeoff: Tradeoff, claim_ms: float, over: str) -> bytes:
    """A metric against the median time from a click to its mask, on a logarithmic axis, with a line to the 95 %
    quantile; a broken line at what the paper claims. ``over``: what the metric is a mean over."""
    board, metric = tradeoff.board, tradeoff.metric
    scale = _scale(board.measured_in(metric))
    points = tradeoff.points()

    def fill(figure: Any, axes: Any) -> None:
        for place, (name, value, took) in enumerate(points):
            hue, y = colour(place), scale * value
            axes.plot([took.p50, took.p95], [y, y], "-", color=hue, linewidth=1.5, solid_capstyle="butt")
            axes.plot([took.p95], [y], "|", color=hue, markersize=6)
            axes.plot([took.p50], [y], marker(place), color=hue, markersize=7, zorder=3)
            _note(axes, label(name.partition("@")[0]), (took.p50, y), (0, 8))
        axes.axvline(claim_ms, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        _note(axes, f"{claim_ms:g} ms", (claim_ms, 1), (3, -9), ha="left", xycoords=("data", "axes fraction"))
        times = [max(t, 1e-3) for _, _, took in points for t in (took.p50, took.p95)]
        _logarithmic(axes, [claim_ms, *times], lambda tick: f"{tick:g}")
        less = ", less is better" if board.lower_is_better(metric) else ""
        axes.set(xlabel="ms from a click to its mask", ylabel=f"{label(board.heading(metric))}, {over}{less}")
        axes.margins(y=0.18)
        axes.set_title(label(tradeoff.setting.device_name), fontsize=9)
        _grid(axes, "both")

    return draw(6.4, 4.4, fill)


def grouped(run: RunSummary, metric: str) -> dict[str, MetricValue]:
    """A metric by size and frequency, small to large and rare to frequent; empty if the run has no such breakdown."""
    found = {cut.name: cut.groups for cut in cuts(run)}
    return {
        group.name: group.metrics[metric]
        for name in ("size", "frequency")
        for group in found.get(name, ())
        if metric in group.metrics and group.metrics[metric].value is not None
    }


def bars(runs: Sequence[RunSummary], metric: str, dataset: str) -> bytes:
    """A bar for each run in each group of its breakdowns, with its 95 % interval where it has one. ``metric``: of
    fractions."""
    values = [grouped(run, metric) for run in runs]
    groups = list(dict.fromkeys(name for found in values for name in found))
    width = 0.8 / len(runs)

    def fill(figure: Any, axes: Any) -> None:
        for place, (run, found) in enumerate(zip(runs, values, strict=True)):
            x = [k + (place - (len(runs) - 1) / 2) * width for k, name in enumerate(groups) if name in found]
            shown = [found[name] for name in groups if name in found]
            heights = [100 * (m.value or 0.0) for m in shown]
            half = [50 * (m.ci95[1] - m.ci95[0]) if m.ci95 else 0.0 for m in shown]
            axes.bar(x, heights, width, color=colour(place), label=label(run.name))
            if any(half):
                axes.errorbar(x, heights, half, fmt="none", ecolor=_GREY, elinewidth=1, capsize=2)
        axes.set_xticks(range(len(groups)), [label(name) for name in groups])
        axes.set(ylabel=f"{label(title(metric))} (%), {label(dataset)}")
        _grid(axes, "y")
        legend(figure)

    return draw(7.2, 4.2, fill)


def _scale(unit: str) -> int:
    """Fractions are drawn in percent."""
    return 100 if unit == "fraction" else 1


def _note(axes: Any, words: str, at: tuple[float, float], offset: tuple[int, int], **style: Any) -> None:
    """Small words, ``offset`` points from a place."""
    style = {"ha": "center", "fontsize": 7, "color": _GREY, **style}
    axes.annotate(words, at, xytext=offset, textcoords="offset points", **style)


def _grid(axes: Any, axis: str) -> None:
    axes.grid(axis=axis, alpha=0.25)
    axes.set_axisbelow(True)


def _logarithmic(axes: Any, values: Sequence[float], name: Any) -> None:
    """An x axis with ticks at 1, 2 and 5 times powers of ten, from below the least to above the largest value."""
    steps = [float(f"{digit}e{power}") for power in range(-3, 16) for digit in (1, 2, 5)]
    low = max((step for step in steps if step <= min(values)), default=steps[0])
    high = min((step for step in steps if step >= max(values)), default=steps[-1])
    ticks = [step for step in steps if low <= step <= high]
    axes.set_xscale("log")
    axes.set_xticks(ticks, list(map(name, ticks)))
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.8 * ticks[0], 1.25 * ticks[-1])
