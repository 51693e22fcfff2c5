"""Mask files: what any label map must give, and the rules for small and void masks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_datasets import save, square
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sambench.data.statistics import concavity
from sambench.errors import DataError
from sambench.readers.mask_png import label_values, read_binary_masks, read_class_map, read_label_map, read_mask

LABELS = arrays.arrays(
    np.uint16,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([0, 0, 0, 1, 2, 255, 256, 65535]),
)


@settings(max_examples=60)
@given(labels=LABELS, void=st.sampled_from([-1, 2, 65535]))
def test_a_label_map_is_parted_into_its_values(labels: np.ndarray, void: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder) / "labels.png", labels)
        size = (labels.shape[0], labels.shape[1])
        truth, values = read_label_map(path, size, void), label_values(path, void)
    assert [int(instance.id) for instance in truth.instances] == values
    again = np.zeros(size, np.int64)
    for instance in truth.instances:
        dense = instance.mask.dense()
        assert not again[dense].any()
        again[dense] = int(instance.id)
        assert 0 <= concavity(instance.mask) < 1
    if truth.void is not None:
        assert not again[truth.void.dense()].any()
        again[truth.void.dense()] = void
    assert np.array_equal(again, labels)


def test_small_and_empty_masks_are_different_rules(tmp_path: Path) -> None:
    files = {
        "empty": save(tmp_path / "empty.png", square(9, 9, 0, 0, 0)),
        "four": save(tmp_path / "four.png", square(9, 9, 0, 0, 2)),
        "nine": save(tmp_path / "nine.png", square(9, 9, 0, 0, 3)),
    }
    kept = {area: read_binary_masks(files, (9, 9), min_area=area) for area in (0, 1, 4, 5, 10)}
    assert {area: [i.id for i in truth.instances] for area, truth in kept.items()} == {
        0: ["four", "nine"],
        1: ["four", "nine"],
        4: ["four", "nine"],
        5: ["nine"],
        10: [],
    }
    assert kept[0].dropped == kept[4].dropped == {"empty_mask": 1}
    assert kept[10].dropped == {"empty_mask": 1, "below_min_area": 2}


def test_void_in_binary_files_is_void_for_the_whole_image(tmp_path: Path) -> None:
    values = square(9, 9, 0, 0, 3) // 255
    values[0, 0] = 200
    truth = read_binary_masks({"a": save(tmp_path / "a.png", values)}, (9, 9), void=200)
    assert truth.instances[0].mask.area == 8
    assert truth.void is not None
    assert truth.void.box == (0, 0, 1, 1)


def test_values_below_a_limit_are_background_and_counted(tmp_path: Path) -> None:
    values = square(9, 9, 0, 0, 3)
    values[5, 5:9] = 127
    path = save(tmp_path / "a.png", values)
    (instance,) = read_binary_masks({"a": path}, (9, 9), at_least=255).instances
    assert (instance.mask.area, instance.attributes) == (9, {"fainter_pixels": 4})
    (instance,) = read_binary_masks({"a": path}, None, at_least=127).instances
    assert (instance.mask.area, instance.attributes) == (13, {})
    # In a file of one bit, 1 is the object whatever the limit.
    bits = save(tmp_path / "bits.png", values == 255)
    assert read_binary_masks({"a": bits}, (9, 9), at_least=255).instances[0].mask.area == 9


def test_label_map_in_colours(tmp_path: Path) -> None:
    colours = np.zeros((4, 6, 3), np.uint8)
    colours[0, 0], colours[2:, 3:] = (0, 0, 9), (255, 1, 0)
    path = save(tmp_path / "c.png", colours)
    with pytest.raises(DataError, match="a mask has one channel"):
        read_label_map(path, (4, 6))
    truth = read_label_map(path, (4, 6), colours=True, class_name="leaf")
    assert [(i.id, i.mask.area, i.class_name) for i in truth.instances] == [
        ("#000009", 1, "leaf"),
        ("#ff0100", 6, "leaf"),
    ]


def class_map(tmp_path: Path) -> Path:
    """1 twice (2 x 2 and 1), 2 (3), 7 (1), 255 (5)."""
    values = np.zeros((6, 8), np.uint8)
    values[0:2, 0:2], values[5, 0], values[0:3, 7] = 1, 1, 2
    values[5, 7], values[3, 2:7] = 7, 255
    return save(tmp_path / "classes.png", values)


def test_class_map(tmp_path: Path) -> None:
    path, names = class_map(tmp_path), {1: "cat", 2: "dog", 3: "bird"}
    truth = read_class_map(path, (6, 8), names, void=(255,), ignored=(7, 8))
    assert [(i.id, i.class_name, i.class_id, i.mask.area) for i in truth.instances] == [
        ("1", "cat", 1, 5),
        ("2", "dog", 2, 3),
    ]
    assert truth.void is not None
    assert truth.void.area == 5
    assert truth.dropped == {"other_class": 1}
    truth = read_class_map(path, None, names, background=(0, 7, 255), split=True, min_area=2)
    assert [(i.id, i.mask.area) for i in truth.instances] == [("1-1", 4), ("2-1", 3)]
    assert truth.void is None
    assert truth.dropped == {"below_min_area": 1}


def test_class_map_refuses_what_stands_for_nothing(tmp_path: Path) -> None:
    path = class_map(tmp_path)
    with pytest.raises(DataError, match=r"classes\.png: holds the value 7, 255, which is not a class"):
        read_class_map(path, (6, 8), {1: "cat", 2: "dog"})
    with pytest.raises(DataError, match=r"classes\.png: the file is 6 x 8 pixels, its image 8 x 6"):
        read_class_map(path, (8, 6), {1: "cat"})


def test_class_map_in_colours(tmp_path: Path) -> None:
    values = np.zeros((4, 6, 3), np.uint8)
    values[0, 0:4], values[3, 0:2] = (128, 0, 0), (0, 0, 128)
    path = save(tmp_path / "c.png", values)
    colours = {0x000000: 0, 0x800000: 9, 0x000080: 4}
    truth = read_class_map(path, (4, 6), {4: "boat", 9: "chair"}, colours=colours)
    assert [(i.id, i.class_name, i.mask.area) for i in truth.instances] == [("4", "boat", 2), ("9", "chair", 4)]
    values[1, 1] = (128, 0, 1)
    with pytest.raises(DataError, match=r"c\.png: holds the colour #800001, which is not a class"):
        read_class_map(save(path, values), (4, 6), {4: "boat", 9: "chair"}, colours=colours)


def test_one_mask_of_known_values(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", np.array([[0, 128, 255], [0, 128, 0]], np.uint8))
    assert read_mask(path, (2, 3), (0, 128, 255), 255).area == 1
    assert read_mask(path, None, (0, 128, 255), 128).box == (1, 0, 3, 2)
    with pytest.raises(DataError, match=r"m\.png: holds the value 128, expected are only 0, 255"):
        read_mask(path, (2, 3), (255, 0), 255)
