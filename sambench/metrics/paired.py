"""Two models on the same masks: the difference of their means, how sure it is, and who wins how often.

The bootstrap draws whole images, both models' masks of an image together, so that what makes an image hard for both
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
    """``first``, ``second``: the two means; ``difference``: second minus first. ``ci95``: percentiles of the bootstrap;
    None for fewer than two images. ``p``: two-sided, of no difference; None likewise. ``wins``, ``ties``, ``losses``:
    masks on which the second is better, equal, worse. ``resampled``: the differences of the resamples, for macro means.
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
    """``first``, ``second``: ``(n,)``, the two models' values of the same masks in the same order. ``images``:
    ``(n,)``, whose masks are drawn together. ``tie``: differences of at most so much count as equal. Larger values are
    better.

    Raises ValueError on values that are not finite and on other lengths.
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
    """The 2.5 and 97.5 % percentiles, interpolated linearly."""
    low, high = np.quantile(resampled, (0.025, 0.975))
    return (float(low), float(high))


def p_value(resampled: NDArray[np.float64]) -> float:
    """Two-sided: twice the share of resamples on the rarer side of no difference, those at it on both sides; never 0,
    as so many resamples cannot show that (Davison and Hinkley 1997, (4.11))."""
    below, above = int((resampled <= 0).sum()), int((resampled >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + resampled.size))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for as many comparisons as there are p values, in the given order (Holm 1979): the
    i-th smallest of m is multiplied by m - i + 1, and none is smaller than the one before it."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = least
    return corrected
