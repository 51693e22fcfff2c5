"""The simulated clicker: hand-computed cases, RITM's own answers, and the plain full-frame rule."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from helpers.paths import STORED
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import distance_transform_edt, gaussian_filter

from sambench import clicks as prompts
from sambench import masks
from sambench.clicks import next_click, random_first_click, squared_distances
from sambench.metrics.iou import iou
from sambench.types import Click, Mask

CASES = json.loads((STORED / "ritm_clicks.json").read_text())


def mask(*rows: str) -> Mask:
    """From rows of text, ``#`` is foreground."""
    return Mask.from_dense(np.array([[c == "#" for c in row] for row in rows]))


def test_first_click_is_the_centre_of_the_largest_inscribed_disk() -> None:
    truth = mask("......", ".####.", ".####.", ".####.", "......")
    # The middle row is 2 from the background above and below; columns 2 and 3 are both 2 away: the first in row order.
    assert next_click(truth) == Click(2, 2, True)


def test_image_border_counts_as_boundary() -> None:
    # Without the ring of padding the corner pixel would be the farthest from any background.
    assert next_click(mask("####.", "####.", "####.", ".....")) == Click(1, 1, True)
    assert next_click(Mask.from_dense(np.ones((5, 7), bool))) == Click(2, 2, True)


def test_ties_take_the_first_pixel_in_row_order() -> None:
    assert next_click(mask("..#", "#..", "#.#")) == Click(2, 0, True)


def test_larger_error_wins_and_a_tie_is_negative() -> None:
    truth = mask("###....", "###....", "###....")
    wrong_is_larger = mask(".......", ".......", ".......")
    assert next_click(truth, wrong_is_larger) == Click(1, 1, True)
    # Missed: a 3x3 block (distance 2). Wrong: another 3x3 block (distance 2). Not strictly larger: negative.
    assert next_click(truth, mask("....###", "....###", "....###")) == Click(5, 1, False)


def test_perfect_prediction_has_no_click() -> None:
    truth = mask(".##.", ".##.")
    assert next_click(truth, truth) is None


def test_a_clicked_pixel_is_never_clicked_again() -> None:
    truth = mask("##")
    first = next_click(truth)
    assert first == Click(0, 0, True)
    second = next_click(truth, None, [first])
    assert second == Click(1, 0, True)
    assert next_click(truth, None, [first, second]) is None


def test_void_pixels_are_neither_missed_nor_wrong() -> None:
    truth = mask("####...", "####...")
    void = mask("..#####", "..#####")
    assert next_click(truth, None, void=void) == Click(0, 0, True)
    assert next_click(truth, mask("##..###", "##..###"), void=void) is None


def decoded(case: dict[str, Any], counts: str) -> Mask:
    return masks.from_rle({"size": case["size"], "counts": counts})


def test_equals_ritm() -> None:
    """All clicks, but for two where OpenCV's float transform, which RITM compares, tells two equal distances apart."""
    ties = []
    for number, case in enumerate(CASES):
        truth, void = decoded(case, case["truth"]), decoded(case, case["void"])
        clicks: list[Click] = []
        for step in case["steps"]:
            predicted = decoded(case, step["pred"])
            click, theirs = next_click(truth, predicted, clicks, void), Click(step["x"], step["y"], step["positive"])
            if click != theirs:
                assert click is not None
                assert click.positive == theirs.positive
                region = (truth.dense() ^ predicted.dense()) & (truth.dense() == click.positive) & ~void.dense()
                exact = squared_distances(region)
                assert exact[click.y, click.x] == exact[theirs.y, theirs.x] == exact.max()
                assert (click.y, click.x) < (theirs.y, theirs.x)
                ties.append(number)
            clicks.append(theirs)
            if step["iou"] is not None:
                assert iou(predicted, truth, void) == step["iou"]
    assert ties == [88, 136]


def test_the_stored_cases_cover_both_signs_and_void() -> None:
    steps = [s for c in CASES for s in c["steps"]]
    assert len(steps) == 734
    assert sum(s["positive"] for s in steps) == 432
    assert sum(decoded(c, c["void"]).area > 0 for c in CASES) > 30


small = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


