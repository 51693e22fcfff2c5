"""Paired differences, their bootstrap and Holm's correction: by hand, against scipy, and as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sambench.metrics import paired
from sambench.metrics.stats import metric_of


def test_by_hand() -> None:
    result = paired.compare([0.5, 0.25, 1.0], [0.75, 0.25, 0.5], ["a", "a", "b"], 0, resamples=2000)
    # differences .25, 0, -.5: sum -.25 over 3; image a: .25 over 2 masks, image b: -.5 over 1
    assert result.difference == pytest.approx(-0.25 / 3)
    assert (result.first, result.second) == (pytest.approx(1.75 / 3), 0.5)
    assert (result.wins, result.ties, result.losses, result.n, result.images) == (1, 1, 1, 3, 2)
    # The four draws aa, ab, ba, bb have means .125, -1/12, -1/12, -.5.
    assert result.resampled is not None
    means, counts = np.unique(result.resampled.round(9), return_counts=True)
    assert means.tolist() == pytest.approx([-0.5, -0.25 / 3, 0.125])
    assert counts / 2000 == pytest.approx([0.25, 0.5, 0.25], abs=0.05)
    assert result.ci95 == (-0.5, 0.125)
    # A quarter of the draws is above zero: p is about twice that.
    assert result.p == pytest.approx(0.5, abs=0.1)


def test_a_tie_is_what_is_said_to_be_one() -> None:
    assert paired.compare([0.5, 0.5], [0.52, 0.6], [1, 2], 0, tie=0.05).ties == 1


def test_one_image_says_nothing_about_images() -> None:
    result = paired.compare([0.5, 0.25], [0.75, 0.5], [7, 7], 0)
    assert (result.difference, result.ci95, result.p) == (0.25, None, None)
    assert paired.compare([], [], [], 0).difference is None


def test_no_pairs() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        paired.compare([0.5], [0.5, 0.6], [1, 2], 0)


def test_the_interval_is_that_of_the_differences() -> None:
    rng = np.random.default_rng(0)
    a, b, images = rng.random(200), rng.random(200), rng.integers(0, 20, 200)
    result = paired.compare(a, b, images, 5)
    assert result.ci95 == metric_of(b - a, images, 5).ci95_bootstrap


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
@settings(max_examples=30)
def test_swapping_the_models_mirrors_everything(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, images = rng.random(n), rng.random(n), rng.integers(0, 4, n)
    one, other = (paired.compare(x, y, images, seed, resamples=200) for x, y in ((a, b), (b, a)))
    assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)
    assert one.p == other.p
    if one.ci95 is not None and other.ci95 is not None:
        assert one.ci95 == pytest.approx((-other.ci95[1], -other.ci95[0]), abs=1e-12)


def test_equal_models_never_differ() -> None:
    values, images = np.linspace(0, 1, 50), np.arange(50) // 5
    result = paired.compare(values, values, images, 0)
    assert (result.difference, result.ci95, result.p, result.ties) == (0.0, (0.0, 0.0), 1.0, 50)


def test_holm_by_hand() -> None:
    # Sorted: .01 * 4, .02 * 3, .03 * 2, .04 * 1 -> .04, .06, .06, .06 (never below the one before)
    assert paired.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert paired.holm([0.9, 0.8]) == [1.0, 1.0]
    assert paired.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_only_raises_and_keeps_the_order(p_values: list[float]) -> None:
    corrected = paired.holm(p_values)
    assert all(p <= c <= 1 for p, c in zip(p_values, corrected, strict=True))
    for i, p in enumerate(p_values):
        for j, q in enumerate(p_values):
            assert p > q or corrected[i] <= corrected[j]
