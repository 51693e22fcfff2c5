"""Folders to names that are the same on every machine."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from sambench.errors import UsageError


def nfc(name: str) -> str:
    """The name in Unicode's composed form: some file systems hand back decomposed letters."""
    return unicodedata.normalize("NFC", name)


def files_by_stem(folder: Path, suffixes: Collection[str], *, missing_ok: bool = False) -> dict[str, Path]:
    """The folder's files with one of the endings (lower case, with the dot), by NFC name without the ending, sorted.

    Hidden files are left out (``.DS_Store``, and the ``._`` twins that macOS writes). ``missing_ok``: a folder that is
    not there holds none. Raises UsageError if the folder cannot be listed or two files share a name.
    """
    found: dict[str, Path] = {}
    for name in sorted(list_folder(folder)) if folder.is_dir() or not missing_ok else ():
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
    """Where a dataset may be, the likeliest place first: existing folders, none twice.

    The data root itself; the named folders in it (``folders`` in their order, ignoring case); below those, and below a
    root of such a name, the folders that unzipping adds, up to two levels: a single folder, or one with such a name;
    last the root's parent, if the root or its parent has such a name, or the root that of a part of a dataset
    (``val2017``, ``images``): then the root was given one level too deep.
    """
    rank = {nfc(name).casefold(): place for place, name in reversed(list(enumerate(folders)))}
    full = Path(os.path.abspath(root))
    is_named, parent_is_named = (nfc(at.name).casefold() in rank for at in (full, full.parent))
    named = _named(root, rank)
    places = [root, *named]
    for start in [*named, *([root] if is_named else [])]:
        below = _unzipped(start, rank)
        places += [*below, *(inner for at in below for inner in _unzipped(at, rank))]
    if is_named or parent_is_named or _PART_ONLY.fullmatch(full.name.lower()):
        places.append(full.parent)
    unique: dict[str, Path] = {}
    for at in places:
        unique.setdefault(os.path.realpath(at), at)
    return list(unique.values())


def first_place(root: Path, folders: Collection[str], *tests: Callable[[Path], object]) -> Path | None:
    """The first of the :func:`candidates` that passes the first test; if none does, the first that passes the second
    test, and so on."""
    places = candidates(root, folders)
    return next((at for test in tests for at in places if test(at)), None)


_WORDS = "train|training|val|valid|validation|test|testing|images|masks|annotations"
_PART = re.compile(rf"(?<![a-z])({_WORDS})(?![a-z])")
_PART_ONLY = re.compile(rf"(.*[_-])?({_WORDS})\d*")
_WRAPPER_ENTRIES = 1000
"""A folder of more entries than this holds data itself, and its entries are not looked at one by one."""


def _named(at: Path, rank: Mapping[str, int]) -> list[Path]:
    """The folders in a folder that have one of the names (casefolded), in the order of the names."""
    names = sorted((rank[key], name) for name in _names(at) if (key := nfc(name).casefold()) in rank)
    return [at / name for _, name in names if (at / name).is_dir()]


def _unzipped(at: Path, rank: Mapping[str, int]) -> list[Path]:
    """The folders into which unzipping may have put everything: those of the names, or the only one there is.

    Not one named like a part: images of another split must not be taken for the ones that are looked for.
    """
    names = _names(at)
    if len(names) > _WRAPPER_ENTRIES:
        return []
    below = [name for name in names if not name.startswith((".", "__MACOSX")) and (at / name).is_dir()]
    if len(below) == 1 and not _PART.search(below[0].lower()):
        return [at / below[0]]
    return _named(at, rank)


def _names(at: Path) -> list[str]:
    try:
        return os.listdir(at)
    except OSError:
        return []
