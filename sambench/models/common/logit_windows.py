"""Predictions that know more than binary masks: logits at the size of the image, a few masks at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LogitWindow:
    """The logits of k masks in one window of the image, everywhere outside of which they are at most 0.

    ``top``, ``left``: where the window lies (pixels). ``logits``: ``(k, h, w)`` float32 tensor on the model's device,
    foreground where above 0.
    """

    top: int
    left: int
    logits: Any


@runtime_checkable
class SoftPrediction(Protocol):
    """What a :class:`sambench.core.model.Prediction` may offer besides. What wraps such a prediction has to pass it
    on."""

    def logits(self, which: Sequence[tuple[int, int]], margin: int) -> Iterator[LogitWindow]:
        """The (prompt, candidate) pairs in order, at the original image size. A window reaches ``margin`` pixels
        farther than the foreground, or to the border of the image; a mask without foreground may be left out."""

    def boxes(self) -> NDArray[np.int64]:
        """``(N, M, 4)``: what :attr:`sambench.core.mask.Mask.box` says of each mask."""
