"""RefCOCOg: an object with two entries, a sentence that is not ASCII."""

from __future__ import annotations

from pathlib import Path

from helpers.refer_entries import build_refer, ref

UMD = [
    ref(0, 1002, 72, "val", "a man in a grey coat who stands at the café"),
    ref(1, 1002, 72, "val", "the larger of two people"),
    ref(2, 2001, 109, "test", "a dog that lies down"),
]
GOOGLE = [ref(0, 1002, 72, "train", "the larger of two people"), ref(1, 2001, 109, "val", "a dog that lies down")]


def build(root: Path) -> None:
    """Three images under ``root/refcocog``, see :func:`helpers.refer_entries.build_refer`."""
    build_refer(root / "refcocog", {"umd": UMD, "google": GOOGLE})
