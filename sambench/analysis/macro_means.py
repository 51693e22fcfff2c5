"""The paper's headline: the mean over a named set of datasets, only where all of the set was evaluated."""

from __future__ import annotations

from collections.abc import Sequence

from sambench.planning.find_datasets import members
from sambench.plugins.registry import split_names
from sambench.reporting.leaderboard import average, leaderboards, title
from sambench.runs.summaries import RunSummary

SETS = ("sam23", "ritm5")


def macro_means(asked: Sequence[str], summaries: Sequence[RunSummary]) -> list[str]:
    """A line for each set that was asked for (``all`` asks for each) and each model: the unweighted mean of the task's
    primary metric over the set's datasets (protocol §2.6), or why there is none.

    ``asked``: datasets as given on the command line.
    """
    names = {name for name in SETS if {name, "all"} & set(split_names(asked))}
    return [
        line
        for name in SETS
        if name in names
        for task in dict.fromkeys(summary.task for summary in summaries)
        for line in _lines(name, members(name, task), [s for s in summaries if s.task == task])
    ]


def _lines(name: str, wanted: Sequence[str], summaries: Sequence[RunSummary]) -> list[str]:
    lines = []
    for board in leaderboards(summary for summary in summaries if summary.dataset in wanted):
        primary = board.headlines[0]
        for row in board.rows:
            done = {run.dataset for run in row.runs if run.complete}
            if done == set(wanted) and len(row.runs) == len(wanted):
                what = f"{average(row, primary).value}, mean {title(primary)} over its {len(wanted)} datasets"
            else:
                what = f"no mean, {len(done)} of its {len(wanted)} datasets are evaluated to the end"
            lines.append(f"{name}, {board.task}, {row.name}: {what}")
    return lines
