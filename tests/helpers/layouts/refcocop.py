"""RefCOCO+: one partition; the folder's name is not the dataset's."""

from __future__ import annotations

from pathlib import Path

from helpers.refer_entries import build_refer, ref

UNC = [
    ref(0, 1001, 72, "val", "small man"),
    ref(1, 2001, 109, "val", "dog", "brown dog"),
    ref(2, 3001, 260, "testA", "cup"),
]


def build(root: Path) -> None:
    """Three images under ``root/refcoco+``, see :func:`helpers.refer_entries.build_refer`."""
    build_refer(root / "refcoco+", {"unc": UNC})
