"""Arrays in HDF5 files, with one clear line for each file that is not what it should be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sambench.errors import DataError
from sambench.readers.contents import LFS_POINTER, what_is_lacking
from sambench.readers.images import MAX_PIXELS


def array_shape(path: Path, key: str) -> tuple[int, ...]:
    """The shape of an array, without reading its values. Raises DataError, as :func:`read_array`."""
    with _array(path, key) as node:
        return tuple(node.shape)


def read_array(path: Path, key: str, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """The array under ``key``, as stored.

    ``shape``: what it must have. Raises DataError: missing, empty, damaged, not HDF5, no such key, no array of numbers,
    larger than an image may be, or of another shape.
    """
    with _array(path, key) as node:
        if shape is not None and node.shape != shape:
            raise DataError(f"{path}: {key!r} has the shape {node.shape}, expected {shape}")
        values: NDArray[Any] = node[()]
        return values


@contextmanager
def _array(path: Path, key: str) -> Iterator[Any]:
    """The array, not read yet; errors that concern the file come out as DataError."""
    import h5py  # a quarter of a second, for those who need it

    try:
        # Files are only read: no lock is needed, and some file systems have none.
        with h5py.File(path, "r", locking=False) as file:
            node = file.get(key)
            if not isinstance(node, h5py.Dataset) or node.dtype.kind not in "iufb":
                raise DataError(f"{path}: holds no array of numbers under {key!r}")
            if math.prod(node.shape[:2]) > MAX_PIXELS:
                raise DataError(f"{path}: refused, {key!r} has the shape {node.shape}, more than {MAX_PIXELS} pixels")
            yield node
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DataError(f"{path}: {_what_it_is(path, error)}") from None


def _what_it_is(path: Path, error: Exception) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
    except OSError as problem:
        return f"cannot be read ({problem.strerror})"
    return what_is_lacking(head) or f"damaged, or not an HDF5 file ({' '.join(str(error).split())}); copy it again"
