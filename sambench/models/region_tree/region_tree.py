"""The embedded model ``region_tree``: promptable segmentation without learned weights.

An honest baseline (docs/models/region_tree.md). An image is encoded as a hierarchy of regions
(:mod:`sambench.models.region_tree.region_hierarchy`); prompts choose, join and cut regions. Nothing is learned and
nothing is looked up, so that everything in the suite runs on a fresh machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from sambench.core.mask import Image, Mask
from sambench.core.model import Model, Prompts, View
from sambench.errors import UsageError
from sambench.models.cards import WeightsInfo
from sambench.models.region_tree import region_hierarchy, region_kernels

VERSION = 1
"""Counted up whenever an answer changes, so that runs of two versions are never taken for one model."""
RAYS = 16
GROWTH = 1.05
"""Regions at a click whose areas differ by less than this factor count as one candidate."""
HOLE = 0.5
"""Holes of a region are filled that are smaller than this share of it."""
IN_BOX = 0.7
"""Share of a region's pixels that lie in a box for the region to be taken as a part of the box's object."""
IN_ELLIPSE = 0.6
"""Share of such a region's pixels that lie in the box's inscribed ellipse: its corners are mostly background."""
LOGIT = 4.0
"""Size of the logits that :meth:`RegionTreePrediction.feedback` answers: inside plus, outside minus."""

_ANGLES = 2 * np.pi * np.arange(RAYS) / RAYS
_DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


@dataclass(frozen=True)
class RegionTreeOptions:
    max_pixels: Annotated[int, Ge(1)] = 1 << 20
    """Encode larger images at this many pixels, and scale masks up from there."""


Options = RegionTreeOptions


def locate(name: str | None, options: RegionTreeOptions) -> WeightsInfo:
    """The adapter's answer to the zoo: nothing has to be found, the algorithm and its options are the weights."""
    text = json.dumps({"algorithm": "region_tree", "version": VERSION, "options": asdict(options)}, sort_keys=True)
    return WeightsInfo(name or RegionTree.name, "", hashlib.sha256(text.encode()).hexdigest(), frozenset())


def load(name: str, options: RegionTreeOptions, device: str, encode_batch: int) -> RegionTree:
    """The adapter's model for the zoo. It runs on the CPU whatever ``device`` says."""
    return RegionTree(options, encode_batch)


class RegionTree(Model):
    """A :class:`sambench.core.model.Model` without weights. ``trained_on`` is empty: it has seen nothing."""

    name = "region_tree"
    capabilities = frozenset({"points", "boxes", "masks", "multimask"})
    trained_on: frozenset[str] | None = frozenset()
    batch_invariant = True

    def __init__(self, options: RegionTreeOptions | None = None, encode_batch: int = 1) -> None:
        self.options = options or RegionTreeOptions()
        self.encode_batch = encode_batch
        self.weights_digest = locate(None, self.options).weights_digest

    def encode(self, images: Sequence[Image]) -> list[RegionTreeView]:
        """``(H, W, 3)`` uint8 RGB images, of any sizes."""
        return [RegionTreeView(image, self.options.max_pixels) for image in images]


