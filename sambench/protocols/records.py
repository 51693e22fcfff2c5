"""The records of a task: their columns declared, the rules of a run signed, list columns read back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def columns(kind: pa.DataType, *names: str) -> Iterator[tuple[str, pa.DataType]]:
    """Columns of one type, for ``pa.schema``."""
    return ((name, kind) for name in names)


def signature(*rules: object) -> str:
    """The rules that make a number what it is, joined; one that is false in a condition is not in force."""
    return "|".join(str(rule) for rule in rules if rule)


def flat(records: pa.Table, name: str) -> NDArray[Any]:
    """The values of a list column, all rows one after the other."""
    values: NDArray[Any] = records.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values


def lengths(records: pa.Table, name: str) -> NDArray[np.int64]:
    """How many values each row of a list column holds."""
    found: NDArray[np.int64] = records.column(name).combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
    return found
