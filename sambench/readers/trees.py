"""Folders of folders to the files in them, the same on every machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sambench.errors import UsageError
from sambench.readers.files import list_folder, nfc


def files_below(folder: Path, ending: str, enter: Callable[[str], bool] = bool) -> dict[str, Path]:
    """The files in a folder and everything below it whose names have an ending (``.jpg``, ``_seg.png``; letter case
    set aside), sorted by NFC path relative to the folder, with ``/``, without the ending.

    ``enter``: by its name, whether a folder is looked into. Symbolic links are followed, but not in circles. Hidden
    files and folders are left out, and ``__MACOSX``. Raises UsageError if a folder cannot be listed or two files have
    the same path so far.
    """
    found: dict[str, Path] = {}
    for relative, path in _walk(folder, "", frozenset(), enter):
        if not relative.lower().endswith(ending.lower()):
            continue
        id = nfc(relative[: -len(ending)])
        if id in found:
            raise UsageError(f"{path} and {found[id].name} would have the same id; keep one of them")
        found[id] = path
    return dict(sorted(found.items()))


def _walk(
    folder: Path, relative: str, above: frozenset[str], enter: Callable[[str], bool]
) -> Iterator[tuple[str, Path]]:
    """``above``: the real paths of the folders on the way here; one of them again is a circle."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for name in sorted(list_folder(folder)):
        path = folder / name
        if name.startswith(".") or name == "__MACOSX":
            continue
        if os.path.isdir(path):
            if enter(name):
                yield from _walk(path, f"{relative}{name}/", above | {real}, enter)
        else:
            yield f"{relative}{name}", path
