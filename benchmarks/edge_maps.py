"""Speed and memory of SAM's edge map beside the same steps with the official package, all in one run.

    python benchmarks/edge_maps.py --image FILE [--rounds 2] [--device cpu] [--json FILE]

FILE is a photograph of BSDS500 (481 x 321). Both sides hold the same random ViT-B weights, changed so that masks are
blobs and many survive box NMS (``tests/helpers/sam_masks.py``). The peer is what scripts around the released
``SamAutomaticMaskGenerator`` do: its grid and its batches of 64 points through ``SamPredictor.predict_torch``, all
masks at full size, its box measuring, greedy box NMS, then mask by mask sigmoid, Sobel and dilation with OpenCV on the
whole frame, and edge NMS with scipy. Measurements alternate; each ratio is the median of the ratios of neighbours. Peak
memory is what the process held above the level before, on Linux.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from single_point import VIT_B, Stopwatch, machine, ratio

from sambench.models.edges.edge_map import EdgeMapOptions, finish, strength_from_view
from sambench.models.sam.sam import SamModel, SamOptions, load
from sambench.readers.images import read_image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers import official_sam
from helpers.sam_masks import with_small_masks

OPTIONS = EdgeMapOptions()
POINTS_PER_BATCH = 64
"""The released generator's default."""


