"""Label maps as arrays: values, windows, components, held against the plain way of doing it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from sambench.readers.label_maps import commonest, components, masks_by_value, values_of, voc_colours
from sambench.types import Mask

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12)
NUMBERS = {
    np.uint8: [0, 0, 1, 2, 255],
    np.uint16: [0, 0, 1, 300, 65535],
    np.int16: [-1, -1, 0, 5, 32767],
    np.int32: [0, 7, 1 << 24, (1 << 31) - 1, -(1 << 31)],
    np.int64: [0, 1 << 60, -(1 << 60), 3],
    np.bool_: [False, True],
}
LABELS = st.sampled_from(list(NUMBERS)).flatmap(
    lambda kind: arrays.arrays(kind, SHAPES, elements=st.sampled_from(NUMBERS[kind]))
)


@settings(max_examples=150)
@given(labels=LABELS, drop=st.sampled_from([(), (0,), (-1, 0), (255, 3)]))
def test_masks_by_value_is_one_comparison_for_each_value(labels: np.ndarray, drop: tuple[int, ...]) -> None:
    values = [int(value) for value in np.unique(labels)]
    assert values_of(labels) == values
    masks = masks_by_value(labels, drop)
    assert list(masks) == [value for value in values if value not in drop]
    for value, mask in masks.items():
        plain = Mask.from_dense(labels == value)
        assert (mask.size, mask.box, mask.area) == (plain.size, plain.box, plain.area)
        assert np.array_equal(mask.window, plain.window)
        assert mask.window.flags.c_contiguous
        assert mask.window.base is None  # keeps no map of the whole image alive


def test_a_view_of_columns_is_read_as_it_looks() -> None:
    labels = np.arange(24, dtype=np.uint8).reshape(4, 6)[:, ::2]
    assert values_of(labels) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]
    assert masks_by_value(labels)[10].box == (2, 1, 3, 2)


@settings(max_examples=100)
@given(dense=arrays.arrays(np.bool_, SHAPES), min_area=st.integers(1, 4))
def test_components_part_the_mask(dense: np.ndarray, min_area: int) -> None:
    mask = Mask.from_dense(dense)
    parts = components(mask)
    together = np.zeros(dense.shape, np.int64)
    for part in parts:
        together += part.dense()
        _, count = ndimage.label(part.dense(), np.ones((3, 3)))
        assert count == 1
    assert np.array_equal(together, dense)
    assert len(parts) == ndimage.label(dense, np.ones((3, 3)))[1]
    firsts = [int(np.flatnonzero(part.dense())[0]) for part in parts]
    assert firsts == sorted(firsts)
    assert [p.box for p in components(mask, min_area)] == [p.box for p in parts if p.area >= min_area]


def test_components_touch_at_corners() -> None:
    dense = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], bool)
    assert [(part.box, part.area) for part in components(Mask.from_dense(dense))] == [
        ((0, 0, 2, 2), 2),
        ((3, 0, 4, 1), 1),
        ((3, 2, 4, 3), 1),
    ]
    assert components(Mask.empty((3, 3))) == []


@pytest.mark.parametrize(
    ("inside", "expected"), [([5, 5, 2, 2], 2), ([5, 5, 2, -1], 5), ([-1, 0, -1, 7], 7), ([0, 0, -1, -1], None)]
)
def test_commonest_is_positive_and_the_smallest_of_equals(inside: list[int], expected: int | None) -> None:
    labels = np.full((4, 4), 9, np.int16)
    labels[1:3, 1:3] = np.reshape(inside, (2, 2))
    mask = Mask.from_window((4, 4), 1, 1, np.ones((2, 2), bool))
    assert commonest(labels, mask) == expected


def test_voc_colours() -> None:
    """Of the published table: bird 128 128 0, person 192 128 128, potted plant 0 64 0, TV set 0 64 128."""
    colours = voc_colours(21)
    assert len(colours) == 21
    assert [colours[code] for code in (0x000000, 0x808000, 0xC08080, 0x004000, 0x004080)] == [0, 3, 15, 16, 20]
