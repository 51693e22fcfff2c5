"""Writes a report folder: pages for people, tables for machines, published results in a place of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from sambench.reporting import content, data, latex, markdown, tradeoffs
from sambench.reporting.site import site
from sambench.reporting.table import Table


def write_report(run_paths: Iterable[Path | str], out: Path, baseline: str = "") -> Path:
    """Reads the runs at and under ``run_paths`` and writes, each file whole or not at all, into ``out``: ``report.md``,
    ``leaderboard.csv``, ``leaderboard.json``, ``leaderboard.tex``, ``breakdowns.csv`` and ``published.csv``,
    ``figures/*.svg`` of runs that have curves and of models beside each other, with a ``baseline`` (as
    :func:`baseline.compare` takes it) ``deltas.csv``, where latencies of the models were measured ``latency.csv`` and
    ``latency.json``, and the site: ``index.html`` and the folders that it links to.

    Answers the path of ``report.md``. The same runs give the same bytes. Raises UsageError (no usable run, no run of
    the baseline, a broken gallery, ``out`` cannot be made) and OutputError (it cannot be written).
    """
    shown = content.gather(list(run_paths), out, baseline)
    files = {
        "leaderboard.csv": data.leaderboard_csv(shown.runs),
        "leaderboard.json": data.json_text(data.leaderboard_json(shown.boards)),
        "leaderboard.tex": latex.leaderboards(shown.boards),
        "breakdowns.csv": data.breakdowns_csv(shown.runs),
        "published.csv": Table(data.PUBLISHED, shown.joined).csv(),
        "report.md": markdown.page(shown),
    }
    if baseline:
        files["deltas.csv"] = data.deltas_csv(shown.compared)
    if shown.tradeoffs:
        files["latency.csv"] = tradeoffs.csv(shown.tradeoffs)
        files["latency.json"] = data.json_text(tradeoffs.as_json(shown.tradeoffs))
    pictures = ((picture.file, picture.svg) for picture in shown.pictures)
    data.write_all(out, itertools.chain(pictures, data.encoded(files), site.files(shown)))
    return out / "report.md"
