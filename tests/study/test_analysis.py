"""The statistics of a study against numbers computed by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sambench.study import analysis
from sambench.study.storage import Rating


def rating(source: str, mask: int, score: int, rater: str = "ann", job: str = "") -> Rating:
    return Rating("toy", mask, source, job or f"{source}{mask}", rater, score, None)


def test_mean_interval_and_shares_by_hand() -> None:
    # Mean 25/4 = 6.25; squares of what is left: .0625 + 1.5625 + 3.0625 + .0625 = 4.75; s² = 4.75 / 3;
    # half the interval: 1.96 · √(4.75 / 3 / 4) = 1.96 · .62915 = 1.23313
    found = analysis.source([6, 5, 8, 6])
    assert found.masks == 4
    assert found.mean == 6.25
    assert found.ci95 == pytest.approx((6.25 - 1.23313, 6.25 + 1.23313), abs=1e-5)
    assert found.share == (0, 0, 0, 0, 0.25, 0.5, 0, 0.25, 0, 0)


def test_nothing_is_undefined_not_zero() -> None:
    nothing = analysis.source([])
    assert (nothing.mean, nothing.ci95, sum(nothing.share)) == (None, None, 0)
    lonely = analysis.difference("a", "b", {"a": {1: 5.0}, "b": {2: 6.0}})
    assert (lonely.masks, lonely.difference, lonely.ci99, lonely.t, lonely.p) == (0, None, None, None, None)


def test_several_ratings_of_a_mask_are_one_value() -> None:
    given = [rating("a", 1, 7), rating("a", 1, 8, "bob"), rating("a", 2, 3), rating("b", 1, 10)]
    assert analysis.by_object(given) == {"a": {1: 7.5, 2: 3}, "b": {1: 10}}


def test_a_mean_between_two_scores_is_shown_at_the_upper() -> None:
    assert analysis.source([6.5, 7.4]).share == (0, 0, 0, 0, 0, 0, 1, 0, 0, 0)


def test_paired_t_test_by_hand() -> None:
    # Differences 1, 2, 3, 2: mean 2, s² = 2/3, t = 2 / √(2/3/4) = 4.898979; with 3 degrees of freedom the two-sided p
    # is 1 - 2/π · (arctan(t/√3) + (t/√3) / (1 + t²/3)): t/√3 = 2√2, arctan = 1.230959, 2√2/9 = .314270,
    # p = 1 - .6366198 · 1.545229 = .016277
    scores = {"a": {1: 5.0, 2: 5.0, 3: 5.0, 4: 5.0, 9: 1.0}, "b": {1: 6.0, 2: 7.0, 3: 8.0, 4: 7.0, 8: 10.0}}
    found = analysis.difference("a", "b", scores)
    assert (found.masks, found.difference, found.df) == (4, 2, 3)
    assert found.t == pytest.approx(2 * math.sqrt(6), abs=1e-9)
    assert found.p == pytest.approx(0.016277, abs=1e-6)


def test_paired_bootstrap_against_all_draws() -> None:
    # Two objects with differences 0 and 1: a mean of 0, ½ or 1 with chances ¼, ½, ¼, so the 99 % interval is all of it.
    found = analysis.difference("a", "b", {"a": {1: 4.0, 2: 4.0}, "b": {1: 4.0, 2: 5.0}})
    assert found.ci99 == (0, 1)
    # Of n differences of 0 or 1, half each, the mean of a draw is binomial: for n = 100 the .5 and 99.5 % percentiles
    # of Binomial(100, ½) are 37 and 63.
    a, b = dict.fromkeys(range(100), 4.0), {k: 4.0 + k % 2 for k in range(100)}
    low, high = analysis.difference("a", "b", {"a": a, "b": b}).ci99 or (0, 0)
    assert low == pytest.approx(0.37, abs=0.0101)
    assert high == pytest.approx(0.63, abs=0.0101)


def test_equal_differences_leave_nothing_to_test() -> None:
    found = analysis.difference("a", "b", {"a": {1: 4.0, 2: 6.0}, "b": {1: 5.0, 2: 7.0}})
    assert (found.difference, found.ci99, found.t, found.p) == (1, (1, 1), None, None)


def test_agreement_by_hand() -> None:
    # Within: |7-9|/√2 = √2, 0 and √((1+0+1)/2) = 1 for 4, 5, 6; pairs: 2 | 0 | 1, 2, 1: of 5, 3 are at most 1.
    # Alpha: observed, over ordered pairs of each unit / (n - 1): 2·2²/1 + 0 + 2·(1 + 4 + 1)/2 = 14.
    # Values 7 9 3 3 4 5 6: mean 37/7, sum of squares 225 - 37²/7 = 29.42857; expected 2·7·29.42857/6 = 68.66667
    scores = {"x": (7, 9), "y": (3, 3), "z": (4, 5, 6), "alone": (10,)}
    given = [
        rating("a", k, score, f"rater{n}", job)
        for k, (job, several) in enumerate(scores.items())
        for n, score in enumerate(several)
    ]
    found = analysis.agreement(given)
    assert (found.jobs, found.ratings) == (3, 7)
    assert found.within == pytest.approx((math.sqrt(2) + 0 + 1) / 3)
    assert found.within_one == pytest.approx(3 / 5)
    assert found.alpha == pytest.approx(1 - 14 / (412 / 6))


def test_agreement_without_jobs_or_without_variation() -> None:
    assert analysis.agreement([rating("a", 1, 5)]).alpha is None
    same = analysis.agreement([rating("a", 1, 5, "x"), rating("a", 1, 5, "y")])
    assert (same.jobs, same.within, same.within_one, same.alpha) == (1, 0, 1, None)


def test_raters_who_always_agree_have_alpha_1() -> None:
    given = [rating("a", mask, score, who) for mask, score in ((1, 3), (2, 8)) for who in ("x", "y")]
    assert analysis.agreement(given).alpha == 1


@given(st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=2, max_size=30))
def test_the_difference_turns_with_its_sides(pairs: list[tuple[int, int]]) -> None:
    scores: dict[str, Any] = {
        name: {k: float(pair[side]) for k, pair in enumerate(pairs)} for side, name in enumerate("ab")
    }
    one, other = analysis.difference("a", "b", scores), analysis.difference("b", "a", scores)
    assert one.difference == pytest.approx(-(other.difference or 0), abs=1e-12)
    assert one.p is None or one.p == pytest.approx(other.p)
    assert one.ci99 is not None
    assert np.allclose(one.ci99, [-edge for edge in reversed(other.ci99 or (0, 0))])
    assert one.ci99[0] <= (one.difference or 0) + 1e-9
    assert (one.difference or 0) <= one.ci99[1] + 1e-9
