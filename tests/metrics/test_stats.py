"""Means and intervals: by hand, against a plain loop over the same draws, and by what an interval is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sambench.metrics import stats
from sambench.types import MetricValue

fractions = st.floats(0, 1, allow_nan=False, width=32)
masks = st.lists(st.tuples(fractions, st.integers(0, 5)), min_size=1, max_size=30)


def naive_bootstrap(values, clusters, rng, resamples):
    """The definition, one mask at a time."""
    members = {}
    for value, cluster in zip(values, clusters, strict=True):
        members.setdefault(cluster, []).append(value)
    names = sorted(members)
    means = []
    for _ in range(resamples):
        drawn = [v for i in rng.integers(0, len(names), len(names)) for v in members[names[i]]]
        means.append(math.fsum(drawn) / len(drawn))
    return means


def naive_interval(means):
    means = sorted(means)

    def percentile(q):  # linear interpolation between the two nearest order statistics
        position = q * (len(means) - 1)
        below = math.floor(position)
        above = min(below + 1, len(means) - 1)
        return means[below] + (position - below) * (means[above] - means[below])

    return percentile(0.025), percentile(0.975)


def test_mean_by_hand():
    assert stats.mean([0.25, 0.5, 0.75, 0.75]) == 0.5625  # 2.25 / 4
    assert stats.mean([1.0]) == 1.0
    assert stats.mean([]) is None


def test_normal_interval_by_hand():
    # Mean .5; deviations ±.25 twice: s² = 4 · .0625 / 3 = .08333; half = 1.96 · sqrt(.08333 / 4) = 1.96 · .1443376
    low, high = stats.normal_interval([0.25, 0.25, 0.75, 0.75])
    assert low == pytest.approx(0.5 - 0.2829016, abs=1e-7)
    assert high == pytest.approx(0.5 + 0.2829016, abs=1e-7)


def test_normal_interval_is_not_cut_at_the_ends_of_the_scale():
    low, high = stats.normal_interval([0.0, 1.0])  # .5 ± 1.96 · sqrt(.5 / 2)
    assert (low, high) == pytest.approx((0.5 - 0.98, 0.5 + 0.98))
    assert stats.normal_interval([0.0, 0.0, 0.9])[0] < 0


def test_undefined_is_none():
    rng = np.random.default_rng(0)
    assert stats.normal_interval([]) is None
    assert stats.normal_interval([0.3]) is None
    assert stats.bootstrap_means([], [], rng) is None
    assert stats.bootstrap_means([0.1, 0.9, 0.4], ["a", "a", "a"], rng) is None
    assert stats.metric_of([0.1, 0.9, 0.4], ["a", "a", "a"], 0).ci95_bootstrap is None
    assert stats.metric_of([], [], 0) == MetricValue(None, 0, None, None)
    assert stats.metric_of([0.5], ["a"], 0) == MetricValue(0.5, 1, None, None)


def test_bootstrap_by_hand():
    # Two images, sums 0 and 1, one mask each: a resample's mean is 0, .5, .5 or 1 with equal chance, so both tails of
    # 2.5 % lie at the ends.
    assert stats.metric_of([0.0, 1.0], ["a", "b"], 0).ci95_bootstrap == (0.0, 1.0)
    # The same with 3 masks in image b: means 0, 3/4, 3/4, 1, never .5: masks weigh, images do not.
    drawn = stats.bootstrap_means([0, 1, 1, 1], list("abbb"), np.random.default_rng(0), resamples=40)
    assert set(drawn) == {0.0, 0.75, 1.0}


def test_constant_values_have_an_interval_of_no_width():
    values, clusters = [0.1] * 300, [i % 7 for i in range(300)]
    metric = stats.metric_of(values, clusters, 3)
    assert metric.value == 0.1
    assert metric.ci95 == (0.1, 0.1)
    assert metric.ci95_bootstrap == (0.1, 0.1)


@given(masks, st.integers(0, 2**32))
@settings(max_examples=60)
def test_bootstrap_equals_the_loop(pairs, seed):
    values, clusters = [v for v, _ in pairs], [c for _, c in pairs]
    ours = stats.bootstrap_means(values, clusters, np.random.default_rng(seed), resamples=50)
    if len(set(clusters)) < 2:
        assert ours is None
    else:
        assert ours == pytest.approx(naive_bootstrap(values, clusters, np.random.default_rng(seed), 50), abs=1e-12)


def test_the_interval_of_a_metric_is_that_of_the_loop():
    rng = np.random.default_rng(6)
    values, clusters = rng.random(20), rng.integers(0, 6, 20)
    means = naive_bootstrap(values, clusters, np.random.default_rng(9), stats.RESAMPLES)
    found = stats.metric_of(values, clusters, 9).ci95_bootstrap
    assert found == pytest.approx(naive_interval(means), abs=1e-12)


@given(masks)
@settings(max_examples=60)
def test_bounds(pairs):
    values, clusters = [v for v, _ in pairs], [c for _, c in pairs]
    metric = stats.metric_of(values, clusters, 0)
    assert metric.n == len(values)
    assert min(values) <= metric.value <= max(values)
    if metric.ci95 is not None:
        assert metric.ci95[0] <= metric.value <= metric.ci95[1]
    if metric.ci95_bootstrap is not None:
        assert min(values) <= metric.ci95_bootstrap[0] <= metric.ci95_bootstrap[1] <= max(values)


@given(masks, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_order_does_not_matter_to_the_last_bit(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    results = [
        stats.metric_of([v for v, _ in p], [f"image {c}" for _, c in p], 11)  # names sort as the numbers do
        for p in (pairs, shuffled)
    ]
    assert results[0] == results[1]


def test_draws_do_not_depend_on_the_chunks(monkeypatch):
    rng = np.random.default_rng(5)
    values, clusters = rng.random(500), rng.integers(0, 60, 500)
    whole = stats.bootstrap_means(values, clusters, np.random.default_rng(1), resamples=501)
    for at_once in (1, 61, 7 * 60):
        monkeypatch.setattr(stats, "_DRAWS_AT_ONCE", at_once)
        assert np.array_equal(stats.bootstrap_means(values, clusters, np.random.default_rng(1), resamples=501), whole)


def test_seed_decides_and_the_global_generator_does_not():
    values, clusters = [0.1, 0.4, 0.7, 0.9], [0, 1, 2, 3]
    np.random.seed(1)  # noqa: NPY002 - what must not matter
    first = stats.metric_of(values, clusters, 7)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert stats.metric_of(values, clusters, 7) == first
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    rng = np.random.default_rng(0)
    spread = stats.metric_of(rng.random(200), rng.integers(0, 40, 200), 7).ci95_bootstrap
    rng = np.random.default_rng(0)
    assert stats.metric_of(rng.random(200), rng.integers(0, 40, 200), 8).ci95_bootstrap != spread


def test_bootstrap_covers_where_the_normal_interval_does_not():
    # 40 images of 10 masks; masks of an image share most of their value, so n is far less than 400 independent masks.
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(40), 10)
    inside = {"normal": 0, "bootstrap": 0}
    trials = 300
    for _ in range(trials):
        values = 0.5 + 0.1 * np.repeat(rng.standard_normal(40), 10) + 0.05 * rng.standard_normal(400)
        low, high = stats.normal_interval(values)
        inside["normal"] += low <= 0.5 <= high
        low, high = np.quantile(stats.bootstrap_means(values, clusters, rng, resamples=400), (0.025, 0.975))
        inside["bootstrap"] += low <= 0.5 <= high
    assert 0.90 <= inside["bootstrap"] / trials <= 0.98
    assert inside["normal"] / trials < 0.70


def test_both_intervals_agree_when_each_image_has_one_mask():
    values = np.random.default_rng(3).random(2000)
    metric = stats.metric_of(values, np.arange(2000), 0)
    assert metric.ci95_bootstrap == pytest.approx(metric.ci95, abs=1e-3)


def test_metrics_by_equals_each_group_alone():
    rng = np.random.default_rng(4)
    values, groups, clusters = rng.random(90), [f"c{i}" for i in rng.integers(0, 4, 90)], rng.integers(0, 9, 90)
    together = stats.metrics_by(values, groups, clusters, 5)
    assert list(together) == sorted(set(groups))
    for name, metric in together.items():
        chosen = [i for i, g in enumerate(groups) if g == name]
        assert metric == stats.metric_of(values[chosen], clusters[chosen], 5)
    assert sum(m.n for m in together.values()) == 90
    assert stats.metrics_by([], [], [], 0) == {}


def test_groups_and_clusters_keep_names_that_differ_in_a_trailing_nul():
    metrics = stats.metrics_by([0.0, 1.0], ["a", "a\0"], None, 0)
    assert metrics == {"a": MetricValue(0.0, 1), "a\0": MetricValue(1.0, 1)}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        stats.metric_of([0.5, bad], ["a", "b"], 0)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 values but 1 labels"):
        stats.metric_of([0.5, 0.5], ["a"], 0)
    with pytest.raises(ValueError, match="one-dimensional"):
        stats.mean(np.zeros((2, 2)))
