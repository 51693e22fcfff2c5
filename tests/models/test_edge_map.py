"""The edge map of a promptable model: against dense numpy and scipy, by hand, and against the official SAM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import official_sam
from helpers.sam_masks import with_small_masks
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from sambench.errors import UsageError
from sambench.models.common.box_nms import box_nms, mask_boxes
from sambench.models.common.logit_windows import LogitWindow, SoftPrediction
from sambench.models.common.point_grid import one_point_each, point_grid
from sambench.models.common.wrapper import ModelAnswerError, PredictorModel
from sambench.models.edges.edge_map import (
    EdgeMap,
    EdgeMapOptions,
    boundary_on_device,
    finish,
    non_maximum_suppression,
    strength_from_view,
    stretched,
    surviving_masks,
    to_8bit,
    triangle_filter,
)
from sambench.models.region_tree.region_tree import RegionTree
from sambench.models.sam.sam import SamOptions, SamPrediction, SamView, load_checkpoint
from sambench.plugins import options
from sambench.types import Mask, Prompts, View

DEFAULT = EdgeMapOptions()
POINTS = frozenset({"points", "multimask"})


# A plain implementation: everything dense -----------------------------------------------------------------------------

EIGHT = np.ones((3, 3), bool)


def plain_boundary(mask: NDArray[np.bool_], options: EdgeMapOptions) -> NDArray[np.bool_]:
    if not options.holes:
        mask = ndimage.binary_fill_holes(mask)
    outer = ndimage.binary_dilation(mask, EIGHT) & ~mask
    inner = mask & ~ndimage.binary_erosion(mask, EIGHT, border_value=1)
    return {"outer": outer, "inner": inner, "both": outer | inner}[options.boundary]


def plain_strength(
    probabilities: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]], options: EdgeMapOptions
) -> NDArray[np.float64]:
    """Before the stretch. ``(H, W)`` each."""
    result = np.zeros(masks[0].shape)
    mode = {"replicate": "nearest", "reflect": "mirror", "zero": "constant"}[options.padding]
    for probability, mask in zip(probabilities, masks, strict=True):
        p = probability.astype(np.float64)
        gradient = np.hypot(ndimage.sobel(p, 0, mode=mode), ndimage.sobel(p, 1, mode=mode))
        result = np.maximum(result, np.where(plain_boundary(mask, options), gradient, 0))
    return result


def plain_nms(boxes: NDArray[Any], scores: NDArray[Any], threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-(0.0 if np.isnan(scores[i]) else scores[i]), i)):
        # torchvision's CPU kernel compares an IoU in float32 with a threshold in double precision.
        if all(not float(np.float32(box_iou(boxes[i], boxes[j]))) > threshold for j in kept):
            kept.append(i)
    return kept


def box_iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    common = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if common else 0.0


def plain_suppression(e: NDArray[np.float32], r: int, s: int, m: float, radius: int) -> NDArray[np.float64]:
    """The Structured Edge toolbox's steps with angles, one pixel at a time, from its description."""
    h, w = e.shape
    f = np.convolve(np.ones(radius + 1), np.ones(radius + 1)) / (radius + 1) ** 2
    padded = np.pad(e.astype(np.float64), radius, mode="symmetric")
    smooth = np.array(
        [[f @ padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1] @ f for x in range(w)] for y in range(h)]
    )
    oy, ox = np.gradient(smooth)
    oxx = np.gradient(ox, axis=1)
    oyy, oxy = np.gradient(oy)
    out = e.astype(np.float64)
    for y in range(h):
        for x in range(w):
            sign = -1.0 if oxy[y, x] > 0 else 1.0
            angle = math.atan(oyy[y, x] * sign / (oxx[y, x] + 1e-5)) % math.pi
            for d in [*range(-r, 0), *range(1, r + 1)]:
                v = min(max(y + d * math.sin(angle), 0), h - 1.001)
                u = min(max(x + d * math.cos(angle), 0), w - 1.001)
                i, j, b, a = int(v), int(u), v - int(v), u - int(u)
                there = (e[i, j] * (1 - a) + e[i, j + 1] * a) * (1 - b) + (
                    e[i + 1, j] * (1 - a) + e[i + 1, j + 1] * a
                ) * b
                if e[y, x] * m < there:
                    out[y, x] = 0
    s = min(s, h // 2, w // 2)
    for k in range(s):
        for line in (out[k], out[h - 1 - k], out[:, k], out[:, w - 1 - k]):
            line *= k / s
    return out


# Predictions to draw from ---------------------------------------------------------------------------------------------


class Binary:
    """A prediction and its view at once: given masks, one or more candidates a prompt."""

    def __init__(self, masks: NDArray[np.bool_], scores: NDArray[Any] | None = None) -> None:
        """``masks``: ``(N, M, H, W)``."""
        self.dense = masks
        self.scores = np.ones(masks.shape[:2], np.float32) if scores is None else np.asarray(scores, np.float32)

    def predict(self, prompts: Prompts, *, multimask: bool) -> Any:
        assert len(prompts) == len(self.scores)
        return self

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        return [Mask.from_dense(self.dense[n, m]) for n, m in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> None:
        return None


class Soft(Binary):
    """The same from logits, handed out as whole frames; ``where``: the device it says they are on."""

    def __init__(self, logits: NDArray[np.float32], scores: NDArray[Any] | None = None) -> None:
        super().__init__(logits > 0, scores)
        self.values = logits

    def logits(self, which: Sequence[tuple[int, int]], margin: int) -> Iterator[LogitWindow]:
        for n, m in which:
            yield LogitWindow(0, 0, torch.from_numpy(self.values[n, m][None].copy()))

    def boxes(self) -> NDArray[np.int64]:
        boxes = [
            [mask.box for mask in self.masks([(n, m) for m in range(len(row))])] for n, row in enumerate(self.dense)
        ]
        return np.array(boxes, np.int64)


def blobs(seed: int, count: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Logits ``(count, 1, H, W)``: noisy disks anywhere, over the border too, and one empty and one full mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    logits = []
    for _ in range(count):
        cy, cx = rng.uniform(0, 1, 2) * size
        radius = rng.uniform(0.1, 0.7) * min(size)
        logits.append(radius - np.hypot(y - cy, x - cx) + rng.normal(0, 1.5, size))
    logits[0][:] = -1 - rng.random(size)
    if count > 1:
        logits[1][:] = 1 + rng.random(size)
    return np.array(logits, np.float32)[:, None]


every_boundary = st.sampled_from(["outer", "inner", "both"])
every_padding = st.sampled_from(["replicate", "reflect", "zero"])


# Drawing --------------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    seed=st.integers(0, 2**31),
    boundary=every_boundary,
    padding=every_padding,
    holes=st.booleans(),
)
def test_soft_and_binary_maps_equal_the_plain_ones(
    size: tuple[int, int], seed: int, boundary: Any, padding: Any, holes: bool
) -> None:
    # A threshold of 1 keeps every mask.
    options = EdgeMapOptions(grid=2, box_nms=1.0, boundary=boundary, padding=padding, holes=holes)
    logits = blobs(seed, 4, size)
    frames = [logit[0] for logit in logits]
    masks = [frame > 0 for frame in frames]
    soft = strength_from_view(Soft(logits), size, options, POINTS)
    expected = plain_strength([1 / (1 + np.exp(-f.astype(np.float64))) for f in frames], masks, options)
    # 1e-6 of the map before it is stretched, which makes float32's rounding larger where the map is nearly flat.
    np.testing.assert_allclose(soft.strength, stretched(expected), atol=1e-6 / min(1, max(np.ptp(expected), 1e-3)))
    binary = strength_from_view(Binary(logits > 0), size, options, POINTS)
    np.testing.assert_allclose(binary.strength, stretched(plain_strength(masks, masks, options)), atol=1e-6)
    for found in (soft, binary):
        assert (found.prompts, found.masks, found.survivors, found.thin) == (4, 4, 4, False)
        assert found.strength.dtype == np.float32


@settings(max_examples=20)
@given(
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    seed=st.integers(0, 2**31),
    boundary=every_boundary,
    padding=every_padding,
)
def test_whole_frames_on_a_device_are_drawn_the_same(
    size: tuple[int, int], seed: int, boundary: Any, padding: Any
) -> None:
    options = EdgeMapOptions(boundary=boundary, padding=padding)
    logits = blobs(seed, 5, size)[:, 0]
    drawn = boundary_on_device(torch.from_numpy(logits), options).numpy()
    expected = plain_strength([1 / (1 + np.exp(-f.astype(np.float64))) for f in logits], list(logits > 0), options)
    np.testing.assert_allclose(drawn, expected, atol=1e-5)


def one_mask(rows: list[str], **options: Any) -> NDArray[np.float32]:
    mask = np.array([[c == "#" for c in row] for row in rows])
    made = EdgeMapOptions(grid=1, **options)
    return strength_from_view(Binary(mask[None, None]), mask.shape, made, POINTS).strength


def test_by_hand_a_straight_edge() -> None:
    """Columns 0 and 1 are the mask: the Sobel magnitude is 4 in columns 1 and 2 and the outer ring is column 2. It
    does not end before the first and the last row, since the rows beyond repeat them."""
    expected = np.tile(np.array([0, 0, 1, 0, 0], np.float32), (4, 1))
    np.testing.assert_array_equal(one_mask(["##..."] * 4), expected)
    np.testing.assert_array_equal(one_mask(["##..."] * 4, boundary="inner"), np.roll(expected, -1, 1))
    np.testing.assert_array_equal(
        one_mask(["##..."] * 4, boundary="both"), np.maximum(expected, np.roll(expected, -1, 1))
    )


def test_by_hand_a_corner() -> None:
    """One pixel: its neighbours across an edge see a gradient of 2, those across a corner (1, 1), magnitude 1.414.
    The pixel itself sees 0."""
    corner = math.sqrt(0.5)
    expected = [[0, 0, 0, 0, 0], [0, corner, 1, corner, 0], [0, 1, 0, 1, 0], [0, corner, 1, corner, 0], [0, 0, 0, 0, 0]]
    rows = [".....", ".....", "..#..", ".....", "....."]
    np.testing.assert_allclose(one_mask(rows), np.array(expected, np.float32), atol=1e-7)


def test_padding_matters_at_the_frame_only() -> None:
    """The mask is column 0 of three. The outer ring is column 1 with magnitude 4. Zeros above the image make the
    gradient there (-3, 1), magnitude 3.162; without repeating the border pixel, row -1 is row 1 and nothing changes.
    The inner ring is column 0: replicated, column -1 is column 0, gradient -4; reflected, column -1 is column 1 and
    the gradient vanishes."""
    rows = ["#..", "#..", "#.."]
    assert one_mask(rows, padding="zero")[0, 1] == pytest.approx(math.sqrt(10) / 4)
    assert one_mask(rows, padding="reflect")[0, 1] == 1
    assert one_mask(rows, boundary="both")[1].tolist() == [1, 1, 0]
    assert one_mask(rows, boundary="both", padding="reflect")[1].tolist() == [0, 1, 0]


def test_holes() -> None:
    """A frame of mask round one background pixel, whose gradient is 0, round two, whose gradient is not."""
    rows = ["......", ".####.", ".#..#.", ".####.", "......"]
    assert one_mask(rows)[2].tolist()[2:4] != [0, 0]
    assert one_mask(rows, holes=False)[2].tolist()[2:4] == [0, 0]
    # A bay that the border of the image closes is not a hole; what only a diagonal gap opens is one.
    assert one_mask(["#..#", "####"], holes=False)[0].tolist()[1:3] != [0, 0]
    diagonal = one_mask([".....", "..#..", ".#.#.", "..#..", "....."], holes=False, boundary="both")
    assert diagonal[2, 2] == 0


def test_an_empty_and_a_full_mask_have_no_boundary() -> None:
    assert not one_mask(["...", "..."]).any()
    for boundary in ("outer", "inner", "both"):
        assert not one_mask(["###", "###"], boundary=boundary).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1)])
