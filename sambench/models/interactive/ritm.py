"""RITM: interactive segmentation with clicks and the previous mask, the paper's main baseline (protocol §2.7).

Answers equal the authors' NoBRS predictor's; ``docs/parity/ritm.md`` has the figures and
``tests/models/test_ritm_parity.py`` holds them to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.interactive import ritm_weights
from sambench.models.interactive.click_predictor import ClickModel, Settings
from sambench.models.interactive.zoom_in import ZoomIn

__all__ = ["Options", "WeightsInfo", "load", "locate", "recognise"]

CPU_PROMPTS = 1
GPU_PROMPTS = 16
"""Prompts that go through the network at once. One on a CPU: a prompt's answer then does not depend on the others."""

RELEASES = "https://github.com/saic-vul/ritm_interactive_segmentation/releases"


@dataclass(frozen=True)
class Options:
    """``weights``: the authors' checkpoint. ``threshold``: a pixel is foreground if its probability is above it.
    ``flip``: average with the mirrored image.

    ``zoom``: from the second click on look at a crop around the object. ``zoom_size``: its long side at the network's
    input, pixels (the authors take 600 for DAVIS). ``zoom_skip_clicks``: so many first clicks see the whole image at
    native resolution; -1: none, and the first sees it at ``zoom_size``. ``zoom_expansion``: of the object's box.
    ``zoom_min_size``: of a side of the crop, pixels of the image. ``zoom_recompute_iou``: below this overlap of the
    crop wanted with the crop in use the crop moves. ``zoom_threshold``: of the probability of the object in its box.

    ``clicks_limit``: so many first clicks are drawn, 0: all. ``prompt_batch``: prompts that go through the network at
    once if their crops have one shape, 0: what suits the device.
    """

    weights: str = ""
    threshold: float = 0.49
    flip: bool = True
    zoom: bool = True
    zoom_size: int = 400
    zoom_skip_clicks: int = 1
    zoom_expansion: float = 1.4
    zoom_min_size: int = 200
    zoom_recompute_iou: float = 0.5
    zoom_threshold: float = 0.5
    clicks_limit: int = 0
    prompt_batch: int = 0

    def __post_init__(self) -> None:
        for key, value in (("threshold", self.threshold), ("zoom_threshold", self.zoom_threshold)):
            if not 0 < value < 1:
                raise ValueError(f"model.{key}={value}: a probability above 0 and below 1")
        for key, value in (("zoom_size", self.zoom_size), ("zoom_min_size", self.zoom_min_size)):
            if value < 1:
                raise ValueError(f"model.{key}={value}: at least 1 pixel")
        for key, value in (("clicks_limit", self.clicks_limit), ("prompt_batch", self.prompt_batch)):
            if value < 0:
                raise ValueError(f"model.{key}={value} is negative")
        if self.zoom_skip_clicks < -1 or self.zoom_skip_clicks == 0:
            raise ValueError(f"model.zoom_skip_clicks={self.zoom_skip_clicks}: -1, or 1 and more")
        if self.zoom_expansion < 1:
            raise ValueError(f"model.zoom_expansion={self.zoom_expansion}: at least 1")

    def settings(self, radius: float, device: str) -> Settings:
        """``radius``: of a click's disc, as the checkpoint says."""
        zoom = ZoomIn(
            target=self.zoom_size,
            skip_clicks=self.zoom_skip_clicks,
            expansion=self.zoom_expansion,
            min_size=self.zoom_min_size,
            recompute_iou=self.zoom_recompute_iou,
            threshold=self.zoom_threshold,
        )
        return Settings(
            threshold=self.threshold,
            flip=self.flip,
            zoom=zoom if self.zoom else None,
            radius=radius,
            clicks_limit=self.clicks_limit or None,
            prompt_batch=self.prompt_batch or (CPU_PROMPTS if device == "cpu" else GPU_PROMPTS),
        )


def locate(name: str | None, options: Options) -> WeightsInfo:
    """As :class:`sambench.models.cards.Adapter` says."""
    source = _find(name, options)
    own = ritm_weights.name_of(ritm_weights.read(source)[0])
    checkpoints.refuse_other(source.path, own, name)
    return WeightsInfo(own, str(source.path), source.digest(), ritm_weights.trained_on(source, own))


def recognise(source: Source) -> str | None:
    """The name of the RITM that a source holds, None if it holds none."""
    if source.path.is_dir() or not ritm_weights.is_ritm(checkpoints.contents(source)):
        return None
    return ritm_weights.name_of(ritm_weights.read(source)[0])


def load(name: str, options: Options, device: str, encode_batch: int) -> ClickModel:
    """The model on a device, float32."""
    source = _find(name, options)
    network, held = ritm_weights.network(source, name)
    return ClickModel(
        network.prepared(device),
        options.settings(held.norm_radius, device),
        device,
        name=name,
        weights_digest=source.digest(),
        trained_on=ritm_weights.trained_on(source, name),
        encode_batch=encode_batch,
    )


def _find(name: str | None, options: Options) -> Source:
    file = next((f"{stem}.pth" for stem, (held, _) in ritm_weights.RELEASED.items() if held == name), "the checkpoint")
    return checkpoints.find(
        options.weights,
        wanted=f"{name} needs its weights: download {file} from {RELEASES} and pass it with --set model.weights=FILE",
    )
