"""The automatic mask generator (Segment Anything §B; protocol §1.4): all masks of an image from grids of points.

Equal to the released generator (segment_anything: automatic_mask_generator.py, utils/amg.py) where the options are:
the same masks in the same order, which ``tests/models/test_mask_generator_parity.py`` holds. Points are prompted a
batch at a time, and of each batch only run-length codes and a few numbers are kept, so that thousands of full-size
masks never exist at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge, Lt
from numpy.typing import NDArray

from sambench.core.mask import Mask
from sambench.core.model import View
from sambench.errors import UsageError
from sambench.masks import from_rle, to_rle
from sambench.models.common.coded_masks import MaskFilter
from sambench.models.common.point_grid import one_point_each, point_grid
from sambench.plugins.options import UnitInterval

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class GeneratorOptions:
    """Named as in the released generator, with its defaults. It does not have ``multimask``, ``crop_edge_distance``,
    ``full_image_thresh`` and ``keep_largest_region``."""

    points_per_side: Annotated[int, Ge(1)] = 32
    """Points per side of the grid over the full image, at the centres of as many cells."""
    points_per_batch: Annotated[int, Ge(1)] = 64
    """Points prompted and filtered at once; changes time and memory, no mask."""
    multimask: bool = True
    """Three candidates per point, if the model has them; `false`: one."""
    pred_iou_thresh: float = 0.88
    """Keep a mask whose predicted IoU is above this; 0: keep all."""
    stability_score_thresh: UnitInterval = 0.95
    """Keep a mask whose stability is at least this; 0: keep all."""
    stability_score_offset: Annotated[float, Ge(0)] = 1.0
    """Stability is the IoU of the masks at logits above plus and above minus this."""
    box_nms_thresh: UnitInterval = 0.7
    """Of two masks of a crop whose boxes overlap more than this (IoU), drop the one of lower predicted IoU."""
    crop_n_layers: Annotated[int, Ge(0)] = 0
    """Layer i, from 1 to this, cuts the image into 2^i x 2^i overlapping crops, each seen as an image of its own;
    0: the full image alone."""  # A view needs `crops`, see sambench.core.model.View.
    crop_nms_thresh: UnitInterval = 0.7
    """The same as `box_nms_thresh` among the masks of all crops; the mask of the smaller crop stays."""
    crop_overlap_ratio: Annotated[float, Ge(0), Lt(1)] = 512 / 1500
    """Overlap of the crops of layer 1, as a share of the image's short side; halves with each layer."""
    crop_n_points_downscale_factor: Annotated[int, Ge(1)] = 1
    """Layer i has points_per_side / factor^i points per side."""
    crop_edge_distance: Annotated[float, Ge(0)] = 20.0
    """Drop a mask whose box is within this many pixels of an edge of its crop that is not within as many pixels of
    the image's."""
    full_image_thresh: UnitInterval = 0.0
    """Drop a mask that covers at least this share of the image; 0: drop none."""
    min_mask_region_area: Annotated[int, Ge(0)] = 0
    """Fill holes and remove separate regions (8 neighbours) of fewer pixels, then suppress boxes that have become
    duplicates, unchanged masks before changed ones; 0: change nothing."""
    keep_largest_region: bool = True
    """Of a mask whose regions are all smaller keep the largest; `false`: drop the mask."""

    def __post_init__(self) -> None:
        if self.crop_points_per_side(self.crop_n_layers) < 1:
            raise ValueError(
                f"points_per_side={self.points_per_side}: with crop_n_points_downscale_factor="
                f"{self.crop_n_points_downscale_factor} leaves no points for crop layer {self.crop_n_layers}"
            )

    def crop_points_per_side(self, layer: int) -> int:
        """Of the grid in each crop of a layer; layer 0 is the full image."""
        return int(self.points_per_side / self.crop_n_points_downscale_factor**layer)