def test_images_of_one_row_or_column(size: tuple[int, int]) -> None:
    mask = np.zeros(size, bool)
    mask[: size[0] // 2 + 1, : size[1] // 2 + 1] = True
    for padding in ("replicate", "reflect", "zero"):
        options = EdgeMapOptions(grid=1, padding=padding)  # type: ignore[arg-type]
        found = strength_from_view(Binary(mask[None, None]), size, options, POINTS)
        assert np.isfinite(found.strength).all()
        assert finish(found, options).shape == size


def test_the_maximum_over_masks_is_stretched() -> None:
    assert stretched(np.array([[1, 3], [2, 5]], np.float32)).tolist() == [[0, 0.5], [0.25, 1]]
    assert stretched(np.full((2, 2), 7, np.float32)).tolist() == [[0, 0], [0, 0]]


# Prompts and survivors ------------------------------------------------------------------------------------------------


def test_point_grid_equals_the_released_one() -> None:
    official_sam.package()
    from segment_anything.utils.amg import build_point_grid

    for n, size in ((16, (321, 481)), (1, (3, 5)), (7, (100, 20))):
        expected = build_point_grid(n) * np.array(size)[None, ::-1]
        np.testing.assert_allclose(point_grid(n, size), expected, rtol=1e-6)
    # 4 per side of 8 x 16 pixels: x at 2, 6, 10, 14, y at 1, 3, 5, 7.
    assert point_grid(4, (8, 16))[:5].tolist() == [[2, 1], [6, 1], [10, 1], [14, 1], [2, 3]]
    prompts = one_point_each(point_grid(4, (8, 16)))
    assert prompts.points is not None
    assert prompts.labels is not None
    assert prompts.points.shape == (16, 1, 2)
    assert prompts.labels.tolist() == [[1]] * 16


@settings(max_examples=200)
@given(
    boxes=st.lists(st.tuples(*[st.integers(0, 12)] * 4), max_size=25),
    seed=st.integers(0, 2**31),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.9, 1.0]),
)
def test_box_nms_equals_the_plain_one(boxes: list[tuple[int, ...]], seed: int, threshold: float) -> None:
    """On boxes and scores with many ties; IoUs of such boxes are as near a threshold as fractions get."""
    given_boxes = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes]).reshape(-1, 4)
    scores = np.random.default_rng(seed).integers(-1, 4, len(boxes)).astype(np.float32)
    assert box_nms(given_boxes, scores, threshold).tolist() == plain_nms(given_boxes, scores, threshold)


