"""The mask generator step by step, by hand and against dense numpy, and with models of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sambench.errors import UsageError
from sambench.masks import from_rle, to_rle
from sambench.models.common.coded_masks import MaskFilter
from sambench.models.common.logit_windows import LogitWindow
from sambench.models.common.mask_coder import MASKS, MaskCoder
from sambench.models.common.mask_generator import GeneratorOptions, MaskGenerator, Proposals, crop_boxes
from sambench.models.common.wrapper import PredictorModel
from sambench.models.region_tree.region_tree import RegionTree
from sambench.plugins import options
from sambench.types import Mask, Prompts, View

POINTS = frozenset({"points", "multimask"})
SIZE = (60, 80)
OPEN = GeneratorOptions(
    points_per_side=1, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1, crop_nms_thresh=1
)
"""Everything stays."""
PAPER = GeneratorOptions(
    crop_n_layers=2,
    crop_n_points_downscale_factor=2,
    full_image_thresh=0.95,
    min_mask_region_area=100,
    keep_largest_region=False,
)
"""Those of the data engine (§B)."""


class Answer:
    """M binary masks for each of N prompts. ``masks``: ``(N, M, H, W)`` bool."""

    def __init__(self, masks: NDArray[np.bool_], scores: NDArray[np.float32]) -> None:
        self.dense, self.scores = masks, scores
        self.most_at_once = 0

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        self.most_at_once = max(self.most_at_once, len(which))
        return [Mask.from_dense(self.dense[n, m]) for n, m in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> None:
        return None


class SoftAnswer(Answer):
    """The same from logits ``(N, M, H, W)`` float32, as models with nothing but the soft interface answer."""

    def __init__(self, values: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
        super().__init__(values > 0, scores)
        self.values = values

    def logits(self, which: Sequence[tuple[int, int]], margin: int) -> Iterator[LogitWindow]:
        for n, m in which:
            if self.dense[n, m].any():
                x0, y0, x1, y1 = Mask.from_dense(self.dense[n, m]).box
                top, left = max(0, y0 - margin), max(0, x0 - margin)
                part = self.values[n, m, top : y1 + margin, left : x1 + margin].copy()
                yield LogitWindow(top, left, torch.from_numpy(part)[None])

    def boxes(self) -> NDArray[np.int64]:
        raise AssertionError("the generator measures boxes itself")


class Fixed:
    """A view that answers every point with the same masks, whatever the crop: what lies in it of them."""

    def __init__(self, masks: Sequence[NDArray[Any]], scores: Sequence[float], kind: type[Answer] = Answer) -> None:
        self.shown, self.quality, self.kind = np.stack(masks), np.array(scores, np.float32), kind
        self.prompts: list[NDArray[np.float32]] = []
        self.answers: list[Answer] = []

    def predict(self, prompts: Prompts, *, multimask: bool) -> Answer:
        assert prompts.points is not None
        self.prompts.append(prompts.points[:, 0])
        n, m = len(prompts), len(self.shown) if multimask else 1
        self.answers.append(
            self.kind(np.broadcast_to(self.shown[:m], (n, m, *self.shown.shape[1:])), np.tile(self.quality[:m], (n, 1)))
        )
        return self.answers[-1]

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[Fixed]:
        for x0, y0, x1, y1 in boxes:
            yield Fixed(list(self.shown[:, y0:y1, x0:x1]), self.quality.tolist(), self.kind)


def rectangle(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def generate(view: Any, size: tuple[int, int] = SIZE, **changed: Any) -> Proposals:
    return MaskGenerator(replace(OPEN, **changed)).generate(view, size, POINTS)


def dense(found: Proposals) -> list[NDArray[np.bool_]]:
    return [from_rle(rle).dense() for rle in found.rles]


# Coding ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    crop=st.tuples(*[st.integers(0, 5)] * 4),
    seed=st.integers(0, 2**31),
    level=st.floats(-2, 2),
    blocks=st.integers(1, 5),
)
def test_codes_and_measures_equal_dense_ones(
    height: int, width: int, crop: tuple[int, int, int, int], seed: int, level: float, blocks: int
) -> None:
    """Logits in a crop, handed over a few columns at a time: code, area, box and stability of the whole image."""
    x0, y0 = crop[:2]
    size = (y0 + height + crop[2], x0 + width + crop[3])
    logits = (np.random.default_rng(seed).normal(0, 1, (height, width)) + level).astype(np.float32)
    coder = MaskCoder(MaskFilter(size, (x0, y0, x0 + width, y0 + height), 0, 0, 0.75, 10**9, -1))
    columns = [(0, a, np.ascontiguousarray(logits[:, a : a + blocks].T)) for a in range(0, width, blocks)]
    coder.add_logits(5, 0.25, columns)
    whole = np.zeros(size, bool)
    whole[y0 : y0 + height, x0 : x0 + width] = logits > 0
    coder.add_mask(6, 0.5, Mask.from_dense(logits > 0))
    found = coder.kept()
    mask = Mask.from_dense(whole)
    assert [code.decode() for code in found.codes] == [to_rle(mask)["counts"]] * 2
    assert found.areas.tolist() == [mask.area] * 2
    left, top, right, bottom = mask.box if mask.area else (x0, y0, x0 + 1, y0 + 1)
    assert found.boxes.tolist() == [[left, top, right - 1, bottom - 1]] * 2
    union = np.count_nonzero(logits > -0.75)
    stability = np.float32(np.count_nonzero(logits > 0.75)) / np.float32(union) if union else 0
    assert found.stability.tolist() == [stability, float(mask.area > 0)]
    assert (found.index.tolist(), found.scores.tolist()) == ([5, 6], [0.25, 0.5])


def test_long_runs_have_long_codes() -> None:
    """700 x 900 pixels: run lengths of several digits in the code, and differences below zero."""
    rng = np.random.default_rng(0)
    size = (700, 900)
    logits = np.full(size, -1, np.float32)
    for y, x, h, w in rng.integers(0, 400, (6, 4)):
        logits[y : y + h, x : x + w] *= -1
    coder = MaskCoder(MaskFilter(size, (0, 0, 900, 700), 0, 0, 1, 10**9, 0))
    coder.add_logits(0, 1, [(0, 0, np.ascontiguousarray(logits.T))])
    coder.add_logits(1, 1, [(0, 0, np.ones((900, 700), np.float32))])
    coder.add_logits(2, 1, [])
    everything, nothing = np.ones(size, bool), np.zeros(size, bool)
    expected = [to_rle(Mask.from_dense(mask))["counts"] for mask in (logits > 0, everything, nothing)]
    assert [code.decode() for code in coder.kept().codes] == expected


# Steps, by hand -------------------------------------------------------------------------------------------------------


def test_what_is_known_of_a_proposal() -> None:
    """A mask of 10 x 5 pixels; with one point a side it lies at (0.5 * 80, 0.5 * 60)."""
    found = generate(Fixed([rectangle(20, 30, 30, 35)], [0.75]))
    assert (len(found), found.prompts, found.candidates, found.size) == (1, 1, 1, SIZE)
    assert found.boxes.tolist() == [[20, 30, 29, 34]]
    assert found.areas.tolist() == [50]
    assert found.points.tolist() == [[40, 30]]
    assert found.crop_boxes.tolist() == [[0, 0, 80, 60]]
    assert (found.predicted_iou.tolist(), found.stability.tolist()) == ([0.75], [1])
    assert found.rles == [to_rle(Mask.from_dense(rectangle(20, 30, 30, 35)))]


def test_points_come_in_batches_and_few_masks_at_once() -> None:
    masks = [rectangle(i, i, i + 9, i + 9) for i in range(3)]
    view = Fixed(masks, [0.5, 0.6, 0.7])
    found = generate(view, points_per_side=5, points_per_batch=12)
    assert [len(points) for points in view.prompts] == [12, 12, 1]
    assert (found.prompts, found.candidates, len(found)) == (25, 75, 75)
    assert max(answer.most_at_once for answer in view.answers) == MASKS < 36
    # One candidate a point instead of three.
    assert generate(view, points_per_side=5, multimask=False).candidates == 25
    assert MaskGenerator(OPEN).generate(view, SIZE, frozenset({"points"})).candidates == 1


def test_confidence_is_above_its_threshold() -> None:
    """0.88 is kept out as a float32; a threshold of 0 keeps even what is below 0."""
    view = Fixed([rectangle(i, i, i + 9, i + 9) for i in range(4)], [0.9, 0.88, 0.5, -0.5])
    assert generate(view, pred_iou_thresh=0.88).predicted_iou.tolist() == [np.float32(0.9)]
    assert len(generate(view, pred_iou_thresh=0.87)) == 2
    assert len(generate(view)) == 4


def soft(*areas: tuple[int, int, int]) -> NDArray[np.float32]:
    """Logits with so many pixels above 1, between 0 and 1, between -1 and 0; all others far below."""
    values = np.full((len(areas), *SIZE), -9, np.float32)
    for logits, (inner, middle, outer) in zip(values, areas, strict=True):
        flat = logits.reshape(-1)
        flat[:inner], flat[inner : inner + middle], flat[inner + middle : inner + middle + outer] = 2, 0.5, -0.5
    return values


def test_stability_is_at_least_its_threshold() -> None:
    """19 / 20 = 0.95 as the released generator rounds it; 18 / 20 is less; an empty mask has none."""
    view = Fixed(
        list(soft((19, 1, 0), (19, 0, 1), (18, 1, 1), (0, 0, 0), (0, 0, 5))), [0.9, 0.8, 0.7, 0.6, 0.5], SoftAnswer
    )
    found = generate(view)
    assert found.stability.tolist() == [np.float32(0.95), np.float32(0.95), np.float32(0.9), 0, 0]
    assert found.areas.tolist() == [20, 19, 19, 0, 0]
    assert generate(view, stability_score_thresh=0.95).areas.tolist() == [20, 19]
    # With an offset of 0.25 the mask of 20 pixels is the same at both levels.
    assert generate(view, stability_score_offset=0.25).stability.tolist()[:3] == [1, 1, 1]
    assert len(generate(view, stability_score_offset=0.25, stability_score_thresh=1.0)) == 3


def test_duplicates_within_a_crop_go_by_predicted_iou() -> None:
    """Boxes as the released generator measures them, right and bottom inclusive: 9 x 9 and 8 x 9 have IoU 72 / 81."""
    masks = [rectangle(10, 10, 20, 20), rectangle(10, 10, 19, 20), rectangle(50, 10, 60, 20)]
    view = Fixed(masks, [0.5, 0.9, 0.7])
    assert generate(view, box_nms_thresh=0.89).predicted_iou.tolist() == np.float32([0.9, 0.7, 0.5]).tolist()
    assert generate(view, box_nms_thresh=0.88).predicted_iou.tolist() == np.float32([0.9, 0.7]).tolist()


def test_crops_of_the_paper() -> None:
    """Two layers: 2 x 2 and 4 x 4 windows, 32, 16 and 8 points per side; the full image and 20 crops.

    600 x 800: overlap int(512 / 1500 * 600) = 204 at layer 1 and 102 at layer 2, so that the windows of layer 1 are
    ceil((204 + 800) / 2) = 502 wide and ceil((204 + 600) / 2) = 402 high.
    """
    crops = crop_boxes((600, 800), PAPER.crop_n_layers, PAPER.crop_overlap_ratio)
    assert len(crops) == 21
    assert crops[0] == ((0, 0, 800, 600), 0)
    assert crops[1:5] == [
        ((0, 0, 502, 402), 1),
        ((0, 198, 502, 600), 1),
        ((298, 0, 800, 402), 1),
        ((298, 198, 800, 600), 1),
    ]
    # ceil((3 * 102 + 800) / 4) = 277 wide, ceil((3 * 102 + 600) / 4) = 227 high: the last ends at 3 * 175 + 277 = 802.
    assert crops[5] == ((0, 0, 277, 227), 2)
    assert crops[-1] == ((525, 375, 800, 600), 2)
    assert [PAPER.crop_points_per_side(layer) for layer in range(3)] == [32, 16, 8]


def test_crops_are_never_empty() -> None:
    for size in [(1, 1), (2, 3), (1, 50), (5, 5)]:
        crops = crop_boxes(size, 3, 512 / 1500)
        assert crops[0] == ((0, 0, size[1], size[0]), 0)
        assert all(x0 < x1 <= size[1] and y0 < y1 <= size[0] for (x0, y0, x1, y1), _ in crops)


def test_masks_at_inner_edges_of_a_crop_go() -> None:
    """Crops of one layer, without overlap: (0, 0, 100, 60) and so on of 200 x 120. A mask that ends at x = 79, 80
    (of the last column) lies 21 or 20 pixels from the edge at 100; near the image's own edge it may stay."""
    size = (120, 200)
    inside, touching = rectangle(25, 3, 80, 30, size), rectangle(25, 3, 81, 30, size)
    for mask, stays in ((inside, True), (touching, False)):
        found = generate(Fixed([mask], [0.5]), size, crop_n_layers=1, crop_overlap_ratio=0.0)
        crops = found.crop_boxes[found.areas == mask.sum()].tolist()
        assert ([0, 0, 100, 60] in crops) == stays
        assert [0, 0, 200, 120] in crops
        assert [0, 0, 100, 60] in generate(
            Fixed([mask], [0.5]), size, crop_n_layers=1, crop_overlap_ratio=0.0, crop_edge_distance=10.0
        ).crop_boxes.tolist()


