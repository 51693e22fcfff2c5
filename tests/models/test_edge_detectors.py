"""The edge detectors without weights: what they find on pictures made by hand, and that the zoo knows them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.edges.detectors import (
    CannyOptions,
    EdgeDetectorView,
    FelzenszwalbOptions,
    SobelOptions,
)
from sambench.models.edges.edge_map import EdgeMapOptions, strength_from_view
from sambench.types import Prompts

NAMES = ["sobel", "canny", "felzenszwalb"]


def view(name: str, image: NDArray[np.uint8], **options: str) -> EdgeDetectorView:
    model = zoo.locate(name, options).load("cpu", 1)
    (seen,) = model.encode([image])
    assert isinstance(seen, EdgeDetectorView)
    return seen


def step(before: int, after: int, size: tuple[int, int] = (40, 60)) -> NDArray[np.uint8]:
    """Grey ``before`` left of the middle column, ``after`` from there on."""
    image = np.full((*size, 3), before, np.uint8)
    image[:, size[1] // 2 :] = after
    return image


def test_sobel_by_hand() -> None:
    """Smoothed 1 2 1 over 4 and differenced over two pixels, a step of 1 gives 1 in the columns on both sides of it;
    the other direction gives 0; the magnitude is the root of the mean square, 1 / sqrt 2. Half the step, half of it."""
    edges = view("sobel", step(0, 255)).edges()
    expected = np.zeros(60)
    expected[29:31] = math.sqrt(0.5)
    np.testing.assert_allclose(edges[20], expected, atol=1e-6)
    np.testing.assert_allclose(view("sobel", step(51, 153)).edges()[20], expected * 0.4, atol=1e-6)


def test_canny_by_hand() -> None:
    """The derivative of a Gaussian of sigma 2 over a step of 1 peaks at 1 / (2 sqrt(2 pi)), half a pixel off the
    centres of the two columns beside the step: exp(-.25 / 8) = .969 of the peak, less what comes of sampling."""
    edges = view("canny", step(0, 255)).edges()
    assert np.flatnonzero(edges[20]).tolist() == [29, 30]
    np.testing.assert_allclose(edges[20, 29:31], 0.969, atol=0.01)
    np.testing.assert_allclose(
        view("canny", step(0, 255), sigma="4").edges()[20, 29:31], math.exp(-0.25 / 32), atol=0.01
    )


def test_canny_thins_in_every_direction() -> None:
    """A disk: the outline stays one or two pixels wide all round."""
    y, x = np.mgrid[:80, :80]
    disk = np.where(np.hypot(y - 40, x - 40) < 25, 200, 50).astype(np.uint8)
    edges = view("canny", np.stack([disk] * 3, -1)).edges()
    found = edges > 0.3
    assert np.abs(np.hypot(y - 40, x - 40) - 24.5)[found].max() < 1.5
    assert 2 * math.pi * 24 < found.sum() < 2 * 2 * math.pi * 25


def test_felzenszwalb_is_the_share_of_scales_with_a_boundary() -> None:
    rng = np.random.default_rng(0)
    image = np.clip(step(90, 150).astype(int) + rng.integers(-30, 31, (40, 60, 3)), 0, 255).astype(np.uint8)
    edges = view("felzenszwalb", image, scales="10,1000", min_size="5").edges()
    expected = np.zeros((40, 60))
    for scale in (10, 1000):
        labels = felzenszwalb(image, scale, 0.8, 5)
        padded = np.pad(labels, 1, mode="edge")
        neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        expected += np.any([other != labels for other in neighbours], axis=0) / 2
    np.testing.assert_array_equal(edges, expected.astype(np.float32))
    assert set(np.unique(edges)) <= {0.0, 0.5, 1.0}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 2), (30, 41)])
def test_any_size_and_a_flat_image(name: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (*size, 3), np.uint8)
    for image in (noise, np.full_like(noise, 77)):
        edges = view(name, image).edges()
        assert edges.shape == size
        assert edges.dtype == np.float32
        assert edges.min() >= 0
        assert edges.max() <= 1
    assert edges.max() < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_the_zoo_knows_them(name: str) -> None:
    located = zoo.locate(name, {})
    assert located.trained_on == frozenset()
    assert not located.uses_torch
    assert located.weights_digest == zoo.locate(name, {}).weights_digest
    assert len({zoo.locate(other, {}).weights_digest for other in NAMES}) == 3
    assert zoo.locate(name, {"sigma": "3"}).weights_digest != located.weights_digest
    model = located.load("cpu", 4)
    assert (model.name, model.weights_digest, model.encode_batch) == (name, located.weights_digest, 4)
    assert model.capabilities == {"edges"}
    with pytest.raises(ValueError, match="takes no prompts"):
        view(name, step(0, 1)).predict(Prompts(boxes=np.zeros((1, 4), np.float32)), multimask=True)


def test_options_are_their_own_and_are_checked() -> None:
    assert zoo.options_class("sobel") is SobelOptions
    assert zoo.options_class("canny") is CannyOptions
    assert zoo.options_class("felzenszwalb") is FelzenszwalbOptions
    with pytest.raises(UsageError, match=r"unknown option model\.scales"):
        zoo.locate("canny", {"scales": "3"})
    for name, values in (
        ("sobel", {"sigma": "-1"}),
        ("canny", {"sigma": "0"}),
        ("canny", {"sigma": "nan"}),
        ("felzenszwalb", {"scales": "100,0"}),
        ("felzenszwalb", {"min_size": "0"}),
        ("felzenszwalb", {"sigma": "inf"}),
    ):
        with pytest.raises(UsageError, match=f"model.{next(iter(values))}"):
            zoo.locate(name, values)


def test_sobel_is_thinned_and_the_others_are_not() -> None:
    image = step(0, 255)
    for name, thin in (("sobel", False), ("canny", True), ("felzenszwalb", True)):
        found = strength_from_view(view(name, image), (40, 60), EdgeMapOptions(), frozenset({"edges"}))  # type: ignore[arg-type]
        assert found.thin is thin
