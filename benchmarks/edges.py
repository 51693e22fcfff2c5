"""Speed of the boundary evaluation beside py-edge-eval and a plain scipy version, all in one run.

    python benchmarks/edges.py --bsds500 DIR [--py-edge-eval DIR] [--images 2] [--thresholds 99] [--json FILE]

--bsds500: the folder with ``data/images/test``, ``data/groundTruth/test`` and ``ucm2/test``. --py-edge-eval: a checkout
of haruishi43/py-edge-eval whose extensions were built in place (``python setup.py build_ext --inplace``); it takes one
to two minutes an image, so two or three images are enough. Each image is evaluated twice: with the soft
gradient of the image after non-maximum suppression, 8 bits, and with the contours of ucm2. All run on one core; each
printed ratio is the median of the ratios of neighbours, so that other load on the machine cancels out. At the end, all
images of the folder with one and with two threads.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.io import loadmat
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from skimage.morphology import thin

from sambench.metrics import edges

Case = tuple[str, NDArray[Any], list[NDArray[np.bool_]]]
Evaluator = Callable[[NDArray[Any], Sequence[NDArray[np.bool_]], NDArray[np.float64]], edges.Counts]


def gradient_map(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The gradient at sigma 2, kept where it is a maximum across the edge, 8 bits."""
    smooth = ndimage.gaussian_filter(image.astype(float).mean(axis=2), 2)
    dy, dx = np.gradient(smooth)
    strength = np.hypot(dy, dx)
    kept = np.zeros(strength.shape, bool)
    sector = np.rint(np.arctan2(dy, dx) / (np.pi / 4)).astype(int) % 4
    for k, (v, u) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead, behind = (ndimage.shift(strength, (s * v, s * u), order=0, mode="nearest") for s in (-1, 1))
        kept |= (sector == k) & (strength >= ahead) & (strength >= behind)
    return np.rint(255 * strength * kept / strength.max()).astype(np.uint8)


def boundaries(file: Path) -> list[NDArray[np.bool_]]:
    truth = loadmat(file)["groundTruth"]
    return [truth[0, k]["Boundaries"][0, 0].astype(bool) for k in range(truth.shape[1])]


def cases(root: Path, limit: int | None = None) -> list[Case]:
    found: list[Case] = []
    for file in sorted((root / "ucm2" / "test").glob("*.mat"))[:limit]:
        image = np.asarray(Image.open(root / "data" / "images" / "test" / f"{file.stem}.jpg").convert("RGB"))
        truth = boundaries(root / "data" / "groundTruth" / "test" / file.name)
        found.append((f"{file.stem} gradient", gradient_map(image), truth))
        found.append((f"{file.stem} ucm2", loadmat(file)["ucm2"][2::2, 2::2].astype(float), truth))
    return found


def in_unit_range(strength: NDArray[Any]) -> NDArray[np.float64]:
    return strength / 255 if strength.dtype == np.uint8 else strength


def with_scipy(
    strength: NDArray[Any], truths: Sequence[NDArray[np.bool_]], levels: NDArray[np.float64]
) -> edges.Counts:
    """The same optimum with what scikit-image and scipy offer, written plainly."""
    counts = np.zeros((4, levels.size), np.int64)
    for t, level in enumerate(levels):
        binary = thin(in_unit_range(strength) >= level)
        anybody = np.zeros_like(binary)
        for truth in truths:
            rows, columns = scipy_matching(binary, truth)
            anybody.ravel()[rows] = True
            counts[:2, t] += truth.sum(), columns.size
        counts[2:, t] = binary.sum(), anybody.sum()
    return edges.Counts(levels, *counts)