def test_box_nms_by_hand() -> None:
    """(0,0,10,10) and (0,0,10,7) have an IoU of 0.7, which is not above 0.7; (0,0,10,8) has 0.8 and goes."""
    boxes = np.array([[0, 0, 10, 7], [0, 0, 10, 10], [0, 0, 10, 8]])
    assert box_nms(boxes, np.array([0.2, 0.9, 0.5]), 0.7).tolist() == [1, 0]
    # Equal scores: the first wins. Not a number: counts as 0, above a negative score.
    same = np.array([[0, 0, 10, 10]] * 3)
    assert box_nms(same, np.array([0.5, 0.5, 0.5]), 0.7).tolist() == [0]
    assert box_nms(same, np.array([-0.1, np.nan, -0.2]), 0.7).tolist() == [1]
    # One pixel wide: no area, no overlap.
    line = np.array([[3, 0, 3, 9]] * 2)
    assert box_nms(line, np.array([0.1, 0.2]), 0.7).tolist() == [1, 0]
    assert box_nms(np.zeros((0, 4), np.int64), np.zeros(0, np.float32), 0.7).tolist() == []


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), size=st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_boxes_equal_the_released_ones(seed: int, size: tuple[int, int]) -> None:
    official_sam.package()
    from segment_anything.utils.amg import batched_mask_to_box

    rng = np.random.default_rng(seed)
    masks = rng.random((3, 2, *size)) > rng.choice([0.5, 0.9, 1.0], (3, 2, 1, 1))
    expected = batched_mask_to_box(torch.from_numpy(masks)).numpy()
    np.testing.assert_array_equal(mask_boxes(Binary(masks)), expected)


