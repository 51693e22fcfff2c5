"""Time and peak memory of evaluating masks: average precision by COCO's and LVIS's rules, class-agnostic recall.

    python benchmarks/ap_ar.py [--work DIR] [--times 3] [--cases lvis,coco,ar] [--only A,B] [--scale 1.0] [--json FILE]

Images, annotations and results are generated: 500 images with 300 results each, of LVIS's 1203 classes and of COCO's
80, and 200 images with 1000 results each of one class. Every evaluator loads the same two files and evaluates them, in
a process of its own, in turns; imports do not count, and compiled code is loaded before the clock starts. Those that
are not installed are left out. ``sambench`` is our evaluator alone, ``sambench score`` the whole command for the same
files: its checks of the input, records on disk, confidence intervals, summary and report. Seconds of all threads
together (CPU) can be compared on a machine that is busy with other work, seconds on the clock cannot.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

CASES = {"lvis": (500, 300, 1203), "coco": (500, 300, 80), "ar": (200, 1000, 80)}
"""Images, results for each, classes."""
HEIGHT, WIDTH = 480, 640
LIMITS = (1, 10, 100, 1000)
GENERATE = "generate"

Numbers = dict[str, float]
Evaluate = Callable[[], Numbers]
"""Loads and evaluates."""


def generate(folder: Path, case: str, scale: float) -> None:
    """``CASE.json`` and ``CASE.results.json``: blobs of 12 to 60 corners, ten in an image, and masks near them."""
    from helpers.perturbed_results import perturbed, truth_code
    from pycocotools import mask as api

    n_images, per_image, n_classes = CASES[case]
    rng = np.random.default_rng(n_images + n_classes)
    categories = [
        {"id": k + 1, "name": f"class {k}", "frequency": "rcf"[k % 3], "image_count": 1} for k in range(n_classes)
    ]
    images, annotations = [], []
    for id in range(1, max(2, round(n_images * scale)) + 1):
        there = []
        for _ in range(int(rng.integers(4, 17))):
            angles = np.sort(rng.random(int(rng.integers(12, 61)))) * 2 * np.pi
            radius = rng.uniform(8, 120) * rng.uniform(0.8, 1.2, angles.size)
            x = (rng.uniform(0, WIDTH) + radius * np.cos(angles)).clip(0, WIDTH)
            y = (rng.uniform(0, HEIGHT) + radius * np.sin(angles)).clip(0, HEIGHT)
            one: dict[str, Any] = {"id": len(annotations) + 1, "image_id": id, "iscrowd": 0}
            one["segmentation"] = [np.stack([x, y], axis=1).round(2).ravel().tolist()]
            code = truth_code(one, HEIGHT, WIDTH)
            one |= {"area": float(api.area(code)), "bbox": api.toBbox(code).tolist()}
            one["category_id"] = int(rng.integers(1, n_classes + 1))
            if one["area"]:
                annotations.append(one)
                there.append(one["category_id"])
        others = rng.choice(np.arange(1, n_classes + 1), 20, replace=False).tolist()
        absent = [k for k in others if k not in there]
        image: dict[str, Any] = {"id": id, "file_name": f"{id}.jpg", "height": HEIGHT, "width": WIDTH}
        if case == "lvis":
            image |= {"neg_category_ids": absent, "not_exhaustive_category_ids": there[:1]}
        images.append(image)
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    results = perturbed(content, per_image, rng, levels=10_000, empty_images=0)
    # By LVIS's rules a mask without a pixel is left out; hotcoco 1.3.0 and faster-coco-eval 1.8.0 count it.
    results = [one for one in results if api.area(one["segmentation"])]
    if case == "ar":
        results = [{**one, "category_id": 1} for one in results]
    results.sort(key=lambda one: one["image_id"])  # as evaluation loops write them
    (folder / f"{case}.json").write_text(json.dumps(content))
    (folder / f"{case}.results.json").write_text(json.dumps(results))


# --- evaluators: each answers what loads and evaluates the files of a case -------------------------------------------


def run_cocoeval(run: Any, case: str) -> Numbers:
    """Of anything in the shape of pycocotools' COCOeval."""
    if case == "ar":
        run.params.useCats, run.params.maxDets = 0, list(LIMITS)
    run.evaluate()
    run.accumulate()
    values = np.asarray(run.eval["recall"] if case == "ar" else run.eval["precision"])
    if case == "ar":
        return by_limit(values[:, 0, 0].mean(axis=0))
    values = values[:, :, :, 0, -1]
    return {"ap": float(values[values > -1].mean())}


def by_limit(values: Any) -> Numbers:
    return {f"ar@{limit}": float(value) for limit, value in zip(LIMITS, values, strict=True)}


