"""Files to bytes, with one clear line for each file that is not there or holds nothing of its own."""

from __future__ import annotations

from pathlib import Path

from sambench.errors import DataError, SambenchError

LFS_POINTER = b"version https://git-lfs.github.com/spec"
"""How a file begins that Git LFS left in the place of another."""


def read_bytes(path: Path, error: type[SambenchError] = DataError, *, most: int | None = None) -> bytes:
    """The whole file. ``most``: bytes, a larger one is refused.

    Raises ``error``: a file that cannot be read, is larger, is empty or an LFS pointer.
    """
    try:
        if most is not None and path.stat().st_size > most:
            raise error(f"{path}: refused, larger than {most >> 20} MiB")
        data = path.read_bytes()
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror})") from None
    if lacking := what_is_lacking(data):
        raise error(f"{path}: {lacking}")
    return data


def what_is_lacking(head: bytes, what: str = "file") -> str:
    """What to say of a file by its first bytes, as many as :data:`LFS_POINTER` has or more: that it is empty, or a
    pointer in the place of a ``what``; empty if it holds something of its own."""
    if not head:
        return "the file is empty; copy it again"
    if head.startswith(LFS_POINTER):
        return f"a Git LFS pointer is in the {what}'s place; run `git lfs pull` in its repository"
    return ""
