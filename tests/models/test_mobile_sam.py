"""MobileSAM: stored answers of the released code, the authors' names of tensors, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parity import MISTAKES, PRECISIONS, computing, float64, mistaken
from helpers.paths import STORED
from helpers.stored_answers import compare, named_weights, picture
from helpers.threads import one_thread

from sambench.errors import UsageError
from sambench.models.common import checkpoints
from sambench.models.sam import mobile_sam, sam
from sambench.models.sam.mobile_sam import MobileSamModel, Options
from sambench.models.zoo import ZOO, locate
from sambench.plugins import options
from sambench.types import Prompts

__all__ = ["one_thread"]

ANSWERS = STORED / "mobile_sam_answers.npz"

_OF_TRANSFORMERS = (
    ("vision_encoder.neck.conv1.", "image_encoder.neck.0."),
    ("vision_encoder.neck.layer_norm1.", "image_encoder.neck.1."),
    ("vision_encoder.neck.conv2.", "image_encoder.neck.2."),
    ("vision_encoder.neck.layer_norm2.", "image_encoder.neck.3."),
    ("vision_encoder.", "image_encoder."),
    ("shared_image_embedding.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    ("prompt_encoder.point_embed.", "prompt_encoder.point_embeddings."),
    *((f"mask_embed.{a}.", f"mask_downscaling.{b}.") for a, b in zip(
        ("conv1", "layer_norm1", "conv2", "layer_norm2", "conv3"), (0, 1, 3, 4, 6), strict=True)),
    *((f"mask_decoder.upscale_{a}.", f"mask_decoder.output_upscaling.{b}.") for a, b in zip(
        ("conv1", "layer_norm", "conv2"), (0, 1, 3), strict=True)),
    (".layers.0.bias", ".layers.1.bias"),
    (".layers.0.weight", ".layers.1.weight"),
    (".proj_in.", ".layers.0."),
    (".proj_out.", ".layers.2."),
    ("layer_norm_final_attn", "norm_final_attn"),
    ("transformer.", "transformer."),
)  # fmt: skip
"""Names of transformers' SAM and the authors', in the order in which to replace."""


def _authors_name(name: str) -> str:
    for ours, theirs in _OF_TRANSFORMERS:
        name = name.replace(ours, theirs)
    return name.replace(".layer_norm", ".norm") if ".transformer.layers." in name else name


def _authors_shapes(depths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a released file."""
    again = "prompt_encoder.shared_embedding.positional_embedding"
    held = mobile_sam.network(depths).state_dict()
    shapes = {_authors_name(key): tuple(value.shape) for key, value in held.items() if key != again}
    head = {"norm_head.weight": (320,), "norm_head.bias": (320,), "head.weight": (1000, 320), "head.bias": (1000,)}
    return shapes | {f"image_encoder.{key}": shape for key, shape in head.items()}


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One block in each stage of the image encoder, else as released."""
    path = tmp_path_factory.mktemp("mobile_sam") / "small.pt"
    torch.save(named_weights(_authors_shapes((1, 1, 1, 1))), path)
    return path


def _small(path: Path, mistake: str = "") -> MobileSamModel:
    source = checkpoints.find(str(path))
    network = mobile_sam.fill(mobile_sam.network((1, 1, 1, 1)), source)
    mistaken(
        network, mistake, "vision_encoder.layers.1.blocks.0.mlp.norm", "mask_decoder.transformer.layers.0.mlp.lin1.bias"
    )
    return MobileSamModel(network, sam.WeightsInfo("small", "", source.digest(), None), Options(), "cpu", 0)


@pytest.fixture(scope="module")
def small(small_file: Path) -> MobileSamModel:
    return _small(small_file)


def _saved(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A file of these names and shapes that takes no room: every tensor repeats one element."""
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, path)
    return path


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _saved(tmp_path_factory.mktemp("released") / "mobile_sam.pt", _authors_shapes((2, 2, 6, 2)))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_answers_are_those_of_the_released_code(small_file: Path, precision: str) -> None:
    """Points 1 to 9 with the previous mask, boxes, one and three candidates; three shapes of image."""
    with computing(precision):
        found = compare(_small(small_file), ANSWERS, precision)
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(small_file: Path, mistake: str) -> None:
    with float64():
        found = compare(_small(small_file, mistake), ANSWERS, "float64", mistake, answers=2)
    assert found.worst > 2


