"""COCO-style annotation files: what is read, and one line for each thing that can be wrong with them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny_datasets import LFS_POINTER, coco_content, photo, polygon_annotation, save, write_json
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from sambench.errors import DataError, UsageError
from sambench.readers import coco_json, index_cache
from sambench.readers.coco_json import CocoParts, CocoReader, images_in, load
from sambench.readers.index_cache import Arrays
from sambench.readers.json.spans import JsonFile


def test_masks_crowd_and_counts(tmp_path: Path) -> None:
    file = load(write_json(tmp_path / "a.json", coco_content()))
    truth = file.truth("7")
    polygon, crowd = truth.instances
    assert (polygon.id, polygon.class_name, polygon.class_id, polygon.crowd) == ("1", "cat", 3, False)
    assert polygon.annotated_area == 36.5
    assert polygon.attributes == {"supercategory": "animal"}
    # x from 2 to 8 and y from 3 to 9: pixels 2..7 by 3..8.
    assert polygon.mask.box == (2, 3, 8, 9)
    assert polygon.mask.area == 36
    # Run lengths go column by column: 40 of background are columns 0 and 1, 40 of foreground 2 and 3.
    assert crowd.crowd
    assert crowd.mask.box == (2, 0, 4, 20)
    assert crowd.mask.area == 40
    assert truth.dropped == {"empty_mask": 1}
    assert file.truth("9").instances == ()


def test_compressed_run_lengths_and_class_agnostic(tmp_path: Path) -> None:
    content = coco_content()
    dense = np.zeros((16, 16), np.uint8)
    dense[3:9, 4] = 1
    code = coco_mask.encode(np.asfortranarray(dense))
    content["annotations"] = [
        {"id": "a", "image_id": 9, "segmentation": {"size": [16, 16], "counts": code["counts"].decode()}}
    ]
    (instance,) = load(write_json(tmp_path / "a.json", content)).truth("9").instances
    assert np.array_equal(instance.mask.dense(), dense.astype(bool))
    assert (instance.id, instance.class_name, instance.class_id, instance.annotated_area) == ("a", None, None, None)


def test_pixel_for_pixel_as_pycocotools(real_data: Path) -> None:
    compared = 0
    for name in (
        "coco_subset/annotations/instances_val2017.json",
        "picosam2_predictions/instances_val2017_subset.json",
    ):
        file, reference = load(real_data / name), COCO(real_data / name)
        for id in file.ids:
            for instance in file.truth(id).instances:
                annotation = reference.anns[int(instance.id)]
                assert np.array_equal(instance.mask.dense(), reference.annToMask(annotation).astype(bool))
                assert instance.class_name == reference.cats[annotation["category_id"]]["name"]
                compared += 1
    assert compared == 188 + 260


def test_lvis_masks_as_pycocotools(real_data: Path) -> None:
    path = real_data / "lvis_val_100" / "lvis_val_100.json"
    file, reference = load(path), COCO(path)
    compared = several = 0
    for id in file.ids:
        truth = file.truth(id)
        assert not truth.dropped
        for instance in truth.instances:
            annotation = reference.anns[int(instance.id)]
            assert np.array_equal(instance.mask.dense(), reference.annToMask(annotation).astype(bool))
            assert instance.attributes["frequency"] in "rcf"
            compared += 1
            several += len(annotation["segmentation"]) > 1
    assert (len(file.ids), compared, several) == (100, 977, 98)


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = coco_content()
    change(content)
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": 1, "score": 0.5}], "file of results"),
        ("text", "not an object"),
        (changed(lambda c: c.pop("images")), "no list 'images'"),
        (changed(lambda c: c.pop("annotations")), "no list 'annotations'"),
        (changed(lambda c: c.update(annotations={})), "no list 'annotations'"),
        (changed(lambda c: c["images"].append(dict(c["images"][0]))), "image id 7 is given twice"),
        (changed(lambda c: c["annotations"].append(c["annotations"][0])), "annotation id 1 is given twice"),
        (changed(lambda c: c["categories"].append(c["categories"][0])), "category id 3 is given twice"),
        (changed(lambda c: c["images"].pop(0)), "annotation 1 refers to image 7, not listed"),
        (changed(lambda c: c["categories"].pop(0)), "annotation 1 has category 3, which is not listed"),
        (changed(lambda c: c.pop("categories")), "annotation 1 has category 3, which is not listed"),
        (changed(lambda c: c["annotations"][0].update(category_id=[3])), "which is not listed"),
        (changed(lambda c: c["annotations"][0].pop("segmentation")), "annotation 1 has no 'segmentation'"),
        (changed(lambda c: c["annotations"][0].pop("id")), "an annotation has no 'id'"),
        (changed(lambda c: c["annotations"][0].pop("image_id")), "an annotation has no 'id' or no 'image_id'"),
        (changed(lambda c: c["images"][0].pop("height")), "image 7 needs height and width"),
        (changed(lambda c: c["images"][0].update(width="30")), "image 7 needs height and width"),
        (changed(lambda c: c["images"][0].update(width=0)), "image 7 needs height and width"),
        (changed(lambda c: c["images"][0].update(width=10**9)), "image 7 is given as 1000000000 x 20"),
        (changed(lambda c: c["images"][0].pop("id")), "an image has no id"),
    ],
)
def test_unusable_files(tmp_path: Path, content: Any, message: str) -> None:
    path = write_json(tmp_path / "a.json", content)
    with pytest.raises(UsageError, match=message) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [', "not JSON .*line 1"),
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (LFS_POINTER, "Git LFS pointer"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_not_json(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load(tmp_path / "a.json")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [30, 20], "counts": [0, 600]}, r"\[30, 20\], its image has \[20, 30\]"),
        ({"size": [20, 30], "counts": [0, 599]}, "add up to 599"),
        ({"size": [20, 30], "counts": [0, 700, -100]}, "non-negative"),
        ({"size": [20, 30], "counts": [0.5, 599.5]}, "annotation 5"),
        ({"size": [20, 30], "counts": [0, 10**30]}, "annotation 5"),
        ({"size": [20, 30], "counts": "\x01\x02"}, "not of the code"),
        ({"size": [20, 30], "counts": "ääää"}, "annotation 5"),
        ({"size": [20, 30], "counts": "o"}, "middle of a number"),
        ({"size": [20, 30], "counts": 10**12}, "needs 'counts'"),
        ({"size": [20, 30]}, "needs 'counts'"),
        ({"counts": [600]}, "annotation 5"),
        ("polygons", "neither"),
        ([1, 2, 3, 4, 5, 6], "list of polygons"),
        ([[1, 1, 9, 1, 9, 9, 1]], "odd number"),
        ([["a", "b", "c", "d", "e", "f"]], "annotation 5"),
        ([[1, 1, None, 1, 9, 9]], "annotation 5"),
        ([[1, 1, float("nan"), 1, 9, 9]], "not a number"),
        ([[0, 0, 2000, 0, 2000, 1500]], r"x = 2000, the image is 30 x 20"),
        ([[0, 0, 5, 1e300, 5, 3]], r"y = 1e\+300"),
    ],
)
def test_masks_that_cannot_be_read(tmp_path: Path, segmentation: Any, message: str) -> None:
    content = coco_content()
    content["annotations"] = [{**polygon_annotation(5, 7, []), "segmentation": segmentation}]
    path = write_json(tmp_path / "a.json", content)
    reader = CocoReader(path, None)
    assert [entry.n_masks for entry in reader.index()] == [1, 0]
    with pytest.raises(DataError, match=message) as raised:
        _ = reader.load("7").truth
    assert "annotation 5 of image 7" in str(raised.value)
    assert reader.load("9").truth.instances == ()


def test_polygons_over_the_border_are_clipped(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"] = [polygon_annotation(5, 7, [-3, -3, 30.0, -3, 30.0, 24, -3, 24])]
    (instance,) = load(write_json(tmp_path / "a.json", content)).truth("7").instances
    assert instance.mask.area == 20 * 30


def reader_with(tmp_path: Path, present: list[str], missing_images: str) -> CocoReader:
    path = write_json(tmp_path / "a.json", coco_content())
    for name in present:
        save(tmp_path / "images" / name, photo(20, 30))
    return CocoReader(path, lambda image: tmp_path / "images" / str(image["file_name"]), missing_images, "unpack it")


def test_missing_images_are_one_number(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"labels are there, the images are not \(first: .*07\.jpg\): unpack it$"):
        reader_with(tmp_path, [], "error").index()
    with pytest.raises(UsageError, match=r"^1 of 2 images of .*a\.json are missing; first: .*09\.jpg; unpack it, or"):
        reader_with(tmp_path, ["000000000007.jpg"], "error").index()


def test_missing_images_left_out_are_counted(tmp_path: Path) -> None:
    reader = reader_with(tmp_path, ["000000000007.jpg"], "exclude")
    assert [entry.id for entry in reader.index()] == ["7"]
    assert reader.excluded == {"missing_image": 1}
    with pytest.raises(UsageError, match=r"'error' or 'exclude', not 'skip'"):
        reader_with(tmp_path, [], "skip")


def test_index_is_sorted_and_counts_no_crowd(tmp_path: Path) -> None:
    reader = reader_with(tmp_path, ["000000000007.jpg", "000000000009.jpg"], "error")
    assert [(entry.id, entry.n_masks) for entry in reader.index()] == [("7", 2), ("9", 0)]
    assert reader.excluded == {}


def test_image_of_another_size_than_annotated(tmp_path: Path) -> None:
    reader = reader_with(tmp_path, ["000000000009.jpg"], "exclude")
    with pytest.raises(DataError, match=r"09\.jpg: the file is 20 x 30 pixels, the annotation 16 x 16"):
        _ = reader.load("9").image
    with pytest.raises(DataError, match="no image 8"):
        reader.load("8")


def test_without_images_truth_can_still_be_read(tmp_path: Path) -> None:
    sample = CocoReader(write_json(tmp_path / "a.json", coco_content()), None).load("7")
    assert sample.size == (20, 30)
    assert len(sample.truth.instances) == 2
    with pytest.raises(DataError, match="no image folder was given"):
        _ = sample.image


def test_decomposed_file_names_are_found(tmp_path: Path) -> None:
    content = coco_content()
    content["images"][0]["file_name"] = unicodedata.normalize("NFC", "é.png")
    content["images"] = content["images"][:1]
    path = write_json(tmp_path / "a.json", content)
    save(tmp_path / unicodedata.normalize("NFD", "é.png"), photo(20, 30))
    reader = CocoReader(path, lambda image: tmp_path / str(image["file_name"]))
    assert len(reader.index()) == 1
    assert reader.load("7").image.shape == (20, 30, 3)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Indexes of files of any size are kept, in a cache of the test's own; the files that were read to make one."""
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index_cache, "WORTH_KEEPING", 0)
    made: list[Path] = []
    make = coco_json._make_index

    def noted(file: JsonFile) -> Arrays:
        made.append(file.path)
        return make(file)

    monkeypatch.setattr(coco_json, "_make_index", noted)
    return made


