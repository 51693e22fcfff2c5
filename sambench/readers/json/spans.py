"""Large JSON files, read member by member: where the parts of a file lie, found in one pass that keeps no values.

What is wanted of a file of half a gigabyte is usually the entries of one image. So the file is scanned once for the
places of its parts, and a part is parsed when somebody asks for it. Every part goes through a real JSON parser before
it is believed; the scanner only counts brackets outside of texts.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from sambench.errors import DataError, UsageError
from sambench.readers.contents import LFS_POINTER, what_is_lacking

Spans = NDArray[np.int64]
"""``(N, 2)`` int64: where parts begin and end in a file, in bytes, the end exclusive."""

Place = NDArray[np.int64]
"""``(2,)`` int64: one of them."""

_BLOCK = 1 << 16
_CHUNK = 1 << 16
"""Bytes of neighbouring parts that are parsed together. Their values are gone before Python's garbage collector comes
to look at them: with 1 MB at once it takes as long as the parser."""


@dataclass(frozen=True, eq=False)
class JsonFile:
    """A JSON file that can be read in parts. Make one with :func:`open_json`.

    ``digest``: sha256 of the content, hex. ``size``: bytes of its UTF-8 form, to which all places refer. ``recoded``:
    that form, if the file has another encoding (UTF-16, GB 18030, or a byte order mark); else parts are read from
    the disk.
    """

    path: Path
    digest: str
    size: int
    stamp: tuple[int, int]
    recoded: bytes | None = None

    def read(self, spans: Spans) -> list[bytes]:
        """The bytes of some parts. Raises DataError if the file was changed since it was opened, or is gone."""
        if self.recoded is not None:
            return [self.recoded[start:end] for start, end in spans.tolist()]
        try:
            with self.path.open("rb", buffering=0) as file:
                if _stamp(file) != self.stamp:
                    raise DataError(f"{self.path}: the file was changed while it was in use; start again")
                if len(spans) > 1 and np.ptp(spans) <= 2 * int((spans[:, 1] - spans[:, 0]).sum()):
                    # Neighbours: one read for all is several times faster than one for each.
                    first = int(spans.min())
                    block = os.pread(file.fileno(), int(np.ptp(spans)), first)
                    return [block[start - first : end - first] for start, end in spans.tolist()]
                return [os.pread(file.fileno(), end - start, start) for start, end in spans.tolist()]
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read any more ({error.strerror})") from None

    def values(self, spans: Spans) -> list[Any]:
        """Some parts, parsed. Raises DataError as :meth:`read`, and UsageError if one is not JSON."""
        return [self._parsed(text, start) for text, start in zip(self.read(spans), spans[:, 0].tolist(), strict=True)]

    def joined(self, spans: Spans) -> list[Any]:
        """As :meth:`values`, faster for many small parts, and without the place of what is not JSON."""
        found: list[Any] = self._parsed(b"[" + b",".join(self.read(spans)) + b"]", None)
        return found

    def whole(self) -> Any:
        """All of it, parsed at once; for small files. Raises UsageError: not JSON."""
        (value,) = self.values(np.array([[0, self.size]]))
        return value

    def is_array(self, place: Any) -> bool:
        """Whether a value of :meth:`members` is the place of an array."""
        return isinstance(place, np.ndarray) and self.read(np.array([[place[0], place[0] + 1]])) == [b"["]

    def elements(self, array: Place, spans: Spans) -> Iterator[list[Any]]:
        """All elements of an array of objects, some at a time and in order, parsed.

        ``spans``: of its elements; what lies between them is checked too. Raises UsageError: not JSON, or an element
        that is neither an object nor an array.
        """
        begin, stop = int(array[0]) + 1, int(array[1]) - 1
        first = 0
        while True:
            last = int(np.searchsorted(spans[:, 1], begin + _CHUNK, side="right"))
            last = min(max(last, first + 1), len(spans))
            until = int(spans[last, 0]) if last < len(spans) else stop
            (text,) = self.read(np.array([[begin, until]]))
            if last < len(spans):
                text = text.rstrip(b" \t\r\n").removesuffix(b",")
            found = self._parsed(b"[" + text + b"]", begin - 1)
            if len(found) != last - first:
                raise UsageError(f"{self.path}: a list of objects holds something else as well")
            yield found
            if last == len(spans):
                return
            first, begin = last, until

    def members(self) -> tuple[Any, Spans]:
        """What the file is made of: its top level, with the place of each object and array in its stead, and the
        places of all objects and arrays one level deeper, in order. Raises UsageError: not JSON."""
        found = self._scan()
        outer, inner = found[found[:, 2] == 1][:, :2], found[found[:, 2] == 2][:, :2]
        gaps = self.read(np.stack([np.append(0, outer[:, 1]), np.append(outer[:, 0], self.size)], axis=1))
        # A list in the text that is left can only be one that is put in here.
        marks = [b"[%d]" % k for k in range(len(outer))]
        top = self._parsed(b"".join(part for pair in zip(gaps, [*marks, b""], strict=True) for part in pair), None)
        if isinstance(top, dict):
            top = {key: outer[value[0]] if isinstance(value, list) else value for key, value in top.items()}
        return top, inner

    def objects(self) -> tuple[Place, Spans]:
        """Of a file that is one list of objects: its place and theirs, in order, as :meth:`elements` takes them (which
        checks what they hold). Raises UsageError: not JSON, or no list at the top level."""
        found = self._scan()
        spans = found[found[:, 2] == 1][:, :2]
        first, last = (int(spans[0, 0]), int(spans[-1, 1])) if len(spans) else (self.size, 0)
        head, tail = self.read(np.array([[0, first], [last, self.size]]))
        if not (head.lstrip().startswith(b"[") and tail.rstrip().endswith(b"]")):
            self.members()
            raise UsageError(f"{self.path}: expected a list of objects at the top level")
        return np.array([len(head) - len(head.lstrip()), last + len(tail.rstrip())]), spans

    def _scan(self) -> NDArray[np.int64]:
        """``(N, 3)``: start, end and depth of each object and array at depth 1 and 2, sorted by start."""
        from sambench.readers.json.scanner import scan

        state = np.zeros(5, np.int64)
        rows = np.empty((1 << 16, 3), np.int64)
        found = []
        for base, block in self._blocks():
            at = 0
            while at < len(block):
                at, n = scan(block, at, base, state, rows)
                found.append(rows[:n].copy())
                if state[0] < 0:
                    raise self._not_json("a bracket closes what was never opened", base + at - 1)
        if state[0] > 0 or state[1]:
            raise self._not_json("it ends in the middle: the file is truncated", self.size)
        every = np.concatenate([np.empty((0, 3), np.int64), *found])
        return every[np.argsort(every[:, 0], kind="stable")]

    def _blocks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for base in range(0, self.size, _BLOCK):
            (block,) = self.read(np.array([[base, min(base + _BLOCK, self.size)]]))
            yield base, np.frombuffer(block, np.uint8)

    def _parsed(self, text: bytes, start: int | None) -> Any:
        """``start``: where the text begins in the file, None if it is not one piece of it."""
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        # Some writers leave NaN and Infinity, or half a surrogate pair, which only the tolerant parser takes.
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            if start is not None:
                start += len(error.doc[: error.pos].encode("utf-8", "replace"))
            raise self._not_json(error.msg, start) from None
        except (UnicodeDecodeError, RecursionError, ValueError) as error:
            raise self._not_json(str(error), start) from None

    def _not_json(self, why: str, at: int | None) -> UsageError:
        if at is None:
            return UsageError(f"{self.path}: not JSON ({why}, at its top level)")
        line, begin = 1, 0
        for base, block in self._blocks():
            ends = np.flatnonzero(block[: max(at - base, 0)] == ord("\n"))
            line += len(ends)
            begin = base + int(ends[-1]) + 1 if len(ends) else begin
            if base + len(block) >= at:
                break
        return UsageError(f"{self.path}: not JSON ({why}, line {line} column {at - begin + 1})")


def open_json(path: Path) -> JsonFile:
    """A JSON file, ready to be read in parts. Raises UsageError: missing, unreadable, empty, or an LFS pointer."""
    with _opened(path) as file:
        stamp = _stamp(file)
        head = file.read(len(LFS_POINTER))
        if lacking := what_is_lacking(head):
            raise UsageError(f"{path}: {lacking}" if head else f"{path}: not JSON ({lacking})")
        file.seek(0)
        hashed, decoder, utf8 = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), True
        while block := file.read(_BLOCK):
            hashed.update(block)
            if utf8:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    utf8 = False
        file.seek(0)
        recoded = None
        if not utf8 or head.startswith(codecs.BOM_UTF8):
            recoded = _recoded(path, file.read())
    return JsonFile(path, hashed.hexdigest(), stamp[0] if recoded is None else len(recoded), stamp, recoded)


def _recoded(path: Path, data: bytes) -> bytes:
    encoding = json.detect_encoding(data)
    for name in (encoding, "gb18030"):
        try:
            return data.decode(name).encode("utf-8")
        except UnicodeError:
            continue
    raise UsageError(f"{path}: not JSON (neither UTF-8 nor {encoding} nor GB 18030)")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; it cannot be read") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None


def _stamp(file: Any) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds."""
    status = os.fstat(file.fileno())
    return (status.st_size, status.st_mtime_ns)


def within(array: Place, inner: Spans) -> Spans:
    """Those of the sorted places ``inner`` that lie in the part ``array``."""
    first, last = np.searchsorted(inner[:, 0], array)
    return inner[first:last]
