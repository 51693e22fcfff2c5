"""IBD: three roofs in each of the four forms that the real files may have, beside height maps to be left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.coco_entries import annotation, content, image, rectangle
from helpers.tiny_datasets import photo, save, write_json

NAMES = ("DJI_0001", "DJI_0002")
# Two that touch, and one that lies on the first.
ROOFS = ((2, 2, 22, 22), (22, 2, 42, 22), (5, 5, 10, 10))


def build(root: Path) -> None:
    """Two photographs of 40 x 60 with three roofs each, as COCO JSON, under ``root/ibd/InstanceBuilding/2D``."""
    build_form(root, "coco")


def build_form(root: Path, form: str, split: str = "train") -> Path:
    """In one form: ``coco``, ``labelme``, ``via``, ``labels`` (16-bit numbers), ``colours`` on white, ``binary``."""
    top = root / "ibd" / "InstanceBuilding" / "2D"
    at = top / split
    for name in NAMES:
        save(at / "images" / f"{name}.jpg", photo(40, 60))
        save(at / "height" / f"{name}.png", photo(40, 60)[:, :, 0])
        save(at / "images" / f"{name}_z.png", np.full((40, 60), 700, np.uint16))
    save(root / "ibd" / "InstanceBuilding" / "3D" / split / "view.jpg", photo(20, 20))
    if form == "coco":
        images = [image(k, f"{name}.jpg", 40, 60) for k, name in enumerate(NAMES)]
        annotations = [
            annotation(3 * k + n, k, [rectangle(*roof)]) for k in range(len(NAMES)) for n, roof in enumerate(ROOFS)
        ]
        write_json(top / "annotations" / f"instances_{split}.json", content(images, annotations, {1: "building"}))
    elif form == "labelme":
        for name in NAMES:
            shapes = [_shape("roof", roof, None) for roof in ROOFS[:2]] + [_shape("roof", ROOFS[2], 4)]
            shapes.append(_shape("roof", (50, 30, 55, 35), 4))
            shapes.append({"label": "note", "points": [[1, 1]], "shape_type": "point", "group_id": None})
            file = {"imagePath": f"{name}.jpg", "imageHeight": 40, "imageWidth": 60, "shapes": shapes}
            write_json(at / "labels" / f"{name}.json", file)
    elif form == "via":
        regions = [
            {
                "shape_attributes": {"name": "polygon", "all_points_x": x, "all_points_y": y},
                "region_attributes": {},
            }
            for x, y in ((rectangle(*roof)[0::2], rectangle(*roof)[1::2]) for roof in ROOFS)
        ]
        files = {f"{name}.jpg1": {"filename": f"{name}.jpg", "size": 1, "regions": regions} for name in NAMES}
        write_json(at / "via_region_data.json", files)
    else:
        for name in NAMES:
            save(at / "labels" / f"{name}.png", _map(form))
    return top


def _shape(label: str, roof: tuple[int, int, int, int], group: int | None) -> dict[str, object]:
    corners = rectangle(*roof)
    points = [list(point) for point in zip(corners[0::2], corners[1::2], strict=True)]
    return {"label": label, "points": points, "shape_type": "polygon", "group_id": group}


def _map(form: str) -> np.ndarray:
    """Numbers from 300 on, colours on white, or 0 and 255. The roof on top is painted last."""
    labels = np.zeros((40, 60), np.uint16)
    for number, (x0, y0, x1, y1) in enumerate(ROOFS, start=300):
        labels[y0:y1, x0:x1] = number
    if form == "labels":
        return labels
    if form == "binary":
        return np.where(labels > 0, 255, 0).astype(np.uint8)
    colours = np.full((40, 60, 3), 255, np.uint8)
    for number, colour in ((300, (200, 0, 0)), (301, (0, 200, 0)), (302, (0, 0, 0))):
        colours[labels == number] = colour
    return colours
