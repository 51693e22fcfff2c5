"""SAM 3 with a tiny random configuration against transformers' own forward with the same weights; phrases, filled
holes, weights and names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parity import (
    MISTAKES,
    PRECISIONS,
    Comparison,
    computing,
    measured_rounding,
    mistaken,
    shifted,
)
from helpers.sam_family import picture
from helpers.sam_folders import sam3_folder
from helpers.threads import one_thread
from numpy.typing import NDArray

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.common import checkpoints
from sambench.models.common.logit_windows import SoftPrediction
from sambench.models.sam import sam, sam_hq
from sambench.models.sam2 import edgetam, sam2, sam3
from sambench.models.sam2.sam3 import Sam3Options
from sambench.types import Prompts

__all__ = ["one_thread", "sam3_folder"]

SIZE = (48, 64)
POINTS = np.array([[[10, 12], [50, 20]], [[30, 40], [0, 0]]], np.float32)
LABELS = np.array([[1, 0], [1, -1]])


def loaded(sam3_folder: Path) -> sam3.Sam3Model:
    return sam3.load("sam3", Sam3Options(weights=str(sam3_folder), text_score=0.0, fill_holes=0), "cpu")


@pytest.fixture(scope="module")
def model(sam3_folder: Path) -> sam3.Sam3Model:
    return loaded(sam3_folder)


def theirs(sam3_folder: Path, kind: str, model: sam3.Sam3Model) -> Any:
    """transformers' class for the same folder, our weights checked into it."""
    import transformers

    found = getattr(transformers, kind).from_pretrained(sam3_folder).eval()
    network = model.network
    if kind == "Sam3TrackerModel":
        assert torch.equal(found.mask_decoder.conv_s0.weight, network.mask_decoder.conv_s0.weight)
        assert torch.equal(
            found.vision_encoder.neck.fpn_layers[0].proj1.weight, network.tracker_neck.fpn_layers[0].proj1.weight
        )
    return found


def test_pixels_are_the_official_processors(model: sam3.Sam3Model) -> None:
    """uint8 resized with antialiasing, then scaled to -1..1: whole grey levels within those of the image."""
    image = picture(*SIZE)
    pixels = model.frame(SIZE).pixels(image)
    levels = (pixels * 0.5 + 0.5) * 255
    assert pixels.shape == (3, 112, 112)
    assert float((levels - levels.round()).abs().max()) < 1e-4
    assert float(levels.min()) >= image.min() - 1e-3
    assert float(levels.max()) <= image.max() + 1e-3


BOXES = np.array([[5, 5, 40, 30], [0, 0, 63, 47]], np.float32)
ASKED = (
    (Prompts(points=POINTS, labels=LABELS), True),
    (Prompts(boxes=BOXES), True),
    (Prompts(boxes=BOXES), False),
)
PHRASES = ("cat", "red dog")

Answers = list[tuple[NDArray[Any], NDArray[Any]]]
"""Logits and scores."""


def by_tracker(sam3_folder: Path, precision: str) -> Answers:
    """What transformers' tracker answers to each of :data:`ASKED`."""
    with computing(precision):
        model = loaded(sam3_folder)
        frame, tracker = model.frame(SIZE), theirs(sam3_folder, "Sam3TrackerModel", model)
        points = {
            "input_points": torch.from_numpy(frame.to_input(POINTS))[None],
            "input_labels": torch.from_numpy(LABELS)[None],
        }
        box = {"input_boxes": torch.from_numpy(frame.to_input(BOXES.reshape(-1, 2, 2))).reshape(1, 2, 4)}
        found = []
        for prompts, multimask in ASKED:
            with torch.inference_mode():
                vision = tracker.vision_encoder(frame.pixels(picture(*SIZE))[None])
                maps = list(vision.fpn_hidden_states[:3])
                maps = [
                    tracker.mask_decoder.conv_s0(maps[0]),
                    tracker.mask_decoder.conv_s1(maps[1]),
                    maps[2] + tracker.no_memory_embedding.reshape(1, -1, 1, 1),
                ]
                asked = points if prompts.boxes is None else box
                expected = tracker(image_embeddings=maps, multimask_output=multimask, **asked)
            found.append((expected.pred_masks[0].flatten(0, 1).numpy(), expected.iou_scores[0].numpy()))
        return found


