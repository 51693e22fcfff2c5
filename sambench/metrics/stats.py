"""Means and their 95 % intervals: a normal one over masks, and an image-clustered bootstrap as the check.

The paper prints mIoU and mean ratings with symmetric 95 % intervals without saying how they were computed; the printed
widths fit 1.96 * s / sqrt(n) over masks (Segment Anything Tables 2 and 6, protocol §9.3, OQ-12). Masks of one image are
not independent, so that interval is too narrow where images differ; the bootstrap, which draws whole images, shows by
how much. Its 99 % sibling on paired differences (Table 8) is separate.

Undefined is None, never NaN or -1. Every result depends only on the set of (value, cluster) pairs, not on their order,
down to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.core.task import MetricValue

Values = Sequence[float] | NDArray[np.floating[Any]]
"""``(n,)`` finite numbers; for IoU fractions of 1."""

Labels = Sequence[str] | Sequence[int] | NDArray[np.integer[Any]]
"""``(n,)``: which image (or class, or size) each value belongs to, all of one type."""

Z95 = 1.96
RESAMPLES = 10_000
"""As many as the paper's own bootstrap (protocol §9.3)."""

_DRAWS_AT_ONCE = 1 << 18


def mean(values: Values) -> float | None:
    """Compute the arithmetic mean.

    Args:
        values: ``(n,)``.

    Returns:
        None without values.

    Raises:
        ValueError: Values that are not finite.
    """
    return _mean(_checked(values))


def normal_interval(values: Values) -> tuple[float, float] | None:
    """Compute the normal 95 % interval: mean ± 1.96 * s / sqrt(n), s the sample standard deviation (n - 1).

    Args:
        values: ``(n,)``.

    Returns:
        ``(low, high)``, None for fewer than two values. Not cut to [0, 1]: the paper prints it as ± too (protocol
            OQ-12).

    Raises:
        ValueError: Values that are not finite.
    """
    return _normal_interval(_checked(values))


def bootstrap_means(
    values: Values, clusters: Labels, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> NDArray[np.float64] | None:
    """Resample the mean over values, drawing whole clusters (images) with replacement, as many as there are.

    Resample b takes ``rng.integers(0, G, G)`` of the G clusters in sorted order; its mean is the sum of the drawn
    clusters' values over the sum of their counts, so a large image weighs as much as its masks (protocol OQ-12).
    Memory: a few MB and an amount proportional to the input.

    Args:
        values: ``(n,)``.
        clusters: ``(n,)``, the image of each value.
        rng: Source of the draws.
        resamples: Number of resamples.

    Returns:
        ``(resamples,)`` means; None for fewer than two clusters, which tell nothing about how images differ.

    Raises:
        ValueError: Values that are not finite, or ``clusters`` of another length.
    """
    array = _checked(values)
    return _bootstrap_means(array, _codes(clusters, array.size)[0], rng, resamples)


def metric_of(values: Values, clusters: Labels | None, seed: int) -> MetricValue:
    """Compute mean, count and both 95 % intervals of per-mask values (fractions).

    The bootstrap's interval is the 2.5 and 97.5 % percentiles of :func:`bootstrap_means`, interpolated linearly.

    Args:
        values: ``(n,)``.
        clusters: ``(n,)``, the image of each value; None leaves the bootstrap out.
        seed: Of the bootstrap; the caller derives it from the run's identity, so that recomputing a summary gives the
            same.

    Raises:
        ValueError: Values that are not finite, or ``clusters`` of another length.
    """
    array = _checked(values)
    codes = None if clusters is None else _codes(clusters, array.size)[0]
    return _metric(array, codes, seed)


def metrics_by(values: Values, groups: Labels, clusters: Labels | None, seed: int) -> dict[Any, MetricValue]:
    """Compute :func:`metric_of` of the values of each group (class, size).

    Every group is drawn with the same seed, so that its result does not depend on the other groups.

    Args:
        values: ``(n,)``.
        groups: ``(n,)``, the group of each value.
        clusters: ``(n,)``, the image of each value; None leaves the bootstrap out.
        seed: Of the bootstrap.

    Returns:
        Metrics by group, in sorted order.

    Raises:
        ValueError: Values that are not finite, or labels of another length.
    """
    array = _checked(values)
    group_codes, names = _codes(groups, array.size)
    cluster_codes = None if clusters is None else _codes(clusters, array.size)[0]
    order = np.argsort(group_codes, kind="stable")
    sizes = np.bincount(group_codes, minlength=len(names))
    metrics = {}
    for name, size, end in zip(names, sizes, np.cumsum(sizes), strict=True):
        part = order[end - size : end]
        metrics[name] = _metric(array[part], None if cluster_codes is None else _dense(cluster_codes[part]), seed)
    return metrics


def _checked(values: Values) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must be one-dimensional, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("values must be finite: leave undefined ones out")
    return array


def _codes(labels: Labels, n: int) -> tuple[NDArray[np.int64], list[Any]]:
    """The label of each value as its place among the sorted distinct labels, and those."""
    flat: list[Hashable] = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    if len(flat) != n:
        raise ValueError(f"{n} values but {len(flat)} labels")
    # A dict, not np.unique: exact for every text (numpy drops trailing NULs) and several times faster on it.
    names: list[Any] = sorted(set(flat))
    place = {name: i for i, name in enumerate(names)}
    return np.fromiter((place[label] for label in flat), np.int64, n), names


def _dense(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(codes, return_inverse=True)[1].astype(np.int64, copy=False)


def _metric(values: NDArray[np.float64], codes: NDArray[np.int64] | None, seed: int) -> MetricValue:
    means = None if codes is None else _bootstrap_means(values, codes, np.random.default_rng(seed), RESAMPLES)
    bootstrap = None
    if means is not None:
        # The mean of any resample lies within the values; rounding may have moved it out by a last bit.
        low, high = np.clip(np.quantile(means, (0.025, 0.975)), values.min(), values.max())
        bootstrap = (float(low), float(high))
    return MetricValue(_mean(values), values.size, _normal_interval(values), bootstrap)


def _mean(values: NDArray[np.float64]) -> float | None:
    if not values.size:
        return None
    # fsum rounds once, so the order in which workers finished cannot show in the last digit. The division rounds
    # again, which may carry the mean of equal values off them.
    return min(max(math.fsum(values) / values.size, float(values.min())), float(values.max()))


def _normal_interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    centre = _mean(values)
    if centre is None or values.size < 2:
        return None
    variance = math.fsum((values - centre) ** 2) / (values.size - 1)
    half = Z95 * math.sqrt(variance / values.size)
    return (centre - half, centre + half)


def _bootstrap_means(
    values: NDArray[np.float64], codes: NDArray[np.int64], rng: np.random.Generator, resamples: int
) -> NDArray[np.float64] | None:
    if values.size == 0 or (size := int(codes.max()) + 1) < 2:
        return None
    # Sorted within each cluster as well: a sum of floats depends on its order.
    ordered = values[np.lexsort((values, codes))]
    counts = np.bincount(codes)
    sums = np.add.reduceat(ordered, np.concatenate(([0], np.cumsum(counts)[:-1])))
    # Sum and count of a cluster as one complex number: one gather instead of two.
    pairs = sums + 1j * counts
    means = np.empty(resamples)
    rows = max(1, _DRAWS_AT_ONCE // size)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        # int64 bounded below 2**32 is filled value by value, so the draws do not depend on ``rows``.
        drawn = pairs[rng.integers(0, size, (stop - start, size))].sum(axis=1)
        means[start:stop] = drawn.real / drawn.imag
    return means
