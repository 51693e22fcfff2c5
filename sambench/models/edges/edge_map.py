"""The edge map of a promptable model (Segment Anything §7.2, §D.2; protocol §3.2), from a view to 8 bits.

Points of a grid are prompted, duplicates among all masks are dropped by their boxes, and every mask that is left
writes the gradient of its probability along its boundary; the map is the maximum, stretched to [0, 1] and thinned.
A model without logits at the size of the image (:class:`sambench.models.common.logit_windows.SoftPrediction`) has
probabilities of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from sambench.core.mask import Mask
from sambench.core.model import Prediction, View
from sambench.models.common.logit_windows import SoftPrediction
from sambench.models.common.point_grid import one_point_each, point_grid
from sambench.models.common.wrapper import ModelAnswerError
from sambench.plugins.options import Positive, UnitInterval

MARGIN = 2
"""Pixels around a mask that its boundary's gradients depend on: one outside, and its neighbour."""
EPSILON = 1e-5
"""Keeps the direction of an edge defined where the map is flat; the toolbox's value."""


@dataclass(frozen=True)
class EdgeMapOptions:
    """Every step that the paper leaves open, with the recommended reading as default."""

    grid: Annotated[int, Ge(1)] = 16
    """Points per side, at the centres of as many cells (protocol §1.4)."""
    box_nms: UnitInterval = 0.7
    """Of two masks whose boxes overlap more than this (IoU), drop the one of lower predicted IoU."""
    box_nms_batch: Annotated[int, Ge(0)] = 0
    """0: box NMS over all masks of the image; N: first among the masks of each N points, then over the rest, as a
    public re-implementation does (64)."""
    boundary: Literal["outer", "inner", "both"] = "outer"
    """Ring of a mask that keeps its gradient: `outer`, the background pixels next to the mask (8 neighbours); `inner`,
    its own pixels next to the background."""
    holes: bool = True
    """Count the boundaries of holes too."""
    padding: Literal["replicate", "reflect", "zero"] = "replicate"
    """What the Sobel filter sees beyond the image: `reflect` does not repeat the border pixel, `zero` makes edges of
    the frame."""
    blur_radius: Annotated[int, Ge(0)] = 0
    """Radius of a triangle filter on the map before edge NMS; 0: none."""
    edge_nms: bool = True
    """Thin the map to its ridges."""
    orientation_radius: Annotated[int, Ge(0)] = 4
    """Radius of the triangle filter on the map from which the direction of an edge is taken."""
    nms_radius: Annotated[int, Ge(1)] = 1
    """Pixels to either side that an edge is compared with."""
    nms_multiplier: Positive = 1.01
    """Drop a pixel if one of those is stronger than this times its strength."""
    nms_border: Annotated[int, Ge(0)] = 5
    """Pixels over which the map fades at the frame."""


@dataclass(frozen=True, eq=False)
class EdgeMap:
    """Edge strength before thinning. ``strength``: ``(H, W)`` float32 in [0, 1]. ``prompts``, ``masks``: how many;
    ``survivors``: masks that box NMS kept. ``thin``: the model says that its own map is thinned already."""

    strength: NDArray[np.float32]
    prompts: int = 0
    masks: int = 0
    survivors: int = 0
    thin: bool = False


def strength_from_view(view: View, size: tuple[int, int], options: EdgeMapOptions, capabilities: Set[str]) -> EdgeMap:
    """The part that needs the model. ``size``: ``(H, W)``. With the capability ``edges`` it is the model's own map
    (``view.edges()``; a view whose map is thin already has ``edges_are_thin = True``), else it is made from points.

    Raises ModelAnswerError if the model's own map has another size or values outside [0, 1].
    """
    if "edges" in capabilities:
        return _own_map(view, size)
    prompts = one_point_each(point_grid(options.grid, size))
    prediction = view.predict(prompts, multimask="multimask" in capabilities)
    kept = surviving_masks(prediction, options)
    strength = np.zeros(size, np.float32)
    if isinstance(prediction, SoftPrediction):
        _draw_soft(strength, prediction, kept, options)
    else:
        for mask in _a_few_at_a_time(prediction, kept):
            _draw_binary(strength, mask, options)
    return EdgeMap(stretched(strength), len(prompts), prediction.scores.size, len(kept))


