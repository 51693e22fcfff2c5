"""Our SAM against the official package with the same random weights: every prompt kind, odd image shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import official_sam
from numpy.typing import NDArray

from sambench.models.sam.sam import SamModel, SamOptions, load, load_checkpoint
from sambench.types import Prompts

LOGITS = 1e-3
"""The promise: low-resolution logits agree to this, and masks wherever the full-size logit is farther from 0."""


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Soft blobs with texture: something to tell places in the image apart by."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / (7 + 9 * c) + c) + np.cos(y / (11 + 5 * c)) for c in range(3)], -1)
    return np.clip(128 + 50 * waves + rng.normal(0, 20, waves.shape), 0, 255).astype(np.uint8)


def spots(seed: int, prompts: int, points: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Random pixels ``(prompts, points, 2)`` xy."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, [size[1], size[0]], (prompts, points, 2)).astype(np.float32)


class Pair:
    """Both implementations over one set of weights."""

    def __init__(self, folder: Path, **sizes: Any) -> None:
        official = official_sam.build(**sizes)
        self.checkpoint = folder / "weights.pth"
        torch.save(official.state_dict(), self.checkpoint)
        self.predictor = official_sam.package().SamPredictor(official)
        self.model = load_checkpoint(str(self.checkpoint), SamOptions(), "cpu")

    def compare(self, image: NDArray[np.uint8], cases: list[tuple[Prompts, bool]]) -> list[float]:
        """Asserts agreement on every prompt; the largest difference of logits of each case."""
        self.predictor.set_image(image)
        view = self.model.encode([image])[0]
        differences = []
        for prompts, multimask in cases:
            worst = 0.0
            ours = view.predict(prompts, multimask=multimask)
            for i in range(len(prompts)):
                points = prompts.points is not None and prompts.labels is not None
                full, scores, low = self.predictor.predict(
                    point_coords=prompts.points[i] if points else None,
                    point_labels=prompts.labels[i] if points else None,
                    box=None if prompts.boxes is None else prompts.boxes[i],
                    mask_input=None if prompts.mask_logits is None else np.asarray(prompts.mask_logits[i])[None],
                    multimask_output=multimask,
                    return_logits=True,
                )
                assert ours.low[i].shape == low.shape == ((3 if multimask else 1), *low.shape[1:])
                assert low.std() > 0.2, "degenerate logits would make this comparison empty"
                worst = max(worst, float(np.abs(ours.low[i].numpy() - low).max()))
                assert worst < LOGITS
                np.testing.assert_allclose(ours.scores[i], scores, atol=1e-4)
                masks = ours.masks([(i, j) for j in range(len(low))])
                for mask, logits in zip(masks, full, strict=True):
                    assert mask.size == image.shape[:2]
                    disagree = mask.dense() != (logits > 0)
                    assert np.abs(logits[disagree]).max(initial=0) < LOGITS
            differences.append(worst)
        return differences


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def half_size(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The same at 512 pixels, which the official encoder does in a fraction of the time."""
    return Pair(tmp_path_factory.mktemp("half_size"), side=512)


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield
    torch.set_num_threads(before)


SIZE = (300, 431)


def _cases(small: Pair) -> list[tuple[str, Prompts, bool]]:
    view = small.model.encode([picture(*SIZE)])[0]
    one = Prompts(points=spots(1, 3, 1, SIZE), labels=np.ones((3, 1), np.int64))
    many = Prompts(points=spots(2, 3, 6, SIZE), labels=np.array([[1, 0, 1, 1, 0, 0]] * 3, np.int64))
    unequal = Prompts(
        points=spots(3, 3, 4, SIZE), labels=np.array([[1, -1, -1, -1], [1, 0, -1, -1], [1, 1, 0, 1]], np.int64)
    )
    boxes = np.array([[10, 20, 100, 200], [0, 0, 430, 299], [300.5, 100.25, 420, 290]], np.float32)
    previous = view.predict(one, multimask=True).feedback([(0, 0), (1, 2), (2, 1)])
    return [
        ("one point", one, True),
        ("one point, single mask", one, False),
        ("many points with negatives", many, False),
        ("many points, three masks", many, True),
        ("unequal counts", unequal, False),
        ("box", Prompts(boxes=boxes), True),
        ("box, single mask", Prompts(boxes=boxes), False),
        ("box and point", Prompts(points=one.points, labels=one.labels, boxes=boxes), True),
        ("box and unequal points", Prompts(points=unequal.points, labels=unequal.labels, boxes=boxes), False),
        ("points and previous mask", Prompts(points=many.points, labels=many.labels, mask_logits=previous), False),
        ("point and previous mask", Prompts(points=one.points, labels=one.labels, mask_logits=previous), True),
        ("box and previous mask", Prompts(boxes=boxes, mask_logits=previous), False),
    ]


