"""Runs as a report finds them, of everything that a page shows: models beside each other, an incomplete run, names that
mean harm, curves, breakdowns, timings, a gallery; and two sites of them.

``from helpers.site_runs import hostile, many`` in a test module makes the fixtures known there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.summaries import metric, write_run
from PIL import Image

from sambench.reporting import write_report
from sambench.reporting.site import site_links
from sambench.runs.summaries import load_summaries

HARM = "<script>document.title='owned'</script>"
LONG = "a-name-without-end-" * 30
RTL = "نموذج <b>عربي</b> \u202edrawkcab"
DATASETS = ("ade20k", "coco", "lvis")
MANIFEST = {
    "schema": 1,
    "spec": {"task": "single_point", "task_options": {"clicks": [1, 3], "note": HARM}, "seed": 0, "device": "cpu"},
    "info": {"zero_shot": "yes"},
    "status": "complete",
    "created": "2026-01-02T03:04:05+00:00",
    "sessions": [{"versions": {"numpy": "2.4.6"}, "host": "secret-host", "data_root": "/secret/path", "workers": 2}],
    "timings": {"load": 1.5, "encode": 30.0, "decode": 7.25},
}


def digest(model: str) -> str:
    """A weights digest that follows from the name."""
    return (model.encode("utf-8", "replace").hex() * 64)[:64]


def write_many(out: Path) -> None:
    """``best``, ``middle`` and ``worst`` on three datasets; ``partial`` lacks one, and its run on another is
    incomplete; ``middle`` was trained on coco; of ``worst`` nobody knows about lvis."""
    for model, miou, size in (("best", 0.75, 300), ("middle", 0.5, 90), ("worst", 0.25, 10)):
        for place, dataset in enumerate(DATASETS):
            zero_shot = {"middle coco": "no", "worst lvis": "unknown"}.get(f"{model} {dataset}", "yes")
            _write(out, model, dataset, miou + 0.03125 * place, zero_shot, size)
    _write(out, "partial", "ade20k", 0.875, "yes", 20)
    _write(out, "partial", "coco", 0.875, "yes", 20, complete=False, n_scored=3, n_failed=2)


def _write(out: Path, model: str, dataset: str, miou: float, zero_shot: str, size: int, **changes: Any) -> Path:
    metrics = {
        "miou": metric(miou, 0.01, bootstrap=[miou - 0.02, miou + 0.03]),
        "miou@3": metric(miou + 0.0625, 0.01),
        "miou@5": metric(miou + 0.09375, 0.01),
        "oracle_miou": metric(miou + 0.0625, 0.01),
    }
    breakdowns = {
        "size": {
            s: {"miou": metric(miou - k / 10, 0.05, n=10)} for s, k in (("small", 2), ("medium", 1), ("large", 0))
        },
        "class": {"cat": {"miou": metric(miou, n=5)}, HARM: {"miou": metric(miou / 2, n=7)}},
    }
    run = write_run(
        out,
        model=model,
        digest=digest(model),
        dataset=dataset,
        family="toys",
        **{
            "parameters": size * 10**6,
            "zero_shot": zero_shot,
            "metrics": metrics,
            "breakdowns": breakdowns,
            **changes,
        },
    )
    (run / "manifest.json").write_text(json.dumps(MANIFEST))
    return run


def write_hostile(out: Path) -> None:
    """Names with markup, without end, and from right to left."""
    for name in (HARM, LONG, RTL, '"><img src=x onerror=alert(1)>', "_under\u0007score"):
        run = write_run(
            out,
            model=name,
            digest=digest(name),
            dataset=HARM,
            signature=f"sig|{HARM}",
            warnings=[HARM],
            family=HARM,
            excluded_masks={HARM: 1},
            complete=False,
            n_scored=9,
            n_failed=1,
            breakdowns={HARM: {name: {"miou": metric(0.5, 0.1)}}},
        )
        (run / "manifest.json").write_text(json.dumps({"spec": {name: name}, "sessions": [{"x": name}]}))
        (run / "errors.jsonl").write_text(json.dumps({"id": name, "error": HARM, "kind": "DataError"}) + "\n")


def write_edges(out: Path) -> Path:
    """A run with a precision-recall curve."""
    recall = [1 - k / 20 for k in range(20)]
    return write_run(
        out,
        model="edgy",
        digest=digest("edgy"),
        dataset="bsds500",
        task="edges",
        primary="ods",
        headlines=["ods", "r50"],
        metrics={"ods": metric(0.75), "r50": metric(0.875)},
        breakdowns={},
        curves={
            "precision_recall": {
                "threshold": [k / 20 for k in range(20)],
                "recall": recall,
                "precision": [1 - 0.75 * r * r for r in recall],
            }
        },
    )


def write_instances(out: Path) -> None:
    """Two models with AP by size and frequency."""
    groups = {"size": ("small", "medium", "large"), "frequency": ("frequent", "rare", "common")}
    for model, ap in (("one", 0.375), ("two", 0.5)):
        cut = {
            name: {g: {"ap": metric(ap + 0.0625 * k), "ar": metric(ap + 0.125)} for k, g in enumerate(members)}
            for name, members in groups.items()
        }
        write_run(
            out,
            model=model,
            digest=digest(model),
            dataset="lvis",
            task="instances",
            primary="ap",
            headlines=["ap"],
            metrics={"ap": metric(ap), "ar@300": metric(ap + 0.125)},
            breakdowns=cut,
        )


def add_gallery(folder: Path) -> None:
    """Two cases with pictures, and one whose picture is gone."""
    folder.mkdir(parents=True)
    cases = []
    for kind, shade in (("worst", 40), ("best", 200), ("random", None)):
        file = f"{kind}.png"
        if shade is not None:
            Image.new("RGB", (64, 48), (shade, 90, 160)).save(folder / file)
        cases.append(
            {
                "kind": kind,
                "image_id": f"{kind} {HARM}",
                "instance_id": 7,
                "metric": "miou",
                "value": 0.5,
                "file": file,
                "caption": HARM,
            }
        )
    (folder / "index.json").write_text(json.dumps(cases))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of runs of three tasks, with differences from ``middle`` and one gallery."""
    work = tmp_path_factory.mktemp("many")
    write_many(work / "runs")
    write_edges(work / "runs")
    write_instances(work / "runs")
    (run,) = load_summaries([next((work / "runs" / "single_point" / "ade20k").glob("best@*"))])
    add_gallery(work / "site" / site_links.gallery_folder(run))
    write_report([work / "runs"], work / "site", "middle")
    return work / "site"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of :func:`write_hostile`."""
    work = tmp_path_factory.mktemp("hostile")
    write_hostile(work / "runs")
    write_report([work / "runs"], work / "site")
    return work / "site"
