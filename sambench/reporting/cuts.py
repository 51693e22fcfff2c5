"""Breakdowns of a run, and its IoU by number of clicks, in the order in which pages show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sambench.core.task import MetricValue
from sambench.reporting import formatting
from sambench.runs.summaries import Metrics, RunSummary

ALWAYS = ("size", "class")
"""Cuts that every run has, and that say nothing where they are empty; of any other that is news."""

_ORDERS = {"size": ("small", "medium", "large"), "frequency": ("rare", "common", "frequent")}


@dataclass(frozen=True)
class Group:
    """A group of a cut. ``n``: the most values that any of its metrics is made of."""

    name: str
    n: int
    metrics: Metrics


@dataclass(frozen=True)
class Cut:
    """A breakdown. ``groups``: in their natural order where there is one, else those with most masks first.
    ``metrics``: names of all metrics of any group."""

    name: str
    groups: tuple[Group, ...]
    metrics: tuple[str, ...]

    def of(self, metric: str) -> list[MetricValue]:
        """One metric of all groups that have it."""
        return [group.metrics[metric] for group in self.groups if metric in group.metrics]


def cuts(run: RunSummary) -> list[Cut]:
    """The breakdowns of a run that say something."""
    return [_cut(name, groups) for name, groups in run.breakdowns.items() if groups or name not in ALWAYS]


def _cut(name: str, groups: Mapping[str, Metrics]) -> Cut:
    counts = {group: max((m.n for m in metrics.values()), default=0) for group, metrics in groups.items()}
    natural = _ORDERS.get(name, ())
    order = [group for group in natural if group in groups]
    rest = sorted(set(groups) - set(order), key=lambda group: (0 if natural else -counts[group], group))
    names = dict.fromkeys(metric for metrics in groups.values() for metric in metrics)
    return Cut(name, tuple(Group(group, counts[group], groups[group]) for group in order + rest), tuple(names))


def metrics_by_clicks(run: RunSummary) -> dict[int, MetricValue]:
    """``miou`` and ``miou@K`` by number of clicks, as in Fig. 9c of the paper; empty where there are fewer than two."""
    by_clicks = {k: metric for name, metric in run.metrics.items() if (k := formatting.clicks_of(name)) is not None}
    if "miou" in run.metrics:
        by_clicks[1] = run.metrics["miou"]
    return dict(sorted(by_clicks.items())) if len(by_clicks) > 1 else {}
