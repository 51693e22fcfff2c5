"""Speed and mIoU of ``region_tree`` beside trivial references, all in one run on one core.

    python benchmarks/region_tree.py --bbbc038 DIR --coco DIR

DIR is each dataset's own folder (``sambench show dataset bbbc038`` prints the layout). Speed is measured on a 320 x 256
photograph that scikit-image ships: the median of repeated encodings after the first, and of a 32 x 32 grid of points,
once to the chosen masks and once to all three candidates of each.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
from skimage.segmentation import felzenszwalb

from sambench.clicks import next_click
from sambench.metrics.iou import iou
from sambench.models.region_tree.region_tree import RegionTree
from sambench.suite.datasets.bbbc038 import PLUGIN as Bbbc038
from sambench.suite.datasets.coco import PLUGIN as Coco
from sambench.types import Click, Image, Mask, Prompts

SCALES = (50, 200, 800)
SCALES_OF_BEST = (50, 200, 800, 3200)
RADII = (8, 20, 50)
CLICKS = (1, 2, 3, 5, 9)
REPEATS = 15


def seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def speed() -> None:
    image: Image = cv2.resize(skimage.data.astronaut(), (320, 256), interpolation=cv2.INTER_AREA)
    model = RegionTree()
    start = time.perf_counter()
    view = model.encode([image])[0]
    print(f"first image, with compiling or loading the compiled code   {time.perf_counter() - start:8.2f} s")
    encoding = seconds(lambda: model.encode([image]))
    print(f"encoding 320 x 256                                         {1 / encoding:8.1f} images/s")
    for scale in SCALES:
        taken = seconds(lambda scale=scale: felzenszwalb(image, scale=scale))
        print(f"  Felzenszwalb, scale {scale:<4}                                 {1 / taken:8.1f} images/s")
    grid = [((i + 0.5) * 10, (j + 0.5) * 8) for j in range(32) for i in range(32)]
    prompts = Prompts(points=np.array(grid, np.float32)[:, None], labels=np.ones((1024, 1), np.int64))

    def prompted(candidates: int) -> None:
        prediction = view.predict(prompts, multimask=candidates == 3)
        prediction.masks([(n, m) for n in range(1024) for m in range(candidates)])

    prompted(1)
    for candidates in (1, 3):
        taken = seconds(lambda candidates=candidates: prompted(candidates), 5)
        print(f"grid of 1024 points, {candidates} mask(s) made of each               {1024 / taken:8.0f} points/s")


def clicks_on(view: Any, truth: Mask, first: Click) -> tuple[dict[int, float], float]:
    """IoU by number of clicks, fed back as the protocol does, and the oracle's at one click."""
    clicks: list[Click] = []
    predicted, logits, found, oracle = None, None, {}, 0.0
    for n in range(1, CLICKS[-1] + 1):
        click = first if n == 1 else next_click(truth, predicted, clicks)
        if click is not None:
            clicks.append(click)
            points = np.array([[(c.x, c.y) for c in clicks]], np.float32)
            labels = np.array([[int(c.positive) for c in clicks]], np.int64)
            prediction = view.predict(Prompts(points, labels, None, logits), multimask=n == 1)
            best = int(prediction.scores[0].argmax())
            candidates = prediction.masks([(0, m) for m in range(prediction.scores.shape[1])])
            predicted, logits = candidates[best], prediction.feedback([(0, best)])
            if n == 1:
                oracle = max(iou(mask, truth) for mask in candidates)
        if n in CLICKS:
            found[n] = iou(predicted, truth) if predicted is not None else 0.0
    return found, oracle


def references(image: Image, truths: list[Mask], centres: list[Click]) -> Iterator[tuple[str, list[float]]]:
    regions = {scale: felzenszwalb(image, scale=scale) for scale in SCALES_OF_BEST}
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    of_scale = {
        scale: [iou(Mask.from_dense(r == r[c.y, c.x]), t) for t, c in zip(truths, centres, strict=True)]
        for scale, r in regions.items()
    }
    of_radius = {
        radius: [
            iou(Mask.from_dense((x - c.x) ** 2 + (y - c.y) ** 2 <= radius**2), t)
            for t, c in zip(truths, centres, strict=True)
        ]
        for radius in RADII
    }
    for scale in SCALES:
        yield f"Felzenszwalb region, scale {scale}", of_scale[scale]
    yield "disk of 20 px radius", of_radius[20]
    yield "best of four Felzenszwalb scales", np.max(list(of_scale.values()), axis=0).tolist()
    yield "best of three disks", np.max(list(of_radius.values()), axis=0).tolist()


def quality(name: str, data: Any) -> None:
    model = RegionTree()
    found: dict[str, list[float]] = {}
    rng = np.random.default_rng(0)
    for entry in data.index():
        sample = data.load(entry.id)
        view = model.encode([sample.image])[0]
        truths = [i.mask for i in sample.truth.instances if not i.crowd and i.mask.area > 0]
        centres = [c for c in map(next_click, truths) if c is not None]
        for truth, centre in zip(truths, centres, strict=True):
            by_clicks, oracle = clicks_on(view, truth, centre)
            for n, value in by_clicks.items():
                found.setdefault(f"region_tree, {n} click(s)", []).append(value)
            found.setdefault("region_tree, oracle of three, 1 click", []).append(oracle)
            ys, xs = np.nonzero(truth.window)
            k = int(rng.integers(len(xs)))
            anywhere = Click(truth.left + int(xs[k]), truth.top + int(ys[k]), True)
            for n, value in clicks_on(view, truth, anywhere)[0].items():
                found.setdefault(f"region_tree, {n} click(s), the first at random", []).append(value)
            box = view.predict(Prompts(boxes=np.array([truth.box], np.float32)), multimask=False)
            found.setdefault("region_tree, box", []).append(iou(box.masks([(0, 0)])[0], truth))
            x0, y0, x1, y1 = truth.box
            found.setdefault("the box itself", []).append(truth.area / ((x1 - x0) * (y1 - y0)))
            h, w = y1 - y0, x1 - x0
            ellipse = ((np.arange(w) + 0.5) * 2 / w - 1) ** 2 + ((np.arange(h)[:, None] + 0.5) * 2 / h - 1) ** 2 <= 1
            drawn = Mask.from_window(truth.size, y0, x0, ellipse)
            found.setdefault("the box's inscribed ellipse", []).append(iou(drawn, truth))
        for reference, values in references(sample.image, truths, centres):
            found.setdefault(reference, []).extend(values)
    print(f"\n{name}: mIoU over {len(found['the box itself'])} masks")
    for what, values in sorted(found.items()):
        print(f"  {what:48} {np.mean(values):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bbbc038", type=Path)
    parser.add_argument("--coco", type=Path)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    print(f"{platform.processor() or platform.machine()}, one core, Python {platform.python_version()}")
    speed()
    if arguments.bbbc038:
        quality("bbbc038", Bbbc038(arguments.bbbc038, "stage1_train", Bbbc038.Options()))
    if arguments.coco:
        quality("coco", Coco(arguments.coco, "val2017", Coco.Options()))


if __name__ == "__main__":
    main()
