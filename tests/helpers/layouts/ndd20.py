"""NDD20: VIA 2 files of both folders, same names; open lines, degenerate outlines, regions as list and as object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.tiny_datasets import photo, save, write_json

ABOVE = {
    "0.jpg": [
        {"xs": [10, 20, 20, 10], "ys": [5, 5, 15, 15], "species": "BND", "id": "12 "},
        {"shape": "polygon", "xs": [15, 25, 25, 15], "ys": [10, 10, 20, 20], "species": "WBD", "id": " "},
    ],
    "104.jpg": [
        {"xs": [3, 9], "ys": [3, 9], "species": "BND"},  # two points
        {"xs": [50, 61, 61, 50], "ys": [30, 30, 41, 41], "species": "BND"},  # over the border by a pixel
    ],
}
BELOW = {
    "0.jpg": [
        {"xs": [2, 12, 12, 2], "ys": [2, 2, 6, 6], "id": "7", "out of focus": "true"},
        {"xs": [5, 15, 10], "ys": [20, 20, 20], "out of focus": "false"},  # no area
    ],
    "104.jpg": [{"xs": [30.25, 40.25, 40.25, 30.25], "ys": [8.5, 8.5, 12.5, 12.5], "out of focus": "false"}],
}


def build(root: Path) -> None:
    """Four images of 40 x 60 under ``root/ndd20``."""
    at = root / "ndd20"
    for folder, images in (("ABOVE", ABOVE), ("BELOW", BELOW)):
        for name in images:
            save(at / folder / name, photo(40, 60)[:: 1 if folder == "ABOVE" else -1], quality=90)
    write_json(at / "ABOVE_LABELS.json", {f"{name}999": entry(name, regions) for name, regions in ABOVE.items()})
    below = {f"{name}{-1}": entry(name, regions) for name, regions in BELOW.items()}
    # Version 1 of the annotator keeps regions in an object.
    below["0.jpg-1"]["regions"] = {str(k): region for k, region in enumerate(below["0.jpg-1"]["regions"])}
    write_json(at / "BELOW_LABELS.json", below)


def entry(name: str, regions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One image of a VIA 2 export."""
    return {"filename": name, "size": 999, "regions": [region(**one) for one in regions], "file_attributes": {}}


def region(xs: Sequence[float], ys: Sequence[float], shape: str = "polyline", **attributes: str) -> dict[str, Any]:
    return {
        "shape_attributes": {"name": shape, "all_points_x": list(xs), "all_points_y": list(ys)},
        "region_attributes": {"object": "dolphin", **attributes},
    }