def test_of_duplicates_in_two_crops_the_smaller_crops_stays() -> None:
    """Whatever the predicted IoU; masks and points are in the frame of the image."""
    size = (120, 200)
    mask = rectangle(125, 85, 150, 110, size)
    found = generate(
        Fixed([mask], [0.5]), size, crop_n_layers=1, crop_overlap_ratio=0.0, crop_nms_thresh=0.7, points_per_side=2
    )
    nonempty = np.flatnonzero(found.areas)
    assert found.crop_boxes[nonempty].tolist() == [[100, 60, 200, 120]]
    np.testing.assert_array_equal(dense(found)[nonempty[0]], mask)
    # Four equal masks of four points were one before: the first point of the crop, at (100 + 25, 60 + 15).
    assert found.points[nonempty].tolist() == [[125, 75]]


def test_full_image_filter() -> None:
    """60 x 80 = 4800 pixels, of which 95 % are 4560 = 57 rows."""
    view = Fixed([rectangle(0, 0, 80, rows) for rows in (60, 57, 56)], [0.9, 0.8, 0.7])
    assert generate(view, full_image_thresh=0.95).areas.tolist() == [56 * 80]
    assert len(generate(view, full_image_thresh=1.0)) == 2
    assert len(generate(view)) == 3


def test_small_holes_are_filled_and_small_regions_removed() -> None:
    """A square of 400 pixels with a hole of 9 and a dot of 4 beside it; the untouched mask comes first."""
    square, holed = rectangle(10, 10, 30, 30), rectangle(10, 10, 30, 30)
    holed[15:18, 15:18] = False
    holed[40:42, 70:72] = True
    untouched = rectangle(50, 10, 70, 30)
    view = Fixed([holed, untouched], [0.9, 0.5])
    found = generate(view, min_mask_region_area=10)
    assert [np.array_equal(a, b) for a, b in zip(dense(found), (untouched, square), strict=True)] == [True, True]
    assert found.areas.tolist() == [400, 400]
    assert found.boxes.tolist() == [[50, 10, 69, 29], [10, 10, 29, 29]]
    assert found.predicted_iou.tolist() == [0.5, np.float32(0.9)]
    # 9 pixels are not less than 9: the hole stays, the dot goes.
    assert sorted(generate(view, min_mask_region_area=9).areas.tolist()) == [391, 400]


