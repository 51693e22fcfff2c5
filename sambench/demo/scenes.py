"""Makes the pictures of the ``demo`` dataset: objects composited on photographs, so that every mask is exact.

The photographs are the ones that scikit-image ships inside its wheel. All arithmetic is on integers and all chance
comes from SHA-256, so that the pixels and the masks are the same on every machine and with every version of numpy.

An object is drawn in its own frame: a square from -1000 to 1000 in both directions, x to the right and y downwards,
which is then turned, scaled and moved into the picture.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Image
from sambench.errors import DataError, UsageError
from sambench.readers.images import read_image

VERSION = 1
"""Goes up with any change that changes a pixel."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Shape = Callable[[Ints, Ints], Bools]
Colour = tuple[int, int, int]

_PHOTOGRAPHS = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "cell.png": "8d23a7fb81f7cc877cd09f330357fc7f595651306e84e17252f6e0a1b3f61515",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "clock_motion.png": "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "ihc.png": "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    "moon.png": "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
    "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
}
_COLOURS: tuple[Colour, ...] = (
    (214, 48, 40),
    (240, 140, 30),
    (246, 208, 60),
    (70, 160, 60),
    (30, 110, 70),
    (50, 190, 190),
    (40, 100, 200),
    (30, 40, 110),
    (130, 60, 160),
    (230, 120, 170),
    (110, 70, 40),
    (240, 236, 226),
    (60, 60, 64),
)
# Photograph, tint for the grey ones, blur radius: out of focus, so that what is real in it does not vie with objects.
_BACKGROUNDS: tuple[tuple[str, Colour | None, int], ...] = (
    ("grass.png", (110, 170, 80), 1),
    ("brick.png", (190, 140, 120), 1),
    ("coffee.png", None, 3),
    ("gravel.png", (160, 160, 170), 1),
    ("astronaut.png", None, 3),
    ("moon.png", (150, 150, 190), 0),
    ("chelsea.png", None, 2),
    ("motorcycle_left.png", None, 3),
    ("camera.png", None, 2),
    ("ihc.png", None, 2),
    ("clock_motion.png", (130, 170, 210), 0),
    ("cell.png", (420, 360, 300), 1),
)
# Height and width in pixels: landscape, portrait, square, one pixel off square.
_SIZES = (
    (240, 320),
    (256, 256),
    (320, 240),
    (300, 400),
    (255, 256),
    (200, 320),
    (360, 480),
    (240, 320),
    (320, 256),
    (300, 300),
    (240, 384),
    (480, 640),
)
_SMALLEST = 9  # pixels: what is left of an object or part behind others, if less, is no longer annotated
N_IMAGES = 24


@dataclass(eq=False)
class Piece:
    """One annotated thing. ``mask``: ``(H, W)``, its visible pixels. ``parent``: its place in the scene's list."""

    category: str
    level: str
    mask: Bools
    parent: int | None = None
    crowd: bool = False


@dataclass(eq=False)
class Scene:
    """``image``: ``(H, W, 3)`` uint8. ``pieces``: whole objects, each followed by its parts and their subparts."""

    id: str
    image: Image
    pieces: list[Piece] = field(default_factory=list)


