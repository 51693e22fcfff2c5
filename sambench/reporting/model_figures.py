"""Figures that set models beside each other, after Fig. 9a, 9c, 9d and 13 of Segment Anything.

An oracle that is no better than the model's own choice, as that of a model with one answer, is not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sambench.reporting import formatting
from sambench.reporting.baseline import Against, ClickCurve, Sized, families
from sambench.reporting.leaderboard import title
from sambench.reporting.svg import COLOURS, colour, draw, label, marker
from sambench.reporting.tradeoffs import Tradeoff

_BETTER, _WORSE = COLOURS[0], COLOURS[1]
_GREY = "#404040"


def deltas(against: Against) -> bytes:
    """A bar for each dataset: the model minus the baseline, the largest on top, with a ring where the model's oracle
    lies (Fig. 9a)."""
    scale = 100 if against.unit == "fraction" else 1
    lower = against.lower_is_better
    shown = against.deltas[::-1]

    def fill(figure: Any, axes: Any) -> None:
        values = [scale * d.delta for d in shown]
        axes.barh(
            range(len(shown)), values, color=[_BETTER if (v < 0) == lower else _WORSE for v in values], height=0.7
        )
        rings = [
            (scale * d.oracle_delta, y)
            for y, d in enumerate(shown)
            if d.oracle_delta is not None and d.oracle_delta != d.delta
        ]
        for y, (value, d) in enumerate(zip(values, shown, strict=True)):
            offset, side = (4, "left") if value >= 0 else (-4, "right")
            axes.annotate(
                formatting.signed(d.delta, against.unit),
                (value, y),
                xytext=(offset, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=7,
            )
        if rings:
            axes.plot(
                *zip(*rings, strict=True),
                "o",
                color="white",
                markeredgecolor=_GREY,
                markersize=6,
                zorder=3,
                label="oracle",
            )
            axes.legend(loc="lower right", fontsize=7, frameon=False)
        axes.set_yticks(range(len(shown)), [f"{label(d.label)} {d.marks}".rstrip() for d in shown], fontsize=8)
        axes.axvline(0, color=_GREY, linewidth=0.8)
        points = "points" if scale == 100 else against.unit
        better = ", less is better" if lower else ""
        axes.set_xlabel(
            f"{label(title(against.metric))}: difference from {label(against.baseline.name)} ({points}{better})"
        )
        axes.set_title(f"{label(against.row.name)} minus {label(against.baseline.name)}", fontsize=9)
        axes.margins(x=0.14)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)

    return draw(7.2, 1.3 + 0.28 * len(shown), fill)


def clicks(curves: Sequence[ClickCurve], over: str) -> bytes:
    """Mean IoU against the number of clicks, a line for each model, a ring for its oracle after one click (Fig. 9c and
    9d). ``over``: what the mean is over, for the axis."""

    def fill(figure: Any, axes: Any) -> None:
        for place, curve in enumerate(curves):
            miou = [100 * value for value in curve.miou]
            style = "-" if place < len(COLOURS) else "--"
            axes.plot(
                curve.clicks,
                miou,
                style,
                color=colour(place),
                marker=marker(place),
                markersize=4,
                label=label(curve.name),
            )
            if curve.oracle is not None and curve.oracle != curve.miou[0]:
                axes.plot([1], [100 * curve.oracle], "o", color="white", markeredgecolor=colour(place), markersize=8)
        if any(curve.oracle is not None for curve in curves):
            axes.plot([], [], "o", color="white", markeredgecolor=_GREY, markersize=8, label="oracle")
        axes.set_xticks(sorted({k for curve in curves for k in curve.clicks}))
        axes.set(xlabel="clicks", ylabel=f"mIoU (%), {over}")
        axes.grid(alpha=0.25)
        axes.legend(loc="lower right", fontsize=8, frameon=False)

    return draw(6.4, 4.4, fill)


def parameters(sized: Sequence[Sized], metric: str, unit: str, over: str) -> bytes:
    """A metric against the number of parameters, on a logarithmic axis: a line through the sizes of each family, filled
    for the model's own choice and open for the oracle (Fig. 13, right). ``unit``: as tables show it."""
    scale = 100 if unit == "%" else 1

    def fill(figure: Any, axes: Any) -> None:
        for place, members in enumerate(families(sized)):
            x = [one.parameters for one in members]
            values = [scale * one.value for one in members]
            style = {"color": colour(place), "marker": marker(place), "markersize": 6}
            axes.plot(x, values, "-", **style)
            oracles = [(one.parameters, scale * one.oracle) for one in members if one.oracle not in (None, one.value)]
            if oracles:
                axes.plot(*zip(*oracles, strict=True), "--", markerfacecolor="white", **style)
            for one, value in zip(members, values, strict=True):
                axes.annotate(
                    label(one.name.partition("@")[0]),
                    (one.parameters, value),
                    xytext=(0, -12),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=_GREY,
                )
        axes.set_xscale("log")
        ticks = _ticks([one.parameters for one in sized])
        axes.set_xticks(ticks, [f"{tick / 1e6:g}M" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(0.8 * ticks[0], 1.25 * ticks[-1])
        axes.plot([], [], "o-", color=_GREY, markersize=6, label="ranked")
        if any(one.oracle is not None for one in sized):
            axes.plot([], [], "o--", color=_GREY, markerfacecolor="white", markersize=6, label="oracle")
        axes.set(xlabel="parameters", ylabel=f"{label(title(metric))} ({unit}), {over}")
        axes.margins(y=0.14)
        axes.grid(alpha=0.25)
        axes.legend(loc="best", fontsize=8, frameon=False)

    return draw(6.4, 4.4, fill)


def latency(tradeoff: Tradeoff, claim_ms: float, over: str) -> bytes:
    """A metric against the median time from a click to its mask, on a logarithmic axis, with a line to the 95 %
    quantile; a broken line at what the paper claims. ``over``: what the metric is a mean over."""
    scale = 100 if tradeoff.unit == "fraction" else 1
    points = tradeoff.points()

    def fill(figure: Any, axes: Any) -> None:
        for place, (name, value, took) in enumerate(points):
            hue, y = colour(place), scale * value
            axes.plot([took.p50, took.p95], [y, y], "-", color=hue, linewidth=1.5, solid_capstyle="butt")
            axes.plot([took.p95], [y], "|", color=hue, markersize=6)
            axes.plot([took.p50], [y], marker(place), color=hue, markersize=7, zorder=3)
            axes.annotate(
                label(name.partition("@")[0]),
                (took.p50, y),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=_GREY,
            )
        axes.axvline(claim_ms, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            f"{claim_ms:g} ms",
            (claim_ms, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -9),
            textcoords="offset points",
            fontsize=7,
            color=_GREY,
        )
        axes.set_xscale("log")
        ticks = _ticks([claim_ms, *(max(t, 1e-3) for _, _, took in points for t in (took.p50, took.p95))])
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(0.8 * ticks[0], 1.25 * ticks[-1])
        less = ", less is better" if tradeoff.lower_is_better else ""
        axes.set(xlabel="ms from a click to its mask", ylabel=f"{label(tradeoff.heading)}, {over}{less}")
        axes.margins(y=0.18)
        axes.grid(alpha=0.25)
        axes.set_title(label(tradeoff.setting.device_name), fontsize=9)

    return draw(6.4, 4.4, fill)


def _ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times powers of ten, from below the least to above the largest."""
    steps = [float(f"{digit}e{power}") for power in range(-3, 16) for digit in (1, 2, 5)]
    low = max((step for step in steps if step <= min(values)), default=steps[0])
    high = min((step for step in steps if step >= max(values)), default=steps[-1])
    return [step for step in steps if low <= step <= high]
