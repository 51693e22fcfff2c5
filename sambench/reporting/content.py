"""What a report shows, whatever its form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sambench.reporting.baseline import Against, compare
from sambench.reporting.latencies import load_latencies
from sambench.reporting.leaderboard import Leaderboard, leaderboards
from sambench.reporting.pictures import Picture, pictures
from sambench.reporting.reference import Joined, beside, paper_names
from sambench.reporting.tradeoffs import Tradeoff, tradeoffs
from sambench.runs.summaries import RunSummary, load_summaries, unsummarised


@dataclass(frozen=True)
class Content:
    """All that a report shows. ``unsummarised``: run directories that have no summary yet. ``out``: the report's
    folder, where galleries are (``gallery/`` and a folder for each run that has one)."""

    runs: Sequence[RunSummary]
    boards: Sequence[Leaderboard]
    compared: Sequence[Against]
    tradeoffs: Sequence[Tradeoff]
    pictures: Sequence[Picture]
    joined: Sequence[Joined]
    unsummarised: Sequence[Path]
    out: Path


def gather(paths: Sequence[Path | str], out: Path, baseline: str) -> Content:
    """Reads and draws everything. Raises UsageError (no usable run, no run of the baseline)."""
    runs = load_summaries(paths)
    boards = leaderboards(runs)
    compared = compare(boards, baseline) if baseline else []
    traded = tradeoffs(boards, load_latencies(paths, runs))
    joined = [
        one
        for task in dict.fromkeys(run.task for run in runs)
        for one in beside(task, paper_names(task, {(r.dataset, r.split): None for r in runs if r.task == task}))
    ]
    drawn = pictures(boards, compared, traded, runs, joined)
    return Content(runs, boards, compared, traded, drawn, joined, unsummarised(paths), out)
