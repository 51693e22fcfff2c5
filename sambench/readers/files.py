"""Folders to names that are the same on every machine."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection
from pathlib import Path

from sambench.errors import UsageError


def nfc(name: str) -> str:
    """The name in Unicode's composed form: some file systems hand back decomposed letters."""
    return unicodedata.normalize("NFC", name)


def files_by_stem(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """The folder's files with one of the endings (lower case, with the dot), by NFC name without the ending, sorted.

    Hidden files are left out (``.DS_Store``, and the ``._`` twins that macOS writes). Raises UsageError if the folder
    cannot be listed or two files share a name.
    """
    found: dict[str, Path] = {}
    for name in sorted(list_folder(folder)):
        stem, suffix = os.path.splitext(name)
        if name.startswith(".") or suffix.lower() not in suffixes:
            continue
        path = folder / name
        if nfc(stem) in found:
            raise UsageError(f"{path} and {found[nfc(stem)].name} would have the same id; keep one of them")
        found[nfc(stem)] = path
    return dict(sorted(found.items()))


def list_folder(folder: Path) -> list[str]:
    """Names in a folder, in no particular order. Raises UsageError if it cannot be listed."""
    try:
        return os.listdir(folder)
    except OSError as error:
        raise UsageError(f"{folder}: cannot list the folder ({error.strerror})") from None


def candidates(root: Path, folders: Collection[str]) -> list[Path]:
    """Where a dataset may lie: the data root itself, then the named folders in it that exist."""
    return [root, *(root / name for name in folders if (root / name).is_dir())]
