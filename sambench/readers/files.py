"""Folders to names that are the same on every machine."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Collection, Sequence
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
    """Where a dataset may lie, the likeliest place first: existing folders, none twice.

    The data root itself; the named folders in it (``folders`` in their order, letter case set aside); below those,
    and below a root of such a name, what unzipping adds: one folder in which all lies or one of the names again, two
    levels deep; last the root's parent, if the root is named like one of the folders, or its parent is, or like a
    part of a dataset (``val2017``, ``images``): the root then was taken one level too deep.
    """
    wanted = [nfc(name).casefold() for name in folders]
    named = _named(root, wanted)
    places = [root, *named]
    full = Path(os.path.abspath(root))
    is_named, parent_is_named = (nfc(at.name).casefold() in wanted for at in (full, full.parent))
    for start in [*named, *([root] if is_named else [])]:
        level = [start]
        for _ in range(2):
            level = [below for at in level for below in _wrapped(at, wanted)]
            places += level
    if is_named or parent_is_named or _PART_ONLY.fullmatch(full.name.lower()):
        places.append(full.parent)
    once: dict[str, Path] = {}
    for at in places:
        once.setdefault(os.path.realpath(at), at)
    return list(once.values())


_WORDS = "train|training|val|valid|validation|test|testing|images|masks|annotations"
_PART = re.compile(rf"(?<![a-z])({_WORDS})(?![a-z])")
_PART_ONLY = re.compile(rf"(.*[_-])?({_WORDS})\d*")
_WRAPPER_ENTRIES = 1000
"""A folder of more entries than this holds data itself: it is not read to its end to see what else is in it."""


def _named(at: Path, wanted: Sequence[str]) -> list[Path]:
    """The folders in a folder that have one of the names (casefolded), in the order of the names."""
    rank = {name: place for place, name in reversed(list(enumerate(wanted)))}
    try:
        found = sorted((rank[key], name) for name in os.listdir(at) if (key := nfc(name).casefold()) in rank)
    except OSError:
        return []
    return [at / name for _, name in found if (at / name).is_dir()]


def _wrapped(at: Path, wanted: Sequence[str]) -> list[Path]:
    """The folders into which unzipping may have put everything: those of the names, or the only one there is.

    Not one named like a part: images of another split must not be taken for those that are looked for.
    """
    try:
        with os.scandir(at) as entries:
            some = list(itertools.islice(entries, _WRAPPER_ENTRIES + 1))
    except OSError:
        return []
    if len(some) > _WRAPPER_ENTRIES:
        return []
    # os.path.isdir, because DirEntry.is_dir raises where a symlink leads in a circle.
    below = [e.name for e in some if not e.name.startswith((".", "__MACOSX")) and os.path.isdir(e.path)]
    if len(below) == 1 and not _PART.search(below[0].lower()):
        return [at / below[0]]
    return [at / name for name in sorted(below) if nfc(name).casefold() in wanted]