def test_survivors_and_their_order() -> None:
    """Two prompts with two candidates: the first candidates are alike and the better one stays."""
    size = (20, 20)
    masks = np.zeros((2, 2, *size), bool)
    masks[0, 0, 2:12, 2:12] = masks[1, 0, 2:12, 2:11] = True
    masks[0, 1, 15:18, 15:18] = True
    prediction = Binary(masks, np.array([[0.6, 0.1], [0.8, 0.9]]))
    # The empty mask (1, 1) has the box 0, 0, 0, 0 and stays.
    assert surviving_masks(prediction, DEFAULT) == [(1, 1), (1, 0), (0, 1)]


def test_suppression_in_batches_first_keeps_others() -> None:
    """Boxes 0-20, 4-24 and 8-28 of one row: neighbours have an IoU of 16/24 = .667, the outer two 12/28 = .43.
    Scores rise. At once, at a threshold of 0.6: the third removes the second, the first stays. In batches of one
    prompt nothing is removed first, and the result is the same; in batches of two the second has removed the first
    before the third removes the second."""
    masks = np.zeros((3, 1, 10, 40), bool)
    for n in range(3):
        masks[n, 0, :, 4 * n : 4 * n + 21] = True
    prediction = Binary(masks, np.array([[0.1], [0.2], [0.3]]))
    options = EdgeMapOptions(box_nms=0.6)
    assert surviving_masks(prediction, options) == [(2, 0), (0, 0)]
    assert surviving_masks(prediction, replace(options, box_nms_batch=1)) == [(2, 0), (0, 0)]
    assert surviving_masks(prediction, replace(options, box_nms_batch=2)) == [(2, 0)]


