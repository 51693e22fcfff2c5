"""ADE20K, GTEA and Hypersim in tiny copies of their layouts: the exact masks, and each way they go wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.layout_checks import dropped, found_with_or_without_the_archives_folders, instances, listed, opened
from helpers.layouts import ade20k, gtea, hypersim
from helpers.layouts.dram import boxes
from helpers.tiny_datasets import photo, save

from sambench.errors import DataError, UsageError
from sambench.suite.datasets.ade20k import PLUGIN as Ade20k
from sambench.suite.datasets.gtea import PLUGIN as Gtea
from sambench.suite.datasets.hypersim import PLUGIN as Hypersim

BUILDS = {
    Ade20k: (ade20k.build, "ADE20K_2021_17_01"),
    Gtea: (gtea.build, "hand2K_dataset"),
    Hypersim: (hypersim.build, ""),
}


@pytest.mark.parametrize(("plugin", "built"), BUILDS.items())
def test_found_wherever_it_was_unpacked(plugin: Any, built: tuple[Callable[[Path], None], str], tmp_path: Path) -> None:
    build, inner = built
    found_with_or_without_the_archives_folders(plugin, build, inner, tmp_path)


# --- ADE20K ----------------------------------------------------------------------------------------------------------

FIRST, SECOND, THIRD = "ADE_val_00000001", "ADE_val_00000002", "ADE_val_00000003"
HOUSE = ("0", "house", 350, (5, 5, 25, 25))  # 20 x 20, less the 10 x 5 behind the car
CAR = ("1", "car", 200, (15, 20, 35, 30))
PARTS = [("2", "door", 24, (8, 10, 12, 16)), ("3", "handle", 2, (9, 12, 11, 13))]


def test_ade20k(tmp_path: Path) -> None:
    ade20k.build(tmp_path)
    dataset = opened(Ade20k, tmp_path)
    # The hidden man is declared, and dropped by name. Image 4 has no label of any kind.
    assert listed(dataset) == {FIRST: 5, SECOND: 1, THIRD: 3}
    assert dataset.excluded == {"no_mask": 1}
    assert instances(dataset, FIRST) == [HOUSE, CAR, *PARTS]
    assert dropped(dataset, FIRST) == {"empty_mask": 1}
    assert instances(dataset, SECOND) == [("0", "café", 64, (0, 0, 8, 8))]
    by_id = {i.id: i for i in dataset.load(FIRST).truth.instances}
    assert [by_id[id].class_id for id in "0123"] == [1200, 401, 774, 1156]
    assert by_id["3"].attributes == {
        "part_level": 2,
        "parent": "2",
        "occluded": None,
        "cropped": False,
        "raw_name": "handle",
    }
    assert (by_id["1"].attributes["occluded"], by_id["2"].attributes["occluded"]) == (False, True)
    assert [dataset.load(id).attributes for id in (FIRST, THIRD)] == [{"source": "instances"}, {"source": "seg"}]


def test_ade20k_without_json(tmp_path: Path) -> None:
    ade20k.build(tmp_path)
    # By (class, code): 20 G and R give 775 for both pieces of the window, whose red is 30 and 35.
    assert instances(opened(Ade20k, tmp_path), THIRD) == [
        ("0-401-2", "car", 25, (20, 20, 25, 25)),
        ("0-775-1", "windowpane", 32, (0, 0, 14, 4)),  # 4 x 4 twice
        ("1-99-1", "wheel", 4, (21, 21, 23, 23)),
    ]
    # A line for an object without a pixel: nobody can say which of the others it names.
    lines = next(tmp_path.rglob("ADE_val_00000003_atr.txt"))
    lines.write_text(lines.read_text() + '003 # 0 # 1 # cat # cat # ""\n')
    assert [i[1] for i in instances(opened(Ade20k, tmp_path), THIRD)] == [None, None, "wheel"]
    lines.write_text("001 # zero # 0 # cat\n")
    with pytest.raises(DataError, match=r"atr\.txt: line 1 is not"):
        _ = opened(Ade20k, tmp_path).load(THIRD).truth


def test_ade20k_of_2016_lies_elsewhere(tmp_path: Path) -> None:
    ade20k.build(tmp_path / "built")
    stem = next((tmp_path / "built").rglob("ADE_val_00000003.jpg")).parent
    at = tmp_path / "ADE20K_2016_07_26" / "images" / "validation" / "k" / "kitchen"
    at.mkdir(parents=True)
    for path in stem.glob("ADE_val_00000003*"):
        shutil.copy(path, at)
    assert listed(opened(Ade20k, tmp_path)) == {THIRD: 3}
    assert listed(opened(Ade20k, tmp_path, level="objects")) == {THIRD: 2}


def test_ade20k_both_sources_give_the_same_masks(tmp_path: Path) -> None:
    ade20k.build(tmp_path)
    dataset = opened(Ade20k, tmp_path, source="seg")
    assert listed(dataset) == {FIRST: 4, SECOND: 1, THIRD: 3}
    assert sorted(i[1:] for i in instances(dataset, FIRST)) == sorted(i[1:] for i in [HOUSE, CAR, *PARTS])


def test_ade20k_options(tmp_path: Path) -> None:
    ade20k.build(tmp_path)
    assert listed(opened(Ade20k, tmp_path, level="parts")) == {FIRST: 2, THIRD: 1}
    assert instances(opened(Ade20k, tmp_path, level="parts"), FIRST) == PARTS
    assert instances(opened(Ade20k, tmp_path, level="objects"), FIRST) == [HOUSE, CAR]
    amodal = instances(opened(Ade20k, tmp_path, level="objects", amodal=True), FIRST)
    assert [(i[1], i[2]) for i in amodal] == [("house", 400), ("car", 200), ("person", 16)]
    assert dropped(opened(Ade20k, tmp_path, min_area=10), FIRST) == {"empty_mask": 1, "below_min_area": 1}


def test_ade20k_broken_files(tmp_path: Path) -> None:
    ade20k.build(tmp_path)
    at = tmp_path / ade20k.SCENE / "urban" / "street"
    instance, description = at / FIRST / f"instance_001_{FIRST}.png", at / f"{FIRST}.json"
    good = json.loads(description.read_text())
    save(instance, np.full(ade20k.SIZE, 200, np.uint8))
    with pytest.raises(DataError, match=r"instance_001_\w+\.png: holds the value 200, expected are only 0, 128, 255"):
        _ = opened(Ade20k, tmp_path).load(FIRST).truth
    save(instance, np.full((60, 40), 255, np.uint8))
    with pytest.raises(DataError, match="the file is 60 x 40 pixels, its image 40 x 60"):
        _ = opened(Ade20k, tmp_path).load(FIRST).truth
    instance.unlink()
    with pytest.raises(DataError, match=r"instance_001_\w+\.png: no such file"):
        _ = opened(Ade20k, tmp_path).load(FIRST).truth
    for change, message in (
        ({"id": []}, "an object has no id"),
        ({"id": 1}, "an object id is given twice"),
        ({"instance_mask": None}, "object 0 names no instance_mask"),
    ):
        entries = [{**good["annotation"]["object"][0], **change}, *good["annotation"]["object"][1:]]
        description.write_text(json.dumps({"annotation": {"object": entries}}))
        with pytest.raises(DataError, match=message):
            _ = opened(Ade20k, tmp_path).load(FIRST).truth
    for text, message in (("{", "not JSON"), ("[]", "not an annotation of ADE20K"), ("", "empty")):
        description.write_text(text)
        dataset = opened(Ade20k, tmp_path)
        assert listed(dataset)[FIRST] == 1
        with pytest.raises(DataError, match=message):
            _ = dataset.load(FIRST).truth


def test_ade20k_what_is_missing(tmp_path: Path) -> None:
    ade20k.build(tmp_path)
    at = tmp_path / ade20k.SCENE
    (at / "urban" / "street" / f"{FIRST}.jpg").unlink()
    with pytest.raises(UsageError, match=r"1 of 4 images are missing \(first: ADE_val_00000001\)"):
        opened(Ade20k, tmp_path).index()
    assert opened(Ade20k, tmp_path, missing_images="exclude").excluded == {"missing_image": 1, "no_mask": 1}
    save(at / "urban" / "highway" / f"{SECOND}.jpg", photo(*ade20k.SIZE))
    with pytest.raises(UsageError, match="would have the same id; keep one of them"):
        opened(Ade20k, tmp_path).index()
    for path in [*at.rglob("*.json"), *at.rglob("*_seg.png")]:
        path.unlink()
    with pytest.raises(UsageError, match="images are there, labels are not"):
        opened(Ade20k, tmp_path).index()
    assert Ade20k.locate(tmp_path, "training", Ade20k.Options()) is None


def test_ade20k_real(real_data: Path) -> None:
    """Objects and parts of three published images: 51 + 14 + 5, 34 + 3, 24 + 8."""
    dataset = opened(Ade20k, real_data / "ade20k_sample", "training")
    counts = {"ADE_train_00016869": 70, "ADE_train_00016900": 37, "ADE_train_00016964": 32}
    assert listed(dataset) == counts
    assert sum(listed(opened(Ade20k, real_data / "ade20k_sample", "training", level="objects")).values()) == 109
    smallest = "ADE_train_00016964"
    by_instance = dataset.load(smallest).truth
    by_colour = opened(Ade20k, real_data / "ade20k_sample", "training", source="seg").load(smallest).truth
    assert (len(by_instance.instances), len(by_colour.instances)) == (32, 32)
    assert by_instance.dropped == {}
    # The two ways give the same pixels but for a few along borders: nothing differs by more than 1 in 1000.
    for mine in by_instance.instances:
        level = mine.attributes["part_level"]
        twins = [
            i for i in by_colour.instances if i.class_name == mine.class_name and i.attributes["part_level"] == level
        ]
        shared = max(int((mine.mask.dense() & i.mask.dense()).sum()) for i in twins)
        assert shared >= 0.999 * mine.mask.area, mine.class_name


# --- GTEA ------------------------------------------------------------------------------------------------------------

TEA, CHEESE, PEANUT = "GTEA/s1_tea_0000000020", "GTEA/S2_CHEESE_0000000020", "GTEA/s3_peanut_0000000140"


def test_gtea(tmp_path: Path) -> None:
    gtea.build(tmp_path)
    dataset = opened(Gtea, tmp_path)
    assert listed(dataset) == {CHEESE: 1, TEA: 2, PEANUT: 3}
    assert dataset.excluded == {"no_mask": 1}
    # 10 x 10 and 5 x 5 of the left hand are one mask; the right is 15 x 10.
    assert instances(dataset, TEA) == [
        ("left hand", "left hand", 125, (2, 3, 12, 25)),
        ("right hand", "right hand", 150, (30, 5, 45, 15)),
    ]
    # 25 x 30 from (50, 30), of which 10 x 10 lie in the frame. The deleted one and the line are not there.
    assert instances(dataset, CHEESE) == [("right hand", "right hand", 100, (50, 30, 60, 40))]
    assert dropped(dataset, CHEESE) == {"deleted": 1, "too_few_points": 1}
    # What crosses, 4 x 5, belongs to both: 100 + 20 and 150 + 20. A name without a side stands for itself.
    assert instances(dataset, PEANUT) == [
        ("left hand", "left hand", 120, (2, 3, 24, 35)),
        ("right hand", "right hand", 170, (20, 5, 45, 35)),
        ("daumen & ärmel", "daumen & ärmel", 25, (50, 0, 55, 5)),
    ]
    assert dataset.load(PEANUT).truth.instances[2].attributes == {"unknown_name": True}
    assert dataset.load(TEA).attributes == {"source": "xml"}


def test_gtea_splits(tmp_path: Path) -> None:
    gtea.build(tmp_path)
    plus = {"GTEA_GAZE_PLUS/Ahmad_American/0000000500": 1}
    assert listed(opened(Gtea, tmp_path, "gaze_plus")) == plus
    assert listed(opened(Gtea, tmp_path, "both")) == {CHEESE: 1, TEA: 2, PEANUT: 3, **plus}


def test_gtea_from_mask_files(tmp_path: Path) -> None:
    gtea.build(tmp_path)
    at = tmp_path / "gtea" / "hand2K_dataset" / "GTEA"
    # Anti-aliased: five values, of which 20 and less are none. 11 x 11 and 12 x 12 are hands, 9 x 9 is too small.
    noisy = boxes(
        [(10, 0, 0, 13, 13), (21, 0, 0, 11, 11), (255, 20, 20, 12, 12), (90, 0, 40, 9, 9), (100, 0, 40, 1, 1)]
    )
    save(at / "Masks" / "s4_coffee_0000000001.png", noisy)
    dataset = opened(Gtea, tmp_path, source="png")
    assert listed(dataset) == {CHEESE: 2, TEA: 2, PEANUT: 2, "GTEA/s4_coffee_0000000001": 2}
    assert instances(dataset, TEA) == [("1", "hand", 144, (0, 0, 12, 12)), ("2", "hand", 144, (30, 0, 42, 12))]
    assert dropped(dataset, TEA) == {"below_min_area": 1}
    assert instances(dataset, "GTEA/s4_coffee_0000000001") == [
        ("component-1", "hand", 121, (0, 0, 11, 11)),
        ("component-3", "hand", 144, (20, 20, 32, 32)),
    ]
    shutil.rmtree(at / "Annotations")
    without = opened(Gtea, tmp_path)
    assert listed(without) == listed(dataset)
    assert without.load(TEA).attributes == {"source": "png"}
    assert [i.id for i in opened(Gtea, tmp_path, source="components").load(TEA).truth.instances] == []


def test_gtea_broken_files(tmp_path: Path) -> None:
    gtea.build(tmp_path)
    at = tmp_path / "gtea" / "hand2K_dataset" / "GTEA" / "Annotations"
    gtea.write_xml(at / "s1_tea_0000000020.xml", [("Left hand", 0, [(1, 1), ("nan", 5), (5, 5)])], "utf-8")
    gtea.write_xml(at / "s2_cheese_0000000020.xml", [("Left hand", 0, [(1, 1), (900, 5), (5, 5)])], "utf-8")
    (at / "s3_peanut_0000000140.xml").write_text("<annotation><object>")
    (at / "s4_coffee_0000000001.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>')
    dataset = opened(Gtea, tmp_path)
    assert listed(dataset) == {CHEESE: 1, TEA: 1, PEANUT: 1, "GTEA/s4_coffee_0000000001": 1}
    for id, message in {
        TEA: "object 1 has a coordinate that is not a number",
        CHEESE: "left hand: an outline reaches to x = 900, the image is 60 x 40",
        PEANUT: "not XML that can be read",
        "GTEA/s4_coffee_0000000001": "refused",
    }.items():
        with pytest.raises(DataError, match=message):
            _ = dataset.load(id).truth


def test_gtea_what_is_missing(tmp_path: Path) -> None:
    gtea.build(tmp_path)
    at = tmp_path / "gtea" / "hand2K_dataset" / "GTEA"
    (at / "Images" / "s1_tea_0000000020.jpg").unlink()
    with pytest.raises(UsageError, match=r"1 of 4 images are missing \(first: GTEA/s1_tea"):
        opened(Gtea, tmp_path).index()
    (at / "Annotations" / "s3_peanut_0000000140.xml").unlink()
    with pytest.raises(UsageError, match=r"1 of 4 images have no label \(first: GTEA/s3_peanut"):
        opened(Gtea, tmp_path).index()
    gtea.write_xml(at / "Annotations" / "S2_cheese_0000000020.xml", [], "utf-8")
    with pytest.raises(UsageError, match="differ in letter case only"):
        opened(Gtea, tmp_path).index()
    shutil.rmtree(at / "Annotations")
    shutil.rmtree(at / "Masks")
    with pytest.raises(UsageError, match="images are there, labels are not: unzip hand2K_dataset"):
        opened(Gtea, tmp_path).index()


# --- Hypersim --------------------------------------------------------------------------------------------------------

ROOM, CEILING = "ai_001_001/cam_00/0000", "ai_010_002/cam_03/0012"


def test_hypersim(tmp_path: Path) -> None:
    hypersim.build(tmp_path)
    dataset = opened(Hypersim, tmp_path)
    assert listed(dataset) == {ROOM: 3, CEILING: 1}
    assert dataset.excluded == {"no_mask": 1, "missing_labels": 1}
    # Of the chair's 32 pixels one is of class 39 in the file; object 40 has no class.
    assert instances(dataset, ROOM) == [
        ("1", "wall", 600, (0, 0, 60, 10)),
        ("5", "chair", 32, (5, 20, 24, 24)),
        ("40", None, 25, (30, 30, 35, 35)),
    ]
    assert instances(dataset, CEILING) == [("3", "ceiling", 36, (2, 2, 8, 8))]
    assert [i.class_id for i in dataset.load(ROOM).truth.instances] == [1, 5, None]


def test_hypersim_options_and_splits(tmp_path: Path) -> None:
    hypersim.build(tmp_path)
    dataset = opened(Hypersim, tmp_path, structure=False, min_area=30)
    assert listed(dataset) == {ROOM: 1}
    assert dropped(dataset, ROOM) == {"structure": 1, "below_min_area": 1}
    assert listed(opened(Hypersim, tmp_path, "test")) == {CEILING: 1}
    train = opened(Hypersim, tmp_path, "train")
    assert listed(train) == {ROOM: 3}
    assert train.excluded == {"no_mask": 1}
    with pytest.raises(UsageError, match="no frame of val has its"):
        opened(Hypersim, tmp_path, "val").index()
    table = tmp_path / "hypersim" / "metadata_images_split_scene_v1.csv"
    table.write_text("scene_name\nai_001_001\n")
    with pytest.raises(UsageError, match="not Hypersim's table of frames"):
        opened(Hypersim, tmp_path, "train").index()
    table.unlink()
    with pytest.raises(
        UsageError, match=r"metadata_images_split_scene_v1\.csv: no such file; it says which frames are"
    ):
        opened(Hypersim, tmp_path, "train").index()


def test_hypersim_in_linear_colour(tmp_path: Path) -> None:
    hypersim.build(tmp_path)
    dataset = opened(Hypersim, tmp_path, image="hdr", missing_images="exclude")
    assert listed(dataset) == {CEILING: 1}
    assert dataset.excluded == {"missing_image": 2}
    assert dataset.image_file(CEILING) is None
    image = dataset.load(CEILING).image
    # Valid pixels are all of 0.5, which becomes 0.8: 0.8 * 255 = 204. Not a number is 0, infinity 255.
    assert image.shape == (*hypersim.SIZE, 3)
    assert (image[2:] == 204).all()
    assert (image[0, 0].tolist(), image[1, 1].tolist()) == ([0, 0, 0], [255, 255, 255])
    assert instances(dataset, CEILING) == [("3", "ceiling", 36, (2, 2, 8, 8))]


def test_hypersim_without_semantics(tmp_path: Path) -> None:
    hypersim.build(tmp_path)
    for path in tmp_path.rglob("*.semantic.hdf5"):
        path.unlink()
    assert [i[1] for i in instances(opened(Hypersim, tmp_path), ROOM)] == [None, None, None]
    with pytest.raises(DataError, match="without it structure=false cannot be told"):
        _ = opened(Hypersim, tmp_path, structure=False).load(ROOM).truth


def test_hypersim_broken_files(tmp_path: Path) -> None:
    hypersim.build(tmp_path)
    file = tmp_path / "hypersim/ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.semantic_instance.hdf5"
    for values, message in (
        (np.ones((60, 40), np.int16), r"has the shape \(60, 40\), expected \(40, 60\)"),
        (np.full(hypersim.SIZE, -7, np.int16), "holds the value -7; instances are numbered from 1"),
        (np.ones(hypersim.SIZE, np.float32), r"a map of instances is \(H, W\) of integers"),
    ):
        hypersim.array(file, values)
        with pytest.raises(DataError, match=message):
            _ = opened(Hypersim, tmp_path).load(ROOM).truth
    hypersim.array(file, np.ones(hypersim.SIZE, np.int16))
    hypersim.array(file.with_name("frame.0000.semantic.hdf5"), np.full(hypersim.SIZE, 41, np.int16))
    with pytest.raises(DataError, match="holds the value 41, NYU40 has classes 1 to 40"):
        _ = opened(Hypersim, tmp_path).load(ROOM).truth
    file.write_bytes(b"no HDF5")
    dataset = opened(Hypersim, tmp_path)
    assert listed(dataset)[ROOM] == 1
    with pytest.raises(DataError, match="damaged, or not an HDF5 file"):
        _ = dataset.load(ROOM).truth


def test_hypersim_what_is_missing(tmp_path: Path) -> None:
    hypersim.build(tmp_path)
    previews = sorted(tmp_path.rglob("*.tonemap.jpg"))
    next(path for path in previews if "0012" in path.name).unlink()
    with pytest.raises(UsageError, match=r"1 of 3 images are missing \(first: ai_010_002/cam_03/0012\): get frame"):
        opened(Hypersim, tmp_path).index()
    for path in previews:
        path.unlink(missing_ok=True)
    with pytest.raises(UsageError, match=r"labels are there, images are not .* get frame\.\*\.tonemap\.jpg into"):
        opened(Hypersim, tmp_path).index()
    for path in tmp_path.rglob("*.semantic_instance.hdf5"):
        path.unlink()
    with pytest.raises(UsageError, match="no frame of all has its"):
        opened(Hypersim, tmp_path).index()
