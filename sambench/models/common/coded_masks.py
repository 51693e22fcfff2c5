"""What the mask generator keeps of a mask: a run-length code and a few numbers, made where the model's logits are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MaskFilter:
    """Which masks of a prediction are worth coding, and where its image lies.

    ``size``: ``(H, W)`` of the whole image. ``crop``: xyxy pixels of the part that was looked at, right and bottom
    exclusive. ``score_above``, ``stability_from``: least predicted IoU (exclusive) and stability (inclusive); 0: any.
    ``offset``: stability is the IoU of the masks at logits above plus and above minus this. ``area_below``: pixels.
    ``edge_distance``: a mask goes if its box lies within so many pixels of an edge of the crop that is not within so
    many pixels of the image's.
    """

    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    score_above: float
    stability_from: float
    offset: float
    area_below: int
    edge_distance: float

    def confident(self, scores: Any) -> Any:
        """``(K,)`` bool of ``(K,)`` float32 predicted IoUs; as all here, of numpy's arrays or torch's tensors."""
        return (scores > self.score_above) | (self.score_above <= 0)

    def keeps(self, stability: Any, areas: Any, boxes: Any) -> Any:
        """``(K,)`` bool. ``boxes``: ``(K, 4)`` xyxy pixels of the whole image, right and bottom inclusive."""
        kept = areas < self.area_below
        if self.stability_from > 0:
            kept = kept & (stability >= self.stability_from)
        image = (0, 0, self.size[1], self.size[0])
        # Nothing is near an edge of the crop and far from the image's where the two are one.
        for side in range(4):
            if self.crop[side] != image[side]:
                at_crop = abs(boxes[:, side] - self.crop[side]) <= self.edge_distance
                at_image = abs(boxes[:, side] - image[side]) <= self.edge_distance
                kept = kept & ~(at_crop & ~at_image)
        return kept


@dataclass(frozen=True, eq=False)
class CodedMasks:
    """The K masks of a prediction that a filter kept, in the order of the prediction.

    ``index``: ``(K,)`` int64, places among the prediction's N·M masks, candidates of a prompt next to each other.
    ``scores``: ``(K,)`` float32 predicted IoUs. ``stability``: ``(K,)`` float32, 0 for an empty mask. ``areas``:
    ``(K,)`` int64 pixels. ``boxes``: ``(K, 4)`` int64 xyxy pixels of the whole image, right and bottom inclusive; of an
    empty mask the crop's corner twice. ``codes``: K compressed counts of COCO's run-length code of the whole image.
    """

    index: NDArray[np.int64]
    scores: NDArray[np.float32]
    stability: NDArray[np.float32]
    areas: NDArray[np.int64]
    boxes: NDArray[np.int64]
    codes: Sequence[bytes]


@runtime_checkable
class CodedPrediction(Protocol):
    """What a :class:`sambench.core.model.Prediction` may offer besides: its masks measured, filtered and coded where
    its logits are, none of them at full size for long. What wraps such a prediction has to pass it on."""

    def coded(self, wanted: MaskFilter) -> CodedMasks: ...
