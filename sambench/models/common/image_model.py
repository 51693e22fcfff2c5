"""What the models of SAM's family do with images, each with its own encoder: prepare them on the host, encode several
at once, keep what came of it, and make the view again.

Importing this module imports torch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from sambench.core.mask import Image
from sambench.core.model import Model, View
from sambench.models.cards import GPU_IMAGES, WeightsInfo
from sambench.models.common.exact import exact_convolutions
from sambench.models.common.memory import in_halves

CPU_PROMPTS = 1
GPU_PROMPTS = 64
"""Prompts decoded at once. A CPU is fastest with one or two, whose pixels stay in its caches; with one, moreover, a
prompt's answer does not depend on the others."""
CPU_IMAGES = 1
"""Images encoded at once."""


@dataclass(frozen=True)
class PromptOptions:
    weights: str = ""
    """File with the authors' names of tensors."""
    prompt_batch: Annotated[int, Ge(0)] = 0
    """Prompts decoded at once; 0: 1 on a CPU, 64 on a GPU."""


@dataclass(frozen=True)
class EncoderOptions(PromptOptions):
    weights: str = ""
    """Hub id, folder or file; empty: the released weights of the model's name."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the encoder's matrix products; residuals, normalisation and the decoder stay float32."""


class Placed(Protocol):
    """The place of an image of ``size`` ``(H, W)`` in the encoder's input."""

    size: tuple[int, int]

    def pixels(self, image: Image) -> Tensor:
        """``(3, S, S)`` float32 on the CPU."""


FrameT = TypeVar("FrameT", bound=Placed)
ViewT = TypeVar("ViewT", bound=View)


@dataclass(frozen=True, eq=False)
class Prepared(Generic[FrameT]):
    """An image on its way to the encoder. ``frame``: its place in the input. ``pixels``: ``(3, S, S)`` float32 on the
    CPU, in pinned memory if the encoder is on a GPU."""

    image: Image
    frame: FrameT
    pixels: Tensor


class ImageModel(Model, Generic[FrameT, ViewT]):
    """A model that encodes images, and whose encodings can be kept.

    ``found``: whose weights these are. ``variant``: what else an encoding depends on, as ``dtype=float32``.
    """

    adapter: ClassVar[str]
    """What makes the encodings, and the version of preprocessing and arithmetic of its encoder, as ``sam 1``: it rises
    with every change that changes a bit of an encoding."""
    libraries: ClassVar[tuple[str, ...]] = ("torch", "pillow")
    """What computes, besides sambench: other versions of it round otherwise."""
    parts: ClassVar[tuple[str, ...]]
    """The names of what :meth:`features` answers."""

    def __init__(
        self, found: WeightsInfo, options: PromptOptions, device: str, encode_batch: int, *variant: str
    ) -> None:
        self.name, self.trained_on, self.weights_digest = found.name, found.trained_on, found.weights_digest
        self.device = torch.device(device)
        gpu = self.device.type != "cpu"
        self.encode_batch = encode_batch or (GPU_IMAGES if gpu else CPU_IMAGES)
        self.prompt_batch = options.prompt_batch or (GPU_PROMPTS if gpu else CPU_PROMPTS)
        libraries = (f"{library}={version(library)}" for library in self.libraries)
        self.encoding_key = " ".join((self.adapter, *variant, *libraries))

    @abstractmethod
    def frame(self, size: tuple[int, int]) -> FrameT:
        """The place of an image of ``(H, W)`` in the input."""

    @abstractmethod
    def features(self, pixels: Tensor) -> Sequence[Tensor]:
        """``(B, 3, S, S)`` float32 to all that is needed of the images, each ``(B, ...)`` float32."""

    @abstractmethod
    def view(self, image: Image, frame: FrameT, features: Sequence[Tensor]) -> ViewT:
        """The view of one image. ``features``: each ``(1, ...)`` float32 on the device."""

    @abstractmethod
    def features_of(self, view: ViewT) -> Sequence[Tensor]:
        """What :meth:`view` was given."""

    def prepare(self, image: Image) -> Prepared[FrameT]:
        frame = self.frame((image.shape[0], image.shape[1]))
        pixels = frame.pixels(image)
        return Prepared(image, frame, pixels.pin_memory() if self.device.type == "cuda" else pixels)

    def encode(self, images: Sequence[Image]) -> list[ViewT]:
        """One forward of the encoder for all ``images``, of several with fewer where memory runs out."""
        return self.encode_prepared([self.prepare(image) for image in images])

    def encode_prepared(self, prepared: Sequence[Prepared[FrameT]]) -> list[ViewT]:
        """The same for images that are prepared."""
        return [view for part in in_halves(self, self._encoded, prepared) for view in part]

    @torch.inference_mode()
    def _encoded(self, prepared: Sequence[Prepared[FrameT]]) -> list[ViewT]:
        pixels = torch.empty((len(prepared), *prepared[0].pixels.shape), device=self.device)
        for slot, one in zip(pixels, prepared, strict=True):
            slot.copy_(one.pixels, non_blocking=True)
        with exact_convolutions():
            features = self.features(pixels)
        return [
            self.view(one.image, one.frame, [feature[i : i + 1] for feature in features])
            for i, one in enumerate(prepared)
        ]

    def crops_of(self, image: Image, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[ViewT]:
        """The ``crops`` of a view of ``image``, see :class:`sambench.core.model.View`: as many encoded at once as
        images."""
        for start in range(0, len(boxes), self.encode_batch):
            part = boxes[start : start + self.encode_batch]
            yield from self.encode([np.ascontiguousarray(image[y0:y1, x0:x1]) for x0, y0, x1, y1 in part])

    def encoding(self, view: ViewT) -> dict[str, NDArray[np.float32]]:
        """See :meth:`sambench.core.model.Model.encoding`. A name ends in the order of the axes in memory if it is
        not the usual one, as ``fine 0231``: the same numbers in another order are added up in another order."""
        found = {}
        for name, feature in zip(self.parts, self.features_of(view), strict=True):
            order = _in_memory(feature)
            usual = order == sorted(order)
            key = name if usual else f"{name} {''.join(map(str, order))}"
            found[key] = np.ascontiguousarray(feature.permute(order).cpu().numpy())
        return found

    def view_of(self, image: Image, encoding: Mapping[str, NDArray[Any]]) -> ViewT:
        """See :meth:`sambench.core.model.Model.view_of`. Raises ValueError if the encoding is of another kind."""
        held = {}
        for key, values in encoding.items():
            name, _, order = key.partition(" ")
            # Copied into memory of torch's own, aligned as everything that it computes: it may round otherwise.
            kept = torch.empty(values.shape, device=self.device).copy_(torch.from_numpy(np.array(values, np.float32)))
            held[name] = kept.permute(*np.argsort([int(axis) for axis in order]).tolist()) if order else kept
        if sorted(held) != sorted(self.parts):
            raise ValueError(f"an encoding of {self.name} has {', '.join(self.parts)}, this one {', '.join(held)}")
        frame = self.frame((image.shape[0], image.shape[1]))
        return self.view(image, frame, [held[name] for name in self.parts])


def _in_memory(tensor: Tensor) -> list[int]:
    """The axes from that of the longest stride to that of the shortest. Those of one element have their place too: by
    all strides torch chooses between ways of computing that round differently."""
    strides = tensor.stride()
    return sorted(range(tensor.ndim), key=lambda axis: (-strides[axis], tensor.shape[axis] == 1))
