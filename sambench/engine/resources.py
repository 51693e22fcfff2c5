"""Devices, processes, threads and batch sizes: what a run may use."""

from __future__ import annotations

import os

from sambench.errors import UsageError
from sambench.models import zoo


def device_for(model: zoo.LocatedModel, asked: str, backend: str = "local") -> str:
    """``cpu`` or ``cuda``, by what this machine or the cluster has.

    Raises UsageError if a GPU was asked for and there is none.
    """
    if not model.uses_torch:
        return "cpu"
    if asked not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {asked}: it is auto, cpu or cuda")
    if asked == "cpu":
        return "cpu"
    if backend == "ray":
        from sambench.engine import ray_workers

        if ray_workers.has_gpus():
            return "cuda"
        if asked == "cuda":
            raise UsageError("--device cuda: no node of the Ray cluster has a GPU")
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise UsageError("--device cuda: torch sees no GPU here (is it a CUDA build? see the README)")
    return "cpu"


def processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_for(model: zoo.LocatedModel, device: str) -> int:
    return processors() if model.uses_torch and device == "cpu" else 1


FITTING: dict[tuple[str, str, str], int] = {}
"""The batch sizes that fit, for the models of this process."""


def fitting_batch(model: zoo.LocatedModel, device: str) -> int:
    """How many images fit on a GPU together; see :func:`sambench.models.common.memory.fitting_batch`. Loads the
    model."""
    import torch

    from sambench.models.common import memory

    size = memory.fitting_batch(model.load(device, 1), device)
    # Workers in other processes need the memory.
    memory.free(torch.device(device))
    return size