def test_masks_that_become_duplicates_by_cleaning_are_suppressed() -> None:
    """A square, and the same with a far dot: unchanged before changed, although of lower predicted IoU."""
    square = rectangle(10, 10, 30, 30)
    dotted = square | rectangle(70, 50, 72, 52)
    view = Fixed([dotted, square], [0.9, 0.5])
    options = {"box_nms_thresh": 0.7, "crop_nms_thresh": 0.7}
    assert len(generate(view, **options)) == 2
    found = generate(view, min_mask_region_area=10, **options)
    assert (found.predicted_iou.tolist(), found.areas.tolist()) == ([0.5], [400])
    # The larger of the two thresholds counts.
    assert len(generate(view, min_mask_region_area=10, box_nms_thresh=0.7, crop_nms_thresh=1.0)) == 2


def test_a_mask_of_small_regions_alone() -> None:
    """The released generator keeps the largest, the paper none of it."""
    view = Fixed([rectangle(10, 10, 13, 13) | rectangle(40, 40, 42, 42), rectangle(0, 0, 0, 0)], [0.9, 0.5])
    assert generate(view, min_mask_region_area=100).areas.tolist() == [0, 9]
    assert len(generate(view, min_mask_region_area=100, keep_largest_region=False)) == 0


def test_defaults_are_those_of_the_release() -> None:
    assert asdict(GeneratorOptions()) == {
        "points_per_side": 32,
        "points_per_batch": 64,
        "multimask": True,
        "pred_iou_thresh": 0.88,
        "stability_score_thresh": 0.95,
        "stability_score_offset": 1.0,
        "box_nms_thresh": 0.7,
        "crop_n_layers": 0,
        "crop_nms_thresh": 0.7,
        "crop_overlap_ratio": 512 / 1500,
        "crop_n_points_downscale_factor": 1,
        "crop_edge_distance": 20,
        "full_image_thresh": 0,
        "min_mask_region_area": 0,
        "keep_largest_region": True,
    }


