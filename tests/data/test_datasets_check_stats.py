"""``data check`` finds what it promises to find, and ``data stats`` measures what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny_datasets import coco, coco_content, photo, png_header, polygon_annotation, save, square
from PIL import Image

from sambench.data.checks import CheckReport, check
from sambench.data.statistics import Stats, concavity, draw, stats
from sambench.errors import UsageError
from sambench.suite.datasets.bbbc038 import PLUGIN as Bbbc038
from sambench.suite.datasets.coco import PLUGIN as Coco
from sambench.suite.datasets.coco_json import PLUGIN as CocoJson
from sambench.suite.datasets.mask_pngs import PLUGIN as MaskPngs
from sambench.types import Mask


def rows(report: CheckReport, what: str) -> list[tuple[str, str]]:
    assert all("\n" not in row.detail + row.fix for row in report.rows)
    assert all(bool(row.fix) == (row.status != "ok") for row in report.rows)
    return [(row.status, row.detail) for row in report.rows if row.what == what]


def pngs(at: Path) -> Any:
    """Two images of 20 x 30 with two masks each. Returns the options that open them."""
    for name in ("a", "b"):
        save(at / "images" / f"{name}.png", photo(20, 30))
        save(at / "masks" / name / "1.png", square(20, 30, 2, 2, 6))
        save(at / "masks" / name / "2.png", square(20, 30, 10, 12, 8))
    return MaskPngs.Options(dir=str(at))


def test_a_sound_dataset_passes(tmp_path: Path) -> None:
    options = pngs(tmp_path)
    report = check(MaskPngs, tmp_path, "all", options, deep=True)
    assert report.passed
    assert report.root == tmp_path
    assert {row.status for row in report.rows} == {"ok"}
    assert rows(report, "images") == [("ok", "2; the card names no number")]
    assert rows(report, "image files") == [("ok", "2 headers readable and of the annotated size")]
    assert rows(report, "mask pixels") == [("ok", "4 decoded")]


def test_not_there(tmp_path: Path) -> None:
    report = check(Bbbc038, tmp_path, "stage1_train", Bbbc038.Options())
    assert not report.passed
    (row,) = report.rows
    assert str(tmp_path / "bbbc038") in row.detail
    assert "stage1_train.zip" in row.fix
    report = check(Bbbc038, tmp_path, "stage2", Bbbc038.Options())
    assert report.rows[0].fix == "choose from: stage1_train"
    assert not report.passed


def test_counts_against_the_card(tmp_path: Path, real_data: Path) -> None:
    report = check(Coco, real_data / "coco_subset", "val2017", Coco.Options())
    assert not report.passed
    assert rows(report, "images") == [("fail", "24, the card says 5000")]
    assert rows(report, "masks") == [("fail", "186, the card says 36335")]


@pytest.mark.parametrize(
    ("found", "status"), [(664, "warn"), (670, "ok"), (671, "warn"), (656, "fail"), (700, "fail"), (0, "fail")]
)
def test_nearly_complete_is_a_warning(found: int, status: str) -> None:
    # 2 % of 670 is 13.4: 657 still warns, 656 fails.
    from sambench.data.checks import _counts
    from sambench.types import IndexEntry, Split

    index = [IndexEntry(str(k), 1) for k in range(found)]
    images = next(row for row in _counts(Split(670), Bbbc038.card, index) if row.what == "images")
    assert images.status == status


def test_an_index_that_cannot_be_made(tmp_path: Path) -> None:
    coco(tmp_path)
    (tmp_path / "val2017" / "000000000009.jpg").unlink()
    report = check(Coco, tmp_path, "val2017", Coco.Options())
    assert report.root == tmp_path
    assert not report.passed
    ((status, detail),) = rows(report, "index")
    assert status == "fail"
    assert detail.startswith("1 of 2 images")
    report = check(Coco, tmp_path, "val2017", Coco.Options(missing_images="exclude"))
    assert rows(report, "left out") == [("warn", "1 images by rule missing_image")]


def test_headers_are_read_without_deep(tmp_path: Path) -> None:
    coco(tmp_path)
    save(tmp_path / "val2017" / "000000000009.jpg", photo(16, 17))
    (tmp_path / "val2017" / "000000000007.jpg").write_bytes(png_header(30000, 30000))
    ((status, detail),) = rows(check(Coco, tmp_path, "val2017", Coco.Options()), "image files")
    assert status == "fail"
    assert detail.startswith("2 with a problem; first: ")
    assert "refused before decoding" in detail
    save(tmp_path / "val2017" / "000000000007.jpg", photo(20, 30))
    ((_, detail),) = rows(check(Coco, tmp_path, "val2017", Coco.Options()), "image files")
    assert detail.endswith("09.jpg: 16 x 17, annotated 16 x 16 (h x w)")


def test_deep_finds_a_cut_image(tmp_path: Path) -> None:
    options = pngs(tmp_path)
    path = tmp_path / "images" / "b.png"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    assert check(MaskPngs, tmp_path, "all", options).passed
    report = check(MaskPngs, tmp_path, "all", options, deep=True)
    assert not report.passed
    ((status, detail),) = rows(report, "image pixels")
    assert status == "fail"
    assert "b.png: damaged or truncated" in detail


def test_deep_finds_masks_that_do_not_fit_empty_ones_and_copies(tmp_path: Path) -> None:
    options = pngs(tmp_path)
    save(tmp_path / "masks" / "a" / "3.png", square(20, 30, 2, 2, 6))
    save(tmp_path / "masks" / "a" / "4.png", np.zeros((20, 30), np.uint8))
    report = check(MaskPngs, tmp_path, "all", options, deep=True)
    assert report.passed
    assert rows(report, "masks left out") == [("warn", "1 by rule empty_mask")]
    assert rows(report, "same mask twice") == [("warn", "1; first: a: 1 and 3")]
    save(tmp_path / "masks" / "b" / "3.png", square(30, 20, 2, 2, 6))
    report = check(MaskPngs, tmp_path, "all", options, deep=True)
    ((status, detail),) = rows(report, "mask pixels")
    assert status == "fail"
    assert "3.png: the file is 30 x 20 pixels" in detail


def test_ids_given_twice(tmp_path: Path) -> None:
    options = pngs(tmp_path)

    class Careless(MaskPngs):
        def index(self) -> Any:
            return [*super().index(), super().index()[0]]

    report = check(Careless, tmp_path, "all", options)
    assert rows(report, "ids") == [("fail", "1 ids are given twice; first: a")]


def test_annotations_without_images(real_data: Path) -> None:
    options = CocoJson.Options(annotations=str(real_data / "picosam2_predictions" / "instances_val2017_subset.json"))
    report = check(CocoJson, real_data, "all", options, deep=True)
    assert report.passed
    assert rows(report, "image files") == [("warn", "there are no images, only annotations")]
    assert rows(report, "mask pixels") == [("ok", "260 decoded")]


def test_concavity_by_hand() -> None:
    assert concavity(Mask.from_dense(square(9, 9, 2, 3, 4))) == 0.0
    assert concavity(Mask.from_dense(square(9, 9, 2, 3, 1))) == 0.0
    # An L of 5 pixels in 3 x 3: the hull is the square without the triangle over (1,0) (3,2): 9 - 2*2/2 = 7.
    ell = np.zeros((5, 5), bool)
    ell[1:4, 1] = ell[3, 1:4] = True
    assert concavity(Mask.from_dense(ell)) == pytest.approx(1 - 5 / 7)
    # Two pixels with one row of nothing between: the hull is 3 x 1.
    gap = np.zeros((5, 5), bool)
    gap[1, 2] = gap[3, 2] = True
    assert concavity(Mask.from_dense(gap)) == pytest.approx(1 - 2 / 3)
    with pytest.raises(ValueError, match="no hull"):
        concavity(Mask.empty((3, 3)))


def test_stats_by_hand(tmp_path: Path) -> None:
    dataset = MaskPngs(tmp_path, "all", pngs(tmp_path))
    measured = stats(dataset)
    assert (measured.images, measured.masks, measured.crowd) == (2, 4, 0)
    # 6 x 6 and 8 x 8 pixels in 20 x 30.
    assert measured.relative_size.tolist() == pytest.approx([(36 / 600) ** 0.5, (64 / 600) ** 0.5] * 2)
    assert measured.concavity.tolist() == [0, 0, 0, 0]
    # Centres (y, x) = (5, 5) and (14, 16): cells 32 * 5/20 = 8, 32 * 5/30 = 5.3; 32 * 14/20 = 22.4, 32 * 16/30 = 17.07.
    assert {(y, x): int(measured.centres[y, x]) for y, x in np.argwhere(measured.centres)} == {(8, 5): 2, (22, 17): 2}
    table = measured.as_dict()
    assert table["masks_per_image"] == {"min": 2, "median": 2.0, "mean": 2.0, "max": 2}
    assert sum(table["relative_size"]["histogram"]["counts"]) == 4
    assert json.loads(json.dumps(table)) == table
    assert stats(dataset, ["b"]).masks == 2


def test_stats_leave_crowd_out_and_name_the_unreadable(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"].append(polygon_annotation(4, 9, [0, 0, 500, 0, 500, 500]))
    coco(tmp_path, content)
    measured = stats(Coco(tmp_path, "val2017", Coco.Options()))
    assert (measured.images, measured.masks, measured.crowd) == (1, 1, 1)
    assert measured.classes == {"cat": 1}
    assert measured.dropped == {"empty_mask": 1}
    assert len(measured.unreadable) == 1
    assert "annotation 4" in measured.unreadable[0]


def test_real_stats(real_data: Path) -> None:
    root = real_data / "bbbc038_subset"
    measured = stats(Bbbc038(root, "stage1_train", Bbbc038.Options()))
    table = measured.as_dict()
    assert (table["images"], table["masks"]) == (15, 681)
    assert table["masks_per_image"] == {"min": 7, "median": 24.0, "mean": 45.4, "max": 196}
    assert int(measured.centres.sum()) == 681
    assert ((measured.concavity >= 0) & (measured.concavity < 1)).all()


def empty_stats() -> Stats:
    none = np.zeros(0)
    return Stats("x", 0, 0, 0, none.astype(np.int64), none, none, np.zeros((32, 32), np.int64))


def test_text_for_people(tmp_path: Path) -> None:
    report = check(MaskPngs, tmp_path, "all", pngs(tmp_path))
    assert report.text().splitlines()[-1] == "mask_pngs (all): passed"
    assert json.loads(json.dumps(report.as_dict()))["rows"][0]["status"] == "ok"
    failed = check(Bbbc038, tmp_path, "stage1_train", Bbbc038.Options()).text().splitlines()
    assert failed[0].startswith("fail  located  not found")
    assert "-> Download" in failed[1]
    assert failed[-1] == "bbbc038 (stage1_train): failed"
    lines = stats(MaskPngs(tmp_path, "all", pngs(tmp_path))).text().splitlines()
    assert lines[0] == "mask_pngs: 2 images, 4 masks, 0 crowd regions"
    assert lines[2].split() == ["masks", "per", "image", "2.0", "2.0", "2.0", "2.0"]
    assert empty_stats().text().splitlines()[4].split() == ["concavity", "-", "-", "-", "-"]


def test_picture_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written there"):
        draw(empty_stats(), tmp_path / "file" / "stats.png")


def test_picture(tmp_path: Path) -> None:
    measured = stats(MaskPngs(tmp_path, "all", pngs(tmp_path)))
    for which in (measured, empty_stats()):
        with Image.open(draw(which, tmp_path / "stats.png")) as picture:
            assert picture.size == (1200, 900)
            assert len(picture.getcolors(1 << 20) or []) > 20
    assert empty_stats().as_dict()["concavity"]["mean"] is None
