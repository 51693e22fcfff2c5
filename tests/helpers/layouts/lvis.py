"""LVIS v0.5 on COCO's photographs: names of 2014 in file_name, the real place in coco_url, no crowd, no run lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.coco_entries import annotation, content, image, rectangle
from helpers.tiny_datasets import photo, save, write_json


def build(root: Path) -> None:
    """Two images of 40 x 60 under ``root/lvis``, one of them without annotation."""
    at = root / "lvis"
    made = content(
        [_image(266409), _image(285)],
        [
            annotation(1, 266409, [rectangle(4, 4, 14, 14)], 81, area=100.0),
            # A part of it, and one so small that it fills no pixel.
            annotation(2, 266409, [rectangle(6, 6, 10, 10)], 1139),
            annotation(3, 266409, [[30.1, 30.1, 30.2, 30.1, 30.2, 30.2]], 81),
        ],
        {81: "bat_(animal)", 1139: "tennis_racket"},
    )
    for category, frequency in zip(made["categories"], "rf", strict=True):
        del category["supercategory"]
        category.update(frequency=frequency, synset=f"{category['name']}.n.01", synonyms=[], instance_count=1)
    write_json(at / "annotations" / "lvis_v0.5_val.json", made)
    for id in (266409, 285):
        save(at / "val2017" / f"{id:012d}.jpg", photo(40, 60))


def _image(id: int) -> dict[str, Any]:
    return {
        **image(id, f"COCO_val2014_{id:012d}.jpg", 40, 60),
        "coco_url": f"http://images.cocodataset.org/val2017/{id:012d}.jpg",
        "neg_category_ids": [7],
        "not_exhaustive_category_ids": [],
    }
