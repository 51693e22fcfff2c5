"""How inner loops are compiled. Loading numba takes a second: import modules that use this where they are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile for numpy arrays and plain numbers, without the GIL, and keep the machine code on disk where numba finds
    a folder that can be written. What such a function calls must be compiled too, and best stand in the same file:
    the code on disk is renewed when that file changes, not when another does.

    No ``fastmath`` and no ``parallel``: the same input gives the same bits on one thread or many.
    """
    machine_code: Function
    try:
        machine_code = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        machine_code = numba.njit(nogil=True)(function)
    return machine_code
