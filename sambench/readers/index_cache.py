"""What was found out about large files, kept so that the next reading is quick. Nothing depends on it being there.

An entry is named by what it was made from: the sha256 of the content, and the version of the code that read it. So an
entry is never out of date, and a file that is moved or copied keeps its own. The folder may be deleted at any time.
"""

from __future__ import annotations

import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

WORTH_KEEPING = 8 << 20
"""Bytes of a file from which on what was found is kept; smaller ones are read again in no time."""

MAX_BYTES = 1 << 30
"""What the folder may hold; above it, entries go that were not used for longest."""

_STALE_SECONDS = 24 * 3600
"""A part-written file of this age has no writer any more."""


def folder() -> Path:
    """Where entries are kept: ``index`` in ``SAMBENCH_CACHE``, else in the platform's cache folder."""
    cache = os.environ.get("SAMBENCH_CACHE") or platformdirs.user_cache_dir("sambench", appauthor=False)
    return Path(cache) / "index"


def cached(
    kind: str, digest: str, make: Callable[[], Arrays], size: int | None = None, *, many: bool = False
) -> Arrays:
    """What ``make`` answers, from the cache if it is there and sound; else it is made, and kept if that is possible.

    ``kind``: what reads such files, with its version (``coco-1``); a letter of it changes with everything that can
    change the arrays. ``digest``: hex, of all that they are made from. ``size``: bytes that are read to make them; few
    are not worth an entry. ``many``: there is a small entry for each of many images; they lie apart, in a folder KIND
    beside ``index``, and are not counted in what that may hold. The arrays hold no Python objects. What ``make`` raises
    is raised; what goes wrong with the cache never is.
    """
    if size is not None and size < WORTH_KEEPING:
        return make()
    path = folder().parent / kind / f"{digest}.npz" if many else folder() / f"{kind}-{digest}.npz"
    found = _fetch(path)
    if found is None:
        found = make()
        _keep(path, found, tidy=not many)
    return found


def _fetch(path: Path) -> Arrays | None:
    """An entry whose every byte passes its checksum (a zip archive has one for each member)."""
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError):
        with np.load(path, allow_pickle=False) as archive:
            if archive.zip.testzip() is not None:
                return None
            found = {name: archive[name] for name in archive.files}
        with suppress(OSError):
            os.utime(path)
        return found
    return None


def _keep(path: Path, arrays: Arrays, *, tidy: bool) -> None:
    """Under a temporary name, then renamed: several may do so at once, the last one's entry stays."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        if tidy:
            _tidy(path.parent, path.name)


def _tidy(at: Path, newest: str) -> None:
    """Removes what crashed writers left, and the entries that were not used for longest while there is too much."""
    entries = []
    for item in os.scandir(at):
        with suppress(OSError):
            status = item.stat(follow_symlinks=False)
            if item.name.endswith(".tmp"):
                if time.time() - status.st_mtime > _STALE_SECONDS:
                    os.unlink(item.path)
            elif item.name.endswith(".npz"):
                entries.append((item.name != newest, -status.st_mtime_ns, item.name, status.st_size))
    held = 0
    for _, _, name, size in sorted(entries):
        held += size
        if held > MAX_BYTES and name != newest:
            with suppress(OSError):
                os.unlink(at / name)