# Thinning -------------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(2, 18), st.integers(2, 18)),
    seed=st.integers(0, 2**31),
    r=st.integers(1, 3),
    s=st.integers(0, 12),
    m=st.sampled_from([0.9, 1.0, 1.01, 1.2]),
    radius=st.integers(1, 5),
)
def test_suppression_equals_a_plain_loop(
    size: tuple[int, int], seed: int, r: int, s: int, m: float, radius: int
) -> None:
    rng = np.random.default_rng(seed)
    e = (ndimage.gaussian_filter(rng.random(size), 1) * (rng.random(size) > 0.2)).astype(np.float32)
    radius = min(radius, *size)  # numpy's symmetric padding agrees up to there
    options = EdgeMapOptions(nms_radius=r, nms_border=s, nms_multiplier=m, orientation_radius=radius)
    made, expected = non_maximum_suppression(e, options), plain_suppression(e, r, s, m, radius)
    # A comparison within rounding may go either way.
    near = np.abs(made - expected) > 1e-6
    assert near.sum() <= 0.01 * near.size
    assert made.dtype == np.float32


def ramp(profile: list[float], length: int = 24) -> NDArray[np.float32]:
    return np.tile(np.array(profile, np.float32), (length, 1))


def test_by_hand_a_ridge_is_thinned_to_its_crest() -> None:
    """A vertical ridge .2 .6 .9 .6 .2: across it, .9 is above both neighbours, .6 below .9 / 1.01, .2 below .6."""
    profile = [0.0] * 10 + [0.2, 0.6, 0.9, 0.6, 0.2] + [0.0] * 9
    options = EdgeMapOptions(nms_border=0)
    for ridge, thin in (
        (ramp(profile), ramp([0.9 if v == 0.9 else 0.0 for v in profile])),
        (ramp(profile).T, ramp([0.9 if v == 0.9 else 0.0 for v in profile]).T),
    ):
        np.testing.assert_allclose(non_maximum_suppression(ridge, options), thin, atol=1e-7)


def test_the_multiplier_keeps_what_is_nearly_as_strong() -> None:
    """Beside .9 a pixel of .895 stays with 1.01 (.904 >= .9) and goes with 1.0."""
    profile = [0.0] * 10 + [0.2, 0.895, 0.9, 0.2] + [0.0] * 10
    kept = non_maximum_suppression(ramp(profile), EdgeMapOptions(nms_border=0))[12]
    assert np.flatnonzero(kept).tolist() == [11, 12]
    kept = non_maximum_suppression(ramp(profile), EdgeMapOptions(nms_border=0, nms_multiplier=1.0))[12]
    assert np.flatnonzero(kept).tolist() == [12]


def test_the_radius_reaches_farther_crests() -> None:
    """.5 is two pixels from .9 with a valley between: it stays with a radius of 1 and goes with 2."""
    profile = [0.0] * 10 + [0.5, 0.1, 0.9] + [0.0] * 11
    near = non_maximum_suppression(ramp(profile), EdgeMapOptions(nms_border=0))[12]
    far = non_maximum_suppression(ramp(profile), EdgeMapOptions(nms_border=0, nms_radius=2))[12]
    assert np.flatnonzero(near).tolist() == [10, 12]
    assert np.flatnonzero(far).tolist() == [12]


