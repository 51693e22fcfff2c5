"""EfficientSAM (arXiv 2312.00863), tiny and small.

Answers equal the released code's (``docs/models/efficient_sam.md`` has the figures).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sambench.core.mask import Image, Mask
from sambench.core.model import Prompts, View
from sambench.errors import UsageError
from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.common.image_model import ImageModel, PromptOptions
from sambench.models.common.logit_windows import LogitWindow
from sambench.models.sam import sam
from sambench.models.sam.efficient_sam_network import MASKS, PATCH, EfficientSam

SIDE = 1024
"""Of the square input, in pixels."""
POINTS = 6
"""Points that the released code gives its decoder, no more and no fewer: the corners of a box are two."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the RGB channels, of values from 0 to 1."""

WIDTHS = {"efficient_sam_ti": 192, "efficient_sam_s": 384}
"""Of the image encoders."""
FILES = {"efficient_sam_ti": "efficient_sam_vitt.pt", "efficient_sam_s": "efficient_sam_vits.pt"}
"""What the authors call their checkpoints."""
RELEASED = "dff858b19600a46461cbb7de98f796b23a7a888d9f5e34c0b033f7d6eb9e4e6a"
"""sha256 of efficient_sam_vitt.pt; nobody has published that of the other."""


Options = PromptOptions


def locate(name: str | None, options: PromptOptions) -> WeightsInfo:
    """Finds the weights and digests them; see :class:`sambench.models.cards.Adapter`."""
    source, held = _find(name, options)
    return _found(held, source)


def recognise(source: Source) -> str | None:
    """``efficient_sam_ti`` or ``efficient_sam_s`` if the source holds one of them."""
    if source.config() is not None:
        return None
    held = checkpoints.contents(source)
    state = held.get("model", held)
    if not isinstance(state, Mapping) or "prompt_encoder.bbox_top_left_embeddings.weight" not in state:
        return None
    position = state.get("image_encoder.pos_embed")
    if not isinstance(position, Tensor) or position.ndim != 3:
        return None
    return next((name for name, width in WIDTHS.items() if width == position.shape[2]), None)


def load(name: str, options: PromptOptions, device: str, encode_batch: int = 0) -> EfficientSamModel:
    """EfficientSAM on a device. ``encode_batch``: 0 for what suits the device."""
    source = _find(name, options)[0]
    with torch.device("meta"):
        network = EfficientSam(WIDTHS[name])
    checkpoints.fill(network, checkpoints.tensors(source, "model"), source.path, name)
    return EfficientSamModel(network, _found(name, source), options, device, encode_batch)


