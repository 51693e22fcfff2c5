"""DAVIS-345 as RITM packs it: a palette mask with two objects, and one stored in colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.tiny_datasets import photo, save
from PIL import Image

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0]
"""DAVIS's first colours: black, red, green."""


def build(root: Path) -> None:
    """Two frames of 40 x 60 under ``root/davis345``."""
    at = root / "davis345"
    for name in ("judo_00000", "bear_00041"):
        save(at / "img" / f"{name}.jpg", photo(40, 60), quality=95)
    indices = np.zeros((40, 60), np.uint8)
    indices[2:8, 3:13] = 1
    indices[20:24, 40:50] = 2
    (at / "gt").mkdir()
    mask = Image.fromarray(indices, mode="P")
    mask.putpalette(PALETTE)
    mask.save(at / "gt" / "judo_00000.png")
    # Its first channel is empty where the object is green.
    colours = np.zeros((40, 60, 3), np.uint8)
    colours[5:10, 5:10] = (0, 128, 0)
    save(at / "gt" / "bear_00041.png", colours)
