"""NDD20, STREETS, VISOR and WoodScape in tiny copies of their layouts: the exact masks, and each way they go wrong."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.layout_checks import dropped, found_in_its_folder_above_it_and_deeper, instances, listed, opened
from helpers.layouts import ndd20, streets, visor, woodscape
from helpers.tiny_datasets import photo, save, write_json

from sambench.errors import DataError, UsageError
from sambench.suite.datasets.ndd20 import PLUGIN as Ndd20
from sambench.suite.datasets.streets import PLUGIN as Streets
from sambench.suite.datasets.visor import PLUGIN as Visor
from sambench.suite.datasets.woodscape import PLUGIN as WoodScape

BUILDS = {Ndd20: ndd20.build, Streets: streets.build, Visor: visor.build, WoodScape: woodscape.build}


@pytest.mark.parametrize(("plugin", "build"), BUILDS.items())
def test_found_in_its_folder_above_it_and_deeper(plugin: Any, build: Callable[[Path], None], tmp_path: Path) -> None:
    found_in_its_folder_above_it_and_deeper(plugin, build, tmp_path)


# --- NDD20 -----------------------------------------------------------------------------------------------------------


def test_ndd20(tmp_path: Path) -> None:
    ndd20.build(tmp_path)
    dataset = opened(Ndd20, tmp_path)
    assert listed(dataset) == {"above/0": 2, "above/104": 1, "below/0": 2, "below/104": 1}
    assert dataset.excluded == {}
    # Two outlines that overlap by 5 x 5 pixels: both are whole, 10 x 10 each.
    assert instances(dataset, "above/0") == [
        ("0", "dolphin", 100, (10, 5, 20, 15)),
        ("1", "dolphin", 100, (15, 10, 25, 20)),
    ]
    attributes = [i.attributes for i in dataset.load("above/0").truth.instances]
    assert attributes == [{"species": "BND", "individual": "12"}, {"species": "WBD"}]  # blanks stripped, none if blank
    # From 50 to 61 and 30 to 41, cut at 60 and 40.
    assert instances(dataset, "above/104") == [("1", "dolphin", 100, (50, 30, 60, 40))]
    assert dropped(dataset, "above/104") == {"too_few_points": 1}
    assert instances(dataset, "below/0") == [("0", "dolphin", 40, (2, 2, 12, 6))]
    assert dropped(dataset, "below/0") == {"empty_mask": 1}
    assert dataset.load("below/0").truth.instances[0].attributes == {"individual": "7", "out_of_focus": "true"}


def test_ndd20_names_clash_and_do_not_mix(tmp_path: Path) -> None:
    ndd20.build(tmp_path)
    dataset = opened(Ndd20, tmp_path)
    above, below = (dataset.load(f"{side}/0").image for side in ("above", "below"))
    assert int(above[39, 30, 0]) > 30 > int(below[39, 30, 0])  # red is the row number; below the rows run upwards
    assert listed(opened(Ndd20, tmp_path, "below")) == {"below/0": 2, "below/104": 1}


def test_ndd20_what_is_missing(tmp_path: Path) -> None:
    ndd20.build(tmp_path)
    at = tmp_path / "ndd20"
    (at / "ABOVE" / "104.jpg").unlink()
    with pytest.raises(UsageError, match=r"1 of 4 images are missing \(first: above/104\): unzip NDD20\.zip"):
        opened(Ndd20, tmp_path).index()
    dataset = opened(Ndd20, tmp_path, missing_images="exclude")
    assert (len(dataset.index()), dataset.excluded) == (3, {"missing_image": 1})
    (at / "BELOW_LABELS.json").unlink()
    with pytest.raises(UsageError, match=r"BELOW_LABELS\.json: labels are missing beside BELOW/"):
        opened(Ndd20, tmp_path).index()
    (at / "ABOVE_LABELS.json").unlink()
    with pytest.raises(UsageError, match=r"ABOVE_LABELS\.json: labels are missing beside ABOVE/"):
        opened(Ndd20, tmp_path).index()
    ndd20.build(tmp_path)
    for folder in ("ABOVE", "BELOW"):
        shutil.rmtree(at / folder)
    with pytest.raises(UsageError, match=r"labels are there, images are not \(first: above/0\): unzip NDD20\.zip"):
        opened(Ndd20, tmp_path).index()


def test_ndd20_two_names_of_one_id(tmp_path: Path) -> None:
    ndd20.build(tmp_path)
    twice = {name: ndd20.entry(name, []) for name in ("0.jpg", "0.jpeg")}
    write_json(tmp_path / "ndd20" / "ABOVE_LABELS.json", twice)
    with pytest.raises(UsageError, match=r"0\.jpeg and 0\.jpg would have the same id"):
        opened(Ndd20, tmp_path).index()


def test_ndd20_ids_that_differ_in_letter_case_only(tmp_path: Path) -> None:
    ndd20.build(tmp_path)
    names = ("a.jpg", "A.jpg")
    write_json(tmp_path / "ndd20" / "ABOVE_LABELS.json", {name: ndd20.entry(name, []) for name in names})
    with pytest.raises(UsageError, match=r"images above/A and above/a differ in letter case only"):
        opened(Ndd20, tmp_path).index()


def test_ndd20_an_outline_of_another_image(tmp_path: Path) -> None:
    ndd20.build(tmp_path)
    strange = ndd20.entry("0.jpg", [ndd20.ABOVE["0.jpg"][0], {"xs": [1, 900, 900], "ys": [1, 1, 9]}])
    write_json(tmp_path / "ndd20" / "ABOVE_LABELS.json", {"0.jpg1": strange})
    dataset = opened(Ndd20, tmp_path, "above")
    assert listed(dataset) == {"above/0": 2}
    with pytest.raises(DataError, match=r"ABOVE_LABELS\.json: region 1 of 0\.jpg: an outline reaches to x = 900, the"):
        _ = dataset.load("above/0").truth


# --- STREETS ---------------------------------------------------------------------------------------------------------


def test_streets(tmp_path: Path) -> None:
    streets.build(tmp_path)
    dataset = opened(Streets, tmp_path)
    assert listed(dataset) == {streets.FIRST: 2, streets.SECOND: 2}
    assert dataset.excluded == {"missing_image": 1, "no_mask": 1}
    # Columns 10 to 20, rows 10 to 18; columns -5 to 6 cut at 0, rows 20 to 30.
    assert instances(dataset, streets.FIRST) == [("0", "car", 80, (10, 10, 20, 18)), ("1", "car", 60, (0, 20, 6, 30))]
    assert dropped(dataset, streets.FIRST) == {"too_few_points": 1}
    # They overlap by 5 x 5 pixels and stay whole; the second has no vehicle_type.
    assert instances(dataset, streets.SECOND) == [
        ("0", "truck", 200, (30, 5, 50, 15)),
        ("1", "vehicle", 150, (45, 10, 60, 20)),
    ]
    assert dropped(dataset, streets.SECOND) == {"not_an_outline": 1}
    assert dataset.load(streets.SECOND).truth.instances[0].attributes == {"vehicle_type": "truck"}


def test_streets_road_mask(tmp_path: Path) -> None:
    streets.build(tmp_path)
    dataset = opened(Streets, tmp_path, road_mask=True)
    # The road is 20 x 20 in the upper left: only the first car of the first image touches it.
    assert [i[0] for i in instances(dataset, streets.FIRST)] == ["0"]
    assert dropped(dataset, streets.FIRST) == {"too_few_points": 1, "off_road": 1}
    assert dropped(dataset, streets.SECOND) == {"not_an_outline": 1, "off_road": 2}
    (tmp_path / "streets" / "roadmasks" / "2018" / "I-94 at IL 132 West.png").unlink()
    with pytest.raises(DataError, match=r"2018/I-94 at IL 132 West\.png: no such file"):
        _ = dataset.load(streets.SECOND).truth


def test_streets_missing_images(tmp_path: Path) -> None:
    streets.build(tmp_path)
    with pytest.raises(UsageError, match=r"1 of 4 images are missing \(first: US 41 & Clavey \[North\]-0\)"):
        opened(Streets, tmp_path, missing_images="error").index()
    shutil.rmtree(tmp_path / "streets" / "vehicleannotations" / "images")
    with pytest.raises(UsageError, match=r"labels are there, images are not .*: unzip vehicleannotations\.zip in"):
        opened(Streets, tmp_path).index()


def test_streets_missing_labels(tmp_path: Path) -> None:
    streets.build(tmp_path)
    shutil.rmtree(tmp_path / "streets" / "vehicleannotations" / "annotations")
    with pytest.raises(UsageError, match=r"images are there, vehicle-annotations\.json is not"):
        opened(Streets, tmp_path).index()


def test_streets_other_arrangement(tmp_path: Path) -> None:
    """The folder without its name, the file under another one, in the form of a version 2 project."""
    streets.build(tmp_path)
    at = tmp_path / "mine"
    (tmp_path / "streets" / "vehicleannotations").rename(at)
    official = at / "annotations" / "vehicle-annotations.json"
    content = json.loads(official.read_text())
    for entry in content.values():
        entry["regions"] = list(entry["regions"].values())
    official.unlink()
    write_json(at / "my-annotations.json", {"_via_settings": {}, "_via_img_metadata": content})
    assert listed(opened(Streets, at)) == {streets.FIRST: 2, streets.SECOND: 2}
    write_json(at / "other-annotations.json", {"images": [], "annotations": []})
    assert len(opened(Streets, at).index()) == 2  # a file of another form is no rival
    write_json(at / "second-annotations.json", content)
    assert Streets.locate(at, "all", Streets.Options()) is None  # two of the form: nobody can tell


# --- VISOR -----------------------------------------------------------------------------------------------------------


def test_visor(tmp_path: Path) -> None:
    visor.build(tmp_path)
    dataset = opened(Visor, tmp_path)
    assert listed(dataset) == {visor.FIRST: 3, visor.SECOND: 2, visor.THIRD: 1}
    assert dataset.excluded == {"no_mask": 1}
    # The plate: 21 x 21 pixels with the line, less the 9 x 9 within the inner line. The hand: vertices cut to 40..50
    # and 5..12, so 11 x 8.
    assert instances(dataset, visor.FIRST) == [
        ("a1", "plate", 441 - 81, (10, 10, 31, 31)),
        ("a2", "left hand", 88, (40, 5, 51, 13)),
        ("a5", "right glove", 100, (60, 40, 70, 50)),
    ]
    assert dropped(dataset, visor.FIRST) == {"too_few_points": 2}  # segments [] and [[]]
    truth = dataset.load(visor.FIRST).truth
    assert [i.class_id for i in truth.instances] == [2, 300, 304]
    assert (20, 20) not in truth.instances[0].mask
    assert (0, 0) not in truth.instances[0].mask
    assert truth.instances[2].attributes == {
        "exhaustive": "y",
        "in_contact_object": "a1",
        "on_which_hand": ["right hand"],
    }
    # Two polygons of one entity, 10 x 10 and 5 x 5, in a frame that lies in a zip.
    assert instances(dataset, visor.THIRD) == [("c1", "tap", 125, (0, 0, 25, 10))]
    assert dataset.image_file(visor.THIRD) is None
    assert dataset.image_file(visor.FIRST).is_file()


def test_visor_overlaps(tmp_path: Path) -> None:
    visor.build(tmp_path)
    board, knife = ("b1", "chopping board", 600, (10, 10, 40, 30)), ("b2", "knife", 120, (20, 15, 60, 18))
    assert instances(opened(Visor, tmp_path), visor.SECOND) == [board, knife]
    # The knife hides 20 x 3 pixels of the board.
    flat = instances(opened(Visor, tmp_path, flatten=True), visor.SECOND)
    assert flat == [("b1", "chopping board", 540, (10, 10, 40, 30)), knife]


@pytest.mark.parametrize("place", ["val/P01", "val", "", "P01"])
def test_visor_places_of_frames(place: str, tmp_path: Path) -> None:
    visor.build(tmp_path)
    rgb = tmp_path / "visor" / "GroundTruth-SparseAnnotations" / "rgb_frames"
    frames = rgb / "val" / "P01" / "P01_107"
    frames.rename(tmp_path / "frames")
    (rgb / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / "frames").rename(rgb / place / "P01_107")
    assert len(opened(Visor, tmp_path).index()) == 3


def test_visor_in_the_deposits_own_folder(tmp_path: Path) -> None:
    visor.build(tmp_path)
    (tmp_path / "visor").rename(tmp_path / "2v6cgv1x04ol22qp9rm9x2j6a7")
    assert len(opened(Visor, tmp_path).index()) == 3


def test_visor_what_is_missing(tmp_path: Path) -> None:
    visor.build(tmp_path)
    at = tmp_path / "visor" / "GroundTruth-SparseAnnotations"
    (at / "rgb_frames" / "val" / "P30" / "P30_107.zip").unlink()
    with pytest.raises(UsageError, match=rf"2 of 4 images are missing \(first: {visor.THIRD}\): get rgb_frames/val/"):
        opened(Visor, tmp_path).index()
    dataset = opened(Visor, tmp_path, missing_images="exclude")
    assert (len(dataset.index()), dataset.excluded) == (2, {"missing_image": 2})
    with pytest.raises(DataError, match=rf"no frame {visor.THIRD}, neither unpacked nor in P30_107\.zip"):
        dataset.load(visor.THIRD)
    shutil.rmtree(at / "rgb_frames")
    with pytest.raises(UsageError, match="labels are there, images are not"):
        opened(Visor, tmp_path).index()
    visor.build(tmp_path)
    shutil.rmtree(at / "annotations")
    with pytest.raises(UsageError, match="frames are there, annotations are not"):
        opened(Visor, tmp_path).index()


def test_visor_damaged_files(tmp_path: Path) -> None:
    visor.build(tmp_path)
    at = tmp_path / "visor" / "GroundTruth-SparseAnnotations"
    archive = at / "rgb_frames" / "val" / "P30" / "P30_107.zip"
    data = bytearray(archive.read_bytes())
    data[300] ^= 255  # within the first picture
    archive.write_bytes(data)
    dataset = opened(Visor, tmp_path)
    assert len(dataset.index()) == 3
    with pytest.raises(DataError, match=rf"P30_107\.zip:{visor.THIRD}\.jpg: cannot be read \(Bad CRC-32"):
        dataset.load(visor.THIRD)
    archive.write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError, match=r"P30_107\.zip: not a zip archive that can be read .*; get it again"):
        opened(Visor, tmp_path).index()
    (at / "annotations" / "val" / "P01_107.json").write_text("{")
    with pytest.raises(UsageError, match=r"P01_107\.json: not JSON"):
        opened(Visor, tmp_path).index()


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([visor.entity("x", "cup", 1, [[[1, 2], [3, "4"], [5, 6]]])], "entity x: an outline must be a list of points"),
        ([visor.entity("x", "cup", 1, [[[1, 2], [3, 1e7], [5, 6]]])], "entity x: an outline reaches to y = 1e\\+07"),
        ([visor.entity("x", "cup", 1, ["abc"])], "entity x: an outline must be a list of points"),
        ([visor.entity("x", "cup", 1, [visor.box(0, 0, 5, 5)])] * 2, "entity x is given twice"),
    ],
)
def test_visor_bad_entities(entities: list[Any], message: str, tmp_path: Path) -> None:
    visor.build(tmp_path)
    file = tmp_path / "visor" / "GroundTruth-SparseAnnotations" / "annotations" / "val" / "P01_107.json"
    write_json(file, {"video_annotations": [visor.record("P01_107", f"{visor.FIRST}.jpg", entities)]})
    dataset = opened(Visor, tmp_path)
    assert visor.FIRST in listed(dataset)
    with pytest.raises(DataError, match=rf"P01_107\.json: frame {visor.FIRST}.*{message}"):
        _ = dataset.load(visor.FIRST).truth


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no list 'video_annotations'"),
        ({"video_annotations": [{"image": {}}]}, "an entry has no image name or no list of annotations"),
        ({"video_annotations": [visor.record("P01_107", "frame_1.jpg", [])] * 2}, r"frame frame_1\.jpg is given twice"),
    ],
)
def test_visor_bad_files(content: Any, message: str, tmp_path: Path) -> None:
    visor.build(tmp_path)
    write_json(tmp_path / "visor" / "GroundTruth-SparseAnnotations" / "annotations" / "val" / "P01_107.json", content)
    with pytest.raises(UsageError, match=rf"P01_107\.json: {message}"):
        opened(Visor, tmp_path).index()


def test_visor_frame_twice_in_a_zip(tmp_path: Path) -> None:
    visor.build(tmp_path)
    archive = tmp_path / "visor" / "GroundTruth-SparseAnnotations" / "rgb_frames" / "val" / "P30" / "P30_107.zip"
    visor.pack(archive, [f"P30_107/{visor.THIRD}.jpg", "__MACOSX/._x.jpg", "P30_107/index.html"])
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("other/x.jpg", b"")
    assert visor.THIRD in listed(opened(Visor, tmp_path, missing_images="exclude"))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(f"other/{visor.THIRD}.jpg", b"")
    with pytest.raises(UsageError, match=rf"holds two files {visor.THIRD}\.jpg, in different folders"):
        opened(Visor, tmp_path).index()


# --- WoodScape -------------------------------------------------------------------------------------------------------


def test_woodscape(tmp_path: Path) -> None:
    woodscape.build(tmp_path)
    dataset = opened(WoodScape, tmp_path)
    # Nine annotations, one with two tags, one of two points.
    assert listed(dataset) == {woodscape.FIRST: 7, woodscape.SECOND: 1}
    assert dataset.excluded == {"missing_image": 1}
    # Line included: the road 64 x 24, the car 20 x 16, its pieces 5 x 10 and 7 x 10, the tram 9 x 10 of 16 x 15.
    assert instances(dataset, woodscape.FIRST) == [
        ("0", "road surface", 1536, (0, 24, 64, 48)),
        ("1", "car", 320, (10, 20, 30, 36)),
        ("4", "car", 50, (40, 30, 45, 40)),
        ("5", "car", 70, (48, 30, 55, 40)),
        ("6", "train/tram", 90, (55, 0, 64, 10)),
        ("7", "void", 81, (12, 22, 21, 31)),
    ]
    assert dropped(dataset, woodscape.FIRST) == {"not_one_tag": 1, "too_few_points": 1, "empty_mask": 1}
    assert dataset.load(woodscape.FIRST).truth.instances[2].attributes == {"group_id": "g1", "z_order": 2}
    # Vertices cut to 5..15 and 5..10.
    assert instances(dataset, woodscape.SECOND) == [("0", "nature", 66, (5, 5, 16, 11))]


def test_woodscape_visible(tmp_path: Path) -> None:
    woodscape.build(tmp_path)
    dataset = opened(WoodScape, tmp_path, masks="visible")
    # Of the road, cars hide 20 x 12, 5 x 10 and 7 x 10; void (z 1) lies wholly behind the car (z 3).
    assert [(i[0], i[2]) for i in instances(dataset, woodscape.FIRST)] == [
        ("0", 1536 - 240 - 50 - 70),
        ("1", 320),
        ("4", 50),
        ("5", 70),
        ("6", 90),
    ]
    assert dropped(dataset, woodscape.FIRST) == {
        "not_one_tag": 1,
        "too_few_points": 1,
        "empty_mask": 1,
        "hidden": 1,
    }


def test_woodscape_groups_and_classes(tmp_path: Path) -> None:
    woodscape.build(tmp_path)
    dataset = opened(WoodScape, tmp_path, merge_groups=True, drop_classes=("void", "sky"))
    assert listed(dataset) == {woodscape.FIRST: 4, woodscape.SECOND: 1}
    assert instances(dataset, woodscape.FIRST)[2] == ("4", "car", 120, (40, 30, 55, 40))
    assert dropped(dataset, woodscape.FIRST) == {"not_one_tag": 1, "class_left_out": 2, "too_few_points": 1}


def test_woodscape_what_is_missing(tmp_path: Path) -> None:
    woodscape.build(tmp_path)
    with pytest.raises(UsageError, match=r"1 of 3 images are missing \(first: 00002_RV\): unpack the RGB images"):
        opened(WoodScape, tmp_path, missing_images="error").index()
    shutil.rmtree(tmp_path / "woodscape" / "instance_annotations")
    with pytest.raises(UsageError, match=r"images are there, labels are not: unpack the instance annotations"):
        opened(WoodScape, tmp_path).index()
    woodscape.build(tmp_path)
    shutil.rmtree(tmp_path / "woodscape" / "rgb_images")
    with pytest.raises(UsageError, match=r"labels are there, images are not \(first: 00000_FV\)"):
        opened(WoodScape, tmp_path).index()


def polygons(*several: dict[str, Any]) -> dict[str, Any]:
    return {f"{woodscape.FIRST}.json": woodscape.content(several)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"a": NaN}', "not JSON"),
        ([], "not a file of WoodScape's instance annotation"),
        ({"00000_FV.json": {"annotation": [], "image_height": "48"}}, "image_height and image_width are '48' and None"),
        (polygons(*["x"]), "annotation 0 is not an object"),
        (polygons(woodscape.polygon(["car"], [[0, 0], [None, 1], [2, 2]], 0)), "annotation 0: an outline must be a"),
        (polygons(woodscape.polygon(["car"], woodscape.box(0, 0, 200, 9), 0)), "annotation 0: an outline reaches to x"),
    ],
)
def test_woodscape_bad_files(content: Any, message: str, tmp_path: Path) -> None:
    """A file that cannot be read stays in the index with one mask, so that the run lists it."""
    woodscape.build(tmp_path)
    labels = tmp_path / "woodscape" / "instance_annotations" / "instance_annotations"
    file = write_json(labels / f"{woodscape.FIRST}.json", content)
    if isinstance(content, str):
        file.write_text(content)
    dataset = opened(WoodScape, tmp_path)
    assert listed(dataset)[woodscape.FIRST] == 1
    with pytest.raises(DataError, match=rf"{woodscape.FIRST}\.json: {message}"):
        _ = dataset.load(woodscape.FIRST).truth


def test_woodscape_no_painting_order(tmp_path: Path) -> None:
    woodscape.build(tmp_path)
    labels = tmp_path / "woodscape" / "instance_annotations" / "instance_annotations"
    bare = woodscape.polygon(["car"], woodscape.box(0, 0, 9, 9), 0)
    del bare["z_order"]
    write_json(labels / f"{woodscape.FIRST}.json", polygons(bare))
    assert instances(opened(WoodScape, tmp_path), woodscape.FIRST) == [("0", "car", 100, (0, 0, 10, 10))]
    with pytest.raises(DataError, match="annotation 0 has no number z_order, which the visible parts need"):
        _ = opened(WoodScape, tmp_path, masks="visible").load(woodscape.FIRST).truth


def test_woodscape_image_of_another_size(tmp_path: Path) -> None:
    woodscape.build(tmp_path)
    save(tmp_path / "woodscape" / "rgb_images" / f"{woodscape.FIRST}.png", photo(30, 64))
    with pytest.raises(DataError, match=r"the file is 30 x 64 pixels, the annotation 48 x 64"):
        _ = opened(WoodScape, tmp_path).load(woodscape.FIRST).image


def test_a_circle_of_links_is_no_folder_of_images(tmp_path: Path) -> None:
    woodscape.build(tmp_path)
    images = tmp_path / "woodscape" / "rgb_images"
    shutil.rmtree(images)
    images.symlink_to(images)
    with pytest.raises(UsageError, match="labels are there, images are not"):
        opened(WoodScape, tmp_path).index()


def test_a_second_load_answers_the_same(tmp_path: Path) -> None:
    visor.build(tmp_path)
    dataset = opened(Visor, tmp_path)
    first, second = (dataset.load(visor.FIRST).truth.instances for _ in range(2))
    assert all(np.array_equal(a.mask.window, b.mask.window) for a, b in zip(first, second, strict=True))
