"""EdgeTAM against what the official image predictor answered with the same random weights, kept in
``tests/stored/edgetam_expected.npz`` (docs/parity/sam2.md says how it was made), its weights and names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.parity import MISTAKES, PRECISIONS, computing, float64, mistaken, shifted
from helpers.sam_family import DATA, LOOK, compare, family_weights, picture
from helpers.threads import one_thread

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.common import checkpoints
from sambench.models.sam import sam, sam_hq
from sambench.models.sam2 import edgetam, sam2
from sambench.models.sam2.sam2 import Sam2Options
from sambench.types import Prompts

__all__ = ["one_thread"]

EXPECTED = dict(np.load(DATA / "edgetam_expected.npz"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the authors write them, of the released sizes."""
    path = tmp_path_factory.mktemp("edgetam") / "weights.pt"
    torch.save({"model": family_weights(json.loads(str(EXPECTED["shapes"])))}, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """The same as a folder of transformers, for an input of 512 pixels, with something that only videos need."""
    from safetensors.torch import save_file

    network = edgetam.load("edgetam", Sam2Options(weights=str(checkpoint)), "cpu").network
    path = tmp_path_factory.mktemp("edgetam_folder")
    config = {
        "model_type": "edgetam_video",
        "prompt_encoder_config": {"image_size": 512, "model_type": "edgetam_video_prompt_encoder"},
        "vision_config": {"backbone_config": {"model_type": "timm_wrapper", "architecture": "repvit_m1.dist_in1k"}},
    }
    (path / "config.json").write_text(json.dumps(config))
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    state["shared_image_embedding.positional_embedding"] = state[
        "prompt_encoder.shared_embedding.positional_embedding"
    ].clone()
    save_file({**state, "spatial_perceiver.latents": torch.zeros(3)}, path / "model.safetensors")
    return path


@pytest.mark.parametrize("precision", PRECISIONS)
def test_answers_are_the_official_predictors(folder: Path, precision: str) -> None:
    """Through the folder, whose configuration says 512 pixels, which the stored answers were made with."""
    with computing(precision):
        model = edgetam.load("edgetam", Sam2Options(weights=str(folder)), "cpu")
        found = compare(lambda image: model.encode([image])[0], EXPECTED, precision)
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(folder: Path, mistake: str) -> None:
    with float64():
        model = edgetam.load("edgetam", Sam2Options(weights=str(folder)), "cpu")
        blocks = "vision_encoder.backbone.timm_model.stages_2.blocks"
        mistaken(model.network, mistake, f"{blocks}.3.channel_mixer.conv1.bn", f"{blocks}.2.se.fc1.bias")
        found = compare(lambda image: model.encode([shifted(image, mistake)])[0], EXPECTED, "float64", LOOK)
    assert found.worst > 2


def test_every_official_tensor_finds_its_place(checkpoint: Path) -> None:
    model = edgetam.load("edgetam", Sam2Options(weights=str(checkpoint)), "cpu")
    assert model.frame((10, 20)).side == 1024
    assert zoo.ZOO["edgetam"].parameters == sum(parameter.numel() for parameter in model.network.parameters())
    assert model.trained_on is None
    view = model.encode([picture(40, 60)])[0]
    prompts = Prompts(points=np.array([[[20, 30]]], np.float32), labels=np.array([[1]]))
    assert view.predict(prompts, multimask=True).scores.shape == (1, 3)


def test_families_do_not_claim_each_other(checkpoint: Path, folder: Path) -> None:
    for path in (checkpoint, folder):
        source = checkpoints.find(str(path))
        assert edgetam.recognise(source) == "edgetam"
        assert [module.recognise(source) for module in (sam, sam2, sam_hq)] == [None] * 3
    assert zoo.locate(str(folder), {}).name == "edgetam"


def test_whose_weights(tmp_path: Path, checkpoint: Path) -> None:
    named = tmp_path / "edgetam.pt"
    named.symlink_to(checkpoint)
    assert edgetam.locate("edgetam", Sam2Options(weights=str(named))).trained_on == edgetam.TRAINED_ON
    other = tmp_path / "other.pt"
    torch.save({"model": {"conv1.weight": torch.zeros(3)}}, other)
    assert edgetam.recognise(checkpoints.find(str(other))) is None
    with pytest.raises(UsageError, match=r"is not an EdgeTAM checkpoint: it holds conv1\.weight"):
        edgetam.locate("edgetam", Sam2Options(weights=str(other)))
