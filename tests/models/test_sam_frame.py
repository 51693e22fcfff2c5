"""Between image pixels and SAM's square input, against the released code's own steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import official_sam
from hypothesis import given, settings
from hypothesis import strategies as st

from sambench.models.sam.sam_frame import MEAN, STD, Frame

SIZES = [(480, 640), (640, 480), (1, 1), (3, 2), (511, 512), (1024, 1024), (60, 900), (1333, 2000)]


@pytest.mark.parametrize("size", SIZES)
def test_pixels_equal_the_released_preprocessing(size: tuple[int, int]) -> None:
    official_sam.package()
    from segment_anything.modeling import Sam
    from segment_anything.utils.transforms import ResizeLongestSide

    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    resized = torch.from_numpy(ResizeLongestSide(1024).apply_image(image)).permute(2, 0, 1)[None]
    shell = Sam.__new__(Sam)
    torch.nn.Module.__init__(shell)
    shell.pixel_mean, shell.pixel_std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    shell.image_encoder = type("Encoder", (torch.nn.Module,), {"img_size": 1024})()
    assert torch.equal(Frame(size, 1024).pixels(image), Sam.preprocess(shell, resized)[0])


@pytest.mark.parametrize("size", SIZES)
def test_coordinates_equal_the_released_transform(size: tuple[int, int]) -> None:
    official_sam.package()
    from segment_anything.utils.transforms import ResizeLongestSide

    xy = np.random.default_rng(1).uniform(0, max(size), (50, 2)).astype(np.float32)
    expected = torch.as_tensor(ResizeLongestSide(1024).apply_coords(xy, size), dtype=torch.float).numpy()
    assert Frame(size, 1024).to_input(xy).tobytes() == expected.tobytes()


def test_padding_is_zero_after_normalisation() -> None:
    """A 200 x 400 image becomes 512 x 1024; black is (0 - 123.675) / 58.395 = -2.1179 in the red channel."""
    x = Frame((200, 400), 1024).pixels(np.zeros((200, 400, 3), np.uint8))
    assert x.shape == (3, 1024, 1024)
    assert x[0, :512].min() == x[0, :512].max() == pytest.approx(-2.1179, abs=1e-4)
    assert not x[:, 512:].any()


def test_an_extremely_narrow_image_keeps_one_row() -> None:
    """1 x 3000 would be 0.34 rows high, which the released rule rounds to none."""
    frame = Frame((1, 3000), 1024)
    assert frame.input_size == (1, 1024)
    mask = next(iter(frame.masks(torch.ones(1, 256, 256))))
    assert mask.area == 3000


def _released(logits: torch.Tensor, frame: Frame) -> torch.Tensor:
    """Sam.postprocess_masks: up to the square, crop, up to the original."""
    x = F.interpolate(logits[:, None], (frame.side, frame.side), mode="bilinear", align_corners=False)
    x = x[..., : frame.input_size[0], : frame.input_size[1]]
    return F.interpolate(x, frame.size, mode="bilinear", align_corners=False)[:, 0]


@settings(max_examples=60)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    seed=st.integers(0, 2**31),
    blob=st.tuples(st.integers(0, 31), st.integers(0, 31), st.integers(0, 12)),
)
def test_masks_equal_the_released_postprocessing(
    height: int, width: int, seed: int, blob: tuple[int, int, int]
) -> None:
    """On small blobs anywhere, the padding and the border included: same pixels, up to rounding at the threshold."""
    frame = Frame((height, width), 128)
    y, x = np.mgrid[:32, :32]
    noise = np.random.default_rng(seed).normal(0, 0.3, (32, 32))
    logits = torch.from_numpy((blob[2] - np.hypot(y - blob[0], x - blob[1]) + noise).astype(np.float32))[None]
    expected = _released(logits, frame)[0].numpy()
    (mask,) = frame.masks(logits)
    (on_device,) = frame._masks_on_device(logits)
    for made in (mask, on_device):
        disagree = made.dense() != (expected > 0)
        assert np.abs(expected[disagree]).max(initial=0) < 1e-4
    assert mask.size == (height, width)


def test_noise_of_many_signs_and_several_masks() -> None:
    frame = Frame((333, 500), 1024)
    logits = torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0))
    expected = _released(logits, frame).numpy()
    assert 0.2 < (expected > 0).mean() < 0.8
    for masks in (frame.masks(logits), frame._masks_on_device(logits)):
        for mask, full in zip(masks, expected, strict=True):
            assert np.abs(full[mask.dense() != (full > 0)]).max(initial=0) < 1e-4


def test_empty_masks() -> None:
    frame = Frame((100, 200), 1024)
    padding_only = torch.full((256, 256), -1.0)
    padding_only[200:] = 1.0  # the image is 512 of 1024 rows high: 128 of 256
    assert [mask.area for mask in frame.masks(torch.stack([torch.full((256, 256), -1.0), padding_only]))] == [0, 0]
