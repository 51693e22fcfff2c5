"""One mask in COCO's forms: a list of polygons, or a run-length code (https://cocodataset.org/#format-data)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sambench import masks
from sambench.core.mask import Mask
from sambench.readers.polygons import require_near, ring

Fill = Callable[[Sequence[Sequence[float]], tuple[int, int]], Mask]
"""From polygons ``[x1, y1, x2, y2, ...]`` and the ``(H, W)`` of their image to a mask."""


def segmentation_mask(segmentation: Any, size: tuple[int, int], fill: Fill = masks.from_polygons) -> Mask:
    """From ``[[x1, y1, x2, y2, ...], ...]`` or ``{"size": [H, W], "counts": list or text}``.

    ``size``: ``(H, W)`` of the image. ``fill``: makes a mask of polygons. Raises ValueError: neither form, malformed,
    made for another size, or reaching far out of the image.
    """
    if isinstance(segmentation, list):
        _require_polygons(segmentation, size)
        return fill(segmentation, size)
    if not isinstance(segmentation, dict):
        raise ValueError("segmentation is neither a list of polygons nor a run-length code")
    counts = segmentation.get("counts")
    if isinstance(counts, list) and not all(type(run) is int for run in counts):
        raise ValueError("run lengths must be whole numbers")
    if not isinstance(counts, (list, str)):
        raise ValueError("a run-length code needs 'counts', a list or a text")
    if segmentation.get("size") != list(size):
        raise ValueError(
            f"the mask is made for [height, width] = {segmentation.get('size')}, its image has {list(size)}"
        )
    try:
        return masks.from_rle({"size": size, "counts": counts})
    except (OverflowError, UnicodeEncodeError):
        raise ValueError("the run lengths hold a number or a character that is not of the code") from None


def _require_polygons(polygons: list[Any], size: tuple[int, int]) -> None:
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise ValueError("segmentation must be a list of polygons, each a list [x1, y1, x2, y2, ...]")
        if len(polygon) % 2:
            raise ValueError("a polygon has an odd number of coordinates")
        vertices = ring([list(pair) for pair in zip(polygon[0::2], polygon[1::2], strict=True)])
        if len(vertices):
            require_near(vertices, size)
