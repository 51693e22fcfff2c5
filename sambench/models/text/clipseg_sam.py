"""CLIPSeg draws a heat map for a phrase, the centres of its hot regions are clicks for a promptable model (protocol
§6.3). Not the model of Segment Anything §7.5, which was never released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from sambench.clicks import next_click
from sambench.core.mask import Image, Mask
from sambench.core.model import Click, Model, View
from sambench.metrics.iou import iou
from sambench.models.cards import WeightsInfo
from sambench.models.common.exact import exact_convolutions
from sambench.models.common.point_grid import one_point_each
from sambench.models.text import text_components
from sambench.models.text.text_components import Component
from sambench.models.text.text_model import Judged, Named, TextModel, TextView, apart
from sambench.plugins.options import UnitInterval

RELEASED = {
    f"CIDAS/clipseg-{size}": frozenset({"openai_wit400m", "phrasecut", "coco"})
    for size in ("rd16", "rd64", "rd64-refined")
}
"""What the released networks were trained on; PhraseCut's images are Visual Genome's, of which half are COCO's."""

MOST = 10
"""Hot regions of a phrase that are clicked, those of the highest peaks."""
CPU_PHRASES, GPU_PHRASES = 8, 64
"""Phrases whose heat maps are drawn at once."""


@dataclass(frozen=True)
class Options:
    sam: str = "sam_vit_h"
    """Promptable model that makes masks of clicks, named as for `--model`."""
    clipseg: str = "CIDAS/clipseg-rd64-refined"
    """Hub id, or folder with its tokenizer and image processor."""
    threshold: UnitInterval = 0.5
    """Probability from which on a pixel is hot; a phrase without hot pixels is rejected."""
    phrase_batch: Annotated[int, Ge(0)] = 0
    """Phrases whose heat maps are drawn at once; 0: 8 on a CPU, 64 on a GPU."""


def locate(name: str | None, options: Options) -> WeightsInfo:
    """See :class:`sambench.models.cards.Adapter`."""
    network = text_components.find("clipseg", options.clipseg, ("clipseg",))
    promptable = text_components.find_promptable("sam", options.sam, "points")
    return text_components.together(name or "clipseg_sam", network, promptable, RELEASED)


def load(name: str, options: Options, device: str, encode_batch: int) -> ClipSegSamModel:
    """See :class:`sambench.models.cards.Adapter`."""
    found = locate(name, options)
    promptable = text_components.load_promptable("sam", options.sam, "points", device, encode_batch)
    component = text_components.find("clipseg", options.clipseg, ("clipseg",))
    return ClipSegSamModel(found, promptable, component, options, device)


class ClipSegSamModel(TextModel):
    """See :class:`sambench.core.model.Model`. ``network``: transformers' CLIPSegForImageSegmentation."""

    def __init__(
        self, found: WeightsInfo, promptable: Model, component: Component, options: Options, device: str
    ) -> None:
        super().__init__(found, promptable, several=True)
        from transformers import CLIPSegForImageSegmentation

        self.device, self.threshold = torch.device(device), options.threshold
        self.network: Any = component.network(CLIPSegForImageSegmentation, device)
        self.images = component.images()
        self.phrases = component.phrases(self.network.config.text_config.max_position_embeddings, padding="longest")
        self.batch = options.phrase_batch or (CPU_PHRASES if self.device.type == "cpu" else GPU_PHRASES)

    def view(self, image: Image, seen: View) -> ClipSegSamView:
        return ClipSegSamView(self, image, seen)

    @torch.inference_mode()
    def activations(self, image: Image) -> list[Tensor]:
        """What the heat maps of all phrases are drawn from: ``(1, T, C)`` of each layer that the decoder looks at."""
        pixels = self.images([image])["pixel_values"].to(self.device)
        with exact_convolutions():
            seen = self.network.clip.get_image_features(pixel_values=pixels, output_hidden_states=True)
        return [seen.hidden_states[layer + 1] for layer in self.network.extract_layers]

    @torch.inference_mode()
    def heat(self, activations: Sequence[Tensor], phrases: Sequence[str]) -> NDArray[np.float32]:
        """``(N, s, s)`` probabilities; the image is stretched to the square."""
        drawn = []
        for start in range(0, len(phrases), self.batch):
            tokens = {k: v.to(self.device) for k, v in self.phrases(phrases[start : start + self.batch]).items()}
            n = len(tokens["input_ids"])
            wanted = self.network.clip.get_text_features(**tokens).pooler_output
            with exact_convolutions():
                logits = self.network.decoder([kept.expand(n, -1, -1) for kept in activations], wanted).logits
            drawn.append(logits.reshape(n, *logits.shape[-2:]).sigmoid().float().cpu().numpy())
        return np.concatenate(drawn)