def test_the_card_counts_the_parameters() -> None:
    """Of 10 130 092 that the released code has, the classification head (321 640) is left out; the matrix of positions
    (2 x 128) is a parameter in transformers and a buffer there."""
    parameters = sum(value.numel() for value in mobile_sam.network().parameters()) - 2 * 128
    assert ZOO["mobile_sam"].parameters == parameters == 10_130_092 - 321_640


def test_a_released_file_is_recognised_and_fits(released: Path) -> None:
    source = checkpoints.find(str(released))
    assert mobile_sam.recognise(source) == "mobile_sam"
    assert sam.recognise(source) is None
    located = locate(str(released), {})
    assert (located.name, located.trained_on) == ("mobile_sam", {"sa1b"})
    assert located.weights_digest == source.digest()
    mobile_sam.fill(mobile_sam.network(), source)


def test_only_the_released_file_is_known_to_be_trained_on_sa1b(
    tmp_path: Path, released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "mine.pt"
    other.write_bytes(released.read_bytes())
    options = Options(weights=str(other))
    assert mobile_sam.locate("mobile_sam", options).trained_on is None
    monkeypatch.setattr(mobile_sam, "RELEASED", checkpoints.find(str(other)).digest())
    assert mobile_sam.locate("mobile_sam", options).trained_on == {"sa1b"}


def test_other_weights_are_refused_naming_both(tmp_path: Path, released: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(UsageError) as caught:
            mobile_sam.locate("mobile_sam", Options(weights=str(path)))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    tiny_hq = _authors_shapes((2, 2, 6, 2)) | {"mask_decoder.hf_token.weight": (1, 256)}
    path = _saved(tmp_path / "sam_hq_vit_tiny.pth", tiny_hq)
    assert mobile_sam.recognise(checkpoints.find(str(path))) is None
    assert message(path).endswith(", not mobile_sam")
    path = _saved(tmp_path / "other.pth", {"fc.bias": (1000,)})
    assert message(path) == f"{path} holds fc.bias, not mobile_sam"
    tables = {f"image_encoder.blocks.{i}.attn.rel_pos_h": (27 if i % 3 else 127, 64) for i in range(12)}
    vit_b = tables | {
        "image_encoder.pos_embed": (1, 64, 64, 768),
        "image_encoder.patch_embed.proj.weight": (768, 3, 16, 16),
        "image_encoder.blocks.0.mlp.lin1.weight": (3072, 768),
    }
    path = _saved(tmp_path / "sam_vit_b.pth", vit_b)
    assert message(path) == f"{path} holds sam_vit_b, not mobile_sam"
    with pytest.raises(UsageError, match="not a Segment Anything checkpoint"):
        sam.locate("sam_vit_b", sam.SamOptions(weights=str(released)))


def test_a_shallower_encoder_does_not_fit(tmp_path: Path) -> None:
    path = _saved(tmp_path / "w.pt", _authors_shapes((2, 2, 5, 2)))
    with pytest.raises(UsageError, match=r"does not fit mobile_sam: of its tensors are \d+ missing"):
        mobile_sam.load("mobile_sam", Options(weights=str(path)), "cpu")


def test_no_file_named() -> None:
    with pytest.raises(UsageError, match=r"mobile_sam\.pt with --set model\.weights=FILE"):
        mobile_sam.locate("mobile_sam", Options())
    with pytest.raises(UsageError, match=r"model\.prompt_batch=-1: must be an integer, at least 0"):
        options.build(Options, {"prompt_batch": "-1"}, "model")


def test_one_answer_and_the_same_bits_whatever_else_is_asked(small: Any) -> None:
    image = picture(64, 80)
    view = small.encode([image])[0]
    points = np.array([[[10, 20]], [[60, 30]], [[5, 50]]], np.float32)
    together = view.predict(Prompts(points=points, labels=np.ones((3, 1), np.int64)), multimask=True)
    alone = view.predict(Prompts(points=points[1:2], labels=np.ones((1, 1), np.int64)), multimask=True)
    assert torch.equal(together.low[1], alone.low[0])
    assert torch.equal(small.encode([image])[0].embedding, view.embedding)