def test_every_prompt_kind(small: Pair) -> None:
    cases = _cases(small)
    differences = small.compare(picture(*SIZE), [(prompts, multimask) for _, prompts, multimask in cases])
    for (name, _, _), worst in zip(cases, differences, strict=True):
        print(f"{name}: {worst:.1e}")


def test_the_comparison_sees_masks_worth_comparing(small: Pair) -> None:
    """Random weights could give empty or full masks, or three equal ones, on which all implementations agree."""
    prompts = Prompts(points=spots(1, 3, 1, SIZE), labels=np.ones((3, 1), np.int64))
    prediction = small.model.encode([picture(*SIZE)])[0].predict(prompts, multimask=True)
    masks = prediction.masks([(i, j) for i in range(3) for j in range(3)])
    for mask in masks:
        assert 0.05 < mask.area / (SIZE[0] * SIZE[1]) < 0.95
    first = [mask.dense() for mask in masks[:3]]
    assert all((a != b).mean() > 0.01 for a, b in ((first[0], first[1]), (first[1], first[2])))
    assert len(set(prediction.scores.ravel().tolist())) == 9


@pytest.mark.parametrize("size", [(60, 900), (700, 50), (3, 2), (1, 1), (511, 512), (512, 513), (600, 420)])
def test_odd_image_shapes(half_size: Pair, size: tuple[int, int]) -> None:
    point = Prompts(points=spots(4, 1, 1, size), labels=np.ones((1, 1), np.int64))
    box = Prompts(boxes=np.array([[0, 0, size[1] * 0.6, size[0] * 0.7]], np.float32))
    half_size.compare(picture(*size), [(point, True), (box, False)])


def test_full_vit_b(tmp_path: Path) -> None:
    """The released sizes, once: encoder and decoder."""
    pair = Pair(tmp_path, width=768, depth=12, heads=12, global_layers=(2, 5, 8, 11))
    assert pair.model.name == "sam_vit_b"
    size = (240, 320)
    point = Prompts(points=spots(5, 2, 1, size), labels=np.ones((2, 1), np.int64))
    more = Prompts(points=spots(6, 2, 3, size), labels=np.array([[1, 0, 1]] * 2, np.int64))
    print("ViT-B:", pair.compare(picture(*size), [(point, True), (more, False)]))


def test_windows_that_need_no_padding_and_other_sizes(tmp_path: Path) -> None:
    """A grid of 28 patches is two whole windows of 14; four blocks with global attention in the first and third."""
    pair = Pair(tmp_path, width=96, depth=4, heads=3, global_layers=(0, 2), side=448)
    point = Prompts(points=spots(7, 2, 1, (100, 140)), labels=np.ones((2, 1), np.int64))
    pair.compare(picture(100, 140), [(point, True)])


# What batches and dtypes may change ----------------------------------------------------------------------------------


def _embeddings(model: SamModel, images: list[NDArray[np.uint8]]) -> list[torch.Tensor]:
    return [view.embedding for view in model.encode(images)]


def test_encoding_two_images_at_once_is_near_encoding_each(small: Pair) -> None:
    images = [picture(200, 300, 1), picture(300, 200, 2)]
    together = _embeddings(small.model, images)
    for image, embedding in zip(images, together, strict=True):
        alone = _embeddings(small.model, [image])[0]
        assert float((alone - embedding).abs().max()) < 1e-4


def test_a_slot_of_a_batch_does_not_depend_on_the_other_images(small: Pair) -> None:
    image, a, b = picture(200, 300, 1), picture(300, 200, 2), np.zeros((1, 1, 3), np.uint8)
    for slot in (0, 1):
        first, second = ([image, other] if slot == 0 else [other, image] for other in (a, b))
        assert torch.equal(_embeddings(small.model, first)[slot], _embeddings(small.model, second)[slot])


