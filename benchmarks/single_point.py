"""Speed of the single_point task on SAM ViT-B beside a plain loop over the official predictor, all in one run.

    python benchmarks/single_point.py --bbbc038 DIR [--coco DIR] [--masks 50] [--device cpu] [--json FILE]

DIR is the dataset's own folder (``sambench show dataset bbbc038`` prints its layout). Both sides hold the same random
weights. The peer is what evaluation scripts around ``segment_anything.SamPredictor`` do: one mask after the other, a
distance transform of the full frame (OpenCV's, the faster of the two in use), one prompt at a time, all masks at full
size, IoU on full frames. Ours is the task as ``sambench run`` runs it, records included. Measurements alternate between
the two; each printed ratio is the median of the ratios of neighbours, so that other load on the machine cancels out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sambench import evaluate
from sambench.bench.latency import device_name
from sambench.models.sam.sam import SamModel, SamOptions, load
from sambench.planning.plan import make_plan
from sambench.planning.settings import Settings
from sambench.suite.datasets.bbbc038 import PLUGIN as Bbbc038
from sambench.suite.tasks.single_point import PLUGIN as SinglePoint
from sambench.types import Context, Prompts, Sample

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers import official_sam

CLICKS = (1, 3, 9)
CHUNK = 10
"""Masks between two changes of side in the click loop."""
VIT_B = {"width": 768, "depth": 12, "heads": 12, "global_layers": (2, 5, 8, 11)}


class Stopwatch:
    """Times alternating work, waiting for the GPU where there is one."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __call__(self, work: Callable[[], Any]) -> float:
        self._settle()
        began = time.perf_counter()
        work()
        self._settle()
        return time.perf_counter() - began

    def _settle(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """The median of ours divided by its neighbour of the peer."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


def peer_clicks(predictor: Any, truths: Sequence[NDArray[np.bool_]], clicks: int) -> None:
    """Protocol §2.5 for one mask after the other."""
    for truth in truths:
        predicted = np.zeros_like(truth)
        clicked = np.ones_like(truth)
        points: list[tuple[int, int]] = []
        labels: list[int] = []
        previous = None
        for n in range(clicks):
            x, y, positive = peer_click(truth, predicted, clicked)
            clicked[y, x] = False
            points.append((x, y))
            labels.append(positive)
            masks, scores, low = predictor.predict(
                np.array(points), np.array(labels), mask_input=previous, multimask_output=n == 0
            )
            best = int(scores.argmax())
            predicted, previous = masks[best], low[best : best + 1]
            for mask in masks:
                _ = (mask & truth).sum() / max((mask | truth).sum(), 1)


def peer_click(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], clicked: NDArray[np.bool_]
) -> tuple[int, int, int]:
    """RITM's clicker on the full frame."""
    peaks = []
    for region in (truth & ~predicted, ~truth & predicted):
        padded = np.pad(region, 1).astype(np.uint8)
        distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] * clicked
        y, x = np.unravel_index(distance.argmax(), distance.shape)
        peaks.append((float(distance[y, x]), int(x), int(y)))
    missed, wrong = peaks
    return (*missed[1:], 1) if missed[0] > wrong[0] else (*wrong[1:], 0)


def click_loop(model: SamModel, predictor: Any, sample: Sample, watch: Stopwatch) -> dict[str, Any]:
    """Everything but the encoder, which both have run before the clock starts."""
    view = model.encode([sample.image])[0]
    predictor.set_image(sample.image)
    context = Context("bbbc038", 0, model.capabilities)
    results = {}
    for clicks in CLICKS:
        task = SinglePoint(SinglePoint.Options(clicks=(1,) if clicks == 1 else (1, clicks)))
        ours, peer = [], []
        for part in chunks(sample):
            truths = [i.mask.dense() for i in part.truth.instances]
            if not ours:
                task.measure(part, view, context)
            peer.append(watch(lambda truths=truths, clicks=clicks: peer_clicks(predictor, truths, clicks)))
            ours.append(watch(lambda part=part, task=task: task.measure(part, view, context)))
        masks = len(sample.truth.instances)
        results[str(clicks)] = {
            "peer_masks_per_s": masks / sum(peer),
            "ours_masks_per_s": masks / sum(ours),
            "speedup": 1 / ratio(ours, peer),
        }
        print(
            f"click loop, {clicks} click(s): peer {masks / sum(peer):6.2f} masks/s, ours {masks / sum(ours):6.2f}, "
            f"speed-up {results[str(clicks)]['speedup']:.2f}"
        )
    return results