def pycocotools(case: str, truth_file: Path, results_file: Path) -> Evaluate:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def evaluate() -> Numbers:
        truth = COCO(str(truth_file))
        return run_cocoeval(COCOeval(truth, truth.loadRes(str(results_file)), "segm"), case)

    return evaluate


def lvis(case: str, truth_file: Path, results_file: Path) -> Evaluate:
    import lvis.eval as module
    from lvis import LVIS, LVISEval, LVISResults

    class WithFloat:
        float = float

        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

    module.np = WithFloat()  # type: ignore[assignment]

    def evaluate() -> Numbers:
        truth = LVIS(str(truth_file))
        run = LVISEval(truth, LVISResults(truth, str(results_file)), "segm")
        run.run()
        return {"ap": float(run.get_results()["AP"])}

    return evaluate


def faster_coco_eval(case: str, truth_file: Path, results_file: Path) -> Evaluate:
    from faster_coco_eval import COCO, COCOeval_faster

    def evaluate() -> Numbers:
        truth = COCO(str(truth_file))
        results = truth.loadRes(str(results_file))
        run = COCOeval_faster(truth, results, "segm", lvis_style=case == "lvis")
        if case == "lvis":
            run.params.maxDets = [300]
        return run_cocoeval(run, case)

    return evaluate


def hotcoco(case: str, truth_file: Path, results_file: Path) -> Evaluate:
    import hotcoco as package

    def evaluate() -> Numbers:
        truth = package.COCO(str(truth_file))
        if case == "lvis":
            run = package.LVISEval(truth, package.LVISResults(truth, str(results_file)), "segm")
            run.run()
            return {"ap": float(run.get_results()["AP"])}
        return run_cocoeval(package.COCOeval(truth, truth.load_res(str(results_file)), "segm"), case)

    return evaluate


def sambench(case: str, truth_file: Path, results_file: Path) -> Evaluate:
    """Our evaluator: everything but checks of the input and what a run writes."""
    import orjson
    from helpers.perturbed_results import truth_code

    from sambench.metrics import coco, run_lengths

    one = np.ones((1, 1))
    matches = coco.match(one, one[0], one[0], one[0], np.zeros(1, np.bool_))
    empty = run_lengths.from_codes([], (1, 1))
    coco.mask_ious(empty, empty)
    columns = (one[0].astype(np.int64), one[0].astype(np.int64), one[0], *list(vars(matches).values())[:3])
    coco.accumulate(coco.Detected(*columns), coco.Annotated(columns[0], matches.truth_ignored), [1])

    def evaluate() -> Numbers:
        content = orjson.loads(truth_file.read_bytes())
        theirs, ours = by_image(content["annotations"]), by_image(orjson.loads(results_file.read_bytes()))
        taken, detected, annotated = [], [], []
        for place, image in enumerate(content["images"]):
            size, truths, found = (image["height"], image["width"]), theirs[image["id"]], ours[image["id"]]
            more: dict[str, Any] = {"limit": LIMITS[-1]}
            if case == "lvis":
                kept = coco.top(np.array([r["score"] for r in found]), 300)
                found = [found[k] for k in kept.tolist()]
                of = np.array([r["category_id"] for r in found])
                stays = coco.judged(of, {t["category_id"] for t in truths}, image["neg_category_ids"])
                found = [r for r, one in zip(found, stays.tolist(), strict=True) if one]
                more = {"rules": "lvis"}
                more["unexhaustive"] = np.isin(of[stays], image["not_exhaustive_category_ids"])
            masks = run_lengths.from_codes([r["segmentation"] for r in found], size)
            codes = [truth_code(t, *size) for t in truths]
            truth_masks = run_lengths.from_codes(codes, size)
            crowd = np.array([bool(t["iscrowd"]) for t in truths])
            scores, areas = np.array([r["score"] for r in found]), np.array([t["area"] for t in truths])
            if case != "ar":
                of, categories = (np.array([a["category_id"] for a in some]) for some in (found, truths))
                more |= {"categories": of, "truth_categories": categories}
                if case == "coco":
                    more["limit"] = 100
            ious = coco.mask_ious(masks, truth_masks, crowd)
            m = coco.match(ious, scores, masks.area.astype(float), areas, crowd, **more)
            if case == "ar":
                taken.append(m.taken_by[~m.truth_ignored[:, 0], 0])
            else:
                detected.append((np.full(len(found), place), of, scores, m.rank, m.matched, m.ignored))
                annotated.append((categories, m.truth_ignored))
        if case == "ar":
            return by_limit([coco.recall_of_each(np.concatenate(taken), limit).mean() for limit in LIMITS])
        all_detected = coco.Detected(*map(np.concatenate, zip(*detected, strict=True)))
        all_annotated = coco.Annotated(*map(np.concatenate, zip(*annotated, strict=True)))
        curves = coco.accumulate(all_detected, all_annotated, [c["id"] for c in content["categories"]])
        return {"ap": curves.average_precision() or 0.0}

    return evaluate


