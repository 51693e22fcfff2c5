"""Pictures of single cases: what was to be found and what was answered, drawn over the image, side by side.

Truth and prediction are told apart by colour (Okabe and Ito's, which colour-blind readers tell apart) and without it:
the outline of the truth is solid, that of a prediction is dashed; positive clicks hold a plus, negative ones a minus.
The same input gives the same bytes with the same versions of Pillow and OpenCV.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from sambench.core.mask import Image, Mask
from sambench.core.model import Click

PANEL_WIDTH, PANEL_HEIGHT = 328, 440
"""Pixels that a panel has at most; three with their gaps are 1000 wide."""

Box = tuple[float, float, float, float]
_Colour = tuple[int, int, int]

TRUTH: _Colour = (86, 180, 233)
PREDICTION: _Colour = (230, 159, 0)
POSITIVE: _Colour = (0, 158, 115)
NEGATIVE: _Colour = (213, 94, 0)
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)

_GAP = 8
_STRIP = 22
"""Height of the line of text above a panel."""
_TINT = 0.3
_DASH, _PERIOD = 9.0, 15.0
"""Pixels of a dash, and from one dash to the next."""
_MARGIN, _LEAST_MARGIN = 0.35, 8
"""Around what is drawn: a share of its longer side, and at least so many pixels of the image."""
_WHOLE = 0.75
"""A window of at least this share of the image's side is not worth cutting out."""
_SHARPEST = 20.0
"""Display pixels of a pixel of the image, at most."""
_RADIUS, _SMALL_RADIUS, _FEW = 8, 5, 6
"""Of a click, and of each where there are more than a few."""
_FONT = 13
_QUALITY = 90


@dataclass(frozen=True)
class _Window:
    """The part of an image that a panel shows, ``left`` to ``left + width`` and so on in its pixels, ``scale`` times as
    large."""

    left: int
    top: int
    width: int
    height: int
    scale: float

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height of the panel."""
        return max(1, round(self.width * self.scale)), max(1, round(self.height * self.scale))

    def point(self, x: float, y: float) -> tuple[int, int]:
        """Where the point ``xy`` of the image (pixel centres are whole numbers) lies on the panel."""
        return round((x + 0.5 - self.left) * self.scale - 0.5), round((y + 0.5 - self.top) * self.scale - 0.5)

    def cut(self, image: Image) -> Image:
        box = (self.left, self.top, self.left + self.width, self.top + self.height)
        resample = Pillow.Resampling.NEAREST if self.scale > 2 else Pillow.Resampling.BICUBIC
        return np.array(Pillow.fromarray(image).resize(self.shown, resample, box))


def case_picture(
    image: Image,
    truth: Mask,
    predicted: Mask,
    clicks: Sequence[Click] = (),
    box: Box | None = None,
    pointed: tuple[Mask, Click] | None = None,
) -> bytes:
    """A JPEG of three panels: the image, and with the truth, and with the prediction and its prompts. With ``pointed``,
    what the model answered when this click came besides (Fig. 12 of the paper), of four.

    All but the first show the part of the image around all of that, if it is small; a frame in the first says where.
    ``clicks``: in the order in which they were made; ``box``: xyxy. All in pixels of the image.
    """
    size = (image.shape[0], image.shape[1])
    whole = _fit(0, 0, size[1], size[0])
    more = [pointed[0].box] if pointed else []
    window = _around(size, [truth.box, predicted.box, *([box] if box else []), *more], clicks)
    first = whole.cut(image)
    if window != whole:
        corners = (
            whole.point(window.left, window.top),
            whole.point(window.left + window.width - 1, window.top + window.height - 1),
        )
        _rectangle(first, *corners, _WHITE)
    second, third = window.cut(image), window.cut(image)
    _draw_mask(second, truth, window, TRUTH, dashed=False)
    _draw_mask(third, predicted, window, PREDICTION, dashed=True)
    if box is not None:
        _rectangle(third, window.point(box[0], box[1]), window.point(box[2] - 1, box[3] - 1), POSITIVE)
    third = _draw_clicks(third, clicks, window)
    headings = (f"ground truth (solid), {truth.area} px", f"prediction (dashed), {predicted.area} px")
    panels = [("image", first), (headings[0], second), (headings[1], third)]
    if pointed is not None:
        fourth = window.cut(image)
        _draw_mask(fourth, pointed[0], window, PREDICTION, dashed=True)
        panels.append((f"with a point, {pointed[0].area} px", _draw_clicks(fourth, [pointed[1]], window)))
    return _side_by_side(panels)


def edges_picture(image: Image, boundaries: Sequence[NDArray[np.bool_]], strength: NDArray[np.uint8]) -> bytes:
    """A JPEG of three panels: the image, what people drew (the darker, the more of them), and the edge map (the darker,
    the stronger). ``boundaries``: ``(H, W)`` bool each; ``strength``: ``(H, W)`` uint8."""
    whole = _fit(0, 0, image.shape[1], image.shape[0])
    drawn = np.mean([np.asarray(one, np.float64) for one in boundaries], axis=0)
    return _side_by_side(
        [
            ("image", whole.cut(image)),
            (f"drawn by {len(boundaries)} people", _lines(drawn, whole)),
            ("edge map", _lines(strength / 255, whole)),
        ]
    )


def _fit(left: int, top: int, width: int, height: int) -> _Window:
    scale = min(PANEL_WIDTH / width, PANEL_HEIGHT / height, _SHARPEST)
    return _Window(left, top, width, height, scale)


def _around(size: tuple[int, int], boxes: Sequence[Box], clicks: Sequence[Click]) -> _Window:
    """A window of the image's proportions that holds boxes and clicks, or all of the image."""
    height, width = size
    there = [box for box in boxes if box[2] > box[0]] + [(c.x, c.y, c.x + 1, c.y + 1) for c in clicks]
    if not there:
        return _fit(0, 0, width, height)
    x0, y0 = min(b[0] for b in there), min(b[1] for b in there)
    x1, y1 = max(b[2] for b in there), max(b[3] for b in there)
    margin = max(_LEAST_MARGIN, _MARGIN * max(x1 - x0, y1 - y0))
    share = max((x1 - x0 + 2 * margin) / width, (y1 - y0 + 2 * margin) / height)
    if share >= _WHOLE:
        return _fit(0, 0, width, height)
    w, h = max(1, round(share * width)), max(1, round(share * height))
    left = min(max(0, round((x0 + x1 - w) / 2)), width - w)
    top = min(max(0, round((y0 + y1 - h) / 2)), height - h)
    return _fit(left, top, w, h)