def test_options_of_the_release_and_of_the_paper_on_one_picture() -> None:
    """A speckled square, a mask of nearly everything, and specks: each makes of them what it should."""
    size = (400, 400)
    square = rectangle(150, 150, 250, 250, size)
    square[200:203, 200:203] = False
    view = Fixed([square, rectangle(0, 0, 400, 390, size), rectangle(60, 60, 65, 65, size)], [0.95, 0.9, 0.92])
    released, paper = (
        MaskGenerator(replace(options, points_per_side=4)).generate(view, size, POINTS)
        for options in (GeneratorOptions(), PAPER)
    )
    assert released.areas.tolist() == [9991, 25, 156000]
    assert released.crop_boxes.tolist() == [[0, 0, 400, 400]] * 3
    # Crops see parts of the large mask only, which touch their inner edges; the square lies whole in the full image.
    assert 10000 in paper.areas.tolist()
    assert not {9991, 25, 156000} & set(paper.areas.tolist())


def test_nothing_survives() -> None:
    view = Fixed([rectangle(1, 1, 5, 5)], [0.5])
    for changes in ({}, {"crop_n_layers": 1}, {"min_mask_region_area": 10}):
        found = generate(view, pred_iou_thresh=0.9, **changes)
        assert (len(found), found.rles, found.boxes.shape, found.points.shape) == (0, [], (0, 4), (0, 2))