@settings(max_examples=150)
@given(small, st.integers(0, 2**32 - 1))
def test_the_window_gives_the_full_frame_pixel(truth: np.ndarray, seed: int) -> None:
    """The rule as it is written, on the whole padded frame, with an exact transform of another library."""
    rng = np.random.default_rng(seed)
    predicted = rng.random(truth.shape) < rng.random()
    void = rng.random(truth.shape) < 0.2 * rng.random()

    def transform(region: np.ndarray) -> np.ndarray:
        exact = distance_transform_edt(np.pad(region & ~void, 1))[1:-1, 1:-1]
        return np.rint(exact**2).astype(int)

    missed, wrong = transform(truth & ~predicted), transform(predicted & ~truth)
    got = next_click(Mask.from_dense(truth), Mask.from_dense(predicted), (), Mask.from_dense(void))
    if missed.max() == 0 and wrong.max() == 0:
        assert got is None
        return
    positive = missed.max() > wrong.max()
    chosen = missed if positive else wrong
    y, x = np.argwhere(chosen == chosen.max())[0]
    assert got == Click(int(x), int(y), bool(positive))


@settings(max_examples=150)
@given(small, st.integers(0, 2**32 - 1))
def test_the_chamfer_detour_changes_nothing(region: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    taken = [(int(y), int(x)) for y, x in np.argwhere(region) if rng.random() < 0.1]
    plain = prompts._farthest(region, taken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompts, "_CHAMFER_FROM", 0)
        assert prompts._farthest(region, taken) == plain


@pytest.mark.parametrize("smooth", [0.6, 1, 2, 4, 8, 16, 40])
def test_the_chamfer_detour_on_large_regions(smooth: float) -> None:
    rng = np.random.default_rng(7)
    for level in (0.2, 0.5, 0.8):
        field = gaussian_filter(rng.standard_normal((300, 420)), smooth)
        region = field > np.quantile(field, level)
        exact = np.rint(distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] ** 2).astype(int)
        taken: list[tuple[int, int]] = []
        for _ in range(3):
            place = int(exact.argmax())
            found = prompts._farthest(region, taken)
            assert found == (exact.flat[place], *divmod(place, 420))
            taken.append(found[1:])
            exact[found[1:]] = 0


def test_the_chamfer_bounds_are_those_of_its_steps() -> None:
    # Between (1, 0) and (2, 1) the distance to (x, y) is x - 2y + 2.1969y; between (2, 1) and (1, 1) it is
    # 1.4(2y - x) + 2.1969(x - y).
    slope = np.linspace(0, 1, 100_001)
    chamfer = np.where(slope <= 0.5, 1 + 0.1969 * slope, 1.4 * (2 * slope - 1) + 2.1969 * (1 - slope))
    ratio = chamfer / np.hypot(1, slope)
    assert prompts._CHAMFER_LOW * prompts._CHAMFER_SLACK < ratio.min() < prompts._CHAMFER_LOW + 1e-4
    assert prompts._CHAMFER_HIGH - 1e-4 < ratio.max() < prompts._CHAMFER_HIGH / prompts._CHAMFER_SLACK


@settings(max_examples=100)
@given(small)
def test_squared_distances_are_exact(region: np.ndarray) -> None:
    expected = np.rint(distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] ** 2).astype(int)
    np.testing.assert_array_equal(squared_distances(region), expected)


def test_squared_distances_beyond_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    region = np.ones((31, 47), bool)
    expected = squared_distances(region)
    monkeypatch.setattr(prompts, "_EXACT_IN_FLOAT32", 5.0)
    np.testing.assert_array_equal(squared_distances(region), expected)


def test_random_first_click_is_uniform_inside_and_reproducible() -> None:
    truth = mask("....", ".##.", ".#..")
    drawn = [random_first_click(truth, 0, ("demo", str(i), "1")) for i in range(3000)]
    places = {(c.x, c.y) for c in drawn if c}
    assert places == {(1, 1), (2, 1), (1, 2)}
    counts = [sum(c is not None and (c.x, c.y) == p for c in drawn) for p in places]
    # 3000 draws over 3 pixels: 1000 each, standard deviation sqrt(3000 * 1/3 * 2/3) = 26; five of them either way.
    assert all(abs(n - 1000) < 130 for n in counts)
    assert drawn[:5] == [random_first_click(truth, 0, ("demo", str(i), "1")) for i in range(5)]
    assert drawn != [random_first_click(truth, 1, ("demo", str(i), "1")) for i in range(3000)]


def test_random_first_click_is_the_same_on_every_machine() -> None:
    # The first 128 bits of the sha256 of the key, modulo 480 * 640, are 115607 = 180 * 640 + 407.
    truth = Mask.from_dense(np.ones((480, 640), bool))
    assert random_first_click(truth, 7, ("lvis", "000000000139", "42")) == Click(407, 180, True)


def test_random_first_click_avoids_void() -> None:
    truth, void = mask("##", "##"), mask("##", "#.")
    assert all(random_first_click(truth, s, ("a",), void) == Click(1, 1, True) for s in range(20))
    assert random_first_click(truth, 0, ("a",), mask("##", "##")) is None