def test_the_frame_fades() -> None:
    """A constant map is stronger nowhere and stays, times 0, .2, .4, .6, .8 from the frame inwards, corners twice."""
    faded = non_maximum_suppression(np.ones((12, 14), np.float32), DEFAULT)
    np.testing.assert_allclose(faded[6], [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-6)
    assert faded[1, 1] == pytest.approx(0.04)
    # No more than half the map: 3 of 6 rows, in both directions.
    faded = non_maximum_suppression(np.ones((6, 14), np.float32), DEFAULT)
    np.testing.assert_allclose(faded[:, 7], [0, 1 / 3, 2 / 3, 2 / 3, 1 / 3, 0], atol=1e-6)
    assert faded[2, 4] == pytest.approx(2 / 3)


def test_triangle_filter() -> None:
    """Radius 1 is 1 2 1 over 4: a point becomes the outer product, and at the border its mirror image comes in."""
    point = np.zeros((5, 5))
    point[2, 2] = 16
    assert triangle_filter(point, 1)[1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    corner = np.zeros((3, 3))
    corner[0, 0] = 16
    assert triangle_filter(corner, 1)[:2, :2].tolist() == [[9, 3], [3, 1]]
    assert triangle_filter(np.full((3, 9), 0.5), 4) == pytest.approx(np.full((3, 9), 0.5))


def test_blur_comes_before_thinning_and_either_can_be_off() -> None:
    e = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    assert non_maximum_suppression(e, EdgeMapOptions(edge_nms=False)) is e
    blurred = triangle_filter(e, 1).astype(np.float32)
    np.testing.assert_array_equal(non_maximum_suppression(e, EdgeMapOptions(edge_nms=False, blur_radius=1)), blurred)
    np.testing.assert_array_equal(
        non_maximum_suppression(e, EdgeMapOptions(blur_radius=1)), non_maximum_suppression(blurred, DEFAULT)
    )


def test_eight_bits_round_half_up() -> None:
    values = np.array([[0, 1, 0.5, 0.4999 / 255, 0.5 / 255, 1.5 / 255]])
    assert to_8bit(values).tolist() == [[0, 255, 128, 0, 1, 2]]
    assert to_8bit(values).dtype == np.uint8


def test_a_map_that_is_thin_is_left_alone() -> None:
    e = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    np.testing.assert_array_equal(finish(EdgeMap(e, thin=True), DEFAULT), to_8bit(e))
    np.testing.assert_array_equal(finish(EdgeMap(e), DEFAULT), to_8bit(non_maximum_suppression(e, DEFAULT)))


# Models ---------------------------------------------------------------------------------------------------------------


class OwnEdges(View):
    def __init__(self, own: Any) -> None:
        self.own = own

    def predict(self, prompts: Prompts, *, multimask: bool) -> Any:
        raise AssertionError("a model with edges is not prompted")

    def edges(self) -> Any:
        return self.own


def test_a_model_with_edges_is_asked_for_them() -> None:
    own = np.random.default_rng(0).random((6, 8))
    found = strength_from_view(OwnEdges(own), (6, 8), DEFAULT, {"edges", "points"})
    np.testing.assert_array_equal(found.strength, own.astype(np.float32))
    assert (found.thin, found.masks, found.prompts) == (False, 0, 0)
    view = OwnEdges(own)
    view.edges_are_thin = True  # type: ignore[attr-defined]
    assert strength_from_view(view, (6, 8), DEFAULT, {"edges"}).thin  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (np.zeros((8, 6)), "map \\(8, 6\\) for an image of \\(6, 8\\)"),
        (np.full((6, 8), 1.5), "outside"),
        (np.full((6, 8), -0.1), "outside"),
        (np.full((6, 8), np.nan), "outside"),
    ],
)
def test_a_wrong_map_of_a_model_is_refused(own: Any, message: str) -> None:
    with pytest.raises(ModelAnswerError, match=message):
        strength_from_view(OwnEdges(own), (6, 8), DEFAULT, {"edges"})  # type: ignore[arg-type]


def test_region_tree_has_edges_where_the_picture_has() -> None:
    image = np.full((60, 90, 3), 60, np.uint8)
    image[15:45, 30:70] = (200, 60, 40)
    (view,) = RegionTree().encode([image])
    found = strength_from_view(view, (60, 90), EdgeMapOptions(grid=4), RegionTree.capabilities)
    assert (found.prompts, found.masks) == (16, 48)
    assert 1 <= found.survivors <= 48
    assert found.strength[14, 50] > 0.9
    assert not found.strength[5:12, 5:20].any()


