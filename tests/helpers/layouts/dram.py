"""DRAM, test: paintings below movement and artist, labels under the same paths, a list of names."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from helpers.tiny_datasets import photo, save
from PIL import Image

SIZE = (40, 60)
HARE = "expressionism/franz-marc-wiki/Franz-marc-the-fear-of-the-hare"
TEST = "realism/test-labels/a. b é"
BOTTLE = "unseen/rococo/anne-vallayer-coster/a. b é"
BARE = "realism/nobody/landscape"


def build(root: Path) -> None:
    """Persons in two pieces with void around; a bird and a horse beside an aeroplane, under a name with dots, a blank,
    a letter in decomposed form, and the words test and labels; the same name unseen, in grey and in colours of
    PASCAL VOC; a landscape without any of the classes."""
    at = root / "dram" / "DRAM_processed"
    decomposed = unicodedata.normalize("NFD", TEST)
    for id in (HARE, decomposed, BARE):
        save(at / "test" / f"{id}.jpg", photo(*SIZE))
    save(at / "test" / f"{BOTTLE}.jpg", photo(*SIZE)[:, :, 0])
    save(at / "train" / "realism" / "somebody" / "x.jpg", photo(*SIZE))

    persons = boxes([(15, 2, 2, 10, 5), (255, 12, 2, 1, 5), (15, 2, 30, 10, 5)])
    indexed(at / "labels" / f"{HARE}.png", persons)
    animals = boxes([(3, 0, 0, 4, 4), (13, 20, 20, 6, 10), (1, 30, 0, 5, 5)])
    save(at / "labels" / f"{decomposed}.png", animals)
    in_colours = np.zeros((*SIZE, 3), np.uint8)
    in_colours[5:15, 5:11] = (128, 0, 128)
    in_colours[15, 5:11] = (224, 224, 192)
    save(at / "labels" / f"{BOTTLE}.png", in_colours)
    save(at / "labels" / f"{BARE}.png", boxes([(2, 0, 0, 3, 3)]))

    (at / "test" / "dram_with_unseen.txt").write_text(f"{HARE}\n{TEST}\n{BOTTLE}\n{BARE}\n", encoding="utf-8")
    (at / "test" / "realism.txt").write_text(f"{TEST}\n", encoding="utf-8")


def boxes(values: list[tuple[int, int, int, int, int]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """From (value, top, left, height, width), later ones over earlier ones."""
    out = np.zeros(SIZE, np.uint8)
    for value, top, left, height, width in values:
        out[top : top + height, left : left + width] = value
    return out


def indexed(path: Path, values: Any) -> None:
    """A palette PNG whose colours say nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values, mode="P")
    image.putpalette([(7 * k) % 256 for k in range(768)])
    image.save(path)
