"""Going on with fewer at once where memory runs out, and how many images fit: the device is a fake."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sambench.models.common.memory import fitting_batch, in_halves, is_out_of_memory


def test_a_real_allocation_that_fails() -> None:
    with pytest.raises(RuntimeError) as torch_said:
        torch.empty(1 << 47)
    assert is_out_of_memory(torch_said.value)
    with pytest.raises(MemoryError) as numpy_said:
        np.empty(1 << 50)
    assert is_out_of_memory(numpy_said.value)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("The size of tensor a (2) must match the size of tensor b (3)"), False),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_what_is_told_apart(error: Exception, told: bool) -> None:
    assert is_out_of_memory(error) is told


def _model(device: str = "cpu") -> SimpleNamespace:
    return SimpleNamespace(device=torch.device(device), halved=0)


class _Limited:
    """Answers its items, unless they are more than ``limit``."""

    def __init__(self, limit: int) -> None:
        self.limit, self.sizes = limit, list[int]()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.sizes.append(len(items))
        if len(items) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(items)


def test_halves_until_it_fits_and_stays_there() -> None:
    """Of 10 items 10 and 5 are too many; 3 at a time makes 3, 3, 3 and 1."""
    model, call = _model(), _Limited(4)
    assert in_halves(model, call, range(10)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert call.sizes == [10, 5, 3, 3, 3, 1]
    assert model.halved == 2


def test_no_more_at_once_than_asked_for() -> None:
    model, call = _model(), _Limited(4)
    assert in_halves(model, call, [5, 6, 7, 8, 9], at_once=2) == [[5, 6], [7, 8], [9]]
    assert model.halved == 0
    assert in_halves(model, call, []) == []


@given(n=st.integers(0, 70), limit=st.integers(1, 70), at_once=st.none() | st.integers(1, 80))
def test_every_item_is_answered_once_in_order(n: int, limit: int, at_once: int | None) -> None:
    call = _Limited(limit)
    answers = in_halves(_model(), call, range(n), at_once)
    assert [item for answer in answers for item in answer] == list(range(n))
    assert max(map(len, answers), default=0) <= min(limit, at_once or n)


def test_one_that_does_not_fit_is_an_error_and_so_is_any_other() -> None:
    model = _model()
    with pytest.raises(torch.OutOfMemoryError):
        in_halves(model, _Limited(0), range(4))
    assert model.halved == 2
    with pytest.raises(ZeroDivisionError):
        in_halves(model, lambda items: 1 // 0, range(4))
    assert model.halved == 2


@pytest.mark.parametrize(("device", "freed"), [("cpu", 0), ("cuda", 1)])
def test_a_gpu_is_freed_when_nothing_holds_the_failed_call(
    device: str, freed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: handled.append(sys.exc_info()[1]))
    in_halves(_model(device), _Limited(1), range(2))
    assert handled == [None] * freed


class _Gpu:
    """A device of ``size`` bytes on which a model takes ``fixed`` and ``each`` per image."""

    def __init__(self, size: int, fixed: int, each: int) -> None:
        self.size, self.fixed, self.each, self.peak = size, fixed, each, 0
        self.halved = 0

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[int]:
        needed = self.fixed + self.each * len(images)
        if needed > self.size:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.peak = 7 + needed
        return [0] * len(images)


def _fitting(gpu: _Gpu, monkeypatch: pytest.MonkeyPatch) -> int:
    for name, answer in (
        ("empty_cache", lambda: None),
        ("synchronize", lambda device: None),
        ("reset_peak_memory_stats", lambda device: None),
        ("memory_allocated", lambda device: 7),
        ("max_memory_allocated", lambda device: gpu.peak),
        ("mem_get_info", lambda device: (gpu.size, 2 * gpu.size)),
    ):
        monkeypatch.setattr(f"torch.cuda.{name}", answer)
    return fitting_batch(gpu, "cuda")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # 10 + 5 n bytes, of which 80 % of the size are there: 170 for 32 images, 90 for 16, 20 for 2.
        (213, 32),
        (212, 16),  # 169.6
        (113, 16),
        (112, 8),  # 89.6
        (25, 2),
        (24, 1),  # 19.2, though two do fit for once
        (19, 1),  # two do not fit at all
    ],
)
def test_the_most_images_that_fit(size: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _fitting(_Gpu(size, 10, 5), monkeypatch) == expected


def test_two_images_one_after_the_other_do_not_count_as_two(monkeypatch: pytest.MonkeyPatch) -> None:
    class Halving(_Gpu):
        def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[int]:
            self.halved += len(images) > 1
            return super().encode(images[:1])

    assert _fitting(Halving(1000, 10, 5), monkeypatch) == 1


def test_another_error_is_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = _Gpu(1000, 10, 5)
    monkeypatch.setattr(gpu, "encode", lambda images: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        _fitting(gpu, monkeypatch)


def test_one_at_a_time_on_a_cpu() -> None:
    assert fitting_batch(_Gpu(1000, 10, 5), "cpu") == 1  # type: ignore[arg-type]
