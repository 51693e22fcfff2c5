"""Average precision and average recall as the toolkits of COCO and LVIS compute them.

Sources: pycocotools' ``cocoeval.py`` and lvis' ``eval.py``. Matching one image (:func:`match`) and evaluating the
matches of all images (:func:`accumulate`, :func:`recall_of_each`) are functions of plain columns, so that records can
be stored between the two. :mod:`sambench.metrics.coco_reference` offers the same functions by the reference packages'
own code.

Rules: ``coco``: crowd regions are ignored, may be matched many times, and their IoU is the intersection over the
detection's area. ``lvis``: no crowds; an unmatched detection is ignored where its category is not annotated
exhaustively (``unexhaustive``); objects and detections without area are left out. The caller cuts the detections first
(LVIS drops those of a category that is neither positive nor negative for the image; COCO limits their number by
category, LVIS by image): :func:`top`, :func:`judged`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sambench.metrics.run_lengths import RunLengths

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

Rules = Literal["coco", "lvis"]

IOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
"""``(T,)``: to the bit those of pycocotools and lvis."""

RECALL_THRESHOLDS: Floats = np.linspace(0.0, 1.0, 101)
"""``(R,)``: where precision is read."""

AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""The A area ranges in pixels, both ends inclusive: an object of exactly 32**2 is small and medium. LVIS's are the
same."""

FREQUENCIES: Mapping[str, str] = {"r": "rare", "c": "common", "f": "frequent"}
"""LVIS's letters for how many training images show a category: fewer than 10, 10 to 99, 100 and more."""

_MOST = np.iinfo(np.int32).max


def mask_ious(detections: RunLengths, truths: RunLengths, crowd: Flags | None = None) -> Floats:
    """Compute the IoU of each detection's mask with each truth's, equal to ``pycocotools.mask.iou`` to the bit.

    Args:
        detections: D masks.
        truths: G masks of the same image.
        crowd: ``(G,)``; None: no crowds.

    Returns:
        ``(D, G)``; 0 for empty masks; for a crowd the intersection over the detection's area.

    Raises:
        ValueError: The image sizes differ.
    """
    from sambench.metrics import coco_kernels as kernels

    if detections.size != truths.size:
        raise ValueError(f"masks of {detections.size} and {truths.size} pixels (height, width) cannot be compared")
    crowd = np.zeros(len(truths), np.bool_) if crowd is None else crowd
    d, g = detections, truths
    ious: Floats = kernels.run_length_ious(d.edges, d.first, d.area, d.box, g.edges, g.first, g.area, g.box, crowd)
    return ious


def box_ious(detections: Floats, truths: Floats, crowd: Flags | None = None) -> Floats:
    """Compute the IoU of each detection's box with each truth's.

    Args:
        detections: ``(D, 4)`` xywh in pixels.
        truths: ``(G, 4)`` xywh in pixels.
        crowd: ``(G,)``; None: no crowds.

    Returns:
        ``(D, G)``, as :func:`mask_ious`.
    """
    corner = np.maximum(detections[:, None, :2], truths[None, :, :2])
    other = np.minimum(detections[:, None, 2:] + detections[:, None, :2], truths[None, :, 2:] + truths[None, :, :2])
    common = np.maximum(other - corner, 0).prod(axis=2)
    of_detections = (detections[:, 2] * detections[:, 3])[:, None]
    whole: Floats = of_detections + (truths[:, 2] * truths[:, 3])[None] - common
    if crowd is not None:
        whole = np.where(crowd, of_detections, whole)
    ious: Floats = np.divide(common, whole, out=np.zeros_like(common), where=common > 0)
    return ious


def top(scores: Floats, limit: int) -> Integers:
    """Select the best detections, as LVIS selects 300 of an image.

    Args:
        scores: ``(D,)``.
        limit: Number of detections to select.

    Returns:
        ``(min(D, limit),)`` positions, best first; equal scores in the order given.
    """
    return np.argsort(-scores, kind="stable")[:limit]


def judged(categories: Integers, positive: Collection[int], negative: Collection[int]) -> Flags:
    """Select the detections of an image that LVIS evaluates: of categories known to be present or absent.

    Args:
        categories: ``(D,)``, of the detections.
        positive: Categories in the image.
        negative: Categories that are not in the image.

    Returns:
        ``(D,)`` bool.
    """
    return np.isin(categories, [*positive, *negative])


