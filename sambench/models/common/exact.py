"""Float32 that is float32, also on a GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch


def exact_convolutions() -> AbstractContextManager[Any]:
    """cuDNN would round a float32 convolution to TF32 unless told otherwise, and may pick algorithms by timing."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
