"""STREETS: a VIA 1 file, names with spaces and parentheses, points outside the image, an image without a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.tiny_datasets import photo, save, square, write_json

FIRST, SECOND = "Arlington Heights at Checker (Wireless) West-4", "I-94 at IL 132 West-4"
BARE, GONE = "I-94 at IL 132 West-1", "US 41 & Clavey [North]-0"


def build(root: Path) -> None:
    """Three images of 48 x 72, of which two have vehicles, under ``root/streets``."""
    at = root / "streets" / "vehicleannotations"
    for id in (FIRST, SECOND, BARE):
        save(at / "images" / f"{id}.jpg", photo(48, 72), quality=90)
    regions = {
        FIRST: [
            polygon([10, 20, 20, 10], [10, 10, 18, 18], vehicle_type="car"),
            polygon([-5, 6, 6, -5], [20, 20, 30, 30], vehicle_type="car"),
            polygon([1, 5], [1, 5], vehicle_type="car"),
        ],
        SECOND: [
            polygon([30, 50, 50, 30], [5, 5, 15, 15], vehicle_type="truck"),
            polygon([45, 60, 60, 45], [10, 10, 20, 20]),
            {"shape_attributes": {"name": "rect", "x": 1, "y": 1, "width": 4, "height": 4}, "region_attributes": {}},
        ],
        BARE: [],
        GONE: [polygon([1, 9, 9], [1, 1, 9], vehicle_type="car")],
    }
    content = {f"{id}.jpg12345": entry(f"{id}.jpg", several) for id, several in regions.items()}
    write_json(at / "annotations" / "vehicle-annotations.json", content)
    for view in (FIRST, SECOND):
        # The road: a square of 20 pixels' side that the first vehicle of the first image touches.
        save(root / "streets" / "roadmasks" / "2018" / f"{view[:-2]}.png", square(48, 72, 0, 0, 20))


def entry(name: str, regions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One image of a VIA 1 project."""
    return {
        "fileref": "",
        "size": 12345,
        "filename": name,
        "base64_img_data": "",
        "file_attributes": {},
        "regions": {str(number): region for number, region in enumerate(regions)},
    }


def polygon(xs: Sequence[float], ys: Sequence[float], **attributes: str) -> dict[str, Any]:
    return {
        "shape_attributes": {"name": "polygon", "all_points_x": list(xs), "all_points_y": list(ys)},
        "region_attributes": attributes,
    }
