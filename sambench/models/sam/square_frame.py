"""Between the pixels of an image and the square input of SAM 2 and its successors.

Equal to their released predictors (sam2: utils/transforms.py; sam3: model/sam3_image_processor.py): the whole image
becomes S x S whatever its shape, with the antialiased bilinear filter, and is normalised; nothing is padded; logits go
to the original size bilinearly in one step and are foreground above 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sambench.core.mask import Image
from sambench.models.sam.sam_frame import Frame, Resampling, bilinear


@dataclass(frozen=True)
class Input:
    """What an encoder takes. ``side``: S. ``grid``: logits per side that its decoder answers. ``mean``, ``std``: of the
    RGB channels in [0, 1]. ``rounded``: pixels are whole grey levels after the resize, not before it only."""

    side: int
    grid: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    rounded: bool = False


class SquareFrame(Frame):
    """One image size and its place in the input. ``size``: ``(H, W)`` of the image."""

    def __init__(self, size: tuple[int, int], wanted: Input) -> None:
        super().__init__(size, wanted.side)
        self.input_size = (wanted.side, wanted.side)
        self.wanted = wanted

    def pixels(self, image: Image) -> Tensor:
        """``(3, S, S)`` float32 on the CPU."""
        x = torch.from_numpy(np.ascontiguousarray(image).copy()).permute(2, 0, 1)
        x = self._resized(x).float() / 255 if self.wanted.rounded else self._resized(x.float() / 255)
        return (x - torch.tensor(self.wanted.mean).view(3, 1, 1)) / torch.tensor(self.wanted.std).view(3, 1, 1)

    def _resized(self, x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(
            x[None], size=self.input_size, mode="bilinear", align_corners=False, antialias=True
        )[0]

    def to_input(self, xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(..., 2)`` xy of the image to xy of the input, both float32, rounded twice as the released code does."""
        size = np.array([self.size[1], self.size[0]], np.float32)
        return np.asarray(np.asarray(xy / size, np.float32) * np.float32(self.side), np.float32)

    @cached_property
    def _rows(self) -> Resampling:
        return Resampling(bilinear(self.wanted.grid, self.size[0]))

    @cached_property
    def _columns(self) -> Resampling:
        return Resampling(bilinear(self.wanted.grid, self.size[1]))
