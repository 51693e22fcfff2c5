"""What a report shows of models beside each other: tables of differences, and the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sambench.reporting import formatting, group_figures, model_figures, tradeoffs
from sambench.reporting.baseline import Against, alike, by_parameters, click_curves, difference_table, not_compared
from sambench.reporting.leaderboard import LEGEND, Leaderboard, title
from sambench.reporting.svg import label
from sambench.reporting.tradeoffs import CLAIM_MS, Tradeoff
from sambench.runs.summaries import RunSummary

DELTAS_NOTE = (
    "Bars: the model minus the baseline, on each dataset on which both have a complete run of the same images (as in "
    "Fig. 9a of Segment Anything). A ring is the best of the model's candidates minus the baseline's one answer."
)
CLICKS_NOTE = (
    "Mean IoU by number of clicks (as in Fig. 9c and, with a random first click, 9d): unweighted over the datasets of "
    "the table; a model without a complete run on each of them is left out. Where clicking stops at an IoU, as in noc, "
    "an object keeps the one that it stopped with. A ring is the oracle after one click. Of more than 12 models the "
    "first 12 of the table are shown."
)
GROUPS_NOTE = (
    "AP or AR by size of the mask and, where the dataset has it, by frequency of its class (as in Tables 4 and 5), of "
    "complete runs; whiskers are 95 % intervals over masks. Of more than 7 models the first 7 of the table are shown."
)
PARAMETERS_NOTE = (
    "Score by number of parameters (as in Fig. 13, right): a line through the models of a family, filled for the mask "
    "that the model ranks first, open for the oracle. Models without parameters, or whose number is not known, are "
    "left out."
)
LATENCY_NOTE = (
    "Score by the time from one click to the best mask at the size of the image, after the image is encoded: the "
    "median, with a line to the 95 % quantile. The broken line is at the 50 ms that Segment Anything (§3) names for a "
    "browser on a CPU. Only models that were measured in the same setting are in one figure."
)

MOST_CURVES, MOST_BARS = 12, 7
"""Models in one figure: more lines than the legend can name, and more bars than there are colours, show nothing."""


@dataclass(frozen=True)
class Picture:
    """``file``: where in the report's folder. ``note``: what is to be known of all pictures of the kind. ``task``,
    ``task_version``: of whose runs it is. ``dataset``: the one it is of, if it is of one. ``models``: names of the rows
    that it is about, if it is not about all."""

    file: str
    title: str
    note: str
    svg: bytes
    task: str
    task_version: int
    dataset: str = ""
    models: tuple[str, ...] = ()


def comparison_section(compared: Sequence[Against]) -> str:
    """A table of the differences of several models from one baseline, datasets in rows."""
    first, table = compared[0], difference_table(compared)
    base = formatting.markdown(first.baseline.name)
    used = "".join(d.marks for one in compared for d in one.deltas)
    notes = [f"{mark} {meaning} (this model or the baseline)." for mark, meaning in LEGEND.items() if mark in used]
    parts = [
        f"## {formatting.markdown(first.task)}, version {first.task_version}: differences from {base}\n",
        f"{formatting.markdown(first.heading)}, each model minus {base}, on the same images. oracle: the best of the "
        "model's candidates minus the baseline's answer. A mean is shown where every dataset of the table is compared."
        "\n",
        f"Signature: {formatting.code(first.baseline.signature)}\n",
        table.markdown() if table.rows else "",
        formatting.markdown_list([*notes, *not_compared(compared)]),
    ]
    return "\n".join(filter(None, parts))


def tradeoff_section(found: Sequence[Tradeoff]) -> list[str]:
    """The tables of quality against latency, with a heading of the second level; nothing if there are none."""
    if not found:
        return []
    parts = ["## Quality against latency\n", f"{tradeoffs.NOTE}\n"]
    for one in found:
        parts += [
            f"### {formatting.markdown(one.title)}\n",
            f"Signature: {formatting.code(one.signature)}\n",
            *([tradeoffs.table(one).markdown()] if one.rows else []),
            formatting.markdown_list(tradeoffs.notes(one)),
        ]
    return parts


def tradeoff_pictures(found: Sequence[Tradeoff]) -> list[Picture]:
    """Quality against latency, where there are two models or more to show."""
    several = [one for one in found if len(one.points()) > 1]
    return [
        Picture(
            f"figures/latency_{number}.svg",
            f"{one.title}, {one.signature}",
            LATENCY_NOTE,
            model_figures.latency(one, CLAIM_MS, _over(one.board)),
            one.board.task,
            one.board.task_version,
            models=tuple(name for name, _, _ in one.points()),
        )
        for number, one in enumerate(several, 1)
    ]


def comparison_pictures(boards: Sequence[Leaderboard], compared: Sequence[Against]) -> list[Picture]:
    """Differences from the baseline, IoU by clicks, scores by parameters, and AP or AR by size and frequency, each
    where there are two models or more to show."""
    shown = [one for one in compared if one.deltas]
    pictures = [
        Picture(
            f"figures/deltas_{number}.svg",
            f"{one.row.name} minus {one.baseline.name}: {one.task}, version {one.task_version}, {title(one.metric)}",
            DELTAS_NOTE,
            model_figures.deltas(one),
            one.task,
            one.task_version,
            models=(one.row.name, one.baseline.name),
        )
        for number, one in enumerate(shown, 1)
    ]
    together = [(board, rows) for board in boards for rows in alike(board)]
    curves = [(board, rows[0], click_curves(rows)) for board, rows in together]
    pictures += [
        Picture(
            f"figures/clicks_{number}.svg",
            f"mIoU by clicks: {board.task}, version {board.task_version}, {row.signature}",
            CLICKS_NOTE,
            model_figures.clicks(several[:MOST_CURVES], _over(board)),
            board.task,
            board.task_version,
        )
        for number, (board, row, several) in enumerate([one for one in curves if len(one[2]) > 1], 1)
    ]
    sized = [(board, rows[0], by_parameters(rows, board.headlines[0])) for board, rows in together]
    pictures += [
        Picture(
            f"figures/parameters_{number}.svg",
            f"{title(board.headlines[0])} by parameters: {board.task}, version {board.task_version}, {row.signature}",
            PARAMETERS_NOTE,
            model_figures.parameters(several, board.headlines[0], board.unit(board.headlines[0]), _over(board)),
            board.task,
            board.task_version,
        )
        for number, (board, row, several) in enumerate([one for one in sized if len(one[2]) > 1], 1)
    ]
    pictures += [
        Picture(
            f"figures/groups_{number}.svg",
            f"{title(board.headlines[0])} by size and frequency: {board.task}, version {board.task_version}, "
            f"{name}, {runs[0].signature}",
            GROUPS_NOTE,
            group_figures.bars(runs[:MOST_BARS], board.headlines[0], name),
            board.task,
            board.task_version,
            runs[0].dataset,
        )
        for number, (board, name, runs) in enumerate(_grouped(boards), 1)
    ]
    return pictures


def _grouped(boards: Sequence[Leaderboard]) -> Iterator[tuple[Leaderboard, str, list[RunSummary]]]:
    """Runs of one dataset and signature that have an AP or AR by size or frequency, two or more."""
    for board in boards:
        if not board.headlines or not board.headlines[0].startswith(("ap", "ar")):
            continue
        for place, name in enumerate(board.labels()):
            for signature in board.footnotes():
                cells = [row.cells[place] for row in board.rows if row.signature == signature]
                complete = [run for run in cells if run is not None and run.complete]
                runs = [run for run in complete if group_figures.grouped(run, board.headlines[0])]
                if len(runs) > 1:
                    yield board, name, runs


def _over(board: Leaderboard) -> str:
    return label(board.labels()[0]) if len(board.columns) == 1 else f"mean of {len(board.columns)} datasets"
