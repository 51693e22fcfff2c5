"""SAM 3 (arXiv 2511.16719) on single images: points, boxes and masks through its tracker, phrases through its detector.

Put together from transformers' modules; ``docs/models/sam3.md`` says what was compared with what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sambench.core.mask import Image, Mask
from sambench.core.model import Prediction, Prompts
from sambench.errors import UsageError
from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.common.exact import exact_convolutions
from sambench.models.sam.sam import SamPrediction
from sambench.models.sam.sam_frame import Frame
from sambench.models.sam.transformers_sam import PromptedView, SquareSamModel
from sambench.models.sam2.sam2 import Sam2Options
from sambench.models.text.text_components import Phrases
from sambench.models.text.text_model import Judged, Named, answered, most_confident

NAME = "sam3"
HUB = "facebook/sam3"
TOKENS = 32
"""Of a phrase, with its start and its end; what is longer is cut."""
HOLE = 10.0
"""The logit that the released predictor gives the pixels of a hole."""


@dataclass(frozen=True)
class Sam3Options(Sam2Options):
    weights: str = ""
    """Hub id or folder; empty: the released weights."""
    fill_holes: int = 256
    """Fill holes (8 neighbours) of at most this many cells of the 288 x 288 logits in masks for points and boxes, as
    the released predictor does; 0: fill none."""
    text_score: float = 0.5
    """Keep instances of a phrase with at least this score; 0: all of its 200 queries whose mask is not empty."""
    tokenizer: str = ""
    """Folder or hub id with the tokenizer of CLIP, if that of the weights has none."""


Options = Sam3Options


def recognise(source: Source) -> str | None:
    """``sam3`` if a source holds one, else None."""
    config = source.config()
    if config is not None:
        return NAME if config.get("model_type") == "sam3_video" else None
    present = checkpoints.keys(source)
    of_sam3 = any(key.startswith(("detector.", "detector_model.")) for key in present)
    return NAME if of_sam3 and any(key.startswith(("tracker.", "tracker_model.")) for key in present) else None


def locate(name: str | None, options: Sam3Options) -> WeightsInfo:
    """As :class:`sambench.models.cards.Adapter` says."""
    source = _find(options.weights)
    return WeightsInfo(NAME, str(source.path), source.digest(), None)


def load(name: str, options: Sam3Options, device: str, encode_batch: int = 0) -> Sam3Model:
    """As :class:`sambench.models.cards.Adapter` says."""
    return Sam3Model(_find(options.weights), locate(name, options), options, device, encode_batch)


def _find(weights: str) -> Source:
    source = checkpoints.find(weights, HUB)
    checkpoints.require(source, recognise(source), "a SAM 3")
    if source.config() is None:
        raise UsageError(
            f"{source.path}: SAM 3 is loaded from a folder with config.json and model.safetensors, which {HUB} on the "
            "Hugging Face hub holds beside sam3.pt; pass that folder with --set model.weights=PATH"
        )
    return source


def _image_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by their names in :class:`sambench.models.sam2.sam3_network.Sam3Network`."""
    found = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        # save_pretrained of transformers 5 writes the tracker's prefix twice.
        rest = rest.removeprefix("tracker_model.")
        if part == "detector_model":
            found[f"detector.{rest}"] = value
        elif part == "tracker_model" and rest.startswith(("prompt_encoder.", "mask_decoder.", "no_memory_embedding")):
            found[rest] = value
        elif part == "tracker_neck":
            found[key] = value
    return found


