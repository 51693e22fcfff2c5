"""Sets of masks of one image as run lengths, for counting without pixels.

Format: COCO's run-length code (pycocotools' ``maskApi.c``): column by column, background first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench import masks
from sambench.core.mask import Mask


@dataclass(frozen=True, eq=False)
class RunLengths:
    """N masks of one image.

    Attributes:
        size: ``(H, W)``.
        area: ``(N,)`` int64, foreground pixels.
        box: ``(N, 4)`` int64 xyxy in pixels, right and bottom exclusive, zeros if empty.
        edges: int32 column-major pixels at which foreground runs begin and end (exclusive), alternately; those of mask
            n are ``edges[first[n] : first[n + 1]]``.
        first: ``(N + 1,)`` int64, positions in ``edges``.
    """

    size: tuple[int, int]
    area: NDArray[np.int64]
    box: NDArray[np.int64]
    edges: NDArray[np.int32]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.area)


class BadCodesError(ValueError):
    """Some codes are not masks of the image; the message states the problem of the first.

    Attributes:
        places: Positions of the bad codes.
    """

    def __init__(self, places: Sequence[int], problem: str) -> None:
        super().__init__(problem)
        self.places = places


def from_codes(codes: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> RunLengths:
    """Decode COCO's codes ``{"size": [H, W], "counts": str or bytes or run lengths}``.

    Args:
        codes: N codes.
        size: ``(H, W)`` of the image.

    Raises:
        BadCodesError: A code of another size than the image's, whose runs do not add up to H·W, or malformed.
    """
    from sambench.metrics import coco_kernels as kernels

    texts = [_text(code, size) for code in codes]
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=starts[1:])
    edges, first, sound = kernels.decode_codes(np.frombuffer(b"".join(texts), np.uint8), starts, size[0] * size[1])
    if not sound.all():
        places = np.flatnonzero(~sound).tolist()
        raise BadCodesError(places, _problem(codes[places[0]], size))
    return _of_edges(size, edges, first)


def from_masks(given: Sequence[Mask], size: tuple[int, int]) -> RunLengths:
    """Encode masks.

    Args:
        given: N masks.
        size: ``(H, W)`` of the image.

    Raises:
        ValueError: A mask has another size.
    """
    from sambench.metrics import coco_kernels as kernels

    parts = []
    first = np.zeros(len(given) + 1, np.int64)
    for place, mask in enumerate(given):
        if mask.size != size:
            raise ValueError(
                f"mask {place} is of {mask.size[1]} x {mask.size[0]} pixels, the image of {size[1]} x {size[0]}"
            )
        edges = np.empty(kernels.count_edges(mask.window), np.int32)
        n = kernels.find_edges(mask.window, mask.top, mask.left, size[0], edges)
        parts.append(edges[:n])
        first[place + 1] = first[place] + n
    return _of_edges(size, np.concatenate(parts) if parts else np.empty(0, np.int32), first)


def _of_edges(size: tuple[int, int], edges: NDArray[np.int32], first: NDArray[np.int64]) -> RunLengths:
    from sambench.metrics import coco_kernels as kernels

    return RunLengths(size, *kernels.areas_and_boxes(edges, first, size[0]), edges, first)


def _text(code: Any, size: tuple[int, int]) -> bytes:
    """The compressed counts of a code; an empty text, which is no sound code, if it has none or another size."""
    try:
        height, width = code["size"]
        counts = code["counts"]
        if (height, width) != size:
            return b""
        if isinstance(counts, list):
            counts = masks.to_rle(masks.from_rle(code))["counts"]
        return counts.encode("ascii") if isinstance(counts, str) else bytes(memoryview(counts))
    except (KeyError, TypeError, ValueError):
        return b""


def _problem(code: Any, size: tuple[int, int]) -> str:
    """Why a code is no mask of an image of this size."""
    if not isinstance(code, Mapping):
        return f"a run-length code {{size, counts}} is wanted, not {type(code).__name__}"
    try:
        mask = masks.from_rle(dict(code))
    except (TypeError, ValueError) as error:
        return str(error)
    return f"the mask is of {mask.size[1]} x {mask.size[0]} pixels, the image of {size[1]} x {size[0]}"
