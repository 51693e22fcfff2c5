"""The encodings of a worker: looked up in the cache, restored, kept."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.core.model import Model, View
from sambench.engine.encoding_cache import EncodingCache, key_of, rounded
from sambench.engine.inbox import AHEAD
from sambench.engine.job import Job


class Encodings:
    """Keeps the encodings of one job's images between runs, and rounds them, where the job asks for it.

    Does nothing for a model whose encodings cannot be kept (:attr:`sambench.core.model.Model.encoding_key`).
    """

    def __init__(self, job: Job, model: Model) -> None:
        self._model = model if model.encoding_key else None
        self._rounds = job.rounding != "float32" and self._model is not None
        self._rounding = job.rounding
        self._cache: EncodingCache | None = None
        self._slots = job.encode_batch > 1 and not model.batch_invariant
        self._writer: ThreadPoolExecutor | None = None
        self._writing: deque[Future[None]] = deque()
        if job.encodings is None:
            return
        if self._model is None:
            _say(f"{job.model.name} has no encodings to keep: encoding every image")
            return
        self._cache = EncodingCache(job.encodings, _say)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="keep")
        self._parts = (
            model.weights_digest,
            self._model.encoding_key,
            job.rounding,
            # All else that can change the last bit of an encoding.
            job.device.partition(":")[0],
            str(job.threads),
            str(job.encode_batch),
            _arithmetic(job.device),
        )

    def find(self, image: NDArray[np.uint8], place: int) -> tuple[str, Mapping[str, NDArray[Any]] | None]:
        """The key of an image's encoding, and the encoding if the cache has it. Safe on any thread."""
        if self._cache is None:
            return "", None
        key = key_of(image, *self._parts, str(place) if self._slots else "")
        return key, self._cache.get(key)

    def restored(self, image: NDArray[np.uint8], encoding: Mapping[str, NDArray[Any]]) -> View:
        assert self._model is not None
        return self._model.view_of(image, encoding)

    def keep(self, key: str, image: NDArray[np.uint8], view: View) -> View:
        """Keeps an encoding under its key, on a thread, unless the key is empty. Returns the view to use."""
        cache, writer = self._cache, self._writer
        if self._model is None or not (self._rounds or (key and cache)):
            return view
        encoding = self._model.encoding(view)
        if key and cache is not None and writer is not None:
            while len(self._writing) >= AHEAD * 4 or (self._writing and self._writing[0].done()):
                self._writing.popleft().result()
            self._writing.append(writer.submit(cache.put, key, encoding))
        return self._model.view_of(image, rounded(encoding, self._rounding)) if self._rounds else view

    def close(self) -> None:
        """Waits until all are written."""
        while self._writing:
            self._writing.popleft().result()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arithmetic(device: str) -> str:
    """What the last bits of a sum depend on besides its terms."""
    if "torch" not in sys.modules:
        return ""
    import torch

    if device != "cpu":
        return f"{torch.__version__} {torch.cuda.get_device_name(device)}"
    return f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()}"
