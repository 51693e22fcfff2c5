"""iShape: 16-bit maps from 1000 on, a ring and an instance in two pieces, the same as run lengths, links in
coco_format, stems that repeat over subsets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.coco_entries import annotation, compressed, content, dense, image
from helpers.tiny_datasets import photo, save, write_json

SUBSETS = ("antenna", "branch", "fence", "hanger", "log", "wire")
JSON = "coco_format-mask_encoding=rle-instances_2017.json"


def build(root: Path) -> None:
    """Image 212 of 40 x 40 in the val part of each subset; of wire also 13, under ``root/ishape/ishape_dataset``."""
    for subset in SUBSETS:
        at = root / "ishape" / "ishape_dataset" / subset / "val"
        # 20 x 20 with a hole of 16 x 16: 144 pixels; 2 x 10 twice: 40 pixels.
        ring = dense(40, 40, (5, 5, 25, 25)) - dense(40, 40, (7, 7, 23, 23))
        pieces = dense(40, 40, (0, 30, 10, 32), (30, 30, 40, 32))
        stems = {212: [ring, pieces]}
        if subset == "wire":
            stems[13] = [dense(40, 40, (3, 0, 4, 40))]
        images, annotations = [], []
        for number, (stem, masks) in enumerate(stems.items(), start=1):
            labels = np.zeros((40, 40), np.uint16)
            images.append(image(number, f"{stem}.jpg", 40, 40))
            for k, mask in enumerate(masks):
                labels[mask > 0] = 1000 + k
                annotations.append(annotation(len(annotations) + 1, number, compressed(mask), img_name=f"{stem}.jpg"))
            save(at / "image" / f"{stem}.jpg", photo(40, 40))
            save(at / "instance_map" / f"{stem}.png", labels)
        write_json(at / JSON, content(images, annotations, {1: "cat1"}))
        (at / "coco_format").mkdir()
        (at / "coco_format" / "instances_train2017.json").symlink_to(f"../{JSON}")
        (at / "coco_format" / "train2017").symlink_to("../image")
