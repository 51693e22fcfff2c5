"""Image encodings on disk, so that another task, or a run with other prompts, need not compute them again.

``FOLDER/ab/<key>.safetensors`` holds one encoding, where ab are the first two digits of the key (:func:`key_of`). The
tensors' own dtype says whether one is kept as float32 or float16; the metadata hold the key and a CRC-32 of names,
dtypes, shapes and values. A file that does not match them counts as absent, so nothing has to be flushed to the disk to
survive a power cut. The process that makes room holds ``FOLDER/lock``.

Threads, processes and machines may share the folder, and it may fill up, break or vanish: the first OSError is reported
in one line, and the process goes on without. Give write access only to users you trust: a checksum finds accidents, not
forgeries.
"""

from __future__ import annotations

import errno
import fcntl
import glob
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
from collections.abc import Callable, Mapping
from contextlib import suppress
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
"""Bytes: a smaller cache would hold a few dozen encodings, and lose each before it is read again."""

_FORMAT = "encoding-1"
_LARGEST = 1 << 30
"""Bytes of one encoding. The largest of a released model that sambench knows have a tenth of that."""
_LARGEST_HEADER = 1 << 20
_TOUCH_SECONDS = 600
"""Precision of "last used". Reading an entry more often than this writes nothing."""
_STALE_SECONDS = 3600
"""A part-written file of this age has no writer any more."""
_TOO_LARGE = 65520
"""The least that rounds to infinity in float16, being nearer to 2^16 than to its largest value, 65504."""

_KEY = re.compile(r"[0-9a-f]{64}")
_OWN = re.compile(r"[0-9a-f]{64}\.safetensors|\.[0-9a-f]{64}\.[0-9a-f]{16}\.tmp")
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
    match = _SIZE.fullmatch(text.strip().upper())
    size = int(Fraction(match[1]) * _UNITS[match[2]]) if match else 0
    if size <= 0:
        raise UsageError(f"--encodings-size {text!r}: give a number and a unit, as in 50GB, 1.5TB or 512MiB")
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
    """What :meth:`EncodingCache.get` returns for these arrays, to the bit, whether or not the cache could keep them.

    As float16 an array is rounded there and back, but one with values that float16 cannot hold stays as it is.
    """
    return {name: _as_kept(array, dtype).astype(np.float32, copy=False) for name, array in arrays.items()}


def _as_kept(array: NDArray[Any], dtype: Precision) -> NDArray[Any]:
    if dtype == "float32" or array.dtype == np.float16 or not np.all(np.abs(array) < _TOO_LARGE):
        return array
    return array.astype(np.float16)


