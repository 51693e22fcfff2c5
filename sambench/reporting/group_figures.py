"""Bars of a metric by size and by frequency of class, models beside each other, after Tables 4 and 5 of Segment
Anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sambench.core.task import MetricValue
from sambench.reporting.cuts import cuts
from sambench.reporting.leaderboard import title
from sambench.reporting.svg import colour, draw, label
from sambench.runs.summaries import RunSummary

CUTS = ("size", "frequency")
_GREY = "#404040"


def grouped(run: RunSummary, metric: str) -> dict[str, MetricValue]:
    """A metric by size and frequency, small to large and rare to frequent; empty if the run has no such breakdown."""
    return {
        group.name: group.metrics[metric]
        for name in CUTS
        for cut in cuts(run)
        if cut.name == name
        for group in cut.groups
        if metric in group.metrics and group.metrics[metric].value is not None
    }


def bars(runs: Sequence[RunSummary], metric: str, dataset: str) -> bytes:
    """A bar for each run in each group, with its 95 % interval where it has one. ``metric``: of fractions."""
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
        axes.grid(axis="y", alpha=0.25)
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper left", ncols=2, fontsize=8, frameon=False)

    return draw(7.2, 4.2, fill)
