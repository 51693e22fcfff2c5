"""Image files to arrays, with one clear line for each file that is not what it should be.

Nothing here applies an EXIF rotation: annotations are drawn in the pixels as they are stored, and so image and masks
stay on one grid. Where the sizes disagree and a rotation is the reason, the error says so.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from sambench.core.mask import Image
from sambench.errors import DataError
from sambench.readers.contents import LFS_POINTER, what_is_lacking

MAX_PIXELS = 2 * 89_478_485
"""Larger images are refused by their header, before anything is decoded. It is what Pillow refuses when nobody has
moved its limit; ours holds even where somebody has."""

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}
)
"""File name endings (lower case) that are taken for images when a folder is listed."""

_EXIF_ORIENTATION = 0x0112
# What Pillow's decoders raise on broken files; a broken file must never end in a traceback.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)


class InMemory(io.BytesIO):
    """An image file that is not on disk as such, such as a member of an archive. ``where``: what messages call it."""

    def __init__(self, where: str, data: bytes) -> None:
        super().__init__(data)
        self._where = where

    def __str__(self) -> str:
        return self._where

    def open(self, mode: str = "rb") -> io.BytesIO:
        """A reader of its own, as of a path."""
        return io.BytesIO(self.getvalue())


ImageFile = Path | InMemory


def image_size(path: ImageFile) -> tuple[int, int]:
    """``(height, width)`` of an image file as stored, from its header alone. Raises DataError."""
    with _opened(path) as image:
        return (image.height, image.width)


def read_image(path: ImageFile, size: tuple[int, int] | None = None) -> Image:
    """An image file as ``(H, W, 3)`` uint8 RGB, in stored orientation.

    Grey and 1-bit images get three equal channels, palettes are looked up, CMYK is converted, alpha is dropped
    (not blended). Of 16-bit values the high byte is kept, which is what Pillow does for 16-bit colour too.
    ``size``: the ``(height, width)`` that the annotation gives, if it gives one.
    Raises DataError: missing, empty, truncated, not an image, too large, 32-bit, or of another size than ``size``.
    """
    with _opened(path) as image:
        if size is not None:
            _require_size(path, image, size, "the annotation")
        if image.mode.startswith("I;16"):
            grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise DataError(f"{path}: 32-bit pixels have no defined range for a photograph; store 8 or 16 bits")
        return np.array(image.convert("RGB"))


def read_labels(path: ImageFile, size: tuple[int, int] | None = None, *, first_channel: bool = False) -> NDArray[Any]:
    """A mask or label file as ``(H, W)`` of its stored integers (bool for 1-bit files); a palette's indices, not its
    colours.

    A colour file whose channels are equal is read as grey; otherwise it raises, or with ``first_channel`` yields
    that channel. ``size``: the ``(height, width)`` of the image it belongs to. Raises DataError, as for
    :func:`read_image`.
    """
    with _opened(path) as image:
        if size is not None:
            _require_size(path, image, size, "its image")
        if image.mode == "F":
            raise DataError(f"{path}: a mask holds integers, this file holds floating-point numbers")
        values = np.array(image)
        if values.ndim == 2:
            return values
        colour = values[:, :, : 1 if image.mode in ("LA", "PA", "La") else 3]
        if not first_channel and (colour != colour[:, :, :1]).any():
            raise DataError(
                f"{path}: a mask has one channel, this is a colour picture; store the label numbers as 8 or 16-bit grey"
            )
        return np.ascontiguousarray(colour[:, :, 0])


def has_colours(path: ImageFile) -> bool:
    """Whether an image file stores colours, by its header: a palette file stores indices. Raises DataError."""
    with _opened(path) as image:
        return image.mode.startswith("RGB")


def read_codes(path: ImageFile, size: tuple[int, int] | None = None) -> NDArray[np.int32]:
    """A file in which colours stand for numbers, as ``(H, W)`` of 65536 R + 256 G + B; alpha is dropped.

    ``size``: the ``(height, width)`` of the image it belongs to. Raises DataError, as for :func:`read_image`.
    """
    with _opened(path) as image:
        if size is not None:
            _require_size(path, image, size, "its image")
        rgb = np.asarray(image.convert("RGB"))
        codes = rgb[:, :, 0].astype(np.int32)
        for channel in (1, 2):
            codes <<= 8
            codes |= rgb[:, :, channel]
        return codes


@contextmanager
def _opened(path: ImageFile) -> Iterator[Pillow.Image]:
    """The image with its header read; errors of the body that concern the file come out as DataError."""
    try:
        with Pillow.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(_too_large(path, f"{image.width} x {image.height} pixels"))
            yield image
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: {_what_it_is(path)}") from None
    except Pillow.DecompressionBombError as error:
        raise DataError(_too_large(path, str(error))) from None
    except MemoryError:
        raise DataError(f"{path}: not enough memory to decode it") from None
    except _BROKEN as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        raise DataError(
            f"{path}: damaged or truncated image ({error or type(error).__name__}); copy it again"
        ) from None


def _too_large(path: ImageFile, detail: str) -> str:
    return f"{path}: refused before decoding, larger than {MAX_PIXELS} pixels ({detail})"


def _what_it_is(path: ImageFile) -> str:
    with path.open("rb") as file:
        head = file.read(len(LFS_POINTER))
    return what_is_lacking(head, "image") or "not an image in a format that can be read"


def _require_size(path: ImageFile, image: Pillow.Image, size: tuple[int, int], whose: str) -> None:
    if (image.height, image.width) == size:
        return
    line = f"{path}: the file is {image.height} x {image.width} pixels, {whose} {size[0]} x {size[1]} (height x width)"
    if (image.width, image.height) == size and image.getexif().get(_EXIF_ORIENTATION, 1) >= 5:
        line += "; they agree after its EXIF rotation, which is not applied: store the image upright"
    raise DataError(line)
