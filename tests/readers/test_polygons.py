"""Outlines to masks: by hand, and against the libraries drawn on the whole image."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sambench import masks
from sambench.readers.polygons import filled_mask, outline_mask, ring

SIZE = (20, 30)
SQUARE = np.array([[2, 3], [8, 3], [8, 9], [2, 9]], np.float64)


def outlines(low: float, x_high: float, y_high: float) -> st.SearchStrategy[NDArray[np.float64]]:
    point = st.tuples(st.floats(low, x_high), st.floats(low, y_high))
    return st.lists(point, min_size=3, max_size=9).map(lambda points: np.array(points, np.float64))


def test_the_two_rules_differ_by_the_line() -> None:
    inside = outline_mask(SQUARE, SIZE)
    assert (inside.area, inside.box) == (36, (2, 3, 8, 9))  # 6 x 6: from 2 to 8, from 3 to 9
    drawn = filled_mask([SQUARE], SIZE)
    assert (drawn.area, drawn.box) == (49, (2, 3, 9, 10))  # 7 x 7: pixels 2..8 and 3..9, the line included


def test_an_outline_within_another_is_a_hole() -> None:
    hole = np.array([[4, 5], [6, 5], [6, 7], [4, 7]], np.float64)
    mask = filled_mask([SQUARE, hole], SIZE)
    assert mask.area == 49 - 1  # of the 3 x 3 pixels of the inner outline the line belongs to the mask: one is left
    assert (5, 6) not in mask
    assert filled_mask([SQUARE, SQUARE + 12], SIZE).area == 49 + 49 - 7 * 2  # second: rows 15..21, two of seven outside


def test_vertices_are_cut_not_rounded() -> None:
    assert filled_mask([SQUARE + 0.9], SIZE).box == filled_mask([SQUARE], SIZE).box


def test_clipped_to_the_image() -> None:
    assert outline_mask(SQUARE - (5, 5), SIZE).box == (0, 0, 3, 4)
    assert filled_mask([SQUARE - (5, 5)], SIZE).box == (0, 0, 4, 5)
    outside = SQUARE - (12, 0)
    assert outline_mask(outside, SIZE).area == filled_mask([outside], SIZE).area == 0


def test_fewer_than_three_points_hold_nothing() -> None:
    assert outline_mask(SQUARE[:2], SIZE).area == 0
    assert filled_mask([SQUARE[:2], ring([])], SIZE).area == 0
    assert filled_mask([SQUARE[:2], SQUARE], SIZE).area == 49
    assert outline_mask(np.array([[2, 2], [8, 2], [5, 2]], np.float64), SIZE).area == 0


@pytest.mark.parametrize("far", [1e9, -31.0, 61.0])
def test_an_outline_of_another_scale_is_refused(far: float) -> None:
    outline = np.vstack([SQUARE, [[far, 5]]])
    for draw in (lambda: outline_mask(outline, SIZE), lambda: filled_mask([outline], SIZE)):
        with pytest.raises(ValueError, match=r"an outline reaches to x = .*, the image is 30 x 20 \(w x h\)"):
            draw()


@pytest.mark.parametrize(
    "points",
    [
        None,
        "ab",
        [1, 2, 3, 4],
        [[1, 2], [3]],
        [[1, 2, 3]],
        [["a", 2]],
        [[1, None]],
        {"0": [1, 2]},
        ["12", "34"],
        [["1", "2"]],
        [[]],
    ],
)
def test_what_is_no_outline(points: Any) -> None:
    with pytest.raises(ValueError, match="an outline "):
        ring(points)


def test_not_a_number() -> None:
    with pytest.raises(ValueError, match="an outline has a coordinate that is not a number"):
        ring([[1, 2], [float("nan"), 3], [4, 5]])


@given(outlines(0, 60, 50))
@settings(max_examples=150)
def test_the_window_changes_nothing_inside_the_coco_rule(outline: NDArray[np.float64]) -> None:
    whole = masks.from_polygons([outline.ravel().tolist()], (40, 50))
    mask = outline_mask(outline, (40, 50))
    assert (mask.top, mask.left) == (whole.top, whole.left)
    assert np.array_equal(mask.window, whole.window)


@given(st.lists(outlines(-15, 55, 35), min_size=1, max_size=3))
@settings(max_examples=150)
def test_drawn_as_opencv_draws_on_the_whole_image(several: list[NDArray[np.float64]]) -> None:
    canvas = np.zeros((30, 40), np.uint8)
    cv2.fillPoly(canvas, [np.trunc(outline).astype(np.int32) for outline in several], (1,))
    assert np.array_equal(filled_mask(several, (30, 40)).dense(), canvas != 0)