def by_image(entries: Sequence[Mapping[str, Any]]) -> Mapping[int, list[Any]]:
    found = defaultdict(list)
    for entry in entries:
        found[entry["image_id"]].append(entry)
    return found


def sambench_score(case: str, truth_file: Path, results_file: Path) -> Evaluate:
    """The whole command, in this process."""
    from sambench.cli import common

    sambench(case, truth_file, results_file)
    task = "proposals" if case == "ar" else "instances"
    arguments = ["score", "--task", task, "--dataset", f"coco_json:{truth_file},"]

    def evaluate() -> Numbers:
        with tempfile.TemporaryDirectory() as out:
            os.environ["SAMBENCH_CACHE"] = f"{out}/cache"
            common.cli.main([*arguments, "--out", out, "--predictions", str(results_file)], standalone_mode=False)
            (summary,) = Path(out).glob(f"{task}/*/*/summary.json")
            metrics = json.loads(summary.read_text())["metrics"]
        return {name: metrics[name]["value"] for name in ([f"ar@{k}" for k in LIMITS] if case == "ar" else ["ap"])}

    return evaluate


EVALUATORS: Mapping[str, tuple[Callable[[str, Path, Path], Evaluate], str, frozenset[str]]] = {
    "pycocotools": (pycocotools, "pycocotools", frozenset({"coco", "ar"})),
    "lvis": (lvis, "lvis", frozenset({"lvis"})),
    "faster-coco-eval": (faster_coco_eval, "faster_coco_eval", frozenset(CASES)),
    "hotcoco": (hotcoco, "hotcoco", frozenset(CASES)),
    "sambench": (sambench, "numpy", frozenset(CASES)),
    "sambench score": (sambench_score, "numpy", frozenset(CASES)),
}
"""With the package that each needs and the cases that it knows."""


def alone(name: str, case: str, folder: Path) -> dict[str, Any]:
    """One evaluation, in this process: ``wall`` and ``cpu`` seconds, ``peak`` MB above what imports took, numbers."""
    evaluate = EVALUATORS[name][0](case, folder / f"{case}.json", folder / f"{case}.results.json")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        numbers = evaluate()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"wall": wall, "cpu": cpu, "peak": (peak - before) / 1024, "peak_process": peak / 1024, "numbers": numbers}


def command(folder: Path, case: str, name: str) -> list[str]:
    return [sys.executable, __file__, "--work", str(folder), "--alone", name, "--cases", case]


def compare(case: str, folder: Path, names: Sequence[str], times: int) -> dict[str, Any]:
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(times):
        for name in names:
            done = subprocess.run(command(folder, case, name), capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{name}, {case}: {done.stderr}")
            measured[name].append(json.loads(done.stdout.splitlines()[-1]))
    judge = measured[names[0]][0]["numbers"]
    rows = {}
    for name, several in measured.items():
        rows[name] = {key: statistics.median(one[key] for one in several) for key in ("wall", "cpu", "peak")}
        rows[name] |= {"peak_process": statistics.median(one["peak_process"] for one in several)}
        rows[name]["largest_difference"] = max(abs(several[0]["numbers"][key] - judge[key]) for key in judge)
        row = rows[name]
        print(
            f"{case:5}{name:18}{row['wall']:8.2f} s{row['cpu']:8.2f} s CPU{row['peak']:8.0f} MB more, "
            f"{row['peak_process']:.0f} in all; differs by {row['largest_difference']:.1e}",
            flush=True,
        )
    print(f"{case:5}{names[0]}: " + ", ".join(f"{key} {value:.4f}" for key, value in judge.items()), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", default=",".join(EVALUATORS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone == GENERATE:
        generate(arguments.work, arguments.cases, arguments.scale)
        return
    if arguments.alone:
        print(json.dumps(alone(arguments.alone, arguments.cases, arguments.work)))
        return
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    results: dict[str, Any] = {"machine": machine}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.work or Path(temporary)
        for case in arguments.cases.split(","):
            if not (folder / f"{case}.results.json").exists():
                # In a process of its own, because a process begins with the peak of the one that starts it.
                started = [*command(folder, case, GENERATE), "--scale", str(arguments.scale)]
                subprocess.run(started, check=True)
            names = [
                name
                for name, (_, package, cases) in EVALUATORS.items()
                if name in arguments.only.split(",") and case in cases and importlib.util.find_spec(package)
            ]
            results[case] = compare(case, folder, names, arguments.times)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