class Draw:
    """Whole numbers by chance, the same everywhere: SHA-256 of a name and a counter."""

    def __init__(self, name: str) -> None:
        self._name, self._count = name, 0

    def below(self, n: int) -> int:
        """From 0 to ``n`` - 1."""
        self._count += 1
        return int.from_bytes(hashlib.sha256(f"{self._name}/{self._count}".encode()).digest()[:8], "big") % n

    def between(self, low: int, high: int) -> int:
        """From ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)


# --- shapes ----------------------------------------------------------------------------------------------------------


def disk(x: int, y: int, r: int) -> Shape:
    return lambda u, v: (u - x) ** 2 + (v - y) ** 2 <= r * r


def ellipse(x: int, y: int, a: int, b: int) -> Shape:
    return lambda u, v: ((u - x) * b) ** 2 + ((v - y) * a) ** 2 <= (a * b) ** 2


def box(x0: int, y0: int, x1: int, y1: int) -> Shape:
    return lambda u, v: (u >= x0) & (u <= x1) & (v >= y0) & (v <= y1)


def polygon(*corners: tuple[int, int]) -> Shape:
    """Any simple polygon, by counting crossings of the ray to the right."""

    def inside(u: Ints, v: Ints) -> Bools:
        crossings = np.zeros(np.broadcast(u, v).shape, np.bool_)
        for (x0, y0), (x1, y1) in zip(corners, (*corners[1:], corners[0]), strict=True):
            if y0 == y1:
                continue
            spans = (v >= min(y0, y1)) & (v < max(y0, y1))
            left = (
                (u - x0) * (y1 - y0) < (v - y0) * (x1 - x0) if y1 > y0 else (u - x0) * (y1 - y0) > (v - y0) * (x1 - x0)
            )
            crossings ^= spans & left
        return crossings

    return inside


def union(*shapes: Shape) -> Shape:
    return lambda u, v: np.logical_or.reduce([shape(u, v) for shape in shapes])


def both(*shapes: Shape) -> Shape:
    return lambda u, v: np.logical_and.reduce([shape(u, v) for shape in shapes])


def minus(shape: Shape, hole: Shape) -> Shape:
    return lambda u, v: shape(u, v) & ~hole(u, v)


# --- the objects -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    category: str
    shape: Shape
    parts: tuple[Part, ...] = ()


def _star(points: int, outer: int, inner: int) -> Shape:
    corners = []
    for k in range(2 * points):
        r, turn = (outer if k % 2 == 0 else inner), math.pi * k / points
        corners.append((round(r * math.sin(turn)), -round(r * math.cos(turn))))
    return polygon(*corners)


def _around(n: int, distance: int, r: int) -> Shape:
    turns = [2 * math.pi * k / n for k in range(n)]
    return union(*(disk(round(distance * math.cos(t)), round(distance * math.sin(t)), r) for t in turns))


def _wheel(x: int) -> Part:
    return Part("wheel", disk(x, 420, 290), (Part("hub", disk(x, 420, 120)),))


_MUG_BODY = union(box(-750, -800, 450, 800), ellipse(-150, 800, 600, 150))
_MUG_HANDLE = minus(minus(disk(470, 0, 480), disk(470, 0, 270)), box(-1000, -1000, 450, 1000))
_FISH_BODY = ellipse(-150, 0, 800, 430)
_CAR_CABIN = polygon((-520, -120), (-330, -520), (300, -520), (560, -120))
_CROWN = union(disk(0, -450, 520), disk(-430, -150, 430), disk(430, -150, 430))

OBJECTS: Mapping[str, Part] = {
    "ball": Part(
        "ball",
        disk(0, 0, 980),
        (Part("band", both(disk(0, 0, 980), box(-1000, -330, 1000, 330)), (Part("dot", disk(0, 0, 240)),)),),
    ),
    "mug": Part(
        "mug",
        union(_MUG_BODY, _MUG_HANDLE),
        (Part("handle", _MUG_HANDLE), Part("label", box(-600, -350, 300, 450), (Part("emblem", disk(-150, 50, 260)),))),
    ),
    "house": Part(
        "house",
        union(box(-780, -150, 780, 950), polygon((-1000, -140), (0, -980), (1000, -140))),
        (
            Part("roof", polygon((-1000, -140), (0, -980), (1000, -140))),
            Part(
                "wall",
                box(-780, -150, 780, 950),
                (Part("window", box(-560, 80, -160, 480)), Part("door", box(180, 200, 560, 950))),
            ),
        ),
    ),
    "car": Part(
        "car",
        union(box(-950, -130, 950, 420), _CAR_CABIN, disk(-520, 420, 290), disk(520, 420, 290)),
        (
            _wheel(-520),
            _wheel(520),
            Part("cabin", _CAR_CABIN, (Part("window", polygon((-360, -170), (-240, -440), (-20, -440), (-20, -170))),)),
        ),
    ),
    "tree": Part(
        "tree",
        union(_CROWN, box(-130, 150, 130, 980)),
        (
            Part(
                "crown",
                _CROWN,
                (
                    Part("apple", disk(-350, -200, 130)),
                    Part("apple", disk(180, -520, 130)),
                    Part("apple", disk(420, -60, 130)),
                ),
            ),
            Part("trunk", minus(box(-130, 150, 130, 980), _CROWN)),
        ),
    ),
    "flower": Part(
        "flower",
        union(_around(7, 620, 330), disk(0, 0, 620)),
        (Part("centre", disk(0, 0, 400), (Part("pistil", disk(0, 0, 170)),)),),
    ),
    "fish": Part(
        "fish",
        union(_FISH_BODY, polygon((480, 0), (980, -480), (980, 480))),
        (
            Part("tail", minus(polygon((480, 0), (980, -480), (980, 480)), _FISH_BODY)),
            Part("head", both(_FISH_BODY, box(-1000, -1000, -430, 1000)), (Part("eye", disk(-660, -90, 110)),)),
        ),
    ),
    "balloon": Part(
        "balloon",
        union(ellipse(0, -380, 480, 580), polygon((-110, 280), (0, 150), (110, 280)), box(-22, 200, 22, 1000)),
        (
            Part("envelope", ellipse(0, -380, 480, 580), (Part("patch", ellipse(-170, -560, 120, 170)),)),
            Part("string", box(-22, 281, 22, 1000)),
        ),
    ),
    "street lamp": Part(
        "street lamp",
        union(
            box(-35, -700, 35, 1000),
            polygon((-260, -640), (-140, -960), (140, -960), (260, -640)),
            box(-160, 930, 160, 1000),
        ),
        (
            Part(
                "lamp head",
                polygon((-260, -640), (-140, -960), (140, -960), (260, -640)),
                (Part("bulb", ellipse(0, -720, 120, 90)),),
            ),
        ),
    ),
    "ring": Part("ring", minus(disk(0, 0, 980), disk(0, 0, 560))),
    "star": Part("star", _star(5, 1000, 420)),
    "crescent": Part("crescent", minus(disk(0, 0, 980), disk(420, -120, 800))),
    "coin": Part("coin", disk(0, 0, 1000)),
    "button": Part("button", disk(0, 0, 1000)),
}
_UPRIGHT = frozenset({"house", "car", "tree", "street lamp", "balloon", "mug"})
_LARGE = ("mug", "house", "ball", "car", "tree", "flower", "fish", "balloon", "street lamp")
_PLAIN = ("ring", "star", "crescent")


# --- photographs -----------------------------------------------------------------------------------------------------


@cache
def _photograph(name: str) -> Image:
    """One of scikit-image's own files, checked: another picture of that name would make another dataset."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UsageError("the demo dataset is made from photographs of scikit-image, which is not installed")
    path = Path(spec.origin).parent / "data" / name
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() == _PHOTOGRAPHS[name]:
            return read_image(path)
    except (OSError, DataError):
        pass
    raise UsageError(f"{path}: not the photograph the demo dataset is made from; install scikit-image 0.25 or 0.26")


