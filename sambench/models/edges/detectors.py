"""The edge detectors ``sobel``, ``canny`` and ``felzenszwalb``: baselines of the task ``edges`` that need no weights.

Plain choices, in grey levels from 0 to 1 and documented in docs/models/edge_detectors.md; strengths are on an absolute
scale, so that one threshold means the same in every image.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, MinLen
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.filters import gaussian, sobel
from skimage.segmentation import felzenszwalb, find_boundaries

from sambench.core.mask import Image
from sambench.core.model import Model, Prediction, Prompts, View
from sambench.models.cards import WeightsInfo
from sambench.models.edges import kernels
from sambench.plugins.options import Finite, Positive

VERSION = 1
"""Counted up whenever a map changes, so that runs of two versions are never taken for one model."""


@dataclass(frozen=True)
class SobelOptions:
    sigma: Annotated[Finite, Ge(0)] = 0.0
    """Sigma of a Gaussian on the image before the gradient, pixels; 0: none."""


@dataclass(frozen=True)
class CannyOptions:
    sigma: Positive = 2.0
    """Sigma of the Gaussian whose derivatives are the gradient, pixels."""


@dataclass(frozen=True)
class FelzenszwalbOptions:
    """As in ``skimage.segmentation.felzenszwalb``."""

    scales: Annotated[tuple[Positive, ...], MinLen(1)] = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
    """`scale` of each segmentation; larger ones have larger segments."""
    sigma: Annotated[Finite, Ge(0)] = 0.8
    """Sigma of the smoothing, pixels."""
    min_size: Annotated[int, Ge(1)] = 50
    """Least pixels of a segment."""


def locate(name: str, options: Any) -> WeightsInfo:
    """The adapter's answer to the zoo: nothing has to be found, the algorithm and its options are the weights."""
    text = json.dumps({"algorithm": name, "version": VERSION, "options": asdict(options)}, sort_keys=True)
    return WeightsInfo(name, "", hashlib.sha256(text.encode()).hexdigest(), frozenset())


def load(name: str, options: Any, device: str, encode_batch: int) -> EdgeDetector:
    """The adapter's model for the zoo. It runs on the CPU whatever ``device`` says."""
    return _DETECTORS[name](options, encode_batch)


class EdgeDetector(Model):
    """A :class:`sambench.core.model.Model` that answers edges and no prompts. ``thin``: its maps are thinned
    already."""

    thin: ClassVar[bool]
    capabilities = frozenset({"edges"})
    trained_on: frozenset[str] | None = frozenset()
    batch_invariant = True

    def __init__(self, options: Any, encode_batch: int = 1) -> None:
        self.options, self.encode_batch = options, encode_batch
        self.weights_digest = locate(self.name, options).weights_digest

    def encode(self, images: Sequence[Image]) -> list[EdgeDetectorView]:
        """``(H, W, 3)`` uint8 RGB images, of any sizes."""
        return [EdgeDetectorView(self, image) for image in images]

    def detect(self, image: Image) -> NDArray[np.float32]:
        """``(H, W)`` in [0, 1]."""
        raise NotImplementedError


class EdgeDetectorView(View):
    """An edge detector looking at one image. ``edges_are_thin``: thinning the map again would only harm it."""

    def __init__(self, model: EdgeDetector, image: Image) -> None:
        self.model, self.image = model, image
        self.edges_are_thin = model.thin

    def edges(self) -> NDArray[np.float32]:
        """``(H, W)`` edge strength in [0, 1]."""
        return self.model.detect(self.image)

    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        """Raises ValueError: there are no masks to be had."""
        raise ValueError(f"{self.model.name} finds edges and takes no prompts")


class Sobel(EdgeDetector):
    """The magnitude of the Sobel gradient; a step from black to white has .71 across an axis."""

    name = "sobel"
    thin = False

    def detect(self, image: Image) -> NDArray[np.float32]:
        grey = rgb2gray(image)
        if self.options.sigma:
            grey = gaussian(grey, self.options.sigma)
        strength: NDArray[np.float32] = np.clip(sobel(grey), 0, 1).astype(np.float32)
        return strength


class Canny(EdgeDetector):
    """Canny's detector before its thresholds: derivatives of a Gaussian, and of their magnitude what no neighbour
    along the gradient exceeds. A step from black to white has 1."""

    name = "canny"
    thin = True

    def detect(self, image: Image) -> NDArray[np.float32]:
        grey, sigma = rgb2gray(image), self.options.sigma
        down, right = (ndimage.gaussian_filter(grey, sigma, order, mode="nearest") for order in ((1, 0), (0, 1)))
        magnitude = np.clip(np.hypot(down, right) * sigma * math.sqrt(2 * math.pi), 0, 1).astype(np.float32)
        return kernels.suppress(magnitude, down, right, 1, 1.0, 0)


class Felzenszwalb(EdgeDetector):
    """The share of scales at which a pixel has a neighbour in another segment, by the graph-based segmentation
    (Felzenszwalb and Huttenlocher, IJCV 2004)."""

    name = "felzenszwalb"
    thin = True

    def detect(self, image: Image) -> NDArray[np.float32]:
        options = self.options
        segmentations = (felzenszwalb(image, scale, options.sigma, options.min_size) for scale in options.scales)
        share = np.mean([find_boundaries(labels, mode="thick") for labels in segmentations], axis=0)
        strength: NDArray[np.float32] = share.astype(np.float32)
        return strength


_DETECTORS: dict[str, type[EdgeDetector]] = {cls.name: cls for cls in (Sobel, Canny, Felzenszwalb)}