@dataclass(frozen=True, eq=False)
class Proposals:
    """K masks of one image, in the order in which the released generator leaves them: by descending predicted IoU;
    with crops, masks of smaller crops first; with ``min_mask_region_area``, unchanged masks first.

    ``size``: ``(H, W)`` of the image. ``codes``: K compressed run-length codes of the whole image (the ``counts`` of
    COCO's RLE, see :attr:`rles`). ``boxes``: ``(K, 4)`` int64 xyxy pixels, right and bottom inclusive, as the released
    generator measures them; of an empty mask the corner of its crop twice. ``areas``: ``(K,)`` int64 pixels.
    ``predicted_iou``: ``(K,)`` float32. ``stability``: ``(K,)`` float32 in [0, 1]; 0 for an empty mask; 1 for any other
    mask of a model that has no logits at the size of the image. ``points``: ``(K, 2)`` float32 xy of the prompts in
    pixels of the image. ``crop_boxes``: ``(K, 4)`` int64 xyxy of the crops that they were given in, right and bottom
    exclusive.

    ``prompts``, ``candidates``: how many points were prompted and how many masks the model answered.
    """

    size: tuple[int, int]
    codes: Sequence[bytes]
    boxes: NDArray[np.int64]
    areas: NDArray[np.int64]
    predicted_iou: NDArray[np.float32]
    stability: NDArray[np.float32]
    points: NDArray[np.float32]
    crop_boxes: NDArray[np.int64]
    prompts: int
    candidates: int

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def rles(self) -> list[dict[str, Any]]:
        """COCO's run-length codes, as :func:`sambench.masks.to_rle` makes them: ``{"size": [H, W], "counts": str}``."""
        return [{"size": list(self.size), "counts": code.decode("ascii")} for code in self.codes]

    def take(self, which: NDArray[np.int64]) -> Proposals:
        """The masks of these places, in this order."""
        columns = {name: getattr(self, name)[which] for name in _COLUMNS}
        return replace(self, codes=[self.codes[i] for i in which], **columns)


_COLUMNS = ("boxes", "areas", "predicted_iou", "stability", "points", "crop_boxes")


class MaskGenerator:
    """Makes proposals as ``options`` say."""

    def __init__(self, options: GeneratorOptions) -> None:
        self.options = options

    def generate(self, view: View, size: tuple[int, int], capabilities: Set[str]) -> Proposals:
        """All masks of the image that ``view`` looks at. ``size``: its ``(H, W)``. ``capabilities``: the model's.

        Raises UsageError if the options ask for crops and the view has none.
        """
        # Here, not at the top: whoever only lists tasks need not wait for numba.
        from sambench.models.common.box_nms import box_nms

        o = self.options
        crops = crop_boxes(size, o.crop_n_layers, o.crop_overlap_ratio)
        multimask = o.multimask and "multimask" in capabilities
        found = _joined(
            size,
            [
                self._in_crop(seen, size, crop, o.crop_points_per_side(layer), multimask)
                for seen, (crop, layer) in zip(_looks(view, crops), crops, strict=True)
            ],
        )
        if len(crops) > 1:
            widths, heights = (found.crop_boxes[:, 2:] - found.crop_boxes[:, :2]).T
            found = found.take(box_nms(found.boxes, 1 / (widths * heights).astype(np.float32), o.crop_nms_thresh))
        return self._cleaned(found) if o.min_mask_region_area else found

    def _in_crop(
        self, view: View, size: tuple[int, int], crop: Box, points_per_side: int, multimask: bool
    ) -> Proposals:
        """The masks of one crop, a batch of points at a time, duplicates suppressed."""
        from sambench.models.common.box_nms import box_nms
        from sambench.models.common.mask_coder import code_masks

        o = self.options
        wanted = MaskFilter(
            size,
            crop,
            score_above=o.pred_iou_thresh,
            stability_from=o.stability_score_thresh,
            offset=o.stability_score_offset,
            area_below=_least_area(o.full_image_thresh, size),
            edge_distance=o.crop_edge_distance,
        )
        x0, y0, x1, y1 = crop
        points = point_grid(points_per_side, (y1 - y0, x1 - x0))
        candidates, batches = 0, []
        for start in range(0, len(points), o.points_per_batch):
            part = points[start : start + o.points_per_batch]
            prediction = view.predict(one_point_each(part), multimask=multimask)
            coded = code_masks(prediction, wanted)
            each = prediction.scores.shape[1]
            candidates += each * len(part)
            batches.append(
                Proposals(
                    size,
                    coded.codes,
                    coded.boxes,
                    coded.areas,
                    coded.scores,
                    coded.stability,
                    part[coded.index // each] + np.array([x0, y0], np.float32),
                    np.tile(np.array([crop], np.int64), (len(coded.index), 1)),
                    len(part),
                    each * len(part),
                )
            )
        found = _joined(size, batches)
        return found.take(box_nms(found.boxes, found.predicted_iou, o.box_nms_thresh))

    def _cleaned(self, found: Proposals) -> Proposals:
        """Small holes filled, small regions removed, and what has become a duplicate by that suppressed."""
        from sambench.models.common.box_nms import box_nms

        o = self.options
        codes, boxes, areas = list(found.codes), found.boxes.copy(), found.areas.copy()
        unchanged = np.ones(len(found), np.float32)
        there = np.ones(len(found), np.bool_)
        for k, rle in enumerate(found.rles):
            before = from_rle(rle).dense()
            after = without_small_regions(before, o.min_mask_region_area, o.keep_largest_region)
            if after is not None:
                mask = Mask.from_dense(after)
                codes[k], areas[k] = to_rle(mask)["counts"].encode("ascii"), mask.area
                x0, y0, x1, y1 = mask.box
                boxes[k] = x0, y0, max(x1 - 1, 0), max(y1 - 1, 0)
                unchanged[k] = 0
            there[k] = o.keep_largest_region or areas[k] > 0
        cleaned = replace(found, codes=codes, boxes=boxes, areas=areas)
        left = np.flatnonzero(there)
        threshold = max(o.box_nms_thresh, o.crop_nms_thresh)
        return cleaned.take(left[box_nms(boxes[left], unchanged[left], threshold)])


def crop_boxes(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[tuple[Box, int]]:
    """The full image and the crops of each layer, xyxy pixels with right and bottom exclusive, each with its layer;
    columns of crops from left to right. As the released generator cuts them (utils/amg.py, generate_crop_boxes), but
    that in an image of few pixels crops that would lie outside of it are left out.

    ``size``: ``(H, W)``.
    """
    height, width = size
    crops = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / per_side))
        w, h = (math.ceil((overlap * (per_side - 1) + length) / per_side) for length in (width, height))
        for column in range(per_side):
            for row in range(per_side):
                x0, y0 = (w - overlap) * column, (h - overlap) * row
                if x0 < width and y0 < height:
                    crops.append(((x0, y0, min(x0 + w, width), min(y0 + h, height)), layer))
    return crops


