"""HQ-SAM's weights, names and interface."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.sam_family import picture
from helpers.sam_folders import STORED, sam_hq_checkpoint
from helpers.threads import one_thread

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.common import checkpoints
from sambench.models.sam import sam, sam_hq
from sambench.models.sam.sam_hq import SamHqOptions
from sambench.models.sam2 import sam2
from sambench.types import Prompts

__all__ = ["one_thread", "sam_hq_checkpoint"]

RELEASED = json.loads(str(STORED["released"]))
"""Names and shapes of the tensors of the authors' three files, by model."""


def blank(path: Path, shapes: dict[str, list[int]]) -> Path:
    """A checkpoint of one repeated element, which takes no room."""
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, path)
    return path


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_every_released_tensor_finds_its_place(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = blank(tmp_path / "renamed.pth", RELEASED[name])
    source = checkpoints.find(str(path))
    assert sam_hq.recognise(source) == name
    assert sam.recognise(source) is None
    assert sam2.recognise(source) is None
    seen = {}

    def fill(model: torch.nn.Module, state: dict[str, torch.Tensor], *_: object) -> torch.nn.Module:
        seen["expected"] = {key: value.shape for key, value in model.state_dict().items()}
        seen["found"] = {key: value.shape for key, value in state.items()}
        return model

    monkeypatch.setattr(checkpoints, "fill", fill)
    network = sam_hq._network(source, name)
    assert seen["expected"] == seen["found"]
    # transformers counts the matrix of positions, which the authors do not train, among the parameters.
    assert zoo.ZOO[name].parameters == sum(p.numel() for p in network.parameters()) - 256


def test_other_sizes_are_refused_by_both_names(tmp_path: Path) -> None:
    path = blank(tmp_path / "sam_hq_vit_b.pth", RELEASED["sam_hq_vit_b"])
    with pytest.raises(UsageError, match="holds weights of sam_hq_vit_b, not of sam_hq_vit_l"):
        sam_hq.locate("sam_hq_vit_l", SamHqOptions(weights=str(path)))
    assert sam_hq.locate(None, SamHqOptions(weights=str(path))).trained_on == {"sa1b", "hqseg44k"}
    assert sam_hq.locate(None, SamHqOptions(weights=str(path.rename(tmp_path / "mine.pth")))).trained_on is None


def test_files_that_are_no_hq_sam(tmp_path: Path) -> None:
    plain = {key: value for key, value in RELEASED["sam_hq_vit_b"].items() if ".hf_" not in key}
    path = blank(tmp_path / "sam.pth", plain)
    assert sam_hq.recognise(checkpoints.find(str(path))) is None
    with pytest.raises(UsageError, match=r"is not an HQ-SAM checkpoint: it holds image_encoder\."):
        sam_hq.locate("sam_hq_vit_b", SamHqOptions(weights=str(path)))


def test_a_folder_and_the_authors_file_are_the_same_model(tmp_path: Path, sam_hq_checkpoint: Path) -> None:
    options = SamHqOptions(weights=str(sam_hq_checkpoint))
    by_file = sam_hq.load("sam_hq_vit_32x2", options, "cpu")
    by_file.network.save_pretrained(tmp_path / "folder")
    located = zoo.locate(str(tmp_path / "folder"), {})
    assert (located.name, located.trained_on, located.adapter) == (
        "sam_hq_vit_32x2",
        None,
        "sambench.models.sam.sam_hq",
    )
    by_folder = located.load("cpu", 1)
    image = picture(50, 60)
    prompts = Prompts(points=np.array([[[20, 30]], [[40, 10]]], np.float32), labels=np.array([[1], [1]]))
    one, two = (m.encode([image])[0].predict(prompts, multimask=True) for m in (by_file, by_folder))
    assert torch.equal(torch.as_tensor(one.feedback([(1, 0)])), torch.as_tensor(two.feedback([(1, 0)])))
    assert one.scores.shape == (2, 3)
    previous = one.feedback([(0, 0), (1, 0)])
    again = by_file.encode([image])[0].predict(
        Prompts(points=prompts.points, labels=prompts.labels, mask_logits=previous), multimask=False
    )
    assert float((again.feedback([(0, 0)]) - previous[:1]).abs().max()) > 0.05
    part = by_file.encode([image])[0].predict(
        Prompts(points=prompts.points[1:], labels=prompts.labels[1:], mask_logits=previous[1:]), multimask=False
    )
    assert torch.equal(part.feedback([(0, 0)]), again.feedback([(1, 0)]))
