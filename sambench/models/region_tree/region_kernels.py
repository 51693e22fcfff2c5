"""The compiled inner loops of ``region_tree``: merging regions into a tree, and ranking the regions round a click.

One module on purpose: numba's on-disk cache watches the file that a function is in, not the files of what it calls.
No ``fastmath`` and no ``parallel``: the same input gives the same bits on one thread or many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sambench.numba_cache import compiled


@compiled
def _slot(keys: NDArray[np.int64], key: int) -> int:
    """Where ``key`` is, or belongs, in an open-addressing table whose length is a power of two (-1: free)."""
    last = len(keys) - 1
    i = ((key * 0x9E3779B97F4A7C1) >> 20) & last
    while keys[i] != -1 and keys[i] != key:
        i = (i + 1) & last
    return i


@compiled
def _cost(
    a: int,
    b: int,
    length: float,
    contrast: float,
    area: NDArray[np.float64],
    colour: NDArray[np.float64],
    contrast_weight: float,
) -> float:
    """What merging two regions costs, per unit of the boundary that it removes.

    The first term is the Mumford-Shah merging criterion of Koepfler, Lopez and Morel (SIAM J. Numer. Anal. 1994):
    growth of the squared error of the region means, divided by boundary length. The second has the same form, with
    the mean gradient along the common boundary in place of the distance between the means.
    """
    squared = 0.0
    for c in range(3):
        difference = colour[a, c] / area[a] - colour[b, c] / area[b]
        squared += difference * difference
    mean = contrast / length
    growth = area[a] * area[b] / (area[a] + area[b])
    return float((squared + contrast_weight * mean * mean) * growth / length)


@compiled
def _push(weights: NDArray[np.float64], edges: NDArray[np.int32], size: int, weight: float, edge: int) -> int:
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if weights[up] < weight or (weights[up] == weight and edges[up] <= edge):
            break
        weights[i] = weights[up]
        edges[i] = edges[up]
        i = up
    weights[i] = weight
    edges[i] = edge
    return size + 1


@compiled
def _pop(weights: NDArray[np.float64], edges: NDArray[np.int32], size: int) -> int:
    size -= 1
    weight = weights[size]
    edge = edges[size]
    i = 0
    while True:
        down = 2 * i + 1
        if down >= size:
            break
        if down + 1 < size and (
            weights[down + 1] < weights[down] or (weights[down + 1] == weights[down] and edges[down + 1] < edges[down])
        ):
            down += 1
        if weight < weights[down] or (weight == weights[down] and edge <= edges[down]):
            break
        weights[i] = weights[down]
        edges[i] = edges[down]
        i = down
    weights[i] = weight
    edges[i] = edge
    return size


@compiled
def merge(
    ends: NDArray[np.int32],
    length: NDArray[np.float64],
    contrast: NDArray[np.float64],
    area: NDArray[np.float64],
    colour: NDArray[np.float64],
    contrast_weight: float,
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Merge connected regions two by two, cheapest first, into a binary tree.

    ``ends``: ``(E, 2)`` neighbouring leaves, ``ends[:, 0] < ends[:, 1]``, each pair once. ``length``, ``contrast``:
    ``(E,)`` pixel sides of the common boundary, and the sum of the gradient over them. ``area``, ``colour``: ``(L,)``
    pixels and ``(L, 3)`` colour sums of the leaves. All arrays are used up. The costs of a region's boundaries are
    brought up to date when they come up (a lazy heap), so that a large background does not make it quadratic.

    Returns ``children`` ``(2L-1, 2)`` (-1 for leaves; a parent comes after its children), ``height`` (the cost at
    which the node was made, never less than its children's), ``perimeter`` (pixel sides shared with other regions)
    and ``edge`` (the gradient summed over those), each ``(2L-1,)``.
    """
    n_leaves = len(area)
    n_edges = len(length)
    total = 2 * n_leaves - 1
    children = np.full((total, 2), -1, np.int32)
    height = np.zeros(total)
    perimeter = np.zeros(total)
    edge = np.zeros(total)

    slots = 4
    while slots < 4 * n_edges:
        slots *= 2
    keys = np.full(slots, -1, np.int64)
    values = np.zeros(slots, np.int32)
    taken = n_edges
    # Boundary e hangs in the lists of both its regions, as the half-edges 2e and 2e + 1.
    following = np.full(2 * n_edges, -1, np.int32)
    head = np.full(n_leaves, -1, np.int32)
    tail = np.full(n_leaves, -1, np.int32)
    degree = np.zeros(n_leaves, np.int32)
    alive = np.ones(n_edges, np.bool_)
    weights = np.empty(4 * n_edges + 4)
    queue = np.empty(4 * n_edges + 4, np.int32)
    size = 0
    for e in range(n_edges):
        key = np.int64(ends[e, 0]) * n_leaves + ends[e, 1]
        at = _slot(keys, key)
        keys[at] = key
        values[at] = e
        for side in range(2):
            r = ends[e, side]
            if head[r] < 0:
                head[r] = 2 * e + side
            else:
                following[tail[r]] = 2 * e + side
            tail[r] = 2 * e + side
            degree[r] += 1
            perimeter[r] += length[e]
            edge[r] += contrast[e]
        cost = _cost(ends[e, 0], ends[e, 1], length[e], contrast[e], area, colour, contrast_weight)
        size = _push(weights, queue, size, cost, e)

    node = np.arange(n_leaves)
    made = n_leaves
    while size > 0:
        weight = weights[0]
        e = queue[0]
        size = _pop(weights, queue, size)
        if not alive[e]:
            continue
        a = ends[e, 0]
        b = ends[e, 1]
        cost = _cost(a, b, length[e], contrast[e], area, colour, contrast_weight)
        if cost > weight:
            size = _push(weights, queue, size, cost, e)
            continue
        if degree[a] < degree[b]:
            a, b = b, a
        alive[e] = False
        na = node[a]
        nb = node[b]
        children[made, 0] = na
        children[made, 1] = nb
        height[made] = max(cost, height[na], height[nb])
        perimeter[made] = perimeter[na] + perimeter[nb] - 2 * length[e]
        edge[made] = edge[na] + edge[nb] - 2 * contrast[e]
        area[a] += area[b]
        for c in range(3):
            colour[a, c] += colour[b, c]
        node[a] = made
        made += 1
        half = head[b]
        while half >= 0:
            after = following[half]
            f = half >> 1
            if alive[f]:
                x = ends[f, 1] if ends[f, 0] == b else ends[f, 0]
                low = min(a, x)
                high = max(a, x)
                key = np.int64(low) * n_leaves + high
                at = _slot(keys, key)
                if keys[at] == key and alive[values[at]]:
                    kept = values[at]
                    length[kept] += length[f]
                    contrast[kept] += contrast[f]
                    alive[f] = False
                    degree[x] -= 1
                else:
                    kept = np.int32(f)
                    ends[f, 0] = low
                    ends[f, 1] = high
                    taken += keys[at] != key
                    keys[at] = key
                    values[at] = f
                    if 2 * taken > slots:  # keys of boundaries that are gone fill the table up: begin it anew
                        for i in range(slots):
                            keys[i] = -1
                        taken = 0
                        for g in range(n_edges):
                            if alive[g]:
                                key = np.int64(ends[g, 0]) * n_leaves + ends[g, 1]
                                at = _slot(keys, key)
                                keys[at] = key
                                values[at] = g
                                taken += 1
                    following[half] = -1
                    if head[a] < 0:
                        head[a] = half
                    else:
                        following[tail[a]] = half
                    tail[a] = half
                    degree[a] += 1
                if size == len(weights):
                    longer_weights = np.empty(2 * size)
                    longer_queue = np.empty(2 * size, np.int32)
                    for i in range(size):
                        longer_weights[i] = weights[i]
                        longer_queue[i] = queue[i]
                    weights = longer_weights
                    queue = longer_queue
                cost = _cost(a, x, length[kept], contrast[kept], area, colour, contrast_weight)
                size = _push(weights, queue, size, cost, kept)
            half = after
    return children, height, perimeter, edge