def chunks(sample: Sample) -> Iterator[Sample]:
    """The sample with a few of its instances at a time."""
    for start in range(0, len(sample.truth.instances), CHUNK):
        truth = replace(sample.truth, instances=sample.truth.instances[start : start + CHUNK])
        yield Sample(sample.id, sample.size, lambda: sample.image, lambda truth=truth: truth)


def encoder(models: dict[str, SamModel], predictor: Any, sample: Sample, watch: Stopwatch, rounds: int) -> Any:
    """Image to embedding, preprocessing included."""
    seconds: dict[str, list[float]] = {"official": []} | {name: [] for name in models}
    for _ in range(rounds):
        seconds["official"].append(watch(lambda: predictor.set_image(sample.image)))
        for name, model in models.items():
            seconds[name].append(watch(lambda model=model: model.encode([sample.image])))
    results: dict[str, Any] = {"official_s": statistics.median(seconds["official"])}
    print(f"encoder, official float32: {results['official_s']:.2f} s")
    for name in models:
        results[name] = {
            "s": statistics.median(seconds[name]),
            "share_of_official": ratio(seconds[name], seconds["official"]),
        }
        print(f"encoder, ours {name}: {results[name]['s']:.2f} s, {results[name]['share_of_official']:.2f} of official")
    return results


