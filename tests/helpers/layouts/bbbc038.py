"""BBBC038v1, stage1_train: a folder an image, a file a nucleus, and what macOS leaves beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.tiny_datasets import bbbc038, photo, save, square


def build(root: Path) -> None:
    """Two images of 20 x 30 with two and three nuclei of 9 pixels, then: in the second an empty mask and one that
    overlaps the first nucleus; a test image without masks."""
    at = root / "bbbc038"
    _, second = bbbc038(at, [2, 3])
    masks = at / "stage1_train" / second / "masks"
    save(masks / f"{1:064x}.png", np.zeros((20, 30), np.uint8))
    save(masks / f"{2:064x}.png", square(20, 30, 3, 1, 4))
    (masks / "._hidden.png").write_bytes(b"\0\5\x16\7")
    (at / "stage1_train" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (at / "stage1_train" / "__MACOSX" / "images").mkdir(parents=True)
    unseen = f"{99:064x}"
    save(at / "stage1_test" / unseen / "images" / f"{unseen}.png", photo(20, 30))
