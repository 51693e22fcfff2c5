"""The report as one page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sambench.core.task import MetricValue
from sambench.reporting import data, formatting, tradeoffs
from sambench.reporting.baseline import Against, by_baseline, difference_table, not_compared
from sambench.reporting.content import Content
from sambench.reporting.cuts import Cut, cuts, metrics_by_clicks
from sambench.reporting.leaderboard import LEGEND, Leaderboard, all_marks, in_unit, marks, measured, title, unit_of
from sambench.reporting.pictures import Picture, by_note
from sambench.reporting.reference import Joined
from sambench.reporting.table import Shown, Table
from sambench.reporting.tradeoffs import Tradeoff
from sambench.runs.summaries import Metrics, RunSummary

CLASSES_SHOWN = 20
"""Classes in a run's section, those with most masks; ``breakdowns.csv`` has all."""


def page(content: Content) -> str:
    """Leaderboards, differences, latencies, figures, published results, and a section for each run."""
    parts = [
        "# sambench report\n",
        *map(leaderboard, content.boards),
        *map(_comparison, by_baseline(content.compared)),
        *_tradeoffs(content.tradeoffs),
        *_figures(content.pictures),
        *([_published(content.joined)] if content.joined else []),
        *_unsummarised(content.unsummarised),
        "## Runs\n",
        *map(_run, content.runs),
    ]
    return "\n".join(parts)


def leaderboard(board: Leaderboard) -> str:
    """A table for each headline metric, legend and signatures. Starts with a heading of the second level."""
    parts = [f"## {formatting.markdown(board.task)}, version {board.task_version}\n"]
    for metric in board.headlines:
        parts.append(f"### {formatting.markdown(board.heading(metric))}\n\n{board.table(metric).markdown()}")
    parts.append(formatting.markdown_list(board.legend()))
    signatures = (f"- [{k}] {formatting.code(s)}\n" for s, k in board.footnotes().items())
    return "\n".join(filter(None, [*parts, "Signatures:\n\n" + "".join(signatures)]))


def _comparison(compared: Sequence[Against]) -> str:
    """A table of the differences of several models from one baseline, datasets in rows."""
    first, table = compared[0], difference_table(compared)
    board, base = first.board, formatting.markdown(first.baseline.name)
    used = all_marks(d.marks for one in compared for d in one.deltas)
    notes = [f"{mark} {LEGEND[mark]} (this model or the baseline)." for mark in used]
    parts = [
        f"## {formatting.markdown(board.task)}, version {board.task_version}: differences from {base}\n",
        f"{formatting.markdown(board.heading(first.metric))}, each model minus {base}, on the same images. oracle: the "
        "best of the model's candidates minus the baseline's answer. A mean is shown where every dataset of the table "
        "is compared.\n",
        f"Signature: {formatting.code(first.baseline.signature)}\n",
        table.markdown() if table.rows else "",
        formatting.markdown_list([*notes, *not_compared(compared)]),
    ]
    return "\n".join(filter(None, parts))


def _tradeoffs(found: Sequence[Tradeoff]) -> list[str]:
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


def _figures(shown: Sequence[Picture]) -> list[str]:
    parts = ["## Figures\n"] if shown else []
    for note, members in by_note(shown):
        parts.append(f"{note}\n")
        parts += [f"![{formatting.markdown(p.title)}]({p.file})\n\n{formatting.markdown(p.title)}.\n" for p in members]
    return parts


def _published(joined: Sequence[Joined]) -> str:
    parts = [
        "## Published results, not measured here\n",
        "Copied from the sources named; the image draw, the prompts and the data versions behind them differ from a "
        "run's in ways that are not all known. `delta` is a difference of two models in mIoU points, not an mIoU. "
        "Values are in the unit of the source, mIoU in percent. SA-23 is the mean over the paper's 23 datasets: a mean "
        "over others is another quantity.\n",
    ]
    for task in dict.fromkeys(one.task for one in joined):
        table = Table(data.PUBLISHED, [one for one in joined if one.task == task])
        parts.append(f"### {formatting.markdown(task)}\n\n{table.markdown()}")
    return "\n".join(parts)


