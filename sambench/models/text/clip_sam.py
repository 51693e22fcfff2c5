"""CLIP over proposals: the automatic mask generator makes masks, CLIP or SigLIP tells which of them a phrase names
(Segment Anything §7.5 and §D.5 in spirit; protocol §6.1 and §6.3). Not the paper's model, which was never released.

Crops are made as the paper makes them for training: the box of a mask, expanded, squared, and resized to what the
network takes; a phrase goes through the text encoder as it is, or in templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Predicate
from numpy.typing import NDArray
from torch import Tensor

from sambench.core.mask import Image, Mask
from sambench.core.model import Model, View
from sambench.masks import from_rle
from sambench.models.cards import WeightsInfo
from sambench.models.common.exact import exact_convolutions
from sambench.models.common.mask_generator import GeneratorOptions, MaskGenerator
from sambench.models.text import text_components
from sambench.models.text.text_components import Component, Images, Phrases, normalised
from sambench.models.text.text_model import Judged, Named, TextModel, TextView, apart
from sambench.plugins.options import Finite, UnitInterval

KINDS = ("clip", "siglip")
"""What transformers calls the networks that will do."""

RELEASED = {
    **{
        f"openai/clip-vit-{size}": frozenset({"openai_wit400m"})
        for size in ("base-patch32", "base-patch16", "large-patch14", "large-patch14-336")
    },
    **{
        f"google/siglip-{size}": frozenset({"webli"})
        for size in (
            "base-patch16-224",
            "base-patch16-256",
            "base-patch16-384",
            "base-patch16-512",
            "large-patch16-256",
            "large-patch16-384",
            "so400m-patch14-224",
            "so400m-patch14-384",
        )
    },
}
"""What the released networks were trained on: OpenAI's 400 million pairs from the web (arXiv 2103.00020, §2.2),
Google's WebLI (arXiv 2303.15343)."""

NEUTRAL = ("object", "things", "stuff", "texture")
"""Phrases that fit anything, which a phrase has to beat: the canonical phrases of LERF (arXiv 2303.09553, §3.4)."""

CPU_CROPS, GPU_CROPS = 8, 64
"""Crops embedded at once."""
TEXTS = 64
"""Texts embedded at once."""
REMEMBERED = 8
"""Lists of phrases whose embeddings are kept: many images are asked about the same classes."""


def _have_places(templates: str) -> bool:
    """with {} in each template where the phrase goes"""
    return all("{}" in template for template in templates.split("|"))


@dataclass(frozen=True)
class Options(GeneratorOptions):
    sam: str = "sam_vit_h"
    """Promptable model that makes the masks, named as for `--model`."""
    clip: str = "openai/clip-vit-large-patch14-336"
    """CLIP or SigLIP: hub id, or folder with its tokenizer and image processor."""
    templates: Annotated[str, Predicate(_have_places)] = "{}"
    """Text around a phrase, which `{}` stands for: `a photo of a {}.`; of several, separated by `|`, the embeddings are
    averaged."""
    crop_scale: Annotated[Finite, Ge(1)] = 1.5
    """Side of a crop over the longer side of the mask's box."""
    background: Literal["keep", "black"] = "keep"
    """Pixels of a crop outside of the mask."""
    take: Literal["best", "all"] = "best"
    """Answer a phrase with its `best` mask, or with `all` that beat the neutral phrases and do not overlap a better one
    by half."""
    threshold: UnitInterval = 0.5
    """Probability against each neutral phrase from which on a mask is an instance; 0: every phrase has one."""
    crop_batch: Annotated[int, Ge(0)] = 0
    """Crops embedded at once; 0: 8 on a CPU, 64 on a GPU."""


def locate(name: str | None, options: Options) -> WeightsInfo:
    """See :class:`sambench.models.cards.Adapter`."""
    network = text_components.find("clip", options.clip, KINDS)
    promptable = text_components.find_promptable("sam", options.sam, "points")
    return text_components.together(name or "clip_sam", network, promptable, RELEASED)


def load(name: str, options: Options, device: str, encode_batch: int) -> ClipSamModel:
    """See :class:`sambench.models.cards.Adapter`."""
    found = locate(name, options)
    promptable = text_components.load_promptable("sam", options.sam, "points", device, encode_batch)
    return ClipSamModel(found, promptable, text_components.find("clip", options.clip, KINDS), options, device)


