"""Models that take phrases: what they promise a task, equal to transformers' own forward with the same tiny random
weights; crops, points and hot regions by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_text_models as tiny
from helpers.paths import ROOT
from helpers.sam_family import picture
from helpers.threads import one_thread as one_thread
from numpy.typing import NDArray
from transformers import (
    AutoModelForZeroShotObjectDetection,
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPSegForImageSegmentation,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    Owlv2ImageProcessorPil,
    Owlv2Processor,
    SiglipModel,
    ViTImageProcessorPil,
)

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.common.text_answers import TextAnswers
from sambench.models.text import clip_sam, clipseg_sam, grounded_sam, text_components
from sambench.models.text.clip_sam import crop
from sambench.models.text.clipseg_sam import hot_regions
from sambench.models.text.text_model import Hits, Judged, Named, answered, apart
from sambench.plugins import options
from sambench.types import Mask, Prediction, Prompts

IMAGE = picture(60, 80)
PHRASES = ["cat", "the red dog left of it", "日本", "cat"]
FEW = {"points_per_side": "6", "pred_iou_thresh": "0", "stability_score_thresh": "0"}
"""Options of the mask generator for region_tree's masks."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("networks")
    makers = (tiny.clip, tiny.siglip, tiny.clipseg, tiny.owlv2, tiny.grounding_dino)
    return {make.__name__: make(root / make.__name__) for make in makers}


KINDS = {
    "clip": ("clip_sam", "clip", FEW),
    "siglip": ("clip_sam", "clip", FEW),
    "owlv2": ("grounded_sam", "detector", {}),
    "grounding_dino": ("grounded_sam", "detector", {}),
    "clipseg": ("clipseg_sam", "clipseg", {}),
}
"""By network: the model, the option that names the network, and further options."""

Load = Callable[..., Any]


@pytest.fixture(scope="module")
def load(folders: Mapping[str, Path]) -> Load:
    """A model by its network; ``options`` as after ``--set model.``."""

    def loaded(kind: str, **options: str) -> Any:
        name, option, more = KINDS[kind]
        values = {option: str(folders[kind]), "sam": "region_tree", **more, **options}
        return zoo.locate(name, values).load("cpu", 1)

    return loaded


@pytest.fixture(scope="module", params=list(KINDS))
def model(request: pytest.FixtureRequest, load: Load) -> Any:
    return load(request.param)


def view_of(model: Any, image: NDArray[np.uint8] = IMAGE) -> Any:
    (view,) = model.encode([image])
    return view


