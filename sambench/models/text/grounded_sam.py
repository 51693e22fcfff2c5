"""Grounding DINO or OWLv2 finds boxes for a phrase, a promptable model makes masks of them in two passes (protocol §6.3
and §5). Not the model of Segment Anything §7.5, which was never released.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor, nn

from sambench.core.mask import Image, Mask
from sambench.core.model import Model, View
from sambench.models.cards import WeightsInfo
from sambench.models.common.box_prompts import masks_of_boxes, moved
from sambench.models.common.exact import exact_convolutions
from sambench.models.text import text_components
from sambench.models.text.text_components import Component, normalised
from sambench.models.text.text_model import Judged, Named, TextModel, TextView, most_confident
from sambench.plugins.options import UnitInterval

RELEASED = {
    "IDEA-Research/grounding-dino-tiny": frozenset({"objects365", "goldg", "cap4m", "imagenet"}),
    "IDEA-Research/grounding-dino-base": frozenset(
        {"objects365", "goldg", "cap4m", "imagenet", "openimages", "odinw35", "coco", "refcoco"}
    ),
    **{
        f"google/owlv2-{size}-ensemble": frozenset({"openai_wit400m", "webli", "lvis", "coco"})
        for size in ("base-patch16", "large-patch14")
    },
}
"""What the released detectors were trained on; docs/models/grounded_sam.md has the sources."""

MOST = 100
"""Boxes of a phrase, the best: as many as COCO's evaluation counts in an image."""
CPU_PHRASES, GPU_PHRASES = 1, 8
"""Phrases that Grounding DINO reads at once. With one, moreover, its answer does not depend on the others."""


@dataclass(frozen=True)
class Options:
    sam: str = "sam_vit_h"
    """Promptable model that makes masks of the boxes, named as for `--model`."""
    detector: str = "IDEA-Research/grounding-dino-tiny"
    """Grounding DINO or OWLv2: hub id, or folder with its tokenizer and image processor."""
    threshold: UnitInterval | None = None
    """Score above which every box is an instance; none: transformers' default for the detector, 0.25 for Grounding DINO
    and 0.1 for OWLv2."""
    nms: UnitInterval = 0.8
    """Of two boxes of a phrase that overlap more than this (IoU), drop the one of the lower score, as in Grounded SAM's
    demonstration; 1: drop none."""
    phrase_batch: Annotated[int, Ge(0)] = 0
    """Phrases that Grounding DINO reads at once; 0: 1 on a CPU, 8 on a GPU."""


def locate(name: str | None, options: Options) -> WeightsInfo:
    """See :class:`sambench.models.cards.Adapter`."""
    detector = text_components.find("detector", options.detector, sorted(DETECTORS))
    promptable = text_components.find_promptable("sam", options.sam, "boxes")
    return text_components.together(name or "grounded_sam", detector, promptable, RELEASED)


def load(name: str, options: Options, device: str, encode_batch: int) -> GroundedSamModel:
    """See :class:`sambench.models.cards.Adapter`."""
    found = locate(name, options)
    promptable = text_components.load_promptable("sam", options.sam, "boxes", device, encode_batch)
    component = text_components.find("detector", options.detector, sorted(DETECTORS))
    return GroundedSamModel(found, promptable, DETECTORS[component.kind](component, options, device), options)


class GroundedSamModel(TextModel):
    """See :class:`sambench.core.model.Model`."""

    def __init__(self, found: WeightsInfo, promptable: Model, detector: PhraseDetector, options: Options) -> None:
        super().__init__(found, promptable, several=True)
        self.detector, self.nms = detector, options.nms
        self.threshold = detector.threshold if options.threshold is None else options.threshold

    def view(self, image: Image, seen: View) -> GroundedSamView:
        return GroundedSamView(self, image, seen)


