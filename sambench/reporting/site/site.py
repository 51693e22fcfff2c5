"""The report as a static site: an overview, and a page for each dataset, model and run. Opens from a folder, without a
server and without a request to anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sambench.reporting import formatting, tradeoffs
from sambench.reporting.baseline import by_baseline, difference_table, not_compared
from sambench.reporting.content import Content
from sambench.reporting.cuts import cuts
from sambench.reporting.leaderboard import LEGEND, Row, average, cell, marks, title, unit_of
from sambench.reporting.pictures import by_note
from sambench.reporting.reference import card_of
from sambench.reporting.site import site_links, site_views, templates
from sambench.reporting.site.site_charts import charts
from sambench.reporting.site.site_gallery import gallery
from sambench.reporting.site.site_views import BoardView
from sambench.runs.summaries import RunSummary

if TYPE_CHECKING:
    pass

ASSETS = ("style.css", "site.js")
GROUPS_SHOWN = 100
"""Groups of a breakdown on a run's page, those with most masks; ``breakdowns.csv`` has all."""

FAILURES_SHOWN = 50


def files(content: Content) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file of the site but the figures; the page that links to the others comes last.

    The same content gives the same bytes. Raises UsageError if the gallery of a run is not one.
    """
    for name in ASSETS:
        yield f"assets/{name}", templates.asset(name)
    views = list(map(site_views.board_view, content.boards))
    for run in content.runs:
        yield site_links.run_page(run), _run(run, content)
    for dataset in dict.fromkeys(run.dataset for run in content.runs):
        yield site_links.dataset_page(dataset), _dataset(dataset, views, content)
    for model, digest in dict.fromkeys((run.model, run.weights_digest) for run in content.runs):
        yield site_links.model_page(model, digest), _model(model, digest, views, content)
    yield "index.html", _overview(views, content)


def _page(template: str, root: str, **values: Any) -> bytes:
    return templates.render(
        template,
        root=root,
        average=average,
        bar=site_views.bar,
        cell=cell,
        dataset_page=site_links.dataset_page,
        heading=site_views.heading,
        interval=formatting.interval,
        legend=LEGEND,
        mark_words=site_views.MARK_WORDS,
        marks=marks,
        metric_title=title,
        model_page=site_links.model_page,
        number=formatting.number,
        run_page=site_links.run_page,
        short=formatting.shortened,
        source_link=site_views.source_link,
        unit_of=unit_of,
        **values,
    ).encode("utf-8")


def _overview(views: Sequence[BoardView], content: Content) -> bytes:
    boards = [
        {
            "view": view,
            "columns": list(zip(board.columns, board.labels(), strict=True)),
            "footnotes": board.footnotes(),
            "differences": [
                {"first": one[0], "table": difference_table(one).texts(), "notes": not_compared(one)}
                for one in by_baseline(content.compared)
                if one[0].board is board
            ],
            "tradeoffs": [
                {
                    "one": one,
                    "setting": str(one.setting),
                    "table": tradeoffs.table(one).texts(),
                    "notes": tradeoffs.notes(one),
                }
                for one in content.tradeoffs
                if one.board is board
            ],
            "pictures": by_note(
                p for p in content.pictures if (p.task, p.task_version) == (board.task, board.task_version)
            ),
            "published": [one for one in content.joined if one.task == board.task],
        }
        for view in views
        for board in (view.board,)
    ]
    models = dict.fromkeys((run.model, run.weights_digest) for run in content.runs)
    return _page(
        "overview.html",
        "",
        boards=boards,
        finished=site_views.finished,
        tradeoff_note=tradeoffs.NOTE,
        zero_shot=site_views.zero_shot,
        n_runs=len(content.runs),
        incomplete=sum(not run.complete for run in content.runs),
        datasets=sorted({run.dataset for run in content.runs}),
        models=sorted(models),
        versions=sorted({run.sambench_version for run in content.runs}),
        unsummarised=["/".join(folder.parts[-3:]) for folder in content.unsummarised],
    )


def _dataset(dataset: str, views: Sequence[BoardView], content: Content) -> bytes:
    tables = [
        {
            "view": view,
            "column": column,
            "rows": [(row, run) for row in view.board.rows for run in (row.cells[place],) if run is not None],
        }
        for view in views
        for place, column in enumerate(view.board.columns)
        if column.dataset == dataset
    ]
    return _page(
        "dataset.html",
        "../",
        dataset=dataset,
        card=card_of(dataset),
        tables=tables,
        pictures=by_note(p for p in content.pictures if p.dataset == dataset),
        published=[one for one in content.joined if one.dataset == dataset],
    )


def _model(model: str, digest: str, views: Sequence[BoardView], content: Content) -> bytes:
    def is_it(row: Row) -> bool:
        return (row.model, row.weights_digest) == (model, digest)

    tables = [(view, row, rank) for view in views for row, rank in view.ranked if is_it(row)]
    first = tables[0][1].runs[0]
    return _page(
        "model.html",
        "../",
        first=first,
        tables=tables,
        pictures=by_note(p for p in content.pictures if first.name in p.models),
    )


def _run(run: RunSummary, content: Content) -> bytes:
    folder = site_links.gallery_folder(run)
    failed = run.failures()
    pending = run.n_expected - run.n_scored - run.n_failed - run.n_excluded
    return _page(
        "run.html",
        "../",
        run=run,
        pending=max(pending, 0),
        failed=failed[:FAILURES_SHOWN],
        n_failed_told=len(failed),
        cuts=cuts(run),
        groups_shown=GROUPS_SHOWN,
        has_intervals=lambda cut: any(m.ci95 for metric in cut.metrics for m in cut.of(metric)),
        charts=charts(run),
        gallery=gallery(content.out / folder),
        gallery_folder=folder,
        manifest=site_views.manifest(run),
        pictures=by_note(p for p in content.pictures if run.dataset == p.dataset and run.task == p.task),
    )
