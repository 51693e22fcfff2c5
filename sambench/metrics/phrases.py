"""Metrics of referring segmentation, for queries whose truth and answer are one region each: mIoU, cIoU, precision.

Sources: the evaluation loop of LAVT (Yang et al., CVPR 2022), which later work copies: mIoU is the mean over queries;
cIoU (there "overall IoU") divides the sum of all intersections by the sum of all unions, so that large regions weigh
more; precision at a threshold counts the queries whose IoU is at or above it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sambench.core.task import MetricValue
from sambench.metrics.stats import RESAMPLES, metric_of, metrics_by

THRESHOLDS = (0.5, 0.7, 0.9)

_DRAWS_AT_ONCE = 1 << 18

Pixels = NDArray[np.int64]
"""``(n,)``: pixels of each query."""


def region_metrics(intersections: Pixels, unions: Pixels, images: Sequence[str], seed: int) -> dict[str, MetricValue]:
    """Compute ``miou``, ``ciou`` and ``p@0.5``, ``p@0.7``, ``p@0.9``, with intervals clustered by image.

    Args:
        intersections: ``(n,)`` pixels.
        unions: ``(n,)`` pixels; a query whose union is 0 has IoU 0.
        images: ``(n,)``, the image of each query.
        seed: Of the bootstrap.

    Returns:
        Metrics by name, fractions.
    """
    ious = iou(intersections, unions)
    return {
        "miou": metric_of(ious, images, seed),
        "ciou": cumulative_iou(intersections, unions, images, seed),
        **{f"p@{least}": metric_of(reached(ious, least), images, seed) for least in THRESHOLDS},
    }


def region_metrics_by(
    groups: Sequence[str], intersections: Pixels, unions: Pixels
) -> dict[str, dict[str, MetricValue]]:
    """Compute :func:`region_metrics` of each group, without the bootstrap: there can be more than a thousand classes.

    Args:
        groups: ``(n,)``, the group of each query.
        intersections: ``(n,)`` pixels.
        unions: ``(n,)`` pixels.

    Returns:
        Metrics by group (sorted) and name.
    """
    ious = iou(intersections, unions)
    found: dict[str, dict[str, MetricValue]] = {
        name: {"miou": one} for name, one in metrics_by(ious, groups, None, 0).items()
    }
    codes = _codes(groups)
    common, whole = np.bincount(codes, intersections), np.bincount(codes, unions)
    for k, name in enumerate(found):
        found[name]["ciou"] = MetricValue(float(common[k] / whole[k]) if whole[k] else None, found[name]["miou"].n)
    for least in THRESHOLDS:
        for name, one in metrics_by(reached(ious, least), groups, None, 0).items():
            found[name][f"p@{least}"] = one
    return found


def iou(intersections: Pixels, unions: Pixels) -> NDArray[np.float64]:
    """Compute the IoU of each query from its pixels: ``(n,)``, 0 where the union is 0."""
    ratios: NDArray[np.float64] = np.divide(
        intersections, unions, out=np.zeros(len(unions), np.float64), where=unions > 0
    )
    return ratios


def reached(ious: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Return 1 where the IoU is at or above ``least``, else 0: ``(n,)``."""
    return (ious >= least).astype(np.float64)


def cumulative_iou(intersections: Pixels, unions: Pixels, images: Sequence[str], seed: int) -> MetricValue:
    """Compute cIoU: the sum of intersections over the sum of unions.

    Args:
        intersections: ``(n,)`` pixels.
        unions: ``(n,)`` pixels.
        images: ``(n,)``, the image of each query.
        seed: Of the bootstrap.

    Returns:
        The value, None without queries. Its only interval is the bootstrap over whole images (2.5 and 97.5 %
            percentiles, as :func:`sambench.metrics.stats.metric_of`); a ratio of sums has no normal one.
    """
    interval = _bootstrap(intersections, unions, images, seed)
    return MetricValue(_ratio(intersections, unions), len(intersections), ci95_bootstrap=interval)


def _ratio(intersections: Pixels, unions: Pixels) -> float | None:
    whole = int(unions.sum())
    return int(intersections.sum()) / whole if whole else None


def _bootstrap(intersections: Pixels, unions: Pixels, images: Sequence[str], seed: int) -> tuple[float, float] | None:
    if len(set(images)) < 2:
        return None
    codes = _codes(images)
    # Sums of whole numbers are exact, in whatever order. Both of an image as one complex number: one gather for two.
    pairs = np.bincount(codes, intersections) + 1j * np.bincount(codes, unions)
    rng = np.random.default_rng(seed)
    ratios = np.empty(RESAMPLES)
    rows = max(1, _DRAWS_AT_ONCE // len(pairs))
    for start in range(0, RESAMPLES, rows):
        stop = min(start + rows, RESAMPLES)
        drawn = pairs[rng.integers(0, len(pairs), (stop - start, len(pairs)))].sum(axis=1)
        ratios[start:stop] = iou(drawn.real, drawn.imag)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)


def _codes(labels: Sequence[str]) -> NDArray[np.int64]:
    """``(n,)``: the place of each label among the sorted distinct ones."""
    places = {name: place for place, name in enumerate(sorted(set(labels)))}
    return np.array([places[label] for label in labels], np.int64)
