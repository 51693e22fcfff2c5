"""Sampling variation of the boundary benchmark's scores: an image bootstrap of ODS, OIS and AP."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sambench.metrics.edges import Floats, Integers, average_precision, f_measure, recall_precision_f
from sambench.metrics.stats import RESAMPLES

_ROWS = 256
"""Resamples in work at once."""
_STEPS = 100


def bootstrap_intervals(
    sum_r: Integers,
    cnt_r: Integers,
    sum_p: Integers,
    cnt_p: Integers,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
) -> Mapping[str, tuple[float, float]]:
    """Compute the 95 % bootstrap intervals of ``ods``, ``ois`` and ``ap``.

    N images are drawn with replacement and scored as :func:`sambench.metrics.edges.aggregate` would score them; each
    image keeps its own best threshold. Resample b takes ``rng.integers(0, N, N)``. All sums are of whole numbers, so
    the result does not depend on the machine's order of addition.

    Args:
        sum_r: ``(N, T)`` pixels, as in :class:`sambench.metrics.edges.Counts`.
        cnt_r: ``(N, T)``, likewise.
        sum_p: ``(N, T)``, likewise.
        cnt_p: ``(N, T)``, likewise.
        rng: Source of the draws.
        resamples: Number of resamples.

    Returns:
        ``(low, high)`` by name, the 2.5 and 97.5 % percentiles; empty for fewer than two images.
    """
    n, t = sum_r.shape
    if n < 2:
        return {}
    counts = (sum_r, cnt_r, sum_p, cnt_p)
    chosen = recall_precision_f(*counts)[2].argmax(axis=1)
    own = np.stack([c[np.arange(n), chosen] for c in counts], axis=1)
    # As floats, which BLAS multiplies; they hold whole numbers up to 2**53.
    stacked = np.concatenate([*counts, own], axis=1).astype(np.float64)
    scores: dict[str, list[Floats]] = {"ods": [], "ois": [], "ap": []}
    for start in range(0, resamples, _ROWS):
        rows = min(_ROWS, resamples - start)
        drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        pooled = (weights @ stacked).astype(np.int64)
        recall, precision, f = recall_precision_f(*(pooled[:, k * t : (k + 1) * t] for k in range(4)))
        scores["ods"].append(_best_f(recall, precision, f))
        scores["ois"].append(recall_precision_f(*pooled[:, 4 * t :].T)[2])
        scores["ap"].append(np.array([average_precision(r, p) for r, p in zip(recall, precision, strict=True)]))
    intervals = {}
    for name, parts in scores.items():
        low, high = np.quantile(np.concatenate(parts), (0.025, 0.975))
        intervals[name] = (float(low), float(high))
    return intervals


def _best_f(recall: Floats, precision: Floats, f: Floats) -> Floats:
    """``(rows,)``: the greatest F of each curve, interpolated between neighbouring thresholds as ODS is."""
    best: Floats = f.max(axis=1)
    # F grows with recall and with precision: between two thresholds it is at most that of the greater of each.
    r, p = np.maximum(recall[:, 1:], recall[:, :-1]), np.maximum(precision[:, 1:], precision[:, :-1])
    row, left = np.nonzero(f_measure(r, p) > best[:, None])
    towards = np.arange(_STEPS) / (_STEPS - 1)
    r, p = (np.outer(c[row, left + 1], towards) + np.outer(c[row, left], 1 - towards) for c in (recall, precision))
    np.maximum.at(best, row, f_measure(r, p).max(axis=1, initial=0))
    return best