def _unsummarised(folders: Sequence[Path]) -> list[str]:
    if not folders:
        return []
    names = formatting.markdown_list("/".join(folder.parts[-3:]) for folder in folders)
    return [f"## Left out: runs without a summary\n\nStarted and not ended; the same command goes on.\n\n{names}"]


def _run(run: RunSummary) -> str:
    facts = [
        ("task", f"{run.task}, version {run.task_version}"),
        ("split, subset", f"{run.split}, {run.subset}"),
        ("complete", "yes" if run.complete else "no"),
        ("zero-shot", run.zero_shot),
        ("images", f"{run.n_scored} scored, {run.n_failed} failed, {run.n_excluded} excluded, of {run.n_expected}"),
        ("masks", str(run.n_masks)),
        ("images excluded, by rule", _by_rule(run.excluded)),
        ("masks excluded, by rule", _by_rule(run.excluded_masks)),
        ("left out of the index, by rule", _by_rule(run.left_out_of_index)),
        ("signature", run.signature),
        ("weights sha256", run.weights_digest),
        ("index sha256", run.index_digest),
        ("records sha256", run.records_digest),
        ("sambench", run.sambench_version),
    ]
    parts = [
        f"### {formatting.markdown(run.name)} on {formatting.markdown(run.dataset)}\n",
        *(f"{LEGEND[mark].capitalize()}.\n" for mark in marks(run)),
        *(f"Warning: {formatting.markdown(warning)}.\n" for warning in run.warnings),
        Table.of_texts(("field", "value"), [fact for fact in facts if fact[1]], left=(0, 1)).markdown(),
        _metrics_table(run.metrics),
        *_clicks_table(run),
        *map(_breakdown_table, cuts(run)),
    ]
    return "\n".join(parts)


def _by_rule(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{rule}: {n}" for rule, n in counts.items() if n)


def _metrics_table(metrics: Metrics) -> str:
    rows = [
        [
            _named(name, [m]),
            formatting.number(m.value, m.unit),
            formatting.interval(m.ci95, m.unit),
            formatting.interval(m.ci95_bootstrap, m.unit),
            m.n,
        ]
        for name, m in metrics.items()
    ]
    header = ("metric", "value (%)", "95 %, normal over masks", "95 %, bootstrap over images", "n")
    return Table.of_texts(header, rows).markdown()


def _named(name: str, metrics: Sequence[MetricValue]) -> str:
    """The name, with the unit where that is not percent."""
    unit = unit_of(metrics)
    return name if unit == "%" else in_unit(name, unit)


def _clicks_table(run: RunSummary) -> list[str]:
    """mIoU by number of clicks, as in Fig. 9c of the paper."""
    by_clicks = metrics_by_clicks(run)
    if not by_clicks:
        return []
    rows = [["mIoU (%)", *map(measured, by_clicks.values())]]
    if "oracle_miou" in run.metrics:
        rows.append(["oracle (%)", *(measured(run.metrics["oracle_miou"]) if k == 1 else "" for k in by_clicks)])
    return [f"mIoU by number of clicks:\n\n{Table.of_texts(('clicks', *map(str, by_clicks)), rows).markdown()}"]


def _breakdown_table(cut: Cut) -> str:
    if not cut.groups:
        return f"By {formatting.markdown(cut.name)}: none.\n"
    shown = cut.groups[:CLASSES_SHOWN]
    header = (cut.name, "n", *(_named(title(m), cut.of(m)) for m in cut.metrics))
    unnamed = Shown("", marks="(no name)")
    rows = ([g.name or unnamed, g.n, *(measured(g.metrics.get(m)) for m in cut.metrics)] for g in shown)
    more = f", the {CLASSES_SHOWN} with most masks of {len(cut.groups)} (all: breakdowns.csv)"
    rest = more if len(cut.groups) > len(shown) else ""
    return f"By {formatting.markdown(cut.name)}{rest} (%):\n\n{Table.of_texts(header, rows).markdown()}"
