"""EgoHOS, train: frames of four sources, label maps of 1 to 8, files of contact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.layouts.dram import boxes
from helpers.tiny_datasets import photo, save

SIZE = (40, 60)


def build(root: Path) -> None:
    """By source: Ego4D with both hands and an object in two pieces; THU-READ with a right hand, a second-order object
    and a stray 255, in another letter case and with three equal channels; EPIC-KITCHENS; own, by date; an Ego4D frame
    without a hand."""
    at = root / "egohos" / "egohos_dataset" / "train"
    labels = {
        "ego4d_0a1b_00012": boxes([(1, 0, 0, 5, 5), (2, 0, 20, 5, 6), (4, 10, 10, 4, 4), (4, 10, 30, 4, 4)]),
        "THU_kitchen_03": boxes([(2, 3, 3, 10, 10), (7, 20, 20, 5, 4), (255, 39, 59, 1, 1)]),
        "EPIC_P01_01_frame_0000000001": boxes([(1, 0, 0, 3, 3), (3, 5, 5, 3, 3), (5, 9, 9, 3, 3)]),
        "20220102_101112": boxes([(2, 0, 0, 9, 9)]),
        "ego4d_bare": boxes([]),
    }
    for name, values in labels.items():
        suffix = ".JPG" if name.startswith("THU") else ".jpg"
        save(at / "image" / f"{name}{suffix}", photo(*SIZE), format="JPEG")
        save(at / "label" / f"{name}.png", np.dstack([values] * 3) if name.startswith("THU") else values)
        save(at / "contact" / f"{name}.png", (values > 2).astype(np.uint8))
    (at / "label" / "._THU_kitchen_03.png").write_bytes(b"\0\5\x16\7")