class ClipSamModel(TextModel):
    """See :class:`sambench.core.model.Model`. ``network``: transformers' CLIPModel or SiglipModel."""

    def __init__(
        self, found: WeightsInfo, promptable: Model, component: Component, options: Options, device: str
    ) -> None:
        super().__init__(found, promptable, several=options.take == "all")
        self.options, self.device = options, torch.device(device)
        from transformers import AutoModel

        self.network: Any = component.network(AutoModel, device)
        self.images: Images = component.images()
        texts = self.network.config.text_config
        # SigLIP has only seen phrases that were filled up, and looks at what they were filled up with.
        self.fills_up = component.kind == "siglip"
        padding: Literal["longest", "max_length"] = "max_length" if self.fills_up else "longest"
        self.phrases: Phrases = component.phrases(texts.max_position_embeddings, padding=padding)
        self.templates = options.templates.split("|")
        self.crop_batch = options.crop_batch or (CPU_CROPS if self.device.type == "cpu" else GPU_CROPS)
        self.generator = MaskGenerator(options)
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._embedded)
        self.neutral = self.embed_phrases(NEUTRAL)

    def view(self, image: Image, seen: View) -> ClipSamView:
        return ClipSamView(self, image, seen)

    def embed_phrases(self, phrases: Sequence[str]) -> Tensor:
        """``(N, D)`` float32 of length 1 on the device, the mean over the templates. Depends on the whole list in the
        last bits, and on nothing else."""
        return self._remembered(tuple(phrases))

    @torch.inference_mode()
    def _embedded(self, phrases: tuple[str, ...]) -> Tensor:
        texts = [template.replace("{}", phrase) for phrase in phrases for template in self.templates]
        features = []
        for start in range(0, len(texts), TEXTS):
            tokens = {key: value.to(self.device) for key, value in self.phrases(texts[start : start + TEXTS]).items()}
            if self.fills_up:
                tokens.pop("attention_mask", None)
            features.append(normalised(self.network.get_text_features(**tokens).pooler_output))
        return normalised(torch.cat(features).unflatten(0, (len(phrases), len(self.templates))).mean(dim=1))

    @torch.inference_mode()
    def embed_crops(self, image: Image, masks: Sequence[Mask]) -> Tensor:
        """``(k, D)`` float32 of length 1 on the device, a batch of crops at a time."""
        o = self.options
        features = []
        for start in range(0, len(masks), self.crop_batch):
            part = [crop(image, mask, o.crop_scale, o.background) for mask in masks[start : start + self.crop_batch]]
            pixels = self.images(part)["pixel_values"].to(self.device)
            with exact_convolutions():
                features.append(normalised(self.network.get_image_features(pixel_values=pixels).pooler_output))
        return torch.cat(features) if features else self.neutral[:0]

    @torch.inference_mode()
    def similarities(self, phrases: Tensor, crops: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cosines ``(N, k)``, and how probable each phrase is against the neutral one that fits the crop best
        ``(N, k)``, at the network's own temperature."""
        cosines = phrases @ crops.T
        rivals = (self.neutral @ crops.T).amax(dim=0)
        relevance = torch.sigmoid(self.network.logit_scale.exp() * (cosines - rivals))
        return cosines.cpu().numpy(), relevance.cpu().numpy()

    def note(self, phrase: str) -> str:
        """The first thing that there is to say about the phrase in any template."""
        return next(filter(None, (self.phrases.note(t.replace("{}", phrase)) for t in self.templates)), "")


class ClipSamView(TextView):
    """One image, its proposals, and their embeddings, each made when the first phrase comes, and once."""

    model: ClipSamModel

    @cached_property
    def proposals(self) -> list[Mask]:
        """All masks of the image that are not empty, in the generator's order."""
        model = self.model
        found = model.generator.generate(self.seen, self.size, model.promptable.capabilities)
        return [mask for mask in map(from_rle, found.rles) if mask.area]

    @cached_property
    def embeddings(self) -> Tensor:
        """``(k, D)`` of the proposals."""
        return self.model.embed_crops(self.image, self.proposals)

    def name(self, phrases: Sequence[str]) -> list[Named]:
        cosines, relevance = self.model.similarities(self.model.embed_phrases(phrases), self.embeddings)
        return [
            Named(
                self.proposals,
                cosines[n],
                self._sure(cosines[n], relevance[n]),
                float(relevance[n, cosines[n].argmax()]) if len(self.proposals) else 0.0,
                self.model.note(phrase),
            )
            for n, phrase in enumerate(phrases)
        ]

    def _sure(self, cosines: NDArray[np.float32], relevance: NDArray[np.float32]) -> NDArray[np.bool_]:
        passed = relevance >= self.model.options.threshold
        if not self.model.several or not passed.any():
            return passed
        sure = np.zeros(len(passed), np.bool_)
        falling = np.argsort(-cosines, kind="stable")
        sure[apart(self.proposals, falling[passed[falling]].tolist())] = True
        return sure

    def judge(self, phrase: str, masks: Sequence[Mask], predicted: NDArray[np.float32]) -> Judged:
        """All of them, as proposals."""
        crops = self.model.embed_crops(self.image, masks)
        cosines, _ = self.model.similarities(self.model.embed_phrases([phrase]), crops)
        return masks, cosines[0]


def crop(image: Image, mask: Mask, scale: float, background: str) -> Image:
    """The square around the mask's box, ``(s, s, 3)``: the longer side times ``scale``, about the centre of the box,
    in whole pixels; what lies outside of the image is black, and with a ``black`` background all but the mask.

    Raises ValueError for an empty mask.
    """
    if not mask.area:
        raise ValueError("an empty mask has no crop")
    x0, y0, x1, y1 = mask.box
    side = max(1, round(max(x1 - x0, y1 - y0) * scale))
    left, top = (x0 + x1 - side) // 2, (y0 + y1 - side) // 2
    square = np.zeros((side, side, 3), np.uint8)
    height, width = mask.size
    ya, yb, xa, xb = max(top, 0), min(top + side, height), max(left, 0), min(left + side, width)
    square[ya - top : yb - top, xa - left : xb - left] = image[ya:yb, xa:xb]
    if background == "black":
        square[~mask.crop(top, left, top + side, left + side)] = 0
    return square