def _grey(image: Image) -> Ints:
    """Luma of ITU-R BT.601 in whole numbers: ``(H, W)`` from 0 to 255."""
    r, g, b = (image[:, :, c].astype(np.int64) for c in range(3))
    return (299 * r + 587 * g + 114 * b) // 1000


def _blur(values: Ints, radius: int) -> Ints:
    """Mean over squares of side ``2 radius + 1``, edges repeated: ``(H, W)`` or ``(H, W, C)``, rounded down."""
    if radius == 0:
        return values
    side = 2 * radius + 1
    for axis in (0, 1):
        pad = [(0, 0)] * values.ndim
        pad[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(values, pad, mode="edge"), axis=axis)
        low, high = (np.take(sums, np.arange(at, at + values.shape[axis]), axis=axis) for at in (0, side))
        values = (high - low) // side
    return values


def _background(name: str, tint: Colour | None, radius: int, size: tuple[int, int], draw: Draw) -> Ints:
    photograph = _photograph(name).astype(np.int64)
    while photograph.shape[0] < size[0] or photograph.shape[1] < size[1]:
        photograph = _blur(photograph.repeat(2, axis=0).repeat(2, axis=1), 1)
    top, left = draw.below(photograph.shape[0] - size[0] + 1), draw.below(photograph.shape[1] - size[1] + 1)
    crop = _blur(photograph[top : top + size[0], left : left + size[1]], radius)
    if tint is not None:
        crop = crop * np.asarray(tint, np.int64) // 150
    return np.clip(crop, 0, 255)


# Photograph, blur radius, percent of its contrast.
_TEXTURES = (
    ("gravel.png", 1, 50),
    ("grass.png", 1, 55),
    ("ihc.png", 2, 60),
    ("moon.png", 0, 120),
    ("brick.png", 1, 50),
)


