"""ZoomIn: from the second click on, the network looks at a crop around the object instead of the whole image.

After RITM (``isegm/inference/transforms/zoom_in.py`` and ``isegm/utils/misc.py``; protocol §2.7); FocalClick and
SimpleClick use it with other settings. :mod:`sambench.models.interactive.click_predictor` applies it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from sambench.models.interactive.click_maps import GridClick


class Crop(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of an image, pixels, **the last ones included**."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)``."""
        return self.bottom - self.top + 1, self.right - self.left + 1

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Crop:
        """All of an image of ``(H, W)``."""
        return cls(0, size[0] - 1, 0, size[1] - 1)


def box_of(region: Tensor, top: int = 0, left: int = 0) -> Crop | None:
    """The tight box of the true pixels of ``region`` (``(h, w)`` bool, whose first pixel is row ``top``, column
    ``left`` of the image); None if there are none."""
    rows = region.any(1).nonzero()
    if not len(rows):
        return None
    columns = region.any(0).nonzero()
    return Crop(top + int(rows[0]), top + int(rows[-1]), left + int(columns[0]), left + int(columns[-1]))


def overlap(a: Crop, b: Crop) -> float:
    """The IoU of the rows times the IoU of the columns, which is what RITM calls the IoU of two boxes (their own is
    larger unless they share their rows or their columns)."""
    return _overlap(a[:2], b[:2]) * _overlap(a[2:], b[2:])


@dataclass(frozen=True)
class ZoomIn:
    """The rule and its settings; the defaults are RITM's.

    ``target``: the long side of a crop at the network's input in pixels, its shape being kept; or ``(height, width)``.
    ``skip_clicks``: so many first clicks see the whole image at native resolution; with -1 the first click sees the
    whole image resized to ``target``. ``expansion``: a side of the crop over that of the object's box.
    ``min_size``: of a side of the crop, in pixels of the image. ``recompute_iou``: a new crop replaces the old one if
    their :func:`overlap` is below this (more than 1: always). ``threshold``: of the probability of the object.
    """

    target: int | tuple[int, int] = 400
    skip_clicks: int = 1
    expansion: float = 1.4
    min_size: int = 200
    recompute_iou: float = 0.5
    threshold: float = 0.5

    def crop(
        self,
        size: tuple[int, int],
        clicks: Sequence[GridClick],
        object_box: Crop | None,
        previous: Crop | None,
    ) -> Crop | None:
        """The crop to look at, or None for the whole image as it is.

        ``size``: ``(H, W)`` of the image. ``clicks``: all so far, in pixels of the image. ``object_box``:
        :func:`box_of` the previous probabilities above ``threshold``, None if there are none. ``previous``: the crop
        in use.
        """
        if len(clicks) <= self.skip_clicks:
            return None
        if object_box is not None:
            wanted = self.around(object_box, clicks, size)
        elif self.skip_clicks < 0:
            wanted = Crop.whole(size)
        else:
            return None
        if previous is None or not _holds(previous, clicks) or overlap(wanted, previous) < self.recompute_iou:
            return wanted
        return previous

    def around(self, object_box: Crop, clicks: Iterable[GridClick], size: tuple[int, int]) -> Crop:
        """The crop around an object and the positive clicks, within the image of ``(H, W)``."""
        rows, columns = list(object_box[:2]), list(object_box[2:])
        for click in clicks:
            if click.positive:
                rows.append(int(click.row))
                columns.append(int(click.column))
        top, bottom = self._expanded(min(rows), max(rows))
        left, right = self._expanded(min(columns), max(columns))
        return Crop(max(0, top), min(size[0] - 1, bottom), max(0, left), min(size[1] - 1, right))

    def input_size(self, crop: Crop) -> tuple[int, int]:
        """``(height, width)`` of a crop at the network's input. At least 1 pixel, which the reference does not see
        to."""
        if isinstance(self.target, tuple):
            return self.target
        scale = self.target / max(crop.size)
        return max(1, round(crop.size[0] * scale)), max(1, round(crop.size[1] * scale))

    def _expanded(self, first: int, last: int) -> tuple[int, int]:
        centre = 0.5 * (first + last)
        length = max(self.expansion * (last - first + 1), self.min_size)
        return round(centre - 0.5 * length), round(centre + 0.5 * length)


def clicks_in(crop: Crop, size: tuple[int, int], clicks: Iterable[GridClick]) -> list[GridClick]:
    """Clicks on the image as clicks on a crop that was resized to ``size``. Pixel i of n goes to i·m/n of m, as the
    reference has it, which is not quite where the resized pixel lies."""
    (height, width), (rows, columns) = size, crop.size
    return [
        GridClick(height * (row - crop.top) / rows, width * (column - crop.left) / columns, positive)
        for row, column, positive in clicks
    ]


def _holds(crop: Crop, clicks: Iterable[GridClick]) -> bool:
    """Whether all positive clicks lie in the crop; its last row and column do not count, as in the reference."""
    return all(
        crop.top <= click.row < crop.bottom and crop.left <= click.column < crop.right
        for click in clicks
        if click.positive
    )


def _overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Of two ranges of pixels, the last ones included. The union is the range that holds both."""
    common = max(0, min(a[1], b[1]) - max(a[0], b[0]) + 1)
    return common / (max(a[1], b[1]) - min(a[0], b[0]) + 1)
