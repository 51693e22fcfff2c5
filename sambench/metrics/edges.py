"""The boundary benchmark of BSDS500: precision and recall of edge maps against the boundaries of several annotators.

Follows the benchmark's MATLAB code (``evaluation_bdry_image``, ``correspondPixels``, ``collect_eval_bdry``; protocol
§3.3), with a matching that is exact instead of random; ``docs/parity/bsds500.md`` compares the two on the official
files. Per image and threshold, thinned predicted pixels and each annotator's boundary pixels are matched one to one, at
the least cost; recall adds up over annotators, precision counts a predicted pixel once if it was matched to any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

TOLERANCE = 0.0075
"""How far apart two matched pixels may be, as a share of the image's diagonal."""

UNIT = 100
"""Costs are whole numbers: this many per pixel of distance (the official matcher's)."""

OUTLIER = 100
"""What a pixel without a partner costs, in the greatest distance of a pair."""

R50_LEAST_RECALL = 1e-3
"""Points of the curve below this recall are left out of R50, as the Structured Edge toolbox does when it prints it."""


@dataclass(frozen=True)
class Counts:
    """The counts of one image at each threshold; each ``(T,)``, all but the first int64 pixels.

    Attributes:
        thresholds: Ascending, in (0, 1].
        sum_r: Boundary pixels of all annotators; the same at every threshold.
        cnt_r: Matched boundary pixels of all annotators.
        sum_p: Predicted pixels, after thinning.
        cnt_p: Predicted pixels that were matched to at least one annotator.
    """

    thresholds: Floats
    sum_r: Integers
    cnt_r: Integers
    sum_p: Integers
    cnt_p: Integers


@dataclass(frozen=True)
class EdgeScores:
    """Scores of N images, pooled as ``collect_eval_bdry`` pools them; fractions. None: undefined (no images).

    Where nothing was predicted (or there is no boundary), precision (recall) is 0, as it is in ``collect_eval_bdry``.

    Attributes:
        ods: F at the best threshold for all images, interpolated between neighbouring thresholds in 100 steps.
        ods_threshold: That threshold.
        ods_recall: Recall there.
        ods_precision: Precision there.
        ois: F of the counts at each image's own best threshold, pooled. Only the given thresholds are tried, so that on
            curves with few of them it can be below ODS.
        ois_recall: Recall of those counts.
        ois_precision: Precision of those counts.
        ap: Precision at recall 0, .01, ..., 1, 0 outside the curve: the sum of the 101 samples divided by 100.
        r50: Recall at precision .5, or at the lowest precision if that is higher. None if no precision reaches .5.
        recall: ``(T,)``, of the curve; NaN of no images.
        precision: ``(T,)``, likewise.
        f: ``(T,)``, likewise.
        image_threshold: ``(N,)``, each image's best, interpolated like ODS (the rows of ``eval_bdry_img.txt``).
        image_recall: ``(N,)``, at that threshold.
        image_precision: ``(N,)``, at that threshold.
        image_f: ``(N,)``, at that threshold.
    """

    ods: float | None
    ods_threshold: float | None
    ods_recall: float | None
    ods_precision: float | None
    ois: float | None
    ois_recall: float | None
    ois_precision: float | None
    ap: float | None
    r50: float | None
    recall: Floats
    precision: Floats
    f: Floats
    image_threshold: Floats
    image_recall: Floats
    image_precision: Floats
    image_f: Floats


