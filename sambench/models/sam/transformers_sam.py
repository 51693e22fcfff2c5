"""What the models of SAM's family that transformers implements have in common: a model, a view.

A family gives a network, says how it sees pixels and how it decodes prompts (:class:`PromptedModel`); the loops, the
coordinates, the way back to the original size and the interface are here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from sambench.core.mask import Image
from sambench.core.model import Prediction, Prompts, View
from sambench.models.cards import WeightsInfo
from sambench.models.common.exact import exact_convolutions
from sambench.models.common.image_model import EncoderOptions, ImageModel
from sambench.models.sam.sam import SamPrediction
from sambench.models.sam.sam_frame import Frame
from sambench.models.sam.square_frame import Input, SquareFrame

MASK_INPUT_LIMIT = 32.0
"""The released predictors of SAM 2 and its successors clamp the logits that they hand back to plus and minus this."""


@dataclass(frozen=True, eq=False)
class Asked:
    """n prompts in the coordinates of the input, on the device; None where a part was not given.

    ``points``: ``(n, P, 2)`` float32 xy. ``labels``: ``(n, P)`` int64. ``boxes``: ``(n, 4)`` float32 xyxy. ``masks``:
    ``(n, 1, g, g)`` float32 logits.
    """

    n: int
    points: Tensor | None
    labels: Tensor | None
    boxes: Tensor | None
    masks: Tensor | None


class PromptedModel(ImageModel[Frame, "PromptedView"]):
    """A model that encodes images and decodes prompts, satisfying :class:`sambench.core.model.Model`.

    ``network``: a torch module, for inference. ``found``: whose weights these are.
    """

    capabilities = frozenset({"points", "boxes", "masks", "multimask"})
    libraries = (*ImageModel.libraries, "transformers")

    def __init__(
        self, network: Any, found: WeightsInfo, options: EncoderOptions, device: str, encode_batch: int
    ) -> None:
        super().__init__(found, options, device, encode_batch, f"dtype={options.dtype}")
        self.network = network.to(self.device)
        self.dtype: torch.dtype = getattr(torch, options.dtype)

    @abstractmethod
    def decode(self, features: Sequence[Tensor], asked: Asked, multimask: bool) -> tuple[Tensor, Tensor]:
        """Prompts about one image (``features``: each ``(1, ...)``) to ``(n, M, g, g)`` logits and ``(n, M)`` predicted
        IoUs."""

    def view(self, image: Image, frame: Frame, features: Sequence[Tensor]) -> PromptedView:
        return PromptedView(self, image, frame, features)

    def features_of(self, view: PromptedView) -> Sequence[Tensor]:
        return view.features

    def prediction(self, frame: Frame, low: Tensor, scores: Tensor) -> Prediction:
        """Logits and predicted IoUs as what a task sees."""
        return SamPrediction(frame, low, scores)

    def precision(self) -> torch.autocast:
        """Within it matrix products and convolutions are of the dtype that the options say."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)


class PromptedView(View):
    """A model that has encoded one image. ``features``: each ``(1, ...)`` float32 on the device."""

    def __init__(self, model: PromptedModel, image: Image, frame: Frame, features: Sequence[Tensor]) -> None:
        self.model, self.image, self.frame, self.features = model, image, frame, features

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[PromptedView]:
        return self.model.crops_of(self.image, boxes)

    @torch.inference_mode()
    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        """``multimask``: three candidates, else one. Raises ValueError for text."""
        if prompts.text is not None:
            raise ValueError(f"{self.model.name} takes points, boxes and masks, not text")
        # Without prompts one empty answer says how many candidates there are, and of which size.
        parts = [self._asked(prompts, start) for start in range(0, len(prompts), self.model.prompt_batch)]
        nothing = Asked(1, None, None, None, None)
        with exact_convolutions():
            answers = [self.model.decode(self.features, part, multimask) for part in parts or [nothing]]
        low, scores = (torch.cat([answer[i] for answer in answers])[: len(prompts)] for i in (0, 1))
        return self.model.prediction(self.frame, low, scores)

    def _asked(self, prompts: Prompts, start: int) -> Asked:
        """As many prompts as are decoded at once, from ``start`` on."""
        part = slice(start, start + self.model.prompt_batch)
        device, masks = self.model.device, None
        points, labels, boxes = (None if one is None else one[part].to(device) for one in self.frame.prompts(prompts))
        if prompts.mask_logits is not None:
            masks = torch.as_tensor(prompts.mask_logits[part], dtype=torch.float32, device=device)[:, None]
        return Asked(min(self.model.prompt_batch, len(prompts) - start), points, labels, boxes, masks)