class ClipSegSamView(TextView):
    """One image. What CLIPSeg sees without a phrase is computed when the first phrase comes, and once."""

    model: ClipSegSamModel

    @cached_property
    def activations(self) -> list[Tensor]:
        return self.model.activations(self.image)

    def heat(self, phrases: Sequence[str]) -> list[NDArray[np.float32]]:
        """``(H, W)`` probabilities of each phrase."""
        height, width = self.size
        return [
            np.asarray(cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
            for one in self.model.heat(self.activations, phrases)
        ]

    def name(self, phrases: Sequence[str]) -> list[Named]:
        maps = self.heat(phrases)
        found = [hot_regions(heat, self.model.threshold) for heat in maps]
        clicks = [(click.x, click.y) for regions in found for click in map(_centre, regions)]
        prediction = self.seen.predict(one_point_each(np.array(clicks, np.float32)), multimask=True)
        named, start = [], 0
        for phrase, heat, regions in zip(phrases, maps, found, strict=True):
            masks = [
                self._fitting(prediction.masks([(n, m) for m in range(prediction.scores.shape[1])]), scores, region)
                for n, region in enumerate(regions, start)
                for scores in [prediction.scores[n]]
            ]
            start += len(regions)
            scores = np.array([_warmth(heat, mask) for mask in masks], np.float32)
            peaks = np.array([heat[region.dense()].max() for region in regions], np.float32)
            falling = [k for k in np.argsort(-scores, kind="stable").tolist() if masks[k].area]
            stay = apart(masks, falling)
            named.append(
                Named(
                    [masks[k] for k in stay],
                    scores[stay],
                    peaks[stay] >= self.model.threshold,
                    float(heat.max()),
                    self.model.phrases.note(phrase),
                )
            )
        return named

    def judge(self, phrase: str, masks: Sequence[Mask], predicted: NDArray[np.float32]) -> Judged:
        """The one that covers what is hot best."""
        (heat,) = self.heat([phrase])
        region = Mask.from_dense(heat >= _level(heat, self.model.threshold))
        chosen = [self._fitting(masks, predicted, region)] if masks else []
        return chosen, np.array([_warmth(heat, mask) for mask in chosen], np.float32)

    def _fitting(self, masks: Sequence[Mask], predicted: NDArray[np.float32], region: Mask) -> Mask:
        """Of the masks at a click the one with the highest IoU with the region, of equal ones that of the highest
        predicted IoU; an empty one if there is none."""
        best = max(range(len(masks)), key=lambda k: (iou(masks[k], region), float(predicted[k])), default=None)
        return Mask.empty(self.size) if best is None else masks[best]


def hot_regions(heat: NDArray[np.float32], threshold: float) -> list[Mask]:
    """Connected regions (8 neighbours) of pixels from the threshold on, those of the highest peaks first, of equal ones
    the first in row order. Where nothing is that hot, the one region around the highest peak of pixels that are at
    least half as hot. ``heat``: ``(H, W)``."""
    level = _level(heat, threshold)
    _, labels, stats, _ = cv2.connectedComponentsWithStats((heat >= level).view(np.uint8), connectivity=8)
    # Label 0 is all that is not hot.
    peaks = np.zeros(len(stats), np.float32)
    np.maximum.at(peaks, labels, heat)
    peaks[0] = -1
    order = np.argsort(-peaks, kind="stable")[: MOST if level == threshold else 1]
    regions = []
    for k in order.tolist():
        if k:
            x, y, w, h = stats[k, : cv2.CC_STAT_AREA].tolist()
            regions.append(Mask.from_window(heat.shape, y, x, labels[y : y + h, x : x + w] == k))
    return regions


def _level(heat: NDArray[np.float32], threshold: float) -> float:
    """From which heat on a pixel belongs to a region."""
    peak = float(heat.max())
    return threshold if peak >= threshold else peak / 2


def _centre(region: Mask) -> Click:
    click = next_click(region)
    assert click is not None
    return click


def _warmth(heat: NDArray[np.float32], mask: Mask) -> float:
    """The mean heat in a mask, 0 if it is empty."""
    x0, y0, x1, y1 = mask.box
    return float(heat[y0:y1, x0:x1][mask.window].mean(dtype=np.float64)) if mask.area else 0.0