def by_detector(sam3_folder: Path, precision: str) -> Answers:
    """What transformers' detector answers to each of :data:`PHRASES`, the likeliest first; logits of the image."""
    from transformers import CLIPTokenizer

    tokens = CLIPTokenizer.from_pretrained(sam3_folder)(
        list(PHRASES), return_tensors="pt", padding="max_length", max_length=32
    )
    assert tokens.attention_mask.sum(1).tolist() == [5, 8], "start, letters, end"
    with computing(precision):
        model = loaded(sam3_folder)
        detector = theirs(sam3_folder, "Sam3Model", model)
        found = []
        for i in range(len(PHRASES)):
            with torch.inference_mode():
                expected = detector(
                    pixel_values=model.frame(SIZE).pixels(picture(*SIZE))[None],
                    input_ids=tokens.input_ids[i : i + 1],
                    attention_mask=tokens.attention_mask[i : i + 1],
                )
            scores = (expected.pred_logits.sigmoid() * expected.presence_logits.sigmoid())[0]
            order = scores.argsort(descending=True)
            full = torch.nn.functional.interpolate(expected.pred_masks, SIZE, mode="bilinear")[0][order]
            found.append((full.numpy(), scores[order].numpy()))
        return found


def reference(answer: Any, sam3_folder: Path, precision: str) -> tuple[Comparison, Answers]:
    """What transformers answers in float64, and a comparison that knows its rounding in float32."""
    expected = answer(sam3_folder, "float64")
    rounding = {}
    if precision == "float32":
        pairs = list(zip(answer(sam3_folder, "float32"), expected, strict=True))
        for i, kind in enumerate(("logits", "scores")):
            rounding[kind] = np.max([measured_rounding(a[i], b[i]) for a, b in pairs], axis=0)
    return Comparison(rounding), expected


def compare_prompted(sam3_folder: Path, precision: str, mistake: str = "") -> Comparison:
    comparison, expected = reference(by_tracker, sam3_folder, precision)
    with computing(precision):
        model = loaded(sam3_folder)
        mistaken(
            model.network,
            mistake,
            "detector.vision_encoder.backbone.layers.0.layer_norm1",
            "tracker_neck.fpn_layers.2.proj2.bias",
        )
        view = model.encode([shifted(picture(*SIZE), mistake)])[0]
        for (prompts, multimask), (logits, scores) in zip(ASKED, expected, strict=True):
            ours = view.predict(prompts, multimask=multimask)
            pairs = [(i, j) for i in range(2) for j in range(ours.scores.shape[1])]
            low = ours.feedback(pairs)
            assert float(low.std()) > 0.05
            comparison.values("logits", np.asarray(low), logits)
            comparison.values("scores", ours.scores, scores)
    return comparison


def compare_phrases(sam3_folder: Path, precision: str) -> Comparison:
    comparison, expected = reference(by_detector, sam3_folder, precision)
    with computing(precision):
        prediction = (
            loaded(sam3_folder).encode([picture(*SIZE)])[0].predict(Prompts(text=list(PHRASES)), multimask=True)
        )
    assert prediction.scores.shape == (2, 6)
    assert prediction.feedback([(0, 0)]) is None
    for i, (logits, scores) in enumerate(expected):
        comparison.values("scores", prediction.scores[i], scores)
        for j, mask in enumerate(prediction.masks([(i, j) for j in range(6)])):
            comparison.pixels("logits", mask.dense(), logits[j])
    assert not np.allclose(prediction.scores[0], prediction.scores[1])
    return comparison


