"""The sets in COCO's form, in tiny copies of their layouts: the exact masks, and each way in which they go wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.layout_checks import dropped, instances, listed, opened
from helpers.layouts import coco, lvis, ndispark, pidray, plittersdorf, timberseg, trashcan, zerowaste_f
from helpers.tiny_datasets import photo, save

from sambench.errors import DataError, UsageError
from sambench.suite.datasets.coco import PLUGIN as Coco
from sambench.suite.datasets.lvis import PLUGIN as Lvis
from sambench.suite.datasets.ndispark import PLUGIN as Ndispark
from sambench.suite.datasets.pidray import PLUGIN as Pidray
from sambench.suite.datasets.plittersdorf import PLUGIN as Plittersdorf
from sambench.suite.datasets.timberseg import PLUGIN as Timberseg
from sambench.suite.datasets.trashcan import PLUGIN as Trashcan
from sambench.suite.datasets.zerowaste_f import PLUGIN as ZerowasteF

BUILDS = {
    Coco: coco.build,
    Lvis: lvis.build,
    Ndispark: ndispark.build,
    Pidray: pidray.build,
    Plittersdorf: plittersdorf.build,
    Timberseg: timberseg.build,
    Trashcan: trashcan.build,
    ZerowasteF: zerowaste_f.build,
}


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Edit a JSON file in place."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(("plugin", "build"), BUILDS.items())
def test_found_in_its_folder_above_it_and_deeper(plugin: Any, build: Callable[[Path], None], tmp_path: Path) -> None:
    build(tmp_path / "data")
    name = plugin.card.name
    expected = listed(opened(plugin, tmp_path / "data"))
    assert listed(opened(plugin, tmp_path / "data" / name)) == expected
    # The folder that unzipping made may lie in the data root, or be the data root.
    for inner in (tmp_path / "data" / name).iterdir():
        if inner.name.casefold() in {folder.casefold() for folder in plugin.card.folders}:
            assert listed(opened(plugin, inner)) == expected
            shutil.move(inner, tmp_path / "data" / "moved")
            shutil.rmtree(tmp_path / "data" / name)
            shutil.move(tmp_path / "data" / "moved", tmp_path / "data" / inner.name)
            assert listed(opened(plugin, tmp_path / "data")) == expected
    (tmp_path / "empty" / "images").mkdir(parents=True)
    for nothing in ("empty", "absent"):
        assert plugin.locate(tmp_path / nothing, plugin.card.default_split, plugin.Options()) is None
    with pytest.raises(DataError, match="nothing_of_the_name"):
        opened(plugin, tmp_path / "data").load("nothing_of_the_name")


IMAGE_FOLDERS = {
    Ndispark: "ndis_park/train/imgs",
    Pidray: "pidray/hard",
    Plittersdorf: "plittersdorf_instance_segmentation_coco/images",
    Timberseg: "y5npsm3gkj-2/prescaled/images",
    Trashcan: "dataset/instance_version/train",
    ZerowasteF: "zerowaste-f-final/splits_final_deblurred/train/data",
}


@pytest.mark.parametrize(("plugin", "images"), IMAGE_FOLDERS.items())
def test_labels_without_images(plugin: Any, images: str, tmp_path: Path) -> None:
    BUILDS[plugin](tmp_path)
    at = tmp_path / plugin.card.name
    first = sorted((at / images).glob("*.[jpP]*"))[0]
    first.unlink()
    with pytest.raises(UsageError, match=r"1 of \d.* images .*missing.*--set dataset\.missing_images=exclude"):
        opened(plugin, tmp_path).index()
    dataset = opened(plugin, tmp_path, missing_images="exclude")
    dataset.index()
    assert dataset.excluded["missing_image"] == 1
    shutil.rmtree(at / images)
    with pytest.raises(UsageError, match=r"labels are there, (the )?images are not .*: (unzip|unpack) "):
        opened(plugin, tmp_path).index()


@pytest.mark.parametrize("plugin", IMAGE_FOLDERS)
def test_images_without_labels(plugin: Any, tmp_path: Path) -> None:
    BUILDS[plugin](tmp_path)
    for path in (tmp_path / plugin.card.name).rglob("*.json"):
        path.unlink()
    for path in (tmp_path / plugin.card.name).rglob("sem_seg"):
        shutil.rmtree(path)
    with pytest.raises(UsageError, match=r"the labels are missing.*: (unzip|unpack) "):
        opened(plugin, tmp_path).index()


JSON_FILES = {
    Coco: "annotations/instances_val2017.json",
    Lvis: "annotations/lvis_v0.5_val.json",
    Ndispark: "ndis_park/train/train_coco_annotations.json",
    Pidray: "pidray/annotations/xray_test_hard.json",
    Plittersdorf: "plittersdorf_instance_segmentation_coco/val.json",
    Timberseg: "y5npsm3gkj-2/prescaled/coco_annotation.json",
    Trashcan: "dataset/instance_version/instances_train_trashcan.json",
}


@pytest.mark.parametrize(("plugin", "file"), JSON_FILES.items())
def test_unusable_labels(plugin: Any, file: str, tmp_path: Path) -> None:
    BUILDS[plugin](tmp_path)
    path = tmp_path / plugin.card.name / file
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=rf"{path.name}: not JSON \(it ends in the middle: the file is truncated"):
        opened(plugin, tmp_path).index()
    path.write_text(whole)
    change(path, lambda content: content["images"].pop(0))
    with pytest.raises(UsageError, match=rf"{path.name}: annotation \d+ refers to image \d+, not listed"):
        opened(plugin, tmp_path).index()


# --- COCO and LVIS ---------------------------------------------------------------------------------------------------


def test_coco(tmp_path: Path) -> None:
    coco.build(tmp_path)
    dataset = opened(Coco, tmp_path)
    assert listed(dataset) == {"139": 2, "285": 0, "5001": 1}  # an image without annotation counts for AP
    assert instances(dataset, "139") == [
        ("1768", "toothbrush", 100, (50, 30, 60, 40)),  # up to x = 60.0, y = 40.0
        ("1769", "person", 60, (2, 2, 14, 8)),  # 6 x 6 and 4 x 6; two points hold nothing
        ("900200", "person", 100, (20, 10, 30, 20)),
    ]
    found = dataset.load("139").truth.instances
    assert [(i.crowd, i.class_id, i.annotated_area) for i in found] == [(False, 90, 99.5), (False, 1, 1), (True, 1, 1)]
    assert instances(dataset, "5001") == [("900100", "stop sign", 100, (5, 5, 15, 15))]
    assert instances(dataset, "285") == []
    # A grey photograph has three equal channels.
    grey = dataset.load("5001").image
    assert np.array_equal(grey[:, :, 0], grey[:, :, 2])


def test_lvis(tmp_path: Path) -> None:
    lvis.build(tmp_path)
    dataset = opened(Lvis, tmp_path)
    assert listed(dataset) == {"266409": 3, "285": 0}
    assert instances(dataset, "266409") == [
        ("1", "bat_(animal)", 100, (4, 4, 14, 14)),
        ("2", "tennis_racket", 16, (6, 6, 10, 10)),
    ]
    assert dropped(dataset, "266409") == {"empty_mask": 1}
    assert [i.attributes["frequency"] for i in dataset.load("266409").truth.instances] == ["r", "f"]
    assert dataset.load("285").attributes == {"neg_category_ids": [7], "not_exhaustive_category_ids": []}


# --- NDISPark --------------------------------------------------------------------------------------------------------


def test_ndispark(tmp_path: Path) -> None:
    ndispark.build(tmp_path)
    dataset = opened(Ndispark, tmp_path)
    # The image whose number is 0 is not lost, the one without annotation is left out.
    assert listed(dataset) == {"60_1529400000": 1, "64_1537102819": 2}
    assert dataset.excluded == {"no_mask": 1}
    assert instances(dataset, "64_1537102819") == [
        ("0", "car", 90, (2, 2, 25, 8)),  # 10 x 6 and 5 x 6
        ("1", "car", 60, (11, 2, 21, 8)),
    ]
    assert instances(dataset, "60_1529400000") == [("2", "car", 40, (5, 5, 15, 9))]
    assert {i.class_id for i in dataset.load("64_1537102819").truth.instances} == {3}


def test_ndispark_other_splits(tmp_path: Path) -> None:
    ndispark.build(tmp_path)
    dataset = opened(Ndispark, tmp_path, "validation")
    assert listed(dataset) == {"73_1540000000": 1}
    assert instances(dataset, "73_1540000000") == [("0", "car", 20, (0, 0, 4, 5))]
    with pytest.raises(UsageError, match="no masks in the split test, only counts; take train or validation"):
        opened(Ndispark, tmp_path, "test")


# --- PIDray ----------------------------------------------------------------------------------------------------------


def test_pidray(tmp_path: Path) -> None:
    pidray.build(tmp_path)
    dataset = opened(Pidray, tmp_path)
    assert listed(dataset) == {"xray_hard00001": 2, "xray_hard00002": 1, "xray_hard00003": 1}
    # They overlap by 10 x 5 pixels: both are whole.
    assert instances(dataset, "xray_hard00001") == [
        ("1", "Baton", 200, (5, 5, 25, 15)),
        ("2", "Knife", 200, (15, 10, 35, 20)),
    ]
    assert instances(dataset, "xray_hard00002") == [("3", "Pliers", 50, (3, 3, 13, 8))]
    assert instances(dataset, "xray_hard00003") == [("4", "Pliers", 24, (0, 0, 6, 4))]


def test_pidray_of_boxes_only_is_refused(tmp_path: Path) -> None:
    pidray.build(tmp_path)
    with pytest.raises(UsageError, match="annotation 1 has no 'segmentation'; a file of captions or boxes"):
        opened(Pidray, tmp_path, "easy").index()


def test_pidray_of_the_later_release_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pidray.build(tmp_path)
    path = tmp_path / "pidray" / JSON_FILES[Pidray]
    more = [{"id": k, "file_name": f"{k}.png", "height": 9, "width": 9} for k in range(1000, 1000 + 9743)]
    change(path, lambda content: content["images"].extend(more))
    with pytest.raises(UsageError, match=r"lists 9746 images, PIDray of 2021 has 3733; .*dataset\.release=any"):
        opened(Pidray, tmp_path).index()
    dataset = opened(Pidray, tmp_path, release="any")
    assert len(listed(dataset)) == 3
    assert dataset.excluded == {"no_mask": 9743}


def test_pidray_transparent_pixels_are_white(tmp_path: Path) -> None:
    pidray.build(tmp_path)
    hard = tmp_path / "pidray" / "pidray" / "hard"
    rgba = np.dstack([photo(30, 50), np.full((30, 50), 255, np.uint8)])
    rgba[:, :10, 3] = 0
    save(hard / "xray_hard00002.png", rgba)
    image = opened(Pidray, tmp_path).load("xray_hard00002").image
    assert (image[:, :10] == 255).all()
    assert np.array_equal(image[:, 10:], photo(30, 50)[:, 10:])


# --- Plittersdorf ----------------------------------------------------------------------------------------------------


def test_plittersdorf(tmp_path: Path) -> None:
    plittersdorf.build(tmp_path)
    dataset = opened(Plittersdorf, tmp_path)
    assert listed(dataset) == {"test:1": 2, "train:1": 1, "train:2": 1, "val:1": 1}
    assert dataset.excluded == {"no_mask": 1}
    # 20 x 20 with its hole filled; 4 x 4 twice.
    assert instances(dataset, "train:1") == [("1", "animal", 400, (5, 5, 25, 25))]
    assert instances(dataset, "val:1") == [("1", "animal", 32, (2, 2, 14, 6))]
    assert instances(dataset, "test:1") == [
        ("1", "animal", 100, (30, 20, 40, 30)),
        ("2", "animal", 16, (0, 0, 4, 4)),
    ]
    assert dataset.load("train:1").truth.instances[0].annotated_area == 400  # box times box, which is no mask's area
    assert listed(opened(Plittersdorf, tmp_path, "test")) == {"test:1": 2}


def test_plittersdorf_with_holes(tmp_path: Path) -> None:
    plittersdorf.build(tmp_path)
    dataset = opened(Plittersdorf, tmp_path, fill="even_odd")
    # 21 x 21 pixels with the border, less the 9 x 9 inside the hole's contour.
    assert instances(dataset, "train:1") == [("1", "animal", 360, (5, 5, 26, 26))]
    assert instances(dataset, "val:1") == [("1", "animal", 50, (2, 2, 15, 7))]


def test_plittersdorf_without_a_part(tmp_path: Path) -> None:
    plittersdorf.build(tmp_path)
    (tmp_path / "plittersdorf" / "plittersdorf_instance_segmentation_coco" / "test.json").unlink()
    with pytest.raises(UsageError, match=r"labels are missing \(test\.json\): .*dataset\.missing_parts=exclude"):
        opened(Plittersdorf, tmp_path)
    assert listed(opened(Plittersdorf, tmp_path, missing_parts="exclude")) == {"train:1": 1, "train:2": 1, "val:1": 1}
    assert listed(opened(Plittersdorf, tmp_path, "val")) == {"val:1": 1}
    with pytest.raises(DataError, match=r"no image test:1: there is no part 'test', only train, val"):
        opened(Plittersdorf, tmp_path, missing_parts="exclude").load("test:1")


# --- TimberSeg -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "scale"), [("prescaled", 1), ("original", 2)])
def test_timberseg(tmp_path: Path, version: str, scale: int) -> None:
    timberseg.build(tmp_path)
    dataset = opened(Timberseg, tmp_path, version=version)
    assert listed(dataset) == {"000000": 2, "000001": 1, "000002": 2}
    s, area = scale, scale * scale
    assert instances(dataset, "000000") == [
        ("0", "log", 132 * area, (2 * s, 2 * s, 40 * s, 6 * s)),  # 18 x 4 and 15 x 4
        ("1", "log", 190 * area, (2 * s, 5 * s, 40 * s, 10 * s)),
    ]
    assert instances(dataset, "000001") == [("2", "log", 300 * area, (5 * s, 50 * s, 35 * s, 60 * s))]
    assert instances(dataset, "000002") == [("3", "log", 600 * area, (0, 0, 60 * s, 10 * s))]
    assert dropped(dataset, "000002") == {"empty_mask": 1}


def test_timberseg_boxes_play_no_part(tmp_path: Path) -> None:
    timberseg.build(tmp_path)
    expected = instances(opened(Timberseg, tmp_path), "000000")
    at = tmp_path / "timberseg" / "y5npsm3gkj-2" / "prescaled"
    (at / "coco_annotation_rotated.json").replace(at / "coco_annotation.json")
    assert instances(opened(Timberseg, tmp_path), "000000") == expected


def test_timberseg_versions_mixed_up(tmp_path: Path) -> None:
    timberseg.build(tmp_path)
    at = tmp_path / "timberseg" / "y5npsm3gkj-2"
    shutil.rmtree(at / "prescaled" / "images")
    (at / "original" / "images").rename(at / "prescaled" / "images")
    with pytest.raises(DataError, match=r"prescaled/images/000000\.png: the file is 80 x 120 .*annotation 40 x 60"):
        _ = opened(Timberseg, tmp_path).load("000000").image


def test_timberseg_names_without_their_folder(tmp_path: Path) -> None:
    timberseg.build(tmp_path)
    path = tmp_path / "timberseg" / JSON_FILES[Timberseg]
    path.write_text(path.read_text().replace("images/0000", "0000"))
    assert [i[2] for i in instances(opened(Timberseg, tmp_path), "000001")] == [300]


# --- TrashCan --------------------------------------------------------------------------------------------------------


def test_trashcan(tmp_path: Path) -> None:
    trashcan.build(tmp_path)
    dataset = opened(Trashcan, tmp_path)
    # The third image has no annotation, the fourth one without a polygon.
    assert listed(dataset) == {"vid_000002_frame0000013": 2, "vid_000010_frame0000001": 1}
    assert dataset.excluded == {"no_mask": 2}
    assert instances(dataset, "vid_000002_frame0000013") == [
        ("1", "trash_snack_wrapper", 60, (90, 10, 96, 20)),  # reaches to x = 97, cut at the image's 96
        ("2", "trash_clothing", 400, (10, 10, 30, 30)),  # the hole is filled
    ]
    assert dropped(dataset, "vid_000002_frame0000013") == {"empty_mask": 1}
    assert listed(opened(Trashcan, tmp_path, "val")) == {"vid_000304_frame0000020": 1}


def test_trashcan_shift_fix(tmp_path: Path) -> None:
    trashcan.build(tmp_path)
    dataset = opened(Trashcan, tmp_path, shift_fix=True)
    assert instances(dataset, "vid_000002_frame0000013") == [
        ("1", "trash_snack_wrapper", 70, (89, 9, 96, 19)),  # 7 x 10
        ("2", "trash_clothing", 400, (9, 9, 29, 29)),
    ]


def test_trashcan_versions_are_told_apart(tmp_path: Path) -> None:
    trashcan.build(tmp_path)
    at = tmp_path / "trashcan" / "dataset"
    classes = [i[1] for i in instances(opened(Trashcan, tmp_path, version="material"), "vid_000002_frame0000013")]
    assert classes == ["trash_plastic", "trash_etc"]
    assert len(listed(opened(Trashcan, at / "instance_version"))) == 2
    alone = tmp_path / "alone"
    alone.mkdir()
    (at / "material_version").rename(alone / "material_version")
    assert Trashcan.locate(alone / "material_version", "train", Trashcan.Options()) is None
    assert len(listed(opened(Trashcan, alone / "material_version", version="material"))) == 1


def test_trashcan_real(real_data: Path) -> None:
    dataset = opened(Trashcan, real_data / "trashcan_subset", "val")
    index = listed(dataset)
    assert (len(index), sum(index.values())) == (12, 25)
    found = [i for id in index for i in instances(dataset, id)]
    assert len(found) == 25
    assert {name for _, name, _, _ in found} <= set(Trashcan.card.classes)
    # Drawn by its annotators as a bitmap of 490 pixels (the area field); polygons follow it within half a pixel.
    (clothing,) = instances(dataset, "vid_000002_frame0000013")
    assert clothing[1] == "trash_clothing"
    assert abs(clothing[2] - 490) < 50


# --- ZeroWaste-f -----------------------------------------------------------------------------------------------------


def test_zerowaste_f_classes_of_maps(tmp_path: Path) -> None:
    zerowaste_f.build(tmp_path)
    dataset = opened(ZerowasteF, tmp_path)
    assert listed(dataset) == {"01_frame_004640": 2, "01_frame_005240": 1, "02_frame_000200": 1}
    assert dataset.excluded == {"no_mask": 2}  # one of background, one that has no map
    assert instances(dataset, "01_frame_004640") == [
        ("1", "rigid_plastic", 100, (2, 2, 12, 12)),
        ("3", "metal", 50, (20, 2, 30, 7)),
    ]
    # Two pieces of 5 x 5 and 10 x 10 are one mask.
    assert instances(dataset, "01_frame_005240") == [("4", "soft_plastic", 125, (0, 0, 60, 40))]
    # Two of the ten rows are void, over the full width of 60.
    assert instances(dataset, "02_frame_000200") == [("2", "cardboard", 80, (10, 10, 20, 20))]
    void = dataset.load("02_frame_000200").truth.void
    assert (void.area, void.box) == (120, (0, 12, 60, 14))


def test_zerowaste_f_objects(tmp_path: Path) -> None:
    zerowaste_f.build(tmp_path)
    dataset = opened(ZerowasteF, tmp_path, source="instances")
    assert listed(dataset) == {"01_frame_004640": 2, "01_frame_005240": 2, "02_frame_000200": 1}
    assert instances(dataset, "01_frame_004640") == [
        ("0", "rigid_plastic", 100, (2, 2, 12, 12)),
        ("1", "metal", 110, (8, 2, 30, 7)),  # overlaps by 4 x 5, and is whole
    ]


def test_zerowaste_f_maps_that_cannot_be_read(tmp_path: Path) -> None:
    zerowaste_f.build(tmp_path)
    maps = tmp_path / "zerowaste_f" / "zerowaste-f-final" / "splits_final_deblurred" / "train" / "sem_seg"
    save(maps / "01_frame_004640.PNG", np.full((40, 60), 9, np.uint8))
    save(maps / "01_frame_005240.PNG", np.ones((60, 40), np.uint8))
    (maps / "02_frame_000200.PNG").write_bytes(b"\x89PNG\r\n\x1a\n")
    grey = np.dstack([np.full((40, 60), 2, np.uint8)] * 3)
    save(maps / "02_frame_000100.PNG", grey)
    dataset = opened(ZerowasteF, tmp_path)
    assert "02_frame_000200" in listed(dataset)  # so that the run meets it and lists it
    with pytest.raises(DataError, match=r"004640\.PNG: holds the value 9, which is not a class"):
        _ = dataset.load("01_frame_004640").truth
    with pytest.raises(DataError, match=r"005240\.PNG: the file is 60 x 40 pixels, its image 40 x 60"):
        _ = dataset.load("01_frame_005240").truth
    with pytest.raises(DataError, match=r"000200\.PNG: "):
        _ = dataset.load("02_frame_000200").truth
    assert instances(dataset, "02_frame_000100") == [("2", "cardboard", 2400, (0, 0, 60, 40))]


def test_zerowaste_f_split_folder_itself(tmp_path: Path) -> None:
    zerowaste_f.build(tmp_path)
    inner = tmp_path / "zerowaste_f" / "zerowaste-f-final" / "splits_final_deblurred"
    for root in (inner, inner / "train"):
        assert len(listed(opened(ZerowasteF, root))) == 3
