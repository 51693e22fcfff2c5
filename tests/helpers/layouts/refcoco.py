"""RefCOCO: two partitions over the same objects; in that of Google an image is in two splits."""

from __future__ import annotations

from pathlib import Path

from helpers.refer_entries import build_refer, ref

UNC = [
    ref(0, 1001, 72, "val", "left man", "man on the left"),
    ref(1, 1002, 72, "val", "right person"),
    ref(2, 2001, 109, "testB", "dog"),
    ref(3, 3001, 260, "train", "blue cup"),
]
GOOGLE = [
    ref(0, 1001, 72, "val", "left man", "man on the left"),
    ref(1, 1002, 72, "train", "right person"),
    ref(2, 2001, 109, "test", "dog"),
    ref(3, 3001, 260, "train", "blue cup"),
]


def build(root: Path) -> None:
    """Three images under ``root/refcoco``, see :func:`helpers.refer_entries.build_refer`."""
    build_refer(root / "refcoco", {"unc": UNC, "google": GOOGLE})
