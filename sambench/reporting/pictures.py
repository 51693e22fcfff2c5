"""The pictures of a report: models beside each other, and precision-recall curves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from sambench.reporting import figures, model_figures
from sambench.reporting.baseline import Against, alike, by_parameters, click_curves
from sambench.reporting.leaderboard import Leaderboard, title
from sambench.reporting.reference import Joined
from sambench.reporting.svg import label
from sambench.reporting.tradeoffs import CLAIM_MS, Tradeoff
from sambench.runs.summaries import RunSummary

NOTES = {
    "deltas": (
        "Bars: the model minus the baseline, on each dataset on which both have a complete run of the same images (as "
        "in Fig. 9a of Segment Anything). A ring is the best of the model's candidates minus the baseline's one "
        "answer."
    ),
    "clicks": (
        "Mean IoU by number of clicks (as in Fig. 9c and, with a random first click, 9d): unweighted over the "
        "datasets of the table; a model without a complete run on each of them is left out. Where clicking stops at "
        "an IoU, as in noc, an object keeps the one that it stopped with. A ring is the oracle after one click. Of "
        "more than 12 models the first 12 of the table are shown."
    ),
    "parameters": (
        "Score by number of parameters (as in Fig. 13, right): a line through the models of a family, filled for the "
        "mask that the model ranks first, open for the oracle. Models without parameters, or whose number is not "
        "known, are left out."
    ),
    "groups": (
        "AP or AR by size of the mask and, where the dataset has it, by frequency of its class (as in Tables 4 and "
        "5), of complete runs; whiskers are 95 % intervals over masks. Of more than 7 models the first 7 of the table "
        "are shown."
    ),
    "latency": (
        "Score by the time from one click to the best mask at the size of the image, after the image is encoded: the "
        "median, with a line to the 95 % quantile. The broken line is at the 50 ms that Segment Anything (§3) names "
        "for a browser on a CPU. Only models that were measured in the same setting are in one figure."
    ),
    "precision_recall": (
        "A dot is a run's best threshold. Of a published ODS only F is printed: its open mark stands where recall and "
        "precision both are F, which is one of the points with that F. A filled mark at precision 0.5 is a published "
        "R50."
    ),
}
"""What is to be known of all pictures of a kind, in the order of the report."""

MOST_CURVES, MOST_BARS = 12, 7
"""Models in one figure: more lines than the legend can name, and more bars than there are colours, show nothing."""


@dataclass(frozen=True)
class Picture:
    """``kind``: of :data:`NOTES`; ``number``: among those of its kind. ``task``, ``task_version``: of whose runs it is.
    ``dataset``: the one it is of, if it is of one. ``models``: names of the rows that it is about, if it is not about
    all."""

    kind: str
    title: str
    svg: bytes
    task: str
    task_version: int
    dataset: str = ""
    models: tuple[str, ...] = ()
    number: int = 0

    @property
    def file(self) -> str:
        """Where in the report's folder."""
        return f"figures/{self.kind}_{self.number}.svg"


def pictures(
    boards: Sequence[Leaderboard],
    compared: Sequence[Against],
    traded: Sequence[Tradeoff],
    runs: Sequence[RunSummary],
    joined: Sequence[Joined],
) -> list[Picture]:
    """Differences from the baseline, IoU by clicks, scores by parameters, AP or AR by size and frequency, and scores by
    latency, each where there are two models or more to show; and the curves of runs that have them."""
    found = [*_deltas(compared), *_by_clicks(boards), *_by_parameters(boards), *_groups(boards), *_latencies(traded)]
    kinds = groupby([*found, *_curves(runs, joined)], key=lambda picture: picture.kind)
    return [replace(picture, number=n) for _, members in kinds for n, picture in enumerate(members, 1)]


def by_note(shown: Iterable[Picture]) -> list[tuple[str, list[Picture]]]:
    """Pictures of a kind together, under what is to be known of them."""
    return [(NOTES[kind], list(members)) for kind, members in groupby(shown, key=lambda picture: picture.kind)]


