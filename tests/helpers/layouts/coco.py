"""COCO val2017: polygons up to the very border, a crowd as run lengths, a grey photograph, one without annotation."""

from __future__ import annotations

from pathlib import Path

from helpers.coco_entries import annotation, content, dense, image, rectangle, uncompressed
from helpers.tiny_datasets import photo, save, write_json

CATEGORIES = {1: "person", 13: "stop sign", 90: "toothbrush"}


def build(root: Path) -> None:
    """Three images of 40 x 60 and 30 x 30 under ``root/coco``."""
    at = root / "coco"
    images = [
        image(139, "000000000139.jpg", 40, 60),
        image(5001, "000000005001.jpg", 30, 30),
        image(285, "000000000285.jpg", 40, 60),
    ]
    annotations = [
        annotation(900100, 5001, [rectangle(5, 5, 15, 15)], 13),
        annotation(1768, 139, [rectangle(50, 30, 60.0, 40.0)], 90, area=99.5),
        # Cut apart by something in front: two polygons; and one of two points, which holds nothing.
        annotation(1769, 139, [rectangle(2, 2, 8, 8), rectangle(10, 2, 14, 8), [1, 1, 3, 3]], 1),
        annotation(900200, 139, uncompressed(dense(40, 60, (20, 10, 30, 20))), 1, iscrowd=1),
    ]
    write_json(at / "annotations" / "instances_val2017.json", content(images, annotations, CATEGORIES))
    write_json(at / "annotations" / "captions_val2017.json", {"images": images, "annotations": []})
    save(at / "val2017" / "000000000139.jpg", photo(40, 60))
    save(at / "val2017" / "000000005001.jpg", photo(30, 30)[:, :, 0])
    save(at / "val2017" / "000000000285.jpg", photo(40, 60))
