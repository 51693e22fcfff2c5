"""Cityscapes, OVIS and SA-1B in tiny copies of their layouts: the exact masks, and each way they go wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.layout_checks import dropped, found_in_its_folder_above_it_and_deeper, instances, listed, opened
from helpers.layouts import cityscapes, ovis, sa1b
from helpers.tiny_datasets import photo, save, square, write_json

from sambench.errors import DataError, UsageError
from sambench.suite.datasets.cityscapes import PLUGIN as Cityscapes
from sambench.suite.datasets.ovis import PLUGIN as Ovis
from sambench.suite.datasets.sa1b import PLUGIN as Sa1b

BUILDS = {Cityscapes: cityscapes.build, Ovis: ovis.build, Sa1b: sa1b.build}
FIRST, SECOND = cityscapes.FIRST, cityscapes.SECOND


@pytest.mark.parametrize(("plugin", "build"), BUILDS.items())
def test_found_in_its_folder_above_it_and_deeper(plugin: Any, build: Callable[[Path], None], tmp_path: Path) -> None:
    found_in_its_folder_above_it_and_deeper(plugin, build, tmp_path)


# --- Cityscapes ------------------------------------------------------------------------------------------------------

EVERY_VALUE = [
    ("1", "ego vehicle", 390, (0, 35, 78, 40)),  # 78 x 5
    ("3", "out of roi", 80, (78, 0, 80, 40)),
    ("7", "road", 938, (0, 20, 78, 35)),  # 78 x 15, less cars and people
    ("11", "building", 1560, (0, 0, 78, 20)),
    ("24", "person", 32, (44, 22, 48, 30)),
    ("26000", "car", 120, (10, 22, 30, 28)),
    ("26001", "car", 80, (40, 22, 54, 30)),  # 8 x 4 and 8 x 6, in two pieces
]


def test_cityscapes_paper(tmp_path: Path) -> None:
    """Every value is a mask but 0: groups and void classes too."""
    cityscapes.build(tmp_path)
    dataset = opened(Cityscapes, tmp_path)
    assert listed(dataset) == {FIRST: 7, SECOND: 4}
    assert dataset.excluded == {}
    assert instances(dataset, FIRST) == EVERY_VALUE
    assert [i[0] for i in instances(dataset, SECOND)] == ["7", "26", "25000", "29000"]
    for id in (FIRST, SECOND):
        truth = dataset.load(id).truth
        assert truth.void is None
        assert not any(instance.crowd for instance in truth.instances)
    by_id = {i.id: i for i in dataset.load(FIRST).truth.instances}
    assert (by_id["26001"].class_id, by_id["7"].class_id, by_id["24"].class_id) == (26, 7, 24)
    assert (by_id["24"].attributes, by_id["26001"].attributes) == ({"group": True}, {})


def test_cityscapes_unlabeled(tmp_path: Path) -> None:
    cityscapes.build(tmp_path)
    dataset = opened(Cityscapes, tmp_path, unlabeled=True)
    assert listed(dataset) == {FIRST: 7, SECOND: 5}
    assert instances(dataset, SECOND)[0] == ("0", "unlabeled", 800, (0, 0, 80, 10))


def test_cityscapes_panoptic(tmp_path: Path) -> None:
    """The official rules: 7, 11 and two cars; people as a group are crowd; 1 and 3 are void."""
    cityscapes.build(tmp_path)
    dataset = opened(Cityscapes, tmp_path, masks="panoptic")
    assert listed(dataset) == {FIRST: 4, SECOND: 2}
    assert [(i.id, i.crowd) for i in dataset.load(FIRST).truth.instances] == [
        ("7", False),
        ("11", False),
        ("24", True),
        ("26000", False),
        ("26001", False),
    ]
    void = dataset.load(FIRST).truth.void
    assert (void.area, void.box) == (390 + 80, (0, 0, 80, 40))
    truth = dataset.load(SECOND).truth
    assert [(i.id, i.crowd) for i in truth.instances] == [("7", False), ("26", True), ("25000", False)]
    assert truth.void.area == 800 + 80  # unlabeled and the caravan


def test_cityscapes_things(tmp_path: Path) -> None:
    cityscapes.build(tmp_path)
    dataset = opened(Cityscapes, tmp_path, masks="things")
    assert listed(dataset) == {FIRST: 2, SECOND: 2}
    assert [(i.id, i.crowd) for i in dataset.load(SECOND).truth.instances] == [
        ("26", True),
        ("25000", False),
        ("29000", False),
    ]
    assert dataset.load(SECOND).truth.void is None


def test_cityscapes_min_area(tmp_path: Path) -> None:
    cityscapes.build(tmp_path)
    dataset = opened(Cityscapes, tmp_path, min_area=81)
    assert [i[0] for i in instances(dataset, FIRST)] == ["1", "7", "11", "26000"]
    assert dropped(dataset, FIRST) == {"below_min_area": 3}


def test_cityscapes_archives_in_folders_of_their_own(tmp_path: Path) -> None:
    cityscapes.build(tmp_path)
    at = tmp_path / "cityscapes"
    for name in ("gtFine", "leftImg8bit"):
        (at / f"{name}_trainvaltest").mkdir()
        (at / name).rename(at / f"{name}_trainvaltest" / name)
    assert instances(opened(Cityscapes, tmp_path), FIRST) == EVERY_VALUE


def test_cityscapes_the_complete_copy_is_preferred(tmp_path: Path) -> None:
    cityscapes.build(tmp_path)
    (tmp_path / "leftImg8bit" / "val").mkdir(parents=True)
    assert Cityscapes.locate(tmp_path, "val", Cityscapes.Options()) == tmp_path / "cityscapes"


def test_cityscapes_what_is_missing(tmp_path: Path) -> None:
    cityscapes.build(tmp_path)
    images, labels = (tmp_path / "cityscapes" / name / "val" for name in ("leftImg8bit", "gtFine"))
    (images / "lindau" / f"{SECOND}_leftImg8bit.png").unlink()
    with pytest.raises(UsageError, match=rf"1 of 2 images are missing \(first: {SECOND}\): unzip leftImg8bit_trainv"):
        opened(Cityscapes, tmp_path).index()
    dataset = opened(Cityscapes, tmp_path, missing_images="exclude")
    assert (listed(dataset), dataset.excluded) == ({FIRST: 7}, {"missing_image": 1})
    shutil.rmtree(images)
    with pytest.raises(
        UsageError, match=r"labels are there, images are not .* unzip leftImg8bit_trainvaltest\.zip bes"
    ):
        opened(Cityscapes, tmp_path).index()
    cityscapes.build(tmp_path)
    (labels / "lindau" / f"{SECOND}_gtFine_instanceIds.png").unlink()
    with pytest.raises(UsageError, match=rf"1 of 2 images have no label \(first: {SECOND}\): unzip gtFine_trainvalt"):
        opened(Cityscapes, tmp_path).index()
    shutil.rmtree(labels)
    with pytest.raises(UsageError, match=r"images are there, labels are not: unzip gtFine_trainvaltest\.zip beside"):
        opened(Cityscapes, tmp_path).index()
    assert Cityscapes.locate(tmp_path, "train", Cityscapes.Options()) is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((40, 80), 34, np.uint16), "value 34 is of no Cityscapes class"),
        (np.full((40, 80), 7001, np.uint16), "value 7001 is of no Cityscapes class"),  # road has no instances
        (np.full((40, 79), 7, np.uint16), "the file is 40 x 79 pixels, its image 40 x 80"),
        (np.dstack([square(40, 80, 1, 1, 9), photo(40, 80)[:, :, 1:]]), "a mask has one channel"),
    ],
)
def test_cityscapes_bad_labels(labels: Any, message: str, tmp_path: Path) -> None:
    """Such a sample stays in the index, so that the run lists it."""
    cityscapes.build(tmp_path)
    save(tmp_path / "cityscapes" / "gtFine" / "val" / "lindau" / f"{SECOND}_gtFine_instanceIds.png", labels)
    dataset = opened(Cityscapes, tmp_path)
    assert listed(dataset) == {FIRST: 7, SECOND: 1}
    with pytest.raises(DataError, match=rf"{SECOND}_gtFine_instanceIds\.png: {message}"):
        _ = dataset.load(SECOND).truth


# --- OVIS ------------------------------------------------------------------------------------------------------------

OVIS_INDEX = {
    "5d24e4ea/img_0000001": 1,
    "5d24e4ea/img_0000002": 2,
    "86a88668/img_0000006": 1,
    "86a88668/img_0000010": 1,
}


def ovis_file(root: Path, content: Any) -> None:
    write_json(root / "ovis" / "annotations_train.json", content)


def test_ovis(tmp_path: Path) -> None:
    ovis.build(tmp_path)
    dataset = opened(Ovis, tmp_path)
    assert listed(dataset) == OVIS_INDEX
    # All tracks null, a mask of no pixel alone, and all null again.
    assert dataset.excluded == {"no_mask": 3}
    # 4 x 4 and 5 x 5, apart: one mask.
    panda = ("2", "giant panda", 41, (5, 10, 25, 15))
    assert instances(dataset, "5d24e4ea/img_0000001") == [panda]
    assert instances(dataset, "5d24e4ea/img_0000002") == [("1", "person", 36, (40, 30, 46, 36)), panda]
    assert instances(dataset, "86a88668/img_0000006") == [("4", "fish", 49, (0, 0, 7, 7))]
    assert instances(dataset, "86a88668/img_0000010") == [("4", "fish", 49, (43, 20, 50, 27))]
    assert dropped(dataset, "86a88668/img_0000007") == {"empty_mask": 1}
    truth = dataset.load("5d24e4ea/img_0000001").truth
    assert (truth.instances[0].class_id, truth.instances[0].annotated_area, truth.instances[0].crowd) == (13, 41, False)
    assert dataset.image_file("86a88668/img_0000006") == tmp_path / "ovis" / "train" / "86a88668" / "img_0000006.jpg"


def test_ovis_crowd_and_polygons(tmp_path: Path) -> None:
    ovis.build(tmp_path)
    content = ovis.content()
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["segmentations"][0] = [[2, 3, 8, 3, 8, 9, 2, 9]]
    ovis_file(tmp_path, content)
    dataset = opened(Ovis, tmp_path)
    assert listed(dataset) == {**OVIS_INDEX, "5d24e4ea/img_0000002": 1}
    assert [(i.id, i.crowd) for i in dataset.load("5d24e4ea/img_0000002").truth.instances] == [
        ("1", True),
        ("2", False),
    ]
    assert instances(dataset, "5d24e4ea/img_0000001") == [("2", "giant panda", 36, (2, 3, 8, 9))]


@pytest.mark.parametrize("arrangement", ["annotations/annotations_train.json", "annotations/train.json"])
@pytest.mark.parametrize("images", ["train", "Images/train"])
def test_ovis_other_arrangements(arrangement: str, images: str, tmp_path: Path) -> None:
    ovis.build(tmp_path)
    at = tmp_path / "ovis"
    (at / arrangement).parent.mkdir()
    (at / "annotations_train.json").rename(at / arrangement)
    (at / "train").rename(at / "moved")
    (at / images).parent.mkdir(exist_ok=True)
    (at / "moved").rename(at / images)
    assert listed(opened(Ovis, tmp_path)) == OVIS_INDEX


@pytest.mark.parametrize("split", ["valid", "test"])
def test_ovis_splits_without_ground_truth(split: str, tmp_path: Path) -> None:
    ovis.build(tmp_path)
    for name in ("annotations_test.json",):
        shutil.copy(tmp_path / "ovis" / "annotations_valid.json", tmp_path / "ovis" / name)
    with pytest.raises(UsageError, match=rf"annotations_{split}\.json: there is no ground truth in this file"):
        opened(Ovis, tmp_path, split).index()


def test_ovis_what_is_missing(tmp_path: Path) -> None:
    ovis.build(tmp_path)
    at = tmp_path / "ovis"
    (at / "train" / "86a88668" / "img_0000010.jpg").unlink()
    with pytest.raises(
        UsageError, match=r"1 of 7 images are missing \(first: 86a88668/img_0000010\): unpack the frames"
    ):
        opened(Ovis, tmp_path).index()
    dataset = opened(Ovis, tmp_path, missing_images="exclude")
    assert (len(dataset.index()), dataset.excluded) == (3, {"missing_image": 1, "no_mask": 3})
    shutil.rmtree(at / "train")
    with pytest.raises(UsageError, match="labels are there, images are not"):
        opened(Ovis, tmp_path, missing_images="exclude").index()
    (at / "annotations_train.json").unlink()
    assert Ovis.locate(tmp_path, "train", Ovis.Options()) is None
    ovis.build(tmp_path)
    (at / "annotations_train.json").unlink()
    with pytest.raises(UsageError, match=r"frames are there, annotations_train\.json is not: put it beside train/"):
        opened(Ovis, tmp_path).index()


def test_ovis_is_not_youtube_vis(tmp_path: Path) -> None:
    ovis.build(tmp_path)
    content = ovis.content()
    content["categories"][2]["name"] = "skateboard"
    ovis_file(tmp_path, content)
    with pytest.raises(UsageError, match="class skateboard is none of OVIS's: is this a file of YouTube-VIS"):
        opened(Ovis, tmp_path).index()


def test_ovis_frame_of_another_size(tmp_path: Path) -> None:
    ovis.build(tmp_path)
    save(tmp_path / "ovis" / "train" / "5d24e4ea" / "img_0000001.jpg", photo(40, 61))
    with pytest.raises(DataError, match="the file is 40 x 61 pixels, the annotation 40 x 60"):
        _ = opened(Ovis, tmp_path).load("5d24e4ea/img_0000001").image


# --- SA-1B -----------------------------------------------------------------------------------------------------------


def test_sa1b(tmp_path: Path) -> None:
    sa1b.build(tmp_path)
    dataset = opened(Sa1b, tmp_path)
    assert listed(dataset) == {"sa_1": 3, "sa_17": 1}
    assert dataset.excluded == {"missing_image": 1}
    # Squares of 20, 10 and 30 within one another, by rising id, all whole.
    assert instances(dataset, "sa_1") == [
        ("4", None, 400, (5, 5, 25, 25)),
        ("17", None, 100, (5, 5, 15, 15)),
        ("30", None, 900, (5, 5, 35, 35)),
    ]
    # A square of 10 at row 35, column 50, of which the image of 40 x 60 holds five rows.
    assert instances(dataset, "sa_17") == [("8", None, 50, (50, 35, 60, 40))]
    first = dataset.load("sa_1").truth.instances[0]
    assert (first.annotated_area, first.crowd) == (400, False)
    assert first.attributes == {"predicted_iou": 0.9375, "stability_score": 0.96875}


def test_sa1b_several_shards_and_files_directly(tmp_path: Path) -> None:
    sa1b.build(tmp_path)
    shard = tmp_path / "sa1b" / "sa_000000"
    other = tmp_path / "sa1b" / "sa_000001"
    other.mkdir()
    for suffix in (".jpg", ".json"):
        (shard / f"sa_17{suffix}").rename(other / f"sa_17{suffix}")
    assert listed(opened(Sa1b, tmp_path)) == {"sa_1": 3, "sa_17": 1}
    assert listed(opened(Sa1b, shard)) == {"sa_1": 3}
    shutil.copy(shard / "sa_1.json", other)
    with pytest.raises(UsageError, match=r"sa_000001/sa_1\.json: the same image is in .*sa_000000 as well"):
        opened(Sa1b, tmp_path).index()


def test_sa1b_missing_images(tmp_path: Path) -> None:
    sa1b.build(tmp_path)
    with pytest.raises(UsageError, match=r"1 of 3 images are missing \(first: sa_20\): unpack the tar files"):
        opened(Sa1b, tmp_path, missing_images="error").index()
    for path in (tmp_path / "sa1b" / "sa_000000").glob("*.jpg"):
        path.unlink()
    with pytest.raises(UsageError, match="labels are there, images are not"):
        opened(Sa1b, tmp_path).index()


def changed(**fields: Any) -> dict[str, Any]:
    return sa1b.content(1, [{**sa1b.annotation(4, square(40, 60, 5, 5, 20)), **fields}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ('{"image": {}', "not JSON"),
        ({"images": [], "annotations": []}, "not a file of SA-1B: it needs an object 'image' and a list 'annotations'"),
        ({"image": {"height": 40, "width": 0}, "annotations": []}, "height and width are 40 and 0, not pixels"),
        (changed(id="4"), "each annotation needs an id of its own, a whole number"),
        (changed(area=401), "annotation 4: its area is given as 401, the mask has 400 pixels"),
        (
            changed(segmentation={"size": [60, 40], "counts": "0"}),
            r"annotation 4: the mask is made for .* = \[60, 40\]",
        ),
        (
            changed(segmentation={"size": [40, 60], "counts": "5"}),
            "annotation 4: run lengths add up to 5, not to 40 x 60",
        ),
        (
            changed(segmentation={"size": [40, 60], "counts": "\u00e9"}),
            "annotation 4: the run lengths hold a number or a",
        ),
        (changed(segmentation=None), "annotation 4: segmentation is neither a list of polygons nor a run-length code"),
    ],
)
def test_sa1b_bad_files(content: Any, message: str, tmp_path: Path) -> None:
    sa1b.build(tmp_path)
    file = tmp_path / "sa1b" / "sa_000000" / "sa_1.json"
    if isinstance(content, str):
        file.write_text(content)
    else:
        write_json(file, content)
    dataset = opened(Sa1b, tmp_path)
    assert listed(dataset)["sa_17"] == 1
    with pytest.raises(DataError, match=rf"sa_1\.json: {message}"):
        _ = dataset.load("sa_1").truth
