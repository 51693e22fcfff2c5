"""MATLAB files of version 5 (``.mat``), one variable at a time, with one clear line for what is not as it should be.

The format is MathWorks' "MAT-File Format" (level 5). It is parsed here, and not by ``scipy.io.loadmat``, because that
crashes the process on some damaged files; the tests hold both against each other on sound ones. A numeric or logical
array comes as a numpy array of at least two dimensions with its class's dtype, a sparse one as the dense array it
stands for, text as ``str``, a cell array as a list column by column, a struct of 1 x 1 as a dict, one of another
shape as a list of dicts.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.errors import DataError
from sambench.readers.contents import read_bytes

MAX_BYTES = 1 << 28
"""A file is refused if it, what one of its variables unpacks to, or a sparse array made dense, is larger: many times
any annotation of an image."""

_HEADER_BYTES = 128
_MAX_DEPTH = 32
_MATRIX, _COMPRESSED = 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Type numbers of data elements that hold numbers."""
_CELL, _STRUCT, _CHAR, _SPARSE = 1, 2, 4, 5
_NUMERIC = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Class numbers of numeric arrays."""
_TEXT = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_LOGICAL, _COMPLEX = 0x02, 0x08


def read_variable(path: Path, name: str) -> Any:
    """One variable, as the module says. Raises DataError: no such file, not a version 5 file, damaged, too large, a
    kind that is not supported (complex numbers, objects, functions), or without the variable."""
    return _found(path, name, lambda matrix: matrix.value(0))


def shape_of(path: Path, name: str) -> tuple[int, ...]:
    """The shape of a variable, without reading it. Raises DataError as :func:`read_variable` does."""
    shape: tuple[int, ...] = _found(path, name, lambda matrix: matrix.shape, head_only=True)
    return shape


def field(value: Any, name: str, what: str) -> Any:
    """A field of a struct of 1 x 1. ``what``: file and variable, for the message. Raises DataError."""
    if not isinstance(value, dict):
        raise DataError(f"{what} is {_kind(value)}, expected a struct")
    if name not in value:
        raise DataError(f"{what} has no field {name!r} (it has: {_listed(value)})")
    return value[name]


def cells(value: Any, what: str) -> list[Any]:
    """The elements of a cell array. ``what``: file and variable, for the message. Raises DataError."""
    if not isinstance(value, list):
        raise DataError(f"{what} is {_kind(value)}, expected a cell array")
    return value


def _kind(value: Any) -> str:
    for type_, name in ((dict, "a struct"), (list, "a cell array"), (str, "text")):
        if isinstance(value, type_):
            return name
    return "a numeric array"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


class _Damaged(Exception):
    """What is wrong with the bytes."""


def _found(path: Path, name: str, take: Callable[[_Matrix], Any], *, head_only: bool = False) -> Any:
    data, order = _bytes_of(path)
    names = []
    try:
        for element in _variables(data, order, head_only):
            matrix = _Matrix.of(element, order)
            if matrix.name == name:
                return take(matrix)
            names.append(matrix.name)
    except _Damaged as error:
        raise DataError(f"{path}: damaged MATLAB file or of an unusual kind: {error}") from None
    raise DataError(f"{path}: has no variable {name!r} (it has: {_listed(names)})")


def _bytes_of(path: Path) -> tuple[bytes, str]:
    """The file, and its byte order as ``<`` or ``>``."""
    data = read_bytes(path, most=MAX_BYTES)
    if data.startswith(b"MATLAB 7.3"):
        raise DataError(f"{path}: a MATLAB file of version 7.3; expected version 5 (save it with -v7)")
    if len(data) < _HEADER_BYTES or data[126:128] not in (b"IM", b"MI"):
        raise DataError(f"{path}: not a MATLAB file of version 5")
    return data, "<" if data[126:128] == b"IM" else ">"


def _variables(data: bytes, order: str, head_only: bool) -> Iterator[_Bytes]:
    """The content of each matrix element of a file, unpacked; with ``head_only`` only as much as holds its head."""
    at = _HEADER_BYTES
    while at < len(data):
        if at + 8 > len(data):
            raise _Damaged("it ends in the middle of a variable")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        content = data[at + 8 : at + 8 + size]
        at += 8 + size
        if len(content) < size and not head_only:
            raise _Damaged(f"it ends {size - len(content)} bytes early")
        if kind == _COMPRESSED:
            content = _unpacked(content, head_only)
            if len(content) < 8:
                raise _Damaged("an empty variable")
            kind, size = struct.unpack_from(f"{order}II", content)
            content = content[8 : 8 + size]
        if kind == _MATRIX:
            yield _Bytes(content, order)


def _unpacked(packed: bytes, head_only: bool) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(packed, 4096 if head_only else MAX_BYTES)
    except zlib.error as error:
        raise _Damaged(str(error)) from None
    if not head_only and not unpacker.eof:
        raise _Damaged("a variable is cut off" if not unpacker.unconsumed_tail else "a variable unpacks without end")
    return content


class _Bytes:
    """A run of data elements that is read from front to back."""

    def __init__(self, data: bytes | memoryview, order: str) -> None:
        self.data, self.order, self.at = memoryview(data), order, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def element(self) -> tuple[int, memoryview]:
        """Type and content of the next data element."""
        if self.left < 8:
            raise _Damaged("it ends in the middle of a variable")
        kind, size = struct.unpack_from(f"{self.order}II", self.data, self.at)
        if kind >> 16:  # a small element: its size in the upper half, its content in the second word
            start, kind, size, step = self.at + 4, kind & 0xFFFF, kind >> 16, 8
            if size > 4:
                raise _Damaged("a small element of more than 4 bytes")
        else:
            start, step = self.at + 8, 8 + size + -size % 8
        if start + size > len(self.data):
            raise _Damaged("it ends in the middle of a variable")
        self.at += step
        return kind, self.data[start : start + size]

    def numbers(self) -> NDArray[Any]:
        """The next data element as ``(n,)`` numbers."""
        kind, content = self.element()
        if kind not in _STORED:
            raise _Damaged(f"data of type {kind} where numbers are expected")
        dtype = np.dtype(self.order + _STORED[kind])
        if len(content) % dtype.itemsize:
            raise _Damaged("a part of a number")
        return np.frombuffer(content, dtype)

    def text(self) -> str:
        return bytes(self.element()[1]).decode("latin-1")

    def matrix(self) -> _Matrix:
        kind, content = self.element()
        if kind != _MATRIX:
            raise _Damaged(f"an element of type {kind} where an array is expected")
        return _Matrix.of(_Bytes(content, self.order), self.order)


@dataclass(frozen=True)
class _Matrix:
    """The head of an array, and what follows it."""

    kind: int
    flags: int
    shape: tuple[int, ...]
    name: str
    rest: _Bytes

    @classmethod
    def of(cls, element: _Bytes, order: str) -> _Matrix:
        if not element.left:  # how MATLAB writes an empty cell
            return cls(
                6, 0, (0, 0), "", _Bytes(b"\x09\0\0\0\0\0\0\0" if order == "<" else b"\0\0\0\x09\0\0\0\0", order)
            )
        flags = element.numbers()
        shape = tuple(int(n) for n in element.numbers())
        if not flags.size or len(shape) < 2 or min(shape) < 0:
            raise _Damaged("an array without a shape")
        return cls(int(flags[0]) & 0xFF, int(flags[0]) >> 8 & 0xFF, shape, element.text(), element)

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise _Damaged(f"arrays inside arrays more than {_MAX_DEPTH} deep")
        count = math.prod(self.shape)
        if self.flags & _COMPLEX:
            raise _Damaged("complex numbers")
        if self.kind == _CELL:
            return self._arrays(count, depth)
        if self.kind == _STRUCT:
            return self._struct(count, depth)
        if self.kind == _CHAR:
            kind, content = self.rest.element()
            order = "le" if self.rest.order == "<" else "be"
            codec = _TEXT.get(kind, "latin-1")
            text = bytes(content).decode(codec if codec == "utf-8" else f"{codec}-{order}", "replace")
            # Several lines of text are stored column by column.
            rows = self.shape[0]
            return "\n".join(text[row::rows] for row in range(rows)) if 1 < rows <= len(text) else text
        if self.kind == _SPARSE:
            return self._sparse()
        if self.kind not in _NUMERIC:
            raise _Damaged(f"an array of class {self.kind}")
        values = self.rest.numbers()
        if values.size != count:
            raise _Damaged(f"{values.size} values for an array of {' x '.join(map(str, self.shape))}")
        dtype = np.bool_ if self.flags & _LOGICAL else np.dtype(_NUMERIC[self.kind])
        return values.astype(dtype).reshape(self.shape, order="F")

    def _arrays(self, count: int, depth: int) -> list[Any]:
        if count * 8 > self.rest.left:
            raise _Damaged(f"it ends before the last of {count} arrays")
        return [self.rest.matrix().value(depth + 1) for _ in range(count)]

    def _struct(self, count: int, depth: int) -> Any:
        lengths, packed = self.rest.numbers(), self.rest.text()
        length = int(lengths[0]) if lengths.size else 0
        if length < 1 or len(packed) % length:
            raise _Damaged("a struct without names of its fields")
        names = [packed[i : i + length].partition("\0")[0] for i in range(0, len(packed), length)]
        if not names and count > 1:
            raise _Damaged("structs without fields")
        values = iter(self._arrays(count * len(names), depth))
        several = [{name: next(values) for name in names} for _ in range(count)]
        return several[0] if count == 1 else several

    def _sparse(self) -> NDArray[Any]:
        """Compressed columns to a dense array."""
        rows, starts, values = self.rest.numbers(), self.rest.numbers(), self.rest.numbers()
        height, width = self.shape[0], self.shape[1]
        if len(self.shape) != 2 or height * width * 8 > MAX_BYTES:
            raise _Damaged(f"a sparse array of {' x '.join(map(str, self.shape))}")
        used = int(starts[-1]) if starts.size == width + 1 else -1
        if not 0 <= used <= min(rows.size, values.size) or starts[0] != 0 or (np.diff(starts) < 0).any():
            raise _Damaged("a sparse array whose columns do not add up")
        rows = rows[:used]
        if used and (rows.min() < 0 or rows.max() >= height):
            raise _Damaged("a sparse array with a row beyond its height")
        dense: NDArray[Any] = np.zeros((height, width), np.bool_ if self.flags & _LOGICAL else np.float64)
        dense[rows, np.repeat(np.arange(width), np.diff(starts))] = values[:used]
        return dense
