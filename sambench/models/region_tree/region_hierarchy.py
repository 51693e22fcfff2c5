"""A hierarchy of regions of one image: a watershed's fine regions, merged two by two until one is left."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from sambench.core.mask import Image
from sambench.models.region_tree import region_kernels

SMOOTHING = 1.0
"""Standard deviation (pixels) of the Gaussian before the gradient."""
GRADIENT_STEPS = 20.0
"""Steps per CIELAB unit that the gradient is rounded to before the watershed."""
CONTRAST_WEIGHT = 2.0
"""Weight of the gradient along the common boundary against the distance of the mean colours when merging."""
CONTRAST_FLOOR = 0.3
"""CIELAB units per pixel, added to a boundary's contrast before its logarithm: less is noise."""
BORDER_PENALTY = 4.0
"""Log weight that a region would lose if all of its outline were the border of the image."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """A binary tree of regions over a label map.

    ``labels``: ``(h, w)`` int32. The L leaves are numbered in depth-first order, so that node i of the 2L-1 is the
    pixels whose label is in ``first[i]`` up to, not with, ``last[i]``. ``leaf_at``: ``(L,)`` the node that is the leaf
    of a label. ``parent``: -1 at the root, which is the last node; parents have higher numbers than their children.
    ``area``: pixels. ``boxes``: ``(2L-1, 4)`` x0, y0, x1, y1, right and bottom exclusive. ``evidence``: log weight of
    a node as an object, from boundary contrast, persistence and contact with the border of the image.
    """

    labels: NDArray[np.int32]
    leaf_at: NDArray[np.int32]
    parent: NDArray[np.int32]
    first: NDArray[np.int32]
    last: NDArray[np.int32]
    area: NDArray[np.int64]
    boxes: NDArray[np.int32]
    evidence: NDArray[np.float64]

    def crop(self, node: int) -> NDArray[np.bool_]:
        """The node's pixels in its box: ``(y1-y0, x1-x0)`` bool."""
        x0, y0, x1, y1 = self.boxes[node]
        window = self.labels[y0:y1, x0:x1]
        inside: NDArray[np.bool_] = (window >= self.first[node]) & (window < self.last[node])
        return inside


def build(image: Image) -> Hierarchy:
    """The hierarchy of an ``(H, W, 3)`` uint8 image, at its own resolution."""
    colour = _stretched_lab(image)
    smooth = cv2.GaussianBlur(colour, (0, 0), SMOOTHING)
    gradient = _gradient(smooth)
    labels = _fine_regions(gradient)
    n_leaves = int(labels.max()) + 1
    flat = labels.ravel()
    area = np.bincount(flat, minlength=n_leaves)
    sums = np.stack([np.bincount(flat, smooth[..., c].ravel(), n_leaves) for c in range(3)], axis=1).astype(np.float64)
    ends, length, contrast = _boundaries(labels, gradient, n_leaves)
    children, height, perimeter, edge = region_kernels.merge(
        ends, length, contrast, area.astype(np.float64), sums, CONTRAST_WEIGHT
    )
    return _numbered(labels, area, children, height, perimeter, edge)


def _stretched_lab(image: Image) -> NDArray[np.float32]:
    """CIELAB after stretching brightness to the full range, so that a dim micrograph has the contrast of a photo."""
    values = image.astype(np.float32) / 255
    low, high = np.percentile(values.max(axis=2), (0.5, 99.5))
    values = np.clip((values - np.float32(low)) / np.float32(max(high - low, 0.02)), 0, 1)
    lab: NDArray[np.float32] = cv2.cvtColor(values, cv2.COLOR_RGB2LAB)
    return lab


def _gradient(colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(H, W)`` largest rate of change of a colour image, per pixel (Di Zenzo 1986)."""
    dx = cv2.Scharr(colour, cv2.CV_32F, 1, 0, scale=1 / 32)
    dy = cv2.Scharr(colour, cv2.CV_32F, 0, 1, scale=1 / 32)
    xx, yy, xy = (dx * dx).sum(axis=2), (dy * dy).sum(axis=2), (dx * dy).sum(axis=2)
    squared: NDArray[np.float32] = (xx + yy + np.sqrt((xx - yy) ** 2 + 4 * xy * xy)) / 2
    return np.sqrt(squared)


def _fine_regions(gradient: NDArray[np.float32]) -> NDArray[np.int32]:
    """``(H, W)`` labels from 0: the catchment basins of the gradient, 4-connected."""
    if min(gradient.shape) < 3:  # scikit-image finds no minima in so thin an image: each pixel is a region
        return np.arange(gradient.size, dtype=np.int32).reshape(gradient.shape)
    basins: NDArray[np.int32] = watershed(np.round(gradient * GRADIENT_STEPS).astype(np.int32), connectivity=1)
    return np.maximum(basins - 1, 0)  # an image of one colour has no minimum: the watershed leaves it 0


def _boundaries(
    labels: NDArray[np.int32], gradient: NDArray[np.float32], n_leaves: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Neighbouring leaves ``(E, 2)``; pixel sides between them and the gradient summed over those, each ``(E,)``."""
    keys, values = [], []
    for one, other, near, far in (
        (labels[:, :-1], labels[:, 1:], gradient[:, :-1], gradient[:, 1:]),
        (labels[:-1], labels[1:], gradient[:-1], gradient[1:]),
    ):
        differ = one != other
        a, b = one[differ].astype(np.int64), other[differ].astype(np.int64)
        keys.append(np.minimum(a, b) * n_leaves + np.maximum(a, b))
        values.append(np.maximum(near[differ], far[differ]))
    pairs, which = np.unique(np.concatenate(keys), return_inverse=True)
    ends = np.stack([pairs // n_leaves, pairs % n_leaves], axis=1).astype(np.int32)
    length = np.bincount(which, minlength=len(pairs)).astype(np.float64)
    contrast = np.bincount(which, np.concatenate(values), len(pairs)).astype(np.float64)
    return ends, length, contrast


def _numbered(
    labels: NDArray[np.int32],
    leaf_area: NDArray[np.int64],
    children: NDArray[np.int32],
    height: NDArray[np.float64],
    perimeter: NDArray[np.float64],
    edge: NDArray[np.float64],
) -> Hierarchy:
    n_leaves, total = len(leaf_area), len(children)
    parent, first, last = region_kernels.number(children)
    order = first[:n_leaves]
    leaf_at = np.empty(n_leaves, np.int32)
    leaf_at[order] = np.arange(n_leaves, dtype=np.int32)
    labels = order[labels]

    covered = np.concatenate(([0], np.cumsum(leaf_area[leaf_at])))
    area = covered[last] - covered[first]
    rim = np.bincount(np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1])), minlength=n_leaves)
    rims = np.concatenate(([0], np.cumsum(rim)))
    border = rims[last] - rims[first]
    boxes = region_kernels.boxes(labels, leaf_at, children)

    # How long a region stays as it is while the cost rises, in factors; the root has nothing to be merged with.
    floor = 1e-3
    risen = np.zeros(total)
    risen[:-1] = np.log(np.maximum(height[parent[:-1]], floor) / np.maximum(height[:-1], floor))
    contrast = edge / np.maximum(perimeter, 1)
    evidence = (
        0.5 * np.log(risen + 0.02)
        + 2 * np.log(np.maximum(contrast, 0) + CONTRAST_FLOOR)
        - BORDER_PENALTY * border / np.maximum(perimeter + border, 1)
    )
    return Hierarchy(labels, leaf_at, parent, first, last, area, boxes, evidence)