class Sam3Model(SquareSamModel):
    """A SAM 3 for images, satisfying :class:`sambench.core.model.Model`."""

    adapter = "sam3 1"
    parts = (*SquareSamModel.parts, "encoded")
    capabilities = frozenset({"points", "boxes", "masks", "multimask", "text"})

    def __init__(
        self, source: Source, found: WeightsInfo, options: Sam3Options, device: str, encode_batch: int
    ) -> None:
        # Here, not at the top: transformers takes seconds to import.
        from transformers.initialization import no_init_weights

        from sambench.models.sam2.sam3_network import Sam3Network

        # Not on the meta device, where tables that are in no checkpoint would be lost.
        with no_init_weights():
            network = Sam3Network(source.config() or {}, options.dynamic_multimask)
        checkpoints.fill(network, _image_part(checkpoints.tensors(source)), source.path, found.name)
        wanted = network.input(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), rounded=True)
        super().__init__(network, wanted, found, options, device, encode_batch)
        self.options, self.source = options, source
        self._phrases: dict[str, tuple[Tensor, Tensor]] = {}
        self._tokens: Phrases | None = None

    def features(self, pixels: Tensor) -> Sequence[Tensor]:
        """What the mask decoder takes, and the features that phrases are looked for in."""
        with self.precision():
            encoded = self.network.encoded(pixels)
            maps = self.network.maps(encoded)
        return *self.decoder_features(*(part.float() for part in maps)), encoded.float()

    def maps(self, pixels: Tensor) -> Sequence[Tensor]:
        found: Sequence[Tensor] = self.network.maps(self.network.encoded(pixels))
        return found

    def view(self, image: Image, frame: Frame, features: Sequence[Tensor]) -> PromptedView:
        return Sam3View(self, image, frame, features[:3], features[3])

    def features_of(self, view: PromptedView) -> Sequence[Tensor]:
        assert isinstance(view, Sam3View)
        return *view.features, view.encoded

    def prediction(self, frame: Frame, low: Tensor, scores: Tensor) -> Prediction:
        seen = filled(low, self.options.fill_holes) if self.options.fill_holes else low
        # Holes are handed back as they are.
        return SamPrediction(frame, seen, scores, low)

    @property
    def phrases(self) -> Phrases:
        """What makes tokens of phrases. Raises UsageError if no tokenizer can be had."""
        if self._tokens is None:
            tokenizer = _tokenizer(self.options.tokenizer or self.source.hub or str(self.source.path))
            self._tokens = Phrases(tokenizer, TOKENS, "max_length")
        return self._tokens

    def phrase(self, text: str) -> tuple[Tensor, Tensor]:
        """``(1, T, C)`` features of a phrase and ``(1, T)``, 1 where there is a token.

        Raises UsageError if no tokenizer can be had.
        """
        if text not in self._phrases:
            tokens = self.phrases([text])
            ids, there = tokens["input_ids"].to(self.device), tokens["attention_mask"].to(self.device)
            self._phrases[text] = self.network.detector.get_text_features(ids, there).pooler_output, there
        return self._phrases[text]


class Sam3View(PromptedView):
    """A SAM 3 that has encoded one image, a :class:`sambench.models.text.text_model.Reader`. ``encoded``: what phrases
    are looked for in."""

    model: Sam3Model
    several = True

    def __init__(
        self, model: Sam3Model, image: Image, frame: Frame, features: Sequence[Tensor], encoded: Tensor
    ) -> None:
        super().__init__(model, image, frame, features)
        self.encoded, self.size = encoded, (image.shape[0], image.shape[1])

    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        """Phrases, alone or with points, as :class:`sambench.core.model.TextPrediction` says. Raises ValueError for
        phrases with boxes or masks."""
        if prompts.text is None:
            return super().predict(prompts, multimask=multimask)
        if prompts.boxes is not None or prompts.mask_logits is not None:
            raise ValueError("SAM 3 takes a phrase alone or with points, not with boxes or masks")
        return answered(self, prompts, multimask)

    @torch.inference_mode()
    def name(self, phrases: Sequence[str]) -> list[Named]:
        """All instances of each phrase, or the likeliest if none is likely enough."""
        least = self.model.options.text_score
        found = []
        for phrase in phrases:
            with exact_convolutions():
                low, scores = self.model.network.detected(self.encoded, *self.model.phrase(phrase))
            order = scores.argsort(descending=True, stable=True)[: max(1, int((scores >= least).sum()))]
            masks, kept = list(self.frame.masks(low[order])), scores[order].float().cpu().numpy()
            there = [k for k, mask in enumerate(masks) if mask.area]
            found.append(
                Named(
                    [masks[k] for k in there],
                    kept[there],
                    kept[there] >= np.float32(least),
                    float(kept[0]),
                    self.model.phrases.note(phrase),
                )
            )
        return found

    def at_points(self, prompts: Prompts) -> Prediction:
        return super().predict(prompts, multimask=True)

    def judge(self, phrase: str, masks: Sequence[Mask], predicted: NDArray[np.float32]) -> Judged:
        return most_confident(masks, predicted)


def filled(low: Tensor, area: int) -> Tensor:
    """``(..., g, g)`` logits with every connected part of the background (8 neighbours) of at most ``area`` cells made
    foreground, those at the border too (sam3: model/utils/sam1_utils.py)."""
    flat = low.flatten(0, -3).cpu()
    out = flat.clone()
    for mask, target in zip(flat, out, strict=True):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((mask <= 0).numpy().view(np.uint8), connectivity=8)
        small = stats[:, cv2.CC_STAT_AREA] <= area
        small[0] = False
        target[torch.from_numpy(small[labels])] = HOLE
    return out.reshape(low.shape).to(low.device)


def _tokenizer(place: str) -> Any:
    from transformers import CLIPTokenizer

    advice = "pass a folder or hub id that holds CLIP's with --set model.tokenizer=PATH"
    if Path(place).is_dir() and not any((Path(place) / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise UsageError(f"{place} holds no tokenizer, which phrases need: {advice}")
    try:
        return CLIPTokenizer.from_pretrained(place)
    except Exception as error:  # a library's own and its HTTP client's, of many kinds
        raise UsageError(f"no tokenizer from {place} ({checkpoints.one_line(error)}): {advice}") from error
