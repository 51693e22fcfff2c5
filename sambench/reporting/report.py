"""Writes a report folder: pages for people, tables for machines, published results in a place of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from sambench.core.task import MetricValue
from sambench.reporting import data, figures, formatting, latex, markdown, tradeoffs
from sambench.reporting.baseline import by_baseline, compare
from sambench.reporting.cuts import Cut, cuts, metrics_by_clicks
from sambench.reporting.latencies import load_latencies
from sambench.reporting.leaderboard import LEGEND, in_unit, leaderboards, marks, measured, title, unit_of
from sambench.reporting.model_pages import (
    Picture,
    comparison_pictures,
    comparison_section,
    tradeoff_pictures,
    tradeoff_section,
)
from sambench.reporting.reference import Joined, beside, paper_names
from sambench.reporting.site import site
from sambench.reporting.table import Column, Shown, Table
from sambench.runs.summaries import Metrics, RunSummary, load_summaries, unsummarised

PUBLISHED_HEADING = "Published results, not measured here"

PRECISION_RECALL_NOTE = (
    "A dot is a run's best threshold. Of a published ODS only F is printed: its open mark stands where recall and "
    "precision both are F, which is one of the points with that F. A filled mark at precision 0.5 is a published R50."
)

CLASSES_SHOWN = 20
"""Classes in a run's section of the page, those with most masks; ``breakdowns.csv`` has all."""


def write_report(run_paths: Iterable[Path | str], out: Path, baseline: str = "") -> Path:
    """Reads the runs at and under ``run_paths`` and writes, each file whole or not at all, into ``out``: ``report.md``,
    ``leaderboard.csv``, ``leaderboard.json``, ``leaderboard.tex``, ``breakdowns.csv`` and ``published.csv``,
    ``figures/*.svg`` of runs that have curves and of models beside each other, with a ``baseline`` (as
    :func:`baseline.compare` takes it) ``deltas.csv``, where latencies of the models were measured ``latency.csv`` and
    ``latency.json``, and the site: ``index.html`` and the folders that it links to.

    Answers the path of ``report.md``. The same runs give the same bytes. Raises UsageError (no usable run, no run of
    the baseline, a broken gallery, ``out`` cannot be made) and OutputError (it cannot be written).
    """
    paths = list(run_paths)
    runs = load_summaries(paths)
    boards = leaderboards(runs)
    compared = compare(boards, baseline) if baseline else []
    traded = tradeoffs.tradeoffs(boards, load_latencies(paths, runs))
    joined = _join(runs)
    pictures = [*comparison_pictures(boards, compared), *tradeoff_pictures(traded), *_curves(runs, joined)]
    left_out = unsummarised(paths)
    page = [
        "# sambench report\n",
        *map(markdown.leaderboard, boards),
        *map(comparison_section, by_baseline(compared)),
        *tradeoff_section(traded),
        *_figures_section(pictures),
        *([_published_section(joined)] if joined else []),
        *_unsummarised_section(left_out),
        "## Runs\n",
        *map(_run_section, runs),
    ]
    files = {
        "leaderboard.csv": data.leaderboard_csv(runs),
        "leaderboard.json": data.json_text(data.leaderboard_json(boards)),
        "leaderboard.tex": latex.leaderboards(boards),
        "breakdowns.csv": data.breakdowns_csv(runs),
        **({"deltas.csv": data.deltas_csv(compared)} if baseline else {}),
        **(
            {"latency.csv": tradeoffs.csv(traded), "latency.json": data.json_text(tradeoffs.as_json(traded))}
            if traded
            else {}
        ),
        "published.csv": Table(_PUBLISHED, joined).csv(),
        "report.md": "\n".join(page),
    }
    pages = site.files(site.Content(runs, boards, compared, traded, pictures, joined, left_out, out))
    data.write_all(out, itertools.chain(((p.file, p.svg) for p in pictures), data.encoded(files), pages))
    return out / "report.md"


def _curves(runs: Sequence[RunSummary], joined: Sequence[Joined]) -> list[Picture]:
    """A figure of precision-recall curves for each task version, dataset and split that has any."""
    groups: dict[tuple[str, int, str, str], list[RunSummary]] = {}
    for run in runs:
        if figures.PRECISION_RECALL in run.curves:
            groups.setdefault((run.task, run.task_version, run.dataset, run.split), []).append(run)
    pictures = []
    for number, ((task, version, dataset, split), members) in enumerate(groups.items(), 1):
        published = [p for t, ours, p in joined if t == task and ours == dataset]
        title = f"Precision and recall: {task}, version {version}, {dataset}, {split}"
        svg = figures.precision_recall(members, published)
        file = f"figures/precision_recall_{number}.svg"
        pictures.append(Picture(file, title, PRECISION_RECALL_NOTE, svg, task, version, dataset))
    return pictures


def _figures_section(pictures: Sequence[Picture]) -> list[str]:
    """The pictures, those of a kind together under what is to be known of them."""
    parts = ["## Figures\n"] if pictures else []
    for note, members in groupby(pictures, key=lambda picture: picture.note):
        parts.append(f"{note}\n")
        parts += [f"![{formatting.markdown(p.title)}]({p.file})\n\n{formatting.markdown(p.title)}.\n" for p in members]
    return parts


def _join(runs: Sequence[RunSummary]) -> list[Joined]:
    joined: list[Joined] = []
    for task in dict.fromkeys(run.task for run in runs):
        names = paper_names(task, dict.fromkeys((run.dataset, run.split) for run in runs if run.task == task))
        joined += beside(task, names)
    return joined


def _published_section(joined: Sequence[Joined]) -> str:
    parts = [
        f"## {PUBLISHED_HEADING}\n",
        "Copied from the sources named; the image draw, the prompts and the data versions behind them differ from a "
        "run's in ways that are not all known. `delta` is a difference of two models in mIoU points, not an mIoU. "
        "Values are in the unit of the source, mIoU in percent. SA-23 is the mean over the paper's 23 datasets: a mean "
        "over others is another quantity.\n",
    ]
    for task in dict.fromkeys(one.task for one in joined):
        table = Table(_PUBLISHED, [one for one in joined if one.task == task])
        parts.append(f"### {formatting.markdown(task)}\n\n{table.markdown()}")
    return "\n".join(parts)


_PUBLISHED = (
    Column("task"),
    Column("dataset", "dataset", lambda one: one.dataset or "(all)", left=True),
    Column("published_dataset", "published as", value="published.dataset", left=True),
    *(Column(name, name, value=f"published.{name}", left=True) for name in ("model", "variant", "metric")),
    *(Column(name, value=f"published.{name}") for name in ("value", "table")),
    Column("source", "source", value="published.provenance", left=True),
    Column("", "value", attrgetter("published.value")),
)
PUBLISHED_COLUMNS = tuple(column.key for column in _PUBLISHED if column.key)


def _unsummarised_section(folders: Sequence[Path]) -> list[str]:
    if not folders:
        return []
    names = formatting.markdown_list("/".join(folder.parts[-3:]) for folder in folders)
    return [f"## Left out: runs without a summary\n\nStarted and not ended; the same command goes on.\n\n{names}"]


def _run_section(run: RunSummary) -> str:
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
