"""The mask generator against the official one with the same random weights, and the steps that have a twin there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import official_sam
from helpers.sam_generator import boxes_xyxy, official_generator, stable_sam
from helpers.threads import one_thread
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sambench.masks import from_rle
from sambench.models.common.coded_masks import CodedMasks, CodedPrediction, MaskFilter
from sambench.models.common.mask_coder import code_masks
from sambench.models.common.mask_generator import GeneratorOptions, MaskGenerator, crop_boxes, without_small_regions
from sambench.models.common.point_grid import one_point_each, point_grid
from sambench.models.sam.sam import SamOptions, SamPrediction, load_checkpoint

__all__ = ["one_thread"]

THRESHOLD = 1e-3
"""The promise: masks differ only where the full-size logit is nearer to 0 than this."""


def picture(height: int, width: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(height)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / (7 + 9 * c) + c) + np.cos(y / (11 + 5 * c)) for c in range(3)], -1)
    return np.clip(128 + 50 * waves + rng.normal(0, 20, waves.shape), 0, 255).astype(np.uint8)


class Pair:
    """The official model and ours over the same random weights."""

    def __init__(self, folder: Path) -> None:
        self.official = stable_sam(side=256)
        torch.save(self.official.state_dict(), folder / "weights.pth")
        self.model = load_checkpoint(str(folder / "weights.pth"), SamOptions(), "cpu")
        self.predictor = official_sam.package().SamPredictor(self.official)

    def logits(self, image: NDArray[np.uint8], record: dict[str, Any]) -> NDArray[np.float32]:
        """The official logits of the mask of a record, at the size of the image; outside its crop far below 0."""
        x, y, w, h = record["crop_box"]
        self.predictor.set_image(image[y : y + h, x : x + w])
        point = np.array(record["point_coords"]) - [x, y]
        full, quality, _ = self.predictor.predict(point, np.ones(1), multimask_output=True, return_logits=True)
        logits = np.full(image.shape[:2], -np.inf, np.float32)
        logits[y : y + h, x : x + w] = full[np.abs(quality - record["predicted_iou"]).argmin()]
        return logits


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"))


OFF = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
STABLE = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.3, "box_nms_thresh": 0.95}
CONFIDENT = {"pred_iou_thresh": 0.8, "stability_score_thresh": 0.4, "box_nms_thresh": 0.95}
LANDSCAPE, PORTRAIT, SQUARE, LARGE = (120, 180), (133, 97), (300, 300), (330, 500)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (LANDSCAPE, {"points_per_side": 6, **CONFIDENT}),
        (PORTRAIT, {"points_per_side": 6, **STABLE, "stability_score_offset": 0.5}),
        (SQUARE, {"points_per_side": 5, **OFF, "box_nms_thresh": 0.9}),
        (LARGE, {"points_per_side": 4, **CONFIDENT, "crop_n_layers": 1}),
        (
            LARGE,
            {"points_per_side": 5, **STABLE, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2},
        ),
        (
            LANDSCAPE,
            {"points_per_side": 3, **OFF, "crop_n_layers": 1, "crop_overlap_ratio": 0.1, "crop_nms_thresh": 0.3},
        ),
        (PORTRAIT, {"points_per_side": 6, **STABLE, "min_mask_region_area": 12}),
        (
            LANDSCAPE,
            {"points_per_side": 3, **OFF, "box_nms_thresh": 0.9, "crop_n_layers": 1, "min_mask_region_area": 60},
        ),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else "-".join(map(str, value)),
)
def test_same_masks_in_the_same_order(pair: Pair, size: tuple[int, int], options: dict[str, Any]) -> None:
    image = picture(*size)
    expected = official_generator(pair.official, **options).generate(image)
    view = pair.model.encode([image])[0]
    found = MaskGenerator(GeneratorOptions(**options)).generate(view, size, pair.model.capabilities)

    assert len(found) == len(expected) > 8, "as good as nothing survives: the comparison would be empty"
    assert len(found) < 0.8 * found.candidates, "everything survives: the comparison would be empty"
    np.testing.assert_allclose(found.predicted_iou, [r["predicted_iou"] for r in expected], atol=1e-4)
    np.testing.assert_allclose(found.points, [r["point_coords"][0] for r in expected], atol=1e-3)
    np.testing.assert_array_equal(found.crop_boxes, boxes_xyxy(expected, "crop_box"))

    equal = [
        ours["counts"] == theirs["segmentation"]["counts"] for ours, theirs in zip(found.rles, expected, strict=True)
    ]
    same = np.flatnonzero(equal)
    assert len(same) > 0.9 * len(expected)
    np.testing.assert_array_equal(found.boxes[same], np.array(boxes_xyxy(expected, "bbox"))[same])
    np.testing.assert_array_equal(found.areas[same], np.array([r["area"] for r in expected])[same])
    stability = np.nan_to_num([r["stability_score"] for r in expected])
    np.testing.assert_allclose(found.stability, stability, atol=0.01)
    for k in np.flatnonzero(~np.array(equal)):
        ours, theirs = (from_rle(rle).dense() for rle in (found.rles[k], expected[k]["segmentation"]))
        assert np.abs(pair.logits(image, expected[k])[ours != theirs]).max() < THRESHOLD
    print(f"{len(found)} of {found.candidates} masks, {len(expected) - len(same)} of them differ in a pixel")


def test_the_size_of_a_batch_changes_no_bit(pair: Pair) -> None:
    view = pair.model.encode([picture(*LANDSCAPE)])[0]
    one, another = (
        MaskGenerator(GeneratorOptions(points_per_side=5, points_per_batch=batch, **OFF)).generate(
            view, LANDSCAPE, pair.model.capabilities
        )
        for batch in (1, 7)
    )
    assert one.codes == another.codes
    assert one.stability.tobytes() == another.stability.tobytes()
    assert one.predicted_iou.tobytes() == another.predicted_iou.tobytes()


# Three ways to code the masks of a prediction -------------------------------------------------------------------------


class _Soft:
    """A prediction with logits that cannot code its masks itself."""

    def __init__(self, prediction: SamPrediction) -> None:
        self.scores, self.masks, self.feedback = prediction.scores, prediction.masks, prediction.feedback
        self.logits, self.boxes = prediction.logits, prediction.boxes


class _Binary:
    """A prediction with masks alone."""

    def __init__(self, prediction: SamPrediction) -> None:
        self.scores, self.masks, self.feedback = prediction.scores, prediction.masks, prediction.feedback


def assert_same(found: CodedMasks, expected: CodedMasks) -> None:
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.scores, expected.scores)
    # Where logits are computed in another order, a pixel within rounding of the threshold may fall to the other side.
    same = np.array([a == b for a, b in zip(found.codes, expected.codes, strict=True)])
    assert same.mean() > 0.95
    np.testing.assert_array_equal(found.areas[same], expected.areas[same])
    np.testing.assert_array_equal(found.boxes[same], expected.boxes[same])
    np.testing.assert_allclose(found.stability, expected.stability, atol=2e-3)


@pytest.mark.parametrize("crop", [(0, 0, 180, 120), (40, 9, 220, 129), (0, 80, 180, 200)])
def test_every_way_to_code_masks_gives_the_same(pair: Pair, crop: tuple[int, int, int, int]) -> None:
    """On the CPU, as on a GPU (the code for a device, run on the CPU), and from the logits of any model."""
    size = (120, 180) if crop[:2] == (0, 0) else (200, 220)
    wanted = MaskFilter(size, crop, 0.8, 0.05, 1.0, 3000, 2)
    prediction = pair.model.encode([picture(*LANDSCAPE)])[0].predict(
        one_point_each(point_grid(5, LANDSCAPE)), multimask=True
    )
    prediction.low = prediction.low.clone()
    prediction.low[3] = -50  # empty masks
    assert isinstance(prediction, CodedPrediction)
    assert not isinstance(_Soft(prediction), CodedPrediction)
    coded = code_masks(prediction, wanted)
    assert 5 < len(coded.index) < 60
    assert_same(code_masks(_Soft(prediction), wanted), coded)
    low, scores = prediction.low.flatten(0, 1), torch.from_numpy(prediction.scores).flatten()
    assert_same(prediction.frame._coded_on_device(low, scores, wanted), coded)

    everything = MaskFilter(size, crop, 0, 0, 1.0, 10**9, -1)
    coded = code_masks(prediction, everything)
    on_device = prediction.frame._coded_on_device(low, scores, everything)
    assert_same(on_device, coded)
    assert coded.index.tolist() == list(range(75))
    empty = np.flatnonzero(coded.areas == 0)
    assert {9, 10, 11} <= set(empty.tolist())
    for ways in (coded, on_device):
        assert ways.stability[empty].max() == 0
        assert (ways.boxes[empty] == [*crop[:2], *crop[:2]]).all()
    binary = code_masks(_Binary(prediction), everything)
    assert list(binary.codes) == list(coded.codes)
    np.testing.assert_array_equal(binary.boxes, coded.boxes)
    np.testing.assert_array_equal(binary.stability, coded.areas > 0)


def test_a_device_takes_few_masks_at_once_where_images_are_large(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = pair.model.encode([picture(*LANDSCAPE)])[0].predict(
        one_point_each(point_grid(3, LANDSCAPE)), multimask=True
    )
    low, scores = prediction.low.flatten(0, 1), torch.from_numpy(prediction.scores).flatten()
    wanted = MaskFilter(LANDSCAPE, (0, 0, 180, 120), 0.0, 0.5, 1.0, 10**9, 20)
    whole = prediction.frame._coded_on_device(low, scores, wanted)
    monkeypatch.setattr("sambench.models.sam.sam_frame.GPU_PIXELS", 5 * 120 * 180)
    assert_same(prediction.frame._coded_on_device(low, scores, wanted), whole)
    none = prediction.frame._coded_on_device(low[:0], scores[:0], wanted)
    assert (none.index.shape, none.boxes.shape, none.codes) == ((0,), (0, 4), [])


# Steps that the official package has too ------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    height=st.integers(60, 700),
    width=st.integers(60, 700),
    layers=st.integers(0, 3),
    overlap=st.floats(0, 0.9, allow_nan=False),
)
def test_crops_equal_the_official_ones(height: int, width: int, layers: int, overlap: float) -> None:
    official_sam.package()
    from segment_anything.utils.amg import generate_crop_boxes

    boxes, layer = generate_crop_boxes((height, width), layers, overlap)
    assert crop_boxes((height, width), layers, overlap) == [
        (tuple(box), i) for box, i in zip(boxes, layer, strict=True)
    ]


@settings(max_examples=100)
@given(data=st.data(), height=st.integers(30, 300), width=st.integers(30, 300))
def test_the_edge_filter_equals_the_official_one(data: Any, height: int, width: int) -> None:
    official_sam.package()
    from segment_anything.utils.amg import is_box_near_crop_edge

    crops = [crop for crop, _ in crop_boxes((height, width), 2, 512 / 1500)]
    crop = data.draw(st.sampled_from(crops))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    x, y = (np.sort(rng.integers(0, crop[i + 2] - crop[i], (50, 2))) for i in (0, 1))
    boxes = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)
    expected = is_box_near_crop_edge(torch.from_numpy(boxes), list(crop), [0, 0, width, height]).numpy()
    wanted = MaskFilter((height, width), crop, 0, 0, 1, 10**9, 20)
    anything = np.ones(50, np.float32), np.ones(50, np.int64)
    corner = np.array([crop[0], crop[1], crop[0], crop[1]])
    np.testing.assert_array_equal(wanted.keeps(*anything, boxes + corner), ~expected)


@settings(max_examples=150)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    density=st.floats(0, 1),
    seed=st.integers(0, 2**31),
    least=st.integers(1, 80),
)
def test_small_regions_are_those_of_the_official_package(
    height: int, width: int, density: float, seed: int, least: int
) -> None:
    official_sam.package()
    from segment_anything.utils.amg import remove_small_regions

    mask = np.random.default_rng(seed).random((height, width)) < density
    filled, holes = remove_small_regions(mask, least, "holes")
    expected, islands = remove_small_regions(filled, least, "islands")
    found = without_small_regions(mask, least)
    assert (found is not None) == (holes or islands)
    np.testing.assert_array_equal(mask if found is None else found, expected)