class GroundedSamView(TextView):
    """One image. What the detector makes of it alone is made when the first phrase comes, and once."""

    model: GroundedSamModel

    @cached_property
    def encoded(self) -> Any:
        """The image as the detector keeps it."""
        return self.model.detector.encode(self.image)

    def name(self, phrases: Sequence[str]) -> list[Named]:
        found = [self._boxes(*pair) for pair in self.model.detector(self.encoded, phrases)]
        boxes = np.concatenate([boxes for boxes, _ in found])
        masks = masks_of_boxes(
            self.seen, boxes, self.size, passes=2, feedback="masks" in self.model.promptable.capabilities
        ).masks
        named, start = [], 0
        for phrase, (boxes, scores) in zip(phrases, found, strict=True):
            own = masks[start : start + len(boxes)]
            start += len(boxes)
            there = [k for k, mask in enumerate(own) if mask.area]
            named.append(
                Named(
                    [own[k] for k in there],
                    scores[there],
                    scores[there] > self.model.threshold,
                    float(scores.max(initial=0)),
                    self.model.detector.phrases.note(self.model.detector.text(phrase)),
                )
            )
        return named

    def _boxes(
        self, scores: NDArray[np.float32], corners: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The boxes to make masks of, in the image, and their scores: those above the threshold, or the best."""
        # Here, not at the top: whoever only lists models need not wait for numba.
        from sambench.models.common.box_nms import box_nms

        sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).astype(np.float64)
        boxes = moved(sides, self.size)
        usable = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        boxes, scores = boxes[usable], scores[usable]
        above = int((scores > self.model.threshold).sum())
        order = np.argsort(-scores, kind="stable")[: min(max(above, 1), MOST)]
        boxes, scores = boxes[order], scores[order]
        # Whole pixels with right and bottom inclusive, as the suppression counts them.
        whole = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:]) - 1], axis=1).astype(np.int64)
        stay = np.sort(box_nms(whole, scores, self.model.nms))
        return boxes[stay], scores[stay]

    def judge(self, phrase: str, masks: Sequence[Mask], predicted: NDArray[np.float32]) -> Judged:
        return most_confident(masks, predicted)


class PhraseDetector(ABC):
    """A detector that takes phrases. ``threshold``: of transformers' processor for it."""

    threshold: float

    def __init__(self, component: Component, options: Options, device: str) -> None:
        from transformers import AutoModelForZeroShotObjectDetection

        self.device = torch.device(device)
        self.network: Any = component.network(AutoModelForZeroShotObjectDetection, device)
        self.images = component.images()

    phrases: text_components.Phrases

    def text(self, phrase: str) -> str:
        """What the text encoder gets."""
        return phrase

    @abstractmethod
    def encode(self, image: Image) -> Any:
        """All that can be computed without a phrase."""

    @abstractmethod
    def __call__(self, encoded: Any, phrases: Sequence[str]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """For each phrase, as if it were the only one: ``(Q,)`` scores and ``(Q, 4)`` xyxy in pixels of the image."""

    def pixels(self, image: Image) -> dict[str, Tensor]:
        """What the network takes of an image, on the device."""
        return {key: value.to(self.device) for key, value in self.images([image]).items()}

    def tokens(self, phrases: Sequence[str]) -> dict[str, Tensor]:
        """What the network takes of phrases, on the device."""
        return {key: value.to(self.device) for key, value in self.phrases([self.text(p) for p in phrases]).items()}


@dataclass(frozen=True)
class _GroundedImage:
    """``size``: ``(H, W)``. ``pixels``, ``mask``: ``(1, ...)``, what the processor made. ``maps``: of the backbone,
    each with its mask. ``positions``: their embeddings."""

    size: tuple[int, int]
    pixels: Tensor
    mask: Tensor
    maps: Sequence[tuple[Tensor, Tensor]]
    positions: Sequence[Tensor]


class GroundingDino(PhraseDetector):
    """Grounding DINO (arXiv 2303.05499). Its backbone sees an image once; from there on image and phrase are fused."""

    threshold = 0.25

    def __init__(self, component: Component, options: Options, device: str) -> None:
        super().__init__(component, options, device)
        self.phrases = component.phrases(self.network.config.max_text_len, padding="longest")
        self.backbone = self.network.model.backbone
        self.once = self.network.model.backbone = _Once(self.backbone)
        self.batch = options.phrase_batch or (CPU_PHRASES if self.device.type == "cpu" else GPU_PHRASES)

    def text(self, phrase: str) -> str:
        """In lower case and with a full stop, as it was trained."""
        return f"{phrase.strip().lower().rstrip('.')}."

    @torch.inference_mode()
    def encode(self, image: Image) -> _GroundedImage:
        seen = self.pixels(image)
        with exact_convolutions():
            maps, positions = self.backbone(seen["pixel_values"], seen["pixel_mask"])
        return _GroundedImage(image.shape[:2], seen["pixel_values"], seen["pixel_mask"], maps, positions)

    @torch.inference_mode()
    def __call__(
        self, encoded: _GroundedImage, phrases: Sequence[str]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        found = []
        height, width = encoded.size
        self.once.image = encoded
        for start in range(0, len(phrases), self.batch):
            tokens = self.tokens(phrases[start : start + self.batch])
            n = len(tokens["input_ids"])
            with exact_convolutions():
                answer = self.network(
                    pixel_values=encoded.pixels.expand(n, -1, -1, -1),
                    pixel_mask=encoded.mask.expand(n, -1, -1),
                    **tokens,
                )
            scores = answer.logits.sigmoid().amax(dim=-1)
            for one, boxes in zip(scores, answer.pred_boxes, strict=True):
                found.append((one.float().cpu().numpy(), text_components.corners(boxes, (width, height))))
        self.once.image = None
        return found


class _Once(nn.Module):
    """Stands in for the backbone, and answers what that made of ``image``, for as many phrases as there are."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.position_embedding = backbone.position_embedding
        self.image: _GroundedImage | None = None

    def forward(self, pixels: Tensor, mask: Tensor) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        assert self.image is not None
        n = len(pixels)
        maps = [(kept.expand(n, -1, -1, -1), inside.expand(n, -1, -1)) for kept, inside in self.image.maps]
        return maps, [kept.expand(n, -1, -1, -1) for kept in self.image.positions]


@dataclass(frozen=True)
class _OwlImage:
    """``features``: ``(1, Q, C)``. ``corners``: ``(Q, 4)`` xyxy in pixels of the image."""

    features: Tensor
    corners: NDArray[np.float32]


class Owlv2(PhraseDetector):
    """OWLv2 (arXiv 2306.09683). Boxes do not depend on the phrase, only their scores do."""

    threshold = 0.1

    def __init__(self, component: Component, options: Options, device: str) -> None:
        super().__init__(component, options, device)
        limit = self.network.config.text_config.max_position_embeddings
        self.phrases = component.phrases(limit, padding="max_length")

    @torch.inference_mode()
    def encode(self, image: Image) -> _OwlImage:
        with exact_convolutions():
            grid, _ = self.network.image_embedder(self.pixels(image)["pixel_values"])
        features = grid.flatten(1, 2)
        (boxes,) = self.network.box_predictor(features, grid)
        # It was filled up to a square on the right or at the bottom.
        side = max(image.shape[:2])
        return _OwlImage(features, text_components.corners(boxes, (side, side)))

    @torch.inference_mode()
    def __call__(
        self, encoded: _OwlImage, phrases: Sequence[str]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        embedded = self.network.owlv2.get_text_features(**self.tokens(phrases)).pooler_output
        logits, _ = self.network.class_predictor(encoded.features, normalised(embedded)[None])
        scores = logits[0].sigmoid().float().cpu().numpy()
        return [(np.ascontiguousarray(scores[:, n]), encoded.corners) for n in range(len(phrases))]


DETECTORS: dict[str, type[PhraseDetector]] = {"grounding-dino": GroundingDino, "owlv2": Owlv2}
"""By what transformers calls the networks."""
