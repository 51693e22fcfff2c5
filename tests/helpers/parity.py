"""Tells a difference between two implementations of a model from rounding, on every processor.

Expected answers are what the authors' code computes in float64. Ours are compared twice: in float64, where processors
agree and next to nothing is tolerated, and in float32, as models run, where some times the rounding of the authors' own
float32 is (docs/parity/rounding.md). ``float64`` serves where the authors' code runs, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

SPREAD = 1e-6
"""Tolerated in any case: this part of the standard deviation of what is compared, and float32's rounding of what is
kept. A norm's epsilon of 1e-5 in place of 1e-6 changes what it norms by at least 4.5e-6 of its standard deviation."""
TIMES = 4.0
"""Tolerated in float32: so many times the rounding of the reference."""
COMMON = 0.95
"""The rounding of this part of the values is held to its own limit: single places can be much farther off, because
layer norms over few channels, and each answer that is fed back, make much of it."""
PRECISIONS = ("float32", "float64")
MISTAKES = ("epsilon", "bias", "pixel")
"""What a comparison has to find: another epsilon in one norm, one bias missing, an input shifted by a pixel."""


class Comparison:
    """``margins``: by kind of value, the largest difference over what is tolerated; above 1 where ours is not theirs.

    ``rounding``: by kind, what 95 % of the reference's float32 answers are off at most, and the largest; empty to
    compare in float64.
    """

    def __init__(self, rounding: Mapping[str, NDArray[Any]]) -> None:
        self.rounding = rounding
        self.margins: dict[str, float] = {}

    @property
    def worst(self) -> float:
        """The largest margin of all kinds."""
        return max(self.margins.values())

    def values(self, kind: str, found: NDArray[Any], expected: NDArray[Any], spread: float | None = None) -> None:
        """``spread``: the standard deviation, if it is not that of ``expected``."""
        assert found.shape == expected.shape
        difference = np.abs(found.astype(np.float64) - expected)
        common, largest = self._tolerated(kind, expected, spread)
        self._seen(kind, float(np.quantile(difference, COMMON)) / common)
        self._seen(kind, float(difference.max()) / largest)

    def pixels(self, kind: str, mask: NDArray[np.bool_], values: NDArray[Any], level: float = 0.0) -> None:
        """A mask, which is to be where ``values`` are above ``level``, or so close to it that rounding may decide."""
        assert mask.shape == values.shape
        away = np.abs(values[mask != (values > level)].astype(np.float64) - level)
        self._seen(kind, float(away.max(initial=0)) / self._tolerated(kind, values, None)[1])

    def area(self, kind: str, area: int, expected: int, values: NDArray[Any], level: float) -> None:
        """The number of pixels above ``level``, given our values: as many may differ as rounding may decide."""
        tolerated = self._tolerated(kind, values, None)[1]
        unsure = int((np.abs(values.astype(np.float64) - level) < tolerated).sum())
        self.equal(kind, abs(area - expected) <= unsure)

    def equal(self, kind: str, same: bool) -> None:
        """What rounding must not change."""
        self._seen(kind, 0.0 if same else np.inf)

    def _seen(self, kind: str, margin: float) -> None:
        self.margins[kind] = max(self.margins.get(kind, 0.0), margin)

    def _tolerated(self, kind: str, expected: NDArray[Any], spread: float | None) -> tuple[float, float]:
        least = SPREAD * float(expected.std() if spread is None else spread)
        least += float(np.finfo(np.float32).eps * np.abs(expected).max())
        common, largest = (TIMES * float(value) for value in self.rounding.get(kind, (0.0, 0.0)))
        return max(common, least), max(largest, least)


def rounding_of(expected: Mapping[str, NDArray[Any]], prefix: str = "rounding_") -> dict[str, NDArray[Any]]:
    """What is kept beside the expected answers of a case."""
    return {key.removeprefix(prefix): value for key, value in expected.items() if key.startswith(prefix)}


def measured_rounding(float32: NDArray[Any], float64: NDArray[Any]) -> NDArray[np.float64]:
    """Of a reference, from whole answers: what 95 % of the values are off at most, and the largest."""
    difference = np.abs(float32.astype(np.float64) - float64)
    return np.array([np.quantile(difference, COMMON), difference.max()])


# Float64 -------------------------------------------------------------------------------------------------------------


def computing(precision: str) -> Any:
    """Within it torch computes in a precision of :data:`PRECISIONS`."""
    return float64() if precision == "float64" else nullcontext()


@contextmanager
def float64() -> Iterator[None]:
    """Within it torch computes in float64 whatever code asks to be float32, that of the authors and ours alike."""
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64():
            yield
    finally:
        torch.set_default_dtype(torch.float32)


class _Float64(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Files of weights are float32: ``torch.load`` gives an empty tensor their storage, safetensors views bytes.
        loading = func is torch.ops.aten.empty.memory_format and list(args[0]) == [0]
        if loading or func is torch.ops.aten.view.dtype:
            return func(*args, **kwargs)
        written = {a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
        names = [a.name for a in func._schema.arguments]
        args = [a if name in written else tree_map(_widened, a) for name, a in zip(names, args, strict=False)]
        return func(*args, **{k: v if k in written else tree_map(_widened, v) for k, v in kwargs.items()})


def _widened(value: Any) -> Any:
    if value is torch.float32:
        return torch.float64
    if isinstance(value, torch.Tensor) and value.dtype is torch.float32:
        return value.double()
    return value


# Mistakes ------------------------------------------------------------------------------------------------------------


def mistaken(network: torch.nn.Module, mistake: str, norm: str, bias: str) -> None:
    """Makes one of :data:`MISTAKES` in a network with its weights; ``norm``, ``bias``: names of a module and of a
    parameter of it. The shifted pixel is :func:`shifted`'s."""
    if mistake == "epsilon":
        module: Any = network.get_submodule(norm)
        tensorflow = isinstance(module, torch.nn.BatchNorm2d)  # which has another one for batch norms
        module.eps = 1e-3 if tensorflow else 1e-5 if module.eps == 1e-6 else 1e-6
    elif mistake == "bias":
        with torch.inference_mode():
            network.get_parameter(bias).zero_()


def shifted(image: NDArray[np.uint8], mistake: str) -> NDArray[np.uint8]:
    """The image, one pixel to the right if that is the mistake."""
    return np.roll(image, 1, axis=1) if mistake == "pixel" else image
