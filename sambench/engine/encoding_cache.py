"""Image encodings on disk, so that another task, or a run with other prompts, need not compute them again.

``FOLDER/ab/<key>.safetensors`` holds one encoding, where ab are the first two digits of the key (:func:`key_of`). The
tensors' own dtype says whether one is kept as float32 or float16; the metadata hold the key and a CRC-32 of names,
dtypes, shapes and values. A file that does not answer to them is as good as absent, so nothing has to be flushed to the
disk to be safe from a power cut. ``FOLDER/lock`` is held by the process that makes room.

The folder may be shared by threads, processes and machines, and may fill up, break or vanish: that is said in one line
each, and the run goes on without. Nobody may be able to write there whose results would not be trusted: a checksum
finds accidents, not forgeries.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sambench.atomic_files import output_error
from sambench.core.mask import Image
from sambench.errors import UsageError

SMALLEST_LIMIT = 100 * 10**6
"""Bytes: a smaller cache would hold a few dozen encodings, and lose each before it is asked for again."""

_FORMAT = "encoding-1"
_LARGEST = 1 << 30
"""Bytes of one encoding. The largest of a released model that sambench knows have a tenth of that."""
_LARGEST_HEADER = 1 << 20
_SHARE_OF_ONE = 10
"""No encoding may take up more than the tenth part of the limit, which is what making room frees."""
_STEPS = 50
"""A process looks through the folder whenever it has written the fiftieth part of the limit."""

_TOUCH_SECONDS = 600
"""How exactly "last used" is known. Reading an entry more often than this writes nothing."""
_STALE_SECONDS = 3600
"""A part-written file of this age has no writer any more."""
_RETRY_SECONDS = 60
"""For how long a folder that failed is left alone."""

_TOO_LARGE = 65520
"""The least that rounds to infinity in float16, being nearer to 2^16 than to its largest value, 65504."""

_KEY = re.compile(r"[0-9a-f]{64}")
_SUBFOLDER = re.compile(r"[0-9a-f]{2}")
_ENTRY = re.compile(r"[0-9a-f]{64}\.safetensors")
_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{16}\.tmp")

_ABSENT = {errno.ENOENT, errno.ESTALE}
"""Not there, or deleted by another machine after it was opened."""
_OF_ONE_FILE = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.ELOOP, errno.ENXIO}
"""Errors that say nothing of the rest of the folder."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) *([KMGT]I?|)B?")

Precision = Literal["float32", "float16"]


@dataclass(frozen=True)
class EncodingsSpec:
    """Where encodings are kept and how. ``limit``: bytes that the folder may hold. ``dtype``: of values in files."""

    folder: Path
    limit: int
    dtype: Precision


def parse_size(text: str) -> int:
    """Bytes of a size as people write it: ``50GB``, ``1.5 TB``, ``512MiB``, ``100000000``. Raises UsageError."""
    found = _SIZE.fullmatch(text.strip().upper())
    size = int(Fraction(found[1]) * _UNITS[found[2]]) if found else 0
    if size <= 0:
        raise UsageError(f"{text!r} is no --encodings-size: give a number and a unit, as in 50GB, 1.5TB or 512MiB")
    return size


def key_of(image: Image, *parts: str) -> str:
    """The key of an encoding: sha256 (hex) of the image, ``(H, W, 3)`` uint8, and of all else that it depends on."""
    digest = hashlib.sha256(_FORMAT.encode())
    for part in (repr(image.shape), *parts):
        content = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(content) + content)
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()


def rounded(arrays: Mapping[str, NDArray[np.float32]], dtype: Precision) -> dict[str, NDArray[np.float32]]:
    """What the cache answers after these arrays were put there, to the bit, whether or not it could keep them.

    As float16 an array is rounded there and back, but one with values that float16 cannot hold stays as it is.
    """
    return {name: _as_kept(array, dtype).astype(np.float32, copy=False) for name, array in arrays.items()}


def _as_kept(array: NDArray[Any], dtype: Precision) -> NDArray[Any]:
    if dtype == "float32" or array.dtype == np.float16 or not np.all(np.abs(array) < _TOO_LARGE):
        return array
    return array.astype(np.float16)