@pytest.mark.parametrize("precision", PRECISIONS)
def test_points_and_boxes_are_answered_as_transformers_tracker_does(sam3_folder: Path, precision: str) -> None:
    found = compare_prompted(sam3_folder, precision)
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_phrases_are_answered_as_transformers_detector_does(sam3_folder: Path, precision: str) -> None:
    found = compare_phrases(sam3_folder, precision)
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(sam3_folder: Path, mistake: str) -> None:
    assert compare_prompted(sam3_folder, "float64", mistake).worst > 2


def test_unsure_instances_are_left_out_and_phrases_padded(sam3_folder: Path, model: sam3.Sam3Model) -> None:
    view = model.encode([picture(*SIZE)])[0]
    everything = view.predict(Prompts(text=["cat", "red dog"]), multimask=True)
    assert everything.instances.all()
    # Between the third and the fourth.
    threshold = float(np.sort(everything.scores.ravel())[-4:-2].mean())
    strict = sam3.load("sam3", Sam3Options(weights=str(sam3_folder), text_score=threshold), "cpu")
    some = strict.encode([picture(*SIZE)])[0].predict(Prompts(text=["cat", "red dog"]), multimask=True)
    kept = everything.scores >= threshold
    assert some.instances.sum(axis=1).tolist() == kept.sum(axis=1).tolist()
    assert some.scores.shape == (2, max(1, kept.sum(axis=1).max()))
    assert np.array_equal(some.scores[some.instances], everything.scores[kept])
    # A phrase without an instance still has its likeliest candidate.
    assert np.array_equal(some.scores[:, 0], everything.scores[:, 0])
    assert np.array_equal(some.presence, everything.scores[:, 0])
    padding = [(i, j) for i, row in enumerate(some.scores) for j, score in enumerate(row) if score == 0]
    assert all(mask.area == 0 for mask in some.masks(padding))
    sure = sam3.load("sam3", Sam3Options(weights=str(sam3_folder), text_score=1.0), "cpu")
    none = sure.encode([picture(*SIZE)])[0].predict(Prompts(text=["cat"]), multimask=True)
    assert (none.scores.tolist(), none.instances.tolist()) == (everything.scores[:1, :1].tolist(), [[False]])
    one = view.predict(Prompts(text=["cat", "red dog"]), multimask=False)
    assert np.array_equal(one.scores, everything.scores[:, :1])


def test_phrases_go_with_points_and_with_nothing_else(model: sam3.Sam3Model) -> None:
    view = model.encode([picture(*SIZE)])[0]
    with pytest.raises(ValueError, match="alone or with points"):
        view.predict(Prompts(text=["cat"], boxes=np.array([[1, 2, 3, 4]], np.float32)), multimask=False)
    masks = view.predict(Prompts(text=["cat"]), multimask=True)
    best = masks.masks([(0, 0)])[0].dense()
    y, x = map(int, np.argwhere(~best)[0])
    away = np.array([[[x, y]]], np.float32)
    pointed = view.predict(Prompts(away, np.ones((1, 1), np.int64), text=["cat"]), multimask=True)
    assert (x, y) in pointed.masks([(0, 0)])[0]
    assert pointed.instances[0, 0]
    np.testing.assert_array_equal(pointed.presence, masks.presence)
    y, x = map(int, np.argwhere(best)[0])
    avoided = view.predict(
        Prompts(np.array([[[x, y]]], np.float32), np.zeros((1, 1), np.int64), text=["cat"]), multimask=True
    )
    held = [(x, y) in mask for mask in avoided.masks([(0, m) for m in range(avoided.scores.shape[1])])]
    assert held == sorted(held)
    assert avoided.instances[0].tolist() == [not inside for inside in held]


def test_a_long_phrase_is_cut_and_told(model: sam3.Sam3Model) -> None:
    view = model.encode([picture(*SIZE)])[0]
    # "cat" is three letters here, of which ten times are 30, with the two ends 32.
    notes = view.predict(Prompts(text=["cat " * 10, "cat " * 11]), multimask=False).notes
    assert notes == ["", "cut to 32 of 35 tokens"]


