"""GrabCut as RITM packs it: image formats mixed, a void band of 128, one mask stored in colour, a Thumbs.db."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.tiny_datasets import photo, save


def build(root: Path) -> None:
    """Two images of 40 x 60 under ``root/grabcut``."""
    at = root / "grabcut"
    save(at / "data_GT" / "153093.jpg", photo(40, 60), quality=95)
    save(at / "data_GT" / "flower.BMP", photo(40, 60))
    save(at / "boundary_GT" / "153093.bmp", trimap(10, 20, 10, 4))
    save(at / "boundary_GT" / "flower.bmp", np.repeat(trimap(4, 4, 8, 0)[:, :, None], 3, axis=2))
    (at / "data_GT" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")


def trimap(y: int, x: int, side: int, band: int) -> np.ndarray:
    """40 x 60: a square of 255 in a frame of 128, ``band`` wide."""
    values = np.zeros((40, 60), np.uint8)
    values[y - band : y + side + band, x - band : x + side + band] = 128
    values[y : y + side, x : x + side] = 255
    return values
