"""Non-maximum suppression among masks, by their boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sambench.core.model import Prediction
from sambench.models.common.logit_windows import SoftPrediction
from sambench.numba_cache import compiled


def mask_boxes(prediction: Prediction) -> NDArray[np.int64]:
    """``(N, M, 4)`` xyxy pixels of every mask, right and bottom inclusive, zeros for an empty mask, as the released
    generator measures them (segment_anything: utils/amg.py, batched_mask_to_box)."""
    if isinstance(prediction, SoftPrediction):
        boxes = prediction.boxes()
    else:
        prompts, candidates = prediction.scores.shape
        # One prompt at a time, so that few masks exist at once.
        rows = [prediction.masks([(n, m) for m in range(candidates)]) for n in range(prompts)]
        boxes = np.array([[mask.box for mask in row] for row in rows], np.int64).reshape(prompts, candidates, 4)
    boxes[..., 2:] = np.maximum(boxes[..., 2:] - 1, 0)
    return boxes


def box_nms(boxes: NDArray[np.int64], scores: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Indices of the boxes that stay, highest score first; equal scores in their order, NaN counts as 0.

    Greedy: a box goes if its IoU with one that stays is above the threshold. As torchvision does it: the side of a
    box is the difference of its coordinates, IoUs are float32, and a box without area (one pixel wide or high)
    neither goes nor makes another go.

    ``boxes``: ``(K, 4)`` xyxy; ``scores``: ``(K,)``.
    """
    order = np.argsort(-np.nan_to_num(scores.astype(np.float32), nan=0.0), kind="stable")
    return order[_stays(boxes[order].astype(np.float32), threshold)]


@compiled
def _stays(boxes: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Of boxes in the order of their scores."""
    stays = np.ones(len(boxes), np.bool_)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in range(len(boxes)):
        if not stays[i]:
            continue
        for j in range(i + 1, len(boxes)):
            w = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            h = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if w > 0 and h > 0:
                common = w * h
                if np.float32(common / (area[i] + area[j] - common)) > threshold:
                    stays[j] = False
    return stays