def test_small_holes_are_filled() -> None:
    """A ring of one hole of 4 cells, and background all around: the hole alone is small enough."""
    low = torch.full((1, 1, 12, 12), -1.0)
    low[0, 0, 3:7, 3:7] = 2.0
    low[0, 0, 4:6, 4:6] = -3.0
    out = sam3.filled(low, 4)
    assert out[0, 0, 4:6, 4:6].eq(10).all()
    assert int((out != low).sum()) == 4
    assert torch.equal(sam3.filled(low, 3), low)


def test_what_is_fed_back_still_has_its_holes(sam3_folder: Path, model: sam3.Sam3Model) -> None:
    filling = sam3.load("sam3", Sam3Options(weights=str(sam3_folder), fill_holes=200), "cpu")
    prompts = Prompts(points=POINTS, labels=LABELS)
    plain, full = (m.encode([picture(*SIZE)])[0].predict(prompts, multimask=True) for m in (model, filling))
    pairs = [(i, j) for i in range(2) for j in range(3)]
    assert torch.equal(plain.feedback(pairs), full.feedback(pairs))
    assert isinstance(full, SoftPrediction)
    areas = [(a.area, b.area) for a, b in zip(plain.masks(pairs), full.masks(pairs), strict=True)]
    assert all(a <= b for a, b in areas)
    assert any(a < b for a, b in areas)


def test_weights_and_names(tmp_path: Path, sam3_folder: Path) -> None:
    source = checkpoints.find(str(sam3_folder))
    assert sam3.recognise(source) == "sam3"
    assert [module.recognise(source) for module in (sam, sam2, sam_hq, edgetam)] == [None] * 4
    located = zoo.locate(str(sam3_folder), {})
    assert (located.name, located.trained_on, located.adapter) == ("sam3", None, "sambench.models.sam2.sam3")
    authors = tmp_path / "sam3.pt"
    keys = ("detector.backbone.x", "tracker.sam_mask_decoder.obj_score_token.weight")
    torch.save({"model": {key: torch.zeros(1) for key in keys}}, authors)
    assert [module.recognise(checkpoints.find(str(authors))) for module in (sam2, sam3)] == [None, "sam3"]
    with pytest.raises(UsageError, match="loaded from a folder"):
        sam3.locate("sam3", Sam3Options(weights=str(authors)))


def test_the_trackers_prefix_may_be_there_twice() -> None:
    one = {"tracker_model.no_memory_embedding": torch.ones(1), "tracker_model.memory_encoder.x": torch.ones(1)}
    two = {f"tracker_model.{key}": value for key, value in one.items()}
    assert sam3._image_part(one).keys() == sam3._image_part(two).keys() == {"no_memory_embedding"}


def test_no_tokenizer(tmp_path: Path, sam3_folder: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(sam3_folder / name)
    bare = sam3.load("sam3", Sam3Options(weights=str(tmp_path)), "cpu")
    view = bare.encode([picture(*SIZE)])[0]
    assert view.predict(Prompts(points=POINTS, labels=LABELS), multimask=False).scores.shape == (2, 1)
    with pytest.raises(UsageError, match="holds no tokenizer") as caught:
        view.predict(Prompts(text=["cat"]), multimask=False)
    assert "\n" not in str(caught.value)
    given = sam3.load("sam3", Sam3Options(weights=str(tmp_path), tokenizer=str(sam3_folder), text_score=0.0), "cpu")
    assert given.encode([picture(*SIZE)])[0].predict(Prompts(text=["cat"]), multimask=True).scores.shape == (1, 6)


def test_the_released_sizes_are_counted(sam3_folder: Path) -> None:
    from transformers import Sam3VideoConfig

    from sambench.models.sam2.sam3_network import Sam3Network

    with torch.device("meta"):
        network = Sam3Network(Sam3VideoConfig().to_dict(), True)
    assert zoo.ZOO["sam3"].parameters == sum(parameter.numel() for parameter in network.parameters())
    assert (network.side, network.grid) == (1008, 288)
