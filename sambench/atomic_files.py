"""Files that are whole or absent."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from sambench.errors import SambenchError

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "a file size limit is hit",
}


class OutputError(SambenchError):
    """Results cannot be written. What was written before is whole."""


def write_atomic(path: Path, content: bytes | Callable[[BinaryIO], None]) -> None:
    """Writes under a temporary name in the same folder, flushes to the disk, renames, flushes the folder.

    ``content``: the bytes, or what writes them. Raises OutputError (disk full, no permission); no part is left then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise output_error(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys off (the order is the author's), no NaN, UTF-8."""
    write_atomic(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8"))


def sync_folder(folder: Path) -> None:
    """Makes a rename in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def output_error(path: Path, error: OSError) -> OutputError:
    """The one line for an OSError met while writing at ``path``."""
    cause = _FULL.get(error.errno or 0, error.strerror or str(error))
    return OutputError(f"cannot write {path}: {cause}")