def without_small_regions(
    mask: NDArray[np.bool_], least_area: int, keep_largest: bool = True
) -> NDArray[np.bool_] | None:
    """``(H, W)`` with holes of less than ``least_area`` pixels filled and then separate regions of less removed, of
    8 neighbours each; None if that changes nothing. If all regions are small the largest stays with ``keep_largest``,
    the first of those in the order of OpenCV's labels (utils/amg.py, remove_small_regions)."""
    filled = _recoloured(~mask, least_area, keep_largest=False)
    cleaned = _recoloured(mask if filled is None else ~filled, least_area, keep_largest)
    if cleaned is not None:
        return cleaned
    return None if filled is None else ~filled


def _recoloured(region: NDArray[np.bool_], least_area: int, keep_largest: bool) -> NDArray[np.bool_] | None:
    """A region without its small parts, or None if it has none."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(region.view(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    stays = areas >= least_area
    if stays[1:].all():
        return None
    stays[0] = False
    if keep_largest and not stays.any():
        stays[1 + areas[1:].argmax()] = True
    cleaned: NDArray[np.bool_] = stays[labels]
    return cleaned


def _looks(view: View, crops: Sequence[tuple[Box, int]]) -> Iterator[View]:
    """``view`` itself, then its crops."""
    yield view
    if len(crops) > 1:
        closer = view.crops([crop for crop, _ in crops[1:]])
        if closer is None:
            raise UsageError("task.crop_n_layers: this model's views cannot look at crops; give 0")
        yield from closer


def _least_area(share: float, size: tuple[int, int]) -> int:
    """Pixels from which on a mask covers the image; more than there are for a share of 0."""
    pixels = size[0] * size[1]
    # Rounded, lest 0.95 times a number of pixels be a little more than the whole number that it is.
    return math.ceil(round(share * pixels, 6)) if share else pixels + 1


def _joined(size: tuple[int, int], parts: Sequence[Proposals]) -> Proposals:
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    codes = [code for part in parts for code in part.codes]
    prompts, candidates = (sum(getattr(part, name) for part in parts) for name in ("prompts", "candidates"))
    return Proposals(size, codes, **columns, prompts=prompts, candidates=candidates)