def peer_edges(predictor: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Protocol §3.2 for the image that the predictor has encoded."""
    from segment_anything.utils.amg import batched_mask_to_box, build_point_grid

    grid = build_point_grid(OPTIONS.grid) * np.array([size[::-1]])
    kept_logits, boxes, scores = [], [], []
    with torch.inference_mode():
        for start in range(0, len(grid), POINTS_PER_BATCH):
            points = predictor.transform.apply_coords(grid[start : start + POINTS_PER_BATCH], size)
            points = torch.as_tensor(points, device=predictor.device)
            labels = torch.ones(len(points), dtype=torch.int, device=predictor.device)
            logits, quality, _ = predictor.predict_torch(
                points[:, None], labels[:, None], multimask_output=True, return_logits=True
            )
            logits = logits.flatten(0, 1)
            kept_logits.append(logits)
            boxes.append(batched_mask_to_box(logits > 0))
            scores.append(quality.flatten())
        survivors = peer_box_nms(torch.cat(boxes).float().cpu(), torch.cat(scores).cpu())
        everything = torch.cat(kept_logits)
        strength = np.zeros(size, np.float32)
        for k in survivors:
            logit = everything[k]
            probability, mask = torch.sigmoid(logit).cpu().numpy(), (logit > 0).cpu().numpy().astype(np.uint8)
            gx = cv2.Sobel(probability, cv2.CV_32F, 1, 0, ksize=3, borderType=cv2.BORDER_REPLICATE)
            gy = cv2.Sobel(probability, cv2.CV_32F, 0, 1, ksize=3, borderType=cv2.BORDER_REPLICATE)
            ring = cv2.dilate(mask, np.ones((3, 3), np.uint8)) - mask
            np.maximum(strength, cv2.magnitude(gx, gy) * ring, out=strength)
    strength = (strength - strength.min()) / (strength.max() - strength.min())
    return peer_thin(strength)


def peer_box_nms(boxes: torch.Tensor, scores: torch.Tensor) -> list[int]:
    """Greedy, a row of IoUs at a time."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = scores.argsort(descending=True, stable=True)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        corner = torch.maximum(boxes[best, :2], boxes[order, :2])
        common = (torch.minimum(boxes[best, 2:], boxes[order, 2:]) - corner).clamp(min=0).prod(1)
        order = order[~(common / (area[best] + area[order] - common) > OPTIONS.box_nms)]
    return kept


def peer_thin(strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Structured Edge's suppression with scipy, and 8 bits."""
    r = OPTIONS.orientation_radius
    triangle = np.convolve(np.ones(r + 1), np.ones(r + 1)) / (r + 1) ** 2
    smooth = ndimage.convolve1d(ndimage.convolve1d(strength.astype(np.float64), triangle, 0), triangle, 1)
    oy, ox = np.gradient(smooth)
    oxx = np.gradient(ox, axis=1)
    oyy, oxy = np.gradient(oy)
    angle = np.mod(np.arctan(oyy * np.sign(-oxy) / (oxx + 1e-5)), np.pi)
    height, width = strength.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    thinned = strength.copy()
    for side in (-1, 1):
        places = np.array(
            [
                np.clip(y + side * np.sin(angle), 0, height - 1.001),
                np.clip(x + side * np.cos(angle), 0, width - 1.001),
            ]
        )
        thinned[strength * OPTIONS.nms_multiplier < ndimage.map_coordinates(strength, places, order=1)] = 0
    fade = np.arange(OPTIONS.nms_border) / OPTIONS.nms_border
    for axis in (0, 1):
        lines = np.moveaxis(thinned, axis, -1)
        lines[..., : OPTIONS.nms_border] *= fade
        lines[..., -OPTIONS.nms_border :] *= fade[::-1]
    return np.floor(thinned * 255 + 0.5).astype(np.uint8)


def our_edges(model: SamModel, view: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    return finish(strength_from_view(view, size, OPTIONS, model.capabilities), OPTIONS)


def peak_gib(work: Callable[[], Any]) -> float:
    """By how much the process grew at most while it worked."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from what is held now
    before = _memory("VmRSS")
    work()
    return (_memory("VmHWM") - before) / 2**20


def _memory(field: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    image = read_image(arguments.image)
    size = (image.shape[0], image.shape[1])
    results: dict[str, Any] = {"machine": machine(arguments.device), "size": size}
    print(", ".join(f"{k} {v}" for k, v in results["machine"].items()))
    with tempfile.TemporaryDirectory() as folder:
        official = with_small_masks(official_sam.build(**VIT_B))
        checkpoint = Path(folder) / "random_vit_b.pth"
        torch.save(official.state_dict(), checkpoint)
        model = load("sam_vit_b", SamOptions(weights=str(checkpoint)), arguments.device)
    predictor = official_sam.package().SamPredictor(official.to(arguments.device))

    # Memory first: what the allocator keeps of earlier work would hide what later work needs.
    if arguments.device == "cpu" and sys.platform == "linux":
        views: list[Any] = []
        results["encode_peak_gib"] = peak_gib(lambda: views.extend(model.encode([image])))
        results["edges_peak_gib"] = peak_gib(lambda: our_edges(model, views[0], size))
        print(
            f"peak memory above the models: {results['encode_peak_gib']:.2f} GiB encoding, then "
            f"{results['edges_peak_gib']:.2f} GiB more for edges"
        )

    view = model.encode([image])[0]
    found = strength_from_view(view, size, OPTIONS, model.capabilities)
    results |= {"masks": found.masks, "survivors": found.survivors}
    ours = finish(found, OPTIONS)

    watch = Stopwatch(arguments.device)
    seconds: dict[str, list[float]] = {key: [] for key in ("peer_encode", "peer_edges", "encode", "edges")}
    theirs: list[NDArray[np.uint8]] = []
    for _ in range(arguments.rounds):
        seconds["peer_encode"].append(watch(lambda: predictor.set_image(image)))
        seconds["encode"].append(watch(lambda: model.encode([image])))
        seconds["peer_edges"].append(watch(lambda: theirs.append(peer_edges(predictor, size))))
        seconds["edges"].append(watch(lambda: our_edges(model, view, size)))
    whole = [
        [a + b for a, b in zip(seconds[e], seconds[d], strict=True)]
        for e, d in (("encode", "edges"), ("peer_encode", "peer_edges"))
    ]
    results |= {f"{key}_s": statistics.median(values) for key, values in seconds.items()}
    results |= {
        "edges_share_of_peer": ratio(seconds["edges"], seconds["peer_edges"]),
        "whole_share_of_peer": ratio(*whole),
        "pixels_that_differ": float((np.abs(ours.astype(int) - theirs[0]) > 1).mean()),
    }
    print(
        f"{found.masks} masks, {found.survivors} survive; {100 * results['pixels_that_differ']:.3f} % of the pixels "
        "differ by more than a grey level"
    )
    for key, values in seconds.items():
        print(f"{key}: {', '.join(f'{v:.2f}' for v in values)} s")
    print(
        f"without the encoder {results['edges_share_of_peer']:.2f}, with it {results['whole_share_of_peer']:.2f} of "
        "the peer's time"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
