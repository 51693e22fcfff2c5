"""SAM 2's weights, names and interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.sam_family import DATA, picture
from helpers.sam_folders import sam2_folder, tiny_folder
from helpers.threads import one_thread

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.common import checkpoints
from sambench.models.sam2 import sam2, sam2_weights
from sambench.models.sam2.sam2 import Sam2Options
from sambench.plugins import options
from sambench.types import Prompts

__all__ = ["one_thread", "sam2_folder"]

RELEASED = json.loads(str(np.load(DATA / "sam2_expected.npz")["released"]))
"""Names and shapes of the tensors of the authors' eight files, by model."""


def blank(path: Path, shapes: dict[str, list[int]]) -> Path:
    """A checkpoint of one repeated element, which takes no room."""
    torch.save({"model": {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}}, path)
    return path


@pytest.fixture(scope="module")
def tiny(sam2_folder: Path) -> sam2.Sam2Model:
    return sam2.load("sam2_hiera_8x4", Sam2Options(weights=str(sam2_folder)), "cpu")


# Weights -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(name for name in RELEASED if name != "sam2_hiera_large"))
def test_every_released_tensor_finds_its_place(tmp_path: Path, name: str) -> None:
    from sambench.models.sam2.sam2_network import Sam2Network

    path = blank(tmp_path / "renamed.pt", RELEASED[name])
    source = checkpoints.find(str(path))
    assert sam2.recognise(source) == name
    held = sam2_weights.identify(source, checkpoints.keys(source))
    state = sam2_weights.translated(sam2_weights.read(source))
    with torch.device("meta"):
        network = Sam2Network(held.config, True)
    assert {key: value.shape for key, value in network.state_dict().items()} == {k: v.shape for k, v in state.items()}
    assert zoo.ZOO[name].parameters == sum(parameter.numel() for parameter in network.parameters())


def test_other_sizes_and_versions_are_refused_by_both_names(tmp_path: Path) -> None:
    path = blank(tmp_path / "w.pt", RELEASED["sam2.1_hiera_tiny"])
    for name in ("sam2.1_hiera_small", "sam2_hiera_tiny"):
        with pytest.raises(UsageError, match=f"holds weights of sam2.1_hiera_tiny, not of {name}"):
            sam2.locate(name, Sam2Options(weights=str(path)))
    assert sam2.locate("sam2.1_hiera_tiny", Sam2Options(weights=str(path))).name == "sam2.1_hiera_tiny"


def test_only_the_authors_weights_are_known_to_be_trained_on_sa1b(
    tmp_path: Path, sam2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = RELEASED["sam2_hiera_tiny"]
    renamed, named = blank(tmp_path / "mine.pt", shapes), blank(tmp_path / "sam2_hiera_tiny.pt", shapes)
    assert sam2.locate(None, Sam2Options(weights=str(renamed))).trained_on is None
    assert sam2.locate(None, Sam2Options(weights=str(named))).trained_on == sam2.TRAINED_ON
    assert sam2.locate(None, Sam2Options(weights=str(sam2_folder))).trained_on is None
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(sam2_folder))
    assert sam2.trained_on(checkpoints.find("facebook/sam2.1-hiera-large")) == sam2.TRAINED_ON
    assert sam2.trained_on(checkpoints.find("someone/their-sam2")) is None


