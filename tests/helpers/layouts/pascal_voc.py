"""PASCAL VOC 2012 as its archive unpacks: palette PNGs, instance numbers that collide in grey, a void band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.tiny_datasets import photo, save
from PIL import Image

VOID = 255


def build(root: Path) -> None:
    """Two images of 40 x 60 in val, one in train, under ``root/pascal_voc``."""
    at = root / "pascal_voc" / "VOCdevkit" / "VOC2012"
    instances, classes = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    instances[2:12, 2:22], classes[2:12, 2:22] = 1, 15
    # Instance 16 has another colour than instance 1, and the same grey; its class map is a little displaced.
    instances[20:30, 2:12], classes[21:30, 2:12] = 16, 12
    instances[20:30, 30:40], classes[20:30, 30:40] = 2, 15
    instances[12:14, 2:22] = classes[12:14, 2:22] = VOID
    one, one_class = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    one[0:40, 0:30], one_class[0:40, 0:30] = 1, 1
    maps = {"2007_000033": (instances, classes), "2007_000061": (one, one_class), "2007_000032": (one, one_class)}
    for name, (instance_map, class_map) in maps.items():
        save(at / "JPEGImages" / f"{name}.jpg", photo(40, 60), quality=95)
        write_palette(at / "SegmentationObject" / f"{name}.png", instance_map)
        write_palette(at / "SegmentationClass" / f"{name}.png", class_map)
    lists = at / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("2007_000033\n2007_000061\n")
    (lists / "train.txt").write_text("2007_000032\n")
    (lists / "trainval.txt").write_text("2007_000032\n2007_000033\n2007_000061\n")


def write_palette(path: Path, indices: np.ndarray) -> None:
    """A PNG of indices with PASCAL VOC's colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(indices, mode="P")
    picture.putpalette([part for number in range(256) for part in colour(number)])
    picture.save(path)


def colour(number: int) -> tuple[int, int, int]:
    """Of the development kit's VOClabelcolormap: the number's bits dealt out to red, green and blue in turn."""
    rgb = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            rgb[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return (rgb[0], rgb[1], rgb[2])