def thresholds(n: int = 99) -> Floats:
    """Return the benchmark's thresholds: ``linspace(1/(n+1), 1-1/(n+1), n)``, rounded as MATLAB's linspace rounds.

    Not ``k/(n+1)``: that is one last bit lower at 1/3 for n = 5, and lets in pixels of value 85/255.

    Args:
        n: Number of thresholds.

    Returns:
        ``(n,)``, ascending.

    Raises:
        ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"at least one threshold is needed, got {n}")
    first, last = 1 / (n + 1), 1 - 1 / (n + 1)
    levels = first + np.arange(n) * (last - first) / max(n - 1, 1)
    levels[-1] = last
    return levels


def evaluate_image(
    strength: NDArray[Any],
    boundaries: Sequence[Booleans],
    levels: Floats,
    *,
    thin: bool = True,
    tolerance: float = TOLERANCE,
) -> Counts:
    """Count the matched pixels of one edge map, binarised at ``>= levels``.

    The counts at a level do not depend on which other levels are evaluated. Most of the time is spent without the GIL.

    Args:
        strength: ``(H, W)`` uint8 (meaning value/255), uint16 (value/65535), or float in [0, 1].
        boundaries: ``(H, W)`` bool each, one map per annotator, used as they are.
        levels: ``(T,)`` thresholds, ascending, in (0, 1].
        thin: Thin the binarised maps first (not for binary maps that must stay as they are).
        tolerance: Greatest distance of a matched pair, as a fraction of the diagonal.

    Raises:
        ValueError: A wrong shape, dtype, range or order, NaN, or no boundaries.
    """
    levels = np.asarray(levels, np.float64)
    if levels.ndim != 1 or not levels.size or not (levels[0] > 0 and levels[-1] <= 1 and (np.diff(levels) > 0).all()):
        raise ValueError("levels must ascend within (0, 1]")
    passed = _levels_passed(strength, levels)
    truths = _truths(boundaries, strength.shape)
    # Highest level first: each map then holds the one before it.
    binned = np.bincount(passed.ravel(), minlength=levels.size + 1)
    ends = np.cumsum(binned[:0:-1])
    order = np.argsort(levels.size - passed.ravel(), kind="stable")[: ends[-1]].astype(np.int32)
    pixels, starts = _thinned_stack(order, ends, strength.shape, thin)
    sum_p, cnt_r, cnt_p = _count(pixels, starts, truths, strength.shape, tolerance)
    sum_r = np.full(levels.size, sum(t.size for t in truths))
    return Counts(levels, sum_r, cnt_r[::-1].copy(), sum_p[::-1].copy(), cnt_p[::-1].copy())


def thin(binary: Booleans) -> Booleans:
    """Thin lines to one pixel: ``bwmorph(binary, 'thin', Inf)`` of MATLAB, ``thin`` of scikit-image.

    Args:
        binary: ``(H, W)`` bool.

    Returns:
        ``(H, W)`` bool.

    Raises:
        ValueError: A wrong shape or dtype.
    """
    thinned = np.zeros(np.shape(binary), np.bool_)
    thinned.ravel()[_thinned(_binary(binary, thinned.shape), True)] = True
    return thinned


def match(predicted: Booleans, truth: Booleans, tolerance: float = TOLERANCE) -> tuple[Integers, Integers]:
    """Match the pixels of two maps one to one: ``correspondPixels`` of the benchmark, without its randomness.

    Pairs are at most ``tolerance`` times the diagonal apart and cost ``rint(100 * distance)``; the matching has the
    least total cost, where a pair saves 10,000 times the greatest distance.

    Args:
        predicted: ``(H, W)`` bool.
        truth: ``(H, W)`` bool.
        tolerance: Greatest distance of a pair, as a fraction of the diagonal.

    Returns:
        Two ``(H, W)`` int64 maps, for ``predicted`` and for ``truth``: the partner's place ``y * W + x`` in the other
            map, -1 without a partner.

    Raises:
        ValueError: A wrong shape, dtype or tolerance.
    """
    size = np.shape(predicted)
    pixels = _thinned(_binary(predicted, size), False)
    true_pixels = _thinned(_binary(truth, size), False)
    starts = np.array([0, pixels.size])
    partners = _match_stack(pixels, starts, true_pixels, size, tolerance, np.zeros(pixels.size, np.bool_))[1]
    of_predicted, of_truth = np.full(size, -1, np.int64), np.full(size, -1, np.int64)
    of_truth.ravel()[true_pixels] = partners
    found = partners >= 0
    of_predicted.ravel()[partners[found]] = true_pixels[found]
    return of_predicted, of_truth


def aggregate(
    levels: Floats,
    sum_r: Integers,
    cnt_r: Integers,
    sum_p: Integers,
    cnt_p: Integers,
) -> EdgeScores:
    """Compute the scores of N images from their :class:`Counts`.

    Sources: ``collect_eval_bdry.m`` of the benchmark; for R50 ``edgesEvalPlot.m`` of the Structured Edge toolbox. Where
    two thresholds have the same recall (precision, for R50), the lower one counts.

    Args:
        levels: ``(T,)`` thresholds, ascending.
        sum_r: ``(N, T)``.
        cnt_r: ``(N, T)``.
        sum_p: ``(N, T)``.
        cnt_p: ``(N, T)``.

    Raises:
        ValueError: The shapes differ.
    """
    levels = np.asarray(levels, np.float64)
    counts = [np.asarray(c, np.int64) for c in (sum_r, cnt_r, sum_p, cnt_p)]
    n = len(counts[0])
    if not levels.size or any(c.shape != (n, levels.size) for c in counts):
        raise ValueError(f"counts of {levels.size} thresholds expected, got {[c.shape for c in counts]}")
    if n == 0:
        none, no_curve, no_images = (None,) * 9, (np.full(levels.size, np.nan),) * 3, (np.empty(0),) * 4
        return EdgeScores(*none, *no_curve, *no_images)

    each = [recall_precision_f(*(c[i] for c in counts)) for i in range(n)]
    best = [_best(levels, r, p) for r, p, _ in each]
    chosen = [int(f.argmax()) for _, _, f in each]
    ois_recall, ois_precision, ois = recall_precision_f(*(c[np.arange(n), chosen].sum(keepdims=True) for c in counts))
    recall, precision, f = recall_precision_f(*(c.sum(axis=0) for c in counts))
    ods_threshold, ods_recall, ods_precision, ods = _best(levels, recall, precision)
    image_threshold, image_recall, image_precision, image_f = np.array(best).T
    return EdgeScores(
        ods=ods,
        ods_threshold=ods_threshold,
        ods_recall=ods_recall,
        ods_precision=ods_precision,
        ois=float(ois[0]),
        ois_recall=float(ois_recall[0]),
        ois_precision=float(ois_precision[0]),
        ap=average_precision(recall, precision),
        r50=_r50(recall, precision),
        recall=recall,
        precision=precision,
        f=f,
        image_threshold=image_threshold,
        image_recall=image_recall,
        image_precision=image_precision,
        image_f=image_f,
    )


def _levels_passed(strength: NDArray[Any], levels: Floats) -> NDArray[np.int64]:
    """``(H, W)``: how many levels each pixel reaches, compared in double precision."""
    if strength.ndim != 2:
        raise ValueError(f"an edge map has two dimensions, got shape {strength.shape}")
    if strength.dtype in (np.uint8, np.uint16):
        largest = np.iinfo(strength.dtype).max
        passed: Integers = np.searchsorted(levels, np.arange(largest + 1) / largest, side="right")[strength]
        return passed
    if strength.dtype.kind != "f":
        raise ValueError(f"an edge map is uint8, uint16 or float, got {strength.dtype}")
    if not (strength.size == 0 or (strength.min() >= 0 and strength.max() <= 1)):  # NaN is neither
        raise ValueError("an edge map of floats must lie within 0 and 1")
    return np.searchsorted(levels, strength.astype(np.float64), side="right")


def _binary(binary: Booleans, size: tuple[int, ...]) -> Booleans:
    array = np.asarray(binary)
    if array.ndim != 2 or array.shape != size:
        raise ValueError(f"maps of one image must have its two dimensions: {array.shape} beside {size}")
    if array.dtype != np.bool_:
        raise ValueError(f"a binary map is bool, got {array.dtype}")
    return array


def _truths(boundaries: Sequence[Booleans], size: tuple[int, ...]) -> list[NDArray[np.int32]]:
    if not len(boundaries):
        raise ValueError("an image without annotated boundaries cannot be scored")
    return [_thinned(_binary(b, size), False) for b in boundaries]


def _thinned(binary: Booleans, thin: bool) -> NDArray[np.int32]:
    """The pixels of one map, or of what is left of it after thinning."""
    pixels = np.flatnonzero(binary).astype(np.int32)
    if not thin:
        return pixels
    return _thinned_stack(pixels, np.array([pixels.size]), binary.shape, True)[0]


def _thinned_stack(
    order: NDArray[np.int32], ends: Integers, size: tuple[int, ...], thin: bool
) -> tuple[NDArray[np.int32], Integers]:
    # Here and below, not at the top: whoever only lists tasks need not wait for numba.
    from sambench.metrics import edge_kernels

    height, width = size
    return edge_kernels.thinned_stack(order, ends, height, width, thin)


def _count(
    pixels: NDArray[np.int32],
    starts: Integers,
    truths: Sequence[NDArray[np.int32]],
    size: tuple[int, ...],
    tolerance: float,
) -> tuple[Integers, Integers, Integers]:
    """Predicted pixels, matched boundary pixels and matched predicted pixels of each map of a stack."""
    matched = np.zeros(pixels.size, np.bool_)
    cnt_r = np.zeros(starts.size - 1, np.int64)
    for truth in truths:
        cnt_r += _match_stack(pixels, starts, truth, size, tolerance, matched)[0]
    running = np.concatenate(([0], np.cumsum(matched)))
    return np.diff(starts), cnt_r, np.diff(running[starts])


def _match_stack(
    pixels: NDArray[np.int32],
    starts: Integers,
    truth: NDArray[np.int32],
    size: tuple[int, ...],
    tolerance: float,
    matched: Booleans,
) -> tuple[Integers, NDArray[np.int32]]:
    from sambench.metrics import edge_kernels

    height, width = size
    if not 0 < tolerance < np.inf:
        raise ValueError(f"the tolerance must be a positive number, got {tolerance}")
    reach = tolerance * float(np.hypot(height, width))
    radius = min(int(reach), max(height, width))
    dy, dx = (g.ravel() for g in np.mgrid[-radius : radius + 1, -radius : radius + 1])
    squared = dy * dy + dx * dx
    near = squared <= reach * reach
    cost = np.rint(UNIT * np.sqrt(squared)).astype(np.int64)
    offsets = np.stack([dy, dx, cost], axis=1)[near]
    unmatched = int(np.ceil(OUTLIER * reach * UNIT))
    present = np.zeros(height * width, np.bool_)
    present[pixels] = True
    return edge_kernels.match_stack(pixels, starts, present, truth, height, width, offsets, unmatched, matched)


def recall_precision_f(
    sum_r: Integers, cnt_r: Integers, sum_p: Integers, cnt_p: Integers
) -> tuple[Floats, Floats, Floats]:
    """Compute recall, precision and F from counts, arrays of one shape in pixels; 0 for 0/0."""
    recall, precision = cnt_r / np.maximum(sum_r, 1), cnt_p / np.maximum(sum_p, 1)
    return recall, precision, f_measure(recall, precision)


def f_measure(recall: Floats, precision: Floats) -> Floats:
    """Compute the harmonic mean of recall and precision, arrays of one shape; 0 where both are 0."""
    total = precision + recall
    f: Floats = 2 * precision * recall / (total + (total == 0))
    return f


def _best(levels: Floats, recall: Floats, precision: Floats) -> tuple[float, float, float, float]:
    """Threshold, recall, precision and F where F is greatest, the first of equals; ``maxF`` of the benchmark."""
    towards = np.arange(100) / 99
    # (T-1, 100), preceded by the first threshold itself.
    t, r, p = (
        np.concatenate((c[:1], (np.outer(c[1:], towards) + np.outer(c[:-1], 1 - towards)).ravel()))
        for c in (levels, recall, precision)
    )
    f = f_measure(r, p)
    k = int(f.argmax())
    return float(t[k]), float(r[k]), float(p[k]), float(f[k])


def average_precision(recall: Floats, precision: Floats) -> float:
    """Compute AP of one curve: the sum of 101 samples divided by 100, as ``collect_eval_bdry.m`` does.

    Args:
        recall: ``(T,)``.
        precision: ``(T,)``.
    """
    distinct, first = np.unique(recall, return_index=True)
    if distinct.size < 2:
        return 0.0
    return float(np.interp(np.arange(101) / 100, distinct, precision[first], left=0, right=0).sum() / 100)


def _r50(recall: Floats, precision: Floats) -> float | None:
    kept = recall >= R50_LEAST_RECALL
    distinct, first = np.unique(precision[kept], return_index=True)
    if not distinct.size or distinct[-1] < 0.5:
        return None
    return float(np.interp(max(distinct[0], 0.5), distinct, recall[kept][first]))
