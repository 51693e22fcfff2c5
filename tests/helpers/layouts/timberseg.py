"""TimberSeg: every image in two sizes, names with their folder, a log in two polygons, a polygon of two points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.coco_entries import annotation, content, image, rectangle
from helpers.tiny_datasets import photo, save, write_json

SIZES = {"000000": (40, 60), "000001": (60, 40), "000002": (30, 60)}


def build(root: Path) -> None:
    """Three images, prescaled and twice as large in original, under ``root/timberseg/y5npsm3gkj-2``."""
    at = root / "timberseg" / "y5npsm3gkj-2"
    for version, scale in (("prescaled", 1), ("original", 2)):
        made = _content(scale)
        write_json(at / version / "coco_annotation.json", made)
        rotated = [{**entry, "bbox": [10.0, 10.0, 5.0, 4.0, 30.0]} for entry in made["annotations"]]
        write_json(at / version / "coco_annotation_rotated.json", {**made, "annotations": rotated})
        for name, (height, width) in SIZES.items():
            save(at / version / "images" / f"{name}.png", photo(height * scale, width * scale))


def _content(scale: int) -> dict[str, Any]:
    def scaled(*corners: int) -> list[float]:
        return rectangle(*(scale * corner for corner in corners))

    images = [
        image(k, f"images/{name}.png", height * scale, width * scale)
        for k, (name, (height, width)) in enumerate(SIZES.items())
    ]
    annotations = [
        annotation(0, 0, [scaled(2, 2, 20, 6), scaled(25, 2, 40, 6)]),
        annotation(1, 0, [scaled(2, 5, 40, 10), [3, 3, 9, 9]]),
        annotation(2, 1, [scaled(5, 50, 35, 60)]),
        annotation(3, 2, [scaled(0, 0, 60, 10)]),
        annotation(4, 2, [[1, 1, 2, 2]], bbox=[1, 1, 0, 0]),
    ]
    return content(images, annotations, {1: "log"})