def finish(edges: EdgeMap, options: EdgeMapOptions) -> NDArray[np.uint8]:
    """The part that needs no model any more: blur and thinning (unless ``edges.thin``), and 8 bits. ``(H, W)``."""
    return to_8bit(edges.strength if edges.thin else non_maximum_suppression(edges.strength, options))


def surviving_masks(prediction: Prediction, options: EdgeMapOptions) -> list[tuple[int, int]]:
    """The (prompt, candidate) pairs that box NMS keeps, highest predicted IoU first."""
    # Here and below, not at the top: whoever only lists tasks need not wait for numba.
    from sambench.models.common.box_nms import box_nms, mask_boxes

    candidates = prediction.scores.shape[1]
    boxes, scores = mask_boxes(prediction).reshape(-1, 4), prediction.scores.reshape(-1)
    kept = np.arange(len(scores))
    if options.box_nms_batch:
        step = options.box_nms_batch * candidates
        batches = [kept[start : start + step] for start in range(0, len(kept), step)]
        kept = np.concatenate([part[box_nms(boxes[part], scores[part], options.box_nms)] for part in batches])
    kept = kept[box_nms(boxes[kept], scores[kept], options.box_nms)]
    return [(int(k) // candidates, int(k) % candidates) for k in kept]


def stretched(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """Minimum to 0, maximum to 1; a map of one value becomes 0."""
    low, high = strength.min(), strength.max()
    return (strength - low) / (high - low) if high > low else np.zeros_like(strength)


def non_maximum_suppression(strength: NDArray[np.float32], options: EdgeMapOptions) -> NDArray[np.float32]:
    """Blurs as ``options`` say and thins a map ``(H, W)`` in [0, 1], anybody's, if ``options.edge_nms``.

    Thinning is that of the Structured Edge toolbox (pdollar/edges: edgesDetect.m, private/edgesNmsMex.cpp): a pixel
    goes if the map is stronger, by more than the multiplier, at one of the places that lie across the edge at
    whole distances up to the radius, interpolated bilinearly; then the frame fades. Across the edge is the direction
    of strongest curvature of the smoothed map, approximately: the arctangent of ``Oyy * sign(-Oxy) / (Oxx +
    1e-5)`` of its second differences. Two things differ: a mixed difference of exactly 0 counts as negative, where the
    toolbox would take an exactly horizontal edge for a vertical one; and the angle is never computed, so that no
    trigonometric function of the machine matters.
    """
    if options.blur_radius:
        strength = triangle_filter(strength, options.blur_radius).astype(np.float32)
    if not options.edge_nms:
        return strength
    from sambench.models.edges import kernels

    return kernels.suppress(
        np.ascontiguousarray(strength, np.float32),
        *_across(triangle_filter(strength, options.orientation_radius)),
        options.nms_radius,
        options.nms_multiplier,
        options.nms_border,
    )


def triangle_filter(values: NDArray[Any], radius: int) -> NDArray[np.float64]:
    """``(H, W)`` smoothed by weights 1, 2, ..., radius + 1, ..., 2, 1 along both axes, the image continued by its
    mirror image (with the border pixel twice), as the toolbox's ``convTri`` does."""
    weights = (radius + 1 - np.abs(np.arange(-radius, radius + 1))) / (radius + 1) ** 2
    smooth = values.astype(np.float64)
    for axis in (0, 1):
        smooth = correlate1d(smooth, weights, axis, mode="reflect")
    return smooth


def to_8bit(strength: NDArray[Any]) -> NDArray[np.uint8]:
    """``(H, W)`` in [0, 1] to grey levels, rounded to the nearest (half up), as MATLAB writes images."""
    return np.floor(np.asarray(strength, np.float64) * 255 + 0.5).astype(np.uint8)


def _own_map(view: View, size: tuple[int, int]) -> EdgeMap:
    own = np.asarray(view.edges())
    if own.shape != size:
        raise ModelAnswerError(f"edges() answered a map {own.shape} for an image of {size}")
    # Written so that a value that is not a number is caught too.
    if not ((own >= 0) & (own <= 1)).all():
        raise ModelAnswerError("edges() answered values outside [0, 1]")
    return EdgeMap(own.astype(np.float32), thin=view.edges_are_thin)


def _a_few_at_a_time(prediction: Prediction, which: Sequence[tuple[int, int]]) -> Iterator[Mask]:
    for start in range(0, len(which), 16):
        yield from prediction.masks(which[start : start + 16])


def _draw_binary(strength: NDArray[np.float32], mask: Mask, options: EdgeMapOptions) -> None:
    if not mask.area:
        return
    x0, y0, x1, y1 = mask.box
    top, left = max(0, y0 - MARGIN), max(0, x0 - MARGIN)
    bottom, right = min(mask.size[0], y1 + MARGIN), min(mask.size[1], x1 + MARGIN)
    region = mask.crop(top, left, bottom, right)
    _draw(strength, top, left, region.astype(np.float32), region, options)


def _draw_soft(
    strength: NDArray[np.float32],
    prediction: SoftPrediction,
    which: Sequence[tuple[int, int]],
    options: EdgeMapOptions,
) -> None:
    on_device: Any = None
    for window in prediction.logits(which, MARGIN):
        if window.logits.device.type == "cpu" or not options.holes:
            logits = window.logits.cpu()
            regions, probabilities = (logits > 0).numpy(), logits.sigmoid().numpy()
            for region, probability in zip(regions, probabilities, strict=True):
                _draw(strength, window.top, window.left, probability, region, options)
        else:
            drawn = boundary_on_device(window.logits, options)
            on_device = drawn if on_device is None else on_device.maximum(drawn)
    if on_device is not None:
        np.maximum(strength, on_device.cpu().numpy(), out=strength)


def _draw(
    strength: NDArray[np.float32],
    top: int,
    left: int,
    probability: NDArray[np.float32],
    region: NDArray[np.bool_],
    options: EdgeMapOptions,
) -> None:
    from sambench.models.edges import kernels

    padding = getattr(kernels, options.padding.upper())
    outer, inner = options.boundary != "inner", options.boundary != "outer"
    if not options.holes:
        region = _without_holes(region)
    kernels.draw_boundary(strength, top, left, probability, region, outer, inner, padding)


def boundary_on_device(logits: Any, options: EdgeMapOptions) -> Any:
    """The same for whole frames ``(k, H, W)`` of a device at once, holes included: the maximum ``(H, W)``."""
    from torch.nn import functional

    region = (logits > 0).float()[:, None]
    ring = logits.new_zeros(region.shape)
    if options.boundary != "inner":
        ring += functional.max_pool2d(region, 3, 1, 1) - region
    if options.boundary != "outer":
        ring += functional.max_pool2d(1 - region, 3, 1, 1) - (1 - region)
    mode = {"replicate": "replicate", "reflect": "reflect", "zero": "constant"}[options.padding]
    p = functional.pad(logits.sigmoid()[:, None], (1, 1, 1, 1), mode=mode)
    across = p[..., 2:] - p[..., :-2]
    gx = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = p[..., 2:, :] - p[..., :-2, :]
    gy = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return (ring * (gx * gx + gy * gy).sqrt()).amax((0, 1))


def _without_holes(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The region and all background that no path of 4 neighbours joins to the border of the window.

    The window is wider than the region or ends where the image does, where no hole is closed either."""
    _, labels = cv2.connectedComponents((~region).view(np.uint8), connectivity=4)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    outside = np.isin(labels, np.setdiff1d(rim, 0))
    filled: NDArray[np.bool_] = ~outside
    return filled


def _across(smooth: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The direction across the edge at each pixel, rows and columns, of any length."""
    oy, ox = _differences(smooth)
    _, oxx = _differences(ox)
    oyy, oxy = _differences(oy)
    return np.where(oxy > 0, -oyy, oyy), oxx + EPSILON


def _differences(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Central differences along rows and columns, one-sided at the border, 0 along an axis of one pixel."""
    down, across = (
        np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values) for axis in (0, 1)
    )
    return down, across
