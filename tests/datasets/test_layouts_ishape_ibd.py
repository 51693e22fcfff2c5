"""iShape and IBD in tiny copies of their layouts: the exact masks, and each way in which they go wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.layout_checks import dropped, instances, listed, opened
from helpers.layouts import ibd, ishape
from helpers.tiny_datasets import photo, save, write_json

from sambench.errors import DataError, UsageError
from sambench.suite.datasets.ibd import PLUGIN as Ibd
from sambench.suite.datasets.ishape import PLUGIN as IShape

# --- iShape ----------------------------------------------------------------------------------------------------------

SUBSETS = ("antenna", "branch", "fence", "hanger", "log", "wire")


def wire(tmp_path: Path) -> Path:
    """The fixture, and the folder of wires in it."""
    ishape.build(tmp_path)
    return tmp_path / "ishape" / "ishape_dataset" / "wire" / "val"


def test_ishape(tmp_path: Path) -> None:
    wire(tmp_path)
    for root in (tmp_path, tmp_path / "ishape", tmp_path / "ishape" / "ishape_dataset"):
        dataset = opened(IShape, root)
        assert listed(dataset) == {"wire/val/13": 1, **{f"{subset}/val/212": 2 for subset in SUBSETS}}
    # A ring of 20 x 20 less 16 x 16, and two pieces of 2 x 10: neither is filled nor split.
    for subset in SUBSETS:
        assert instances(dataset, f"{subset}/val/212") == [
            ("1000", subset, 144, (5, 5, 25, 25)),
            ("1001", subset, 40, (0, 30, 40, 32)),
        ]
    assert instances(dataset, "wire/val/13") == [("1000", "wire", 40, (3, 0, 4, 40))]  # one pixel thin
    assert dataset.load("wire/val/13").attributes == {"subset": "wire"}
    for nothing in ("wire/val/14", "wire/train/13", "13", "nails/val/1"):
        with pytest.raises(DataError):
            dataset.load(nothing)


@pytest.mark.parametrize("keep", ["maps", "json"])
def test_ishape_from_maps_or_from_run_lengths_alone(tmp_path: Path, keep: str) -> None:
    at = wire(tmp_path)
    both = opened(IShape, tmp_path, subsets=("wire",))
    expected = listed(both), [i[1:] for id in listed(both) for i in instances(both, id)]
    if keep == "maps":
        (at / ishape.JSON).unlink()
    else:
        shutil.rmtree(at / "instance_map")
    shutil.rmtree(at / "coco_format")
    alone = opened(IShape, tmp_path, subsets=("wire",))
    assert (listed(alone), [i[1:] for id in listed(alone) for i in instances(alone, id)]) == expected


def test_ishape_subsets(tmp_path: Path) -> None:
    at = wire(tmp_path)
    assert listed(opened(IShape, tmp_path, subsets=("log", "fence"))) == {"fence/val/212": 2, "log/val/212": 2}
    with pytest.raises(UsageError, match=r"choose from antenna, .*, not nails"):
        opened(IShape, tmp_path, subsets=("log", "nails"))
    shutil.rmtree(at)
    with pytest.raises(UsageError, match=r"wire/val: neither instance_map/ nor .*: unpack .*leave out wire with --set"):
        opened(IShape, tmp_path).index()


def test_ishape_image_that_is_not_in_the_file_of_run_lengths(tmp_path: Path) -> None:
    at = wire(tmp_path)
    save(at / "image" / "99.jpg", photo(40, 40))
    dataset = opened(IShape, tmp_path, subsets=("wire",))
    assert listed(dataset) == {"wire/val/13": 1, "wire/val/212": 2}
    assert dataset.excluded == {"no_mask": 1}
    save(at / "instance_map" / "99.png", np.full((40, 40), 1000, np.uint16))
    dataset = opened(IShape, tmp_path, subsets=("wire",))
    assert listed(dataset) == {"wire/val/13": 1, "wire/val/212": 2, "wire/val/99": 1}
    assert instances(dataset, "wire/val/99") == [("1000", "wire", 1600, (0, 0, 40, 40))]


def test_ishape_missing_images(tmp_path: Path) -> None:
    at = wire(tmp_path)
    (at / "image" / "13.jpg").unlink()
    with pytest.raises(UsageError, match=r"1 of 7 images are missing \(first: wire/val/13\): unpack ishape_dataset"):
        opened(IShape, tmp_path).index()
    dataset = opened(IShape, tmp_path, missing_images="exclude")
    assert "wire/val/13" not in listed(dataset)
    assert dataset.excluded == {"missing_image": 1}
    shutil.rmtree(at / "image")
    with pytest.raises(UsageError, match="labels are there, images are not"):
        opened(IShape, tmp_path, subsets=("wire",)).index()


def test_ishape_maps_that_cannot_be_read(tmp_path: Path) -> None:
    maps = wire(tmp_path) / "instance_map"
    labels = np.zeros((40, 40), np.uint16)
    labels[3:5] = 2001
    save(maps / "13.png", labels)
    with pytest.raises(DataError, match=r"13\.png: holds the value 2001, which is not an instance"):
        _ = opened(IShape, tmp_path).load("wire/val/13").truth
    save(maps / "13.png", labels.astype(np.uint8))
    with pytest.raises(DataError, match=r"13\.png: has 8 bits a pixel, the original has 16"):
        _ = opened(IShape, tmp_path).load("wire/val/13").truth
    labels[:] = 0
    labels[10:12], labels[20:22] = 1000, 1001
    save(maps / "13.png", labels)
    with pytest.raises(DataError, match=r"13\.png: holds 2 instances, coco_format.* lists 1"):
        _ = opened(IShape, tmp_path).load("wire/val/13").truth
    save(maps / "13.png", np.zeros((30, 40), np.uint16))
    with pytest.raises(DataError, match=r"13\.png: the file is 30 x 40 pixels, its image 40 x 40"):
        _ = opened(IShape, tmp_path).load("wire/val/13").truth


# --- IBD -------------------------------------------------------------------------------------------------------------

FIRST, SECOND, TOP = (2, 2, 22, 22), (22, 2, 42, 22), (5, 5, 10, 10)  # touching; the third lies on the first


@pytest.mark.parametrize("form", ["coco", "labelme", "via", "labels", "colours"])
def test_ibd_forms(tmp_path: Path, form: str) -> None:
    top = ibd.build_form(tmp_path, form)
    for root in (tmp_path, tmp_path / "ibd", tmp_path / "ibd" / "InstanceBuilding"):
        dataset = opened(Ibd, root)
        assert listed(dataset) == {"DJI_0001": 3, "DJI_0002": 3}  # and no height map among them
    assert dataset.image_file("DJI_0001") == top / "train" / "images" / "DJI_0001.jpg"
    found = instances(dataset, "DJI_0001")
    assert {i[1] for i in found} == {"roof"}
    # 20 x 20 twice, and 5 x 5; in a map the roof on top hides what is below it, in labelme's file it has a second
    # part of 5 x 5 somewhere else, by its group.
    whole = 400 if form in ("coco", "labelme", "via") else 375
    third = (50, (5, 5, 55, 35)) if form == "labelme" else (25, TOP)
    assert sorted(i[2:] for i in found) == sorted([(whole, FIRST), (400, SECOND), third])
    assert dropped(dataset, "DJI_0001") == ({"not_an_outline": 1} if form == "labelme" else {})
    assert dataset.load("DJI_0001").attributes == {"form": "labels" if form == "colours" else form}


@pytest.mark.parametrize("form", ["coco", "via"])
def test_ibd_cut(tmp_path: Path, form: str) -> None:
    ibd.build_form(tmp_path, form)
    dataset = opened(Ibd, tmp_path, cut=True)
    assert sorted(i[2:] for i in instances(dataset, "DJI_0001")) == [(25, TOP), (375, FIRST), (400, SECOND)]


def test_ibd_binary_maps(tmp_path: Path) -> None:
    ibd.build_form(tmp_path, "binary")
    with pytest.raises(UsageError, match=r"no label map holds more than one value.*dataset\.split_binary=true"):
        opened(Ibd, tmp_path).index()
    dataset = opened(Ibd, tmp_path, split_binary=True)
    assert listed(dataset) == {"DJI_0001": 1, "DJI_0002": 1}
    assert instances(dataset, "DJI_0001") == [("1", "roof", 800, (2, 2, 42, 22))]


def test_ibd_without_a_split(tmp_path: Path) -> None:
    ibd.build_form(tmp_path, "coco", split="pictures")
    with pytest.raises(UsageError, match=r"named for training, so the split of the paper is not known; .*--split all"):
        opened(Ibd, tmp_path).index()
    assert listed(opened(Ibd, tmp_path, "all")) == {"DJI_0001": 3, "DJI_0002": 3}
    (tmp_path / "ibd" / "train_list.txt").write_text("images/DJI_0002.jpg\n\n")
    assert listed(opened(Ibd, tmp_path)) == {"DJI_0002": 3}


def test_ibd_train_part_of_one_file(tmp_path: Path) -> None:
    top = ibd.build_form(tmp_path, "coco")
    save(top / "val" / "images" / "DJI_0003.jpg", photo(40, 60))
    file = top / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["images"].append({"id": 2, "file_name": "DJI_0003.jpg", "height": 40, "width": 60})
    content["annotations"].append({**content["annotations"][0], "id": 99, "image_id": 2})
    file.unlink()
    write_json(top / "annotations.json", content)
    assert listed(opened(Ibd, tmp_path)) == {"DJI_0001": 3, "DJI_0002": 3}
    assert listed(opened(Ibd, tmp_path, "all")) == {"DJI_0001": 3, "DJI_0002": 3, "DJI_0003": 1}


def test_ibd_two_forms(tmp_path: Path) -> None:
    ibd.build_form(tmp_path, "coco")
    ibd.build_form(tmp_path, "labels")
    with pytest.raises(UsageError, match=r"in the forms coco and labels; choose one with --set dataset\.form"):
        opened(Ibd, tmp_path).index()
    assert sum(listed(opened(Ibd, tmp_path, form="labels")).values()) == 6


def test_ibd_too_few_annotated(tmp_path: Path) -> None:
    top = ibd.build_form(tmp_path, "via")
    save(top / "train" / "images" / "DJI_0009.jpg", photo(40, 60))
    with pytest.raises(UsageError, match="only 2 of 3 images have a roof in the form via; the files are not as expect"):
        opened(Ibd, tmp_path).index()


def test_ibd_halves(tmp_path: Path) -> None:
    top = ibd.build_form(tmp_path, "via")
    (top / "train" / "images" / "DJI_0002.jpg").unlink()
    with pytest.raises(UsageError, match=r"1 of 2 images are missing \(first: DJI_0002\): unpack the photographs"):
        opened(Ibd, tmp_path).index()
    (top / "train" / "via_region_data.json").unlink()
    with pytest.raises(UsageError, match="images are there, labels are not: none of COCO JSON"):
        opened(Ibd, tmp_path).index()
    assert Ibd.locate(tmp_path / "elsewhere", "train", Ibd.Options()) is None
    # Any folder of images would fit: only one of the name is believed.
    (tmp_path / "ibd").rename(tmp_path / "mine")
    assert Ibd.locate(tmp_path, "train", Ibd.Options()) is None


def test_ibd_texts_in_gb18030(tmp_path: Path) -> None:
    top = ibd.build_form(tmp_path, "coco")
    (top / "train" / "images" / "DJI_0001.jpg").rename(top / "train" / "images" / "屋顶1.jpg")
    file = top / "annotations" / "instances_train.json"
    text = json.dumps(json.loads(file.read_text()), ensure_ascii=False)
    file.write_bytes(text.replace("DJI_0001", "屋顶1").replace("building", "屋顶").encode("gb18030"))
    dataset = opened(Ibd, tmp_path)
    assert listed(dataset) == {"DJI_0002": 3, "屋顶1": 3}
    assert dataset.load("屋顶1").truth.instances[0].attributes["label"] == "屋顶"


def test_ibd_annotation_of_another_size(tmp_path: Path) -> None:
    top = ibd.build_form(tmp_path, "labelme")
    save(top / "train" / "images" / "DJI_0001.jpg", photo(60, 40))
    with pytest.raises(DataError, match=r"DJI_0001\.json: image DJI_0001 is \(40, 60\) .*store it upright"):
        _ = opened(Ibd, tmp_path).load("DJI_0001").truth
    file = top / "train" / "labels" / "DJI_0002.json"
    shape = {"label": "roof", "points": [[1, 1], [float("nan"), 2], [3, 3]], "group_id": None}
    file.write_text(json.dumps({"shapes": [shape]}))
    with pytest.raises(DataError, match=r"DJI_0002\.json: shape 1: an outline has a coordinate that is not a number"):
        _ = opened(Ibd, tmp_path).load("DJI_0002").truth
    file.write_text("{")
    assert listed(opened(Ibd, tmp_path))["DJI_0002"] == 1
    with pytest.raises(DataError, match=r"DJI_0002\.json: not JSON"):
        _ = opened(Ibd, tmp_path).load("DJI_0002").truth
