"""The file-based datasets, in tiny copies of their real layouts and on small real data."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.layout_checks import opened
from helpers.paths import ROOT
from helpers.tiny_datasets import bbbc038, coco, coco_content, photo, save, square, write_json

from sambench.errors import DataError, UsageError
from sambench.suite.datasets.bbbc038 import PLUGIN as Bbbc038
from sambench.suite.datasets.coco import PLUGIN as Coco
from sambench.suite.datasets.coco_json import PLUGIN as CocoJson
from sambench.suite.datasets.lvis import PLUGIN as Lvis
from sambench.suite.datasets.mask_pngs import PLUGIN as MaskPngs


def totals(dataset: Any) -> tuple[int, int]:
    index = dataset.index()
    assert [entry.id for entry in index] == sorted({entry.id for entry in index})
    assert list(index) == list(dataset.index())
    return len(index), sum(entry.n_masks for entry in index)


def decoded(dataset: Any) -> tuple[int, int]:
    """Every mask read: (single, crowd)."""
    single = crowd = 0
    for entry in dataset.index():
        sample = dataset.load(entry.id)
        assert sample.id == entry.id
        for instance in sample.truth.instances:
            assert instance.mask.size == sample.size
            assert instance.mask.area > 0
            single, crowd = single + (not instance.crowd), crowd + instance.crowd
    return single, crowd


# --- bbbc038 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top_level", [False, True])
def test_bbbc038_layouts(tmp_path: Path, top_level: bool) -> None:
    ids = bbbc038(tmp_path / "data" / "bbbc038", [2, 3], top_level=top_level)
    for root in (tmp_path / "data", tmp_path / "data" / "bbbc038"):
        dataset = opened(Bbbc038, root)
        assert totals(dataset) == (2, 5)
        sample = dataset.load(ids[1])
        assert np.array_equal(sample.image, photo(20, 30))  # alpha dropped
        first, second, third = sample.truth.instances
        assert first.mask.box == (0, 2, 3, 5)
        assert third.mask.box == (8, 2, 11, 5)
        assert (second.id, second.class_name) == (f"{8:064x}", "nucleus")


def test_bbbc038_ignores_what_macos_leaves(tmp_path: Path) -> None:
    (id,) = bbbc038(tmp_path, [2])
    (tmp_path / "stage1_train" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "stage1_train" / "__MACOSX" / "images").mkdir(parents=True)
    (tmp_path / "stage1_train" / id / "masks" / "._mask.png").write_bytes(b"x")
    (tmp_path / "stage1_train" / id / "images" / ".DS_Store").write_bytes(b"x")
    dataset = opened(Bbbc038, tmp_path)
    assert totals(dataset) == (1, 2)
    assert decoded(dataset) == (2, 0)


def test_bbbc038_test_images_are_not_mixed_in(tmp_path: Path) -> None:
    bbbc038(tmp_path / "bbbc038", [1, 1])
    (tmp_path / "bbbc038" / "stage1_train").rename(tmp_path / "bbbc038" / "stage1_test")
    assert Bbbc038.locate(tmp_path, "stage1_train", Bbbc038.Options()) is None
    ids = bbbc038(tmp_path / "mixed", [1, 1])
    (tmp_path / "mixed" / "stage1_train" / ids[1] / "masks").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="1 of 2 images have no masks, as in stage1_test"):
        opened(Bbbc038, tmp_path / "mixed").index()


def test_bbbc038_empty_and_small_masks_are_counted(tmp_path: Path) -> None:
    (id,) = bbbc038(tmp_path, [2])
    masks = tmp_path / "stage1_train" / id / "masks"
    save(masks / "empty.png", np.zeros((20, 30), np.uint8))
    save(masks / "speck.png", square(20, 30, 10, 10, 2))
    save(masks / "rgb.png", np.dstack([square(20, 30, 15, 15, 3)] * 3))
    assert opened(Bbbc038, tmp_path).load(id).truth.dropped == {"empty_mask": 1}
    truth = opened(Bbbc038, tmp_path, min_area=5).load(id).truth
    assert truth.dropped == {"empty_mask": 1, "below_min_area": 1}
    assert [instance.mask.area for instance in truth.instances] == [9, 9, 9]


def test_bbbc038_broken_samples(tmp_path: Path) -> None:
    ids = bbbc038(tmp_path, [1, 1, 1])
    at = tmp_path / "stage1_train"
    save(at / ids[0] / "masks" / "big.png", square(30, 20, 1, 1, 3))
    (at / ids[1] / "images" / f"{ids[1]}.png").unlink()
    save(at / ids[2] / "images" / "second.png", photo(20, 30))
    dataset = opened(Bbbc038, tmp_path)
    assert totals(dataset) == (3, 4)
    with pytest.raises(DataError, match=r"big\.png: the file is 30 x 20 pixels, its image 20 x 30"):
        _ = dataset.load(ids[0]).truth
    with pytest.raises(DataError, match="holds 0 images, expected one"):
        dataset.load(ids[1])
    with pytest.raises(DataError, match="holds 2 images, expected one"):
        dataset.load(ids[2])
    with pytest.raises(DataError, match="no image nothing"):
        dataset.load("nothing")


def test_bbbc038_real(real_data: Path) -> None:
    dataset = opened(Bbbc038, real_data / "bbbc038_subset")
    assert totals(dataset) == (15, 681)
    assert decoded(dataset) == (681, 0)


# --- coco and lvis ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", ["val2017", "images/val2017"])
def test_coco_layouts(tmp_path: Path, images: str) -> None:
    coco(tmp_path / "coco", images=images)
    for root in (tmp_path, tmp_path / "coco"):
        dataset = opened(Coco, root)
        assert totals(dataset) == (2, 2)
        assert decoded(dataset) == (1, 1)
        assert dataset.load("9").image.shape == (16, 16, 3)
    assert Coco.locate(tmp_path / "coco" / "annotations", "val2017", Coco.Options()) == tmp_path / "coco"


def test_coco_missing_images(tmp_path: Path) -> None:
    coco(tmp_path)
    (tmp_path / "val2017" / "000000000009.jpg").unlink()
    with pytest.raises(UsageError, match=r"1 of 2 images .* unpack val2017\.zip in"):
        opened(Coco, tmp_path).index()
    dataset = opened(Coco, tmp_path, missing_images="exclude")
    assert totals(dataset) == (1, 2)
    assert dataset.excluded == {"missing_image": 1}


def test_coco_real(real_data: Path) -> None:
    dataset = opened(Coco, real_data / "coco_subset")
    assert totals(dataset) == (24, 186)
    assert decoded(dataset) == (186, 2)
    for entry in dataset.index():
        sample = dataset.load(entry.id)
        assert sample.image.shape[:2] == sample.size


def lvis_content() -> dict[str, Any]:
    """Version 1's form: no file_name, one image in each of COCO's folders."""
    content = coco_content()
    for image, folder in zip(content["images"], ("val2017", "train2017"), strict=True):
        image["coco_url"] = f"http://images.cocodataset.org/{folder}/{image.pop('file_name')}"
        image["neg_category_ids"] = [90]
    content["annotations"] = content["annotations"][:1]
    content["categories"][0].update(frequency="r", synset="cat.n.01")
    return content


@pytest.mark.parametrize("place", ["coco/annotations", "coco/lvis", "lvis/annotations", "lvis"])
def test_lvis_layouts(tmp_path: Path, place: str) -> None:
    write_json(tmp_path / place / "lvis_v1_val.json", lvis_content())
    save(tmp_path / "coco" / "val2017" / "000000000007.jpg", photo(20, 30))
    save(tmp_path / "coco" / "train2017" / "000000000009.jpg", photo(16, 16))
    dataset = opened(Lvis, tmp_path, "v1_val")
    assert totals(dataset) == (2, 1)
    sample = dataset.load("7")
    assert sample.image.shape == (20, 30, 3)
    assert sample.attributes == {"neg_category_ids": [90]}
    (instance,) = sample.truth.instances
    assert instance.attributes == {"supercategory": "animal", "frequency": "r", "synset": "cat.n.01"}
    assert dataset.load("9").image.shape == (16, 16, 3)
    assert Lvis.locate(tmp_path, "v0.5_val", Lvis.Options()) is None


def test_lvis_without_coco_url_takes_the_end_of_file_name(tmp_path: Path) -> None:
    content = coco_content()
    content["images"][0]["file_name"] = "COCO_val2014_000000000007.jpg"
    write_json(tmp_path / "annotations" / "lvis_v0.5_val.json", content)
    for number, shape in ((7, (20, 30)), (9, (16, 16))):
        save(tmp_path / "images" / "val2017" / f"{number:012d}.jpg", photo(*shape))
    dataset = opened(Lvis, tmp_path)
    assert totals(dataset) == (2, 2)
    assert dataset.load("7").image.shape == (20, 30, 3)


def test_lvis_v1_without_train2017(tmp_path: Path) -> None:
    write_json(tmp_path / "annotations" / "lvis_v1_val.json", lvis_content())
    save(tmp_path / "val2017" / "000000000007.jpg", photo(20, 30))
    with pytest.raises(UsageError, match=r"1 of 2 images .*train2017/0+9\.jpg; unpack val2017\.zip and train2017\.zip"):
        opened(Lvis, tmp_path, "v1_val").index()


def test_lvis_real(real_data: Path) -> None:
    at = real_data / "lvis_val_100"
    assert Lvis.locate(at, "v0.5_val", Lvis.Options()) is None
    with pytest.raises(UsageError, match=r"^94 of 100 images of .*lvis_val_100\.json are missing"):
        opened(Lvis, at, annotations="lvis_val_100.json").index()
    for name in ("lvis_val_100.json", str(at / "lvis_val_100.json")):
        dataset = opened(Lvis, at, annotations=name, missing_images="exclude")
        assert totals(dataset) == (6, 48)
        assert dataset.excluded == {"missing_image": 94}
        assert decoded(dataset) == (48, 0)
    for entry in dataset.index():
        assert dataset.load(entry.id).image.shape[:2] == dataset.load(entry.id).size


# --- the generic ones ------------------------------------------------------------------------------------------------


def test_coco_json(tmp_path: Path) -> None:
    content = coco_content()
    content["images"][0]["file_name"] = "in here/é.png"
    file = write_json(tmp_path / "mine.json", content)
    save(tmp_path / "pictures" / "in here" / "é.png", photo(20, 30))
    save(tmp_path / "pictures" / "000000000009.jpg", photo(16, 16))
    dataset = opened(CocoJson, Path("/nowhere"), annotations=str(file), images=str(tmp_path / "pictures"))
    assert totals(dataset) == (2, 2)
    assert np.array_equal(dataset.load("7").image, photo(20, 30))


def test_coco_json_refuses(tmp_path: Path) -> None:
    file = str(write_json(tmp_path / "mine.json", coco_content()))
    with pytest.raises(UsageError, match="needs the path of a JSON file"):
        CocoJson.locate(tmp_path, "all", CocoJson.Options())
    with pytest.raises(UsageError, match=r"gone\.json: no such file"):
        CocoJson.locate(tmp_path, "all", CocoJson.Options(annotations=str(tmp_path / "gone.json")))
    with pytest.raises(UsageError, match="no such folder of images"):
        opened(CocoJson, tmp_path, annotations=file, images=str(tmp_path / "gone"))
    content = coco_content()
    content["images"][0].pop("file_name")
    nameless = str(write_json(tmp_path / "nameless.json", content))
    with pytest.raises(UsageError, match="image 7 has no file_name"):
        opened(CocoJson, tmp_path, annotations=nameless, images=str(tmp_path)).index()


def test_coco_json_without_images_real(real_data: Path) -> None:
    file = real_data / "picosam2_predictions" / "instances_val2017_subset.json"
    dataset = opened(CocoJson, Path("/nowhere"), annotations=str(file))
    assert totals(dataset) == (26, 256)
    assert decoded(dataset) == (256, 4)
    with pytest.raises(DataError, match="no image folder was given"):
        _ = dataset.load(dataset.index()[0].id).image


def mask_pngs(at: Path) -> Path:
    """Three images: a folder of two binary masks, a 16-bit label map of two, none."""
    save(at / "images" / "a.jpg", photo(20, 30))
    save(at / "images" / "Ünï.PNG", photo(10, 12))
    save(at / "images" / "bare.png", photo(5, 5))
    save(at / "masks" / "a" / "cup.png", square(20, 30, 1, 2, 3))
    save(at / "masks" / "a" / "saucer.png", square(20, 30, 2, 2, 8) // 255)
    labels = np.zeros((10, 12), np.uint16)
    labels[0:2, 0:3], labels[5:9, 5:9], labels[9, 11] = 300, 7, 65535
    save(at / "masks" / f"{unicodedata.normalize('NFD', 'Ünï')}.png", labels)
    return at


def test_mask_pngs(tmp_path: Path) -> None:
    dataset = opened(MaskPngs, Path("/nowhere"), dir=str(mask_pngs(tmp_path / "data")))
    assert [(entry.id, entry.n_masks) for entry in dataset.index()] == [("a", 2), ("bare", 0), ("Ünï", 3)]
    cup, saucer = dataset.load("a").truth.instances
    assert (cup.id, cup.mask.box, saucer.id, saucer.mask.area) == ("cup", (2, 1, 5, 4), "saucer", 64)
    assert [(i.id, i.mask.area) for i in dataset.load("Ünï").truth.instances] == [("7", 16), ("300", 6), ("65535", 1)]
    assert dataset.load("Ünï").truth.void is None
    assert dataset.load("bare").truth.instances == ()
    assert dataset.load("Ünï").image.shape == (10, 12, 3)


def test_mask_pngs_void(tmp_path: Path) -> None:
    at = mask_pngs(tmp_path)
    save(at / "masks" / "a" / "plate.png", np.where(square(20, 30, 10, 10, 4), 65535, 0).astype(np.uint16))
    dataset = opened(MaskPngs, tmp_path, dir=str(at), void=65535)
    assert [entry.n_masks for entry in dataset.index()] == [3, 0, 2]
    truth = dataset.load("Ünï").truth
    assert [i.id for i in truth.instances] == ["7", "300"]
    assert truth.void is not None
    assert truth.void.box == (11, 9, 12, 10)
    # A file that holds nothing but void is an empty mask, and its pixels are void for the whole image.
    truth = dataset.load("a").truth
    assert truth.dropped == {"empty_mask": 1}
    assert truth.void is not None
    assert truth.void.area == 16


def test_mask_pngs_refuses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs the path of a folder"):
        MaskPngs.locate(tmp_path, "all", MaskPngs.Options())
    (tmp_path / "images").mkdir()
    with pytest.raises(UsageError, match="holds no folder masks/;"):
        MaskPngs.locate(tmp_path, "all", MaskPngs.Options(dir=str(tmp_path)))
    both = mask_pngs(tmp_path / "both")
    save(both / "masks" / "a.png", square(20, 30, 1, 1, 1))
    with pytest.raises(UsageError, match="a folder and a label map for the same image"):
        opened(MaskPngs, tmp_path, dir=str(both)).index()
    stray = mask_pngs(tmp_path / "stray")
    save(stray / "masks" / "b.png", square(20, 30, 1, 1, 1))
    with pytest.raises(UsageError, match=r"1 masks in .* have no image of their name in .*; first: b"):
        opened(MaskPngs, tmp_path, dir=str(stray)).index()
    twice = mask_pngs(tmp_path / "twice")
    save(twice / "images" / "a.png", photo(20, 30))
    with pytest.raises(UsageError, match="would have the same id"):
        opened(MaskPngs, tmp_path, dir=str(twice)).index()


def test_mask_pngs_broken_samples_stay_in_the_index(tmp_path: Path) -> None:
    at = mask_pngs(tmp_path)
    save(at / "masks" / "bare.png", photo(5, 5))
    save(at / "masks" / "a" / "wrong.png", square(30, 20, 1, 1, 2))
    dataset = opened(MaskPngs, tmp_path, dir=str(at))
    assert [(entry.id, entry.n_masks) for entry in dataset.index()] == [("a", 3), ("bare", 1), ("Ünï", 3)]
    with pytest.raises(DataError, match=r"bare\.png: a mask has one channel"):
        _ = dataset.load("bare").truth
    with pytest.raises(DataError, match=r"wrong\.png: the file is 30 x 20 pixels, its image 20 x 30"):
        _ = dataset.load("a").truth
    with pytest.raises(DataError, match="no image b"):
        dataset.load("b")


def test_the_examples_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / "datasets.md"
    blocks = {block.split("\n", 1)[0]: block.split("\n", 1)[1] for block in page.read_text("utf-8").split("```")[1::2]}
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks["python"], str(page), "exec"), {})
    dataset = opened(MaskPngs, tmp_path, dir="mine")
    assert [(i.id, i.mask.area) for i in dataset.load("desk").truth.instances] == [("1", 2000), ("2", 2400)]
    assert dataset.load("desk").image[30, 40].tolist() == [200, 60, 40]
    content = json.loads(blocks["json"])
    content["annotations"][1]["segmentation"]["counts"] = [480 * 640 - 9, 9]
    dataset = opened(CocoJson, tmp_path, annotations=str(write_json(tmp_path / "a.json", content)))
    cup, crowd = dataset.load("1").truth.instances
    assert (cup.class_name, cup.mask.area, crowd.crowd, crowd.mask.area) == ("cup", 80 * 50, True, 9)
