"""The VGG Image Annotator's files: forms, shapes, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.layouts.streets import entry, polygon
from helpers.tiny_datasets import write_json

from sambench.errors import DataError, UsageError
from sambench.readers import via_json

SQUARE = polygon([2, 8, 8, 2], [3, 3, 9, 9], kind="a")


def described(attributes: Any) -> dict[str, Any]:
    return {"class_name": attributes.get("kind")}


def areas(file: via_json.ViaFile, name: str) -> list[tuple[str, str | None, int]]:
    truth = file.truth(name, (20, 30), described)
    return [(i.id, i.class_name, i.mask.area) for i in truth.instances]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("as_list", [False, True])
def test_forms(wrapped: bool, as_list: bool, tmp_path: Path) -> None:
    image = entry("a b.jpg", [SQUARE, {**SQUARE, "region_attributes": None}])
    if as_list:
        image["regions"] = list(image["regions"].values())
    content = {"a b.jpg1": image, "c.jpg2": entry("c.jpg", [])}
    path = write_json(tmp_path / "via.json", {"_via_img_metadata": content, "_via_settings": 1} if wrapped else content)
    file = via_json.load(path)
    assert {name: file.n_masks(name) for name in file.regions} == {"a b.jpg": 2, "c.jpg": 0}
    assert areas(file, "a b.jpg") == [("0", "a", 36), ("1", None, 36)]
    assert via_json.looks_like_via(path)


def test_names_come_from_the_entry(tmp_path: Path) -> None:
    """``West-1.jpg1`` is also how the key of ``West-1.jpg11`` begins; folders in a name say nothing."""
    content = {
        "West-1.jpg11": entry("West-1.jpg", [SQUARE]),
        "West-1.jpg1": entry("dir/West-1.jpg1.jpg", []),
        "cafe\u0301.jpg1": entry("cafe\u0301.jpg", []),
    }
    file = via_json.load(write_json(tmp_path / "via.json", content))
    assert list(file.regions) == ["West-1.jpg", "West-1.jpg1.jpg", "caf\u00e9.jpg"]


def test_shapes_that_are_no_outline_are_counted(tmp_path: Path) -> None:
    regions = [
        {"shape_attributes": {"name": "circle", "cx": 5, "cy": 5, "r": 2}, "region_attributes": {}},
        {**SQUARE, "shape_attributes": {**SQUARE["shape_attributes"], "name": "polyline"}},
        polygon([], []),
        polygon([1, 2, 3], [4, 4, 4]),
    ]
    file = via_json.load(write_json(tmp_path / "via.json", {"a1": entry("a.jpg", regions)}))
    assert file.n_masks("a.jpg") == 2
    assert areas(file, "a.jpg") == [("1", "a", 36)]
    assert file.truth("a.jpg", (20, 30), described).dropped == {
        "not_an_outline": 1,
        "too_few_points": 1,
        "empty_mask": 1,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "not a file of the VGG Image Annotator: it holds no object of images"),
        ({"images": []}, "not a file of the VGG Image Annotator: entry 'images' has no 'filename'"),
        ({"a1": entry("a.jpg", []), "a2": entry("a.jpg", [])}, r"a\.jpg is given twice"),
        ({"a1": {"filename": "a.jpg"}}, r"a\.jpg has no 'regions'"),
        ({"a1": {"filename": "a.jpg", "regions": {"0": {}}}}, r"a\.jpg: region 0 has no 'shape_attributes'"),
        ("{", "not JSON"),
        (None, "no such file"),
    ],
)
def test_bad_files(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "via.json"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        write_json(path, content)
    with pytest.raises(UsageError, match=rf"via\.json: {message}"):
        via_json.load(path)


@pytest.mark.parametrize(
    ("xs", "ys", "message"),
    [
        ([1, 2, 3], [1, 2], "all_points_x and all_points_y must be lists of one length"),
        ({"0": 1}, [1, 2, 3], "all_points_x and all_points_y must be lists of one length"),
        ([1, 2, "3"], [1, 2, 3], "an outline must be a list of points"),
        ([1, 2, None], [1, 2, 3], "an outline must be a list of points"),
        ([1, 2, 91], [1, 2, 3], "an outline reaches to x = 91, the image is 30 x 20"),
    ],
)
def test_bad_regions(xs: Any, ys: Any, message: str, tmp_path: Path) -> None:
    shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    bad = {"shape_attributes": shape, "region_attributes": {}}
    file = via_json.load(write_json(tmp_path / "via.json", {"a1": entry("a.jpg", [SQUARE, bad])}))
    assert file.n_masks("a.jpg") == 2
    with pytest.raises(DataError, match=rf"via\.json: region 1 of a\.jpg: {message}"):
        file.truth("a.jpg", (20, 30), described)


def test_what_looks_like_one(tmp_path: Path) -> None:
    assert not via_json.looks_like_via(tmp_path / "absent.json")
    assert not via_json.looks_like_via(write_json(tmp_path / "coco.json", {"images": [], "annotations": []}))