def precision(models: dict[str, SamModel], sample: Sample) -> dict[str, Any]:
    """What dtypes and batches change after one click: logits, and pixels of all three masks."""
    masks = [i.mask for i in sample.truth.instances]
    centres = [[(m.left + m.window.shape[1] // 2, m.top + m.window.shape[0] // 2)] for m in masks]
    prompts = Prompts(np.array(centres, np.float32), np.ones((len(masks), 1), np.int64))
    pairs = [(n, m) for n in range(len(masks)) for m in range(3)]

    def answers(model: SamModel, images: int = 1, batch: int = 0) -> tuple[Any, Any, list[NDArray[np.bool_]]]:
        view = model.encode([sample.image] * images)[0]
        before, model.prompt_batch = model.prompt_batch, batch or model.prompt_batch
        prediction = view.predict(prompts, multimask=True)
        model.prompt_batch = before
        return prediction.low, prediction.scores, [m.dense() for m in prediction.masks(pairs)]

    exact = answers(models["float32"])
    changes = {name: (model,) for name, model in models.items() if name != "float32"}
    changes |= {"encoder batch of 2": (models["float32"], 2), "prompt batch of 4": (models["float32"], 1, 4)}
    results = {}
    for name, change in changes.items():
        low, scores, made = answers(*change)
        results[name] = {
            "max_logit_difference": float((low - exact[0]).abs().max()),
            "logit_std": float(exact[0].std()),
            "flipped_pixels": float(np.mean([(a != b).mean() for a, b in zip(made, exact[2], strict=True)])),
            "changed_choice": float((scores.argmax(1) != exact[1].argmax(1)).mean()),
        }
        print(f"{name} against float32 one by one: " + ", ".join(f"{k} {v:.4g}" for k, v in results[name].items()))
    return results


def whole_run_share(checkpoint: Path, dataset: str, root: Path, device: str, images: int | None) -> dict[str, Any]:
    """A run of ``sambench`` once its model is loaded: the share of its time outside encoder and decoder."""

    class Silent:
        def update(self, images: int, masks: int, failed: int) -> None: ...

    took = 0.0

    @contextmanager
    def show(title: str, done: int, total: int) -> Iterator[Silent]:
        nonlocal took
        began = time.perf_counter()
        yield Silent()
        took = time.perf_counter() - began

    with tempfile.TemporaryDirectory() as out:
        settings = Settings(
            ["single_point"],
            ["bbbc038"],
            ["sam_vit_b"],
            root,
            Path(out),
            limit=images,
            device=device,
            assignments=[f"model.weights={checkpoint}"],
        )
        triple = make_plan(settings).triples[0]
        ((_, path, summary),) = evaluate.evaluate([triple], show)
        timings = json.loads((path / "manifest.json").read_text())["timings"]
    # Reading files runs beside the rest: what it costs is the time that was waited for it.
    inside = timings["encode"] + timings["decode"]
    outside = sum(timings.get(stage, 0.0) for stage in ("postprocess", "metric", "wait"))
    results = {
        "images": summary["n_scored"],
        "masks": summary["n_masks"],
        "seconds": took,
        "share_outside": outside / (inside + outside),
        **{f"{stage}_s": seconds for stage, seconds in timings.items()},
    }
    print(
        f"whole run on {dataset}, {results['images']} images, {results['masks']} masks: {took:.1f} s with loading; "
        f"encoder {timings['encode']:.1f}, decoder {timings['decode']:.1f}, all else {outside:.1f} s, "
        f"{100 * results['share_outside']:.1f} %"
    )
    return results


def machine(device: str) -> dict[str, Any]:
    return {
        "cpu": device_name("cpu"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bbbc038", type=Path, required=True)
    parser.add_argument("--image", help="id of the image; the first with enough masks if not given")
    parser.add_argument("--masks", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3, help="encoder measurements")
    parser.add_argument("--coco", type=Path, help="folder of the dataset coco, for a whole run there too")
    parser.add_argument("--run-images", type=int, help="images of a whole run; all if not given")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    root = Bbbc038.locate(arguments.bbbc038, "stage1_train", Bbbc038.Options())
    if root is None:
        sys.exit(f"no bbbc038 at {arguments.bbbc038}")
    data = Bbbc038(root, "stage1_train", Bbbc038.Options())
    chosen = arguments.image or next(e.id for e in data.index() if e.n_masks >= arguments.masks)
    sample = data.load(chosen)
    truth = replace(sample.truth, instances=sample.truth.instances[: arguments.masks])
    sample = Sample(sample.id, sample.size, lambda image=sample.image: image, lambda: truth)

    results: dict[str, Any] = {"machine": machine(arguments.device)}
    print(", ".join(f"{k} {v}" for k, v in results["machine"].items()))
    print(f"image {sample.id}: {sample.size[1]} x {sample.size[0]}, {len(truth.instances)} masks")
    with tempfile.TemporaryDirectory() as folder:
        official = official_sam.build(**VIT_B)
        checkpoint = Path(folder) / "random_vit_b.pth"
        torch.save(official.state_dict(), checkpoint)
        predictor = official_sam.package().SamPredictor(official.to(arguments.device))
        models = {
            dtype: load("sam_vit_b", SamOptions(weights=str(checkpoint), dtype=dtype), arguments.device)
            for dtype in ("float32", "bfloat16")
        }
        watch = Stopwatch(arguments.device)
        results["encoder"] = encoder(models, predictor, sample, watch, arguments.rounds)
        results["precision"] = precision(models, sample)
        results["click_loop"] = click_loop(models["float32"], predictor, sample, watch)
        results["whole_run"] = [
            whole_run_share(checkpoint, dataset, root, arguments.device, arguments.run_images)
            for dataset, root in (("bbbc038", arguments.bbbc038), ("coco", arguments.coco))
            if root is not None
        ]
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
