"""RITM's five evaluation sets, in tiny copies of their real layouts: the exact masks, and each way they go wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from helpers.layout_checks import opened
from helpers.layouts import berkeley, davis345, grabcut, pascal_voc, sbd
from helpers.tiny_datasets import photo, save, square
from PIL import Image

from sambench.errors import DataError, UsageError
from sambench.suite.datasets.berkeley import PLUGIN as Berkeley
from sambench.suite.datasets.davis345 import PLUGIN as Davis345
from sambench.suite.datasets.grabcut import PLUGIN as GrabCut
from sambench.suite.datasets.pascal_voc import PLUGIN as PascalVoc
from sambench.suite.datasets.sbd import PLUGIN as Sbd


def listed(dataset: Any) -> dict[str, int]:
    return {entry.id: entry.n_masks for entry in dataset.index()}


def instances(dataset: Any, id: str) -> list[tuple[Any, ...]]:
    """(id, class, class number, area, box xyxy) of each."""
    sample = dataset.load(id)
    assert sample.image.shape == (*sample.size, 3)
    assert all(i.mask.size == sample.size for i in sample.truth.instances)
    return [(i.id, i.class_name, i.class_id, i.mask.area, i.mask.box) for i in sample.truth.instances]


def void_area(dataset: Any, id: str) -> int:
    void = dataset.load(id).truth.void
    return 0 if void is None else void.area


@pytest.mark.parametrize("plugin", [GrabCut, Berkeley, Davis345, Sbd, PascalVoc])
def test_found_at_the_root_and_from_within_and_nowhere_else(plugin: Any, tmp_path: Path) -> None:
    name = plugin.card.name
    {"grabcut": grabcut, "berkeley": berkeley, "davis345": davis345, "sbd": sbd, "pascal_voc": pascal_voc}[name].build(
        tmp_path / "data"
    )
    expected = listed(opened(plugin, tmp_path / "data"))
    assert listed(opened(plugin, tmp_path / "data" / name)) == expected
    at = opened(plugin, tmp_path / "data")
    for id in expected:
        assert at.image_file(id).is_file()
    (tmp_path / "empty").mkdir()
    assert plugin.locate(tmp_path / "empty", plugin.card.default_split, plugin.Options()) is None
    assert plugin.locate(tmp_path / "not there", plugin.card.default_split, plugin.Options()) is None
    with pytest.raises(DataError, match="nothing of the name"):
        at.load("nothing of the name")


# --- GrabCut ---------------------------------------------------------------------------------------------------------


def test_grabcut(tmp_path: Path) -> None:
    grabcut.build(tmp_path)
    dataset = opened(GrabCut, tmp_path)
    assert listed(dataset) == {"153093": 1, "flower": 1}
    assert instances(dataset, "153093") == [("1", None, None, 100, (20, 10, 30, 20))]
    # The frame of 128: 18 x 18 less 10 x 10.
    assert void_area(dataset, "153093") == 224
    # Stored with three equal channels, no 128.
    assert instances(dataset, "flower") == [("1", None, None, 64, (4, 4, 12, 12))]
    assert void_area(dataset, "flower") == 0


def test_grabcut_values_that_mean_nothing(tmp_path: Path) -> None:
    grabcut.build(tmp_path)
    mask = grabcut.trimap(4, 4, 8, 0)
    mask[0, :3] = (1, 64, 127)
    path = save(tmp_path / "grabcut" / "boundary_GT" / "flower.bmp", mask)
    with pytest.raises(DataError, match=r"flower\.bmp: 3 pixels hold values from 1 to 127 \(first: 1\).*odd_values"):
        _ = opened(GrabCut, tmp_path).load("flower").truth
    assert instances(opened(GrabCut, tmp_path, odd_values="background"), "flower")[0][3] == 64
    Image.fromarray(mask > 128).save(path)
    with pytest.raises(DataError, match="1-bit"):
        _ = opened(GrabCut, tmp_path).load("flower").truth


def test_grabcut_without_an_object(tmp_path: Path) -> None:
    grabcut.build(tmp_path)
    save(tmp_path / "grabcut" / "boundary_GT" / "flower.bmp", np.full((40, 60), 128, np.uint8))
    truth = opened(GrabCut, tmp_path).load("flower").truth
    assert (truth.instances, dict(truth.dropped), truth.void.area) == ((), {"empty_mask": 1}, 2400)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda at: shutil.rmtree(at / "data_GT"), "boundary_GT: masks are there, images are not: put them in"),
        (lambda at: shutil.rmtree(at / "boundary_GT"), "data_GT: images are there, masks are not: put them in"),
        (lambda at: (at / "data_GT" / "153093.jpg").unlink(), "1 of 2 masks have no image here; first: 153093.bmp"),
        (
            lambda at: (at / "boundary_GT" / "flower.bmp").unlink(),
            "1 of 2 images have no mask here; first: flower.BMP",
        ),
        (lambda at: save(at / "data_GT" / "Flower.bmp", photo(40, 60)), "would have the same id"),
        (lambda at: save(at / "data_GT" / "flower.a.bmp", photo(40, 60)), "would have the same id"),
        (
            lambda at: save(at / "boundary_GT" / "flower-1.bmp", square(40, 60, 0, 0, 4)),
            "1 of 3 masks have no image here; first: flower-1.bmp",
        ),
    ],
)
def test_grabcut_files_that_do_not_pair(tmp_path: Path, change: Any, line: str) -> None:
    grabcut.build(tmp_path)
    change(tmp_path / "grabcut")
    with pytest.raises(UsageError, match=line):
        opened(GrabCut, tmp_path).index()


def test_grabcut_unreadable_and_misfitting_masks(tmp_path: Path) -> None:
    grabcut.build(tmp_path)
    dataset = opened(GrabCut, tmp_path)
    mask = tmp_path / "grabcut" / "boundary_GT" / "flower.bmp"
    mask.write_bytes(mask.read_bytes()[:200])
    with pytest.raises(DataError, match=r"flower\.bmp: damaged or truncated"):
        _ = dataset.load("flower").truth
    save(mask, grabcut.trimap(4, 4, 8, 0)[:, :30])
    with pytest.raises(DataError, match=r"flower\.bmp: the file is 40 x 30 pixels, its image 40 x 60"):
        _ = dataset.load("flower").truth
    mask.unlink()
    mask.symlink_to(mask)
    with pytest.raises(DataError, match=r"flower\.bmp: cannot be read \(Too many levels of symbolic links\)"):
        _ = dataset.load("flower").truth


# --- Berkeley --------------------------------------------------------------------------------------------------------


def test_berkeley(tmp_path: Path) -> None:
    berkeley.build(tmp_path)
    dataset = opened(Berkeley, tmp_path)
    assert listed(dataset) == {"101085": 1, "101085b": 1, "302003": 1, "302003-2": 1}
    assert instances(dataset, "101085") == [("1", None, None, 100, (2, 2, 12, 12))]
    assert instances(dataset, "101085b") == [("1", None, None, 144, (30, 20, 42, 32))]
    assert instances(dataset, "302003") == [("1", None, None, 36, (20, 10, 26, 16))]
    # 10 x 10 less 6 x 6; the second mask of the picture has no void.
    assert (void_area(dataset, "302003"), void_area(dataset, "302003-2")) == (64, 0)
    assert instances(dataset, "302003-2") == [("1", None, None, 25, (50, 0, 55, 5))]
    assert dataset.image_file("302003-2").name == "302003.jpg"


@pytest.mark.parametrize("suffix", ["-1", "_2", "#001"])
def test_berkeley_pictures_with_numbered_masks_only(tmp_path: Path, suffix: str) -> None:
    berkeley.build(tmp_path)
    masks = tmp_path / "berkeley" / "masks"
    (masks / "101085.png").rename(masks / f"101085{suffix}.png")
    assert sorted(listed(opened(Berkeley, tmp_path))) == sorted([f"101085{suffix}", "101085b", "302003", "302003-2"])


def test_berkeley_no_mask_is_dropped_in_silence(tmp_path: Path) -> None:
    berkeley.build(tmp_path)
    save(tmp_path / "berkeley" / "masks" / "3020031.png", square(40, 60, 0, 0, 4))
    with pytest.raises(UsageError, match=r"1 of 5 masks have no image here; first: 3020031\.png"):
        opened(Berkeley, tmp_path).index()


def test_a_half_is_recognised_by_its_own_name_only(tmp_path: Path) -> None:
    berkeley.build(tmp_path)
    shutil.rmtree(tmp_path / "berkeley" / "images")
    with pytest.raises(UsageError, match="masks are there, images are not"):
        opened(Berkeley, tmp_path / "berkeley").index()
    (tmp_path / "berkeley").rename(tmp_path / "other")
    assert Berkeley.locate(tmp_path / "other", "all", Berkeley.Options()) is None


# --- DAVIS-345 -------------------------------------------------------------------------------------------------------


def test_davis345(tmp_path: Path) -> None:
    davis345.build(tmp_path)
    dataset = opened(Davis345, tmp_path)
    assert listed(dataset) == {"bear_00041": 1, "judo_00000": 1}
    # 6 x 10 and 4 x 10, united.
    assert instances(dataset, "judo_00000") == [("1", None, None, 100, (3, 2, 50, 24))]
    assert instances(dataset, "bear_00041") == [("1", None, None, 25, (5, 5, 10, 10))]
    assert dataset.load("judo_00000").truth.void is None


def test_davis345_mask_compressed_as_jpeg(tmp_path: Path) -> None:
    davis345.build(tmp_path)
    gt = tmp_path / "davis345" / "gt"
    (gt / "bear_00041.png").unlink()
    save(gt / "bear_00041.jpg", square(40, 60, 8, 8, 16), quality=30)
    ((_, _, _, area, box),) = instances(opened(Davis345, tmp_path), "bear_00041")
    assert (area, box) == (256, (8, 8, 24, 24))


def test_davis345_real_frames(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "davis2016_subset" / "DAVIS"
    for frame in sorted((source / "JPEGImages" / "480p").glob("*/*.jpg"))[:6]:
        name = f"{frame.parent.name}_{frame.stem}"
        mask = source / "Annotations" / "480p" / frame.parent.name / f"{frame.stem}.png"
        for path, folder in ((frame, "img"), (mask, "gt")):
            (tmp_path / "DAVIS" / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "DAVIS" / folder / f"{name}{path.suffix}")
    dataset = opened(Davis345, tmp_path)
    assert len(dataset.index()) == 6
    for entry in dataset.index():
        sample = dataset.load(entry.id)
        (instance,) = sample.truth.instances
        stored = np.asarray(Image.open(tmp_path / "DAVIS" / "gt" / f"{entry.id}.png"))
        assert sample.size == (480, 854)
        assert np.array_equal(instance.mask.dense(), stored > 0)


# --- SBD -------------------------------------------------------------------------------------------------------------


def test_sbd(tmp_path: Path) -> None:
    sbd.build(tmp_path)
    dataset = opened(Sbd, tmp_path)
    assert listed(dataset) == {"2008_000002": 1, "2008_000009": 2, "2008_000016": 1}
    assert instances(dataset, "2008_000002") == [("1", "tvmonitor", 20, 200, (10, 5, 30, 15))]
    # The class of instance 3 is the third category, although there is no instance 2.
    assert instances(dataset, "2008_000009") == [
        ("1", "cow", 10, 16, (0, 0, 4, 4)),
        ("3", "person", 15, 100, (20, 20, 30, 30)),
    ]
    assert instances(dataset, "2008_000016") == [("1", "car", 7, 200, (10, 25, 30, 35))]
    assert dataset.excluded == {}
    train = opened(Sbd, tmp_path, "train")
    assert listed(train) == {"2008_000007": 1}
    assert instances(train, "2008_000007")[0][1] == "boat"


def sbd_folder(root: Path) -> Path:
    sbd.build(root)
    return root / "sbd" / "benchmark_RELEASE" / "dataset"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda at: shutil.rmtree(at / "img"), "inst: labels are there, images are not .*unpack benchmark.tgz so that"),
        (lambda at: shutil.rmtree(at / "inst"), "inst: lists are there, masks are not: unpack benchmark.tgz again"),
        (lambda at: (at / "val.txt").unlink(), r"val\.txt: the list of names cannot be read \(No such file"),
        (lambda at: (at / "val.txt").write_text("\n"), r"val\.txt: the list of names is empty"),
        (lambda at: (at / "val.txt").write_bytes(b"\xff\xfe"), r"val\.txt: not a list of names"),
        (lambda at: (at / "val.txt").write_text("2008_000002\n" * 2), "names 2008_000002 twice"),
        (
            lambda at: (at / "inst" / "2008_000016.mat").unlink(),
            r"1 of 3 images of val\.txt have no mask file \(first: 2008_000016\)",
        ),
        (
            lambda at: (at / "img" / "2008_000016.jpg").unlink(),
            r"1 of 3 images are missing \(first: 2008_000016\).*missing_images=exclude",
        ),
    ],
)
def test_sbd_incomplete(tmp_path: Path, change: Any, line: str) -> None:
    change(sbd_folder(tmp_path))
    with pytest.raises(UsageError, match=line):
        opened(Sbd, tmp_path).index()


def test_sbd_missing_images_left_out(tmp_path: Path) -> None:
    (sbd_folder(tmp_path) / "img" / "2008_000016.jpg").unlink()
    dataset = opened(Sbd, tmp_path, missing_images="exclude")
    assert sorted(listed(dataset)) == ["2008_000002", "2008_000009"]
    assert dataset.excluded == {"missing_image": 1}


@pytest.mark.parametrize(
    ("segmentation", "categories", "line"),
    [
        (np.ones((20, 60), np.uint8), [1], r"the map is of \(20, 60\), its image of \(40, 60\)"),
        (np.ones((40, 60), np.uint8), [21], "instance 1 has no class from 1 to 20"),
        (np.ones((40, 60), np.uint8) * 2, [1], "instance 2 has no class from 1 to 20"),
        (np.ones((40, 60)), [1], "Segmentation is not an array of whole numbers"),
    ],
)
def test_sbd_maps_that_do_not_fit(tmp_path: Path, segmentation: np.ndarray, categories: list[int], line: str) -> None:
    at = sbd_folder(tmp_path)
    sbd.write_mat(at / "inst" / "2008_000002.mat", segmentation, categories)
    dataset = opened(Sbd, tmp_path)
    assert listed(dataset)["2008_000002"] == 1
    with pytest.raises(DataError, match=r"2008_000002\.mat: .*" + line):
        _ = dataset.load("2008_000002").truth


def test_sbd_files_that_are_no_mat_files(tmp_path: Path) -> None:
    path = sbd_folder(tmp_path) / "inst" / "2008_000002.mat"
    dataset = opened(Sbd, tmp_path)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError, match=r"2008_000002\.mat"):
        _ = dataset.load("2008_000002").truth
    scipy.io.savemat(path, {"GTcls": {"Segmentation": np.ones((40, 60), np.uint8)}})
    with pytest.raises(DataError, match="has no variable 'GTinst'"):
        _ = dataset.load("2008_000002").truth
    # Unreadable masks count as one, so that the run meets them.
    assert listed(dataset)["2008_000002"] == 1


# --- PASCAL VOC ------------------------------------------------------------------------------------------------------


def test_pascal_voc(tmp_path: Path) -> None:
    pascal_voc.build(tmp_path)
    dataset = opened(PascalVoc, tmp_path)
    assert listed(dataset) == {"2007_000033": 3, "2007_000061": 1}
    # In grey values, as RITM reads them, instances 1 and 16 would be one.
    assert instances(dataset, "2007_000033") == [
        ("1", "person", 15, 200, (2, 2, 22, 12)),
        ("2", "person", 15, 100, (30, 20, 40, 30)),
        ("16", "dog", 12, 100, (2, 20, 12, 30)),
    ]
    assert void_area(dataset, "2007_000033") == 40
    assert instances(dataset, "2007_000061") == [("1", "aeroplane", 1, 1200, (0, 0, 30, 40))]
    assert void_area(dataset, "2007_000061") == 0
    assert len(opened(PascalVoc, tmp_path, "trainval").index()) == 3


def voc_folder(root: Path) -> Path:
    pascal_voc.build(root)
    return root / "pascal_voc" / "VOCdevkit" / "VOC2012"


def test_pascal_voc_without_class_maps_has_no_class_names(tmp_path: Path) -> None:
    at = voc_folder(tmp_path)
    (at / "SegmentationClass" / "2007_000061.png").unlink()
    with pytest.raises(DataError, match=r"SegmentationClass.*2007_000061\.png: no such file"):
        _ = opened(PascalVoc, tmp_path).load("2007_000061").truth
    shutil.rmtree(at / "SegmentationClass")
    assert instances(opened(PascalVoc, tmp_path), "2007_000061") == [("1", None, None, 1200, (0, 0, 30, 40))]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda at: shutil.rmtree(at / "JPEGImages"), "SegmentationObject: labels are there, images are not"),
        (lambda at: shutil.rmtree(at / "SegmentationObject"), "SegmentationObject: lists are there, masks are not"),
        (
            lambda at: (at / "SegmentationObject" / "2007_000033.png").unlink(),
            r"1 of 2 images of val\.txt have no mask file \(first: 2007_000033\)",
        ),
        (lambda at: (at / "JPEGImages" / "2007_000033.jpg").unlink(), "1 of 2 images are missing"),
    ],
)
def test_pascal_voc_incomplete(tmp_path: Path, change: Any, line: str) -> None:
    change(voc_folder(tmp_path))
    with pytest.raises(UsageError, match=line):
        opened(PascalVoc, tmp_path).index()


def test_pascal_voc_maps_that_do_not_fit(tmp_path: Path) -> None:
    at = voc_folder(tmp_path)
    dataset = opened(PascalVoc, tmp_path)
    path = at / "SegmentationObject" / "2007_000061.png"
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(DataError, match=r"2007_000061\.png: a mask has one channel, this is a colour picture"):
        _ = dataset.load("2007_000061").truth
    pascal_voc.write_palette(path, np.ones((40, 50), np.uint8))
    with pytest.raises(DataError, match=r"2007_000061\.png: the file is 40 x 50 pixels, its image 40 x 60"):
        _ = dataset.load("2007_000061").truth
    pascal_voc.write_palette(path, np.ones((40, 60), np.uint8))
    pascal_voc.write_palette(at / "SegmentationClass" / "2007_000061.png", np.full((40, 60), 21, np.uint8))
    with pytest.raises(DataError, match=r"2007_000061\.png: instance 1 has class 21; there are 20"):
        _ = dataset.load("2007_000061").truth
