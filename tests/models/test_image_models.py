"""What all models of SAM's family do with images: prepared on any thread, encoded with fewer where memory runs out,
kept as arrays and made again, all to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import official_sam, tiny_text_models
from helpers.sam_family import family_weights, picture
from helpers.sam_folders import sam2_folder as sam2_folder
from helpers.sam_folders import sam3_folder as sam3_folder
from helpers.sam_folders import sam_hq_checkpoint as sam_hq_checkpoint
from helpers.threads import one_thread
from numpy.typing import NDArray

from sambench.models import zoo
from sambench.models.common.image_model import ImageModel, PromptOptions
from sambench.models.sam import efficient_sam, mobile_sam, sam
from sambench.models.sam.efficient_sam_network import EfficientSam
from sambench.models.sam.sam import SamOptions
from sambench.models.sam.tiny_vit import TinyViT, fold
from sambench.types import Model, Prompts

__all__ = ["one_thread", "sam2_folder", "sam3_folder", "sam_hq_checkpoint"]

IMAGES = [picture(60, 80), picture(80, 50, seed=1)]
POINTS = Prompts(np.array([[[20, 12], [40, 30]], [[30, 40], [0, 0]]], np.float32), np.array([[1, 0], [1, -1]]))
BOX = Prompts(boxes=np.array([[5, 6, 44, 50]], np.float32))


@pytest.fixture(scope="module")
def sam_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam") / "weights.pth"
    torch.save(official_sam.build(side=256).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def efficient_sam_model() -> Iterator[Any]:
    """One block of the tiny one, for an input of 128 pixels."""
    network = EfficientSam(192, depth=1).eval().requires_grad_(False)
    network.load_state_dict(family_weights({key: value.shape for key, value in network.state_dict().items()}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficient_sam, "SIDE", 128)
        found = sam.WeightsInfo("small", "", "0", None)
        yield efficient_sam.EfficientSamModel(network, found, PromptOptions(), "cpu", 0)


@pytest.fixture(scope="module")
def mobile_sam_model() -> Any:
    """One block in each stage, for an input of 224 pixels."""
    from transformers import SamConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    prompts = SamPromptEncoderConfig(image_size=224)
    network: Any = SamModel(
        SamConfig(vision_config=SamVisionConfig(num_hidden_layers=0), prompt_encoder_config=prompts)
    )
    network.vision_encoder = TinyViT((1, 1, 1, 1))
    network.load_state_dict(family_weights({key: value.shape for key, value in network.state_dict().items()}))
    network.eval().requires_grad_(False)
    fold(network.vision_encoder)
    return mobile_sam.MobileSamModel(network, sam.WeightsInfo("small", "", "0", None), PromptOptions(), "cpu", 0)


@pytest.fixture(
    scope="module",
    params=[
        "sam",
        "sam in bfloat16",
        "sam2",
        "sam3",
        "sam_hq",
        "efficient_sam",
        "mobile_sam",
        "clipseg_sam",
    ],
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def value(fixture: str) -> Any:
        return request.getfixturevalue(fixture)

    match request.param:
        case "sam":
            return sam.load_checkpoint(str(value("sam_checkpoint")), SamOptions(), "cpu")
        case "sam in bfloat16":
            return sam.load_checkpoint(str(value("sam_checkpoint")), SamOptions(dtype="bfloat16"), "cpu")
        case "sam2" | "sam3" as family:
            return zoo.locate(str(value(f"{family}_folder")), {}).load("cpu", 1)
        case "sam_hq":
            return zoo.locate(str(value("sam_hq_checkpoint")), {}).load("cpu", 1)
        case "clipseg_sam":
            network = tiny_text_models.clipseg(tmp_path_factory.mktemp("clipseg"))
            values = {"sam": str(value("sam_checkpoint")), "clipseg": str(network)}
            return zoo.locate("clipseg_sam", values).load("cpu", 1)
        case family:
            return value(f"{family}_model")


def _answers(view: Any) -> list[NDArray[Any]]:
    """Scores, logits and masks to points and a box, to what is fed back, and in crops."""
    found: list[NDArray[Any]] = []
    for asked in (POINTS, BOX):
        for multimask in (True, False):
            answer = view.predict(asked, multimask=multimask)
            pairs = list(np.ndindex(answer.scores.shape))
            found += [answer.scores, *(mask.dense() for mask in answer.masks(pairs))]
            fed_back = answer.feedback(pairs)
            if fed_back is not None:
                found.append(np.asarray(fed_back))
                again = Prompts(asked.points, asked.labels, asked.boxes, fed_back[: len(asked)])
                found.append(view.predict(again, multimask=False).scores)
    crops = view.crops([(0, 0, 30, 40), (7, 9, 50, 60)])
    return [*found, *(crop.predict(BOX, multimask=True).scores for crop in crops)]


def _same(ones: Sequence[NDArray[Any]], others: Sequence[NDArray[Any]]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ones, others, strict=True))


def test_what_is_prepared_on_threads_is_encoded_as_the_image_itself(model: Any) -> None:
    assert type(model).prepare is not Model.prepare
    with ThreadPoolExecutor(2) as pool:
        views = model.encode_prepared(list(pool.map(model.prepare, IMAGES)))
    assert all(_same(_answers(a), _answers(b)) for a, b in zip(views, model.encode(IMAGES), strict=True))


def test_a_view_made_of_a_kept_encoding_answers_as_the_first_one_did(model: Any) -> None:
    """Of a batch of one and of two, whose tensors can have their axes in another order."""
    assert model.encoding_key
    assert "torch=" in model.encoding_key
    for batch in (IMAGES[1:], IMAGES):
        view = model.encode(batch)[-1]
        encoding = model.encoding(view)
        assert {values.dtype for values in encoding.values()} == {np.dtype(np.float32)}
        assert all(values.flags.c_contiguous for values in encoding.values())
        kept = {
            name: np.frombuffer(values.tobytes(), np.float32).reshape(values.shape) for name, values in encoding.items()
        }
        assert _same(_answers(model.view_of(IMAGES[1], kept)), _answers(view))


def test_a_phrase_is_answered_by_a_view_that_was_made_again(sam3_folder: Path) -> None:
    model: Any = zoo.locate(str(sam3_folder), {"text_score": "0"}).load("cpu", 1)
    (view,) = model.encode(IMAGES[:1])
    again = model.view_of(IMAGES[0], model.encoding(view))
    ours, theirs = (one.predict(Prompts(text=["cat", "red dog"]), multimask=True) for one in (again, view))
    assert np.array_equal(ours.scores, theirs.scores)
    assert np.array_equal(ours.presence, theirs.presence)


def test_what_a_text_model_does_not_keep() -> None:
    """Its promptable model keeps no encodings, so that it has nothing to offer either."""
    from sambench.models.text.text_model import TextModel

    promptable = zoo.locate("region_tree", {}).load("cpu", 1)
    assert not promptable.encoding_key

    class Reading(TextModel):
        def view(self, image: Any, seen: Any) -> Any:
            return seen

    model = Reading(sam.WeightsInfo("reading", "", "0", None), promptable, several=True)
    assert not model.encoding_key
    assert type(model).prepare is not Model.prepare
    assert model.halved == 0
    assert len(model.encode_prepared([model.prepare(image) for image in IMAGES])) == 2


def test_an_encoding_of_another_kind_is_refused(sam_checkpoint: Path) -> None:
    model = sam.load_checkpoint(str(sam_checkpoint), SamOptions(), "cpu")
    with pytest.raises(ValueError, match="has embedding, this one fine, middle"):
        model.view_of(
            IMAGES[0], {"fine": np.zeros((1, 2, 2), np.float32), "middle 021": np.zeros((1, 2, 2), np.float32)}
        )


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"attention": "sdpa"}])
def test_what_makes_another_encoding_has_another_key(sam_checkpoint: Path, options: dict[str, Any]) -> None:
    keys = [sam.load_checkpoint(str(sam_checkpoint), SamOptions(**more), "cpu").encoding_key for more in ({}, options)]
    assert keys[0] != keys[1]


@pytest.fixture
def limited(sam_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Any]:
    """A SAM whose encoder takes no more images at once than that."""
    model = sam.load_checkpoint(str(sam_checkpoint), SamOptions(), "cpu", 4)

    def with_limit(limit: int) -> Any:
        encoder = model.encoder

        def too_large(pixels: torch.Tensor) -> torch.Tensor:
            if len(pixels) > limit:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you")
            return encoder(pixels)

        monkeypatch.setattr(model, "encoder", too_large)
        return model

    return with_limit


def test_fewer_images_at_once_where_memory_runs_out(limited: Callable[[int], Any]) -> None:
    """Four do not fit, twice two do: the same as encoding twice two."""
    images = [*IMAGES, *(picture(70, 60, seed=seed) for seed in (2, 3))]
    model = limited(2)
    views = model.encode(images)
    assert model.halved == 1
    expected = [*model.encode(images[:2]), *model.encode(images[2:])]
    assert all(torch.equal(a.embedding, b.embedding) for a, b in zip(views, expected, strict=True))
    assert model.halved == 1


def test_one_image_that_does_not_fit_is_an_error(limited: Callable[[int], Any]) -> None:
    model = limited(0)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        model.encode(IMAGES)
    assert model.halved == 1


def test_pixels_for_a_gpu_are_pinned(sam_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sam.load_checkpoint(str(sam_checkpoint), SamOptions(), "cpu")
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self.shape) or self)
    model.prepare(IMAGES[0])
    assert pinned == []
    monkeypatch.setattr(model, "device", torch.device("cuda"))
    model.prepare(IMAGES[0])
    assert pinned == [(3, 256, 256)]


def test_nothing_is_encoded_of_no_images(sam_checkpoint: Path) -> None:
    model: ImageModel[Any, Any] = sam.load_checkpoint(str(sam_checkpoint), SamOptions(), "cpu")
    assert model.encode([]) == []