def test_a_view_without_crops_cannot_be_asked_for_them() -> None:
    class Plain(View):
        def predict(self, prompts: Prompts, *, multimask: bool) -> Answer:
            return Fixed([rectangle(1, 1, 5, 5)], [0.5]).predict(prompts, multimask=multimask)

    assert len(generate(Plain())) == 1
    with pytest.raises(UsageError, match="crop_n_layers"):
        generate(Plain(), crop_n_layers=1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("points_per_side", 0, "at least 1"),
        ("points_per_batch", 0, "at least 1"),
        ("crop_n_points_downscale_factor", 0, "at least 1"),
        ("crop_n_layers", -1, "at least 0"),
        ("stability_score_offset", float("nan"), "at least 0"),
        ("box_nms_thresh", 1.5, "at least 0 and at most 1"),
        ("full_image_thresh", -0.1, "at least 0 and at most 1"),
        ("crop_overlap_ratio", 1.0, "below 1"),
        ("min_mask_region_area", -5, "at least 0"),
    ],
)
def test_options_that_cannot_be(field: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"^task.{field}=.*{message}"):
        options.build(GeneratorOptions, {field: value}, "task")
    with pytest.raises(UsageError, match=f"^model.{field}=.*{message}"):
        options.build(GeneratorOptions, {field: str(value)}, "model")


