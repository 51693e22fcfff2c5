"""Photographs from linear colour of unlimited range."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Image

_GAMMA = 1 / 2.2
_BRIGHT = 0.8
"""Display value of the brightness that 90 % of the valid pixels do not exceed."""
_DARK = 1e-4
"""Below this, that brightness is taken for none."""


def tone_mapped(colour: NDArray[Any], valid: NDArray[np.bool_]) -> Image:
    """As ml-hypersim does for its previews (code/python/tools/scene_generate_images_tonemap.py): one exposure for the
    whole picture, from the 90th percentile of the brightness of valid pixels, then gamma 2.2.

    ``colour``: ``(H, W, 3)`` linear, any floating-point type; what is not a number counts as 0, infinity as the
    type's largest number. ``valid``: ``(H, W)``. Rounded to the nearest of 256 values.
    """
    largest = float(np.finfo(colour.dtype).max)
    linear = np.nan_to_num(colour.astype(np.float64), nan=0.0, posinf=largest, neginf=0.0).clip(0.0)
    brightness = (0.3 * linear[:, :, 0] + 0.59 * linear[:, :, 1] + 0.11 * linear[:, :, 2])[valid]
    scale = 1.0
    if len(brightness):
        bright = float(np.percentile(brightness, 90))
        scale = 0.0 if bright < _DARK else _BRIGHT ** (1 / _GAMMA) / bright
    return np.floor(((scale * linear) ** _GAMMA).clip(0.0, 1.0) * 255 + 0.5).astype(np.uint8)
