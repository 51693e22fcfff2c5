"""MIAP joined with Open Images' masks, and results by perceived attributes: the exact join, the form of Tables 2, 6."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.layouts import miap
from helpers.layouts.miap import IMAGE_A, IMAGE_B, MASKS, PEOPLE

from sambench.errors import DataError, UsageError
from sambench.plugins import options
from sambench.readers import openimages
from sambench.readers.openimages import Box
from sambench.suite.datasets.miap import PLUGIN as Miap

GENDER, AGE = "perceived_gender_presentation", "perceived_age"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    miap.build(tmp_path)
    return tmp_path


def opened(root: Path, split: str = "people", **changes: Any) -> Any:
    built = Miap.Options(**changes)
    found = Miap.locate(root, split, built)
    assert found is not None
    return Miap(found, split, built)


def listed(dataset: Any) -> dict[str, int]:
    return {entry.id: entry.n_masks for entry in dataset.index()}


def instances(dataset: Any, id: str) -> dict[str, tuple[Any, ...]]:
    """By id: (class, gender presentation, age)."""
    sample = dataset.load(id)
    assert all(i.mask.size == sample.size for i in sample.truth.instances)
    return {
        i.id: (i.class_name, i.attributes.get(GENDER), i.attributes.get(AGE))
        for i in sample.truth.instances
        if not i.crowd
    }


# --- the join --------------------------------------------------------------------------------------------------------


def test_people(data: Path) -> None:
    dataset = opened(data)
    assert listed(dataset) == {IMAGE_A: 2, IMAGE_B: 1}
    assert dataset.excluded == {}
    # The man's box is off by more than 1 %, the part of a body is no person, age 'Unknown' is no attribute.
    assert instances(dataset, IMAGE_A) == {
        "m03bt1vf_aaaa0001": ("Woman", "feminine", "middle"),
        "m01g317_aaaa0003": ("Person", "masculine", None),
    }
    assert [i.id for i in dataset.load(IMAGE_A).truth.instances if i.crowd] == ["m01g317_aaaa0008"]
    assert instances(dataset, IMAGE_B) == {"m01g317_bbbb0001": ("Person", "masculine", "older")}


def test_clothing(data: Path) -> None:
    dataset = opened(data, "clothing")
    assert listed(dataset) == {IMAGE_A: 3}
    assert instances(dataset, IMAGE_A) == {
        "m02fq_6_aaaa0004": ("Fedora", "feminine", "middle"),
        "m0fly7_aaaa0005": ("Jeans", "masculine", None),
        "m01xygc_aaaa0006": ("Coat", None, None),
    }


def test_the_margin_is_an_option(data: Path) -> None:
    # 2 % of 0.296 is 0.00592: the man's box fits. Clothing at 0: the jeans lie in the group only.
    assert "m04yx4_aaaa0002" in instances(opened(data, margin=0.02), IMAGE_A)
    assert instances(opened(data, "clothing", margin=0), IMAGE_A)["m0fly7_aaaa0005"] == ("Jeans", None, None)
    with pytest.raises(UsageError, match=r"dataset\.margin=1: must be a number, at least 0 and below 1"):
        options.build(Miap.Options, {"margin": "1"}, "dataset")


def test_masks_are_brought_to_the_size_of_their_image(data: Path) -> None:
    dataset = opened(data)
    (woman, _, _) = dataset.load(IMAGE_A).truth.instances
    # Of 60 x 90, rows 6 to 53 and columns 9 to 44. Pixel x of 60 takes column floor(1.5 (x + .5)): 6 to 29 are in;
    # so are rows 4 to 35 of 40.
    assert (woman.mask.box, woman.mask.area) == ((6, 4, 30, 36), 24 * 32)
    (person,) = dataset.load(IMAGE_B).truth.instances
    assert person.mask.box == (15, 0, 45, 40)


@pytest.mark.parametrize(
    ("mask", "image"), [((1068, 1600), (684, 1024)), ((1200, 1600), (768, 1024)), ((51, 77), (68, 102))]
)
def test_sides_rounded_on_either_scale_fit(tmp_path: Path, mask: tuple[int, int], image: tuple[int, int]) -> None:
    miap.write_mask(tmp_path / "m.png", np.ones(mask, np.bool_))
    assert openimages.read_mask(tmp_path / "m.png", image).area == image[0] * image[1]


@pytest.mark.parametrize("image", [(40, 66), (60, 40), (37, 60)])
def test_a_mask_of_another_shape_is_refused(tmp_path: Path, image: tuple[int, int]) -> None:
    miap.write_mask(tmp_path / "m.png", np.ones((60, 90), np.bool_))
    with pytest.raises(DataError, match=r"m\.png: the mask is 60 x 90 pixels, its image .* of another shape"):
        openimages.read_mask(tmp_path / "m.png", image)


def test_a_mask_that_vanishes_is_counted(data: Path) -> None:
    name = miap.mask_name(IMAGE_A, miap.FEDORA, "aaaa0004")
    miap.write_mask(data / "miap" / "test-masks-0" / name, np.zeros((60, 90), np.bool_))
    truth = opened(data, "clothing").load(IMAGE_A).truth
    assert (len(truth.instances), dict(truth.dropped)) == (2, {"empty_mask": 1})


@pytest.mark.parametrize("folder", ["masks", "test-masks", "masks/f", "masks/F", "masks/test-masks-f", "test-masks-f"])
def test_masks_are_found_however_they_were_unpacked(data: Path, folder: str) -> None:
    at = data / "miap"
    name = miap.mask_name(IMAGE_B, miap.PERSON, "bbbb0001")
    (at / folder).mkdir(parents=True, exist_ok=True)
    shutil.move(at / "masks" / name, at / folder / name)
    assert listed(opened(data)) == {IMAGE_A: 2, IMAGE_B: 1}


def test_boxes_iou() -> None:
    # 1 x 1 and 1 x 1 moved by half: 0.5 shared of 1.5.
    assert Box(0, 0, 1, 1).iou(Box(0.5, 0, 1.5, 1)) == pytest.approx(1 / 3)
    assert Box(0, 0, 1, 1).iou(Box(2, 2, 3, 3)) == 0
    assert Box(0, 0, 0, 1).iou(Box(0, 0, 0, 1)) == 0


@pytest.mark.parametrize("name", ["oidv7-class-descriptions-boxable.csv", "oidv6-class-descriptions.csv"])
def test_later_lists_of_names_have_a_header(data: Path, name: str) -> None:
    at = data / "miap"
    lines = (at / "class-descriptions-boxable.csv").read_text()
    (at / "class-descriptions-boxable.csv").unlink()
    (at / name).write_text("LabelName,DisplayName\n" + lines)
    assert instances(opened(data), IMAGE_B)["m01g317_bbbb0001"][0] == "Person"


# --- what goes wrong -------------------------------------------------------------------------------------------------


def replaced(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


BOXES = "open_images_extended_miap_boxes_test.csv"
TABLE = "test-annotations-object-segmentation.csv"
TREE = "bbox_labels_600_hierarchy.json"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda at: (at / TABLE).unlink(), rf"{BOXES} is there, {TABLE} is not"),
        (lambda at: (at / TREE).unlink(), rf"{BOXES} is there, {TREE} is not"),
        (lambda at: shutil.rmtree(at / "test"), "labels are there, images are not .*put the images of Open Images"),
        (lambda at: (at / "test" / f"{IMAGE_B}.jpg").unlink(), "1 of 2 images are missing .*missing_images=exclude"),
        (lambda at: shutil.rmtree(at / "masks"), rf"1 of 4 masks are missing \(first: {IMAGE_B}.*unpack test-masks-f"),
        (lambda at: replaced(at / BOXES, "AgePresentation", "Age"), "has no column AgePresentation; is it the right"),
        (lambda at: replaced(at / BOXES, "Older", "Old"), rf"{BOXES}, line 6: 'Old' is none of Young, Middle, Older"),
        (lambda at: replaced(at / BOXES, "0.251", "nan"), rf"{BOXES}, line 6: nan, 0\.0, 0\.751, 1\.0 is not a box"),
        (lambda at: replaced(at / BOXES, "0.251", "0.9"), "line 6: .* is not a box"),
        (lambda at: replaced(at / BOXES, "0.251", "a"), "line 6: a, .* is not a box"),
        (lambda at: replaced(at / TABLE, ",bbbb0001,", ","), rf"{TABLE}, line 10: 9 fields, the header has 10"),
        (lambda at: (at / TABLE).write_text(""), "has no column ImageID"),
        (lambda at: (at / TABLE).write_bytes(b"\xff\xfe\x00"), "not a CSV table"),
        (lambda at: (at / TREE).write_text("[]"), "not the class tree of Open Images"),
        (lambda at: (at / TREE).write_text('{"LabelName": "/m/0bl9f"}'), "does not hold /m/01g317"),
        (lambda at: (at / TREE).write_text("{"), f"{TREE}: not JSON"),
    ],
)
def test_incomplete_and_damaged(data: Path, change: Any, line: str) -> None:
    change(data / "miap")
    with pytest.raises(UsageError, match=line):
        opened(data).index()


def test_a_list_of_names_that_is_none(data: Path) -> None:
    (data / "miap" / "class-descriptions-boxable.csv").write_text("not,a,list\n")
    with pytest.raises(UsageError, match="no list of classes"):
        _ = opened(data).load(IMAGE_A).truth


def test_a_mask_that_went_missing_since(data: Path) -> None:
    dataset = opened(data)
    dataset.index()
    (data / "miap" / "masks" / miap.mask_name(IMAGE_B, miap.PERSON, "bbbb0001")).write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        _ = dataset.load(IMAGE_B).truth


def test_missing_images_can_be_left_out(data: Path) -> None:
    (data / "miap" / "test" / f"{IMAGE_B}.jpg").unlink()
    dataset = opened(data, missing_images="exclude")
    assert listed(dataset) == {IMAGE_A: 2}
    assert dataset.excluded == {"missing_image": 1}


def test_is_not_found_without_its_boxes(data: Path) -> None:
    (data / "miap" / BOXES).unlink()
    assert Miap.locate(data, "people", Miap.Options()) is None


# --- from the command line to the report -----------------------------------------------------------------------------


def test_tables_2_and_6(
    tmp_path: Path, toy_model: str, sambench_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """More people of two groups, so that there are intervals; both splits in one report."""
    miap.build(tmp_path)
    at = tmp_path / "miap"
    people, masks = list(PEOPLE), list(MASKS)
    for n in range(6):
        image = f"{n:016x}"
        shutil.copy(at / "test" / f"{IMAGE_B}.jpg", at / "test" / f"{image}.jpg")
        side = 0.2 + 0.6 * (n % 2)
        people.append((image, 0.1, 0.1 + side, 0.1, 0.9, 0, "Predominantly Feminine", ("Young", "Older")[n % 2]))
        masks.append((image, miap.PERSON, f"eeee{n:04d}", 0.1, 0.1 + side, 0.1, 0.9))
        miap.write_mask(
            at / "masks" / miap.mask_name(image, miap.PERSON, f"eeee{n:04d}"),
            miap.rectangle(40, 60, (0.1, 0.1 + side, 0.1, 0.9)),
        )
    miap.write_tables(at, people, masks)
    for split in ("people", "clothing"):
        sambench_cli(
            *("run", "--task", "single_point", "--dataset", "miap", "--split", split, "--data-root", tmp_path),
            *("--model", toy_model, "--out", tmp_path / "runs" / split, "--workers", 1),
            *("--set", "task.first_click=random", "--set", "task.clicks=1,3"),
        )
    summary = json.loads(next((tmp_path / "runs" / "people").rglob("summary.json")).read_text())
    by_age = summary["breakdowns"][AGE]
    assert {group: metrics["miou"]["n"] for group, metrics in by_age.items()} == {"middle": 1, "older": 4, "young": 3}
    assert set(by_age["older"]) == {"miou", "miou@3"}
    assert by_age["older"]["miou"]["ci95"] is not None
    assert by_age["older"]["miou"]["ci95_bootstrap"] is not None
    assert set(summary["breakdowns"][GENDER]) == {"feminine", "masculine"}
    low, high = (by_age[g]["miou"]["ci95"] for g in ("older", "young"))
    apart = summary["breakdowns"][f"{AGE}: intervals apart"]
    assert ("miou" in apart.get("older vs young", {})) == (low[1] < high[0] or high[1] < low[0])
    sambench_cli("report", tmp_path / "runs", "--out", tmp_path / "report")
    page = (tmp_path / "report" / "report.md").read_text()
    assert "By perceived\\_age" in page
    assert "By perceived\\_gender\\_presentation" in page