def scipy_matching(binary: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Matched pixels of both. Each predicted pixel may also take a column of its own, at the price of an outlier."""
    height, width = binary.shape
    reach = edges.TOLERANCE * np.hypot(height, width)
    predicted, true = np.flatnonzero(binary), np.flatnonzero(truth)
    if not predicted.size:
        return predicted, predicted
    column_of = np.full(binary.size, -1)
    column_of[true] = np.arange(true.size)
    y, x = np.divmod(predicted, width)
    rows, columns = [np.arange(predicted.size)], [true.size + np.arange(predicted.size)]
    costs = [
        np.full(predicted.size, 1 + np.ceil(10_000 * reach))
    ]  # the solver ignores zeros, so all costs are one higher
    for dy in range(-int(reach), int(reach) + 1):
        for dx in range(-int(reach), int(reach) + 1):
            if dy * dy + dx * dx <= reach * reach:
                inside = np.flatnonzero((y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width))
                there = column_of[(y[inside] + dy) * width + x[inside] + dx]
                rows.append(inside[there >= 0])
                columns.append(there[there >= 0])
                costs.append(np.full(rows[-1].size, 1 + np.rint(100 * np.hypot(dy, dx))))
    entries = (np.concatenate(costs), (np.concatenate(rows), np.concatenate(columns)))
    graph = coo_matrix(entries, shape=(predicted.size, true.size + predicted.size)).tocsr()
    row, column = min_weight_full_bipartite_matching(graph)
    real = column < true.size
    return predicted[row[real]], true[column[real]]


def with_py_edge_eval(folder: Path) -> Evaluator:
    sys.path.insert(0, str(folder))
    package = importlib.import_module("pyEdgeEval.common.binary_label.evaluate_boundaries")

    def evaluate(
        strength: NDArray[Any], truths: Sequence[NDArray[np.bool_]], levels: NDArray[np.float64]
    ) -> edges.Counts:
        found = package.evaluate_boundaries_threshold_multiple_gts(levels, in_unit_range(strength), truths)
        cnt_r, sum_r, cnt_p, sum_p = (c.astype(np.int64) for c in found[:4])
        return edges.Counts(levels, sum_r, cnt_r, sum_p, cnt_p)

    return evaluate


def timed(evaluate: Evaluator, case: Case, levels: NDArray[np.float64], times: int = 1) -> tuple[float, edges.Counts]:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        counts = evaluate(*case[1:], levels)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), counts


def scores(counts: edges.Counts) -> edges.EdgeScores:
    return edges.aggregate(
        counts.thresholds, *(c[None] for c in (counts.sum_r, counts.cnt_r, counts.sum_p, counts.cnt_p))
    )


def compare(evaluators: dict[str, Evaluator], chosen: list[Case], levels: NDArray[np.float64]) -> dict[str, Any]:
    edges.evaluate_image(*chosen[0][1:], levels[:1])  # compiles, or loads what was compiled
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", *evaluators)}
    for case in chosen:
        took, ours = timed(edges.evaluate_image, case, levels, times=5)
        seconds["ours"].append(took)
        line = f"{case[0]}, {len(case[2])} annotators: ours {took:.3f} s"
        for name, evaluate in evaluators.items():
            took, theirs = timed(evaluate, case, levels)
            seconds[name].append(took)
            line += (
                f"; {name} {took:.1f} s, {took / seconds['ours'][-1]:.0f} times, "
                f"equal pixel sums: {bool((theirs.sum_p == ours.sum_p).all() and (theirs.sum_r == ours.sum_r).all())}, "
                f"matched boundary pixels ours minus theirs: {(ours.cnt_r - theirs.cnt_r).min()} to "
                f"{(ours.cnt_r - theirs.cnt_r).max()}, best F {scores(ours).ods:.5f} and {scores(theirs).ods:.5f}"
            )
        print(line, flush=True)
    results: dict[str, Any] = {"ours_s": statistics.median(seconds["ours"])}
    print(f"median seconds an image: ours {results['ours_s']:.3f}")
    for name in evaluators:
        ratio = statistics.median(b / a for a, b in zip(seconds["ours"], seconds[name], strict=True))
        results[name] = {"s": statistics.median(seconds[name]), "times_ours": ratio}
        print(f"median seconds an image: {name} {results[name]['s']:.1f}, {ratio:.0f} times ours")
    return results


def whole_folder(all_cases: list[Case], levels: NDArray[np.float64]) -> dict[str, float]:
    """Seconds an image, one after the other and with two threads."""
    results = {}
    for threads in (1, 2):
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda case: edges.evaluate_image(*case[1:], levels), all_cases))
        results[str(threads)] = (time.perf_counter() - began) / len(all_cases)
        print(
            f"{len(all_cases)} maps with {threads} thread(s): {results[str(threads)]:.3f} s each, "
            f"200 would take {200 * results[str(threads)]:.0f} s"
        )
    return results


def machine() -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bsds500", type=Path, required=True)
    parser.add_argument("--py-edge-eval", type=Path)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--thresholds", type=int, default=99)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    levels = edges.thresholds(arguments.thresholds)
    evaluators: dict[str, Evaluator] = {"scipy": with_scipy}
    if arguments.py_edge_eval is not None:
        evaluators["py-edge-eval"] = with_py_edge_eval(arguments.py_edge_eval)
    chosen = cases(arguments.bsds500, arguments.images)
    if not chosen:
        sys.exit(f"no ucm2/test/*.mat in {arguments.bsds500}")
    results: dict[str, Any] = {"machine": machine()}
    print(", ".join(f"{k} {v}" for k, v in results["machine"].items()))
    results["compare"] = compare(evaluators, chosen, levels)
    results["seconds_per_map_by_threads"] = whole_folder(cases(arguments.bsds500), levels)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
