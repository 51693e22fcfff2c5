"""Berkeley as RITM packs it: a picture present twice for two objects, and a second mask by suffix."""

from __future__ import annotations

from pathlib import Path

from helpers.layouts.grabcut import trimap
from helpers.tiny_datasets import photo, save, square


def build(root: Path) -> None:
    """Three images of 40 x 60 and four masks under ``root/berkeley``."""
    at = root / "berkeley"
    for name in ("101085", "101085b", "302003"):
        save(at / "images" / f"{name}.jpg", photo(40, 60), quality=95)
    save(at / "masks" / "101085.png", square(40, 60, 2, 2, 10))
    save(at / "masks" / "101085b.png", square(40, 60, 20, 30, 12))
    save(at / "masks" / "302003.png", trimap(10, 20, 6, 2))
    save(at / "masks" / "302003-2.png", square(40, 60, 0, 50, 5))
