"""DOORS, Segmentation/DS1 and DS2: grey pictures and masks of 128 x 128, lists of names, blanks in names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.tiny_datasets import photo, save, square


def build(root: Path) -> None:
    """DS1: a whole boulder; one in two pieces with a shadow's grey beside it, in an RGB mask; an image named img with
    its mask renamed; an empty mask. DS2: one image."""
    base = root / "doors" / "DOORS"
    at = base / "Segmentation" / "DS1" / "DS"
    for name in ("0 a.png", "1_img.png", "22.png", "33.png"):
        save(at / "img" / name, photo(128, 128)[:, :, 2])
    save(at / "mask" / "0 a.png", square(128, 128, 10, 20, 30))
    pieces = square(128, 128, 0, 0, 10) + square(128, 128, 40, 40, 5)
    pieces[60:70, 60:70] = 127
    save(at / "mask" / "22.png", np.dstack([pieces] * 3))
    save(at / "mask" / "1_mask.png", square(128, 128, 100, 100, 28))
    save(at / "mask" / "33.png", np.zeros((128, 128), np.uint8))
    for name, lines in {"T": "0 a.png\r\n1_img.png\r\n", "V": "22\n", "Te1": "33.png\n\n", "Te2": "0 a.png\n"}.items():
        (at / f"{name}.txt").write_bytes(lines.encode())
    (at.parent / "T_30000_b_2022-08-02 11.14.22.txt").write_text("0 0 0 0 0 0 0 7 1.5 0.2 0.3 900\n" * 2)
    second = base / "Segmentation" / "DS2" / "DS"
    save(second / "img" / "7.png", photo(128, 128)[:, :, 2])
    save(second / "mask" / "7.png", square(128, 128, 1, 1, 4))
    (base / "Regression" / "Te1_5000_b_2022-08-02 11.16.00" / "img").mkdir(parents=True)
