"""JSON files, read whole with one clear line for each file that is not what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from sambench.errors import DataError, SambenchError
from sambench.readers.contents import read_bytes

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_json(path: Path, error: type[SambenchError] = DataError) -> Any:
    """The content of a JSON file, strict (no NaN), in UTF-8, with or without a byte order mark.

    Raises ``error``: a file that cannot be read, is empty or an LFS pointer, or is not JSON.
    """
    data = read_bytes(path, error)
    try:
        return orjson.loads(data.removeprefix(_BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as problem:
        raise error(f"{path}: not JSON ({problem})") from None
