"""The compiled inner loops of the boundary evaluation: thinning, and matching that follows the threshold.

One module on purpose: numba's on-disk cache watches the file that a function is in, not the files of what it calls.
All of them release the GIL, so images can be evaluated in threads. No ``fastmath`` and no ``parallel``: the same input
gives the same bits on one thread or many.

A pixel is its place in the image in row order, ``y * width + x``. A *stack* of maps is two arrays: the pixels of all
maps one after the other, and where each map starts (one more entry than there are maps).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sambench.numba_cache import compiled


def _removable() -> NDArray[np.bool_]:
    """``(2, 256)``: whether thinning takes a pixel away, for both halves of an iteration and all neighbourhoods.

    Bit k of a neighbourhood is neighbour k, counter-clockwise from the right. The conditions are those of Guo and
    Hall, "Parallel thinning with two-subiteration algorithms", CACM 32(3), 1989, in the form that the documentation
    of MATLAB's bwmorph gives them (Lam, Lee and Suen, PAMI 14(9), 1992).
    """
    x = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(bool).T
    after = np.roll(x, -1, axis=0)
    even, odd = x[1::2], x[0::2]
    crossings = (~odd & (even | after[1::2])).sum(axis=0)
    pairs = np.minimum((odd | even).sum(axis=0), (even | after[1::2]).sum(axis=0))
    kept_together = (crossings == 1) & (pairs >= 2) & (pairs <= 3)
    first = ~((x[1] | x[2] | ~x[7]) & x[0])
    second = ~((x[5] | x[6] | ~x[3]) & x[4])
    return np.stack([kept_together & first, kept_together & second])


REMOVABLE = _removable()


@compiled
def thinned_stack(
    order: NDArray[np.int32], ends: NDArray[np.int64], height: int, width: int, thin: bool
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The stack of nested maps, thinned.

    ``order``: pixels, in such an order that map m is the first ``ends[m]`` of them; ``ends`` ascends. Both halves of
    an iteration take their pixels away at once, until neither finds one (MATLAB's ``bwmorph('thin', Inf)``). A pixel
    is looked at again only when a neighbour has gone: what a half decides depends on the neighbourhood alone.
    """
    n_maps = len(ends)
    # A frame of zeros, so that every pixel has eight neighbours.
    stride = width + 2
    steps = np.array([1, 1 - stride, -stride, -1 - stride, -1, stride - 1, stride, stride + 1])
    on = np.zeros((height + 2) * stride, np.uint8)
    waiting = np.zeros(len(on), np.uint8)
    framed = np.empty(len(order), np.int32)
    for i in range(len(order)):
        framed[i] = (order[i] // width + 1) * stride + order[i] % width + 1
    largest = 0
    for m in range(n_maps):
        largest = max(largest, ends[m])
    queues = np.empty((2, largest), np.int32)
    sizes = np.zeros(2, np.int64)
    gone = np.empty(largest, np.int32)

    starts = np.zeros(n_maps + 1, np.int64)
    pixels = np.empty(max(16, 2 * len(order)), np.int32)
    filled = 0
    for m in range(n_maps):
        size = ends[m]
        before = ends[m - 1] if m else 0
        if m and size == before:
            kept = starts[m] - starts[m - 1]
            pixels = _room(pixels, filled, kept)
            pixels[filled : filled + kept] = pixels[starts[m - 1] : starts[m]]
            filled += kept
            starts[m + 1] = filled
            continue
        for i in range(size):
            on[framed[i]] = 1
        if thin:
            for i in range(size):
                queues[0, i] = framed[i]
                queues[1, i] = framed[i]
                waiting[framed[i]] = 3
            sizes[0] = size
            sizes[1] = size
            while sizes[0] > 0 or sizes[1] > 0:
                for half in range(2):
                    bit = np.uint8(1 << half)
                    n_gone = 0
                    for i in range(sizes[half]):
                        p = queues[half, i]
                        waiting[p] &= ~bit
                        if on[p]:
                            code = 0
                            for k in range(8):
                                code |= on[p + steps[k]] << k
                            if REMOVABLE[half, code]:
                                gone[n_gone] = p
                                n_gone += 1
                    sizes[half] = 0
                    for i in range(n_gone):
                        on[gone[i]] = 0
                    for i in range(n_gone):
                        for k in range(8):
                            p = gone[i] + steps[k]
                            if on[p] and waiting[p] != 3:
                                for other in range(2):
                                    flag = np.uint8(1 << other)
                                    if not waiting[p] & flag:
                                        waiting[p] |= flag
                                        queues[other, sizes[other]] = p
                                        sizes[other] += 1
        pixels = _room(pixels, filled, size)
        for i in range(size):
            if on[framed[i]]:
                pixels[filled] = order[i]
                filled += 1
                on[framed[i]] = 0
        starts[m + 1] = filled
    return pixels[:filled].copy(), starts


@compiled
def _room(pixels: NDArray[np.int32], filled: int, more: int) -> NDArray[np.int32]:
    """The same beginning, in an array that has room for ``more``."""
    if filled + more <= len(pixels):
        return pixels
    larger = np.empty(max(2 * len(pixels), filled + more), np.int32)
    larger[:filled] = pixels[:filled]
    return larger


@compiled
def _mixed(x: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64: 64 bits that look drawn at random."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def _jitter(predicted: int, true: int, salt: np.uint64, bits: int) -> np.int64:
    """A number of ``bits`` bits that the places of two pixels and the salt determine."""
    x = _mixed((np.uint64(predicted) << np.uint64(32) | np.uint64(true)) + salt)
    return np.int64(x >> np.uint64(64 - bits))


@compiled
def _push(keys: NDArray[np.int64], nodes: NDArray[np.int32], size: int, key: int, node: int) -> int:
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if keys[up] <= key:
            break
        keys[i] = keys[up]
        nodes[i] = nodes[up]
        i = up
    keys[i] = key
    nodes[i] = node
    return size + 1


@compiled
def _pop(keys: NDArray[np.int64], nodes: NDArray[np.int32], size: int) -> int:
    size -= 1
    key = keys[size]
    node = nodes[size]
    i = 0
    while True:
        down = 2 * i + 1
        if down >= size:
            break
        if down + 1 < size and keys[down + 1] < keys[down]:
            down += 1
        if key <= keys[down]:
            break
        keys[i] = keys[down]
        nodes[i] = nodes[down]
        i = down
    keys[i] = key
    nodes[i] = node
    return size


@compiled
def _settle(
    root: int,
    starts: NDArray[np.int64],
    ends: NDArray[np.int32],
    weights: NDArray[np.int64],
    price: NDArray[np.int64],
    other_price: NDArray[np.int64],
    partner: NDArray[np.int32],
    other_partner: NDArray[np.int32],
    other_present: NDArray[np.bool_],
    distance: NDArray[np.int64],
    reached_from: NDArray[np.int32],
    touched: NDArray[np.int32],
    closed: NDArray[np.int32],
    keys: NDArray[np.int64],
    nodes: NDArray[np.int32],
) -> None:
    """Match the free node ``root``, or bring its price down to zero, whichever the optimum wants.

    One step of the primal-dual method for a bipartite matching of greatest weight. Prices are non-negative, those of
    a pair's ends sum to its weight or more, and to its weight if they are matched; a matching is optimal when every
    free node has price zero. The shortest path (Dijkstra on what the prices exceed the weights by) leads from the
    root to a free node of the other side, or to a node of its own side whose price comes down to zero first, which
    then goes free in the root's place.

    ``starts``, ``ends``, ``weights``: the pairs of each node on the root's side. ``distance`` is -1 everywhere and is
    left so; the last four arrays are scratch.
    """
    best = price[root]
    best_end = -1  # a free node of the other side
    best_own = root  # else the node of this side that goes free
    n_touched = 0
    n_closed = 0
    size = 0
    node = root
    so_far = np.int64(0)
    while True:
        slack = so_far + price[node]
        for e in range(starts[node], starts[node + 1]):
            end = ends[e]
            if not other_present[end]:
                continue
            at = slack + other_price[end] - weights[e]
            if at >= best:
                continue
            if other_partner[end] < 0:
                best = at
                best_end = end
                reached_from[end] = node
            elif distance[end] < 0 or at < distance[end]:
                if distance[end] < 0:
                    touched[n_touched] = end
                    n_touched += 1
                distance[end] = at
                reached_from[end] = node
                size = _push(keys, nodes, size, at, end)
        while size > 0 and keys[0] > distance[nodes[0]]:  # reached by a shorter way since
            size = _pop(keys, nodes, size)
        if size == 0 or keys[0] >= best:
            break
        so_far = keys[0]
        end = nodes[0]
        size = _pop(keys, nodes, size)
        closed[n_closed] = end
        n_closed += 1
        node = other_partner[end]
        if so_far + price[node] < best:
            best = so_far + price[node]
            best_end = -1
            best_own = node

    price[root] -= best
    for i in range(n_closed):
        end = closed[i]
        other_price[end] += best - distance[end]
        price[other_partner[end]] -= best - distance[end]
    for i in range(n_touched):
        distance[touched[i]] = -1

    if best_end < 0 and best_own != root:
        best_end = partner[best_own]
        partner[best_own] = -1
    end = best_end
    while end >= 0:
        node = reached_from[end]
        end_before = partner[node]
        partner[node] = end
        other_partner[end] = node
        end = end_before


@compiled
def match_stack(
    pixels: NDArray[np.int32],
    starts: NDArray[np.int64],
    present: NDArray[np.bool_],
    truth: NDArray[np.int32],
    height: int,
    width: int,
    offsets: NDArray[np.int64],
    unmatched: int,
    matched: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Match every map of a stack to the same true boundary, at the least total cost.

    ``present``: ``(height * width,)`` what is in any map. ``truth``: ``(N,)`` pixels. ``offsets``: ``(O, 3)`` dy, dx
    and cost of the pairs that may be matched. ``unmatched``: what a match saves before its own cost.

    The matching is carried from map to map and repaired where pixels came and went. Matchings of equal cost are told
    apart by :func:`_jitter`, in bits so far down that no sum of them can outweigh one unit of cost: the optimum is
    then unique (but for accidents of about one in 10^9 per choice), however it was arrived at. The truth is part of
    the jitter because people's ties must not be broken alike: where they drew the same, all would take the same
    predicted pixel, and fewer would count in precision than officially.

    Sets ``matched`` (parallel to ``pixels``) where a pixel is matched, and leaves the rest of it. Returns the number
    of matched pairs of each map, and for each pixel of ``truth`` its partner in the last map (-1: none).
    """
    n_maps = len(starts) - 1
    n_truth = len(truth)
    n_pixels = height * width
    # Nodes: `own` are predicted pixels with a true one in reach, `true` the true ones.
    node_at = np.full(n_pixels, -1, np.int32)
    true_starts = np.zeros(n_truth + 1, np.int64)
    n_own = 0
    pairs = 0
    for t in range(n_truth):
        y = truth[t] // width
        x = truth[t] % width
        for o in range(len(offsets)):
            v = y + offsets[o, 0]
            u = x + offsets[o, 1]
            if 0 <= v < height and 0 <= u < width and present[v * width + u]:
                if node_at[v * width + u] < 0:
                    node_at[v * width + u] = n_own
                    n_own += 1
                pairs += 1
        true_starts[t + 1] = pairs
    # 63 bits hold a distance and two prices, each at most `unmatched` in units of 2 ** shift.
    shift = 62
    while unmatched >> (61 - shift):
        shift -= 1
    jitter_bits = shift
    while (n_truth >> (shift - jitter_bits)) and jitter_bits > 1:
        jitter_bits -= 1
    salt = np.uint64(0)
    for t in range(n_truth):
        salt += _mixed(np.uint64(truth[t]))
    true_ends = np.empty(pairs, np.int32)
    true_weights = np.empty(pairs, np.int64)
    own_starts = np.zeros(n_own + 1, np.int64)
    e = 0
    for t in range(n_truth):
        y = truth[t] // width
        x = truth[t] % width
        for o in range(len(offsets)):
            v = y + offsets[o, 0]
            u = x + offsets[o, 1]
            if 0 <= v < height and 0 <= u < width and present[v * width + u]:
                p = v * width + u
                true_ends[e] = node_at[p]
                true_weights[e] = ((unmatched - offsets[o, 2]) << shift) - _jitter(p, truth[t], salt, jitter_bits)
                own_starts[node_at[p] + 1] += 1
                e += 1
    for i in range(n_own):
        own_starts[i + 1] += own_starts[i]
    own_ends = np.empty(pairs, np.int32)
    own_weights = np.empty(pairs, np.int64)
    cursor = own_starts[:-1].copy()
    for t in range(n_truth):
        for e in range(true_starts[t], true_starts[t + 1]):
            i = true_ends[e]
            own_ends[cursor[i]] = t
            own_weights[cursor[i]] = true_weights[e]
            cursor[i] += 1

    own_price = np.zeros(n_own, np.int64)
    true_price = np.zeros(n_truth, np.int64)
    own_partner = np.full(n_own, -1, np.int32)
    true_partner = np.full(n_truth, -1, np.int32)
    own_present = np.zeros(n_own, np.bool_)
    true_present = np.ones(n_truth, np.bool_)
    last_seen = np.full(n_own, -1, np.int32)
    here = np.empty(n_own, np.int32)
    n_here = 0
    come = np.empty(n_own, np.int32)
    deserted = np.empty(n_truth, np.int32)
    most = max(n_own, n_truth)
    distance = np.full(most, -1, np.int64)
    reached_from = np.empty(most, np.int32)
    touched = np.empty(most, np.int32)
    closed = np.empty(most, np.int32)
    keys = np.empty(pairs + 1, np.int64)
    nodes = np.empty(pairs + 1, np.int32)

    counts = np.zeros(n_maps, np.int64)
    size = 0
    for m in range(n_maps):
        n_come = 0
        for i in range(starts[m], starts[m + 1]):
            node = node_at[pixels[i]]
            if node >= 0:
                if not own_present[node]:
                    come[n_come] = node
                    n_come += 1
                last_seen[node] = m
        n_deserted = 0
        kept = 0
        for i in range(n_here):
            node = here[i]
            if last_seen[node] == m:
                here[kept] = node
                kept += 1
                continue
            own_present[node] = False
            t = own_partner[node]
            if t >= 0:
                own_partner[node] = -1
                true_partner[t] = -1
                deserted[n_deserted] = t
                n_deserted += 1
                size -= 1
        n_here = kept
        for i in range(n_come):
            node = come[i]
            here[n_here] = node
            n_here += 1
            own_present[node] = True
            price = np.int64(0)
            for e in range(own_starts[node], own_starts[node + 1]):
                price = max(price, own_weights[e] - true_price[own_ends[e]])
            own_price[node] = price
            if price > 0:
                _settle(
                    node, own_starts, own_ends, own_weights, own_price, true_price, own_partner, true_partner,
                    true_present, distance, reached_from, touched, closed, keys, nodes,
                )  # fmt: skip
        for i in range(n_deserted):
            t = deserted[i]
            if true_partner[t] < 0 and true_price[t] > 0:
                _settle(
                    t, true_starts, true_ends, true_weights, true_price, own_price, true_partner, own_partner,
                    own_present, distance, reached_from, touched, closed, keys, nodes,
                )  # fmt: skip
        count = 0
        for i in range(n_here):
            count += own_partner[here[i]] >= 0
        counts[m] = count
        for i in range(starts[m], starts[m + 1]):
            node = node_at[pixels[i]]
            if node >= 0 and own_partner[node] >= 0:
                matched[i] = True
    partners = np.full(n_truth, -1, np.int32)
    for i in range(starts[n_maps - 1], starts[n_maps]):
        node = node_at[pixels[i]]
        if node >= 0 and own_partner[node] >= 0:
            partners[own_partner[node]] = pixels[i]
    return counts, partners