class EncodingCache:
    """The encodings in a folder, for any number of threads. ``say`` gets each warning, one line, once.

    The folder holds at most ``limit`` bytes and, for each process that writes there at the time, another fiftieth of
    it and what it writes while one of them makes room. No encoding takes more than a tenth of the limit, which is what
    making room frees.
    """

    def __init__(self, spec: EncodingsSpec, say: Callable[[str], object]) -> None:
        self._spec, self._say = spec, say
        self._largest, self._step = min(_LARGEST, spec.limit // 10), spec.limit // 50
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        # The first write looks round: the last run may have had a larger limit, or ended before it looked.
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
        path = self._path(key)
        if "read" in self._warned:
            return None
        try:
            # Not through a memory map, which would end the process if the file shrank; O_NONBLOCK for a pipe.
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                status = os.fstat(file.fileno())
                if status.st_size > self._largest:
                    return None
                # Either way: a date in the future, from before a clock was set back, is put right.
                if abs(time.time() - status.st_mtime) > _TOUCH_SECONDS:
                    with suppress(OSError):
                        os.utime(file.fileno())
                content = file.read(status.st_size)
        except OSError as error:
            # ESTALE: another machine deleted it after it was opened.
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                self._warn("read", f"cannot read {path}: {error.strerror}; going on without reading encodings")
            return None
        kept = _decode(key, content)
        if kept is None:
            self._warn("damaged", f"{path} is damaged or not an encoding; encoding such images again")
        elif self._spec.dtype == "float16" or all(array.dtype == np.float32 for array in kept.values()):
            return rounded(kept, self._spec.dtype)
        return None  # also where a run that rounds kept float16: this one replaces it

    def put(self, key: str, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Keeps an encoding if possible.

        Raises ValueError for arrays that are not float32, and for the name ``__metadata__``, which is safetensors' own.
        """
        path = self._path(key)
        for name, array in arrays.items():
            if array.dtype != np.float32 or name == "__metadata__":
                raise ValueError(f"an encoding holds float32 arrays by plain names, not {name!r} of {array.dtype}")
        if "write" in self._warned:
            return
        kept = {name: np.asarray(_as_kept(array, self._spec.dtype), order="C") for name, array in arrays.items()}
        if self._spec.dtype == "float16" and any(array.dtype != np.float16 for array in kept.values()):
            self._warn("range", "an encoding has values that float16 cannot hold: keeping such arrays as float32")
        content = save(kept, _metadata(key, kept))
        if len(content) > self._largest:
            size = f"an encoding of {len(content):,} bytes is more than {self._largest:,}"
            self._warn("large", f"{size}, the most that this cache keeps of one; give more --encodings-size")
            return
        try:
            self._make_room(_write(path, content))
        except OSError as error:
            where = Path(error.filename or path.parent)
            self._warn("write", f"{output_error(where, error)}; going on without keeping encodings")

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key: 64 lower-case hex digits")
        return self._spec.folder / key[:2] / f"{key}.safetensors"

    def _warn(self, subject: str, text: str) -> None:
        """Says it if nothing was said of the subject yet. A warning to "read" or to "write" ends that."""
        with self._lock:
            new = subject not in self._warned
            self._warned.add(subject)
        if new:
            self._say(f"encodings: {text}")

    def _make_room(self, written: os.stat_result) -> None:
        """``written``: the newest file, dated by the clock that dates the others."""
        with self._lock:
            self._unseen += written.st_size
            if self._unseen < self._step:
                return
            self._unseen = 0
        with open(self._spec.folder / "lock", "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._unseen = self._step  # the next write tries again
                return
            except OSError as error:
                # Harmless where locks do not work, but several processes may delete more than one would.
                self._warn("lock", f"cannot lock {self._spec.folder}: {error.strerror}; making room without a lock")
            self._evict(written.st_mtime)

    def _evict(self, now: float) -> None:
        """Deletes what crashed writers left and, above the limit, the entries not used for longest, down to 90 %."""
        entries: list[tuple[bool, int, str, int]] = []
        held = 0
        for name in glob.iglob("[0-9a-f][0-9a-f]/*", root_dir=self._spec.folder, include_hidden=True):
            path = os.path.join(self._spec.folder, name)
            with suppress(FileNotFoundError):  # deleted meanwhile
                status = os.lstat(path)
                if not (_OWN.fullmatch(name[3:]) and stat.S_ISREG(status.st_mode)):
                    continue
                if path.endswith(".safetensors"):
                    # A date in the future is from before a clock was set back: such entries go first.
                    sound = status.st_mtime <= now + _TOUCH_SECONDS
                    entries.append((sound, status.st_mtime_ns, path, status.st_size))
                elif now - status.st_mtime > _STALE_SECONDS:
                    os.unlink(path)
                    continue
                held += status.st_size
        if held > self._spec.limit:
            for _, _, path, size in sorted(entries):
                if 10 * held <= 9 * self._spec.limit:
                    break
                Path(path).unlink(missing_ok=True)
                held -= size


def _write(path: Path, content: bytes) -> os.stat_result:
    """Writes under a temporary name, then renames. Raises OSError; no part is left then."""
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    with suppress(FileExistsError):
        path.parent.mkdir()  # without parents: a folder that was removed, or unmounted, must not come back
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            status = os.fstat(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    return status


def _metadata(key: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """What a file says of itself: with a CRC-32 (hex) of all that :meth:`EncodingCache.get` returns of it."""
    crc = zlib.crc32(key.encode())
    for name, array in sorted(arrays.items()):
        crc = zlib.crc32(f"{name!r} {array.dtype.name} {array.shape}".encode(), crc)
        crc = zlib.crc32(array, crc)
    return {"sambench": _FORMAT, "key": key, "crc32": f"{crc:08x}"}


def _decode(key: str, content: bytes) -> dict[str, NDArray[Any]] | None:
    """The arrays of a file, None if it is not exactly what was written for this key."""
    try:
        length = int.from_bytes(content[:8], "little")
        if length > _LARGEST_HEADER:
            return None
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        arrays: dict[str, NDArray[Any]] = load(content)
        expected = _metadata(key, arrays)
    except (SafetensorError, ValueError, LookupError, TypeError, RecursionError):
        return None
    sound = metadata == expected and all(array.dtype in (np.float32, np.float16) for array in arrays.values())
    return arrays if sound else None
