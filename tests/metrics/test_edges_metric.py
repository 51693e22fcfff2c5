"""The boundary evaluation on small cases: by hand, and against scikit-image and dense assignments."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.boundary_matching import pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.morphology import thin as skimage_thin

from sambench.metrics import edges

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

COUNTS = ("sum_r", "cnt_r", "sum_p", "cnt_p")


def pixels(*places: tuple[int, int], size: tuple[int, int] = (100, 100)) -> NDArray[np.bool_]:
    """True at the given (row, column)."""
    image = np.zeros(size, bool)
    for place in places:
        image[place] = True
    return image


def counts_of(found: edges.Counts) -> list[list[int]]:
    return [getattr(found, name).tolist() for name in COUNTS]


@st.composite
def random_maps(draw: st.DrawFn, n: int, largest: int = 14) -> list[NDArray[np.bool_]]:
    """n maps of one size; some sparse, some full of clutter, some with the pixels in a lattice (all distances tie)."""
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    maps = []
    for _ in range(n):
        image = rng.random((height, width)) < draw(st.sampled_from((0.05, 0.2, 0.5, 0.9)))
        step = draw(st.sampled_from((1, 1, 2, 3)))
        image &= (np.add.outer(np.arange(height), np.arange(width)) % step) == 0
        maps.append(image)
    return maps


tolerances = st.sampled_from((0.01, 0.06, 0.1, 0.15, 0.3))


class TestThresholds:
    def test_rounded_like_matlab(self) -> None:
        """linspace(1/6, 5/6, 5)(2) lies one last bit above 1/3 = 85/255; 2/6 does not."""
        levels = edges.thresholds(5)
        assert levels[1] == np.nextafter(2 / 6, 1)
        assert levels[1] > 85 / 255
        assert levels[[0, -1]].tolist() == [1 / 6, 1 - 1 / 6]

    def test_99(self) -> None:
        levels = edges.thresholds()
        assert levels.shape == (99,)
        np.testing.assert_allclose(levels, np.arange(1, 100) / 100, rtol=0, atol=2e-16)

    def test_one(self) -> None:
        assert edges.thresholds(1).tolist() == [0.5]
        with pytest.raises(ValueError, match="at least one"):
            edges.thresholds(0)


class TestThinning:
    def test_a_thick_bar(self) -> None:
        """Three rows of seven: worked by scikit-image, a line of five in the middle."""
        bar = np.zeros((5, 9), bool)
        bar[1:4, 1:8] = True
        assert np.argwhere(edges.thin(bar)).tolist() == [[2, x] for x in range(2, 7)]

    @settings(max_examples=200)
    @given(random_maps(1, largest=30))
    def test_equals_scikit_image(self, maps: list[NDArray[np.bool_]]) -> None:
        np.testing.assert_array_equal(edges.thin(maps[0]), skimage_thin(maps[0]))

    def test_solid_shapes_up_to_the_frame(self) -> None:
        y, x = np.mgrid[:60, :80]
        for shape in (np.ones((60, 80), bool), np.hypot(y - 10, x - 70) < 25, (y // 7 + x // 5) % 3 > 0):
            np.testing.assert_array_equal(edges.thin(shape), skimage_thin(shape))


class TestMatching:
    """On 100 x 100 pixels the tolerance reaches 0.0075 * 141.4 = 1.06 pixels: the four neighbours."""

    def test_the_nearest_of_two(self) -> None:
        of_predicted, of_truth = edges.match(pixels((5, 5), (5, 6)), pixels((5, 6)))
        assert of_truth[5, 6] == 5 * 100 + 6
        assert of_predicted[5, 6] == 5 * 100 + 6
        assert of_predicted[5, 5] == -1

    def test_two_far_pairs_rather_than_one_near(self) -> None:
        """6-6 costs nothing, but leaves 5 and 7 alone; 5-6 and 6-7 match both, for 100 each."""
        of_predicted, _ = edges.match(pixels((5, 5), (5, 6)), pixels((5, 6), (5, 7)))
        assert of_predicted[5, 5:7].tolist() == [506, 507]

    def test_diagonal_neighbours_are_too_far(self) -> None:
        of_predicted, of_truth = edges.match(pixels((5, 5)), pixels((6, 6)))
        assert of_predicted.max() == of_truth.max() == -1

    def test_rows_do_not_wrap_round(self) -> None:
        of_predicted, _ = edges.match(pixels((5, 99)), pixels((6, 0)))
        assert of_predicted.max() == -1

    def test_the_official_reach(self) -> None:
        """0.0075 * hypot(321, 481) = 4.337: (4, 1) of length 4.12 and (3, 3) of 4.24 are in, (4, 2) of 4.47 is not."""
        size = (321, 481)
        for offset, inside in (((4, 1), True), ((3, 3), True), ((4, 2), False), ((0, 5), False)):
            partner, _ = edges.match(pixels((50, 50), size=size), pixels((50 + offset[0], 50 + offset[1]), size=size))
            assert (partner.max() >= 0) == inside, offset

    @settings(max_examples=300)
    @given(random_maps(2), tolerances)
    def test_equals_a_dense_assignment(self, maps: list[NDArray[np.bool_]], tolerance: float) -> None:
        of_predicted, of_truth = edges.match(*maps, tolerance)
        problem = pairs(*maps, tolerance)
        partners = of_predicted.ravel()[problem.predicted]
        assert problem.saved(partners) == problem.most_saved_dense()
        assert (partners >= 0).sum() == problem.most_pairs()
        # One to one, and both maps tell the same.
        taken = problem.predicted[partners >= 0]
        assert np.flatnonzero(of_truth >= 0).tolist() == sorted(partners[partners >= 0].tolist())
        assert of_truth.ravel()[partners[partners >= 0]].tolist() == taken.tolist()

    def test_wrong_input(self) -> None:
        with pytest.raises(ValueError, match="bool"):
            edges.match(np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool))
        with pytest.raises(ValueError, match="dimensions"):
            edges.match(np.zeros((4, 4), bool), np.zeros((4, 5), bool))
        for tolerance in (0, -1, np.nan, np.inf):
            with pytest.raises(ValueError, match="tolerance"):
                edges.match(np.zeros((4, 4), bool), np.zeros((4, 4), bool), tolerance)


class TestImage:
    def test_by_hand(self) -> None:
        """Line a (10 pixels) at strength .9, line b (20) at .5.

        Person 1 drew a one row lower, 12 pixels, of which 10 can be matched one to one; person 2 drew b where it is,
        and, out of everyone's reach, 5 pixels more.
        """
        strength = np.zeros((100, 100))
        strength[10, 5:15] = 0.9
        strength[50, 20:40] = 0.5
        first, second = np.zeros((2, 100, 100), bool)
        first[11, 4:16] = True
        second[50, 20:40] = True
        second[80, 1:6] = True
        found = edges.evaluate_image(strength, [first, second], np.array([0.25, 0.5, 0.75, 0.95]))
        assert counts_of(found) == [[37] * 4, [30, 30, 10, 0], [30, 30, 10, 0], [30, 30, 10, 0]]

    def test_a_pixel_matched_to_two_people_counts_once_in_precision(self) -> None:
        line = np.zeros((100, 100), bool)
        line[10, 5:15] = True
        found = edges.evaluate_image(line.astype(float), [line, line, ~line & False], np.array([0.5]))
        assert counts_of(found) == [[20], [20], [10], [10]]

    def test_people_are_not_thinned_and_predictions_are(self) -> None:
        thick = np.zeros((100, 100), bool)
        thick[10:13, 5:12] = True
        found = edges.evaluate_image(thick.astype(float), [thick], np.array([0.5]))
        assert counts_of(found) == [[21], [5], [5], [5]]
        found = edges.evaluate_image(thick.astype(float), [thick], np.array([0.5]), thin=False)
        assert counts_of(found) == [[21], [21], [21], [21]]

    def test_dtypes_mean_the_same(self) -> None:
        rng = np.random.default_rng(3)
        strength = rng.integers(0, 256, (60, 70)).astype(np.uint8)
        truth = [rng.random((60, 70)) < 0.05 for _ in range(2)]
        levels = edges.thresholds(5)  # 1/3 among them, which 85/255 must not reach
        expected = counts_of(edges.evaluate_image(strength, truth, levels))
        assert counts_of(edges.evaluate_image(strength / 255, truth, levels)) == expected
        assert counts_of(edges.evaluate_image(strength.astype(np.uint16) * 257, truth, levels)) == expected
        assert expected[2] == [int(skimage_thin(strength / 255 >= level).sum()) for level in levels]

    @settings(max_examples=100)
    @given(random_maps(5), tolerances, st.booleans())
    def test_other_levels_do_not_matter(self, maps: list[NDArray[np.bool_]], tolerance: float, thinned: bool) -> None:
        """The matching carried from level to level is the one that a single level finds, down to its ties."""
        strength = sum(m.astype(float) for m in maps[:3]) / 4
        levels = np.array([0.2, 0.3, 0.5, 0.7])
        options = {"thin": thinned, "tolerance": tolerance}
        together = counts_of(edges.evaluate_image(strength, maps[3:], levels, **options))
        for t, level in enumerate(levels):
            alone = counts_of(edges.evaluate_image(strength, maps[3:], np.array([level]), **options))
            assert alone == [[c[t]] for c in together]
            binary = edges.thin(strength >= level) if thinned else strength >= level
            partners = [edges.match(binary, truth, tolerance) for truth in maps[3:]]
            assert together[1][t] == sum(int((of_truth >= 0).sum()) for _, of_truth in partners)
            assert together[3][t] == int(np.any([of_predicted >= 0 for of_predicted, _ in partners], axis=0).sum())

    @settings(max_examples=50)
    @given(random_maps(7), tolerances)
    def test_the_order_of_people_does_not_matter(self, maps: list[NDArray[np.bool_]], tolerance: float) -> None:
        strength, levels = sum(m.astype(float) for m in maps[:4]) / 4, np.array([0.25, 0.5, 0.75, 1.0])
        forth = edges.evaluate_image(strength, maps[4:], levels, tolerance=tolerance)
        back = edges.evaluate_image(strength, maps[:3:-1], levels, tolerance=tolerance)
        assert counts_of(back) == counts_of(forth)

    def test_ties_of_two_people_fall_independently(self) -> None:
        """Fifty true pixels, each between two predicted ones. If both people's ties fell alike, 50 of the 100 would be
        matched to anybody; independently 75 are expected, with a standard deviation of 3.5."""
        first = np.zeros((100, 100), bool)
        first[5:55:5, 10:60:10] = True
        second = first.copy()
        second[90, 90] = True
        strength = (np.roll(first, 1, axis=1) | np.roll(first, -1, axis=1)).astype(float)
        found = edges.evaluate_image(strength, [first, second], np.array([0.5]))
        assert counts_of(found)[:3] == [[101], [100], [100]]
        assert 60 <= found.cnt_p[0] <= 90

    def test_threads_give_the_same(self) -> None:
        rng = np.random.default_rng(4)
        cases = [(rng.random((80, 90)), [rng.random((80, 90)) < 0.1 for _ in range(3)]) for _ in range(8)]
        levels = edges.thresholds(9)
        alone = [counts_of(edges.evaluate_image(*case, levels)) for case in cases]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda case: counts_of(edges.evaluate_image(*case, levels)), cases)) == alone

    def test_nothing_predicted_or_nothing_drawn(self) -> None:
        empty = np.zeros((30, 40), np.uint8)
        truth = np.eye(30, 40, dtype=bool)
        levels = edges.thresholds(3)
        assert counts_of(edges.evaluate_image(empty, [truth], levels)) == [[30] * 3, [0] * 3, [0] * 3, [0] * 3]
        found = edges.evaluate_image(truth.astype(float), [truth & False], levels)
        assert counts_of(found) == [[0] * 3, [0] * 3, [30] * 3, [0] * 3]

    @pytest.mark.parametrize(
        ("strength", "message"),
        [
            (np.zeros((4, 5, 1)), "two dimensions"),
            (np.zeros((4, 6)), "two dimensions"),
            (np.zeros((4, 5), np.int64), "uint8, uint16 or float"),
            (np.zeros((4, 5), bool), "uint8, uint16 or float"),
            (np.full((4, 5), np.nan), "within 0 and 1"),
            (np.full((4, 5), 1.5), "within 0 and 1"),
            (np.full((4, 5), -0.1), "within 0 and 1"),
        ],
    )
    def test_unusable_strengths(self, strength: NDArray[np.float64], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            edges.evaluate_image(strength, [np.zeros((4, 5), bool)], edges.thresholds(3))

    def test_unusable_truth_and_levels(self) -> None:
        strength, truth = np.zeros((4, 5)), np.zeros((4, 5), bool)
        with pytest.raises(ValueError, match="without annotated boundaries"):
            edges.evaluate_image(strength, [], edges.thresholds(3))
        with pytest.raises(ValueError, match="bool"):
            edges.evaluate_image(strength, [truth.astype(np.uint8)], edges.thresholds(3))
        for levels in ([], [0.5, 0.5], [0.5, 0.4], [0.0, 0.5], [0.5, 1.1], [np.nan], [[0.5]]):
            with pytest.raises(ValueError, match="ascend"):
                edges.evaluate_image(strength, [truth], np.array(levels))


class TestScores:
    def test_by_hand(self) -> None:
        """Two images, three thresholds.

        Image 1: R 8/10, 6/10, 2/10; P 8/20, 6/8, 2/2; F .5333, .6667, .3333: best at the second.
        Image 2: R 10/10, 5/10, 1/10; P 10/10, 5/5, 1/1; F 1, .6667, .1818: best at the first.
        Pooled: R 18/20, 11/20, 3/20; P 18/30, 11/13, 3/3; F .72, .6667, .2609.
        OIS: R 16/20, P 16/18, F 2 * .8 * .8889 / 1.6889 = .84211.
        """
        levels = np.array([0.25, 0.5, 0.75])
        scores = edges.aggregate(
            levels,
            np.full((2, 3), 10),
            np.array([[8, 6, 2], [10, 5, 1]]),
            np.array([[20, 8, 2], [10, 5, 1]]),
            np.array([[8, 6, 2], [10, 5, 1]]),
        )
        np.testing.assert_allclose(scores.recall, [0.9, 0.55, 0.15])
        np.testing.assert_allclose(scores.precision, [0.6, 11 / 13, 1])
        np.testing.assert_allclose(scores.f, [0.72, 2 / 3, 6 / 23])
        assert (scores.ois_recall, scores.ois_precision) == (0.8, 16 / 18)
        assert scores.ois == pytest.approx(16 / 19)
        assert scores.image_f[1] == 1
        assert scores.image_threshold[1] == 0.25
        # Between the first two thresholds P and R are interpolated: at d of 99 steps,
        # R = .9 - .35 d / 99, P = .6 + .246154 d / 99; F is greatest at d = 28: R .80101, P .66962.
        d = 28 / 99
        assert scores.ods_threshold == pytest.approx(0.25 + 0.25 * d)
        assert scores.ods_recall == pytest.approx(0.9 - 0.35 * d)
        assert scores.ods_precision == pytest.approx(0.6 + (11 / 13 - 0.6) * d)
        assert scores.ods == pytest.approx(2 * 0.80101 * 0.66962 / (0.80101 + 0.66962), abs=1e-5)
        # Recall at precision .5: the lowest precision is .6 already, at recall .9.
        assert scores.r50 == 0.9

    @staticmethod
    def curve(recall: list[float], precision: list[float]) -> edges.EdgeScores:
        """Of one image with 1000 boundary and 1000 predicted pixels at each threshold."""
        n = len(recall)
        thousand = np.full((1, n), 1000)
        cnt_r, cnt_p = (np.rint(1000 * np.array([c])).astype(int) for c in (recall, precision))
        return edges.aggregate(edges.thresholds(n), thousand, cnt_r, thousand, cnt_p)

    def test_average_precision_divides_101_samples_by_100(self) -> None:
        """Precision 1 at every recall from 0 to 1 gives 1.01; only from .25 to .75, 51 samples, gives .51."""
        assert self.curve([1, 0.5, 0], [1, 1, 1]).ap == pytest.approx(1.01)
        assert self.curve([0.75, 0.5, 0.25], [1, 1, 1]).ap == pytest.approx(0.51)

    def test_average_precision_of_a_single_recall_is_0(self) -> None:
        assert self.curve([0.5, 0.5], [0.2, 0.4]).ap == 0

    def test_recall_at_half_precision(self) -> None:
        # From (P .4, R .8) to (P .6, R .4): half way.
        assert self.curve([0.8, 0.4], [0.4, 0.6]).r50 == pytest.approx(0.6)
        assert self.curve([0.8, 0.4], [0.6, 0.7]).r50 == 0.8
        assert self.curve([0.8, 0.4], [0.3, 0.4]).r50 is None
        # The last threshold finds next to nothing: its precision of 0 is no point of the curve.
        assert self.curve([0.8, 0.4, 0.0], [0.6, 0.7, 0.0]).r50 == 0.8

    def test_nothing_found_scores_0(self) -> None:
        scores = self.curve([0, 0, 0], [0, 0, 0])
        assert (scores.ods, scores.ois, scores.ap, scores.r50) == (0, 0, 0, None)
        zero = np.zeros((2, 3), int)
        scores = edges.aggregate(edges.thresholds(3), zero + 7, zero, zero, zero)
        assert (scores.ods, scores.ois, scores.ap) == (0, 0, 0)
        assert scores.precision.tolist() == [0, 0, 0]

    def test_no_images_score_nothing(self) -> None:
        none = np.zeros((0, 3), int)
        scores = edges.aggregate(edges.thresholds(3), none, none, none, none)
        assert scores.ods is scores.ois is scores.ap is scores.r50 is None
        assert np.isnan(scores.f).all()
        assert scores.image_f.shape == (0,)

    def test_wrong_shapes(self) -> None:
        good, bad = np.zeros((2, 3), int), np.zeros((2, 4), int)
        with pytest.raises(ValueError, match="3 thresholds"):
            edges.aggregate(edges.thresholds(3), good, good, good, bad)

    def test_the_order_of_images_does_not_matter(self) -> None:
        rng = np.random.default_rng(5)
        counts = [np.sort(rng.integers(1, 100, (6, 9)), axis=1)[:, ::-1] for _ in range(2)]
        total = np.full((6, 9), 100)
        forth = edges.aggregate(edges.thresholds(9), total, counts[0], total, counts[1])
        back = edges.aggregate(edges.thresholds(9), total, counts[0][::-1], total, counts[1][::-1])
        assert (forth.ods, forth.ois, forth.ap, forth.r50) == (back.ods, back.ois, back.ap, back.r50)
