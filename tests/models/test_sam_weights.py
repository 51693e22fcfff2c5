"""Where SAM's weights come from, what they are told apart by, and the one line that each bad source ends with."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import official_sam
from safetensors.torch import save_file
from torch import Tensor

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.sam import sam, sam_weights
from sambench.plugins import options

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """Official names and shapes of a small SAM."""
    return dict(official_sam.build(side=448).state_dict())


def _save(path: Path, state: Any, **how: Any) -> Path:
    torch.save(state, path, **how)
    return path


def _refused(path: Path | str, name: str | None = None) -> str:
    """The message for a source, by both ways in; it must be one line that names the source."""
    messages = []
    for call in (
        lambda: sam.locate(name, sam.SamOptions(weights=str(path))),
        lambda: sam_weights.module(sam_weights.find(str(path), name), name),
    ):
        try:
            call()
        except UsageError as error:
            messages.append(str(error))
    assert messages
    assert len(set(messages)) == 1
    assert "\n" not in messages[0]
    assert str(path) in messages[0]
    return messages[0]


# What is read --------------------------------------------------------------------------------------------------------


def test_every_official_tensor_finds_its_place(tmp_path: Path, state: State) -> None:
    module = sam_weights.module(sam_weights.find(str(_save(tmp_path / "w.pth", state))))
    loaded = module.state_dict()
    by_sum = {round(float(v.double().sum()), 6): k for k, v in loaded.items()}
    # Every tensor is perturbed, so that its sum identifies it; the position matrix alone serves two places.
    assert len(by_sum) == len(loaded) - 1
    assert {round(float(v.double().sum()), 6) for v in state.values()} == set(by_sum)
    for official, ours in (
        ("image_encoder.neck.1.weight", "vision_encoder.neck.layer_norm1.weight"),
        ("image_encoder.blocks.1.norm2.bias", "vision_encoder.layers.1.layer_norm2.bias"),
        ("mask_decoder.iou_prediction_head.layers.1.bias", "mask_decoder.iou_prediction_head.layers.0.bias"),
        ("mask_decoder.iou_prediction_head.layers.2.bias", "mask_decoder.iou_prediction_head.proj_out.bias"),
        ("prompt_encoder.point_embeddings.3.weight", "prompt_encoder.point_embed.3.weight"),
    ):  # fmt: skip
        assert torch.equal(state[official], loaded[ours])


@pytest.mark.parametrize("how", ["zip", "legacy", "safetensors", "folder", "folder of bin"])
def test_every_container_gives_the_same_tensors(tmp_path: Path, state: State, how: str) -> None:
    expected = sam_weights.module(sam_weights.find(str(_save(tmp_path / "w.pth", state))))
    path = tmp_path / "other"
    if how == "zip":
        _save(path, state)
    elif how == "legacy":
        _save(path, state, _use_new_zipfile_serialization=False)
    elif how == "safetensors":
        path = tmp_path / "other.safetensors"
        save_file(state, path)
    else:
        expected.save_pretrained(path)
        if how == "folder of bin":
            (path / "model.safetensors").unlink()
            _save(path / "pytorch_model.bin", expected.state_dict())
    loaded = sam_weights.module(sam_weights.find(str(path)))
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), loaded.parameters(), strict=True))


def test_half_precision_files_become_float32(tmp_path: Path, state: State) -> None:
    path = _save(tmp_path / "w.pth", {k: v.half() for k, v in state.items()})
    module = sam_weights.module(sam_weights.find(str(path)))
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("registered", "name"), [("vit_b", "sam_vit_b"), ("vit_l", "sam_vit_l"), ("vit_h", "sam_vit_h")]
)
def test_the_released_sizes_are_told_by_their_tensors(tmp_path: Path, registered: str, name: str) -> None:
    """The official builders on the meta device; a saved tensor of one repeated element takes no room."""
    with torch.device("meta"):
        official = official_sam.package().sam_model_registry[registered]()
    path = _save(
        tmp_path / "anything.bin", {k: torch.zeros(()).expand(v.shape) for k, v in official.state_dict().items()}
    )
    assert path.stat().st_size < 1_000_000
    assert sam.identify(path) == name
    found = sam_weights.architecture(sam_weights.read(sam_weights.find(str(path))), path)
    assert found.global_layers == {
        "vit_b": (2, 5, 8, 11), "vit_l": (5, 11, 17, 23), "vit_h": (7, 15, 23, 31)
    }[registered]  # fmt: skip
    assert (found.window, found.grid, found.patch, found.mlp_width) == (14, 64, 16, 4 * found.width)
    other = "sam_vit_l" if name == "sam_vit_b" else "sam_vit_b"
    assert name in (message := _refused(path, other))
    assert f"not of {other}" in message


def test_digest_is_the_sha256_of_the_file_and_follows_it(tmp_path: Path, state: State) -> None:
    path = _save(tmp_path / "w.pth", state)
    found = sam.locate(None, sam.SamOptions(weights=str(path)))
    assert found.weights_digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.name, found.path, found.trained_on) == ("sam_vit_64x2", str(path), None)
    _save(path, {k: v + 1 for k, v in state.items()})
    os.utime(path, ns=(1, 1))
    assert sam.locate(None, sam.SamOptions(weights=str(path))).weights_digest != found.weights_digest


def test_only_released_weights_are_known_to_be_trained_on_sa1b(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path / "w.pth", state)
    source = sam_weights.find(str(path))
    assert sam_weights.trained_on(source) is None
    monkeypatch.setitem(sam_weights.RELEASED, source.digest(), "w.pth")
    assert sam_weights.trained_on(source) == {"sa1b"}
    folder = tmp_path / "folder"
    sam_weights.module(source).save_pretrained(folder)
    assert sam_weights.trained_on(sam_weights.find(str(folder))) is None
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    assert sam_weights.trained_on(sam_weights.find("", "sam_vit_b")) == {"sa1b"}
    assert sam_weights.trained_on(sam_weights.find("facebook/sam-vit-huge")) == {"sa1b"}
    assert sam_weights.trained_on(sam_weights.find("someone/their-sam")) is None


# What is refused -----------------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in _refused(tmp_path / "absent.pth")
    assert "no such file" in _refused("absent.pth")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kept", [0.001, 0.5, 0.99])
def test_truncated_file(tmp_path: Path, state: State, kept: float, legacy: bool) -> None:
    path = _save(tmp_path / "w.pth", state, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "damaged or cut short" in _refused(path)


def test_truncated_safetensors(tmp_path: Path, state: State) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "damaged or cut short" in _refused(path)


def test_a_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pt.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/w.pt", b"")
    assert "is an archive: unpack it and give weights/w.pt" in _refused(path)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.touch()
    assert "(0 bytes)" in _refused(path)


def test_lfs_pointer(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ec2df6\nsize 375042383\n")
    assert "Git LFS pointer" in _refused(path)


def test_text_in_place_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_text("<html>404 not found</html>")
    _refused(path)


def test_all_families_look_at_one_reading_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read, load = tmp_path / "other.pth", [], torch.load
    torch.save({"fc.bias": torch.zeros(3)}, path)
    monkeypatch.setattr(torch, "load", lambda file, **how: read.append(file) or load(file, **how))
    with pytest.raises(UsageError, match=r"other\.pth is of no known family \(.*\): it holds fc\.bias"):
        zoo.locate(str(path), {})
    assert read == [path]


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.check_call, (["touch", "ran"],)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_wants_to_run_code_does_not(
    tmp_path: Path, state: State, legacy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _save(tmp_path / "w.pth", {**state, "extra": _Code()}, _use_new_zipfile_serialization=not legacy)
    assert "and wants to run" in _refused(path)
    assert not Path("ran").exists()


def test_other_contents(tmp_path: Path, state: State) -> None:
    other = {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(1000)}
    assert "not a Segment Anything checkpoint: it holds conv1.weight, fc.bias" in _refused(_save(tmp_path / "a", other))
    assert "it holds model, epoch" in _refused(_save(tmp_path / "b", {"model": state, "epoch": 3}))
    assert "one Tensor" in _refused(_save(tmp_path / "c", torch.zeros(3)))
    assert "no tensors" in _refused(_save(tmp_path / "d", {}))


def test_tensors_missing_left_over_or_misshapen(tmp_path: Path, state: State) -> None:
    def message(changed: State) -> str:
        with pytest.raises(UsageError) as caught:
            sam_weights.module(sam_weights.find(str(_save(tmp_path / "w.pth", changed))))
        return str(caught.value)

    lacking = {k: v for k, v in state.items() if k != "mask_decoder.iou_token.weight"}
    assert "1 missing (mask_decoder.iou_token.weight) and 0 left over" in message(lacking)
    assert "0 missing () and 1 left over (hq_token.weight)" in message({**state, "hq_token.weight": torch.zeros(1)})
    wrong = {**state, "mask_decoder.iou_token.weight": torch.zeros(1, 128)}
    assert "mask_decoder.iou_token.weight is [1, 128], sam_vit_64x2 has [1, 256]" in message(wrong)


def test_folders_without_the_needed_files(tmp_path: Path) -> None:
    assert "it has no config.json" in _refused(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam"}))
    assert "it has no weights" in _refused(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert "damaged or cut short" in _refused(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "of type 'bert'" in _refused(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "cannot be read" in _refused(tmp_path)


def test_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route to the hub\nand a second line")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(UsageError) as caught:
        sam.locate("sam_vit_b", sam.SamOptions())
    message = str(caught.value)
    assert "\n" not in message
    for part in ("facebook/sam-vit-base", "no route to the hub", "hf download", "--set model.weights=PATH"):
        assert part in message


def test_negative_prompt_batch() -> None:
    with pytest.raises(UsageError, match=r"model\.prompt_batch=-1: must be an integer, at least 0"):
        options.build(sam.SamOptions, {"prompt_batch": "-1"}, "model")