def everything(path: Path) -> list[Any]:
    """All that a file says, masks as pixels."""
    reader = CocoReader(path, None)
    return [
        (
            entry,
            dict(reader.file.entry(entry.id)),
            [(i.id, i.class_name, i.crowd, i.mask.dense().tobytes()) for i in reader.load(entry.id).truth.instances],
        )
        for entry in reader.index()
    ]


def test_a_kept_index_says_the_same(tmp_path: Path, kept: list[Path], real_data: Path) -> None:
    own = write_json(tmp_path / "a.json", coco_content())
    copy = tmp_path / "copy.json"
    copy.write_bytes((real_data / "coco_subset" / "annotations" / "instances_val2017.json").read_bytes())
    for path in (own, copy):
        first = everything(path)
        assert everything(path) == first
        moved = path.rename(path.with_suffix(".moved"))
        assert everything(moved) == first
    assert kept == [own, copy]


def test_an_index_is_not_kept_for_other_content(tmp_path: Path, kept: list[Path]) -> None:
    content = coco_content()
    path = write_json(tmp_path / "a.json", content)
    assert [entry.n_masks for entry in CocoReader(path, None).index()] == [2, 0]
    before = path.stat()
    # The same size and the same time of change, but the crowd is a single object now.
    path.write_text(path.read_text().replace('"iscrowd": 1', '"iscrowd": 0'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert [entry.n_masks for entry in CocoReader(path, None).index()] == [3, 0]
    content["annotations"].append(content["annotations"][0])
    write_json(path, content)
    for _ in range(2):
        with pytest.raises(UsageError, match="annotation id 1 is given twice"):
            load(path)
    assert kept == [path] * 4


def test_a_file_that_changes_during_the_run(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", coco_content())
    sample = CocoReader(path, None).load("7")
    write_json(path, changed(lambda c: c["annotations"].pop()))
    with pytest.raises(DataError, match="the file was changed while it was in use"):
        _ = sample.truth


def test_an_empty_segmentation_declares_no_mask(tmp_path: Path) -> None:
    content = coco_content()
    nan = float("nan")
    content["annotations"] = [
        {**polygon_annotation(1, 9, []), "segmentation": [], "bbox": [nan, nan, nan, nan]},
        {**polygon_annotation(2, 9, []), "segmentation": [[]]},
        polygon_annotation(3, 7, [2, 3, 8, 3, 8, 9, 2, 9]),
    ]
    path = write_json(tmp_path / "a.json", content)
    reader = CocoReader(path, None)
    assert [(entry.id, entry.n_masks) for entry in reader.index()] == [("7", 1), ("9", 0)]
    assert reader.load("9").truth.dropped == {"empty_mask": 2}
    assert reader.excluded == {}
    annotated = CocoReader(path, None, only_annotated=True)
    assert [entry.id for entry in annotated.index()] == ["7"]
    assert annotated.excluded == {"no_mask": 1}


def test_ids_by_file_name(tmp_path: Path) -> None:
    content = coco_content()
    content["images"][0]["file_name"] = "some/folder/" + unicodedata.normalize("NFD", "é.b.png")
    path = write_json(tmp_path / "a.json", content)
    reader = CocoReader(path, None, by_name=True)
    assert [(entry.id, entry.n_masks) for entry in reader.index()] == [("000000000009", 0), ("é.b", 2)]
    assert reader.load("é.b").id == "é.b"
    assert len(reader.load("é.b").truth.instances) == 2
    with pytest.raises(DataError, match="no image 7"):
        reader.load("7")
    for name in ("000000000009.png", "000000000009.JPG"):
        content["images"][0]["file_name"] = name
        with pytest.raises(UsageError, match="images 7 and 9 are both named 000000000009"):
            CocoReader(write_json(path, content), None, by_name=True).index()
    content["images"][0]["file_name"], content["images"][1]["file_name"] = "a.png", "A.png"
    with pytest.raises(UsageError, match=r"images 7 and 9 are both named A \(or differ in letter case only\)"):
        CocoReader(write_json(path, content), None, by_name=True).index()
    del content["images"][1]["file_name"]
    with pytest.raises(UsageError, match="image 9 has no file_name"):
        CocoReader(write_json(path, content), None, by_name=True).index()


def test_missing_labels(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.json: the labels are missing: unpack it"):
        CocoReader(tmp_path / "gone.json", None, unpack="unpack it").index()


def test_names_that_repeat_their_folder(tmp_path: Path) -> None:
    find_image = images_in(tmp_path / "images", tmp_path / "a.json")
    for name in ("1.png", "images/1.png"):
        assert find_image({"id": 1, "file_name": name}) == tmp_path / "images" / "1.png"
    assert find_image({"id": 1, "file_name": "b/1.png"}) == tmp_path / "images" / "b" / "1.png"


def test_images_in_folders_that_lead_in_a_circle(tmp_path: Path) -> None:
    content = coco_content()
    content["images"] = content["images"][:1]
    content["images"][0]["file_name"] = "circle/7.png"
    path = write_json(tmp_path / "a.json", content)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "circle").symlink_to("circle")
    with pytest.raises(UsageError, match="labels are there, the images are not"):
        CocoReader(path, images_in(tmp_path / "images", path)).index()


def test_parts(tmp_path: Path) -> None:
    first = write_json(tmp_path / "a.json", coco_content())
    second = write_json(tmp_path / "b.json", changed(lambda c: c["annotations"].pop(0)))
    parts = CocoParts({"b": CocoReader(first, None), "a": CocoReader(second, None, only_annotated=True)})
    assert [(entry.id, entry.n_masks) for entry in parts.index()] == [("a:7", 1), ("b:7", 2), ("b:9", 0)]
    assert parts.excluded == {"no_mask": 1}
    assert parts.load("b:7").id == "b:7"
    assert [i.id for i in parts.load("a:7").truth.instances] == ["2"]
    assert parts.image_file("a:7") is None
    for id in ("7", "c:7"):
        with pytest.raises(DataError, match="there is no part"):
            parts.load(id)