class SquareSamModel(PromptedModel):
    """SAM 2 and what has its prompt encoder and its mask decoder: a square input, features of three resolutions.

    ``network`` has ``prompt_encoder``, ``mask_decoder`` and ``no_memory_embedding`` as transformers' Sam2Model has
    them.
    """

    parts: ClassVar[tuple[str, ...]] = ("fine", "middle", "coarse")

    def __init__(
        self,
        network: Any,
        wanted: Input,
        found: WeightsInfo,
        options: EncoderOptions,
        device: str,
        encode_batch: int,
    ) -> None:
        super().__init__(network, found, options, device, encode_batch)
        self.wanted = wanted
        with torch.inference_mode():
            self.positions = _positions(self.network)

    def maps(self, pixels: Tensor) -> Sequence[Tensor]:
        """``(B, 3, S, S)`` to the maps of the feature pyramid, from high to low resolution: S/4, S/8, S/16."""
        found: Sequence[Tensor] = self.network.maps(pixels)
        return found

    def frame(self, size: tuple[int, int]) -> Frame:
        return SquareFrame(size, self.wanted)

    def features(self, pixels: Tensor) -> Sequence[Tensor]:
        with self.precision():
            fine, middle, coarse = self.maps(pixels)
        return self.decoder_features(fine.float(), middle.float(), coarse.float())

    def decoder_features(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Sequence[Tensor]:
        """What the mask decoder takes of the feature pyramid, projected once and not for each prompt."""
        decoder = self.network.mask_decoder
        no_memory = self.network.no_memory_embedding.reshape(1, -1, 1, 1)
        return decoder.conv_s0(fine), decoder.conv_s1(middle), coarse + no_memory

    def decode(self, features: Sequence[Tensor], asked: Asked, multimask: bool) -> tuple[Tensor, Tensor]:
        fine, middle, coarse = (feature.expand(asked.n, -1, -1, -1) for feature in features)
        sparse, dense = self._embedded(asked)
        low, scores, _, _ = self.network.mask_decoder(
            image_embeddings=coarse,
            image_positional_embeddings=self.positions.expand(asked.n, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            high_resolution_features=[fine, middle],
        )
        return low[:, 0], scores[:, 0]

    def _embedded(self, asked: Asked) -> tuple[Tensor, Tensor]:
        """``(n, 1, T, C)`` tokens and ``(n, C, h, w)`` dense embeddings. The corners of a box are points with the
        labels 2 and 3 before the others, as the released predictors have it; without points and boxes there are no
        tokens."""
        points, labels = asked.points, asked.labels
        if asked.boxes is not None:
            corners = asked.boxes.reshape(-1, 2, 2)
            kinds = torch.tensor([[2, 3]], device=corners.device).expand(asked.n, -1)
            points = corners if points is None else torch.cat([corners, points], 1)
            labels = kinds if labels is None else torch.cat([kinds, labels], 1)
        masks = None if asked.masks is None else asked.masks.clamp(-MASK_INPUT_LIMIT, MASK_INPUT_LIMIT)
        sparse, dense = self.network.prompt_encoder(
            None if points is None else points[:, None], None if labels is None else labels[:, None], None, masks
        )
        if sparse is None:
            sparse = self.positions.new_zeros((asked.n, 1, 0, self.positions.shape[1]))
        return sparse, dense.expand(asked.n, -1, -1, -1)


def _positions(network: Any) -> Tensor:
    """``(1, C, h, w)``: the embedding of the centres of the coarse map's cells, each in [0, 1]."""
    height, width = network.prompt_encoder.image_embedding_size
    matrix = network.prompt_encoder.shared_embedding
    device = matrix.positional_embedding.device
    y = (torch.ones((height, width), device=device).cumsum(0) - 0.5) / height
    x = (torch.ones((height, width), device=device).cumsum(1) - 0.5) / width
    embedded: Tensor = matrix(torch.stack([x, y], -1))
    return embedded.permute(2, 0, 1)[None]
