"""When a device or the host has no memory left: telling so, going on with fewer at once, and how many will fit.

Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch

from sambench.core.model import Model

SHARE = 0.8
"""Of the free memory of a GPU that a batch of images may take: prompts are decoded beside it."""
CANDIDATES = (1, 2, 4, 8, 16, 32)
"""Images that :func:`fitting_batch` considers encoding at once."""

_SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""How a plain RuntimeError of torch tells that there is no memory: its allocator of host memory
(c10/core/impl/alloc_cpu.cpp), and libraries that allocate a GPU's on their own."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Halving(Protocol):
    """A model that goes on with fewer at once. ``device``: what it computes on. ``halved``: how often it had to, which
    is 0 when it is loaded and rises."""

    device: torch.device
    halved: int


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, of a device or of the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def in_halves(
    model: Halving, call: Callable[[Sequence[Item]], Answer], items: Sequence[Item], at_once: int | None = None
) -> list[Answer]:
    """What ``call`` answers to all ``items``, ``at_once`` of them at a time (None: all), a list of one answer per call.

    Where memory runs out the cache of the device is freed, ``model.halved`` rises, and from the items of that call on
    half as many are taken at a time. With one item at a time the error is raised. ``call`` may have been interrupted
    with the same items before, and must not mind. ``items`` may be a ``range``.
    """
    answers: list[Answer] = []
    start, size = 0, max(1, len(items) if at_once is None else min(at_once, len(items)))
    while start < len(items):
        try:
            answers.append(call(items[start : start + size]))
        except Exception as error:
            size = len(items[start : start + size])
            if size == 1 or not is_out_of_memory(error):
                raise
        else:
            start += size
            continue
        # Not in the handler: the error's traceback holds what the call had allocated.
        size = -(-size // 2)
        model.halved += 1
        free(model.device)
    return answers


def free(device: torch.device) -> None:
    """Gives back what torch keeps of a GPU's memory without using it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def fitting_batch(model: Model, device: str, candidates: Sequence[int] = CANDIDATES) -> int:
    """How many images a model encodes at once on a device: on a GPU the most of ``candidates`` that fit into
    :data:`SHARE` of its free memory, elsewhere 1.

    One black image and two are encoded, and the memory that they take at most tells what more of them take. The
    smallest of ``candidates`` where not even two fit, or none of the others does.
    """
    place = torch.device(device)
    if place.type != "cuda":
        return 1
    halved = model.halved
    try:
        # The first time libraries allocate what they keep.
        _, one, two = (_peak(model, n, place) for n in (1, 1, 2))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return min(candidates)
    finally:
        free(place)
    if model.halved != halved:  # two were encoded one after the other
        return min(candidates)
    free_bytes, _ = torch.cuda.mem_get_info(place)
    each, room = max(0, two - one), SHARE * free_bytes
    return max((n for n in candidates if one + (n - 1) * each <= room), default=min(candidates))


def _peak(model: Model, images: int, device: torch.device) -> int:
    """Bytes that encoding so many images takes at most, besides what was there before."""
    free(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    views = model.encode([np.zeros((1, 1, 3), np.uint8)] * images)
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    del views
    return peak