def test_prompt_batches_change_next_to_nothing(small: Pair) -> None:
    image = picture(*SIZE)
    prompts = Prompts(points=spots(8, 7, 2, SIZE), labels=np.array([[1, 0]] * 7, np.int64))
    results = []
    for batch in (1, 3, 64):
        model = load_checkpoint(str(small.checkpoint), SamOptions(prompt_batch=batch), "cpu")
        results.append(model.encode([image])[0].predict(prompts, multimask=True))
    for other in results[1:]:
        assert float((other.low - results[0].low).abs().max()) < 1e-4
        np.testing.assert_allclose(other.scores, results[0].scores, atol=1e-4)


def test_on_a_cpu_a_prompt_does_not_depend_on_the_others(small: Pair) -> None:
    view = small.model.encode([picture(*SIZE)])[0]
    points, labels = spots(9, 5, 2, SIZE), np.array([[1, 0]] * 5, np.int64)
    previous = view.predict(Prompts(points=points, labels=labels), multimask=False).feedback([(i, 0) for i in range(5)])
    together = view.predict(Prompts(points=points, labels=labels, mask_logits=previous), multimask=False)
    for i in (0, 3):
        part = slice(i, i + 1)
        alone = Prompts(points=points[part], labels=labels[part], mask_logits=previous[part])
        assert torch.equal(view.predict(alone, multimask=False).low[0], together.low[i])


def test_the_same_call_gives_the_same_bits(small: Pair) -> None:
    prompts = Prompts(points=spots(1, 2, 1, SIZE), labels=np.ones((2, 1), np.int64))
    image = picture(*SIZE)
    first, second = (small.model.encode([image])[0].predict(prompts, multimask=True) for _ in range(2))
    assert torch.equal(first.low, second.low)
    assert first.scores.tobytes() == second.scores.tobytes()


@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 0.03), ("float16", 0.005)])
def test_low_precision_is_near(small: Pair, dtype: Any, bound: float) -> None:
    image = picture(*SIZE)
    model = load_checkpoint(str(small.checkpoint), SamOptions(dtype=dtype), "cpu")
    exact, near = _embeddings(small.model, [image])[0], _embeddings(model, [image])[0]
    assert near.dtype == torch.float32
    assert not torch.equal(exact, near)
    assert float((exact - near).norm() / exact.norm()) < bound


def test_predictions_pick_pairs_in_the_order_asked(small: Pair) -> None:
    view = small.model.encode([picture(*SIZE)])[0]
    prompts = Prompts(points=spots(1, 2, 1, SIZE), labels=np.ones((2, 1), np.int64))
    prediction = view.predict(prompts, multimask=True)
    assert prediction.scores.shape == (2, 3)
    assert prediction.scores.dtype == np.float32
    chosen = prediction.feedback([(1, 2), (0, 0)])
    assert chosen.shape == (2, 256, 256)
    assert torch.equal(chosen[0], prediction.low[1, 2])
    assert torch.equal(chosen[1], prediction.low[0, 0])
    assert prediction.masks([(1, 2)])[0].area == prediction.masks([(0, 0), (1, 2)])[1].area
    assert prediction.masks([]) == []


def test_no_prompts_no_masks(small: Pair) -> None:
    view = small.model.encode([picture(*SIZE)])[0]
    none = Prompts(points=np.zeros((0, 1, 2), np.float32), labels=np.zeros((0, 1), np.int64))
    assert view.predict(none, multimask=True).scores.shape == (0, 3)


def test_text_is_refused(small: Pair) -> None:
    with pytest.raises(ValueError, match="not text"):
        small.model.encode([picture(*SIZE)])[0].predict(Prompts(text=["a cat"]), multimask=True)


def test_the_zoo_name_and_the_file_load_the_same_model(tmp_path: Path, small: Pair) -> None:
    by_name = load("sam_vit_64x2", SamOptions(weights=str(small.checkpoint)), "cpu", encode_batch=3)
    assert by_name.encode_batch == 3
    assert small.model.encode_batch == 1
    assert by_name.weights_digest == small.model.weights_digest
    image = picture(50, 60)
    assert torch.equal(_embeddings(by_name, [image])[0], _embeddings(small.model, [image])[0])
