"""The network of RITM (Sofiiuk et al., arXiv 2102.06583): HRNet with an OCR head that sees clicks and its previous
answer besides the image.

After the authors' ``isegm/model/is_model.py`` and ``is_hrnet_model.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sambench.models.interactive.hrnet import HighResolutionNet, folded


@dataclass(frozen=True)
class Architecture:
    """What a checkpoint's configuration says that changes an answer; the words are the authors', but for ``mean`` and
    ``std``, of the RGB channels in [0, 1]."""

    width: int
    ocr_width: int
    small: bool
    with_prev_mask: bool
    use_leaky_relu: bool
    norm_radius: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class RitmNetwork(nn.Module):
    """A :class:`sambench.models.interactive.click_predictor.ClickNetwork`; parameters have the names of the authors'
    checkpoints."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.layout = torch.contiguous_format
        self.with_prev_mask = architecture.with_prev_mask
        # Not buffers: the checkpoints do not hold them. Named devices keep them real on the meta device.
        self.mean, self.std = (
            torch.tensor(values, device="cpu").view(1, 3, 1, 1) for values in (architecture.mean, architecture.std)
        )
        self.maps_transform = nn.Sequential(
            nn.Conv2d(3 if self.with_prev_mask else 2, 16, 1),
            nn.LeakyReLU(0.2) if architecture.use_leaky_relu else nn.ReLU(),
            nn.Conv2d(16, 64, 3, stride=2, padding=1),
            Scale(),
        )
        self.feature_extractor = HighResolutionNet(architecture.width, architecture.ocr_width, architecture.small)

    def forward(self, image: Tensor, previous: Tensor, clicks: Tensor) -> Tensor:
        """``image``: ``(B, 3, h, w)`` in [0, 1]. ``previous``: ``(B, 1, h, w)``. ``clicks``: ``(B, 2, h, w)``. Answers
        ``(B, 1, ceil(h/4), ceil(w/4))`` logits."""
        maps = torch.cat([previous, clicks], 1) if self.with_prev_mask else clicks
        image = (image - self.mean.to(image.device)) / self.std.to(image.device)
        logits: Tensor = self.feature_extractor(
            image.contiguous(memory_format=self.layout),
            self.maps_transform(maps.contiguous(memory_format=self.layout)),
        )
        return logits

    def prepared(self, device: str) -> RitmNetwork:
        """This network, once its weights are in, for inference on a device: moved, and arranged for speed."""
        module: Any = folded(self)
        # A CPU's convolutions are faster with the channels of a pixel side by side.
        self.layout = torch.channels_last if device == "cpu" else torch.contiguous_format
        module.to(device=device, memory_format=self.layout)
        return self


class Scale(nn.Module):
    """One learned factor, of which the absolute value counts."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 0.05))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.abs()