def _deltas(compared: Sequence[Against]) -> Iterator[Picture]:
    for one in compared:
        if one.deltas:
            models, board = (one.row.name, one.baseline.name), one.board
            yield _of(
                board, "deltas", " minus ".join(models), title(one.metric), model_figures.deltas(one), models=models
            )


def _by_clicks(boards: Sequence[Leaderboard]) -> Iterator[Picture]:
    for board in boards:
        for rows in alike(board):
            if len(curves := click_curves(rows)) > 1:
                svg = model_figures.clicks(curves[:MOST_CURVES], _over(board))
                yield _of(board, "clicks", "mIoU by clicks", rows[0].signature, svg)


def _by_parameters(boards: Sequence[Leaderboard]) -> Iterator[Picture]:
    for board in boards:
        for rows in alike(board):
            metric = board.headlines[0]
            if len(sized := by_parameters(rows, metric)) > 1:
                svg = model_figures.parameters(sized, metric, board.unit(metric), _over(board))
                yield _of(board, "parameters", f"{title(metric)} by parameters", rows[0].signature, svg)


def _groups(boards: Sequence[Leaderboard]) -> Iterator[Picture]:
    for board, name, runs in _grouped(boards):
        metric = board.headlines[0]
        svg = model_figures.bars(runs[:MOST_BARS], metric, name)
        rest = f"{name}, {runs[0].signature}"
        yield _of(board, "groups", f"{title(metric)} by size and frequency", rest, svg, dataset=runs[0].dataset)


def _of(board: Leaderboard, kind: str, what: str, rest: str, svg: bytes, **about: Any) -> Picture:
    heading = f"{what}: {board.task}, version {board.task_version}, {rest}"
    return Picture(kind, heading, svg, board.task, board.task_version, **about)


def _grouped(boards: Sequence[Leaderboard]) -> Iterator[tuple[Leaderboard, str, list[RunSummary]]]:
    """Runs of one dataset and signature that have an AP or AR by size or frequency, two or more."""
    for board in boards:
        if not board.headlines or not board.headlines[0].startswith(("ap", "ar")):
            continue
        for place, name in enumerate(board.labels()):
            for signature in board.footnotes():
                cells = [row.cells[place] for row in board.rows if row.signature == signature]
                complete = [run for run in cells if run is not None and run.complete]
                runs = [run for run in complete if model_figures.grouped(run, board.headlines[0])]
                if len(runs) > 1:
                    yield board, name, runs


def _latencies(found: Sequence[Tradeoff]) -> Iterator[Picture]:
    for one in found:
        if len(points := one.points()) > 1:
            svg, board = model_figures.latency(one, CLAIM_MS, _over(one.board)), one.board
            models = tuple(name for name, _, _ in points)
            heading = f"{one.title}, {one.signature}"
            yield Picture("latency", heading, svg, board.task, board.task_version, models=models)


def _curves(runs: Sequence[RunSummary], joined: Sequence[Joined]) -> Iterator[Picture]:
    """A figure for each task version, dataset and split that has any."""
    groups: dict[tuple[str, int, str, str], list[RunSummary]] = {}
    for run in runs:
        if figures.PRECISION_RECALL in run.curves:
            groups.setdefault((run.task, run.task_version, run.dataset, run.split), []).append(run)
    for (task, version, dataset, split), members in groups.items():
        published = [one.published for one in joined if (one.task, one.dataset) == (task, dataset)]
        heading = f"Precision and recall: {task}, version {version}, {dataset}, {split}"
        svg = figures.precision_recall(members, published)
        yield Picture("precision_recall", heading, svg, task, version, dataset)


def _over(board: Leaderboard) -> str:
    return label(board.labels()[0]) if len(board.columns) == 1 else f"mean of {len(board.columns)} datasets"