@dataclass(frozen=True, eq=False)
class Matches:
    """The matches of one image. Columns are in the order of the input (not by score).

    Attributes:
        rank: ``(D,)`` int32, the position of a detection by score among those of its category in the image, from 0.
        matched: ``(D, A)`` uint16; bit t of column a is set if the detection matched a truth at ``IOU_THRESHOLDS[t]``
            and in the a-th area range.
        ignored: ``(D, A)`` uint16, likewise: the detection counts neither as right nor as wrong.
        truth_ignored: ``(G, A)`` bool: the truth does not count in that area range.
        taken_by: ``(G, A, T)`` int32, the rank of the detection that matched the truth, -1 if none did.
    """

    rank: NDArray[np.int32]
    matched: NDArray[np.uint16]
    ignored: NDArray[np.uint16]
    truth_ignored: Flags
    taken_by: NDArray[np.int32]


def match(
    ious: Floats,
    scores: Floats,
    areas: Floats,
    truth_areas: Floats,
    crowd: Flags,
    *,
    categories: Integers | None = None,
    truth_categories: Integers | None = None,
    rules: Rules = "coco",
    unexhaustive: Flags | None = None,
    limit: int | None = None,
) -> Matches:
    """Match the detections of an image to its truths, for each of :data:`AREAS` and :data:`IOU_THRESHOLDS`.

    Detections, in descending order of score (equal scores as given), each match the free truth (a crowd is always free)
    of the highest IoU at or above the threshold (of equal ones the last), and an ignored truth only if there is no
    other. A truth is ignored if it is a crowd or its area is outside of the range; a detection if it matched an ignored
    truth, or matched none and its own area is outside (or ``unexhaustive`` says so).

    Args:
        ious: ``(D, G)``.
        scores: ``(D,)``, no NaN.
        areas: ``(D,)``, no NaN, in pixels: of the mask, or of the box for AP of boxes.
        truth_areas: ``(G,)``, the annotation's area field.
        crowd: ``(G,)``.
        categories: ``(D,)``; None: one class for all.
        truth_categories: ``(G,)``; None: one class for all.
        rules: Of which toolkit.
        unexhaustive: ``(D,)``, only with the rules ``lvis``.
        limit: Maximum number of detections of each category (COCO's maxDets); the others get a ``rank`` >= limit, and
            are matched and ignored nowhere.
    """
    from sambench.metrics import coco_kernels as kernels

    n, g = ious.shape
    bounds = np.array(list(AREAS.values()))
    unexhaustive = np.zeros(n, np.bool_) if unexhaustive is None else unexhaustive
    truth_ignored = _outside(truth_areas, bounds)
    if rules == "coco":
        truth_ignored |= crowd[:, None]
    else:
        crowd = np.zeros(g, np.bool_)
        # To be ignored in all ranges, and taken or taking nothing, is as good as not to be there.
        unexhaustive = unexhaustive | (areas <= 0)
        truth_ignored |= truth_areas[:, None] <= 0
        ious = np.where((areas[:, None] > 0) & (truth_areas > 0), ious, 0.0)
    if categories is None or truth_categories is None:
        categories, truth_categories = np.zeros(n, np.int64), np.zeros(g, np.int64)
    order = top(scores, n)
    rank = _ranks(categories, order)
    matched, ignored, taken_by = kernels.match_image(
        ious,
        order,
        rank,
        n if limit is None else limit,
        categories,
        truth_categories,
        _outside(areas, bounds),
        truth_ignored,
        crowd,
        unexhaustive,
        IOU_THRESHOLDS,
    )
    return Matches(rank, matched, ignored, truth_ignored, taken_by)


def _ranks(categories: Integers, order: Integers) -> NDArray[np.int32]:
    """The place of each detection among those of its category, given the places of all, best first."""
    by_category = order[np.argsort(categories[order], kind="stable")]
    found = categories[by_category]
    starts = np.flatnonzero(np.diff(found, prepend=found[:1] - 1))
    ranks = np.empty(len(order), np.int32)
    ranks[by_category] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return ranks


def _outside(areas: Floats, bounds: Floats) -> Flags:
    """``(n, A)``: which areas lie outside of which range ``(A, 2)``."""
    outside: Flags = (areas[:, None] < bounds[:, 0]) | (areas[:, None] > bounds[:, 1])
    return outside