def clicks(*points: tuple[int, int, int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One point ``(x, y, label)`` for each prompt."""
    return (
        np.array([[point[:2]] for point in points], np.float32),
        np.array([[point[2]] for point in points], np.int64),
    )


# --- what a task may rely on ------------------------------------------------------------------------------------------


def held_to_the_contract(prediction: Any, phrases: int) -> None:
    scores, instances = prediction.scores, prediction.instances
    assert scores.dtype == np.float32
    assert scores.shape == instances.shape
    assert scores.shape[0] == phrases == len(prediction.notes) == len(prediction.presence)
    assert scores.shape[1] >= 1
    assert (instances.dtype, prediction.presence.dtype) == (np.bool_, np.float32)
    assert np.isfinite(scores).all()
    assert np.isfinite(prediction.presence).all()
    assert (np.diff(scores, axis=1) <= 0).all()
    masks = prediction.masks([(n, m) for n in range(phrases) for m in range(scores.shape[1])])
    assert all(mask.size == (60, 80) for mask in masks)
    empty = np.array([mask.area == 0 for mask in masks]).reshape(scores.shape)
    assert not (instances & empty).any()
    assert prediction.feedback([(0, 0)]) is None


def test_phrases_alone(model: Any) -> None:
    view = view_of(model)
    prediction = view.predict(Prompts(text=PHRASES), multimask=True)
    held_to_the_contract(prediction, 4)
    assert prediction.masks([(0, 0)])[0].area > 0
    assert np.array_equal(prediction.scores[0], prediction.scores[3])
    again = view_of(model).predict(Prompts(text=PHRASES), multimask=True)
    for part in ("scores", "instances", "presence"):
        assert np.array_equal(getattr(again, part), getattr(prediction, part))


def test_one_candidate_is_the_best_of_several(model: Any) -> None:
    view = view_of(model)
    several, one = (view.predict(Prompts(text=PHRASES), multimask=multimask) for multimask in (True, False))
    held_to_the_contract(one, 4)
    assert one.scores.shape == (4, 1)
    assert np.array_equal(one.scores[:, 0], several.scores[:, 0])
    assert np.array_equal(one.instances[:, 0], several.instances[:, 0])
    pairs = [(n, 0) for n in range(4)]
    for a, b in zip(one.masks(pairs), several.masks(pairs), strict=True):
        assert np.array_equal(a.dense(), b.dense())


def test_a_phrase_hardly_depends_on_the_others(model: Any) -> None:
    view = view_of(model)
    together = view.predict(Prompts(text=PHRASES), multimask=True)
    alone = view.predict(Prompts(text=[PHRASES[1]]), multimask=True)
    held = alone.scores.shape[1]
    np.testing.assert_allclose(together.scores[1, :held], alone.scores[0], atol=1e-5)
    assert together.presence[1] == pytest.approx(float(alone.presence[0]), abs=1e-4)


def test_points_come_before_the_phrase(model: Any) -> None:
    points, labels = clicks((70, 50, 1), (3, 3, 1), (40, 30, 0))
    prediction = view_of(model).predict(Prompts(points, labels, text=["cat", "dog", "cat"]), multimask=True)
    held_to_the_contract(prediction, 3)
    first = prediction.masks([(n, 0) for n in range(3)])
    assert (70, 50) in first[0]
    assert (3, 3) in first[1]
    assert prediction.instances[:2, 0].all()
    assert (40, 30) not in first[2]
    for m in np.flatnonzero(prediction.instances[2]):
        assert (40, 30) not in prediction.masks([(2, int(m))])[0]


def test_padding_is_no_point(model: Any) -> None:
    points = np.array([[[70, 50], [0, 0]]], np.float32)
    padded = Prompts(points, np.array([[1, -1]]), text=["cat"])
    plain = Prompts(points[:, :1], np.array([[1]]), text=["cat"])
    a, b = (view_of(model).predict(prompts, multimask=True).scores for prompts in (padded, plain))
    assert np.array_equal(a, b)


def test_what_is_said_of_a_phrase(model: Any) -> None:
    view = view_of(model)
    plain, long, foreign = view.predict(Prompts(text=["cat", "x" * 40, "日本"]), multimask=False).notes
    assert plain == ""
    limit = 16 if "dino" in str(getattr(getattr(model, "detector", None), "__class__", "")).lower() else tiny.TOKENS
    assert long.startswith(f"cut to {limit} of ")
    # CLIP reads bytes; the tiny BERT knows the letters a to z.
    assert foreign in ("", "2 of 5 tokens unknown to the text encoder")


def test_without_a_phrase_the_promptable_model_answers(model: Any) -> None:
    points, labels = clicks((20, 20, 1), (60, 40, 1))
    prompts = Prompts(points, labels)
    ours, its = view_of(model), view_of(zoo.locate("region_tree", {}).load("cpu", 1))
    for multimask in (True, False):
        a, b = (view.predict(prompts, multimask=multimask) for view in (ours, its))
        assert np.array_equal(a.scores, b.scores)
    assert model.capabilities == {"points", "boxes", "masks", "multimask", "text"}
    (part,) = ours.crops([(0, 0, 40, 30)])
    assert part.predict(prompts, multimask=True).scores.shape == (2, 3)


def test_boxes_go_with_no_phrase(model: Any) -> None:
    with pytest.raises(ValueError, match="a phrase alone or with points, not with boxes"):
        view_of(model).predict(Prompts(boxes=np.array([[1, 2, 9, 9]], np.float32), text=["cat"]), multimask=True)


def test_no_phrases_no_answers(model: Any) -> None:
    assert view_of(model).predict(Prompts(text=[]), multimask=True).scores.shape == (0, 1)


def test_images_of_a_pixel_and_of_two_aspects(model: Any) -> None:
    for size in ((1, 1), (3, 90), (70, 9)):
        prediction = view_of(model, picture(*size)).predict(Prompts(text=["cat"]), multimask=True)
        assert np.isfinite(prediction.scores).all()
        assert prediction.masks([(0, 0)])[0].size == size


# --- points and order, by hand ----------------------------------------------------------------------------------------

SIZE = (6, 8)


def box(x0: int, y0: int, x1: int, y1: int) -> Mask:
    return Mask.from_window(SIZE, y0, x0, np.ones((y1 - y0, x1 - x0), np.bool_))


LEFT, MIDDLE, RIGHT, ALL = box(0, 0, 3, 6), box(2, 1, 6, 5), box(5, 0, 8, 6), box(0, 0, 8, 6)


class Plain:
    """Reads any phrase as the same four masks."""

    size = SIZE

    def __init__(self, several: bool = True, masks: Sequence[Mask] = (LEFT, MIDDLE, RIGHT, ALL)) -> None:
        self.several, self.masks = several, masks
        self.asked: list[Prompts] = []

    def name(self, phrases: Sequence[str]) -> list[Named]:
        scores = np.array([0.5, 0.75, -0.25, 0.25], np.float32)[: len(self.masks)]
        return [Named(self.masks, scores, scores > 0.3, 0.75, phrase) for phrase in phrases]

    def at_points(self, prompts: Prompts) -> Prediction | None:
        self.asked.append(prompts)
        scores = np.full((len(prompts), 2), 0.5, np.float32)
        masks = [[box(0, 0, 1, 1), Mask.empty(SIZE)]] * len(prompts)
        return TextAnswersLike(scores, masks)

    def judge(self, phrase: str, masks: Sequence[Mask], predicted: NDArray[np.float32]) -> Judged:
        assert len(masks) == len(predicted) == 1
        return masks, np.array([0.125], np.float32)


class TextAnswersLike:
    def __init__(self, scores: NDArray[np.float32], masks: Sequence[Sequence[Mask]]) -> None:
        self.scores, self.held = scores, masks

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        return [self.held[n][m] for n, m in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> None: ...


def order_of(found: TextAnswers, n: int = 0) -> list[Mask]:
    return found.masks([(n, m) for m in range(found.scores.shape[1])])


def test_order_and_instances_by_hand() -> None:
    found = answered(Plain(), Prompts(text=["a", "b"]), True)
    assert order_of(found) == [MIDDLE, LEFT, ALL, RIGHT]
    assert found.scores.tolist() == [[0.75, 0.5, 0.25, -0.25]] * 2
    assert found.instances.tolist() == [[True, True, False, False]] * 2
    assert (found.presence.tolist(), found.notes) == ([0.75, 0.75], ["a", "b"])
    assert answered(Plain(several=False), Prompts(text=["a"]), True).instances.tolist() == [[True, False, False, False]]


def test_points_by_hand() -> None:
    points = np.array([[[7, 2], [3, 2]], [[1.4, 0], [3, 2]], [[3, 2], [0, 0]]], np.float32)
    labels = np.array([[1, 0], [1, 1], [0, -1]])
    reader = Plain()
    found = answered(reader, Prompts(points, labels, text=["a", "a", "b"]), True)
    assert reader.asked == []
    # Foreground at (7, 2), background at (3, 2): LEFT misses the first (1 wrong), MIDDLE has both wrong, RIGHT none,
    # ALL holds the second (1 wrong). Scores fall by 2 for each.
    assert order_of(found, 0) == [RIGHT, LEFT, ALL, MIDDLE]
    assert found.scores[0].tolist() == [-0.25, 0.5 - 2, 0.25 - 2, 0.75 - 4]
    # RIGHT because the point says so, LEFT because the phrase does, neither of those that hold the background point.
    assert found.instances[0].tolist() == [True, True, False, False]
    # Two foreground points: only ALL holds both.
    assert order_of(found, 1) == [ALL, MIDDLE, LEFT, RIGHT]
    assert found.instances[1].tolist() == [True, True, True, False]
    # One background point: nothing becomes an instance by it. (0, 0) is padding.
    assert order_of(found, 2) == [LEFT, RIGHT, MIDDLE, ALL]
    assert found.instances[2].tolist() == [True, False, False, False]
    hits = Hits.of(Plain().name(["a"])[0], points[0], labels[0])
    assert (hits.wrong.tolist(), hits.spoiled.tolist(), hits.foreground) == ([1, 2, 0, 1], [0, 1, 0, 1], True)


def test_a_pointed_phrase_is_not_rejected() -> None:
    """Even if the only mask holds a background point too."""
    points, labels = np.array([[[7, 2], [0, 0]]], np.float32), np.array([[1, 0]])
    reader = Plain(masks=[ALL])
    reader.at_points = lambda prompts: None  # type: ignore[method-assign]
    assert answered(reader, Prompts(points, labels, text=["a"]), True).instances.tolist() == [[True]]


def test_where_nothing_agrees_the_points_make_masks() -> None:
    points, labels = clicks((0, 0, 1), (7, 2, 1), (0, 0, 0))
    reader = Plain(masks=[MIDDLE, RIGHT])
    found = answered(reader, Prompts(points, labels, text=["a", "a", "a"]), True)
    (asked,) = reader.asked
    assert asked.points is not None
    assert asked.points.tolist() == [[[0, 0]]]
    # The empty mask is not even judged; MIDDLE (0.5) and RIGHT (0.75) get the point wrong.
    assert found.scores[0].tolist() == [0.125, 0.75 - 2, 0.5 - 2]
    assert found.instances[0].tolist() == [True, True, True]
    # The others have two candidates; what fills up is not above the last one.
    assert found.scores[1].tolist() == [0.75, 0.5 - 2, 0.5 - 2]
    assert found.scores[2].tolist() == [0.75, 0.5, 0]
    assert found.masks([(2, 2)])[0].area == 0
    assert not found.instances[2, 2]


def test_nothing_at_all() -> None:
    found = answered(Plain(masks=[]), Prompts(text=["a"]), True)
    assert (found.scores.tolist(), found.instances.tolist()) == ([[0]], [[False]])
    assert found.masks([(0, 0)])[0].area == 0


def test_masks_that_are_apart() -> None:
    # MIDDLE has 16 pixels, of which columns 2 lie in LEFT (4) and column 5 in RIGHT (4); ALL covers everything.
    assert apart([LEFT, MIDDLE, RIGHT, ALL], [1, 0, 3, 2]) == [1, 0, 2]
    assert apart([LEFT, MIDDLE, RIGHT, ALL], [3, 0, 1, 2]) == [3]
    # Half is not more than half: 3 of 6 columns.
    assert apart([box(0, 0, 6, 1), box(3, 0, 9 - 1, 1)], [0, 1]) == [0]
    assert apart([box(0, 0, 4, 1), box(2, 0, 6, 1)], [0, 1]) == [0, 1]


# --- clip_sam ---------------------------------------------------------------------------------------------------------


def test_crops_by_hand() -> None:
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3) + 1
    # The box is 4 x 2 pixels at (2, 3); its square of side 4 starts at row 3 + 1 - 2 = 2 and column 2.
    mask = Mask.from_window((6, 8), 3, 2, np.array([[1, 1, 1, 0], [0, 1, 1, 1]]))
    assert np.array_equal(crop(image, mask, 1.0, "keep"), image[2:6, 2:6])
    black = crop(image, mask, 1.0, "black")
    assert np.array_equal(black.any(axis=2), mask.dense()[2:6, 2:6])
    assert np.array_equal(black[1, :3], image[3, 2:5])
    # Twice the side: 8 pixels from row 0 and column 0, of which rows 6 and 7 are not in the image.
    wide = crop(image, mask, 2.0, "keep")
    assert wide.shape == (8, 8, 3)
    assert np.array_equal(wide[:6], image)
    assert not wide[6:].any()
    assert crop(image, Mask.from_window((6, 8), 0, 7, np.ones((1, 1))), 1.0, "keep").tolist() == [
        [image[0, 7].tolist()]
    ]
    with pytest.raises(ValueError, match="no crop"):
        crop(image, Mask.empty((6, 8)), 1.0, "keep")


def processors_own(folder: Path, crops: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    pixels: torch.Tensor = processor(images=list(crops), input_data_format="channels_last", return_tensors="pt")[
        "pixel_values"
    ]
    return pixels


def test_crops_are_prepared_by_clip_s_own_numbers(load: Load, folders: Mapping[str, Path]) -> None:
    """Bicubic to the side, then CLIP's published means and deviations; a square loses nothing to the cut."""
    from PIL import Image as Pillow

    square = crop(IMAGE, Mask.from_window((60, 80), 10, 20, np.ones((17, 30))), 1.5, "keep")
    assert square.shape == (45, 45, 3)
    (ours,) = load("clip").images([square])["pixel_values"].numpy()
    resized = np.asarray(Pillow.fromarray(square).resize((tiny.SIDE, tiny.SIDE), Pillow.Resampling.BICUBIC), np.float64)
    mean, deviation = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    np.testing.assert_allclose(ours, ((resized / 255 - mean) / deviation).transpose(2, 0, 1), atol=1e-5)
    assert np.array_equal(ours, processors_own(folders["clip"], [square])[0].numpy())


def test_similarities_are_clip_s_own_logits(load: Load, folders: Mapping[str, Path]) -> None:
    model = load("clip")
    view = view_of(model)
    view.predict(Prompts(text=PHRASES[:3]), multimask=True)
    network = CLIPModel.from_pretrained(folders["clip"]).eval()
    tokens = AutoTokenizer.from_pretrained(folders["clip"])(
        PHRASES[:3], padding=True, truncation=True, max_length=tiny.TOKENS, return_tensors="pt"
    )
    crops = [crop(IMAGE, mask, 1.5, "keep") for mask in view.proposals]
    with torch.inference_mode():
        expected = network(pixel_values=processors_own(folders["clip"], crops), **tokens)
        cosines = (expected.logits_per_text / network.logit_scale.exp()).numpy()
    assert cosines.shape == (3, len(view.proposals))
    found = view.predict(Prompts(text=PHRASES[:3]), multimask=True)
    np.testing.assert_allclose(found.scores, -np.sort(-cosines, axis=1), atol=1e-5)
    for n in range(3):
        best = view.proposals[int(cosines[n].argmax())]
        assert np.array_equal(found.masks([(n, 0)])[0].dense(), best.dense())


def test_similarities_are_siglip_s_own_logits(load: Load, folders: Mapping[str, Path]) -> None:
    view = view_of(load("siglip"))
    network = SiglipModel.from_pretrained(folders["siglip"]).eval()
    tokens = AutoTokenizer.from_pretrained(folders["siglip"])(
        PHRASES[:3], padding="max_length", truncation=True, max_length=tiny.TOKENS, return_tensors="pt"
    )
    crops = [crop(IMAGE, mask, 1.5, "keep") for mask in view.proposals]
    pixels = view.model.images(crops)["pixel_values"]
    with torch.inference_mode():
        expected = network(pixel_values=pixels, input_ids=tokens["input_ids"])
        cosines = ((expected.logits_per_text - network.logit_bias) / network.logit_scale.exp()).numpy()
    found = view.predict(Prompts(text=PHRASES[:3]), multimask=True)
    np.testing.assert_allclose(found.scores, -np.sort(-cosines, axis=1), atol=1e-5)


def test_presence_is_the_probability_against_the_nearest_neutral_phrase(load: Load) -> None:
    model = load("clip")
    phrases, crops = (
        torch.nn.functional.normalize(torch.randn(n, 8, generator=torch.Generator().manual_seed(n)), dim=1)
        for n in (2, 5)
    )
    cosines, relevance = model.similarities(phrases, crops)
    scale = float(model.network.logit_scale.exp())
    for n in range(2):
        for k in range(5):
            own, rival = float(phrases[n] @ crops[k]), max(float(neutral @ crops[k]) for neutral in model.neutral)
            assert cosines[n, k] == pytest.approx(own, abs=1e-6)
            # exp(s p) / (exp(s p) + exp(s q)) = 1 / (1 + exp(s (q - p)))
            assert relevance[n, k] == pytest.approx(1 / (1 + math.exp(scale * (rival - own))), abs=1e-4)
    assert len(model.neutral) == 4


def test_embeddings_of_templates_are_averaged(load: Load) -> None:
    plain = load("clip")
    both = load("clip", templates="{}|a {} b")
    (whole,) = both.embed_phrases(["cat"])
    mean = plain.embed_phrases(["cat"])[0] + plain.embed_phrases(["a cat b"])[0]
    torch.testing.assert_close(whole, mean / mean.norm(), atol=1e-5, rtol=0)
    assert both.note("x" * 9) == "cut to 12 of 13 tokens"


def test_many_phrases_cost_one_pass(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("clip")
    calls = {"proposals": 0, "crops": 0, "texts": 0}

    def counted(owner: Any, attribute: str, name: str) -> None:
        original = getattr(owner, attribute)

        def call(*given: Any, **named: Any) -> Any:
            calls[name] += 1
            return original(*given, **named)

        monkeypatch.setattr(owner, attribute, call)

    counted(model.generator, "generate", "proposals")
    counted(model.network, "get_image_features", "crops")
    counted(model.network, "get_text_features", "texts")
    view = view_of(model)
    assert calls == {"proposals": 0, "crops": 0, "texts": 0}
    for phrases in ([f"thing {k}" for k in range(50)], ["cat"], ["cat"]):
        view.predict(Prompts(text=phrases), multimask=True)
    assert calls == {"proposals": 1, "crops": math.ceil(len(view.proposals) / clip_sam.CPU_CROPS), "texts": 2}


def test_best_and_all(load: Load) -> None:
    best, everything = (
        view_of(load("clip", threshold="0", take=take)).predict(Prompts(text=["cat"]), multimask=True)
        for take in ("best", "all")
    )
    assert best.instances.tolist() == [[True] + [False] * (best.scores.shape[1] - 1)]
    chosen = np.flatnonzero(everything.instances[0])
    assert chosen[0] == 0
    assert len(chosen) > 1
    masks = everything.masks([(0, int(m)) for m in range(everything.scores.shape[1])])
    assert chosen.tolist() == apart(masks, range(len(masks)))
    never = view_of(load("clip", threshold="1")).predict(Prompts(text=["cat"]), multimask=True)
    assert not never.instances.any()


def test_an_image_without_proposals(load: Load) -> None:
    view = view_of(load("clip", pred_iou_thresh="1"))
    assert view.proposals == []
    points, labels = clicks((20, 20, 1), (20, 20, 0))
    alone, pointed = (
        view.predict(Prompts(text=["a"]), multimask=True),
        view.predict(Prompts(points, labels, text=["a", "a"]), multimask=True),
    )
    assert (alone.scores.tolist(), alone.presence.tolist()) == ([[0]], [0])
    assert pointed.instances[:, 0].tolist() == [True, False]
    assert (20, 20) in pointed.masks([(0, 0)])[0]


# --- grounded_sam -----------------------------------------------------------------------------------------------------


def detected(model: Any, phrases: Sequence[str]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    found: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = model.detector(model.detector.encode(IMAGE), phrases)
    return found


@pytest.mark.parametrize("batch", ["1", "3"])
def test_boxes_are_grounding_dino_s_own(load: Load, folders: Mapping[str, Path], batch: str) -> None:
    folder = folders["grounding_dino"]
    phrases = ["Cat", "the red dog", "a."]
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessorPil.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    )
    network = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    for phrase, (scores, corners) in zip(
        phrases, detected(load("grounding_dino", phrase_batch=batch), phrases), strict=True
    ):
        inputs = processor(images=IMAGE, text=[[phrase.rstrip(".")]], return_tensors="pt")
        with torch.inference_mode():
            answer = network(**inputs)
        (own,) = processor.post_process_grounded_object_detection(
            answer, inputs["input_ids"], threshold=0.0, text_threshold=0.0, target_sizes=[(60, 80)]
        )
        np.testing.assert_allclose(scores, own["scores"].numpy(), atol=1e-5)
        np.testing.assert_allclose(corners, own["boxes"].numpy(), atol=1e-2)


def test_boxes_are_owlv2_s_own(load: Load, folders: Mapping[str, Path]) -> None:
    folder = folders["owlv2"]
    processor = Owlv2Processor(Owlv2ImageProcessorPil.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
    network = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    phrases = ["cat", "a dog"]
    for phrase, (scores, corners) in zip(phrases, detected(load("owlv2"), phrases), strict=True):
        with torch.inference_mode():
            answer = network(**processor(images=IMAGE, text=[[phrase]], return_tensors="pt"))
        (own,) = processor.post_process_grounded_object_detection(answer, threshold=0.0, target_sizes=[(60, 80)])
        np.testing.assert_allclose(scores, own["scores"].numpy(), atol=1e-5)
        np.testing.assert_allclose(corners, own["boxes"].numpy(), atol=1e-3)


def test_an_image_is_seen_once_by_the_backbone(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("grounding_dino")
    seen = []
    original = model.detector.backbone.forward
    monkeypatch.setattr(model.detector.backbone, "forward", lambda *given: (seen.append(1), original(*given))[1])
    view = view_of(model)
    for phrases in (["a", "b", "c"], ["d"]):
        view.predict(Prompts(text=phrases), multimask=True)
    assert len(seen) == 1


def test_boxes_above_the_threshold_are_instances(load: Load) -> None:
    model = load("owlv2")
    view = view_of(model)
    corners = np.array([[10, 10, 30, 40], [50, 5, 90, 50], [10, 10, 30, 41], [5, 5, 5, 9]], np.float32)

    def fixed(encoded: Any, phrases: Sequence[str]) -> Any:
        scores = {"two": [0.5, 0.75, 0.25, 0.875], "none": [0.05, 0.01, 0.025, 0.0]}
        return [(np.array(scores[phrase], np.float32), corners) for phrase in phrases]

    model.detector.__class__ = type("Fixed", (type(model.detector),), {"__call__": lambda self, *given: fixed(*given)})
    found = view.predict(Prompts(text=["two", "none"]), multimask=True)
    # The fourth box has no width; the third overlaps the first (600 of 620 pixels); the second is cut at column 80.
    assert found.scores.tolist() == [[0.75, 0.5], [pytest.approx(0.05), 0]]
    assert found.instances.tolist() == [[True, True], [False, False]]
    assert found.presence.tolist() == [0.75, pytest.approx(0.05)]
    for (x0, y0, x1, y1), mask in zip(corners[[1, 0]].tolist(), found.masks([(0, 0), (0, 1)]), strict=True):
        assert x0 - 2 <= mask.box[0] < mask.box[2] <= min(x1, 80) + 2
        assert y0 - 2 <= mask.box[1] < mask.box[3] <= y1 + 2


# --- clipseg_sam ------------------------------------------------------------------------------------------------------


def test_heat_is_clipseg_s_own(load: Load, folders: Mapping[str, Path]) -> None:
    model, folder = load("clipseg", phrase_batch="2"), folders["clipseg"]
    phrases = PHRASES[:3]
    tokens = AutoTokenizer.from_pretrained(folder)(
        phrases, padding=True, truncation=True, max_length=tiny.TOKENS, return_tensors="pt"
    )
    pixels = ViTImageProcessorPil.from_pretrained(folder)(images=[IMAGE] * 3, return_tensors="pt")
    network = CLIPSegForImageSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = network(**tokens, **pixels).logits.sigmoid().numpy()
    found = model.heat(model.activations(IMAGE), phrases)
    assert found.shape == (3, tiny.SIDE, tiny.SIDE)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.std() > 1e-5
    (one,) = model.heat(model.activations(IMAGE), phrases[:1])
    np.testing.assert_allclose(one, expected[0], atol=1e-6)


def test_hot_regions_by_hand() -> None:
    heat = np.zeros((5, 7), np.float32)
    heat[0, :2] = 0.5, 0.625
    heat[1, 2] = 0.5  # touches the two at a corner
    heat[3:, 5:] = 0.75
    regions = hot_regions(heat, 0.5)
    assert [region.box for region in regions] == [(5, 3, 7, 5), (0, 0, 3, 2)]
    assert [region.area for region in regions] == [4, 3]
    # Nothing is that hot: around the peak, what is at least half as hot.
    (coldest,) = hot_regions(heat / 2, 0.5)
    assert (coldest.box, coldest.area) == ((5, 3, 7, 5), 4)
    (everything,) = hot_regions(np.zeros((2, 3), np.float32), 0.5)
    assert everything.area == 6
    assert len(hot_regions(np.eye(40, dtype=np.float32)[::2], 0.5)) == clipseg_sam.MOST


def test_a_hot_region_is_clicked_in_its_centre(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("clipseg")
    view = view_of(model)
    heat = np.full((60, 80), 0.1, np.float32)
    heat[10:21, 20:31] = 0.8
    monkeypatch.setattr(view, "heat", lambda phrases: [heat for _ in phrases])
    asked: list[Prompts] = []
    original = view.seen.predict
    monkeypatch.setattr(
        view.seen, "predict", lambda prompts, **more: (asked.append(prompts), original(prompts, **more))[1]
    )
    found = view.predict(Prompts(text=["a"]), multimask=True)
    assert asked[0].points is not None
    assert asked[0].points.tolist() == [[[25, 15]]]
    region = Mask.from_dense(heat > 0.5).dense()
    candidates = original(asked[0], multimask=True)
    dense = [mask.dense() for mask in candidates.masks([(0, m) for m in range(3)])]
    ious = [(mask & region).sum() / (mask | region).sum() for mask in dense]
    best = dense[int(np.argmax(ious))]
    assert np.array_equal(found.masks([(0, 0)])[0].dense(), best)
    assert found.scores[0, 0] == pytest.approx(heat[best].mean())
    assert (found.presence[0], found.instances[0, 0]) == (np.float32(0.8), True)
    heat *= 0.5
    cold = view.predict(Prompts(text=["a"]), multimask=True)
    assert (cold.presence[0], cold.instances.any()) == (np.float32(0.4), False)
    assert np.array_equal(cold.masks([(0, 0)])[0].dense(), best)


# --- what is named, and what is known of it ---------------------------------------------------------------------------

MODULES = {"clip_sam": clip_sam, "grounded_sam": grounded_sam, "clipseg_sam": clipseg_sam}


@pytest.mark.parametrize(
    ("name", "option"), [("clip_sam", "clip"), ("grounded_sam", "detector"), ("clipseg_sam", "clipseg")]
)
def test_cards(name: str, option: str) -> None:
    card, module = zoo.ZOO[name], MODULES[name]
    named = getattr(module.Options(), option)
    assert card.hub == named
    assert card.trained_on == module.RELEASED[named] | {"sa1b"}
    assert "text" in card.capabilities
    page = (ROOT / "docs" / "models" / f"{name}.md").read_text()
    for text in (card.summary, page):
        assert "not the paper's model" in text.lower()
    for seen in card.trained_on:
        assert f"`{seen}`" in page
    for described in options.described(module.Options):
        assert described.meaning
        assert f"`{described.name}`" in page


def test_the_digest_is_of_every_part(folders: Mapping[str, Path], tmp_path: Path) -> None:
    def digest(folder: Path, sam: str = "region_tree") -> str:
        return zoo.locate("clip_sam", {"clip": str(folder), "sam": sam}).weights_digest

    same, seeded = tiny.clip(tmp_path / "same"), tiny.clip(tmp_path / "seeded", seed=1)
    before = digest(folders["clip"])
    assert digest(same) == before
    assert digest(seeded) != before
    for file in ("tokenizer.json", "preprocessor_config.json"):
        changed = tiny.clip(tmp_path / file)
        (changed / file).write_text((changed / file).read_text() + "\n")
        assert digest(changed) != before


def test_what_the_whole_was_trained_on(folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"clip": str(folders["clip"]), "sam": "region_tree"}
    assert zoo.locate("clip_sam", values).trained_on is None
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folders["clip"]))
    released = zoo.locate("clip_sam", {"sam": "region_tree"})
    assert released.trained_on == {"openai_wit400m"}
    assert released.load("cpu", 1).trained_on == {"openai_wit400m"}
    assert zoo.locate("clip_sam", {**values, "clip": "someone/tuned"}).trained_on is None


def unreachable(*_: Any, **__: Any) -> str:
    raise ConnectionError("no route to the hub\nand a second line")


@pytest.mark.parametrize("name", MODULES)
def test_weights_that_cannot_be_had(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(UsageError) as refused:
        zoo.locate(name, {})
    message = str(refused.value)
    assert "\n" not in message
    for part in (zoo.ZOO[name].hub, "no route to the hub", "hf download", "--set model."):
        assert part in message
    assert "model.weights" not in message


def test_a_sam_that_cannot_be_had(folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(UsageError, match=r"facebook/sam-vit-huge .* --set model\.sam=PATH"):
        zoo.locate("clip_sam", {"clip": str(folders["clip"])})


def test_a_tokenizer_that_cannot_be_had(folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def weights_alone(hub_id: str, allow_patterns: Sequence[str], local_files_only: bool) -> str:
        return str(folders["clip"]) if "config.json" in allow_patterns else unreachable()

    monkeypatch.setattr("huggingface_hub.snapshot_download", weights_alone)
    with pytest.raises(UsageError, match=r"tokenizer and image processor of openai/clip.*no route.*model\.clip=PATH"):
        zoo.locate("clip_sam", {"sam": "region_tree"})


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("clip_sam", {"clip": "nowhere"}, "no weights at nowhere"),
        ("clip_sam", {"clip": "CLIPSEG"}, "is of the kind clipseg; model.clip takes clip or siglip"),
        ("grounded_sam", {"detector": "CLIP"}, "of the kind clip; model.detector takes grounding-dino or owlv2"),
        ("clipseg_sam", {"clipseg": "CLIP"}, "of the kind clip; model.clipseg takes clipseg"),
        ("clip_sam", {"clip": "CLIP/model.safetensors"}, "model.clip is a hub id or a folder with config.json, not a"),
        ("clip_sam", {"clip": "CLIP", "sam": "sobel"}, "model.sam=sobel takes no points"),
        (
            "clip_sam",
            {"clip": "CLIP", "sam": "region_treee"},
            "unknown model 'region_treee'. Did you mean: region_tree",
        ),
        (
            "clip_sam",
            {"templates": "a photo"},
            "model.templates=a photo: must be a text, with {} in each template",
        ),
        ("clip_sam", {"crop_scale": "0.5"}, "model.crop_scale=0.5: must be a number, finite and at least 1"),
        ("clip_sam", {"threshold": "1.5"}, "model.threshold=1.5: must be a number, at least 0 and at most 1"),
        ("clip_sam", {"crop_batch": "-1"}, "model.crop_batch=-1: must be an integer, at least 0"),
        ("clip_sam", {"points_per_side": "0"}, "model.points_per_side=0: must be an integer, at least 1"),
        ("grounded_sam", {"nms": "2"}, "model.nms=2: must be a number, at least 0 and at most 1"),
        ("grounded_sam", {"phrase_batch": "-1"}, "model.phrase_batch=-1: must be an integer, at least 0"),
        ("clipseg_sam", {"threshold": "nan"}, "model.threshold=nan: must be a number, at least 0 and at most 1"),
        ("clipseg_sam", {"phrase_batch": "-1"}, "model.phrase_batch=-1: must be an integer, at least 0"),
    ],
)
def test_what_is_refused(name: str, values: Mapping[str, str], message: str, folders: Mapping[str, Path]) -> None:
    places = {"CLIPSEG": str(folders["clipseg"]), "CLIP": str(folders["clip"])}
    given = {
        key: next((value.replace(word, at) for word, at in places.items() if value.startswith(word)), value)
        for key, value in values.items()
    }
    with pytest.raises(UsageError) as refused:
        zoo.locate(name, given)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_folders_that_lack_something(tmp_path: Path) -> None:
    values = {"sam": "region_tree"}
    for file, message in (
        ("tokenizer.json", r"has no vocabulary \(tokenizer\.json or .*which model\.clip needs"),
        ("preprocessor_config.json", "has no image processor"),
    ):
        folder = tiny.clip(tmp_path / file)
        (folder / file).unlink()
        with pytest.raises(UsageError, match=message):
            zoo.locate("clip_sam", {**values, "clip": str(folder)})
        (folder / file).write_text("{]")
        with pytest.raises(UsageError, match="cannot be used"):
            zoo.locate("clip_sam", {**values, "clip": str(folder)}).load("cpu", 1)
    folder = tiny.clip(tmp_path / "cut")
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    state.pop("text_projection.weight")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"1 tensors of the clip network are missing .*text_projection\.weight"):
        zoo.locate("clip_sam", {**values, "clip": str(folder)}).load("cpu", 1)


def test_centres_become_corners() -> None:
    boxes = torch.tensor([[0.5, 0.5, 1.0, 0.5], [0.25, 0.5, 0.25, 0.5]])
    assert text_components.corners(boxes, (80, 60)).tolist() == [[0, 15, 80, 45], [10, 15, 30, 45]]
