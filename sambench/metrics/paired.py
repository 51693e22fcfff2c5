"""Two models on the same masks: the difference of their means, its uncertainty, and the wins of each.

The bootstrap draws whole images, both models' masks of an image together, so that the difficulty of an image for both
cancels out. The paper's own significance tests are paired too (§E, Table 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sambench.metrics.stats import RESAMPLES, Labels, Values, bootstrap_means, mean


@dataclass(frozen=True, eq=False)
class Paired:
    """The comparison of two models.

    Attributes:
        n: Number of masks.
        images: Number of images.
        first: Mean of the first model.
        second: Mean of the second model.
        difference: Second minus first.
        ci95: Percentiles of the bootstrap of the difference; None for fewer than two images.
        p: Two-sided p value of no difference; None for fewer than two images.
        wins: Number of masks on which the second is better.
        ties: Number of masks on which they are equal.
        losses: Number of masks on which the second is worse.
        resampled: ``(resamples,)``, the differences of the resamples, for macro means; None for fewer than two images.
    """

    n: int
    images: int
    first: float | None
    second: float | None
    difference: float | None
    ci95: tuple[float, float] | None
    p: float | None
    wins: int
    ties: int
    losses: int
    resampled: NDArray[np.float64] | None


def compare(
    first: Values, second: Values, images: Labels, seed: int, *, tie: float = 0.0, resamples: int = RESAMPLES
) -> Paired:
    """Compare two models on the same masks; larger values are better.

    Args:
        first: ``(n,)``, the first model's values.
        second: ``(n,)``, the second model's, of the same masks in the same order.
        images: ``(n,)``, the image of each mask; the masks of an image are drawn together.
        seed: Of the bootstrap.
        tie: Differences up to this count as equal.
        resamples: Number of resamples.

    Raises:
        ValueError: Values that are not finite, or different lengths.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} values of the first and {b.shape} of the second are no pairs")
    change = b - a
    drawn = bootstrap_means(change, images, np.random.default_rng(seed), resamples=resamples)
    wins, losses = int((change > tie).sum()), int((change < -tie).sum())
    one, other = mean(a), mean(b)
    return Paired(
        n=change.size,
        images=len(set(images.tolist() if isinstance(images, np.ndarray) else images)),
        first=one,
        second=other,
        difference=None if one is None or other is None else other - one,
        ci95=None if drawn is None else interval(drawn),
        p=None if drawn is None else p_value(drawn),
        wins=wins,
        ties=change.size - wins - losses,
        losses=losses,
        resampled=drawn,
    )


def interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % percentiles, interpolated linearly."""
    low, high = np.quantile(resampled, (0.025, 0.975))
    return (float(low), float(high))


def p_value(resampled: NDArray[np.float64]) -> float:
    """Compute the two-sided p value of no difference from a bootstrap's differences ``(resamples,)``.

    It is twice the share of resamples on the rarer side of zero, zeros counted on both sides; never 0, which no finite
    number of resamples can show (Davison and Hinkley 1997, (4.11)).
    """
    below, above = int((resampled <= 0).sum()), int((resampled >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + resampled.size))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for multiple comparisons by Holm's step-down method (Holm 1979), in the given order.

    The i-th smallest of m is multiplied by m - i + 1, and none is smaller than the one before it.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = least
    return corrected