@cache
def _surface(kind: int) -> Ints:
    """A photograph as brightness around 256, ``(512, 512)``."""
    name, radius, percent = _TEXTURES[kind]
    grey = _blur(_grey(_photograph(name)), radius)
    return 256 + (grey - int(grey.sum()) // grey.size) * percent // 100


def _texture(size: tuple[int, int], draw: Draw) -> Ints:
    """A piece of a photograph as brightness around 256, ``(H, W)``: what gives an object its surface."""
    surface = _surface(draw.below(len(_TEXTURES)))
    rows, columns = (np.arange(n) + draw.below(512) for n in size)
    piece: Ints = surface[np.ix_(rows % surface.shape[0], columns % surface.shape[1])]
    return piece


# --- composition -----------------------------------------------------------------------------------------------------


class _Canvas:
    """A scene in the making."""

    def __init__(self, id: str, size: tuple[int, int], picture: Ints, draw: Draw) -> None:
        self.id, self.size, self.picture, self.draw = id, size, picture, draw
        self.pieces: list[Piece] = []
        self._last: Colour | None = None

    def place(self, name: str, x: int, y: int, r: int, turn: int, *, overlap: int = 12) -> bool:
        """Draw an object with its centre at (x, y), half as wide as ``2 r`` pixels, turned by ``turn`` / 64. Refuses
        where it would hide more than ``overlap`` percent of an object that is there."""
        u, v = self._frame(x, y, r, turn)
        whole = OBJECTS[name].shape(u, v)
        if np.count_nonzero(whole) < _SMALLEST or any(
            100 * np.count_nonzero(piece.mask & whole) > overlap * np.count_nonzero(piece.mask)
            for piece in self.pieces
            if piece.level == "whole"
        ):
            return False
        self._cover(whole)
        self._shadow(whole, max(2, r // 10))
        self._add(OBJECTS[name], u, v, None, whole)
        return True

    def wire(self, width: int) -> None:
        """A thin line that sags from one side of the picture to the other."""
        height, across = self.size
        y, sag = self.draw.between(height // 10, height // 3), self.draw.between(height // 12, height // 5)
        columns = np.arange(across, dtype=np.int64)
        middle = y + 4 * sag * columns * (across - columns) // (across * across)
        mask = np.abs(2 * (np.arange(height, dtype=np.int64)[:, None] - middle) - width % 2) <= width
        self._cover(mask)
        self._paint(mask, self._colour(mask, None), np.zeros(self.size, np.int64))
        self.pieces.append(Piece("wire", "whole", mask))

    def crowd(self, n: int, r: int) -> None:
        """Many small grains that are annotated as one crowd region."""
        height, width = self.size
        mask = np.zeros(self.size, np.bool_)
        x, y = self.draw.between(width // 3, 2 * width // 3), self.draw.between(2 * height // 3, height - height // 8)
        for _ in range(n):
            u, v = self._frame(
                x + self.draw.between(-width // 5, width // 5), y + self.draw.between(-height // 9, height // 9), r, 0
            )
            mask |= disk(0, 0, 1000)(u, v)
        self._cover(mask)
        self._paint(mask, self._colour(mask, None), np.zeros(self.size, np.int64))
        self.pieces.append(Piece("grain", "whole", mask, crowd=True))

    def finish(self) -> Scene:
        """One pass of a small lens blur, as in any photograph, and the list without what is (nearly) hidden."""
        weights = (1, 6, 1)
        picture = self.picture
        for axis in (0, 1):
            pad = [(0, 0)] * 3
            pad[axis] = (1, 1)
            padded = np.pad(picture, pad, mode="edge")
            picture = sum(
                weight * np.take(padded, np.arange(k, k + picture.shape[axis]), axis=axis)
                for k, weight in enumerate(weights)
            )  # type: ignore[assignment]
        image = ((picture + 32) // 64).astype(np.uint8)
        places: dict[int, int] = {}
        kept: list[Piece] = []
        for at, piece in enumerate(self.pieces):
            parent = piece.parent
            gone = np.count_nonzero(piece.mask) < _SMALLEST or (parent is not None and parent not in places)
            if gone or (parent is not None and (piece.mask == self.pieces[parent].mask).all()):
                continue
            places[at] = len(kept)
            kept.append(
                Piece(piece.category, piece.level, piece.mask, None if parent is None else places[parent], piece.crowd)
            )
        return Scene(self.id, image, kept)

    def _frame(self, x: int, y: int, r: int, turn: int) -> tuple[Ints, Ints]:
        """Each pixel's place in the object's own frame, two ``(H, W)`` arrays."""
        cosine, sine = round(1024 * math.cos(math.pi * turn / 32)), round(1024 * math.sin(math.pi * turn / 32))
        dy, dx = np.mgrid[: self.size[0], : self.size[1]].astype(np.int64) - np.array([y, x])[:, None, None]
        return (dx * cosine + dy * sine) * 1000 // (1024 * r), (dy * cosine - dx * sine) * 1000 // (1024 * r)

    def _add(
        self, part: Part, u: Ints, v: Ints, parent: int | None, within: Bools, taken: Colour | None = None
    ) -> None:
        mask = part.shape(u, v) & within
        if not mask.any():
            return
        level = "whole" if parent is None else ("part" if self.pieces[parent].level == "whole" else "subpart")
        colour = self._colour(mask, taken if level != "whole" else self._last)
        if level == "whole":
            self._last = colour
        self._paint(mask, colour, u + v)
        self.pieces.append(Piece(part.category, level, mask, parent))
        at = len(self.pieces) - 1
        for inner in part.parts:
            self._add(inner, u, v, at, mask, colour)

    def _colour(self, mask: Bools, taken: Colour | None) -> Colour:
        """A colour well apart from what lies behind, and from ``taken``: that of the object it is a part of, or of the
        object that was drawn before (coins that touch must not look like one)."""
        behind = tuple(int(self.picture[:, :, c][mask].sum()) // int(mask.sum()) for c in range(3))
        against: Sequence[Sequence[int]] = [behind] if taken is None else [behind, taken]
        start = self.draw.below(len(_COLOURS))
        ordered = _COLOURS[start:] + _COLOURS[:start]
        return next(
            (
                c
                for c in ordered
                if all(sum(abs(a - b) for a, b in zip(c, other, strict=True)) > 170 for other in against)
            ),
            ordered[0],
        )

    def _paint(self, mask: Bools, colour: Colour, slope: Ints) -> None:
        """Colour times texture times light from the upper left. ``slope``: from about -2000 (lit) to 2000."""
        rows, columns = np.nonzero(mask)
        at = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        inside = mask[at]
        light = 256 - np.clip(slope[at], -2000, 2000) * 60 // 2000
        brightness = _texture((inside.shape[0], inside.shape[1]), self.draw) * light // 256
        painted = np.asarray(colour, np.int64) * brightness[:, :, None] // 256
        self.picture[at][inside] = np.clip(painted, 0, 255)[inside]

    def _shadow(self, mask: Bools, reach: int) -> None:
        """Darkens softly what lies to the lower right of the object."""
        moved = np.zeros(self.size, np.int64)
        moved[reach:, reach:] = mask[: self.size[0] - reach, : self.size[1] - reach] * 256
        soft = _blur(_blur(moved, reach), reach)
        self.picture = self.picture * (256 - soft * 90 // 256)[:, :, None] // 256

    def _cover(self, mask: Bools) -> None:
        for piece in self.pieces:
            piece.mask &= ~mask


def make_scene(number: int) -> Scene:
    """Scene ``number`` of :data:`N_IMAGES`, from 0. Raises UsageError if scikit-image's photographs are not there."""
    draw = Draw(f"sambench demo {VERSION}/{number}")
    size = _SIZES[(number + number // len(_SIZES)) % len(_SIZES)]
    height, width = size
    short = min(size)
    name, tint, radius = _BACKGROUNDS[(number * 5) % len(_BACKGROUNDS)]
    canvas = _Canvas(f"demo-{number + 1:02d}", size, _background(name, tint, radius, size, draw), draw)

    def scatter(name: str, r: int, margin: int, tries: int = 40) -> None:
        turn = draw.between(-3, 3) if name in _UPRIGHT else draw.below(64)
        for _ in range(tries):
            if canvas.place(name, draw.between(margin, width - margin), draw.between(margin, height - margin), r, turn):
                return

    if number % 12 == 7:
        canvas.crowd(40, 3)
    if number % 4 == 1:
        canvas.wire(draw.between(2, 3))
    # A large one, cut by the border in every third picture.
    first = _LARGE[number % len(_LARGE)]
    r = short * draw.between(20, 30) // 100
    if number % 3 == 0:
        side = draw.below(4)
        inward = r * draw.between(30, 60) // 100
        x = (inward, width - inward, draw.between(r, width - r), draw.between(r, width - r))[side]
        y = (draw.between(r, height - r), draw.between(r, height - r), inward, height - inward)[side]
        canvas.place(first, x, y, r, draw.between(-3, 3))
    else:
        scatter(first, r, r)
    for k in range(1, 3 + (height * width > 90_000) + 2 * (height * width > 200_000)):
        scatter(_LARGE[(number + 4 * k) % len(_LARGE)], short * draw.between(12, 20) // 100, short // 7)
    scatter(_PLAIN[number % len(_PLAIN)], short * draw.between(7, 12) // 100, short // 9)
    # Coins in a row that touch: their masks share borders but no pixel.
    if number % 2 == 0:
        r = short * draw.between(4, 7) // 100
        for _ in range(20):
            x, y = draw.between(2 * r, width - 6 * r), draw.between(r, height - r)
            if canvas.place("coin", x, y, r, 0, overlap=0):
                for k in range(1, 3):
                    canvas.place("coin", x + 2 * k * r, y, r, 0, overlap=6)
                break
    for _ in range(2):
        scatter("button", draw.between(2, 4), 8)
    return canvas.finish()