@compiled
def number(
    children: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Number the leaves of the tree of :func:`merge` depth first.

    Returns ``parent`` (-1 at the root), ``first`` and ``last``, each ``(2L-1,)``: node i holds the leaves whose
    number is at least ``first[i]`` and less than ``last[i]``.
    """
    total = len(children)
    parent = np.full(total, -1, np.int32)
    first = np.zeros(total, np.int32)
    last = np.zeros(total, np.int32)
    leaves = np.ones(total, np.int32)
    for i in range(total):
        if children[i, 0] >= 0:
            leaves[i] = leaves[children[i, 0]] + leaves[children[i, 1]]
    for i in range(total - 1, -1, -1):
        last[i] = first[i] + leaves[i]
        if children[i, 0] >= 0:
            a = children[i, 0]
            b = children[i, 1]
            parent[a] = i
            parent[b] = i
            first[a] = first[i]
            first[b] = first[i] + leaves[a]
    return parent, first, last


@compiled
def boxes(labels: NDArray[np.int32], leaf_at: NDArray[np.int32], children: NDArray[np.int32]) -> NDArray[np.int32]:
    """The bounding boxes of all nodes, ``(2L-1, 4)`` x0, y0, x1, y1, right and bottom exclusive."""
    height, width = labels.shape
    found = np.empty((len(children), 4), np.int32)
    found[:, 0] = width
    found[:, 1] = height
    found[:, 2:] = 0
    for y in range(height):
        for x in range(width):
            leaf = leaf_at[labels[y, x]]
            found[leaf, 0] = min(found[leaf, 0], x)
            found[leaf, 1] = min(found[leaf, 1], y)
            found[leaf, 2] = max(found[leaf, 2], x + 1)
            found[leaf, 3] = max(found[leaf, 3], y + 1)
    for i in range(len(children)):
        a = children[i, 0]
        b = children[i, 1]
        if a >= 0:
            for c in range(2):
                found[i, c] = min(found[a, c], found[b, c])
                found[i, c + 2] = max(found[a, c + 2], found[b, c + 2])
    return found


@compiled
def rank(
    xs: NDArray[np.int64],
    ys: NDArray[np.int64],
    labels: NDArray[np.int32],
    domain: NDArray[np.bool_],
    covered: NDArray[np.int64],
    against: NDArray[np.int32],
    leaf_at: NDArray[np.int32],
    parent: NDArray[np.int32],
    first: NDArray[np.int32],
    last: NDArray[np.int32],
    evidence: NDArray[np.float64],
    directions: NDArray[np.float64],
    growth: float,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each click, three nested nodes of the tree that contain it, and how well each would do.

    ``xs``, ``ys``: ``(N,)`` clicks, in ``domain``. ``labels``: ``(h, w)`` place of each pixel's leaf in the order of
    leaves, where node i holds the places ``first[i]`` up to ``last[i]``. ``domain``: ``(h, w)`` the pixels that can
    be won. ``covered``: ``(L+1,)`` pixels of the domain in the first k leaves. ``against``: places that a node must
    not hold. ``leaf_at``: ``(L,)`` the leaf at each place. ``evidence``: ``(2L-1,)`` log weight of a node as an
    object, whatever the click. ``directions``: ``(R, 2)`` unit vectors, the opposite of ray k being k + R/2.
    ``growth``: nodes within this factor in area count as one candidate.

    Rays from the click measure how far each node reaches round it; a node that is compact round the click is likely.
    The weights make a distribution over the candidates, of which a node's score is its expected IoU (nested regions:
    the ratio of areas). Of each click's three nodes one has the highest score, the others then add most to the
    expected best IoU of the three.

    Returns nodes ``(N, 3)``, largest first, and scores ``(N, 3)`` in [0, 1]. A node of -1: none may be had (every
    node at the click holds a place of ``against``).
    """
    n_points = len(xs)
    n_rays = len(directions)
    half = n_rays // 2
    height, width = labels.shape
    nodes = np.full((n_points, 3), -1, np.int32)
    scores = np.zeros((n_points, 3), np.float32)
    for point in range(n_points):
        x = xs[point]
        y = ys[point]
        start = leaf_at[labels[y, x]]
        length = 0
        node = start
        while node >= 0:
            held = False
            for place in against:
                held = held or first[node] <= place < last[node]
            if held:
                break
            length += 1
            node = parent[node]
        if length == 0:
            continue
        path = np.empty(length, np.int32)
        node = start
        for i in range(length):
            path[i] = node
            node = parent[node]

        reach = np.empty((length, n_rays), np.float64)
        for k in range(n_rays):
            i = 0
            t = 0
            while i < length:
                t += 1
                px = int(np.floor(x + directions[k, 0] * t + 0.5))
                py = int(np.floor(y + directions[k, 1] * t + 0.5))
                if px < 0 or py < 0 or px >= width or py >= height or not domain[py, px]:
                    for j in range(i, length):
                        reach[j, k] = t - 0.5
                    break
                place = labels[py, px]
                while i < length and not first[path[i]] <= place < last[path[i]]:
                    reach[i, k] = t - 0.5
                    i += 1

        # Candidates: runs of the path within a factor in area, each stood for by its likeliest node.
        areas = np.empty(length)
        weights = np.empty(length)
        likeliest = np.empty(length, np.int32)
        peak = np.empty(length)
        count = 0
        smallest = 0.0
        for i in range(length):
            node = path[i]
            area = float(covered[last[node]] - covered[first[node]])
            nearest = reach[i, 0]
            balance = 0.0
            for k in range(half):
                a = reach[i, k]
                b = reach[i, k + half]
                nearest = min(nearest, a, b)
                balance += min(a, b) / max(a, b)
            weight = evidence[node] + np.log(np.pi * nearest * nearest / area) + np.log(balance / half)
            if count == 0 or area > smallest * growth:
                smallest = area
                areas[count] = area
                weights[count] = weight
                peak[count] = weight
                likeliest[count] = node
                count += 1
            else:
                top = max(weights[count - 1], weight)
                weights[count - 1] = top + np.log(np.exp(weights[count - 1] - top) + np.exp(weight - top))
                if weight > peak[count - 1]:
                    peak[count - 1] = weight
                    areas[count - 1] = area
                    likeliest[count - 1] = node

        top = weights[0]
        for i in range(count):
            top = max(top, weights[i])
        mass = 0.0
        for i in range(count):
            weights[i] = np.exp(weights[i] - top)
            mass += weights[i]
        expected = np.zeros(count)
        choice = 0
        for i in range(count):
            for j in range(count):
                expected[i] += weights[j] / mass * min(areas[i], areas[j]) / max(areas[i], areas[j])
            if expected[i] > expected[choice]:
                choice = i
        chosen = np.zeros(count, np.bool_)
        best = np.zeros(count)
        for _ in range(min(3, count)):
            chosen[choice] = True
            for j in range(count):
                best[j] = max(best[j], min(areas[choice], areas[j]) / max(areas[choice], areas[j]))
            most = -1.0
            for i in range(count):
                if not chosen[i]:
                    gain = 0.0
                    for j in range(count):
                        gain += weights[j] * max(best[j], min(areas[i], areas[j]) / max(areas[i], areas[j]))
                    if gain > most:
                        most = gain
                        choice = i
        m = 0
        for i in range(count - 1, -1, -1):
            if chosen[i]:
                nodes[point, m] = likeliest[i]
                scores[point, m] = min(expected[i], 1.0)
                m += 1
        for j in range(m, 3):
            nodes[point, j] = nodes[point, m - 1]
            scores[point, j] = scores[point, m - 1]
    return nodes, scores
