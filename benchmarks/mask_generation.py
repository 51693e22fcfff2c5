"""Speed and memory of the mask generator beside the official one, all in one run.

    python benchmarks/mask_generation.py --image FILE [--points 16] [--rounds 3] [--device cpu] [--json FILE]

Both sides hold the same random ViT-B weights, changed so that masks are blobs that differ from point to point
(``tests/helpers/sam_generator.py``). The peer is the released ``SamAutomaticMaskGenerator``, with its own batches of
64 points and COCO's RLE as output. Both have encoded the image before the clock starts, so that what is compared is all
the rest. Two settings: object proposals (protocol §4.1: filters off, NMS 0.9), and the released defaults but for a
threshold of stability that these weights reach. But for the suppression time grows with the number of points: 64 x 64
take 16 times as long as 16 x 16. Measurements alternate; each ratio is the median of the ratios of neighbours. Peak
memory is what the process held above the level before, on Linux with glibc, of as many points as ``--memory-points``
says.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from edge_maps import peak_gib
from single_point import VIT_B, Stopwatch, machine, ratio

from sambench.models.common.mask_generator import GeneratorOptions, MaskGenerator, Proposals
from sambench.models.sam.sam import SamOptions, load
from sambench.readers.images import read_image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.sam_generator import official_generator, stable_sam

SETTINGS = {
    "proposals": GeneratorOptions(pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=0.9),
    "filtered": GeneratorOptions(stability_score_thresh=0.85),
}
OURS = {"multimask", "crop_edge_distance", "full_image_thresh", "keep_largest_region"}
"""Options that the released generator does not have."""
DTYPES = ("float32", "bfloat16")


def peer_of(official: Any, options: GeneratorOptions, image: Any) -> Any:
    """The official generator, which has encoded the image for good."""
    peer = official_generator(official, **{k: v for k, v in asdict(options).items() if k not in OURS})
    peer.predictor.set_image(image)
    peer.predictor.set_image = lambda image: None
    peer.predictor.reset_image = lambda: None
    return peer


def compare(sides: dict[str, Callable[[], Any]], watch: Stopwatch, rounds: int) -> dict[str, float]:
    """Medians in seconds, how many times as fast as the official side, and how many masks came out."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    masks: dict[str, int] = {}

    def work(name: str) -> None:
        masks[name] = len(sides[name]())

    for _ in range(rounds):
        for name in sides:
            seconds[name].append(watch(partial(work, name)))
    ours = [name for name in sides if name != "official"]
    return (
        {f"{name}_s": statistics.median(values) for name, values in seconds.items()}
        | {f"{name}_speedup": 1 / ratio(seconds[name], seconds["official"]) for name in ours}
        | {f"{name}_masks": count for name, count in masks.items()}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--points", type=int, default=16, help="per side")
    parser.add_argument("--memory-points", type=int, default=0, help="per side; 0: memory is not measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    image = read_image(arguments.image)
    size = (image.shape[0], image.shape[1])
    results: dict[str, Any] = {"machine": machine(arguments.device), "size": size, "points": arguments.points**2}
    print(", ".join(f"{k} {v}" for k, v in results["machine"].items()))
    print(f"{size[1]} x {size[0]} pixels, {arguments.points} x {arguments.points} points")
    with tempfile.TemporaryDirectory() as folder:
        official = stable_sam(**VIT_B)
        checkpoint = Path(folder) / "random_vit_b.pth"
        torch.save(official.state_dict(), checkpoint)
        models = {
            dtype: load("sam_vit_b", SamOptions(weights=str(checkpoint), dtype=dtype), arguments.device)
            for dtype in DTYPES
        }
    official.to(arguments.device)
    views = {dtype: model.encode([image])[0] for dtype, model in models.items()}
    capabilities = models["float32"].capabilities

    def ours(options: GeneratorOptions, dtype: str) -> Proposals:
        return MaskGenerator(options).generate(views[dtype], size, capabilities)

    for options in SETTINGS.values():
        ours(replace(options, points_per_side=1), "float32")  # compiles
    if arguments.memory_points:
        options = replace(SETTINGS["proposals"], points_per_side=arguments.memory_points)
        # What the allocator keeps of encoding would hide what comes now.
        ctypes.CDLL(None).malloc_trim(0)
        results["peak_gib"] = peak_gib(lambda: ours(options, "float32"))
        print(f"peak memory above model and view, {arguments.memory_points**2} points: {results['peak_gib']:.2f} GiB")

    watch = Stopwatch(arguments.device)
    for name, setting in SETTINGS.items():
        options = replace(setting, points_per_side=arguments.points)
        peer = peer_of(official, options, image)
        sides: dict[str, Callable[[], Any]] = {"official": partial(peer.generate, image)}
        sides |= {dtype: partial(ours, options, dtype) for dtype in DTYPES}
        results[name] = compare(sides, watch, arguments.rounds)
        print(f"{name}: {', '.join(f'{k} {v:.2f}' for k, v in results[name].items())}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
