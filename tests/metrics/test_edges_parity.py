"""The boundary evaluation beside the official benchmark's own outputs, on its own inputs.

``docs/parity/bsds500.md`` prints what is computed here; a test holds it to that. Officially matched pixels are counted
back from the printed fractions, which have six digits: times the right sum they must be whole numbers, so that a sum
that is off by one pixel shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from helpers.boundary_matching import pairs
from helpers.paths import ROOT
from numpy.typing import NDArray
from PIL import Image
from scipy.io import loadmat

from sambench.metrics import edges

DOCS = ROOT / "docs" / "parity" / "bsds500.md"
IMAGES = ("2018", "3063", "5096", "6046", "8068")
CASES = {"test_1": "ucm2", "test_2": "png", "test_3": "segs", "test_4": "segs"}
SUMMARY = ("ODS threshold", "ODS R", "ODS P", "ODS F", "OIS R", "OIS P", "OIS F", "AP")

LIMIT = 0.001
"""Of every R, P and F that is pooled over images, and of every F of an image at a given threshold."""
IMAGE_LIMIT = 0.0015
"""Of R, P and F of single images: a dozen given-up matches of 9,000 are more than LIMIT."""


def official(file: Path) -> NDArray[np.float64]:
    return np.loadtxt(file, ndmin=2)


def counted_back(fraction: float, total: int) -> int:
    """The whole number that was divided by ``total`` and printed with six significant digits."""
    count = round(fraction * total)
    assert abs(fraction * total - count) <= 0.51e-6 * total, f"{fraction} is no fraction of {total}"
    return count


def people(file: Path) -> list[NDArray[np.bool_]]:
    truth = loadmat(file)["groundTruth"]
    return [truth[0, k]["Boundaries"][0, 0].astype(bool) for k in range(truth.shape[1])]


def contours(file: Path) -> NDArray[np.float64]:
    """``ucm2(3:2:end, 3:2:end)``: the double-size contour map at image size."""
    return loadmat(file)["ucm2"][2::2, 2::2]


def segment_boundaries(labels: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """``seg2bdry(labels, 'imageSize')``: a pixel whose right or lower neighbours, or those two's, differ.

    On the last row (column) only neighbours within it count.
    """
    across, down = labels[:, :-1] != labels[:, 1:], labels[:-1] != labels[1:]
    found = np.zeros(labels.shape, bool)
    found[:-1, :-1] = across[:-1] | across[1:] | down[:, :-1] | down[:, 1:]
    found[-1, :-1] = across[-1]
    found[:-1, -1] = down[:, -1]
    return found


@dataclass(frozen=True)
class Bench:
    """The five images of the benchmark's own example."""

    folder: Path

    def truth(self, image: str) -> list[NDArray[np.bool_]]:
        return people(self.folder / "groundTruth" / f"{image}.mat")

    def counts(self, kind: str) -> list[edges.Counts]:
        found = []
        for image in IMAGES:
            truth = self.truth(image)
            if kind == "segs":
                cells = loadmat(self.folder / "segs" / f"{image}.mat")["segs"][0]
                found.append(of_maps([segment_boundaries(labels) for labels in cells], truth))
                continue
            strength: NDArray[np.generic]
            if kind == "png":
                strength = np.asarray(Image.open(self.folder / "png" / f"{image}.png"))
            else:
                strength = contours(self.folder / "ucm2" / f"{image}.mat")
            found.append(edges.evaluate_image(strength, truth, edges.thresholds(5)))
        return found

    @cached_property
    def cases(self) -> dict[str, tuple[list[edges.Counts], edges.EdgeScores]]:
        by_kind = {kind: self.counts(kind) for kind in dict.fromkeys(CASES.values())}
        return {case: (by_kind[kind], scores(by_kind[kind])) for case, kind in CASES.items()}


def of_maps(maps: list[NDArray[np.bool_]], truth: list[NDArray[np.bool_]]) -> edges.Counts:
    """The counts of several segmentations of an image, with their numbers for thresholds."""
    each = [edges.evaluate_image(binary.astype(float), truth, np.array([1.0])) for binary in maps]
    names = ("sum_r", "cnt_r", "sum_p", "cnt_p")
    return edges.Counts(
        np.arange(1.0, len(maps) + 1), *(np.concatenate([getattr(one, name) for one in each]) for name in names)
    )