class EfficientSamModel(ImageModel["StretchedFrame", "EfficientSamView"]):
    """An EfficientSAM, satisfying :class:`sambench.core.model.Model`. ``network``: with its weights."""

    capabilities = frozenset({"points", "boxes", "multimask"})
    adapter = "efficient_sam 1"
    parts = ("embedding",)

    def __init__(
        self, network: EfficientSam, found: WeightsInfo, options: PromptOptions, device: str, encode_batch: int
    ) -> None:
        super().__init__(found, options, device, encode_batch)
        self.network = network.to(device)
        self.positions = network.prompt_encoder.grid(SIDE // PATCH)

    def frame(self, size: tuple[int, int]) -> StretchedFrame:
        return StretchedFrame(size)

    def features(self, pixels: Tensor) -> Sequence[Tensor]:
        return (self.network.image_encoder(pixels).flatten(2).mT,)

    def view(self, image: Image, frame: StretchedFrame, features: Sequence[Tensor]) -> EfficientSamView:
        return EfficientSamView(self, image, frame, features[0][0])

    def features_of(self, view: EfficientSamView) -> Sequence[Tensor]:
        return (view.embedding[None],)


class StretchedFrame:
    """An image of ``size`` ``(H, W)`` as EfficientSAM sees it: stretched to a square, bilinearly without antialiasing,
    then normalised."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def pixels(self, image: Image) -> Tensor:
        """``(3, S, S)`` float32 on the CPU."""
        x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
        x = F.interpolate(x[None], (SIDE, SIDE), mode="bilinear")[0]
        return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


class EfficientSamView(View):
    """An EfficientSAM that has encoded one image. ``embedding``: ``((S/16)², 256)`` float32 on the device."""

    def __init__(self, model: EfficientSamModel, image: Image, frame: StretchedFrame, embedding: Tensor) -> None:
        self.model, self.image, self.frame, self.embedding = model, image, frame, embedding

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[EfficientSamView]:
        return self.model.crops_of(self.image, boxes)

    @torch.inference_mode()
    def predict(self, prompts: Prompts, *, multimask: bool) -> EfficientSamPrediction:
        """``multimask``: three candidates, the one with the highest predicted IoU first; else that one alone.

        Only the first :data:`POINTS` points of a prompt are seen, the two corners of its box counting as the first.
        Raises ValueError for text and masks.
        """
        if prompts.text is not None or prompts.mask_logits is not None:
            raise ValueError("EfficientSAM takes points and boxes, neither text nor masks")
        points, labels = (part.to(self.model.device) for part in self._points(prompts))
        count, side = len(prompts), 4 * SIDE // PATCH
        low = torch.empty((count, MASKS, side, side), device=self.model.device)
        scores = torch.empty((count, MASKS), device=self.model.device)
        network = self.model.network
        for start in range(0, count, self.model.prompt_batch):
            part = slice(start, start + self.model.prompt_batch)
            tokens = network.prompt_encoder(points[part], labels[part], SIDE)
            logits, quality = network.mask_decoder(self.embedding, self.model.positions, tokens)
            scores[part], order = quality.sort(dim=1, descending=True, stable=True)
            low[part] = logits.take_along_dim(order[..., None, None], 1)
        kept = MASKS if multimask else 1
        return EfficientSamPrediction(self.frame.size, low[:, :kept], scores[:, :kept].cpu().numpy())

    def _points(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """``(N, 6, 2)`` float32 xy of the input and ``(N, 6)`` labels, of boxes and points, padded with -1."""
        height, width = self.frame.size
        xy, labels = [], []
        if prompts.boxes is not None:
            xy.append(torch.from_numpy(prompts.boxes.astype(np.float32)).view(-1, 2, 2))
            labels.append(torch.tensor([[2, 3]]).expand(len(prompts), -1))
        if prompts.points is not None and prompts.labels is not None:
            xy.append(torch.from_numpy(prompts.points.astype(np.float32)))
            labels.append(torch.from_numpy(prompts.labels.astype(np.int64)))
        given, label = torch.cat(xy, 1)[:, :POINTS], torch.cat(labels, 1)[:, :POINTS]
        scaled = given * SIDE / torch.tensor([width, height])
        # A coordinate left of or above the image is padding to the released code, and padding lies at -1.
        scaled = torch.where((given >= 0) & (label >= 0).unsqueeze(-1), scaled, -1.0)
        missing = POINTS - given.shape[1]
        return F.pad(scaled, (0, 0, 0, missing), value=-1.0), F.pad(label, (0, missing), value=-1)


class EfficientSamPrediction:
    """``size``: ``(H, W)`` of the image. ``low``: ``(N, M, S/4, S/4)`` float32 logits on the device. ``scores``:
    ``(N, M)`` predicted IoUs, falling."""

    def __init__(self, size: tuple[int, int], low: Tensor, scores: NDArray[np.float32]) -> None:
        self.size, self.low, self.scores = size, low, scores

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        """The masks of (prompt, candidate) pairs at the original size, foreground where the logit is not below 0."""
        return [Mask.from_dense((logits >= 0).cpu().numpy()) for logits in self._full(which)]

    def logits(self, which: Sequence[tuple[int, int]], margin: int) -> Iterator[LogitWindow]:
        """As :meth:`sambench.models.common.logit_windows.SoftPrediction.logits` says, always of the whole image."""
        return (LogitWindow(0, 0, logits[None]) for logits in self._full(which))

    def boxes(self) -> NDArray[np.int64]:
        """``(N, M, 4)`` xyxy pixels, right and bottom exclusive, zeros for an empty mask."""
        pairs = np.ndindex(self.scores.shape)
        return np.array([self.masks([(n, m)])[0].box for n, m in pairs], np.int64).reshape(*self.scores.shape, 4)

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> None:
        """None: no masks are taken as prompts."""

    def _full(self, which: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """Logits ``(H, W)`` of each pair, from S/4 in one bicubic step."""
        for prompt, candidate in which:
            yield F.interpolate(self.low[None, None, prompt, candidate], self.size, mode="bicubic")[0, 0]


def _find(name: str | None, options: PromptOptions) -> tuple[Source, str]:
    """The source and the name of what it holds, refused if that is not ``name`` (None: either)."""
    file = FILES.get(name or "", "checkpoint")
    wanted = f"{name} has no weights on the hub that can be fetched: pass the authors' {file} with --set model.weights="
    source = checkpoints.find(options.weights, "", f"{wanted}FILE")
    inside = _packed(source)
    if inside:
        raise UsageError(f"{source.path} is a zip archive: unpack it and pass the {inside} in it")
    held = recognise(source)
    if held is None or name not in (None, held):
        raise UsageError(f"{source.path} holds {held or _contents(source)}, not {name or 'an EfficientSAM'}")
    return source, held


def _packed(source: Source) -> str:
    """The checkpoint in a zip archive, as which the authors ship the larger one; empty if the source is none."""
    if not zipfile.is_zipfile(source.path):
        return ""
    with zipfile.ZipFile(source.path) as archive:
        return next((name for name in archive.namelist() if name.endswith(checkpoints.SUFFIXES)), "")


def _contents(source: Source) -> str:
    """What a source holds that is no EfficientSAM, in words."""
    config = source.config()
    if config is not None:
        return f"a model of type {config.get('model_type')!r}"
    return sam.recognise(source) or checkpoints.some(checkpoints.contents(source))


def _found(name: str, source: Source) -> WeightsInfo:
    """Trained on ImageNet and SA-1B if it is a released file, which its digest proves or its name tells; else nobody
    has said."""
    released = source.digest() == RELEASED or source.path.name in FILES.values()
    return WeightsInfo(name, str(source.path), source.digest(), frozenset({"imagenet", "sa1b"}) if released else None)
