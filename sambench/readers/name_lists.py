"""Text files with one name of an image a line, as datasets ship them for their splits."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from sambench.errors import UsageError
from sambench.readers.files import nfc


def read_names(path: Path, suffixes: Collection[str]) -> list[str]:
    """The names in file order, NFC, without an ending that is one of ``suffixes`` (lower case, with the dot).

    Blank lines are left out, white space at the ends of a line and backslashes between folders are mended. UTF-8, with
    or without a byte order mark. Raises UsageError: unreadable, empty, or a name that is given twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: the list of names cannot be read ({error.strerror}); unpack it again") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a list of names in UTF-8") from None
    names: dict[str, None] = {}
    for line in filter(None, map(str.strip, lines)):
        stem, suffix = os.path.splitext(line)
        name = nfc(stem if suffix.lower() in suffixes else line).replace("\\", "/")
        if name in names:
            raise UsageError(f"{path}: names {name} twice")
        names[name] = None
    if not names:
        raise UsageError(f"{path}: the list of names is empty; unpack it again")
    return list(names)