def scores(counts: list[edges.Counts]) -> edges.EdgeScores:
    stacked = (np.array([getattr(c, name) for c in counts]) for name in ("sum_r", "cnt_r", "sum_p", "cnt_p"))
    return edges.aggregate(counts[0].thresholds, *stacked)


def summary(found: edges.EdgeScores) -> list[float]:
    """In the order of ``eval_bdry.txt``."""
    values = (
        found.ods_threshold,
        found.ods_recall,
        found.ods_precision,
        found.ods,
        found.ois_recall,
        found.ois_precision,
        found.ois,
        found.ap,
    )
    return [v for v in values if v is not None]


@pytest.fixture(scope="module")
def subset(real_data: Path) -> Path:
    return real_data / "bsds500_subset"


@pytest.fixture(scope="module")
def bench(subset: Path) -> Bench:
    return Bench(subset / "bench" / "data")


@dataclass(frozen=True)
class UcmRow:
    """One image of the reference algorithm, at the threshold that the official table calls its best."""

    image: str
    threshold: float
    fractions: tuple[float, float, float]
    """Official R, P and F."""
    counts: edges.Counts
    at: int

    @property
    def ours(self) -> tuple[float, float, float]:
        one = edges.aggregate(
            np.array([self.threshold]),
            *(
                c[None, self.at : self.at + 1]
                for c in (self.counts.sum_r, self.counts.cnt_r, self.counts.sum_p, self.counts.cnt_p)
            ),
        )
        return float(one.recall[0]), float(one.precision[0]), float(one.f[0])

    @property
    def pixels(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Matched boundary pixels and matched predicted pixels, officially and ours."""
        c, k = self.counts, self.at
        return (
            (counted_back(self.fractions[0], int(c.sum_r[k])), int(c.cnt_r[k])),
            (counted_back(self.fractions[1], int(c.sum_p[k])), int(c.cnt_p[k])),
        )


@pytest.fixture(scope="module")
def ucm_rows(subset: Path) -> list[UcmRow]:
    levels = edges.thresholds(99)
    data = subset / "BSDS500"
    found = []
    for line in (subset / "ucm2_reference_rows.tsv").read_text().splitlines()[1:]:
        image, _, threshold, *fractions = line.split("\t")
        file = data / "ucm2" / "test" / f"{image}.mat"
        if not file.is_file():
            file = subset / "bench" / "data" / "ucm2" / f"{image}.mat"
        truth = people(data / "data" / "groundTruth" / "test" / f"{image}.mat")
        counts = edges.evaluate_image(contours(file), truth, levels)
        r, p, f = map(float, fractions)
        found.append(UcmRow(image, float(threshold), (r, p, f), counts, round(100 * float(threshold)) - 1))
    return found


@pytest.mark.parametrize("case", CASES)
class TestBench:
    def test_summary(self, bench: Bench, case: str) -> None:
        theirs = official(bench.folder / case / "eval_bdry.txt")[0]
        np.testing.assert_allclose(summary(bench.cases[case][1]), theirs, rtol=0, atol=LIMIT)

    def test_curve_and_its_pixels(self, bench: Bench, case: str) -> None:
        counts, found = bench.cases[case]
        rows = official(bench.folder / case / "eval_bdry_thr.txt")
        np.testing.assert_allclose(counts[0].thresholds, rows[:, 0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            np.stack([found.recall, found.precision, found.f], 1), rows[:, 1:], rtol=0, atol=LIMIT
        )
        for t, (_, recall, precision, _) in enumerate(rows):
            sum_r, cnt_r, sum_p, cnt_p = (
                sum(int(getattr(c, name)[t]) for c in counts) for name in ("sum_r", "cnt_r", "sum_p", "cnt_p")
            )
            # A matching of greatest size is never smaller than the official one; 69,505 boundary pixels.
            assert 0 <= cnt_r - counted_back(recall, sum_r) <= 40
            assert abs(cnt_p - counted_back(precision, sum_p)) <= 8

    def test_images(self, bench: Bench, case: str) -> None:
        counts, found = bench.cases[case]
        rows = official(bench.folder / case / "eval_bdry_img.txt")
        ours = np.stack([found.image_threshold, found.image_recall, found.image_precision, found.image_f], 1)
        np.testing.assert_allclose(ours[:, 0], rows[:, 1], rtol=0, atol=1e-6)
        np.testing.assert_allclose(ours[:, 1:], rows[:, 2:], rtol=0, atol=IMAGE_LIMIT)
        for c, (_, threshold, recall, precision, _) in zip(counts, rows, strict=True):
            t = int(np.abs(c.thresholds - threshold).argmin())
            assert 0 <= c.cnt_r[t] - counted_back(recall, int(c.sum_r[t])) <= 14
            assert abs(c.cnt_p[t] - counted_back(precision, int(c.sum_p[t]))) <= 4


def test_the_four_cases_hold_the_same_contours(bench: Bench) -> None:
    """So what their official results differ by is what the official matcher differs from itself by."""
    (first, _), *others = bench.cases.values()
    for counts, _ in others:
        for a, b in zip(first, counts, strict=True):
            for name in ("sum_r", "cnt_r", "sum_p", "cnt_p"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_lower_bit_of_a_threshold_is_another_result(bench: Bench) -> None:
    """k / (n + 1) lets in the pixels of value 85/255 at 1/3, and P drops to .9202 (officially .9269)."""
    naive = [
        edges.evaluate_image(
            np.asarray(Image.open(bench.folder / "png" / f"{i}.png")), bench.truth(i), np.array([1 / 3])
        )
        for i in IMAGES
    ]
    assert scores(naive).precision[0] == pytest.approx(0.9202, abs=2e-4)


def test_matched_pixels_are_the_most_there_can_be_at_the_least_cost(bench: Bench) -> None:
    """With every annotator: at all thresholds beside scipy's full assignment, at the lowest and the highest beside its
    maximum matching (which is slow at the others)."""
    for image, counts in zip(IMAGES, bench.cases["test_2"][0], strict=True):
        strength = np.asarray(Image.open(bench.folder / "png" / f"{image}.png")) / 255
        truth = bench.truth(image)
        for t, level in enumerate(counts.thresholds):
            binary = edges.thin(strength >= level)
            problems = [pairs(binary, drawn) for drawn in truth]
            partners = [
                edges.match(binary, drawn)[0].ravel()[problem.predicted]
                for drawn, problem in zip(truth, problems, strict=True)
            ]
            for problem, found in zip(problems, partners, strict=True):
                assert problem.saved(found) == problem.most_saved_sparse()
            assert counts.cnt_r[t] == sum(int((found >= 0).sum()) for found in partners)
            if level in counts.thresholds[[0, -1]]:
                assert counts.cnt_r[t] == sum(problem.most_pairs() for problem in problems)


def test_carried_matchings_are_those_of_single_thresholds(subset: Path) -> None:
    """On a map of 8 bits with much clutter, thresholds from the lowest to the highest."""
    image = np.asarray(Image.open(subset / "BSDS500" / "data" / "images" / "test" / "107045.jpg").convert("L"))
    steepness = np.hypot(*np.gradient(image.astype(float)))
    strength = np.minimum(2 * steepness, 255).astype(np.uint8)
    truth = people(subset / "BSDS500" / "data" / "groundTruth" / "test" / "107045.mat")
    levels = edges.thresholds(99)
    together = edges.evaluate_image(strength, truth, levels)
    for t in (0, 1, 7, 30, 70, 98):
        alone = edges.evaluate_image(strength, truth, levels[t : t + 1])
        for name in ("sum_r", "cnt_r", "sum_p", "cnt_p"):
            assert getattr(alone, name)[0] == getattr(together, name)[t], (t, name)


def test_images_of_the_reference_algorithm(ucm_rows: list[UcmRow]) -> None:
    """20 of the 200 rows of ``ucm2/test_eval/eval_bdry_img.txt``, 99 thresholds."""
    assert len(ucm_rows) == 20
    # Of 99,327 predicted pixels. Ties fall so that the union over annotators is no larger or smaller than officially.
    assert abs(sum(ours - theirs for _, (theirs, ours) in (row.pixels for row in ucm_rows))) <= 10
    for row in ucm_rows:
        np.testing.assert_allclose(row.ours, row.fractions, rtol=0, atol=IMAGE_LIMIT, err_msg=row.image)
        assert row.ours[2] == pytest.approx(row.fractions[2], abs=LIMIT)
        (theirs_r, ours_r), (theirs_p, ours_p) = row.pixels
        assert 0 <= ours_r - theirs_r <= 14, row.image
        assert abs(ours_p - theirs_p) <= 8, row.image
        # The best threshold of all may be another of a plateau, where F differs in a digit that the matcher decides.
        assert scores([row.counts]).image_f[0] == pytest.approx(row.fractions[2], abs=LIMIT)


def tables(bench: Bench, ucm_rows: list[UcmRow]) -> str:
    """The generated part of the documentation."""

    def cells(theirs: float, ours: float) -> str:
        return f"{theirs:.6f} | {ours:.6f} | {ours - theirs:+.6f}"

    lines = [
        "### Summary (`eval_bdry.txt`)",
        "",
        "| case | quantity | official | ours | difference |",
        "|---|---|---|---|---|",
    ]
    for case, (_, found) in bench.cases.items():
        theirs = official(bench.folder / case / "eval_bdry.txt")[0]
        values = zip(SUMMARY, theirs, summary(found), strict=True)
        lines += [f"| {case} | {name} | {cells(a, b if abs(b - a) > 5e-7 else a)} |" for name, a, b in values]

    headings = "| R official | ours | difference | P official | ours | difference | F official | ours | difference |"
    lines += ["", "### Curves (`eval_bdry_thr.txt`)", "", "| case | threshold " + headings, "|---" * 11 + "|"]
    for case, (_, found) in bench.cases.items():
        for t, (level, *theirs) in enumerate(official(bench.folder / case / "eval_bdry_thr.txt")):
            ours = found.recall[t], found.precision[t], found.f[t]
            lines.append(f"| {case} | {level:g} | " + " | ".join(map(cells, theirs, ours)) + " |")

    lines += [
        "",
        "### Best of each image (`eval_bdry_img.txt`)",
        "",
        "| case | image | threshold " + headings,
        "|---" * 12 + "|",
    ]
    for case, (_, found) in bench.cases.items():
        for i, (_, level, *theirs) in enumerate(official(bench.folder / case / "eval_bdry_img.txt")):
            ours = found.image_recall[i], found.image_precision[i], found.image_f[i]
            lines.append(f"| {case} | {IMAGES[i]} | {level:g} | " + " | ".join(map(cells, theirs, ours)) + " |")

    lines += [
        "",
        "### Matched pixels of the curves",
        "",
        "| case | threshold | sumR | cntR official | ours | difference | sumP | cntP official | ours | difference |",
        "|---" * 10 + "|",
    ]
    for case, (counts, _) in bench.cases.items():
        for t, (level, recall, precision, _) in enumerate(official(bench.folder / case / "eval_bdry_thr.txt")):
            line = f"| {case} | {level:g} "
            for total, count, fraction in (("sum_r", "cnt_r", recall), ("sum_p", "cnt_p", precision)):
                all_of, ours = (sum(int(getattr(c, name)[t]) for c in counts) for name in (total, count))
                theirs = counted_back(fraction, all_of)
                line += f"| {all_of} | {theirs} | {ours} | {ours - theirs:+d} "
            lines.append(line + "|")

    lines += ["", "### ucm2, 99 thresholds (`ucm2/test_eval/eval_bdry_img.txt`)", ""]
    lines += ["| image | threshold | cntR difference | cntP difference " + headings, "|---" * 13 + "|"]
    for row in ucm_rows:
        differences = " | ".join(f"{ours - theirs:+d}" for theirs, ours in row.pixels)
        lines.append(
            f"| {row.image} | {row.threshold:g} | {differences} | "
            + " | ".join(map(cells, row.fractions, row.ours))
            + " |"
        )
    sums = [sum(ours - theirs for theirs, ours in (row.pixels[k] for row in ucm_rows)) for k in (0, 1)]
    lines += ["", f"All 20 rows together: cntR {sums[0]:+d}, cntP {sums[1]:+d} pixels."]
    return "\n".join(lines)


def test_the_documentation_prints_these_tables(bench: Bench, ucm_rows: list[UcmRow]) -> None:
    expected = tables(bench, ucm_rows)
    printed = DOCS.read_text().partition("<!-- tables -->\n")[2].partition("\n<!-- end of tables -->")[0]
    assert printed == expected, f"what stands between the markers in {DOCS.name} is not what is computed:\n{expected}"
