"""ZeroWaste-f: PNGs in capitals, a map of two classes, one of a class in two pieces, one of background, one with void
stripes; objects with an empty polygon and an overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.coco_entries import annotation, content, dense, image, rectangle
from helpers.tiny_datasets import photo, save, write_json

NAMES = ("01_frame_004640", "01_frame_005240", "02_frame_000100", "02_frame_000200")
CATEGORIES = {1: "rigid_plastic", 2: "cardboard", 3: "metal", 4: "soft_plastic"}


def build(root: Path) -> None:
    """Four images of 40 x 60 and one without a map, under ``root/zerowaste_f/zerowaste-f-final``."""
    at = root / "zerowaste_f" / "zerowaste-f-final" / "splits_final_deblurred" / "train"
    two_classes = dense(40, 60, (2, 2, 12, 12)) + 3 * dense(40, 60, (20, 2, 30, 7))
    two_pieces = 4 * dense(40, 60, (0, 0, 5, 5), (50, 30, 60, 40))
    striped = 2 * dense(40, 60, (10, 10, 20, 20))
    striped[12:14] = 255
    maps = (two_classes, two_pieces, np.zeros((40, 60), np.uint8), striped)
    for name, labels in zip(NAMES, maps, strict=True):
        save(at / "data" / f"{name}.PNG", photo(40, 60))
        save(at / "sem_seg" / f"{name}.PNG", labels)
    save(at / "data" / "stray.png", photo(40, 60))
    images = [image(k, f"{name}.PNG", 40, 60) for k, name in enumerate(NAMES)]
    annotations = [
        annotation(0, 0, [rectangle(2, 2, 12, 12)], 1),
        annotation(1, 0, [rectangle(8, 2, 30, 7)], 3),
        annotation(2, 1, [rectangle(0, 0, 5, 5)], 4),
        annotation(3, 1, [rectangle(50, 30, 60, 40)], 4),
        annotation(4, 2, [], 2),
        annotation(5, 3, [rectangle(10, 10, 20, 20)], 2),
    ]
    write_json(at / "labels.json", content(images, annotations, CATEGORIES))