def test_a_user_model_without_multimask() -> None:
    class Threshold:
        def set_image(self, image: NDArray[np.uint8]) -> None:
            self.image = image

        def predict(self, point_coords: Any, point_labels: Any) -> Any:
            return (self.image[..., 0] > 100)[None], np.array([0.5])

    image = np.zeros((20, 30, 3), np.uint8)
    image[:, :10] = 255
    model = PredictorModel(Threshold(), "threshold", "0")
    found = strength_from_view(model.encode([image])[0], (20, 30), EdgeMapOptions(grid=2), model.capabilities)
    assert (found.prompts, found.masks, found.survivors) == (4, 4, 1)
    assert np.flatnonzero(found.strength[9]).tolist() == [10]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("grid", 0, "task.grid=0"),
        ("box_nms", 1.1, "task.box_nms"),
        ("box_nms", -0.1, "task.box_nms"),
        ("box_nms", float("nan"), "task.box_nms"),
        ("box_nms_batch", -1, "at least 0"),
        ("blur_radius", -1, "at least 0"),
        ("orientation_radius", -1, "at least 0"),
        ("nms_border", -1, "at least 0"),
        ("nms_radius", 0, "at least 1"),
        ("nms_multiplier", 0.0, "above 0"),
        ("nms_multiplier", float("inf"), "finite"),
    ],
)
def test_options_that_make_no_sense(field: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options.build(EdgeMapOptions, {field: value}, "task")


# SAM ------------------------------------------------------------------------------------------------------------------

PHOTO = (120, 180)


class OfficialPair:
    """The official predictor and our model over the same random weights, both looking at one picture."""

    def __init__(self, folder: Path) -> None:
        official = with_small_masks(official_sam.build(side=512))
        checkpoint = folder / "weights.pth"
        torch.save(official.state_dict(), checkpoint)
        self.predictor = official_sam.package().SamPredictor(official)
        self.model = load_checkpoint(str(checkpoint), SamOptions(), "cpu")
        rng = np.random.default_rng(0)
        y, x = np.mgrid[: PHOTO[0], : PHOTO[1]]
        waves = np.stack([np.sin(x / (7 + 9 * c) + c) + np.cos(y / (11 + 5 * c)) for c in range(3)], -1)
        image = np.clip(128 + 50 * waves + rng.normal(0, 20, waves.shape), 0, 255).astype(np.uint8)
        self.predictor.set_image(image)
        self.view: SamView = self.model.encode([image])[0]

    def official_logits(self, points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``(N, 3, H, W)`` full-size logits and ``(N, 3)`` predicted IoUs."""
        answers = [
            self.predictor.predict(point[None], np.ones(1, np.int64), multimask_output=True, return_logits=True)
            for point in points
        ]
        return np.stack([a[0] for a in answers]), np.stack([a[1] for a in answers])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> OfficialPair:
    return OfficialPair(tmp_path_factory.mktemp("pair"))


GRID = EdgeMapOptions(grid=5)


@pytest.fixture(scope="module")
def official(pair: OfficialPair) -> Soft:
    """What the official predictor answers to the grid, as a prediction with whole frames."""
    return Soft(*pair.official_logits(point_grid(GRID.grid, PHOTO)))


@pytest.mark.parametrize("changed", [{}, {"boundary": "both", "padding": "zero"}, {"holes": False}])
def test_the_whole_map_equals_that_of_the_official_logits(
    pair: OfficialPair, official: Soft, changed: dict[str, Any]
) -> None:
    """Except next to pixels whose logit is within rounding of 0, which may lie on either side of a boundary."""
    options = replace(GRID, **changed)
    found = strength_from_view(pair.view, PHOTO, options, pair.model.capabilities)
    survivors = plain_nms(
        mask_boxes(Binary(official.values > 0)).reshape(-1, 4), official.scores.reshape(-1), options.box_nms
    )
    assert (found.prompts, found.masks, found.survivors) == (25, 75, len(survivors))
    assert 15 < len(survivors) < 70, "as good as none or all survive: the comparison would be empty"
    frames = official.values.reshape(-1, *PHOTO)[survivors]
    probabilities = 1 / (1 + np.exp(-frames.astype(np.float64)))
    expected = plain_strength(list(probabilities), list(frames > 0), options)
    assert (expected > 0).mean() > 0.1
    unsure = ndimage.binary_dilation((np.abs(frames) < 1e-4).any(0), EIGHT)
    assert unsure.mean() < 0.2
    difference = np.abs(found.strength - stretched(expected.astype(np.float32)))
    assert difference[~unsure].max() < 1e-3
    print(f"{changed}: largest difference {difference[~unsure].max():.1e}, {unsure.sum()} pixels unsure")

    ours, theirs = (finish(EdgeMap(np.asarray(s, np.float32)), options) for s in (found.strength, stretched(expected)))
    assert (np.abs(ours.astype(int) - theirs) > 1).mean() < 1e-3


def test_sam_hands_out_logits_at_full_size_where_they_can_be_positive(pair: OfficialPair, official: Soft) -> None:
    prediction = pair.view.predict(one_point_each(point_grid(GRID.grid, PHOTO)), multimask=True)
    assert isinstance(prediction, SoftPrediction)
    assert not isinstance(Binary(np.zeros((1, 1, 2, 2), bool)), SoftPrediction)
    pairs = [(n, m) for n in (3, 0, 24) for m in (2, 0)]
    pairs = [(n, m) for n, m in pairs if (official.values[n, m] > 0).any()]
    windows = list(prediction.logits(pairs, 2))
    assert len(windows) == len(pairs) >= 3
    for (n, m), window in zip(pairs, windows, strict=True):
        logits, whole = window.logits[0].numpy(), official.values[n, m]
        h, w = logits.shape
        place = (slice(window.top, window.top + h), slice(window.left, window.left + w))
        np.testing.assert_allclose(logits, whole[place], atol=1e-4)
        elsewhere = whole.copy()
        elsewhere[place] = -1
        assert not (elsewhere > 1e-4).any()
        x0, y0, x1, y1 = Mask.from_dense(whole > 1e-4).box
        assert window.top <= max(0, y0 - 2)
        assert window.left <= max(0, x0 - 2)
        assert window.top + h >= min(PHOTO[0], y1 + 2)
        assert window.left + w >= min(PHOTO[1], x1 + 2)


def test_boxes_and_drawing_as_on_a_gpu(pair: OfficialPair) -> None:
    """The code for a device, run on the CPU."""
    answered = pair.view.predict(one_point_each(point_grid(GRID.grid, PHOTO)), multimask=True)
    low, frame = answered.low.flatten(0, 1).clone(), pair.view.frame
    low[7] = -1  # an empty mask
    prediction = SamPrediction(frame, low.view(25, 3, 128, 128), answered.scores)
    boxes = prediction.boxes()
    assert boxes.shape == (25, 3, 4)
    assert boxes.reshape(-1, 4)[7].tolist() == [0, 0, 0, 0]
    np.testing.assert_array_equal(frame._boxes_on_device(low), boxes.reshape(-1, 4))
    assert frame._boxes_on_device(low[:0]).shape == (0, 4)
    pairs = [(n, m) for n in range(25) for m in range(3)]
    assert [mask.box for mask in prediction.masks(pairs)] == [tuple(box) for box in boxes.reshape(-1, 4).tolist()]

    options = replace(GRID, box_nms=1.0)
    strength = np.zeros(PHOTO, np.float32)
    for logits in frame._full(low):
        strength = np.maximum(strength, boundary_on_device(logits, options).numpy())
    found = strength_from_view(_Answering(prediction), PHOTO, options, POINTS)
    difference = np.abs(found.strength - stretched(strength))
    assert (difference > 1e-4).mean() < 1e-3  # logits of 0 to rounding


class _Answering:
    def __init__(self, prediction: Any) -> None:
        self.prediction = prediction

    def predict(self, prompts: Prompts, *, multimask: bool) -> Any:
        return self.prediction


def test_the_same_view_gives_the_same_bits(pair: OfficialPair) -> None:
    first, second = (strength_from_view(pair.view, PHOTO, GRID, pair.model.capabilities) for _ in range(2))
    assert first.strength.tobytes() == second.strength.tobytes()
