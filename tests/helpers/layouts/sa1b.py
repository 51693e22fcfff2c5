"""SA-1B: a shard with nested masks in no order of ids, boxes one pixel short, and labels without an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.tiny_datasets import photo, save, square, write_json

from sambench.masks import to_rle
from sambench.types import Mask


def build(root: Path) -> None:
    """Two images of 40 x 60 and labels of a third under ``root/sa1b/sa_000000``."""
    at = root / "sa1b" / "sa_000000"
    whole, part, subpart = (annotation(id, square(40, 60, 5, 5, side)) for id, side in ((30, 30), (4, 20), (17, 10)))
    for number, several in ((1, [whole, part, subpart]), (17, [annotation(8, square(40, 60, 35, 50, 10))])):
        write_json(at / f"sa_{number}.json", content(number, several))
        save(at / f"sa_{number}.jpg", photo(40, 60), quality=90)
    write_json(at / "sa_20.json", content(20, [annotation(9, square(40, 60, 0, 0, 4))]))


def content(number: int, annotations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    image = {"image_id": number, "width": 60, "height": 40, "file_name": f"sa_{number}.jpg"}
    return {"image": image, "annotations": list(annotations)}


def annotation(id: int, dense: Any) -> dict[str, Any]:
    """A mask as the data engine stores it."""
    mask = Mask.from_dense(dense)
    x0, y0, x1, y1 = mask.box
    return {
        "id": id,
        "segmentation": to_rle(mask),
        "bbox": [x0, y0, x1 - x0 - 1, y1 - y0 - 1],
        "area": mask.area,
        "predicted_iou": 0.9375,
        "stability_score": 0.96875,
        "crop_box": [0, 0, 60, 40],
        "point_coords": [[x0, y0]],
    }