class RegionTreeView(View):
    """One image as a hierarchy of regions. ``size``: ``(H, W)`` of the image."""

    def __init__(self, image: Image, max_pixels: int) -> None:
        height, width = image.shape[:2]
        self.size = (height, width)
        self.pixels, self.max_pixels = image, max_pixels
        scale = min(1.0, (max_pixels / (height * width)) ** 0.5)
        h, w = max(1, int(height * scale)), max(1, int(width * scale))
        if (h, w) != (height, width):
            image = np.asarray(cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA), np.uint8)
        self.hierarchy = region_hierarchy.build(image)
        self.grid = Grid(self.size, (h, w))
        self._everywhere = np.ones((h, w), np.bool_)
        self._unpointed = np.zeros(0, np.int32)
        leaf_area = self.hierarchy.area[self.hierarchy.leaf_at]
        self._covered = np.concatenate(([0], np.cumsum(leaf_area))).astype(np.int64)

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[RegionTreeView]:
        return (RegionTreeView(self.pixels[y0:y1, x0:x1], self.max_pixels) for x0, y0, x1, y1 in boxes)

    def predict(self, prompts: Prompts, *, multimask: bool) -> RegionTreePrediction:
        """Three nested candidates, whole to subpart, or with ``multimask=False`` the one of highest score.

        One positive point alone: three regions of the hierarchy that hold it. Otherwise the answer starts from the
        previous mask (if a box is given too, from what of it is in the box), from the box, or from nothing, and each
        point that it gets wrong, in order, adds or takes away one region at the point that holds no earlier point of
        the other kind; the candidates are three choices of the last such region. A prompt that leaves nothing to
        choose has three equal candidates; one without a positive point, box or mask has empty answers with score 0.
        Raises UsageError for text.
        """
        if prompts.text is not None:
            raise UsageError("region_tree takes no text prompts: use points, boxes or masks")
        n = len(prompts)
        nodes = np.full((n, 3), -1, np.int32)
        scores = np.zeros((n, 3), np.float32)
        drawn: dict[tuple[int, int], Mask] = {}
        points = [self._points_of(prompts, i) for i in range(n)]
        single = [
            i
            for i in range(n)
            if prompts.boxes is None and prompts.mask_logits is None and len(points[i]) == 1 and points[i][0].positive
        ]
        if single:
            xs, ys = (np.array([points[i][0][axis] for i in single], np.int64) for axis in (0, 1))
            nodes[single], scores[single] = self._rank(xs, ys, self._everywhere, self._covered, self._unpointed)
        for i in sorted(set(range(n)) - set(single)):
            box = None if prompts.boxes is None else self.grid.box_to_grid(prompts.boxes[i])
            start = None if prompts.mask_logits is None else self.grid.logits_to_grid(prompts.mask_logits[i])
            candidates, scores[i] = self._edited(points[i], box, start)
            drawn |= {(i, m): candidate for m, candidate in enumerate(candidates)}
        if not multimask:
            best = scores.argmax(axis=1)
            nodes, scores = nodes[np.arange(n), best, None], scores[np.arange(n), best, None]
            drawn = {(i, 0): mask for (i, m), mask in drawn.items() if m == best[i]}
        return RegionTreePrediction(self, nodes, scores, drawn)

    def _points_of(self, prompts: Prompts, i: int) -> list[Point]:
        if prompts.points is None or prompts.labels is None:
            return []
        return [
            Point(*self.grid.point_to_grid(xy), bool(label == 1))
            for xy, label in zip(prompts.points[i], prompts.labels[i], strict=True)
            if label >= 0
        ]

    def _rank(
        self,
        xs: NDArray[np.int64],
        ys: NDArray[np.int64],
        domain: NDArray[np.bool_],
        covered: NDArray[np.int64],
        against: NDArray[np.int32],
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        t = self.hierarchy
        return region_kernels.rank(
            xs,
            ys,
            t.labels,
            domain,
            covered,
            against,
            t.leaf_at,
            t.parent,
            t.first,
            t.last,
            t.evidence,
            _DIRECTIONS,
            GROWTH,
        )

    def _edited(
        self, points: list[Point], box: Box | None, start: NDArray[np.bool_] | None
    ) -> tuple[list[Mask], NDArray[np.float32]]:
        """Three candidates on the grid, and their scores ``(3,)``."""
        state, score = self._start(box, start)
        candidates, scores = [state] * 3, np.full(3, score, np.float32)
        for i, point in enumerate(points):
            if state[point.y, point.x] == point.positive:
                continue
            # Only the points before it bind a correction, so that a click's answer is the same whether the mask
            # before it is given or made again from the earlier points.
            candidates, scores = self._corrected(state, point, points[:i], box)
            state = candidates[int(scores.argmax())]
        masks = [Mask.from_dense(c) for c in candidates]
        return masks, np.where([m.area > 0 for m in masks], scores, np.float32(0))

    def _start(self, box: Box | None, start: NDArray[np.bool_] | None) -> tuple[NDArray[np.bool_], float]:
        state = np.zeros(self._everywhere.shape, np.bool_)
        if start is not None:
            window = (slice(None), slice(None)) if box is None else box.window
            state[window] = start[window]
            if state.any():
                return state, 1.0
        if box is not None:
            return self._in_box(box, state)
        return state, 0.0

    def _in_box(self, box: Box, state: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], float]:
        """The largest regions that lie in the box and mostly in its inscribed ellipse, clipped to the box; the
        ellipse if there is none. The score is the IoU of the answer's own box with the prompt."""
        t = self.hierarchy
        window, ellipse = t.labels[box.window], box.ellipse()
        boxed, rounded = self._covered_by(window.ravel()), self._covered_by(window[ellipse])
        inside = boxed[t.last] - boxed[t.first] >= IN_BOX * t.area
        largest = inside & ~np.where(t.parent >= 0, inside[t.parent], False)
        core = rounded[t.last] - rounded[t.first] >= IN_ELLIPSE * t.area
        taken = np.zeros(len(t.leaf_at), np.bool_)
        for node in np.flatnonzero(largest & core):
            taken[t.first[node] : t.last[node]] = True
        answer = _filled(taken[window])
        if not answer.any():
            answer = ellipse
        state[box.window] = answer
        x0, y0, x1, y1 = Mask.from_dense(answer).box
        return state, (x1 - x0) * (y1 - y0) / answer.size

    def _covered_by(self, labels: NDArray[np.int32]) -> NDArray[np.int64]:
        """``(L+1,)``: how many of the pixels are in the first k leaves."""
        counts = np.bincount(labels, minlength=len(self.hierarchy.leaf_at))
        return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)

    def _corrected(
        self, state: NDArray[np.bool_], point: Point, earlier: list[Point], box: Box | None
    ) -> tuple[list[NDArray[np.bool_]], NDArray[np.float32]]:
        """Three ways to bring a point that is on the wrong side over, largest change first for a positive point and
        last for a negative one, so that the candidates are nested from whole to subpart."""
        t = self.hierarchy
        domain = ~state if point.positive else state
        if box is not None and point.positive and box.holds(point):
            domain = domain & box.dense(state.shape)
        others = [p for p in earlier if p.positive != point.positive]
        against = np.array(sorted({int(t.labels[p.y, p.x]) for p in others}), np.int32)
        covered = self._covered_by(t.labels[domain])
        nodes, scores = self._rank(np.array([point.x]), np.array([point.y]), domain, covered, against)
        candidates = []
        for node in nodes[0]:
            changed = self._disk(point, others) if node < 0 else self._change(int(node), others)
            changed &= domain
            candidates.append(state | changed if point.positive else state & ~changed)
        return (candidates, scores[0]) if point.positive else (candidates[::-1], scores[0, ::-1])

    def _change(self, node: int, others: list[Point]) -> NDArray[np.bool_]:
        """A node on the whole grid, its holes filled unless a point of the other kind lies in one."""
        x0, y0, x1, y1 = self.hierarchy.boxes[node]
        changed = np.zeros(self._everywhere.shape, np.bool_)
        region = self.hierarchy.crop(node)
        changed[y0:y1, x0:x1] = _filled(region)
        if any(changed[p.y, p.x] for p in others):
            changed[y0:y1, x0:x1] = region
        return changed

    def _disk(self, point: Point, others: list[Point]) -> NDArray[np.bool_]:
        """Where even the finest region holds points of both kinds: the disk halfway to the nearest other point."""
        nearest = min((p.x - point.x) ** 2 + (p.y - point.y) ** 2 for p in others)
        h, w = self._everywhere.shape
        squared = (np.arange(w) - point.x) ** 2 + (np.arange(h)[:, None] - point.y) ** 2
        disk: NDArray[np.bool_] = squared * 4 <= nearest
        return disk


