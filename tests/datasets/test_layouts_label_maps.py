"""BBBC038, DOORS, DRAM, EgoHOS and PPDLS in tiny copies of their layouts: exact masks, and each way they go wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.layout_checks import dropped, found_with_or_without_the_archives_folders, instances, listed, opened
from helpers.layouts import bbbc038, doors, dram, egohos, ppdls
from helpers.layouts.dram import BARE, BOTTLE, HARE, TEST, boxes
from helpers.tiny_datasets import photo, save, square

from sambench.errors import DataError, UsageError
from sambench.suite.datasets.bbbc038 import PLUGIN as Bbbc038
from sambench.suite.datasets.doors import PLUGIN as Doors
from sambench.suite.datasets.dram import PLUGIN as Dram
from sambench.suite.datasets.egohos import PLUGIN as EgoHos
from sambench.suite.datasets.ppdls import PLUGIN as Ppdls

BUILDS = {
    Bbbc038: (bbbc038.build, ""),
    Doors: (doors.build, "DOORS"),
    Dram: (dram.build, "DRAM_processed"),
    EgoHos: (egohos.build, "egohos_dataset"),
    Ppdls: (ppdls.build, "Plant_Phenotyping_Datasets/Plant_Phenotyping_Datasets"),
}


@pytest.mark.parametrize(("plugin", "built"), BUILDS.items())
def test_found_wherever_it_was_unpacked(plugin: Any, built: tuple[Callable[[Path], None], str], tmp_path: Path) -> None:
    build, inner = built
    found_with_or_without_the_archives_folders(plugin, build, inner, tmp_path)


# --- BBBC038 ---------------------------------------------------------------------------------------------------------


def test_bbbc038(tmp_path: Path) -> None:
    bbbc038.build(tmp_path)
    dataset = opened(Bbbc038, tmp_path)
    first, second = f"{0:064x}", f"{1:064x}"
    # An empty file is declared as a mask, and dropped with its name. Hidden files and stage1_test do not count.
    assert listed(dataset) == {first: 2, second: 5}
    assert instances(dataset, first) == [
        (f"{7:064x}", "nucleus", 9, (0, 2, 3, 5)),
        (f"{8:064x}", "nucleus", 9, (4, 2, 7, 5)),
    ]
    # 4 x 4 at (1, 3) overlaps the squares of 3 x 3 at (0, 2) and (4, 2); all are kept whole.
    assert [(area, box) for _, _, area, box in instances(dataset, second)] == [
        (16, (1, 3, 5, 7)),
        (9, (0, 2, 3, 5)),
        (9, (4, 2, 7, 5)),
        (9, (8, 2, 11, 5)),
    ]
    assert dropped(dataset, second) == {"empty_mask": 1}


def test_bbbc038_in_a_folder_of_the_archives_own(tmp_path: Path) -> None:
    bbbc038.build(tmp_path)
    split = tmp_path / "bbbc038" / "stage1_train"
    split.rename(tmp_path / "inner")
    split.mkdir()
    (tmp_path / "inner").rename(split / "stage1_train")
    assert list(listed(opened(Bbbc038, tmp_path)).values()) == [2, 5]


# --- DOORS -----------------------------------------------------------------------------------------------------------


def test_doors(tmp_path: Path) -> None:
    doors.build(tmp_path)
    dataset = opened(Doors, tmp_path)
    assert listed(dataset) == {"DS1/0 a": 1, "DS1/1_img": 1, "DS1/22": 1}
    assert dataset.excluded == {"no_mask": 1}
    assert instances(dataset, "DS1/0 a") == [("boulder", "boulder", 900, (20, 10, 50, 40))]
    # The mask of 1_img is called 1_mask: 28 x 28.
    assert instances(dataset, "DS1/1_img") == [("boulder", "boulder", 784, (100, 100, 128, 128))]
    # 10 x 10 and 5 x 5 are one mask; the 100 pixels of 127 are none of it, and are told.
    assert instances(dataset, "DS1/22") == [("boulder", "boulder", 125, (0, 0, 45, 45))]
    assert dataset.load("DS1/22").truth.instances[0].attributes == {"fainter_pixels": 100}
    assert dropped(dataset, "DS1/33") == {"empty_mask": 1}


def test_doors_threshold_changes_the_count_too(tmp_path: Path) -> None:
    doors.build(tmp_path)
    save(tmp_path / "doors/DOORS/Segmentation/DS1/DS/mask/33.png", square(128, 128, 0, 0, 4) // 2)
    assert "DS1/33" not in listed(opened(Doors, tmp_path))
    dataset = opened(Doors, tmp_path, threshold=127)
    assert listed(dataset)["DS1/33"] == 1
    assert instances(dataset, "DS1/22")[0][2] == 225


@pytest.mark.parametrize(
    ("split", "ids"),
    [
        ("DS1-T", ["DS1/0 a", "DS1/1_img"]),
        ("DS1-V", ["DS1/22"]),
        ("DS1-Te2", ["DS1/0 a"]),
        ("DS2", ["DS2/7"]),
    ],
)
def test_doors_splits(tmp_path: Path, split: str, ids: list[str]) -> None:
    doors.build(tmp_path)
    assert list(listed(opened(Doors, tmp_path, split))) == ids


def test_doors_what_is_missing(tmp_path: Path) -> None:
    doors.build(tmp_path)
    at = tmp_path / "doors/DOORS/Segmentation/DS1/DS"
    (at / "mask" / "22.png").rename(tmp_path / "22.png")
    with pytest.raises(UsageError, match=r"DS: 1 of 4 images have no label \(first: DS1/22\): unzip DOORS\.zip again"):
        opened(Doors, tmp_path).index()
    (tmp_path / "22.png").rename(at / "mask" / "22.png")
    (at / "img" / "22.png").unlink()
    with pytest.raises(UsageError, match=r"1 of 4 images are missing \(first: DS1/22\)"):
        opened(Doors, tmp_path).index()
    assert "DS1/22" not in listed(opened(Doors, tmp_path, missing_images="exclude"))
    (at / "V.txt").write_text("gone.png\n")
    with pytest.raises(UsageError, match=r"1 of 1 images have no label \(first: DS1/gone\)"):
        opened(Doors, tmp_path, "DS1-V").index()
    (at / "V.txt").unlink()
    with pytest.raises(UsageError, match=r"V\.txt: the list of names cannot be read"):
        opened(Doors, tmp_path, "DS1-V").index()
    # Without the lists: what is on disk, in DS1 as a whole.
    shutil.rmtree(at / "mask")
    with pytest.raises(UsageError, match="images are there, labels are not: unzip"):
        opened(Doors, tmp_path).index()


def test_doors_broken_files(tmp_path: Path) -> None:
    doors.build(tmp_path)
    at = tmp_path / "doors/DOORS/Segmentation/DS1/DS"
    save(at / "mask" / "22.png", square(64, 128, 0, 0, 4))
    (at / "mask" / "33.png").write_bytes(b"")
    dataset = opened(Doors, tmp_path)
    # One that cannot be read counts as one, for the run to meet it.
    assert listed(dataset)["DS1/33"] == 1
    with pytest.raises(DataError, match=r"33\.png: the file is empty"):
        _ = dataset.load("DS1/33").truth
    with pytest.raises(DataError, match=r"22\.png: the file is 64 x 128 pixels, its image 128 x 128"):
        _ = dataset.load("DS1/22").truth


# --- DRAM ------------------------------------------------------------------------------------------------------------


def test_dram(tmp_path: Path) -> None:
    dram.build(tmp_path)
    dataset = opened(Dram, tmp_path)
    assert listed(dataset) == {HARE: 1, TEST: 2, BOTTLE: 1}
    assert dataset.excluded == {"no_mask": 1}
    # Two persons of 10 x 5 are one mask.
    assert instances(dataset, HARE) == [("15", "person", 100, (2, 2, 35, 12))]
    assert instances(dataset, TEST) == [("3", "bird", 16, (0, 0, 4, 4)), ("13", "horse", 60, (20, 20, 30, 26))]
    assert instances(dataset, BOTTLE) == [("5", "bottle", 60, (5, 5, 11, 15))]
    assert all(dataset.load(id).truth.void is None for id in (HARE, TEST, BOTTLE))
    assert dropped(dataset, TEST) == {"other_class": 1}


def test_dram_options(tmp_path: Path) -> None:
    dram.build(tmp_path)
    dataset = opened(Dram, tmp_path, void=True, components=True, min_area=50)
    assert listed(dataset) == {HARE: 2, TEST: 1, BOTTLE: 1}
    assert dataset.excluded == {"no_mask": 1}
    assert instances(dataset, HARE) == [
        ("15-1", "person", 50, (2, 2, 7, 12)),
        ("15-2", "person", 50, (30, 2, 35, 12)),
    ]
    assert dropped(dataset, TEST) == {"below_min_area": 1}
    void = {id: dataset.load(id).truth.void.area for id in (HARE, TEST, BOTTLE)}
    assert void == {HARE: 5, TEST: 25, BOTTLE: 6}


def test_dram_splits_and_no_list(tmp_path: Path) -> None:
    dram.build(tmp_path)
    assert list(listed(opened(Dram, tmp_path, "test_unseen"))) == [BOTTLE]
    assert list(listed(opened(Dram, tmp_path, "test_seen"))) == [HARE, TEST]
    (tmp_path / "dram/DRAM_processed/test/dram_with_unseen.txt").unlink()
    assert list(listed(opened(Dram, tmp_path))) == [HARE, TEST, BOTTLE]


def test_dram_what_is_missing(tmp_path: Path) -> None:
    dram.build(tmp_path)
    at = tmp_path / "dram" / "DRAM_processed"
    (at / "test" / f"{HARE}.jpg").unlink()
    with pytest.raises(UsageError, match=r"1 of 4 images are missing \(first: expressionism/.*unpack DRAM_processed"):
        opened(Dram, tmp_path).index()
    (at / "labels" / f"{BARE}.png").unlink()
    with pytest.raises(UsageError, match=r"1 of 4 images have no label \(first: realism/nobody/landscape\)"):
        opened(Dram, tmp_path).index()
    (at / "labels").rename(tmp_path / "kept")
    with pytest.raises(UsageError, match="images are there, labels are not: unpack DRAM_processed"):
        opened(Dram, tmp_path).index()
    (tmp_path / "kept").rename(at / "labels")
    shutil.rmtree(at / "test")
    with pytest.raises(UsageError, match="labels are there, images are not"):
        opened(Dram, tmp_path).index()


def test_dram_bad_labels(tmp_path: Path) -> None:
    dram.build(tmp_path)
    at = tmp_path / "dram" / "DRAM_processed" / "labels"
    save(at / f"{HARE}.png", boxes([(15, 0, 0, 9, 9), (21, 20, 20, 2, 2), (254, 30, 30, 2, 2)]))
    save(at / f"{BOTTLE}.png", photo(40, 60))
    save(at / f"{BARE}.png", np.full((60, 40), 15, np.uint8))
    dataset = opened(Dram, tmp_path)
    assert listed(dataset) == {HARE: 1, BARE: 1, TEST: 2, BOTTLE: 1}
    for id, message in {
        HARE: r"hare\.png: holds the value 21, 254, which is not a class of this dataset",
        BOTTLE: r"é\.png: holds the colour #000101, ",
        BARE: r"landscape\.png: the file is 60 x 40 pixels, its image 40 x 60",
    }.items():
        with pytest.raises(DataError, match=message):
            _ = dataset.load(id).truth


def test_dram_circle_of_links_and_names_of_one_form(tmp_path: Path) -> None:
    dram.build(tmp_path)
    at = tmp_path / "dram" / "DRAM_processed"
    (at / "test" / "dram_with_unseen.txt").unlink()
    os.symlink(at / "test", at / "test" / "realism" / "again", target_is_directory=True)
    assert list(listed(opened(Dram, tmp_path))) == [HARE, TEST, BOTTLE]
    # The decomposed form lies there; the composed one would be the same id.
    save(at / "test" / f"{TEST}.jpg", photo(40, 60))
    with pytest.raises(UsageError, match="would have the same id; keep one of them"):
        opened(Dram, tmp_path).index()
    (at / "test" / f"{TEST}.jpg").unlink()
    for folder, ending in (("test", ".jpg"), ("labels", ".png")):
        save(at / folder / f"{BARE.replace('nobody', 'Nobody')}{ending}", boxes([(3, 0, 0, 2, 2)]))
    with pytest.raises(UsageError, match="realism/Nobody/landscape and realism/nobody/landscape differ in letter case"):
        opened(Dram, tmp_path).index()


# --- EgoHOS ----------------------------------------------------------------------------------------------------------


def test_egohos(tmp_path: Path) -> None:
    egohos.build(tmp_path)
    dataset = opened(EgoHos, tmp_path)
    assert listed(dataset) == {"THU_kitchen_03": 2, "ego4d_0a1b_00012": 3}
    assert dataset.excluded == {"other_source": 2, "no_mask": 1}
    assert instances(dataset, "ego4d_0a1b_00012") == [
        ("1", "left hand", 25, (0, 0, 5, 5)),
        ("2", "right hand", 30, (20, 0, 26, 5)),
        ("4", "object held by the right hand", 32, (10, 10, 34, 14)),  # 4 x 4 twice
    ]
    assert instances(dataset, "THU_kitchen_03") == [
        ("2", "right hand", 100, (3, 3, 13, 13)),
        ("7", "object moved by what the right hand holds", 20, (20, 20, 24, 25)),
    ]
    assert dropped(dataset, "THU_kitchen_03") == {"other_class": 1}


def test_egohos_sources(tmp_path: Path) -> None:
    egohos.build(tmp_path)
    every = listed(opened(EgoHos, tmp_path, frames="all"))
    assert every == {
        "20220102_101112": 1,
        "EPIC_P01_01_frame_0000000001": 3,
        "THU_kitchen_03": 2,
        "ego4d_0a1b_00012": 3,
    }
    assert list(listed(opened(EgoHos, tmp_path, include=("2022", "kitchen"), exclude=()))) == [
        "20220102_101112",
        "THU_kitchen_03",
    ]
    with pytest.raises(
        UsageError, match=r"holds 'read'; names begin with ego \(2\), 2022 \(1\), EPIC \(1\), THU \(1\)"
    ):
        opened(EgoHos, tmp_path, include=("ego4d", "read")).index()


def test_egohos_components(tmp_path: Path) -> None:
    egohos.build(tmp_path)
    dataset = opened(EgoHos, tmp_path, components=True)
    assert listed(dataset)["ego4d_0a1b_00012"] == 4
    assert [i[0] for i in instances(dataset, "ego4d_0a1b_00012")] == ["1-1", "2-1", "4-1", "4-2"]


def test_egohos_what_is_missing_or_broken(tmp_path: Path) -> None:
    egohos.build(tmp_path)
    at = tmp_path / "egohos" / "egohos_dataset" / "train"
    save(at / "label" / "ego4d_0a1b_00012.png", boxes([(1, 0, 0, 3, 3), (61, 9, 9, 3, 3)]))
    save(at / "label" / "THU_kitchen_03.png", photo(40, 60))
    dataset = opened(EgoHos, tmp_path)
    assert list(listed(dataset).values()) == [1, 1]
    with pytest.raises(DataError, match=r"00012\.png: holds the value 61, which is not a class"):
        _ = dataset.load("ego4d_0a1b_00012").truth
    with pytest.raises(DataError, match=r"03\.png: a mask has one channel"):
        _ = dataset.load("THU_kitchen_03").truth
    (at / "label" / "ego4d_bare.png").unlink()
    with pytest.raises(UsageError, match=r"1 of 3 images have no label \(first: ego4d_bare\)"):
        opened(EgoHos, tmp_path).index()
    assert EgoHos.locate(tmp_path, "val", EgoHos.Options()) is None
    shutil.rmtree(at / "label")
    with pytest.raises(UsageError, match="images are there, labels are not: unzip egohos_dataset"):
        opened(EgoHos, tmp_path).index()
    egohos.build(tmp_path)
    shutil.rmtree(at / "image")
    with pytest.raises(UsageError, match="labels are there, images are not"):
        opened(EgoHos, tmp_path).index()


# --- PPDLS -----------------------------------------------------------------------------------------------------------


def test_ppdls(tmp_path: Path) -> None:
    ppdls.build(tmp_path)
    dataset = opened(Ppdls, tmp_path)
    assert listed(dataset) == {"Ara2012/ara2012_plant001": 3, "Tobacco/tobacco_plant001": 2}
    assert dataset.excluded == {"no_mask": 1}
    assert instances(dataset, "Ara2012/ara2012_plant001") == [
        ("1", "leaf", 100, (0, 0, 10, 10)),
        ("2", "leaf", 30, (20, 20, 26, 25)),
        ("27", "leaf", 12, (40, 30, 53, 37)),  # 2 x 3 twice
    ]
    # Saved in colours: (0, 128, 1) 5 x 10 and (255, 0, 0) 4 x 4.
    assert instances(dataset, "Tobacco/tobacco_plant001") == [
        ("#008001", "leaf", 50, (10, 10, 20, 15)),
        ("#ff0000", "leaf", 16, (0, 0, 4, 4)),
    ]


def test_ppdls_subsets(tmp_path: Path) -> None:
    ppdls.build(tmp_path)
    assert listed(opened(Ppdls, tmp_path, "Ara2013-Canon")) == {"Ara2013-Canon/ara2013_plant001": 1}
    assert len(listed(opened(Ppdls, tmp_path, "Ara2012+Ara2013-Canon+Tobacco"))) == 3
    plant = tmp_path / "ppdls/Plant_Phenotyping_Datasets/Plant_Phenotyping_Datasets/Plant"
    assert len(listed(opened(Ppdls, plant))) == 2


def test_ppdls_packaged_for_cvppp(tmp_path: Path) -> None:
    at = tmp_path / "CVPPP"
    for subset in ("A1", "A2", "A3", "A4"):
        save(at / subset / "plant001_rgb.png", photo(40, 60))
        save(at / subset / "plant001_label.png", boxes([(1, 0, 0, 2, 2)]))
    assert len(listed(opened(Ppdls, tmp_path, "A1+A2+A3+A4"))) == 4
    assert Ppdls.locate(tmp_path, Ppdls.card.default_split, Ppdls.Options()) is None


def test_ppdls_what_is_missing(tmp_path: Path) -> None:
    ppdls.build(tmp_path)
    plant = tmp_path / "ppdls/Plant_Phenotyping_Datasets/Plant_Phenotyping_Datasets/Plant"
    (plant / "Ara2012" / "ara2012_plant001_rgb.png").unlink()
    with pytest.raises(UsageError, match=r"1 of 3 images are missing \(first: Ara2012/ara2012_plant001\)"):
        opened(Ppdls, tmp_path).index()
    (plant / "Ara2012" / "ara2012_plant002_label.png").unlink()
    with pytest.raises(UsageError, match=r"1 of 3 images have no label \(first: Ara2012/ara2012_plant002\)"):
        opened(Ppdls, tmp_path).index()
    shutil.rmtree(plant / "Tobacco")
    with pytest.raises(UsageError, match=r"Plant/Tobacco: no such folder: unzip"):
        opened(Ppdls, tmp_path).index()


def test_ppdls_label_of_another_size(tmp_path: Path) -> None:
    ppdls.build(tmp_path)
    plant = tmp_path / "ppdls/Plant_Phenotyping_Datasets/Plant_Phenotyping_Datasets/Plant"
    save(plant / "Tobacco" / "tobacco_plant001_label.png", np.ones((10, 10), np.uint8))
    with pytest.raises(DataError, match=r"label\.png: the file is 10 x 10 pixels, its image 40 x 60"):
        _ = opened(Ppdls, tmp_path).load("Tobacco/tobacco_plant001").truth
