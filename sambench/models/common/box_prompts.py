"""Boxes as prompts (Segment Anything §7.4 and §D.4; protocol §5): how a detected box becomes a prompt, and the two
passes that make a mask of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Mask
from sambench.core.model import Prompts, View

GROUP = 64
"""Boxes that are prompted together: bounds the memory that their logits and masks take."""


@dataclass(frozen=True, eq=False)
class BoxMasks:
    """The answers to N boxes.

    ``masks``: N. ``predicted_iou``: ``(N,)`` float32, the model's own estimate of the last pass; 0 where nothing was
    asked. ``chosen``: ``(N,)`` int8, the candidate that the first pass took, -1 where nothing was asked. ``passes``:
    how many there were.
    """

    masks: list[Mask]
    predicted_iou: NDArray[np.float32]
    chosen: NDArray[np.int8]
    passes: int


def moved(
    boxes: NDArray[np.float64],
    size: tuple[int, int],
    *,
    expansion: float = 0.0,
    jitter: float = 0.0,
    seed: int = 0,
    keys: Sequence[Sequence[str]] = (),
) -> NDArray[np.float32]:
    """``(N, 4)`` xyxy, ready to be prompts: grown, shaken, and cut to the image, in this order.

    ``boxes``: ``(N, 4)`` x, y, width, height in pixels. ``size``: ``(H, W)``. ``expansion``: by how much width and
    height grow about the centre, as a share. ``jitter``: how far each edge may move, as a share of the side across it;
    uniform, drawn from ``seed`` and the key of each box (dataset, image, number). A box that holds no part of the image
    is left without width or height.
    """
    origin, sides = boxes[:, :2], boxes[:, 2:]
    corners = np.stack([origin - sides * (expansion / 2), origin + sides * (1 + expansion / 2)], axis=1)
    if jitter:
        draws = np.array([_draws(seed, key) for key in keys]).reshape(-1, 2, 2)
        corners += draws * (jitter * (1 + expansion)) * sides[:, None]
    cut: NDArray[np.float32] = np.clip(corners, 0, np.array(size[::-1])).astype(np.float32)
    return cut.reshape(-1, 4)


def masks_of_boxes(
    view: View, boxes: NDArray[np.float32], size: tuple[int, int], *, passes: int, feedback: bool
) -> BoxMasks:
    """Pass 1: the box alone, three masks, of which the one with the highest predicted IoU counts (the first of equal
    ones). Pass 2: that one's logits and the same box, one mask.

    ``boxes``: ``(N, 4)`` xyxy in pixels of the image. ``passes``: 1 or 2. ``feedback``: whether the model takes masks;
    without, and where it answers no logits, there is no second pass. A box without width or height gets an empty mask.
    """
    n = len(boxes)
    found = [Mask.empty(size)] * n
    predicted, chosen = np.zeros(n, np.float32), np.full(n, -1, np.int8)
    made = passes if feedback else 1
    usable = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    for start in range(0, len(usable), GROUP):
        group = usable[start : start + GROUP]
        prediction = view.predict(Prompts(boxes=boxes[group]), multimask=True)
        best = np.where(np.isnan(prediction.scores), -np.inf, prediction.scores).argmax(axis=1)
        answers = list(enumerate(best.tolist()))
        chosen[group] = best
        logits = prediction.feedback(answers) if made == 2 else None
        if logits is None:
            made = 1
        else:
            prediction = view.predict(Prompts(boxes=boxes[group], mask_logits=logits), multimask=False)
            answers = [(k, 0) for k in range(len(group))]
        predicted[group] = [prediction.scores[k, m] for k, m in answers]
        for place, mask in zip(group.tolist(), prediction.masks(answers), strict=True):
            found[place] = mask
    return BoxMasks(found, predicted, chosen, made)


def _draws(seed: int, key: Sequence[str]) -> list[float]:
    """Four numbers uniform in [-1, 1): a digest is the same on every machine and with every version."""
    digest = hashlib.sha256("\0".join([str(seed), *key]).encode("utf-8", "surrogatepass")).digest()
    return [int.from_bytes(digest[k : k + 6], "big") / 2**47 - 1 for k in range(0, 24, 6)]
