"""What raters see: the image at a size that a screen can show, and a mask as a layer over it.

The browser lays the layers over each other and cuts out the zoomed views (``reports/templates/rate.js``).
"""

from __future__ import annotations

import io
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image as Pillow

from sambench.core.dataset import GroundTruth, Instance, Sample
from sambench.core.mask import Image, Mask
from sambench.study.storage import Prompt

LONGEST_SIDE = 2000
"""Pixels; larger images are made smaller before they are prompted (paper §E)."""

RED = (230, 0, 0, 128)
"""Of the overlay: red, half of it the image's (paper §G)."""

YELLOW = (255, 235, 40, 255)
"""Of the mask alone, which lies on purple (paper §G)."""

_QUALITY = 95
_MARGIN, _LEAST_SIDE = 0.25, 48
"""Around mask and prompt in the zoomed views: a share of their longer side; and pixels that a side shows at least."""


def scale(size: tuple[int, int]) -> float:
    """By what a picture of ``(H, W)`` is made smaller; 1 if it is small enough."""
    return min(1.0, LONGEST_SIDE / max(size))


def shown(sample: Sample) -> Sample:
    """The sample itself, or one whose image and annotation are made smaller, so that its longer side is
    :data:`LONGEST_SIDE`. A pixel of a mask stays where at least half of what it stands for was foreground."""
    if scale(sample.size) == 1:
        return sample
    height, width = (max(1, round(side * scale(sample.size))) for side in sample.size)
    by = (width / sample.size[1], height / sample.size[0])

    def smaller(mask: Mask) -> Mask:
        area = cv2.resize(mask.dense().view(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA)
        return Mask.from_dense(area >= 128)

    def read_truth() -> GroundTruth:
        truth = sample.truth
        void = None if truth.void is None else smaller(truth.void)
        return GroundTruth(tuple(_smaller(one, smaller(one.mask), by) for one in truth.instances), void)

    def read_image() -> Image:
        image: Image = cv2.resize(sample.image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
        return image

    return replace(sample, size=(height, width), read_image=read_image, read_truth=read_truth)


def _smaller(one: Instance, mask: Mask, by: tuple[float, float]) -> Instance:
    box = one.annotated_box
    if box is not None:
        box = (box[0] * by[0], box[1] * by[1], box[2] * by[0], box[3] * by[1])
    area = None if one.annotated_area is None else one.annotated_area * by[0] * by[1]
    return replace(one, mask=mask, annotated_box=box, annotated_area=area)


def jpeg(image: Image) -> bytes:
    """For people to look at; models see the pixels themselves."""
    out = io.BytesIO()
    Pillow.fromarray(image).save(out, format="JPEG", quality=_QUALITY, subsampling=0)
    return out.getvalue()


def layer(mask: Mask, colour: tuple[int, int, int, int]) -> bytes:
    """The mask as a PNG of its image's size: ``colour`` (RGBA) where it is foreground, nothing elsewhere."""
    picture = Pillow.fromarray(mask.dense().view(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, *colour[:3]])
    out = io.BytesIO()
    picture.save(out, format="PNG", bits=1, transparency=bytes([0, colour[3]]))
    return out.getvalue()


def window(mask: Mask, prompt: Prompt) -> tuple[float, float, float, float]:
    """What the zoomed views show: x, y, width, height in pixels, mask and prompt with some room around them.

    It follows from what the rater sees anyway; the annotated mask would give away how large the object should be.
    """
    height, width = mask.size
    corners = [mask.box] if mask.area else []
    if prompt.box is not None:
        left, top, right, bottom = map(round, prompt.box)
        corners.append((left, top, right, bottom))
    if prompt.point is not None:
        column, row = map(int, prompt.point)
        corners.append((column, row, column + 1, row + 1))
    x0, y0 = min(c[0] for c in corners), min(c[1] for c in corners)
    x1, y1 = max(c[2] for c in corners), max(c[3] for c in corners)
    room = 2 * _MARGIN * max(x1 - x0, y1 - y0)
    wide, high = min(max(x1 - x0 + room, _LEAST_SIDE), width), min(max(y1 - y0 + room, _LEAST_SIDE), height)
    x = min(max((x0 + x1 - wide) / 2, 0), width - wide)
    y = min(max((y0 + y1 - high) / 2, 0), height - high)
    return (x, y, wide, high)
