"""What is known of a detector, what it sees in an image, and the form of that in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Image
from sambench.readers.index_cache import Arrays


@dataclass(frozen=True, eq=False)
class Detected:
    """N objects. ``labels``: ``(N,)`` int64, the detector's own class numbers. ``scores``: ``(N,)`` float64.
    ``boxes``: ``(N, 4)`` float64, x, y, width, height in pixels of the image. ``masks``: run-length codes of the whole
    image, or None from a detector without masks."""

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    masks: Sequence[Any] | None = None

    @classmethod
    def from_corners(
        cls,
        labels: NDArray[Any],
        scores: NDArray[np.float64],
        corners: NDArray[np.float64],
        masks: Sequence[Any] | None = None,
    ) -> Detected:
        """``corners``: ``(N, 4)`` xyxy. A box whose corners are the wrong way round has no width or height."""
        boxes = np.concatenate([corners[:, :2], np.maximum(corners[:, 2:] - corners[:, :2], 0)], axis=1)
        return cls(labels.astype(np.int64), scores, boxes, masks)

    def sorted(self) -> Detected:
        """Best first; equal scores stay in their order."""
        order = np.argsort(-self.scores, kind="stable")
        masks = None if self.masks is None else [self.masks[k] for k in order.tolist()]
        return Detected(self.labels[order], self.scores[order], self.boxes[order], masks)

    def arrays(self) -> Arrays:
        """As the cache keeps it."""
        masks = {} if self.masks is None else {"masks": np.frombuffer(json.dumps(list(self.masks)).encode(), np.uint8)}
        return {"labels": self.labels, "scores": self.scores, "boxes": self.boxes, **masks}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Detected:
        """What :meth:`arrays` made."""
        masks = json.loads(arrays["masks"].tobytes()) if "masks" in arrays else None
        return cls(arrays["labels"], arrays["scores"], arrays["boxes"], masks)


Detect = Callable[[Image, float], Detected]
"""From an image, ``(H, W, 3)`` uint8 RGB, to what scores above the threshold, in any order."""


@dataclass(frozen=True)
class LocatedDetector:
    """A detector that was found but not loaded.

    ``name``: for tables. ``digest``: sha256 (hex) of its weights and configuration. ``labels``: names of its classes,
    by its own numbers. ``numbers``: the dataset's category number of each class, where the detector knows it; else
    classes are told by name. ``load``: onto a device. Raises UsageError if it cannot be.
    """

    name: str
    digest: str
    labels: Mapping[int, str]
    numbers: Mapping[int, int] | None
    load: Callable[[str], Detect]
