"""The compiled inner loops of average precision and recall: run lengths, their IoUs, matching, and the curves.

One module on purpose: numba's on-disk cache watches the file that a function is in, not the files of what it calls.
All release the GIL, so images can be evaluated in threads; see :mod:`sambench.numba_cache` for what keeps the bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sambench.numba_cache import compiled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@compiled
def decode_codes(
    text: NDArray[np.uint8], starts: Integers, pixels: int
) -> tuple[NDArray[np.int32], Integers, NDArray[np.bool_]]:
    """Edges, where those of each mask start, and whether each code is sound, of N codes one after the other.

    ``text``: the characters of all codes; ``starts``: ``(N + 1,)``. A code is numbers of 5 bits a character, the lowest
    first, with bit 0x20 on all but the last and the sign in the last's bit 0x10; from the fourth number on, it is the
    difference to the run two places before (maskApi.c, rleToString). A code is sound if its runs are not negative and
    add up to ``pixels``. The edges of one that is not are left out.
    """
    n = len(starts) - 1
    # A run takes a character at least, and two runs have two edges.
    edges = np.empty(len(text) + 2, np.int32)
    first = np.zeros(n + 1, np.int64)
    sound = np.zeros(n, np.bool_)
    end = 0
    for k in range(n):
        at, stop, position = starts[k], starts[k + 1], np.int64(0)
        last, last_but_one = np.int64(0), np.int64(0)
        runs, ok = 0, True
        while at < stop and ok:
            value, shift, more = np.int64(0), 0, True
            while more:
                if at >= stop or shift > 55:
                    ok = False
                    break
                code = np.int64(text[at]) - 48
                at += 1
                if code < 0 or code > 63:
                    ok = False
                    break
                value |= (code & 0x1F) << shift
                shift += 5
                more = code & 0x20 != 0
                if not more and code & 0x10:
                    value -= 1 << shift
            if runs > 2:
                value += last_but_one
            if value < 0 or value > pixels - position:
                ok = False
            if not ok:
                break
            if runs % 2 and value:
                if end > first[k] and edges[end - 1] == position:
                    edges[end - 1] = position + value
                else:
                    edges[end] = position
                    edges[end + 1] = position + value
                    end += 2
            position += value
            last, last_but_one = value, last
            runs += 1
        sound[k] = ok and position == pixels
        if not sound[k]:
            end = first[k]
        first[k + 1] = end
    return edges[:end].copy(), first, sound


@compiled
def count_edges(window: NDArray[np.bool_]) -> int:
    """How many edges :func:`find_edges` may write for a window: an upper bound."""
    count = 0
    for x in range(window.shape[1]):
        inside = False
        for y in range(window.shape[0]):
            if window[y, x] != inside:
                inside = not inside
                count += 1
        count += inside
    return count


@compiled
def find_edges(window: NDArray[np.bool_], top: int, left: int, height: int, edges: NDArray[np.int32]) -> int:
    """Writes the edges of a mask that is ``window`` at row ``top`` and column ``left`` of an image of so many rows;
    answers how many."""
    end = 0
    for x in range(window.shape[1]):
        start = (left + x) * height + top
        inside = False
        for y in range(window.shape[0]):
            if window[y, x] != inside:
                inside = not inside
                # A run that reaches the bottom goes on at the top of the next column.
                if inside and end and edges[end - 1] == start + y:
                    end -= 1
                else:
                    edges[end] = start + y
                    end += 1
        if inside:
            edges[end] = start + window.shape[0]
            end += 1
    return end


@compiled
def areas_and_boxes(edges: NDArray[np.int32], first: Integers, height: int) -> tuple[Integers, Integers]:
    """``(N,)`` pixels, and ``(N, 4)`` xyxy with right and bottom exclusive."""
    n = len(first) - 1
    areas, boxes = np.zeros(n, np.int64), np.zeros((n, 4), np.int64)
    for k in range(n):
        if first[k] == first[k + 1]:
            continue
        y0, y1 = height, 0
        # The first pixel of the column that a run begins in, followed from run to run: divisions are slow.
        column = np.int64(edges[first[k]]) // height * height
        boxes[k, 0] = column // height
        for i in range(first[k], first[k + 1], 2):
            begin, end = np.int64(edges[i]), np.int64(edges[i + 1])
            areas[k] += end - begin
            while begin >= column + height:
                column += height
            if end <= column + height:
                y0, y1 = min(y0, int(begin - column)), max(y1, int(end - column))
            else:
                y0, y1 = 0, height
        boxes[k, 1], boxes[k, 2], boxes[k, 3] = y0, (edges[first[k + 1] - 1] - 1) // height + 1, y1
    return areas, boxes


@compiled
def run_length_ious(
    d_edges: NDArray[np.int32],
    d_first: Integers,
    d_area: Integers,
    d_box: Integers,
    g_edges: NDArray[np.int32],
    g_first: Integers,
    g_area: Integers,
    g_box: Integers,
    crowd: Flags,
) -> Floats:
    """``(D, G)``."""
    ious = np.zeros((len(d_area), len(g_area)))
    for g in range(len(g_area)):
        x0, y0, x1, y1 = g_box[g]
        for d in range(len(d_area)):
            if d_box[d, 0] >= x1 or x0 >= d_box[d, 2] or d_box[d, 1] >= y1 or y0 >= d_box[d, 3]:
                continue
            i, i_end, j, j_end = d_first[d], d_first[d + 1], g_first[g], g_first[g + 1]
            common = 0
            while i < i_end and j < j_end:
                common += max(0, min(d_edges[i + 1], g_edges[j + 1]) - max(d_edges[i], g_edges[j]))
                if d_edges[i + 1] < g_edges[j + 1]:
                    i += 2
                else:
                    j += 2
            if common:
                ious[d, g] = common / (d_area[d] if crowd[g] else d_area[d] + g_area[g] - common)
    return ious


@compiled
def match_image(
    ious: Floats,
    order: Integers,
    rank: NDArray[np.int32],
    limit: int,
    category: Integers,
    truth_category: Integers,
    out_of_range: Flags,
    truth_ignored: Flags,
    repeatable: Flags,
    unexhaustive: Flags,
    thresholds: Floats,
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int32]]:
    """``matched`` and ``ignored`` ``(D, A)``, ``taken_by`` ``(G, A, T)``; see :func:`sambench.metrics.coco.match`.

    ``order``: detections, best first. ``out_of_range``: ``(D, A)``. ``truth_ignored``: ``(G, A)``. ``repeatable``:
    ``(G,)``, truths that any number of detections may take.
    """
    n_areas, n_truths = out_of_range.shape[1], len(truth_category)
    matched = np.zeros(out_of_range.shape, np.uint16)
    ignored = np.zeros(out_of_range.shape, np.uint16)
    taken_by = np.full((n_truths, n_areas, len(thresholds)), -1, np.int32)
    candidates = np.empty(n_truths, np.int64)
    for d in order:
        if rank[d] >= limit:
            continue
        n_candidates = 0
        for g in range(n_truths):
            if ious[d, g] >= thresholds[0] and truth_category[g] == category[d]:
                candidates[n_candidates] = g
                n_candidates += 1
        for a in range(n_areas):
            for t in range(len(thresholds)):
                taken, best = -1, min(thresholds[t], 1 - 1e-10)
                # Those to be found come first; an ignored one is taken only if there is none.
                for pass_ in range(2):
                    for c in range(n_candidates):
                        g = candidates[c]
                        free = repeatable[g] or taken_by[g, a, t] < 0
                        if truth_ignored[g, a] == (pass_ == 1) and free and ious[d, g] >= best:
                            taken, best = g, ious[d, g]
                    if taken >= 0:
                        break
                if taken >= 0:
                    taken_by[taken, a, t] = rank[d]
                    matched[d, a] |= 1 << t
                    if truth_ignored[taken, a]:
                        ignored[d, a] |= 1 << t
                elif out_of_range[d, a] or unexhaustive[d]:
                    ignored[d, a] |= 1 << t
    return matched, ignored, taken_by


@compiled
def curves(
    first: Integers,
    matched: NDArray[np.uint16],
    ignored: NDArray[np.uint16],
    to_find: Integers,
    n_thresholds: int,
    recalls: Floats,
) -> tuple[Floats, Floats]:
    """``precision`` ``(T, R, K, A)`` and ``recall`` ``(T, K, A)``, NaN where there is nothing to find.

    ``matched``, ``ignored``: ``(N, A)``, by category and then score; those of category k start at ``first[k]``.
    ``to_find``: ``(K, A)``, truths that are not ignored.
    """
    n_categories, n_areas = to_find.shape
    precision = np.full((n_thresholds, len(recalls), n_categories, n_areas), np.nan)
    recall = np.full((n_thresholds, n_categories, n_areas), np.nan)
    found = np.empty(matched.shape[0])
    best = np.empty(matched.shape[0])
    spacing = np.spacing(1.0)
    for k in range(n_categories):
        for a in range(n_areas):
            if to_find[k, a] == 0:
                continue
            for t in range(n_thresholds):
                right, wrong, n = 0.0, 0.0, first[k + 1] - first[k]
                for i in range(n):
                    row = first[k] + i
                    if not (ignored[row, a] >> t) & 1:
                        if (matched[row, a] >> t) & 1:
                            right += 1
                        else:
                            wrong += 1
                    found[i] = right / to_find[k, a]
                    best[i] = right / (wrong + right + spacing)
                recall[t, k, a] = found[n - 1] if n else 0.0
                for i in range(n - 1, 0, -1):
                    best[i - 1] = max(best[i - 1], best[i])
                i = 0
                for r in range(len(recalls)):
                    while i < n and found[i] < recalls[r]:
                        i += 1
                    precision[t, r, k, a] = best[i] if i < n else 0.0
    return precision, recall
