"""What ratings say: means, paired differences between sources, and how far raters agree (protocol §9.3).

A mask that several people rated counts with the mean of their ratings. Undefined is None.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sambench.metrics import stats
from sambench.study.storage import LEAST, MOST, Rating

RESAMPLES = stats.RESAMPLES
SEED = 0
"""Of the bootstrap: the same ratings give the same interval."""

_TAILS = (0.005, 0.995)


@dataclass(frozen=True)
class Source:
    """The ratings of one source. ``masks``: how many are rated. ``ci95``: mean ± 1.96·s/√n over masks, which fits the
    widths that the paper prints. ``share``: of its masks, how many lie nearest to each of the scores 1 to 10."""

    masks: int
    mean: float | None
    ci95: tuple[float, float] | None
    share: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """Two sources on the objects that have both rated: second minus first.

    ``t``, ``df``, ``p``: of the paired t-test, two-sided. ``ci99``: 0.5 and 99.5 % percentiles of the mean difference
    over :data:`RESAMPLES` draws of objects with replacement.
    """

    first: str
    second: str
    masks: int
    difference: float | None
    ci99: tuple[float, float] | None
    t: float | None
    df: int
    p: float | None


@dataclass(frozen=True)
class Agreement:
    """Over jobs with several ratings. ``within``: mean of each job's standard deviation (n - 1 in the denominator).
    ``within_one``: share of pairs of ratings of one job that differ by at most 1. ``alpha``: Krippendorff's, for
    interval data: 1 is perfect, 0 what chance would give."""

    jobs: int
    ratings: int
    within: float | None
    within_one: float | None
    alpha: float | None


def by_object(ratings: Iterable[Rating]) -> dict[str, dict[int, float]]:
    """Source, object: the mean of its ratings."""
    scores: dict[str, dict[int, list[int]]] = {}
    for one in ratings:
        scores.setdefault(one.source, {}).setdefault(one.mask, []).append(one.score)
    return {
        source: {mask: sum(given) / len(given) for mask, given in of_mask.items()} for source, of_mask in scores.items()
    }


def source(scores: Sequence[float]) -> Source:
    """``scores``: of each mask."""
    counts = [0] * (MOST - LEAST + 1)
    for score in scores:
        counts[int(score + 0.5) - LEAST] += 1
    return Source(
        len(scores),
        stats.mean(scores),
        stats.normal_interval(scores),
        tuple(count / len(scores) if scores else 0.0 for count in counts),
    )


def difference(first: str, second: str, scores: Mapping[str, Mapping[int, float]]) -> Difference:
    """``scores``: by source and object, as :func:`by_object` answers."""
    a, b = scores.get(first, {}), scores.get(second, {})
    both = sorted(a.keys() & b.keys())
    change = np.array([b[mask] - a[mask] for mask in both], np.float64)
    t, p = _t_test(change)
    drawn = stats.bootstrap_means(change, np.arange(change.size), np.random.default_rng(SEED), resamples=RESAMPLES)
    interval = None if drawn is None else tuple(float(edge) for edge in np.quantile(drawn, _TAILS))
    ci99 = None if interval is None else (interval[0], interval[1])
    return Difference(first, second, len(both), stats.mean(change), ci99, t, max(len(both) - 1, 0), p)


def agreement(ratings: Iterable[Rating]) -> Agreement:
    """Jobs with one rating are left out."""
    by_job: dict[str, list[int]] = {}
    for one in ratings:
        by_job.setdefault(one.job, []).append(one.score)
    several = [np.array(scores, np.float64) for scores in by_job.values() if len(scores) > 1]
    pairs = [abs(x - y) for scores in several for x, y in itertools.combinations(scores.tolist(), 2)]
    return Agreement(
        len(several),
        sum(map(len, several)),
        stats.mean([float(scores.std(ddof=1)) for scores in several]),
        stats.mean([float(gap <= 1) for gap in pairs]),
        _alpha(several),
    )


def _t_test(change: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Without differences, or with all of them equal, there is nothing to test."""
    from scipy.stats import ttest_1samp

    if change.size < 2 or np.ptp(change) == 0:
        return None, None
    # The paired test of two samples is that of their differences against 0.
    tested = ttest_1samp(change, 0.0)
    return float(tested.statistic), float(tested.pvalue)


def _alpha(units: Sequence[NDArray[np.float64]]) -> float | None:
    """Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", squared differences: one minus the observed
    over the expected disagreement."""
    if not units:
        return None
    # The sum of (x - y)² over ordered pairs of n values is 2n times their sum of squares about the mean.
    values = np.concatenate(units)
    observed = sum(2 * unit.size * float(((unit - unit.mean()) ** 2).sum()) / (unit.size - 1) for unit in units)
    expected = 2 * values.size * float(((values - values.mean()) ** 2).sum()) / (values.size - 1)
    return None if expected == 0 else 1 - observed / expected