class EncodingCache:
    """The encodings in a folder, for any number of threads. What goes wrong is handed to ``say``, one line, once.

    ``hits``, ``misses``: how many calls of :meth:`get` answered an encoding, and how many did not.

    The folder holds at most ``limit`` bytes and, for each process that writes there at the time, another fiftieth of
    it and what it writes while one of them makes room.
    """

    def __init__(self, spec: EncodingsSpec, say: Callable[[str], object]) -> None:
        self.hits = self.misses = 0
        self._spec, self._say = spec, say
        self._largest = min(_LARGEST, spec.limit // _SHARE_OF_ONE)
        self._step = spec.limit // _STEPS
        self._guard = threading.Lock()
        self._said: set[tuple[str, int]] = set()
        self._resting: dict[tuple[str, str], float] = {}
        # The first to be written looks round: the last run may have had a larger limit, or ended before it looked.
        self._unseen = self._step

    @staticmethod
    def check(spec: EncodingsSpec) -> None:
        """Makes the folder if need be, and raises UsageError where it cannot be a cache."""
        if spec.limit < SMALLEST_LIMIT:
            least = f"{SMALLEST_LIMIT // 10**6}MB"
            raise UsageError(f"--encodings-size: {spec.limit:,} bytes are too few for a cache; give at least {least}")
        try:
            spec.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=spec.folder) as probe:
                probe.write(b"probe")
        except OSError as error:
            raise UsageError(f"{output_error(spec.folder, error)}; choose another --encodings") from error

    def get(self, key: str) -> dict[str, NDArray[np.float32]] | None:
        """The encoding that was put there, as :func:`rounded` says, or None. The arrays are the caller's."""
        found = self._read(key)
        with self._guard:
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
        return found

    def put(self, key: str, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Keeps an encoding if that is possible. Raises ValueError for arrays that are not float32, and for a name
        that safetensors has for itself (``__metadata__``)."""
        path = self._path(key)
        for name, array in arrays.items():
            if array.dtype != np.float32 or name == "__metadata__":
                raise ValueError(f"an encoding holds float32 arrays by plain names, not {name!r} of {array.dtype}")
        if self._rests("write", path):
            return
        kept = {name: np.asarray(_as_kept(array, self._spec.dtype), order="C") for name, array in arrays.items()}
        if self._spec.dtype == "float16" and any(array.dtype != np.float16 for array in kept.values()):
            self._once("range", 0, "an encoding has values that float16 cannot hold: such arrays are kept as float32")
        content = save(kept, {"sambench": _FORMAT, "key": key, "crc32": _checksum(key, kept)})
        if len(content) > self._largest:
            much = f"an encoding of {len(content):,} bytes is more than {self._largest:,}"
            self._once(
                "large", 0, f"{much}, the most that a cache of this size keeps of one; give more --encodings-size"
            )
            return
        try:
            now = _write(path, content)
        except OSError as error:
            self._rest("write", path, error)
            self._once(
                "write",
                error.errno,
                f"{output_error(path.parent, error)}; the run goes on without keeping encodings there",
            )
            return
        self._make_room(len(content), now)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key: 64 lower-case hex digits")
        return self._spec.folder / key[:2] / f"{key}.safetensors"

    # --- reading --------------------------------------------------------------------------------------------------

    def _read(self, key: str) -> dict[str, NDArray[np.float32]] | None:
        path = self._path(key)
        if self._rests("read", path):
            return None
        try:
            content = self._content(path)
        except OSError as error:
            if error.errno not in _ABSENT:
                self._rest("read", path, error)
                self._once("read", error.errno, f"cannot read {path}: {error.strerror}; such images are encoded again")
            return None
        if content is None:
            return None
        kept = _decode(key, content)
        if kept is None:
            self._once(
                "damaged", 0, f"{path} is damaged or no encoding; it is made again and replaced, as others will be"
            )
            return None
        if self._spec.dtype == "float32" and any(array.dtype == np.float16 for array in kept.values()):
            return None  # kept by a run that took float16; this one puts more exact ones in their place
        return rounded(kept, self._spec.dtype)

    def _content(self, path: Path) -> bytes | None:
        """The whole file, None if it is larger than what is kept here."""
        # Not read through a memory map: a file that shrinks meanwhile would end the process. Not waiting: a pipe would.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if status.st_size > self._largest:
                return None
            # Either way: a date in the future, from before a clock was set back, is put right.
            if abs(time.time() - status.st_mtime) > _TOUCH_SECONDS:
                with suppress(OSError):
                    os.utime(file.fileno())
            return file.read(status.st_size)

    # --- making room ----------------------------------------------------------------------------------------------

    def _make_room(self, written: int, now: float) -> None:
        """``written``: bytes, since the last call. ``now``: seconds, by the clock that dates the files."""
        with self._guard:
            self._unseen += written
            if self._unseen < self._step:
                return
            unseen, self._unseen = self._unseen, 0
        with self._alone() as alone:
            if alone:
                self._evict(now)
        if not alone:
            with self._guard:
                self._unseen += unseen  # the next to be written tries again

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether nobody else makes room meanwhile. Where locks do not work, everyone may: it is only wasteful."""
        descriptor, alone = None, True
        try:
            descriptor = os.open(self._spec.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        except OSError as error:
            text = f"cannot lock {self._spec.folder}: {error.strerror}; several processes may make room there at once"
            self._once("lock", error.errno, text)
        try:
            yield alone
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _evict(self, now: float) -> None:
        """Deletes what crashed writers left and, above the limit, the entries not used for longest, down to 90 %."""
        entries: list[tuple[bool, int, str, int]] = []
        held = 0
        for path, status in self._files():
            if _TEMPORARY.fullmatch(os.path.basename(path)) and now - status.st_mtime > _STALE_SECONDS:
                self._delete(path)
                continue
            held += status.st_size
            if _ENTRY.fullmatch(os.path.basename(path)):
                # What is dated in the future was last used before a clock was set back: it goes first.
                sound = status.st_mtime <= now + _TOUCH_SECONDS
                entries.append((sound, status.st_mtime_ns, path, status.st_size))
        if held <= self._spec.limit:
            return
        for _, _, path, size in sorted(entries):
            if 10 * held <= 9 * self._spec.limit:
                break
            if self._delete(path):
                held -= size

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every file of the cache's own, whole or part-written; others are not looked at."""
        for subfolder in filter(_SUBFOLDER.fullmatch, self._names(self._spec.folder)):
            for name in self._names(self._spec.folder / subfolder):
                if not (_ENTRY.fullmatch(name) or _TEMPORARY.fullmatch(name)):
                    continue
                path = os.path.join(self._spec.folder, subfolder, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue  # deleted meanwhile
                if stat.S_ISREG(status.st_mode):
                    yield path, status

    def _names(self, folder: Path) -> list[str]:
        try:
            return os.listdir(folder)
        except OSError as error:
            if error.errno not in _ABSENT:
                self._once("list", error.errno, f"cannot list {folder}: {error.strerror}; what is there is not counted")
            return []

    def _delete(self, path: str) -> bool:
        """Whether the file is gone."""
        try:
            os.unlink(path)
        except OSError as error:
            if error.errno not in _ABSENT:
                self._once("delete", error.errno, f"cannot delete {path}: {error.strerror}; others go in its place")
                return False
        return True

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def _once(self, subject: str, number: int | None, text: str) -> None:
        with self._guard:
            if (subject, number or 0) in self._said:
                return
            self._said.add((subject, number or 0))
        self._say(f"encodings: {text}")

    def _rest(self, what: str, path: Path, error: OSError) -> None:
        """Leaves alone for a while what failed: all of it, or where one file was refused, its subfolder."""
        subfolder = path.parent.name if error.errno in _OF_ONE_FILE else ""
        self._resting[what, subfolder] = time.monotonic() + _RETRY_SECONDS

    def _rests(self, what: str, path: Path) -> bool:
        now = time.monotonic()
        return any(self._resting.get((what, part), now) > now for part in ("", path.parent.name))


def _write(path: Path, content: bytes) -> float:
    """Under a temporary name, then renamed. The time (s) of the write by the clock that dates the files, which on a
    network file system is the server's. Raises OSError; no part is left then."""
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = _create(temporary)
    except FileNotFoundError:
        with suppress(FileExistsError):
            path.parent.mkdir()  # without parents: a folder that was removed, or unmounted, is not to come back
        descriptor = _create(temporary)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            now = os.fstat(descriptor).st_mtime
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    return now


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _checksum(key: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """CRC-32 (hex) of all that :meth:`EncodingCache.get` answers."""
    crc = zlib.crc32(key.encode())
    for name, array in sorted(arrays.items()):
        crc = zlib.crc32(f"{name!r} {array.dtype.name} {array.shape}".encode(), crc)
        crc = zlib.crc32(array, crc)
    return f"{crc:08x}"


def _decode(key: str, content: bytes) -> dict[str, NDArray[Any]] | None:
    """The arrays of a file, None if it is not exactly what was written for this key."""
    try:
        length = int.from_bytes(content[:8], "little")
        if length > _LARGEST_HEADER:
            return None
        about = json.loads(content[8 : 8 + length])["__metadata__"]
        arrays: dict[str, NDArray[Any]] = load(content)
        expected = {"sambench": _FORMAT, "key": key, "crc32": _checksum(key, arrays)}
    except (SafetensorError, ValueError, LookupError, TypeError, RecursionError):
        return None
    if about != expected or any(array.dtype not in (np.float32, np.float16) for array in arrays.values()):
        return None
    return arrays
