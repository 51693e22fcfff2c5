"""RITM: interactive segmentation with clicks and the previous mask, the paper's main baseline (protocol §2.7).

Answers equal the authors' NoBRS predictor's; ``docs/parity/ritm.md`` has the figures and
``tests/models/test_ritm_parity.py`` holds them to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Predicate

from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.interactive import ritm_weights
from sambench.models.interactive.click_predictor import ClickModel, Settings
from sambench.models.interactive.zoom_in import ZoomIn
from sambench.plugins.options import Probability

__all__ = ["Options", "WeightsInfo", "load", "locate", "recognise"]

CPU_PROMPTS = 1
GPU_PROMPTS = 16
"""Prompts that go through the network at once. One on a CPU: a prompt's answer then does not depend on the others."""

RELEASES = "https://github.com/saic-vul/ritm_interactive_segmentation/releases"


def _is_not_0(value: int) -> bool:
    """not 0"""
    return value != 0


@dataclass(frozen=True)
class Options:
    """The defaults are the authors' (``scripts/evaluate_model.py``, mode ``NoBRS``, evaluation mode ``cvpr``)."""

    weights: str = ""
    """The authors' checkpoint."""
    threshold: Probability = 0.49
    """A pixel is foreground if its probability is above this."""
    flip: bool = True
    """Average the logits with those of the mirrored input."""
    zoom: bool = True
    """From the second click on, look at a crop around the object."""
    zoom_size: Annotated[int, Ge(1)] = 400
    """Long side of the crop at the network's input, pixels; the authors take 600 for DAVIS, which has to be set."""
    zoom_skip_clicks: Annotated[int, Ge(-1), Predicate(_is_not_0)] = 1
    """Number of first clicks that see the whole image at native resolution; -1: none, and the first click sees it at
    `zoom_size`."""
    zoom_expansion: Annotated[float, Ge(1)] = 1.4
    """Side of the crop over that of the box of the object and the positive clicks."""
    zoom_min_size: Annotated[int, Ge(1)] = 200
    """Least side of the crop, pixels of the image."""
    zoom_recompute_iou: float = 0.5
    """Move the crop if its overlap (IoU) with the crop wanted is below this, or a positive click lies outside."""
    zoom_threshold: Probability = 0.5
    """A pixel belongs to the box of the object if its probability is above this."""
    clicks_limit: Annotated[int, Ge(0)] = 0
    """Number of first clicks that are drawn; 0: all."""
    prompt_batch: Annotated[int, Ge(0)] = 0
    """Prompts that go through the network at once, if their crops have one shape; 0: 1 on a CPU, 16 on a GPU."""

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
