"""Masks: windows, run-length codes, polygons, IoU, against pycocotools and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from sambench import masks
from sambench.metrics import iou as metric
from sambench.types import Mask

dense = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@settings(max_examples=200)
@given(dense)
def test_a_window_holds_the_mask_tightly(array: np.ndarray) -> None:
    mask = Mask.from_dense(array)
    np.testing.assert_array_equal(mask.dense(), array)
    assert mask.area == array.sum()
    if mask.area:
        assert mask.window.any(axis=1)[[0, -1]].all()
        assert mask.window.any(axis=0)[[0, -1]].all()
    else:
        assert mask.box == (0, 0, 0, 0)


def test_a_window_is_a_copy() -> None:
    array = np.ones((3, 3), bool)
    mask = Mask.from_dense(array)
    array[:] = False
    assert mask.dense().all()


def test_from_window_places_and_trims() -> None:
    window = np.array([[0, 0, 0], [0, 7, 0]], np.uint8)
    mask = Mask.from_window((6, 8), 2, 4, window)
    assert (mask.box, mask.area) == ((5, 3, 6, 4), 1)
    assert (5, 3) in mask
    assert (4, 3) not in mask
    assert (100, 3) not in mask


def test_crop_reaches_over_the_image() -> None:
    mask = Mask.from_dense(np.ones((2, 2), bool))
    np.testing.assert_array_equal(mask.crop(-1, -1, 2, 1), [[False, False], [False, True], [False, True]])


@settings(max_examples=200)
@given(dense)
def test_rle_equals_pycocotools(array: np.ndarray) -> None:
    code = masks.to_rle(Mask.from_dense(array))
    reference = coco.encode(np.asfortranarray(array.astype(np.uint8)))
    assert code == {"size": reference["size"], "counts": reference["counts"].decode()}
    np.testing.assert_array_equal(masks.from_rle(code).dense(), array)
    np.testing.assert_array_equal(masks.from_rle(reference).dense(), array)


def test_uncompressed_rle_is_column_major_and_starts_with_zeros() -> None:
    # 2 rows, 3 columns; runs: one 0, two 1, three 0 down the columns: (1,0), (0,1).
    mask = masks.from_rle({"size": [2, 3], "counts": [1, 2, 3]})
    np.testing.assert_array_equal(mask.dense(), [[False, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ({"counts": "0"}, "size"),
        ({"size": [2, 2]}, "counts"),
        ({"size": [2, 2], "counts": [1, 2]}, "add up to 3, not to 2 x 2"),
        ({"size": [2, 2], "counts": [5, -1]}, "non-negative"),
        ({"size": [2, 2], "counts": "5"}, "add up to 5"),
        ({"size": [2, 2], "counts": "P"}, "middle of a number"),
        ({"size": [2, 2], "counts": "~~"}, "not of the code"),
        ({"size": [2, 2], "counts": "P" * 40 + "0"}, "too large"),
        ({"size": [2, 2], "counts": ""}, "add up to 0"),
        ({"size": [-2, 2], "counts": [0]}, "negative"),
    ],
)
def test_malformed_rle_is_refused(code: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        masks.from_rle(code)


@settings(max_examples=300)
@given(st.text(alphabet=[chr(c) for c in range(40, 120)], max_size=30), st.integers(1, 9), st.integers(1, 9))
def test_any_text_decodes_or_is_refused(counts: str, height: int, width: int) -> None:
    try:
        mask = masks.from_rle({"size": [height, width], "counts": counts})
    except ValueError:
        return
    np.testing.assert_array_equal(
        mask.dense(), coco.decode({"size": [height, width], "counts": counts.encode()}).astype(bool)
    )


def test_polygons_rasterise_as_the_coco_api_does() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        polygons = [list(rng.uniform(-5, 45, 2 * int(rng.integers(3, 8)))) for _ in range(int(rng.integers(1, 4)))]
        expected = coco.decode(coco.merge(coco.frPyObjects(polygons, 30, 40)))
        np.testing.assert_array_equal(masks.from_polygons(polygons, (30, 40)).dense(), expected.astype(bool))


def test_polygons_without_area_are_empty() -> None:
    assert masks.from_polygons([[1, 1, 5, 5]], (9, 9)).area == 0
    assert masks.from_polygons([], (9, 9)).area == 0


@pytest.mark.parametrize("polygon", [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 0, 3], [0, 0, 1, 1, float("nan"), 2]])
def test_malformed_polygons(polygon: list[float]) -> None:
    if len(polygon) < 6:
        assert masks.from_polygons([polygon], (9, 9)).area == 0
    else:
        with pytest.raises(ValueError, match="polygon"):
            masks.from_polygons([polygon], (9, 9))


def test_iou_by_hand() -> None:
    a, b = Mask.from_window((10, 10), 0, 0, np.ones((4, 4))), Mask.from_window((10, 10), 2, 2, np.ones((4, 4)))
    # 4 shared pixels, 16 + 16 - 4 = 28 in all.
    assert metric.counts(a, b) == (4, 28)
    assert metric.iou(a, b) == 4 / 28
    # Two of the four shared pixels and one row of a are void: (4 - 2) / (28 - 2 - 4).
    void = Mask.from_dense(np.zeros((10, 10), bool))
    array = void.dense()
    array[2, 2:4] = True
    array[0, 0:4] = True
    assert metric.counts(a, b, Mask.from_dense(array)) == (2, 22)


def test_iou_of_nothing_is_nothing() -> None:
    empty, one = Mask.empty((4, 4)), Mask.from_dense(np.eye(4))
    assert metric.iou(empty, empty) == 0.0
    assert metric.iou(empty, one) == 0.0
    assert metric.iou(one, one, void=one) == 0.0


def test_iou_of_different_images_is_refused() -> None:
    with pytest.raises(ValueError, match="different images"):
        metric.iou(Mask.empty((4, 4)), Mask.empty((4, 5)))


@settings(max_examples=200)
@given(dense, st.integers(0, 2**32 - 1))
def test_iou_equals_the_dense_count(a: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    b, void = rng.random(a.shape) < rng.random(), rng.random(a.shape) < 0.3
    inter, union = int((a & b & ~void).sum()), int(((a | b) & ~void).sum())
    left, right = Mask.from_dense(a), Mask.from_dense(b)
    assert metric.counts(left, right, Mask.from_dense(void)) == (inter, union)
    assert metric.counts(right, left, Mask.from_dense(void)) == (inter, union)
    assert metric.counts(left, right) == (int((a & b).sum()), int((a | b).sum()))
    if a.any():
        assert metric.iou(left, left) == 1.0