@dataclass(frozen=True, eq=False)
class Detected:
    """The N detections of all images, in any order that keeps those of one image in the order of matching.

    Attributes:
        image: ``(N,)``, the position of the image in the toolkit's order (:func:`image_places`), which breaks ties of
            scores.
        category: ``(N,)``.
        score: ``(N,)``.
        rank: ``(N,)``, as in :class:`Matches`.
        matched: ``(N, A)``, as in :class:`Matches`.
        ignored: ``(N, A)``, as in :class:`Matches`.
    """

    image: Integers
    category: Integers
    score: Floats
    rank: NDArray[np.int32]
    matched: NDArray[np.uint16]
    ignored: NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Annotated:
    """The M truths of all images.

    Attributes:
        category: ``(M,)``.
        ignored: ``(M, A)`` bool, :attr:`Matches.truth_ignored`.
    """

    category: Integers
    ignored: Flags


@dataclass(frozen=True, eq=False)
class Accumulated:
    """Precision and recall curves.

    Attributes:
        categories: ``(K,)``.
        precision: ``(T, R, K, A)``, NaN where a category has no truth that counts.
        recall: ``(T, K, A)``, likewise.
    """

    categories: Integers
    precision: Floats
    recall: Floats

    def average_precision(
        self, area: str = "all", iou: float | None = None, categories: Collection[int] | None = None
    ) -> float | None:
        """Average the precision over thresholds, recalls and categories, leaving out categories without truth.

        Args:
            area: A key of :data:`AREAS`.
            iou: The one threshold to read (0.5, 0.75); None for the mean over all.
            categories: Those to average (LVIS's rare ones); None for all.

        Returns:
            None if nothing is left to average.
        """
        place = list(AREAS).index(area)
        at = slice(None) if iou is None else np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou))
        return _mean(self.precision[at][:, :, self._places(categories), place])

    def average_recall(self, area: str = "all", categories: Collection[int] | None = None) -> float | None:
        """Average the recall over thresholds and categories; see :meth:`average_precision`."""
        return _mean(self.recall[:, self._places(categories), list(AREAS).index(area)])

    def _places(self, categories: Collection[int] | None) -> Flags:
        if categories is None:
            return np.ones(len(self.categories), np.bool_)
        return np.isin(self.categories, list(categories))


def accumulate(
    detected: Detected,
    annotated: Annotated,
    categories: Collection[int],
    *,
    limit: int | None = None,
    rules: Rules = "coco",
) -> Accumulated:
    """Compute precision and recall of each category over all images.

    Args:
        detected: Detections of all images.
        annotated: Truths of all images.
        categories: The categories that count.
        limit: Only detections of a rank below it count (COCO's 1, 10, 100); None: all that were matched.
        rules: Used only by the reference implementation: the toolkits do not differ here.
    """
    from sambench.metrics import coco_kernels as kernels

    known = np.unique(np.asarray(categories, np.int64))
    kept = np.flatnonzero(np.isin(detected.category, known) & (detected.rank < (_MOST if limit is None else limit)))
    # As the toolkits' stable sort leaves them: by score, then by image, then by rank.
    keys = (detected.rank, detected.image, -detected.score, detected.category)
    kept = kept[np.lexsort([key[kept] for key in keys])]
    first = np.append(np.searchsorted(detected.category[kept], known), len(kept))
    truths = np.isin(annotated.category, known)
    to_find = np.zeros((len(known), len(AREAS)), np.int64)
    np.add.at(to_find, np.searchsorted(known, annotated.category[truths]), ~annotated.ignored[truths])
    precision, recall = kernels.curves(
        first, detected.matched[kept], detected.ignored[kept], to_find, len(IOU_THRESHOLDS), RECALL_THRESHOLDS
    )
    return Accumulated(known, precision, recall)


def recall_of_each(taken_by: NDArray[np.integer[Any]], limit: int) -> Floats:
    """Compute the share of thresholds at which a detection of rank below ``limit`` matched each truth.

    The mean of the shares is AR@limit of these truths: the mean over thresholds of COCO's ``recall`` with ``useCats=0``
    and ``maxDets=limit``.

    Args:
        taken_by: ``(M, T)``, :attr:`Matches.taken_by` in one area range, of truths that are not ignored there.
        limit: Only detections of a rank below it count.

    Returns:
        ``(M,)`` fractions.
    """
    shares: Floats = ((taken_by >= 0) & (taken_by < limit)).mean(axis=1)
    return shares


def image_places(ids: Sequence[str]) -> Integers:
    """Return the position of each image in the toolkits' order.

    Args:
        ids: n ids, sorted by number if all are whole numbers, else as text.

    Returns:
        ``(n,)`` positions, from 0.
    """
    numbers = all(id.isdecimal() for id in ids)
    order = sorted(range(len(ids)), key=lambda k: int(ids[k]) if numbers else ids[k])
    places = np.empty(len(ids), np.int64)
    places[order] = np.arange(len(ids))
    return places


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
