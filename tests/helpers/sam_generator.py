"""The official automatic mask generator over random weights whose masks are worth filtering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from helpers import official_sam
from helpers.sam_masks import with_small_masks
from torch import Tensor

LEVELS = (0.0, 0.8, 0.8, 0.8)
CONFIDENCE = (0.0, 0.97, 0.2, 1.35)
STEEPNESS = 40.0


def stable_sam(**sizes: Any) -> Any:
    """``official_sam.build`` with masks of a few blobs that differ from point to point, whose logits are steep
    enough for a good share to be stable, and whose predicted IoUs lie around the released threshold."""
    official = with_small_masks(official_sam.build(**sizes), LEVELS)
    with torch.no_grad():
        # With keys projected as queries are, a pixel looks at the point next to it, and takes much from there.
        attention = official.mask_decoder.transformer.layers[-1].cross_attn_image_to_token
        attention.q_proj.weight *= 2
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        attention.out_proj.weight *= 10
        official.mask_decoder.iou_prediction_head.layers[-1].bias += torch.tensor(CONFIDENCE)
        for mlp in official.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight *= STEEPNESS
            mlp.layers[-1].bias *= STEEPNESS
    return official


def official_generator(official: Any, **options: Any) -> Any:
    """``SamAutomaticMaskGenerator``, with greedy suppression in place of torchvision's where that is missing."""
    official_sam.package()
    from segment_anything import automatic_mask_generator

    if automatic_mask_generator.batched_nms is None:
        automatic_mask_generator.batched_nms = greedy_nms
        automatic_mask_generator.box_area = _area
    return automatic_mask_generator.SamAutomaticMaskGenerator(official, output_mode="coco_rle", **options)


def greedy_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """A row of IoUs at a time."""
    area, order, kept = _area(boxes), scores.argsort(descending=True, stable=True), []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        corner = torch.maximum(boxes[best, :2], boxes[order, :2])
        common = (torch.minimum(boxes[best, 2:], boxes[order, 2:]) - corner).clamp(min=0).prod(1)
        # IoUs are float32 and the threshold is not, as in torchvision's kernel.
        order = order[~((common / (area[best] + area[order] - common)).double() > iou_threshold)]
    return torch.tensor(kept, dtype=torch.long)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def boxes_xyxy(records: Sequence[dict[str, Any]], field: str) -> list[list[float]]:
    """``bbox`` or ``crop_box`` of the official records as corners."""
    return [[x, y, x + w, y + h] for x, y, w, h in (record[field] for record in records)]