def _draw_mask(panel: Image, mask: Mask, window: _Window, colour: _Colour, *, dashed: bool) -> None:
    """Tint and outline, in place."""
    part = mask.crop(window.top, window.left, window.top + window.height, window.left + window.width)
    grey = Pillow.fromarray(part.astype(np.uint8) * 255)
    enlarged = window.scale > 1
    shown = np.array(grey.resize(window.shown, Pillow.Resampling.NEAREST if enlarged else Pillow.Resampling.BOX))
    share = (shown.astype(np.float64) / 255 * _TINT)[..., None]
    panel[:] = np.rint(panel * (1 - share) + np.array(colour) * share).astype(np.uint8)
    # Of a mask that is made smaller the outline is taken before, so that a mask of a few pixels does not vanish.
    source, scale = (shown, 1.0) if enlarged else (part.astype(np.uint8), window.scale)
    contours, _ = cv2.findContours(source, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    paths = [(np.asarray(c[:, 0], np.float64) + 0.5) * scale - 0.5 for c in contours]
    _polylines(panel, paths, _BLACK, 4)
    _polylines(
        panel, [piece for path in paths for piece in _dashes(path)] if dashed else paths, colour, 2, closed=not dashed
    )


def _polylines(
    panel: Image, paths: Sequence[NDArray[np.float64]], colour: _Colour, thickness: int, *, closed: bool = True
) -> None:
    points = [np.rint(path).astype(np.int32)[:, None] for path in paths]
    cv2.polylines(panel, points, closed, colour, thickness, cv2.LINE_AA)


def _dashes(path: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The parts of a closed line that lie in dashes; a line shorter than one is a dash as a whole."""
    closed = np.vstack([path, path[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    number = (along // _PERIOD).astype(np.int64)
    visible = along - number * _PERIOD < _DASH
    return [closed[visible & (number == k)] for k in range(int(number[-1]) + 1)]


def _rectangle(panel: Image, first: tuple[int, int], last: tuple[int, int], colour: _Colour) -> None:
    cv2.rectangle(panel, first, last, _BLACK, 4)
    cv2.rectangle(panel, first, last, colour, 2)


def _draw_clicks(panel: Image, clicks: Sequence[Click], window: _Window) -> Image:
    """Discs with a plus or a minus, the first on top; with numbers if there are several."""
    radius = _RADIUS if len(clicks) <= _FEW else _SMALL_RADIUS
    arm, thickness = radius // 2, 2 if radius == _RADIUS else 1
    for click in reversed(clicks):
        x, y = window.point(click.x, click.y)
        cv2.circle(panel, (x, y), radius + 2, _BLACK, -1, cv2.LINE_AA)
        cv2.circle(panel, (x, y), radius + 1, _WHITE, -1, cv2.LINE_AA)
        cv2.circle(panel, (x, y), radius, POSITIVE if click.positive else NEGATIVE, -1, cv2.LINE_AA)
        cv2.line(panel, (x - arm, y), (x + arm, y), _WHITE, thickness)
        if click.positive:
            cv2.line(panel, (x, y - arm), (x, y + arm), _WHITE, thickness)
    if len(clicks) < 2:
        return panel
    picture = Pillow.fromarray(panel)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT)
    for number, click in enumerate(clicks, 1):
        x, y = window.point(click.x, click.y)
        right = x + radius + 20 < picture.width
        at = (x + radius + 4 if right else x - radius - 4, max(_FONT // 2, y - radius))
        draw.text(at, str(number), _WHITE, font, "lm" if right else "rm", stroke_width=2, stroke_fill=_BLACK)
    return np.array(picture)


def _lines(strength: NDArray[np.float64], window: _Window) -> Image:
    """Thin lines, dark on white. ``strength``: ``(H, W)`` within 0 and 1."""
    grey = Pillow.fromarray(np.asarray(strength, np.float32))
    shown = np.array(grey.resize(window.shown, Pillow.Resampling.BOX))
    # A line that is made thinner than a pixel would fade by as much.
    shown = np.clip(shown / min(window.scale, 1.0), 0, 1)
    return np.repeat(np.rint(255 * (1 - shown)).astype(np.uint8)[..., None], 3, axis=2)


def _side_by_side(panels: Sequence[tuple[str, Image]]) -> bytes:
    width = sum(panel.shape[1] for _, panel in panels) + _GAP * (len(panels) - 1)
    height = max(panel.shape[0] for _, panel in panels) + _STRIP
    canvas = Pillow.new("RGB", (width, height), _WHITE)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT)
    left = 0
    for text, panel in panels:
        draw.text((left, _STRIP // 2), _shortened(text, panel.shape[1], font), _BLACK, font, "lm")
        canvas.paste(Pillow.fromarray(panel), (left, _STRIP))
        left += panel.shape[1] + _GAP
    file = io.BytesIO()
    canvas.save(file, format="jpeg", quality=_QUALITY, subsampling=0)
    return file.getvalue()


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text
