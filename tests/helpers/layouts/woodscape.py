"""WoodScape: nested folders as unzipping makes them, both kinds of key, painting order, groups, odd annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from helpers.tiny_datasets import photo, save, write_json

FIRST, SECOND, GONE = "00000_FV", "00001_MVR", "00002_RV"
HEIGHT, WIDTH = 48, 64


def annotations() -> list[dict[str, Any]]:
    """Of the first image."""
    return [
        polygon(["road_surface"], box(0, 24, 63, 47), 0),
        polygon(["car"], box(10, 20, 29, 35), 3),
        polygon(["car", "van"], box(0, 0, 9, 9), 4),
        polygon(["pole"], [[1, 1], [5, 5]], 4),
        polygon(["car"], box(40, 30, 44, 39), 2, group_id="g1"),
        polygon(["car"], box(48, 30, 54, 39), 2, group_id="g1"),
        polygon(["train/tram"], box(55, -5, 70, 9), 1),
        polygon(["void"], box(12, 22, 20, 30), 1),  # wholly behind the first car
        polygon(["sky"], box(-20, -20, -10, -10), 1),  # outside
    ]


def build(root: Path) -> None:
    """Two images of 48 x 64 and labels of a third under ``root/woodscape``."""
    at = root / "woodscape"
    labels = at / "instance_annotations" / "instance_annotations"
    write_json(labels / f"{FIRST}.json", {f"{FIRST}.json": content(annotations())})
    write_json(labels / f"{SECOND}.json", {f"{SECOND}.png": content([polygon(["nature"], box(5.9, 5.9, 15.2, 10), 0)])})
    write_json(labels / f"{GONE}.json", {f"{GONE}.json": content([polygon(["sky"], box(0, 0, 9, 9), 0)])})
    for id in (FIRST, SECOND):
        save(at / "rgb_images" / f"{id}.png", photo(HEIGHT, WIDTH))
        save(at / "previous_images" / f"{id}_prev.png", photo(HEIGHT, WIDTH))
        save(at / "semantic_annotations" / "gtLabels" / f"{id}.png", np.ones((HEIGHT, WIDTH), np.uint8))
    save(at / "rgb_images(test_set)" / "00010_FV.png", photo(HEIGHT, WIDTH))


def content(polygons: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What stands under a file's one key."""
    return {
        "annotation": list(polygons),
        "annotation-tags": [],
        "feedback": None,
        "image_channels": 3,
        "image_height": HEIGHT,
        "image_width": WIDTH,
        "job_id": "1",
        "status": "finished",
    }


def polygon(tags: list[str], points: list[Any], z_order: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{tags[0]}-{z_order}",
        "tags": tags,
        "segmentation": points,
        "z_order": z_order,
        "states": {},
        **more,
    }


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
