"""Mask files: what any label map must give, and the rules for small and void masks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from fixtures.tiny_datasets import save, square
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sambench.datatools import concavity
from sambench.readers.mask_png import label_values, read_binary_masks, read_label_map

LABELS = arrays.arrays(
    np.uint16,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([0, 0, 0, 1, 2, 255, 256, 65535]),
)


@settings(max_examples=60, deadline=None)
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