def test_every_crop_has_a_point() -> None:
    with pytest.raises(ValueError, match=r"^points_per_side=3: .*no points for crop layer 2"):
        GeneratorOptions(points_per_side=3, crop_n_layers=2, crop_n_points_downscale_factor=2)


# Models ---------------------------------------------------------------------------------------------------------------


def scene() -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    image = np.full((90, 130, 3), 90, np.uint8)
    for i in range(6):
        x, y = rng.integers(5, 100), rng.integers(5, 60)
        image[y : y + 20, x : x + 24] = 40 * i + np.array([0, 30, 10])
    return image


@pytest.mark.parametrize("options", [OPEN, replace(OPEN, crop_n_layers=1), replace(PAPER, pred_iou_thresh=0.3)])
def test_region_tree_makes_proposals(options: GeneratorOptions) -> None:
    options = replace(options, points_per_side=8, box_nms_thresh=0.7, crop_nms_thresh=0.7)
    model, image = RegionTree(), scene()
    found, again = (
        MaskGenerator(options).generate(model.encode([image])[0], (90, 130), model.capabilities) for _ in range(2)
    )
    assert 3 < len(found) < found.candidates
    assert len(set(map(tuple, found.crop_boxes.tolist()))) > 1 or options.crop_n_layers == 0
    assert found.codes == again.codes
    for mask, area, (x0, y0, x1, y1) in zip(dense(found), found.areas, found.boxes.tolist(), strict=True):
        assert mask.shape == (90, 130)
        assert mask.sum() == area > 0
        assert Mask.from_dense(mask).box == (x0, y0, x1 + 1, y1 + 1)
    assert set(found.stability.tolist()) == {1}


class Threshold:
    """A user's predictor: everything as bright as the pixel at the point."""

    def set_image(self, image: NDArray[np.uint8]) -> None:
        self.image = image[..., 0].astype(int)

    def predict(self, point_coords: Any, point_labels: Any, multimask_output: bool) -> Any:
        x, y = point_coords[0].astype(int)
        masks = [abs(self.image - self.image[y, x]) <= tolerance for tolerance in (0, 10, 30)]
        return np.stack(masks), np.array([0.5, 0.6, 0.7])


def test_a_users_predictor_looks_at_crops() -> None:
    model = PredictorModel(Threshold(), "threshold", "0" * 64)
    image = scene()
    view = model.encode([image])[0]
    options = replace(OPEN, points_per_side=3, crop_n_layers=1, box_nms_thresh=0.7, crop_nms_thresh=0.7)
    found = MaskGenerator(options).generate(view, (90, 130), model.capabilities)
    assert found.candidates == 5 * 9 * 3
    for mask, (x, y), (x0, y0, x1, y1) in zip(dense(found), found.points, found.crop_boxes.tolist(), strict=True):
        value = image[int(y), int(x), 0].astype(int)
        inside = abs(image[y0:y1, x0:x1, 0].astype(int) - value)
        assert any(np.array_equal(mask[y0:y1, x0:x1], inside <= t) for t in (0, 10, 30))
        assert mask.sum() == mask[y0:y1, x0:x1].sum()
