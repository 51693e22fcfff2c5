"""The compiled loop that finds objects and arrays in JSON text, a block at a time."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from sambench.numba_cache import compiled

_QUOTE, _BACKSLASH = 34, 92
_OPEN_OBJECT, _CLOSE_OBJECT, _OPEN_ARRAY, _CLOSE_ARRAY = 123, 125, 91, 93


@compiled
def scan(block: NDArray[Any], at: int, base: int, state: NDArray[Any], rows: NDArray[Any]) -> tuple[int, int]:
    """Read on from byte ``at`` of a block until it ends or ``rows`` is full.

    ``block``: ``(B,)`` uint8, the bytes of the file from ``base`` on. ``state``: ``(5,)`` int64, zeros at the
    beginning of the file and kept between calls: depth (-1 after a bracket that closes nothing), inside a text, after
    a backslash, where the last container of depth 1 and 2 began. ``rows``: ``(R, 3)`` int64, filled with start, end
    and depth of each container of depth 1 or 2 that closes (the outermost has depth 0).
    Returns the byte to read on from and the number of rows.
    """
    depth, in_text, escaped = state[0], state[1] != 0, state[2] != 0
    n = 0
    i = at
    while i < len(block) and n < len(rows) and depth >= 0:
        byte = block[i]
        if in_text:
            if escaped:
                escaped = False
            elif byte == _BACKSLASH:
                escaped = True
            elif byte == _QUOTE:
                in_text = False
        elif byte == _QUOTE:
            in_text = True
        elif byte in (_OPEN_OBJECT, _OPEN_ARRAY):
            if depth in (1, 2):
                state[2 + depth] = base + i
            depth += 1
        elif byte in (_CLOSE_OBJECT, _CLOSE_ARRAY):
            depth -= 1
            if depth in (1, 2):
                rows[n, 0] = state[2 + depth]
                rows[n, 1] = base + i + 1
                rows[n, 2] = depth
                n += 1
        i += 1
    state[0], state[1], state[2] = depth, in_text, escaped
    return i, n
