"""SAM's image encoder beside what the machine can do: the share of the speed of a large matrix product.

    python benchmarks/encoder.py [--size vit_b] [--side 1024] [--rounds 5] [--device cpu] [--json FILE]
                                 [--dtypes float32,bfloat16] [--attention chunked,sdpa] [--compile no,yes]

Weights are random. The peak is that of one product of two 4096 x 4096 matrices of the encoder's dtype, before and after
each encoding, so that other load on the machine slows both; the share is the median over the rounds, in which the
variants take turns. Work is counted from the architecture: products alone, two operations for a multiplication and an
addition, each token once (the released code also projects the padding of its windows, for ViT-B at 1024 pixels 972
GFLOP in all); softmax, normalisation and GELU take time and count for nothing. The difference is that of the embedding
from the first variant's, relative to the standard deviation of that one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sambench.models.common.exact import exact_convolutions
from sambench.models.sam.sam_encoder import ImageEncoder, compiled

SIZES = {
    "tiny": (64, 2, 2, (1,)),
    "vit_b": (768, 12, 12, (2, 5, 8, 11)),
    "vit_l": (1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": (1280, 32, 16, (7, 15, 23, 31)),
}
"""Width, depth, heads, layers with global attention."""
PATCH, WINDOW, OUT = 16, 14, 256
PEAK = 4096
"""Rows and columns of the matrices whose product is the peak."""


def flop(size: str, side: int, *, padded: bool = False) -> dict[str, int]:
    """Operations of one image by part. ``padded``: as the released code counts, whose windows are projected with their
    padding."""
    width, depth, _, of_all = SIZES[size]
    grid = side // PATCH
    tokens, windows = grid**2, -(-grid // WINDOW)
    windowed = depth - len(of_all)
    in_windows = (windows * WINDOW) ** 2
    projected = len(of_all) * tokens + windowed * (in_windows if padded else tokens)
    # Each query meets every key of its grid, twice: for its score, and for the value.
    pairs = len(of_all) * tokens**2 + windowed * windows**2 * WINDOW**4
    # Each query meets the table of its row and that of its column.
    relative = len(of_all) * tokens * 2 * grid + windowed * in_windows * 2 * WINDOW
    multiplications = {
        "patches": tokens * 3 * PATCH**2 * width,
        "projections": projected * 4 * width**2,
        "mlp": depth * tokens * 8 * width**2,
        "attention": pairs * 2 * width,
        "relative positions": relative * width,
        "neck": tokens * (width * OUT + 9 * OUT**2),
    }
    return {part: 2 * count for part, count in multiplications.items()}


def network(size: str, side: int) -> Any:
    """transformers' encoder with random weights; relative positions, which it starts at zero, too."""
    from transformers import SamVisionConfig
    from transformers.models.sam.modeling_sam import SamVisionEncoder

    width, depth, heads, of_all = SIZES[size]
    torch.manual_seed(0)
    made = SamVisionEncoder(
        SamVisionConfig(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            mlp_dim=4 * width,
            image_size=side,
            window_size=WINDOW,
            global_attn_indexes=list(of_all),
        )
    )
    for parameter in made.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 0
        torch.nn.init.normal_(parameter, 0.0 if fan_in else 1.0, min(0.1, fan_in**-0.5) if fan_in else 0.02)
    return made.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="vit_b")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--attention", default="chunked,sdpa")
    parser.add_argument("--compile", default="no")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)

    work = sum(flop(arguments.size, arguments.side).values())
    print(f"{arguments.size}, {arguments.side} pixels: {work / 1e9:.0f} GFLOP an image")
    vision = network(arguments.size, arguments.side).to(device)
    pixels = torch.randn((1, 3, arguments.side, arguments.side), generator=torch.Generator().manual_seed(1)).to(device)
    variants = list(
        itertools.product(*(getattr(arguments, key).split(",") for key in ("dtypes", "attention", "compile")))
    )
    encoders: dict[tuple[str, ...], Callable[[Tensor], Tensor]] = {}
    results: dict[str, Any] = {}
    first: Tensor | None = None
    for dtype, how, compile in variants:
        encoder: Any = ImageEncoder(vision, getattr(torch, dtype), how)
        began = time.perf_counter()
        if compile == "yes":
            encoder = compiled(encoder, tuple(pixels.shape), device)
        encoders[dtype, how, compile] = encoder
        with torch.inference_mode(), exact_convolutions():
            embedding = encoder(pixels).float()
        first = embedding if first is None else first
        results[f"{dtype} {how}{' compiled' * (compile == 'yes')}"] = {
            "difference": float((embedding - first).abs().max() / first.std()),
            "first_s": time.perf_counter() - began,
            "seconds": [],
            "shares": [],
        }
    matrices = {dtype: torch.randn((2, PEAK, PEAK), device=device).to(getattr(torch, dtype)) for dtype, *_ in variants}
    for _ in range(arguments.rounds):
        for (dtype, *_), name, encoder in zip(encoders, results, encoders.values(), strict=True):
            times = list(_timed(device, matrices[dtype], encoder, pixels))
            peak = 2 * PEAK**3 / ((times[0] + times[2]) / 2)
            results[name]["seconds"].append(times[1])
            results[name]["shares"].append(work / times[1] / peak)
    for name, result in results.items():
        result["share"] = statistics.median(result["shares"])
        print(
            f"{name:28} {statistics.median(result['seconds']):7.3f} s, {result['share']:.0%} of the peak "
            f"({min(result['shares']):.0%} to {max(result['shares']):.0%}), difference {result['difference']:.1e}, "
            f"first time {result['first_s']:.0f} s"
        )
    if arguments.json:
        machine = {
            "machine": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
        }
        arguments.json.write_text(json.dumps({**machine, "gflop": work / 1e9, "results": results}, indent=2) + "\n")


def _timed(
    device: torch.device, matrices: Tensor, encoder: Callable[[Tensor], Tensor], pixels: Tensor
) -> Iterator[float]:
    """Seconds of a product, of an encoding, and of the product again."""

    def settle() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    a, b = matrices
    with torch.inference_mode(), exact_convolutions():
        for call in (lambda: a @ b, lambda: encoder(pixels), lambda: a @ b):
            settle()
            began = time.perf_counter()
            call()
            settle()
            yield time.perf_counter() - began


if __name__ == "__main__":
    main()
