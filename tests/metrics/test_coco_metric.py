"""Run lengths, IoUs, matching and curves of COCO's metric: cases by hand, and against the reference packages' own code
on random ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.coco_entries import compressed, dense, uncompressed
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as api

from sambench import masks
from sambench.metrics import coco, coco_reference, run_lengths
from sambench.types import Mask

ALL, SMALL, MEDIUM, LARGE = range(4)


def every(*places: int) -> int:
    """The bits of these thresholds; without a place of all ten."""
    return sum(1 << t for t in places or range(10))


def runs(*dense_masks: NDArray[Any]) -> run_lengths.RunLengths:
    return run_lengths.from_codes([compressed(mask) for mask in dense_masks], dense_masks[0].shape)


# --- run lengths ----------------------------------------------------------------------------------------------------


def test_run_lengths_of_a_mask_by_hand() -> None:
    # Rows 1 to 2 of columns 1 and 2 in an image of 4 rows: pixels 5, 6 and 9, 10, column by column.
    found = runs(dense(4, 5, (1, 1, 3, 3)), dense(4, 5), dense(4, 5, (0, 0, 5, 4)))
    assert found.edges.tolist() == [5, 7, 9, 11, 0, 20]
    assert found.first.tolist() == [0, 4, 4, 6]
    assert found.area.tolist() == [4, 0, 20]
    assert found.box.tolist() == [[1, 1, 3, 3], [0, 0, 0, 0], [0, 0, 5, 4]]


@st.composite
def random_masks(draw: st.DrawFn) -> NDArray[np.uint8]:
    n, h, w = draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return (rng.random((n, h, w)) < draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))).astype(np.uint8)


@settings(max_examples=60)
@given(random_masks())
def test_run_lengths_from_codes_and_from_masks_are_the_same(stack: NDArray[np.uint8]) -> None:
    size = stack.shape[1:]
    codes = [compressed(mask) for mask in stack]
    of_codes = run_lengths.from_codes(codes, size)
    others = (
        run_lengths.from_codes([uncompressed(mask) for mask in stack], size),
        run_lengths.from_codes([{**c, "counts": c["counts"].encode()} for c in codes], size),
        run_lengths.from_masks([Mask.from_dense(mask) for mask in stack], size),
    )
    for other in others:
        for name in ("area", "box", "edges", "first"):
            assert np.array_equal(getattr(of_codes, name), getattr(other, name)), name
    assert of_codes.area.tolist() == stack.sum(axis=(1, 2)).tolist()
    assert [tuple(box) for box in of_codes.box.tolist()] == [Mask.from_dense(mask).box for mask in stack]


@settings(max_examples=60)
@given(random_masks(), st.integers(0, 3), st.integers(0, 2**32))
def test_mask_ious_equal_pycocotools_to_the_bit(stack: NDArray[np.uint8], cut: int, seed: int) -> None:
    crowd = np.random.default_rng(seed).random(len(stack)) < 0.3
    codes = [compressed(mask) for mask in stack]
    given_ = run_lengths.from_codes(codes, stack.shape[1:])
    detections = run_lengths.from_codes(codes[cut:], stack.shape[1:])
    found = coco.mask_ious(detections, given_, crowd)
    assert found.shape == (max(0, len(stack) - cut), len(stack))
    if len(detections):
        assert np.array_equal(found, api.iou(codes[cut:], codes, crowd.astype(np.uint8)))
    assert np.array_equal(found, coco_reference.mask_ious(detections, given_, crowd))


def test_runs_of_no_length_make_no_edges() -> None:
    # 2 background, 1 foreground, 0 background, 2 foreground, 0 background, 0 foreground, 1 background: pixels 2 to 4.
    code = {"size": [2, 3], "counts": [2, 1, 0, 2, 0, 0, 1]}
    packed = api.frPyObjects(code, 2, 3)
    for one in (code, packed):
        found = run_lengths.from_codes([one], (2, 3))
        assert found.edges.tolist() == [2, 5]
        assert found.area.tolist() == [3]


SOUND = compressed(dense(4, 5, (1, 1, 3, 3)))


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (compressed(dense(5, 4, (1, 1, 3, 3))), "the mask is of 4 x 5 pixels, the image of 5 x 4"),
        ({"size": [4, 5], "counts": [5, 2, 2]}, "run lengths add up to 9, not to 4 x 5 = 20"),
        ({"size": [4, 5], "counts": [-5, 25]}, "run lengths must be non-negative integers"),
        ({"size": [4, 5], "counts": ""}, "run lengths add up to 0, not to 4 x 5 = 20"),
        ({"size": [4, 5], "counts": SOUND["counts"][:-1]}, "run lengths add up to 11, not to 4 x 5 = 20"),
        ({"size": [4, 5], "counts": "é"}, "'ascii' codec"),
        ({"size": [4, 5], "counts": "~~"}, "a character that is not of the code"),
        ({"size": [4, 5], "counts": "P"}, "end in the middle of a number"),
        ({"size": [4, 5], "counts": "P" * 13 + "0"}, "a number that is too large"),
        ({"size": [4, 5]}, "needs 'size': [height, width] and 'counts'"),
        ({"size": [4, 5], "counts": None}, "'NoneType'"),
        ([[1, 1, 3, 1, 3, 3]], "a run-length code {size, counts} is wanted, not list"),
        (None, "a run-length code {size, counts} is wanted, not NoneType"),
    ],
)
def test_codes_that_are_no_masks_of_the_image_are_named(code: Any, problem: str) -> None:
    with pytest.raises(run_lengths.BadCodesError) as caught:
        run_lengths.from_codes([SOUND, code, SOUND, code], (4, 5))
    assert problem in str(caught.value)
    assert caught.value.places == [1, 3]


@settings(max_examples=300)
@given(st.binary(max_size=12), st.integers(1, 6), st.integers(1, 6))
def test_codes_are_refused_as_masks_refuses_them(text: bytes, height: int, width: int) -> None:
    code = {"size": [height, width], "counts": bytes(48 + b % 64 for b in text)}
    try:
        expected = masks.from_rle(code)
    except ValueError:
        with pytest.raises(run_lengths.BadCodesError):
            run_lengths.from_codes([code], (height, width))
    else:
        found = run_lengths.from_codes([code], (height, width))
        assert found.area.tolist() == [expected.area]
        assert tuple(found.box[0].tolist()) == expected.box


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="mask 0 is of 5 x 4 pixels, the image of 4 x 5"):
        run_lengths.from_masks([Mask.empty((4, 5))], (5, 4))
    with pytest.raises(ValueError, match="cannot be compared"):
        coco.mask_ious(runs(dense(4, 5)), runs(dense(5, 4)))


# --- IoU ------------------------------------------------------------------------------------------------------------


def test_mask_ious_by_hand() -> None:
    # 4 x 4 against 4 x 4 moved by 2: 8 of 24 pixels in common; of a crowd 8 of the detection's 16. Neighbours: nothing.
    detections = runs(dense(8, 8, (0, 0, 4, 4)), dense(8, 8))
    truths = runs(dense(8, 8, (2, 0, 6, 4)), dense(8, 8, (4, 0, 8, 4)), dense(8, 8))
    assert coco.mask_ious(detections, truths).tolist() == [[8 / 24, 0, 0], [0, 0, 0]]
    crowd = np.array([True, False, True])
    assert coco.mask_ious(detections, truths, crowd).tolist() == [[8 / 16, 0, 0], [0, 0, 0]]


def test_box_ious_by_hand() -> None:
    # x, y, width, height. 4 x 4 against 4 x 2 inside of it: 8 / 16; of a crowd 8 / 16 of the detection's own area.
    detections = np.array([[0.0, 0, 4, 4], [10, 10, 0, 5], [0, 0, 2, 4]])
    truths = np.array([[0.0, 1, 4, 2], [4, 0, 4, 4], [10, 10, 0, 5]])
    expected = [[8 / 16, 0, 0], [0, 0, 0], [4 / 12, 0, 0]]
    assert coco.box_ious(detections, truths).tolist() == expected
    assert coco.box_ious(detections, truths, np.array([True, False, False])).tolist() == [
        [0.5, 0, 0],
        [0] * 3,
        [0.5, 0, 0],
    ]


@settings(max_examples=60)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2**32))
def test_box_ious_equal_pycocotools_to_the_bit(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    detections, truths = rng.integers(0, 9, (n, 4)) / 1.7, rng.integers(0, 9, (m, 4)) / 1.7
    crowd = rng.random(m) < 0.3
    assert np.array_equal(coco.box_ious(detections, truths, crowd), coco_reference.box_ious(detections, truths, crowd))


# --- matching -------------------------------------------------------------------------------------------------------


def match(ious: Any, **more: Any) -> coco.Matches:
    """One class, medium areas, no crowd, scores falling, but for what is given."""
    table = np.array(ious, float)
    n, m = table.shape
    given_ = {
        "scores": np.arange(n, 0, -1.0),
        "areas": np.full(n, 2000.0),
        "truth_areas": np.full(m, 2000.0),
        "crowd": np.zeros(m, bool),
    }
    given_ |= {name: np.array(value) for name, value in more.items() if name in given_}
    options = {name: np.array(v) if isinstance(v, list) else v for name, v in more.items() if name not in given_}
    found = coco.match(table, *given_.values(), **options)
    judged = coco_reference.match(table, *given_.values(), **options)
    for name in ("rank", "matched", "ignored", "truth_ignored", "taken_by"):
        assert np.array_equal(getattr(found, name), getattr(judged, name)), name
    return found


def test_the_best_detection_takes_the_truth_and_the_next_gets_nothing() -> None:
    # IoU 0.72 is enough for 0.50 to 0.70, 0.9 for 0.50 to 0.90. The first takes the truth where it can.
    found = match([[0.72], [0.9]])
    assert found.rank.tolist() == [0, 1]
    assert found.matched[:, ALL].tolist() == [every(0, 1, 2, 3, 4), every(5, 6, 7, 8)]
    assert found.taken_by[0, ALL].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, -1]
    assert not found.ignored[:, ALL].any()


def test_scores_decide_and_equal_scores_keep_their_order() -> None:
    assert match([[0.9], [0.9], [0.9]], scores=[0.5, 0.7, 0.7]).taken_by[0, ALL].tolist() == [0] * 9 + [-1]
    found = match([[0.9], [0.9], [0.9]], scores=[0.5, 0.7, 0.7])
    assert found.rank.tolist() == [2, 0, 1]
    assert found.matched[:, ALL].tolist() == [0, every(*range(9)), 0]


def test_an_iou_at_the_threshold_is_enough_and_of_equal_ious_the_last_is_taken() -> None:
    found = match([[0.5, 0.5]])
    assert found.taken_by[:, ALL, 0].tolist() == [-1, 0]
    # np.linspace gives 0.6 as 0.6 and 0.65 as 0.6500000000000001, to the bit as both packages have it.
    assert (
        match([[0.65]]).taken_by[0, ALL].tolist() == [0, 0, 0, 0 if coco.IOU_THRESHOLDS[3] <= 0.65 else -1] + [-1] * 6
    )
    assert match([[1.0]]).matched[0, ALL] == every()


def test_a_truth_out_of_range_is_taken_only_if_there_is_no_other() -> None:
    # The first truth is large, the second medium. Among the medium ones the first is ignored, though its IoU is higher.
    found = match([[0.95, 0.6], [0.95, 0.2]], truth_areas=[10_000.0, 2000.0])
    assert found.truth_ignored.tolist() == [[False, True, True, False], [False, True, False, True]]
    assert found.taken_by[:, ALL, 0].tolist() == [0, -1]
    assert found.taken_by[:, MEDIUM, 0].tolist() == [1, 0]
    # From 0.65 on the first detection takes the large one, and nothing is left for the second.
    assert found.ignored[:, MEDIUM].tolist() == [every(*range(3, 10)), every(0, 1, 2)]


def test_a_detection_out_of_range_is_ignored_unless_it_takes_a_truth() -> None:
    found = match([[0.9], [0.0]], areas=[100.0, 100.0], truth_areas=[2000.0])
    assert found.ignored[:, MEDIUM].tolist() == [every(9), every()]
    assert found.matched[:, MEDIUM].tolist() == [every(*range(9)), 0]
    assert found.ignored[:, ALL].tolist() == [0, 0]


def test_the_ends_of_the_ranges_belong_to_both() -> None:
    assert match(np.zeros((0, 3)), truth_areas=[1024.0, 1024.1, 9216.0]).truth_ignored.tolist() == [
        [False, False, False, True],
        [False, True, False, True],
        [False, True, False, False],
    ]


def test_any_number_of_detections_may_take_a_crowd_and_are_ignored() -> None:
    found = match([[0.9], [0.8], [0.1]], crowd=[True])
    assert found.matched[:, ALL].tolist() == [every(*range(9)), every(*range(7)), 0]
    assert found.ignored[:, ALL].tolist() == found.matched[:, ALL].tolist()
    assert match([[0.9], [0.8]], crowd=[True], rules="lvis").matched[:, ALL].tolist() == [every(*range(9)), 0]


def test_categories_do_not_meet_and_each_has_its_own_ranks_and_limit() -> None:
    found = match([[0.9, 0.9], [0.9, 0.9], [0.9, 0.9]], categories=[7, 7, 3], truth_categories=[3, 7], limit=1)
    assert found.rank.tolist() == [0, 1, 0]
    assert found.taken_by[:, ALL, 0].tolist() == [0, 0]
    assert (found.matched[:, ALL] > 0).tolist() == [True, False, True]


def test_lvis_ignores_what_takes_nothing_of_a_class_that_is_not_annotated_exhaustively() -> None:
    found = match([[0.6], [0.1]], rules="lvis", unexhaustive=[True, True])
    assert found.ignored[:, ALL].tolist() == [every(*range(3 if coco.IOU_THRESHOLDS[2] <= 0.6 else 2, 10)), every()]
    assert match([[0.6], [0.1]], rules="lvis").ignored[:, ALL].tolist() == [0, 0]


def test_lvis_leaves_out_what_has_no_area() -> None:
    found = match([[0.0, 0.9], [0.9, 0.0]], areas=[0.0, 50.0], truth_areas=[0.0, 50.0], rules="lvis")
    assert found.ignored[:, ALL].tolist() == [every(), 0]
    assert found.truth_ignored[:, ALL].tolist() == [True, False]
    assert (found.taken_by == -1).all()


@settings(max_examples=80)
@given(st.integers(0, 9), st.integers(0, 5), st.sampled_from(["coco", "lvis"]), st.integers(0, 2**32))
def test_matching_equals_the_reference_packages(n: int, m: int, rules: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    more: dict[str, Any] = {"rules": rules, "limit": rng.choice([None, 1, 3])}
    if rng.random() < 0.5:
        more |= {"categories": rng.integers(0, 3, n), "truth_categories": rng.integers(0, 3, m)}
    if rules == "lvis" and "categories" in more:
        more["unexhaustive"] = np.isin(more["categories"], [1])
    match(
        rng.integers(0, 21, (n, m)) / 20,
        scores=rng.integers(0, 4, n) / 4,
        areas=rng.choice([0.0, 10, 1024, 5000, 9216, 20_000], n),
        truth_areas=rng.choice([0.0, 10, 1024, 5000, 9216, 20_000], m),
        crowd=rng.random(m) < 0.3,
        **more,
    )


# --- curves ---------------------------------------------------------------------------------------------------------


def columns(rows: list[tuple[int, int, float, int, int, int]]) -> coco.Detected:
    """From (image, category, score, rank, matched, ignored), the same bits in all area ranges."""
    image, category, score, rank, matched, ignored = (np.array(c) for c in zip(*rows, strict=True))
    wide = [np.repeat(bits.astype(np.uint16)[:, None], 4, axis=1) for bits in (matched, ignored)]
    return coco.Detected(image, category, score.astype(float), rank.astype(np.int32), *wide)


def test_average_precision_by_hand() -> None:
    # One class, two truths: right, wrong, right. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1. So 51 of the 101 recalls
    # (0 to 0.50) read 1 and 50 read 2/3. A second class is half found at once: 51 read 1, 50 read 0.
    bits = every()
    detected = columns(
        [(0, 1, 0.9, 0, bits, 0), (0, 1, 0.8, 1, 0, 0), (1, 1, 0.7, 0, bits, 0), (0, 2, 0.5, 0, bits, 0)]
    )
    annotated = coco.Annotated(np.array([1, 1, 2, 2, 4]), np.zeros((5, 4), bool))
    found = coco.accumulate(detected, annotated, [1, 2, 3])
    assert found.categories.tolist() == [1, 2, 3]
    assert np.isnan(found.recall[:, 2]).all()
    first, second = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert found.average_precision(categories=[1]) == pytest.approx(first, abs=1e-12)
    assert found.average_precision() == pytest.approx((first + second) / 2, abs=1e-12)
    assert found.average_precision(iou=0.75) == pytest.approx((first + second) / 2, abs=1e-12)
    assert found.average_recall() == (1 + 0.5) / 2
    assert found.average_precision(categories=[3]) is None
    assert coco.accumulate(detected, annotated, [1], limit=1).average_recall("large") == 1
    assert coco.accumulate(detected, annotated, [1], limit=1).average_precision() == pytest.approx(1)


def test_ignored_detections_and_truths_count_for_nothing() -> None:
    detected = columns([(0, 1, 0.9, 0, 0, every()), (0, 1, 0.8, 1, every(0), 0)])
    ignored = np.zeros((2, 4), bool)
    ignored[0], ignored[1, LARGE] = True, True
    found = coco.accumulate(detected, coco.Annotated(np.array([1, 1]), ignored), [1])
    # At 0.50 the one truth is found by the first that counts; at the nine others it is not.
    assert found.average_precision(iou=0.5) == pytest.approx(1)
    assert found.average_precision() == pytest.approx(0.1)
    assert found.average_recall() == pytest.approx(0.1)
    assert found.average_precision("large") is None


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 12), st.sampled_from(["coco", "lvis"]), st.integers(0, 2**32))
def test_curves_equal_the_reference_packages(n: int, m: int, rules: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    detected = coco.Detected(
        rng.permutation(n),
        rng.integers(0, 3, n),
        rng.integers(0, 5, n) / 5,
        rng.integers(0, 4, n).astype(np.int32),
        rng.integers(0, 1024, (n, 4)).astype(np.uint16),
        rng.integers(0, 1024, (n, 4)).astype(np.uint16),
    )
    annotated = coco.Annotated(rng.integers(0, 3, m), rng.random((m, 4)) < 0.3)
    limit = rng.choice([None, 1, 2])
    found = coco.accumulate(detected, annotated, [0, 1, 2, 9], limit=limit)
    judged = coco_reference.accumulate(detected, annotated, [0, 1, 2, 9], limit=limit, rules=rules)  # type: ignore[arg-type]
    assert np.array_equal(found.precision, judged.precision, equal_nan=True)
    assert np.array_equal(found.recall, judged.recall, equal_nan=True)


# --- recall ---------------------------------------------------------------------------------------------------------


def test_recall_of_each_truth_by_hand() -> None:
    # Taken at 0.50 by the first, at 0.55 by the 101st; the second truth by the tenth at all thresholds.
    taken = np.full((2, 10), -1)
    taken[0, :2], taken[1] = (0, 100), 9
    assert coco.recall_of_each(taken, 1).tolist() == [0.1, 0.0]
    assert coco.recall_of_each(taken, 10).tolist() == [0.1, 1.0]
    assert coco.recall_of_each(taken, 1000).tolist() == [0.2, 1.0]
    images = np.array([3, 5])
    assert coco_reference.average_recall(taken, images, [1, 10, 1000]) == pytest.approx([0.05, 0.55, 0.6])
    assert coco_reference.average_recall(taken[:0], images[:0], [1, 10]) == [None, None]


def test_image_places_are_by_number_where_all_are_numbers() -> None:
    assert coco.image_places(["10", "9", "100"]).tolist() == [1, 0, 2]
    assert coco.image_places(["10", "9", "b"]).tolist() == [0, 1, 2]
    assert coco.image_places([]).tolist() == []


def test_top_and_judged() -> None:
    assert coco.top(np.array([0.5, 0.9, 0.5, 0.7]), 3).tolist() == [1, 3, 0]
    assert coco.judged(np.array([1, 2, 3, 1]), {1}, [3]).tolist() == [True, False, True, True]
