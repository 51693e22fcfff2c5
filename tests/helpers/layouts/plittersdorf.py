"""Plittersdorf: three files whose ids restart, traced contours with a hole and in parts, grey and colour, EXR files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.coco_entries import annotation, image, rectangle
from helpers.tiny_datasets import photo, save, write_json


def build(root: Path) -> None:
    """Two images in train and test, one in val, under ``root/plittersdorf``."""
    at = root / "plittersdorf" / "plittersdorf_instance_segmentation_coco"
    # The contour of a 21 x 21 square from (5, 5) to (25, 25), and that of its hole.
    ring = annotation(1, 1, [rectangle(5, 5, 25, 25), rectangle(10, 10, 20, 20)], bbox=[5, 5, 20, 20], area=400)
    parts = annotation(1, 1, [rectangle(2, 2, 6, 6), rectangle(10, 2, 14, 6)], bbox=[2, 2, 12, 4], area=48)
    one = annotation(1, 1, [rectangle(30, 20, 40, 30)], bbox=[30, 20, 10, 10], area=100)
    two = annotation(2, 1, [rectangle(0, 0, 4, 4)], bbox=[0, 0, 4, 4], area=16)
    train = [image(1, "12_000101.jpg", 40, 64), image(2, "12_000102.jpg", 40, 64)]
    small = annotation(2, 2, [rectangle(1, 1, 3, 4)], bbox=[1, 1, 2, 3], area=6)
    write_json(at / "train.json", _content(train, [ring, small]))
    write_json(at / "val.json", _content([image(1, "13_000007.png", 40, 64)], [parts]))
    test = [image(1, "14_000020.jpg", 40, 64), image(2, "14_000021.jpg", 40, 64)]
    write_json(at / "test.json", _content(test, [one, two]))
    # An export for cross-validation, which holds the same images again.
    write_json(at / "train_fold_000_train.json", _content([image(1, "12_000101.jpg", 40, 64)], [ring]))
    for name in ("12_000101.jpg", "12_000102.jpg", "14_000020.jpg", "14_000021.jpg"):
        save(at / "images" / name, photo(40, 64)[:, :, 0])
    save(at / "images" / "13_000007.png", photo(40, 64))
    for name in ("12_000101", "12_000102", "13_000007", "14_000020", "14_000021"):
        (at / "images" / f"{name}.exr").write_bytes(b"\x76\x2f\x31\x01")


def _content(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    categories = [{"name": "animal", "id": 1, "supercategory": None}]
    return {"info": {}, "licences": {}, "images": images, "annotations": annotations, "categories": categories}
