"""Cityscapes val: 16-bit instance ids with stuff, void, groups, and a car in two pieces; the test split's dummies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.tiny_datasets import photo, save, write_json

HEIGHT, WIDTH = 40, 80
FIRST, SECOND = "frankfurt_000000_000294", "lindau_000001_000019"


def first() -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """Values 1, 3, 7, 11, 24, 26000, 26001."""
    ids = np.full((HEIGHT, WIDTH), 7, np.uint16)  # road
    ids[:20] = 11  # building
    ids[35:] = 1  # ego vehicle
    ids[:, 78:] = 3  # out of roi
    ids[22:28, 10:30] = 26000
    ids[22:30, 40:54] = 26001
    ids[22:30, 44:48] = 24  # people as a group, in front of the car
    return ids


def second() -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """Values 0, 7, 26, 25000, 29000."""
    ids = np.full((HEIGHT, WIDTH), 7, np.uint16)
    ids[:10] = 0  # unlabeled
    ids[12:20, 5:15] = 29000  # caravan: has instances, is not evaluated
    ids[25:30, 60:70] = 26  # cars as a group
    ids[12:16, 40:43] = 25000
    return ids


def build(root: Path) -> None:
    """Two images of 40 x 80 in val and one in test under ``root/cityscapes``."""
    at = root / "cityscapes"
    add(at, "val", FIRST, first())
    add(at, "val", SECOND, second())
    withheld = np.ones((HEIGHT, WIDTH), np.uint16)
    withheld[2:38, 2:78] = 0
    add(at, "test", "berlin_000000_000019", withheld)
    for name in ("README", "license.txt"):
        (at / name).write_text("as in both archives\n")


def add(at: Path, split: str, id: str, ids: np.ndarray[tuple[int, int], np.dtype[np.uint16]]) -> None:
    """An image and the four files of its annotation."""
    city = id.split("_")[0]
    save(at / "leftImg8bit" / split / city / f"{id}_leftImg8bit.png", photo(HEIGHT, WIDTH))
    labels = at / "gtFine" / split / city
    save(labels / f"{id}_gtFine_instanceIds.png", ids)
    classes = np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)
    save(labels / f"{id}_gtFine_labelIds.png", classes)
    save(labels / f"{id}_gtFine_color.png", np.dstack([classes * 7, classes * 5, classes, np.full_like(classes, 255)]))
    write_json(labels / f"{id}_gtFine_polygons.json", {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": []})
