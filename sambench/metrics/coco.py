"""Average precision and average recall as COCO's and LVIS's toolkits count them.

Sources: pycocotools' ``cocoeval.py`` and lvis' ``eval.py``. What is done for an image (:func:`match`) and what is done
with the matches of all images (:func:`accumulate`, :func:`recall_of_each`) are functions of plain columns, so that
records can lie between the two. :mod:`sambench.metrics.coco_reference` offers the same functions by the reference
packages' own code.

Rules: ``coco``: crowd regions are ignored, may be taken many times, and their IoU is the intersection over the
detection's area. ``lvis``: no crowds; a detection that takes nothing is ignored where its category is not annotated
exhaustively (``unexhaustive``); what has no area is left out. Which detections take part at all (LVIS drops those of a
category that is neither positive nor negative for the image; COCO keeps so many of a category, LVIS so many of an
image) is the caller's to cut before: :func:`top`, :func:`judged`.
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
    """``(D, G)``: the IoU of each mask with each; of a crowd (``(G,)``) the intersection over the detection's area.

    Equal to ``pycocotools.mask.iou`` to the bit. Empty masks: 0. Raises ValueError if the image sizes differ."""
    from sambench.metrics import coco_kernels as kernels

    if detections.size != truths.size:
        raise ValueError(f"masks of {detections.size} and {truths.size} pixels (height, width) cannot be compared")
    crowd = np.zeros(len(truths), np.bool_) if crowd is None else crowd
    d, g = detections, truths
    ious: Floats = kernels.run_length_ious(d.edges, d.first, d.area, d.box, g.edges, g.first, g.area, g.box, crowd)
    return ious


def box_ious(detections: Floats, truths: Floats, crowd: Flags | None = None) -> Floats:
    """``(D, G)``, as :func:`mask_ious`, of boxes ``(D, 4)`` and ``(G, 4)``: x, y, width, height in pixels (xywh)."""
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
    """``(min(D, limit),)``: places of the best, best first; equal scores in the order given (LVIS's 300 of an
    image)."""
    return np.argsort(-scores, kind="stable")[:limit]


def judged(categories: Integers, positive: Collection[int], negative: Collection[int]) -> Flags:
    """``(D,)``: the detections that LVIS judges in an image: of categories known to be there or not to be there."""
    return np.isin(categories, [*positive, *negative])


@dataclass(frozen=True, eq=False)
class Matches:
    """What the detections of one image took. Columns are in the order of the input (not by score).

    ``rank``: ``(D,)`` int32, the place of a detection by score among those of its category in the image, from 0.
    ``matched``, ``ignored``: ``(D, A)`` uint16; bit t of column a says that at ``IOU_THRESHOLDS[t]`` and in the a-th
    area range the detection took a truth, or counts neither as right nor as wrong.
    ``truth_ignored``: ``(G, A)`` bool: the truth is not to be found in that area range.
    ``taken_by``: ``(G, A, T)`` int32, the rank of the detection that took the truth, -1 if none did.
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
    """Matches the detections of one image with its truths, for each area range of :data:`AREAS` and threshold of
    :data:`IOU_THRESHOLDS`.

    Detections in descending order of score (equal ones as given) each take, of the truths that are still free (a crowd
    always is), the one of the highest IoU at or above the threshold (the last of equal ones), and an ignored one only
    if there is no other. A truth is ignored if it is a crowd or its area lies outside of the range; a detection if it
    took an ignored truth, or took none and its own area lies outside (or ``unexhaustive`` says so).

    ``ious``: ``(D, G)``. ``scores``, ``areas``: ``(D,)``, no NaN; pixels of the mask, or of the box for AP of boxes.
    ``truth_areas``, ``crowd``: ``(G,)``; the annotation's area field. ``categories``, ``truth_categories``: ``(D,)``
    and ``(G,)``; None: one class for all. ``unexhaustive``: ``(D,)``, only with the rules ``lvis``. ``limit``: so many
    detections of each category take part (COCO's maxDets); the others are left with ``rank`` >= limit, matched and
    ignored nowhere.
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
    """Detections of all images: N of them in any order that keeps those of an image in the order in which they were
    matched.

    ``image``: ``(N,)``, the place of the image in the toolkit's order (see :func:`image_places`), which decides among
    equal scores. ``category``, ``score``: ``(N,)``. ``rank``, ``matched``, ``ignored``: as in :class:`Matches`.
    """

    image: Integers
    category: Integers
    score: Floats
    rank: NDArray[np.int32]
    matched: NDArray[np.uint16]
    ignored: NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Annotated:
    """Truths of all images. ``category``: ``(M,)``. ``ignored``: ``(M, A)`` bool, ``Matches.truth_ignored``."""

    category: Integers
    ignored: Flags


@dataclass(frozen=True, eq=False)
class Accumulated:
    """``categories``: ``(K,)``. ``precision``: ``(T, R, K, A)``, ``recall``: ``(T, K, A)``, NaN where a category has
    nothing to be found."""

    categories: Integers
    precision: Floats
    recall: Floats

    def average_precision(
        self, area: str = "all", iou: float | None = None, categories: Collection[int] | None = None
    ) -> float | None:
        """The mean over thresholds (or at the one given: 0.5, 0.75), recalls and categories (of those given, e.g.
        LVIS's rare ones), leaving out categories without truth; None if nothing is left."""
        place = list(AREAS).index(area)
        at = slice(None) if iou is None else np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou))
        return _mean(self.precision[at][:, :, self._places(categories), place])

    def average_recall(self, area: str = "all", categories: Collection[int] | None = None) -> float | None:
        """The mean over thresholds and categories, as :meth:`average_precision`."""
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
    """Precision and recall of each category over all images; what is of other categories does not count.

    ``limit``: only detections of a rank below it count (COCO's 1, 10, 100); None: all that were matched. ``rules``: the
    toolkits do not differ in this; the judge takes the one that is named."""
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
    """``(M,)``: at how many of the thresholds a detection of rank below ``limit`` took each truth, as a share.

    Their mean is AR@limit of these truths: the mean over thresholds of COCO's ``recall`` with ``useCats=0`` and
    ``maxDets=limit``. ``taken_by``: ``(M, T)``, :attr:`Matches.taken_by` in one area range, of truths that are not
    ignored there."""
    shares: Floats = ((taken_by >= 0) & (taken_by < limit)).mean(axis=1)
    return shares


def image_places(ids: Sequence[str]) -> Integers:
    """``(n,)``: the place of each image in the order in which the toolkits go through them: by number if all ids are
    whole numbers, else as text."""
    numbers = all(id.isdecimal() for id in ids)
    order = sorted(range(len(ids)), key=lambda k: int(ids[k]) if numbers else ids[k])
    places = np.empty(len(ids), np.int64)
    places[order] = np.arange(len(ids))
    return places


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
