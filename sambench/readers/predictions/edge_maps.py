"""Edge maps made elsewhere: a folder with one grey picture or numpy array for each image."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from sambench.core.task import Predictions
from sambench.errors import DataError, UsageError
from sambench.readers.contents import LFS_POINTER, what_is_lacking
from sambench.readers.files import files_by_stem
from sambench.readers.images import MAX_PIXELS, image_size, read_labels

SUFFIXES = frozenset({".png", ".npy"})


def read_predictions(folder: Path) -> Predictions:
    """The maps of a folder, each named by the id of its image; other files are not looked at. An answer is the map as
    :func:`read_edge_map` has it; the digest goes over names and contents. Raises UsageError."""
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: is not a folder; edge maps come as a folder of PNG or .npy files named by image id"
        )
    files = files_by_stem(folder, SUFFIXES)
    if not files:
        raise UsageError(f"{folder}: holds no edge maps; expected PNG or .npy files named by image id")
    digest = hashlib.sha256()
    for id, path in files.items():
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
        digest.update(f"{id}{path.suffix.lower()}\0{content}\0".encode("utf-8", "surrogatepass"))
    return Predictions(list(files), digest.hexdigest(), partial(_answer, files), whole_images=True)


def read_edge_map(path: Path) -> NDArray[Any]:
    """``(H, W)``: uint8 (meaning value/255) or uint16 (value/65535) as stored, or float64 in [0, 1].

    A PNG is grey with 8 or 16 bits, or 1 bit (0 and 255), or has equal channels; a ``.npy`` is uint8, uint16, bool or
    floating-point. Raises DataError: unreadable, in colour, with a palette, of another kind or shape, and floats that
    are not numbers within 0 and 1.
    """
    values = _npy(path) if path.suffix.lower() == ".npy" else _png(path)
    if values.ndim != 2 or not values.size:
        raise DataError(f"{path}: an edge map has two dimensions, this array has the shape {values.shape}")
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype in (np.uint8, np.uint16):
        return values
    if values.dtype.kind != "f":
        raise DataError(f"{path}: an edge map is uint8, uint16 or floating-point, this one is {values.dtype}")
    if np.isnan(values).any():
        raise DataError(f"{path}: holds {int(np.isnan(values).sum())} values that are not a number (NaN)")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise DataError(f"{path}: values from {low:g} to {high:g}, expected 0 to 1")
    return values.astype(np.float64)


def _answer(files: Mapping[str, Path], id: str) -> NDArray[Any]:
    return read_edge_map(files[id])


def _png(path: Path) -> NDArray[Any]:
    image_size(path)  # says so if it is no image
    with Pillow.open(path) as image:
        mode = image.mode
    if mode == "P":
        raise DataError(f"{path}: a picture with a palette; store the edge strength as 8 or 16-bit grey")
    return read_labels(path)


def _npy(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
        if lacking := what_is_lacking(head):
            raise DataError(f"{path}: {lacking}")
        # Mapped first: a header may announce any size.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if mapped.size > MAX_PIXELS:
            raise DataError(f"{path}: refused, {mapped.size} values are more than {MAX_PIXELS}")
        return np.array(mapped)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # numpy's header parser lets out whatever it stumbles over
        raise DataError(f"{path}: not a numpy array file ({' '.join(str(error).split())})") from None