class RegionTreePrediction:
    """Candidates of :meth:`RegionTreeView.predict`. ``scores``: ``(N, M)`` float32 in [0, 1], M of 3 or 1; for points
    the IoU expected over the regions at the point, which is more hopeful than what comes true (see the docs)."""

    def __init__(
        self,
        view: RegionTreeView,
        nodes: NDArray[np.int32],
        scores: NDArray[np.float32],
        drawn: dict[tuple[int, int], Mask],
    ) -> None:
        self.scores = scores
        self._view, self._nodes, self._drawn = view, nodes, drawn

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        return [self._view.grid.mask_to_image(self._on_grid(n, m)) for n, m in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """``(len(chosen), h, w)`` at the resolution of the hierarchy: +4 inside, -4 outside."""
        h, w = self._view.hierarchy.labels.shape
        logits = np.full((len(chosen), h, w), -LOGIT, np.float32)
        for k, (n, m) in enumerate(chosen):
            mask = self._on_grid(n, m)
            x0, y0, x1, y1 = mask.box
            logits[k, y0:y1, x0:x1][mask.window] = LOGIT
        return logits

    def _on_grid(self, n: int, m: int) -> Mask:
        drawn = self._drawn.get((n, m))
        if drawn is not None:
            return drawn
        tree, node = self._view.hierarchy, int(self._nodes[n, m])
        x0, y0, _, _ = (int(v) for v in tree.boxes[node])
        return Mask.from_window(self._view._everywhere.shape, y0, x0, _filled(tree.crop(node)))


class Point(NamedTuple):
    """A click on a pixel of the grid."""

    x: int
    y: int
    positive: bool


@dataclass(frozen=True)
class Box:
    """A box on the grid: pixels, right and bottom exclusive, never empty."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def window(self) -> tuple[slice, slice]:
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def holds(self, point: Point) -> bool:
        return self.x0 <= point.x < self.x1 and self.y0 <= point.y < self.y1

    def dense(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        dense = np.zeros(shape, np.bool_)
        dense[self.window] = True
        return dense

    def ellipse(self) -> NDArray[np.bool_]:
        """The pixels of the box whose centres are in its inscribed ellipse: ``(y1-y0, x1-x0)``."""
        h, w = self.y1 - self.y0, self.x1 - self.x0
        x, y = (np.arange(w) + 0.5) * 2 / w - 1, (np.arange(h)[:, None] + 0.5) * 2 / h - 1
        inside: NDArray[np.bool_] = x * x + y * y <= 1
        return inside


class Grid:
    """The pixels that a hierarchy is built on, and how those of the image map to them: to the nearest."""

    def __init__(self, image: tuple[int, int], grid: tuple[int, int]) -> None:
        self.image, self.grid = image, grid
        self._row_of, self._column_of = (
            (2 * np.arange(full) + 1) * small // (2 * full) for full, small in zip(image, grid, strict=True)
        )

    def point_to_grid(self, xy: NDArray[np.float32]) -> tuple[int, int]:
        """A point in pixels of the image to ``(x, y)`` on the grid; points outside the image to its border."""
        x, y = (int(np.clip(np.floor(v + 0.5), 0, n - 1)) for v, n in zip(xy, self.image[::-1], strict=True))
        return int(self._column_of[x]), int(self._row_of[y])

    def box_to_grid(self, xyxy: NDArray[np.float32]) -> Box:
        (h, w), (height, width) = self.grid, self.image
        xs, ys = sorted(float(v) * w / width for v in xyxy[::2]), sorted(float(v) * h / height for v in xyxy[1::2])
        x0, y0 = (int(np.clip(np.floor(v + 0.5), 0, n - 1)) for v, n in ((xs[0], w), (ys[0], h)))
        x1, y1 = (int(np.clip(np.floor(v + 0.5), low + 1, n)) for v, low, n in ((xs[1], x0, w), (ys[1], y0, h)))
        return Box(x0, y0, x1, y1)

    def logits_to_grid(self, logits: Any) -> NDArray[np.bool_]:
        """Logits ``(h, w)`` of the whole image at any resolution to the grid, positive is foreground."""
        values = np.asarray(logits, np.float32)
        if values.shape != self.grid:
            values = cv2.resize(values, self.grid[::-1], interpolation=cv2.INTER_LINEAR)
        foreground: NDArray[np.bool_] = values > 0
        return foreground

    def mask_to_image(self, mask: Mask) -> Mask:
        if self.grid == self.image:
            return mask
        x0, y0, x1, y1 = mask.box
        top, bottom = np.searchsorted(self._row_of, (y0, y1))
        left, right = np.searchsorted(self._column_of, (x0, x1))
        rows, columns = self._row_of[top:bottom] - y0, self._column_of[left:right] - x0
        return Mask.from_window(self.image, int(top), int(left), mask.window[np.ix_(rows, columns)])


def _filled(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A region ``(h, w)`` with its holes filled that are smaller than ``HOLE`` of it."""
    holes = np.pad(~region, 1, constant_values=True).view(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(holes, connectivity=8)
    if count <= 2:
        return region
    small = stats[:, cv2.CC_STAT_AREA] < HOLE * np.count_nonzero(region)
    small[[0, labels[0, 0]]] = False
    filled: NDArray[np.bool_] = region | small[labels[1:-1, 1:-1]]
    return filled
