"""BSDS500 as its mirror lies on disk: parallel trees of photographs and .mat files, and what else is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from helpers.tiny_datasets import photo, save

IDS = {"test": ("100007", "2018"), "val": ("3063",), "train": ("8068",)}
"""By split. The first of test is 24 x 32, all others are 32 x 24 (height x width)."""


def size_of(id: str) -> tuple[int, int]:
    return (24, 32) if id == "100007" else (32, 24)


def drawn(id: str, people: int = 2) -> list[np.ndarray[Any, Any]]:
    """What each person drew: a line across the image, in row 10 + k of person k."""
    maps = [np.zeros(size_of(id), np.uint8) for _ in range(people)]
    for k, boundaries in enumerate(maps):
        boundaries[10 + k] = 1
    return maps


def build(root: Path) -> None:
    """``root/BSDS500/data``: two people for each image, three for 2018."""
    for split, ids in IDS.items():
        for id in ids:
            height, width = size_of(id)
            save(root / "BSDS500" / "data" / "images" / split / f"{id}.jpg", photo(height, width), quality=95)
            truth = root / "BSDS500" / "data" / "groundTruth" / split / f"{id}.mat"
            write_mat(truth, drawn(id, 3 if id == "2018" else 2))
        (root / "BSDS500" / "data" / "images" / split / "Thumbs.db").write_bytes(b"x")
    (root / "BSDS500" / "ucm2" / "test").mkdir(parents=True)


def write_mat(path: Path, boundaries: Sequence[np.ndarray[Any, Any]], field: str = "Boundaries", **how: Any) -> None:
    """A 1 x K cell array of structs; boundaries are logical, segmentations are the two sides of the line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    people = np.empty((1, len(boundaries)), object)
    for k, drawn_by in enumerate(boundaries):
        sides = np.cumsum(drawn_by.any(axis=1, keepdims=True) * np.ones_like(drawn_by, np.uint16), axis=0) + 1
        people[0, k] = {"Segmentation": sides.astype(np.uint16), field: drawn_by}
    scipy.io.savemat(path, {"groundTruth": people}, **{"do_compression": True, **how})