def test_a_video_folder_gives_its_image_part(tmp_path: Path, sam2_folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    video = tiny_folder(tmp_path / "video", "sam2_video")
    weights = load_file(video / "model.safetensors")
    extra = {"memory_encoder.projection.weight": torch.ones(2), "no_object_pointer": torch.ones(1, 32)}
    save_file({**weights, **extra}, video / "model.safetensors")
    assert sam2.locate(None, Sam2Options(weights=str(video))).name == "sam2_hiera_8x4"
    save_file({**weights, **extra, "occlusion_spatial_embedding_parameter": torch.ones(1)}, video / "model.safetensors")
    found = sam2.load("sam2.1_hiera_8x4", Sam2Options(weights=str(video)), "cpu")
    image = sam2.load("sam2.1_hiera_8x4", Sam2Options(weights=str(sam2_folder)), "cpu")
    assert all(torch.equal(a, b) for a, b in zip(found.network.parameters(), image.network.parameters(), strict=True))


def test_files_that_are_no_sam2(tmp_path: Path, sam2_folder: Path) -> None:
    other = tmp_path / "other.pt"
    torch.save({"model": {"conv1.weight": torch.zeros(3)}}, other)
    with pytest.raises(UsageError, match=r"is not a SAM 2 checkpoint: it holds conv1\.weight"):
        sam2.locate(None, Sam2Options(weights=str(other)))
    assert sam2.recognise(checkpoints.find(str(other))) is None
    unknown = {key: value for key, value in RELEASED["sam2_hiera_tiny"].items() if "trunk.blocks.11." not in key}
    with pytest.raises(UsageError, match="width 96 with 11 blocks"):
        sam2.locate(None, Sam2Options(weights=str(blank(tmp_path / "w.pt", unknown))))
    changed = tiny_folder(tmp_path / "kind", "bert")
    assert sam2.recognise(checkpoints.find(str(changed))) is None
    with pytest.raises(UsageError, match="it is of type 'bert'"):
        sam2.locate("sam2_hiera_tiny", Sam2Options(weights=str(changed)))


def test_named_by_folder(sam2_folder: Path) -> None:
    """Image parts of 2 and 2.1 do not differ."""
    located = zoo.locate(str(sam2_folder), {})
    assert (located.name, located.adapter) == ("sam2.x_hiera_8x4", "sambench.models.sam2.sam2")


# Answers -------------------------------------------------------------------------------------------------------------

POINTS = np.array([[[10, 12], [50, 20]], [[30, 40], [0, 0]], [[63, 47], [1, 40]]], np.float32)
LABELS = np.array([[1, 0], [1, -1], [1, 1]])


def test_shapes_and_order(tiny: sam2.Sam2Model) -> None:
    view = tiny.encode([picture(48, 64)])[0]
    prediction = view.predict(Prompts(points=POINTS, labels=LABELS), multimask=True)
    assert prediction.scores.shape == (3, 3)
    assert prediction.scores.dtype == np.float32
    low = prediction.feedback([(2, 1), (0, 0)])
    assert low.shape == (2, 64, 64)
    assert float(low.std()) > 0.1
    masks = prediction.masks([(2, 1), (0, 0)])
    assert [mask.size for mask in masks] == [(48, 64)] * 2
    assert masks[0].area == prediction.masks([(0, 0), (2, 1)])[1].area
    none = Prompts(points=np.zeros((0, 1, 2), np.float32), labels=np.zeros((0, 1), np.int64))
    assert view.predict(none, multimask=True).scores.shape == (0, 3)
    with pytest.raises(ValueError, match="not text"):
        view.predict(Prompts(text=["a cat"]), multimask=True)


def test_answers_are_those_of_transformers(sam2_folder: Path, tiny: sam2.Sam2Model) -> None:
    """Its own forward with the same weights and our pixels and coordinates."""
    from transformers import Sam2Model

    image, frame = picture(48, 64), tiny.frame((48, 64))
    theirs = Sam2Model.from_pretrained(sam2_folder).eval()
    with torch.inference_mode():
        expected = theirs(
            pixel_values=frame.pixels(image)[None],
            input_points=torch.from_numpy(frame.to_input(POINTS))[None],
            input_labels=torch.from_numpy(LABELS)[None],
            multimask_output=True,
        )
    ours = tiny.encode([image])[0].predict(Prompts(points=POINTS, labels=LABELS), multimask=True)
    low = ours.feedback([(i, j) for i in range(3) for j in range(3)])
    assert float(low.std()) > 0.2
    assert float((low - expected.pred_masks[0].flatten(0, 1)).abs().max()) < 1e-4
    np.testing.assert_allclose(ours.scores, expected.iou_scores[0].numpy(), atol=1e-5)


def test_on_a_cpu_a_prompt_does_not_depend_on_the_others(tiny: sam2.Sam2Model) -> None:
    view = tiny.encode([picture(48, 64)])[0]
    previous = view.predict(Prompts(points=POINTS, labels=LABELS), multimask=False).feedback([(i, 0) for i in range(3)])
    together = view.predict(Prompts(points=POINTS, labels=LABELS, mask_logits=previous), multimask=False)
    for i in range(3):
        part = slice(i, i + 1)
        alone = view.predict(
            Prompts(points=POINTS[part], labels=LABELS[part], mask_logits=previous[part]), multimask=False
        )
        assert torch.equal(alone.feedback([(0, 0)]), together.feedback([(i, 0)]))


def test_prompt_batches_change_next_to_nothing(sam2_folder: Path, tiny: sam2.Sam2Model) -> None:
    image, boxes = picture(48, 64), np.array([[5, 5, 40, 30], [0, 0, 64, 48], [20, 10, 30, 40]], np.float32)
    batched = sam2.load("sam2_hiera_8x4", Sam2Options(weights=str(sam2_folder), prompt_batch=2), "cpu")
    prompts = Prompts(points=POINTS, labels=LABELS, boxes=boxes)
    one, two = (model.encode([image])[0].predict(prompts, multimask=True) for model in (tiny, batched))
    pairs = [(i, j) for i in range(3) for j in range(3)]
    assert float((one.feedback(pairs) - two.feedback(pairs)).abs().max()) < 1e-4


def test_the_same_call_gives_the_same_bits_and_images_do_not_mix(tiny: sam2.Sam2Model) -> None:
    image, other = picture(48, 64), picture(70, 33, seed=1)
    prompts = Prompts(points=POINTS, labels=LABELS)

    def logits(images: list[Any], slot: int) -> Any:
        return tiny.encode(images)[slot].predict(prompts, multimask=True).feedback([(0, 0), (2, 2)])

    assert torch.equal(logits([image], 0), logits([image], 0))
    assert torch.equal(logits([image, other], 0), logits([image, image], 1))
    assert float((logits([image], 0) - logits([image, other], 0)).abs().max()) < 1e-4


def test_low_precision_is_near(sam2_folder: Path, tiny: sam2.Sam2Model) -> None:
    image = picture(48, 64)
    low = sam2.load("sam2_hiera_8x4", Sam2Options(weights=str(sam2_folder), dtype="bfloat16"), "cpu")
    exact, near = (model.encode([image])[0].features[2] for model in (tiny, low))
    assert near.dtype == torch.float32
    assert not torch.equal(exact, near)
    assert float((exact - near).norm() / exact.norm()) < 0.05


def test_a_mask_prompt_alone(tiny: sam2.Sam2Model) -> None:
    view = tiny.encode([picture(48, 64)])[0]
    previous = view.predict(Prompts(boxes=np.array([[5, 5, 40, 30]], np.float32)), multimask=True).feedback([(0, 1)])
    assert view.predict(Prompts(mask_logits=previous), multimask=True).scores.shape == (1, 3)


def test_crops_are_images_of_their_own(tiny: sam2.Sam2Model) -> None:
    image = picture(48, 64)
    prompts = Prompts(points=POINTS[:1, :1], labels=LABELS[:1, :1])
    crop = next(iter(tiny.encode([image])[0].crops([(4, 6, 40, 44)])))
    alone = tiny.encode([image[6:44, 4:40]])[0]
    first, second = (view.predict(prompts, multimask=True) for view in (crop, alone))
    assert torch.equal(first.feedback([(0, 0)]), second.feedback([(0, 0)]))
    assert first.masks([(0, 0)])[0].size == (38, 36)


def test_options() -> None:
    with pytest.raises(UsageError, match=r"model\.prompt_batch=-1: must be an integer, at least 0"):
        options.build(Sam2Options, {"prompt_batch": "-1"}, "model")
