"""Weights, images and prompts for the models of SAM's family, the same wherever they are made: what was computed with
the released code from them is kept in ``tests/stored``."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from helpers.parity import Comparison, rounding_of
from helpers.paths import STORED
from numpy.typing import NDArray
from torch import Tensor

from sambench.types import Prompts, View

DATA = STORED
LIMIT = 32
"""SAM 2 clips low-resolution logits to this before it answers them; those of all models are compared so."""
LOOK = (((300, 431), 1),)
"""The first four cases of the first image: enough to find a mistake."""


EMBEDDINGS = re.compile(
    r"token\.|tokens\.|gaussian_matrix|pos_embed|point_embed|not_a_point|no_mask|query_embed|no_mem_embed"
)
"""Names of tables of vectors rather than of layers."""


def family_weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Random weights from the names and shapes of tensors alone, each from numpy's PCG64 seeded with the CRC-32 of its
    name: layers N(0, 1 / fan in), embeddings N(0, 1), the weights of norms N(1, 0.1²), biases and running means
    N(0, 0.1²), running variances uniform in [0.5, 1.5). The last layer of mask prompts is a fifth of that, lest
    nine rounds of feedback make much of rounding."""
    found = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            found[name] = torch.zeros((), dtype=torch.int64)
            continue
        values = rng.standard_normal(tuple(shape))
        if name.endswith("running_var"):
            values = rng.uniform(0.5, 1.5, tuple(shape))
        elif EMBEDDINGS.search(name):
            pass
        elif len(shape) > 1:
            values /= math.sqrt(math.prod(shape[1:]))
        else:
            values = 0.1 * values + name.endswith("weight")
        if name.endswith("mask_downscaling.6.weight"):
            values *= 0.2
        found[name] = torch.from_numpy(values.astype(np.float32))
    return found


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Blobs with texture, whole numbers all the way so that every machine makes the same: ``(H, W, 3)``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    channels = [
        ((x * (3 + c)) // (5 + 2 * c) + (y * (2 + c)) // 3 + ((x // 23 + y // 31) % 2) * 90) % 200 for c in range(3)
    ]
    noise = rng.integers(0, 40, (height, width, 3))
    return np.clip(np.stack(channels, -1) + noise, 0, 255).astype(np.uint8)


def cases(size: tuple[int, int], seed: int, clicks: int) -> list[dict[str, Any]]:
    """Prompts for one image of ``(H, W)``, one at a time: a box, a box with points, a point, and 1 to ``clicks`` clicks
    of which each gets the logits of the best mask of the one before (``previous``: its place in the list)."""
    rng = np.random.default_rng(seed)
    xy = rng.integers(0, [size[1], size[0]], (9, 2)).astype(np.float32)
    labels = np.array([1, 0, 1, 1, 0, 1, 0, 0, 1])
    box = np.array([size[1] * 0.1, size[0] * 0.2, size[1] * 0.7, size[0] * 0.85], np.float32)
    found: list[dict[str, Any]] = [
        {"box": box, "multimask": True},
        {"points": xy[:3], "labels": labels[:3], "box": box, "multimask": False},
        {"points": xy[:1], "labels": labels[:1], "multimask": False},
    ]
    for n in range(1, clicks + 1):
        case = {"points": xy[:n], "labels": labels[:n], "multimask": n == 1}
        found.append(case if n == 1 else {**case, "previous": len(found) - 1})
    return found


LOOKS = (((300, 431), 9), ((640, 211), 2))
"""Sizes of the images that were looked at, and how many clicks each got."""


Looks = Sequence[tuple[tuple[int, int], int]]


def answers(
    ask: Callable[[NDArray[np.uint8]], Callable[[dict[str, Any], Any], Any]], looks: Looks = LOOKS
) -> dict[str, NDArray[Any]]:
    """What a predictor answers, thinned out, by name. ``ask(image)`` gives a function of a case and the previous
    logits ``(1, h, w)`` or None, which answers logits at the size of the image, scores and low-resolution logits, as
    the released predictors do."""
    found: dict[str, NDArray[Any]] = {}
    for seed, (size, clicks) in enumerate(looks):
        predict = ask(picture(*size, seed=seed))
        answered: list[tuple[Any, Any]] = []
        for i, case in enumerate(cases(size, seed, clicks)):
            previous = None
            if "previous" in case:
                low, scores = answered[case["previous"]]
                previous = low[int(np.argmax(scores))][None]
            full, scores, low = predict(case, previous)
            answered.append((low, scores))
            found[f"low_{seed}_{i}"] = low[:, 3::16, 5::16].astype(np.float32)
            found[f"full_{seed}_{i}"] = full[:, 2::29, 3::31].astype(np.float32)
            found[f"score_{seed}_{i}"] = np.asarray(scores, np.float32)
    return found


def compare(
    view_of: Callable[[NDArray[np.uint8]], View],
    expected: Mapping[str, NDArray[Any]],
    precision: str = "float32",
    looks: Looks = LOOKS,
) -> Comparison:
    """What views answer beside what was expected."""
    comparison = Comparison(rounding_of(expected) if precision == "float32" else {})
    of_scores = float(np.concatenate([value for key, value in expected.items() if key.startswith("score_")]).std())
    for seed, (size, clicks) in enumerate(looks):
        view = view_of(picture(*size, seed=seed))
        answered: list[Any] = []
        for i, case in enumerate(cases(size, seed, clicks)):
            previous = None
            if "previous" in case:
                last = answered[case["previous"]]
                previous = last.feedback([(0, int(np.argmax(last.scores[0])))])
            points = "points" in case
            prompts = Prompts(
                points=case["points"][None] if points else None,
                labels=case["labels"][None] if points else None,
                boxes=case["box"][None] if "box" in case else None,
                mask_logits=previous,
            )
            ours = view.predict(prompts, multimask=case["multimask"])
            answered.append(ours)
            fed = "" if previous is None else "fed_"
            low, full = expected[f"low_{seed}_{i}"], expected[f"full_{seed}_{i}"]
            assert low.std() > 0.2, "degenerate logits would make this comparison empty"
            pairs = [(0, m) for m in range(len(low))]
            found = np.asarray(ours.feedback(pairs))[:, 3::16, 5::16]
            comparison.values(f"{fed}low", found.clip(-LIMIT, LIMIT), low.clip(-LIMIT, LIMIT))
            comparison.values(f"{fed}score", ours.scores[0], expected[f"score_{seed}_{i}"], of_scores)
            for mask, logits in zip(ours.masks(pairs), full, strict=True):
                assert mask.size == size
                comparison.pixels(f"{fed}full", mask.dense()[2::29, 3::31], logits)
    return comparison
