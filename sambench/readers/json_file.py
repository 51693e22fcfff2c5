"""JSON files, read whole with one clear line for each file that is not what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from sambench.errors import DataError, SambenchError
from sambench.readers.images import LFS_POINTER

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_json(path: Path, error: type[SambenchError] = DataError) -> Any:
    """The content of a JSON file, strict (no NaN), in UTF-8, with or without a byte order mark.

    Raises ``error``: a file that cannot be read, is empty or an LFS pointer, or is not JSON.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror})") from None
    if not data:
        raise error(f"{path}: the file is empty; copy it again")
    if data.startswith(LFS_POINTER):
        raise error(f"{path}: a Git LFS pointer lies in the file's place; run `git lfs pull` in its repository")
    try:
        return orjson.loads(data.removeprefix(_BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as problem:
        raise error(f"{path}: not JSON ({problem})") from None
