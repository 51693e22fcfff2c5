"""Time to write the site of a report, and until Chromium has opened its overview and sorted it.

    python benchmarks/site.py [--models 200] [--datasets 23] [--times 5] [--work DIR] [--json FILE]

The runs are made up: each of the models on each of the datasets, two headline metrics, twenty classes. The report is
written twice, as the second finds its pages there. The overview is opened from its file, each time in a new tab, at
1280 x 800. ``open``: from the start of the navigation until the page's ``load`` event, layout done and the next frame
painted. ``sort``, ``filter``: from the click or key until the next frame is painted. Medians of several times.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

PAINTED = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() => {
  document.body.getBoundingClientRect(); done(performance.now()); })))"""
SORT = "document.querySelector('.metric:not([hidden]) th[data-key=dataset05] button').click()"
FILTER = """{ const field = document.getElementById('filter');
  field.value = 'model01'; field.dispatchEvent(new Event('input')); }"""


def write_runs(out: Path, models: int, datasets: int) -> None:
    """Made-up runs; a tenth of the models lacks the last dataset."""
    from helpers.summaries import metric, write_run

    for m in range(models):
        for d in range(datasets - (m % 10 == 9)):
            value = 0.3 + 0.4 * ((m * 7919 + d * 104729) % 1000) / 1000
            classes = {f"class{c:02}": {"miou": metric(value * c / 20, 0.05, n=c)} for c in range(1, 21)}
            write_run(
                out,
                model=f"model{m:03}",
                digest=f"{m:08x}" + "0" * 56,
                dataset=f"dataset{d:02}",
                miou=value,
                family=f"family{m % 20}",
                parameters=10**6 * (m + 1),
                zero_shot=("yes", "yes", "no", "unknown")[(m + d) % 4],
                breakdowns={"class": classes},
            )


def measure(page: Path, times: int) -> dict[str, float]:
    """Medians in milliseconds."""
    from helpers.browser import FLAGS, chromium_path
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {"open": [], "sort": [], "filter": []}
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=chromium_path(), args=list(FLAGS))
        for _ in range(times):
            tab = chromium.new_page(viewport={"width": 1280, "height": 800})
            tab.goto(page.as_uri())
            found["open"].append(tab.evaluate(PAINTED))
            for name, action in (("sort", SORT), ("filter", FILTER)):
                script = f"async () => {{ const t = performance.now(); {action}; return await ({PAINTED})() - t; }}"
                found[name].append(tab.evaluate(script))
            tab.close()
        chromium.close()
    return {name: round(statistics.median(values), 1) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--datasets", type=int, default=23)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--work", type=Path, help="folder for runs and site; default: a temporary one")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    from sambench.reporting import write_report

    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        if not (work / "runs").exists():
            write_runs(work / "runs", given.models, given.datasets)
        result: dict[str, Any] = {
            "models": given.models,
            "datasets": given.datasets,
            "python": platform.python_version(),
        }
        for name in ("write_s", "write_again_s"):
            began = time.perf_counter()
            write_report([work / "runs"], work / "site")
            result[name] = round(time.perf_counter() - began, 1)
        overview = work / "site" / "index.html"
        result["overview_bytes"] = overview.stat().st_size
        result["pages"] = sum(1 for _ in (work / "site").rglob("*.html"))
        result |= {f"{name}_ms": value for name, value in measure(overview.resolve(), given.times).items()}
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
