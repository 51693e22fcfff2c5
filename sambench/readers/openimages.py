"""Open Images' own files, V5 and later: tables of boxes and of masks, class names, the class tree, mask pictures.

Format: https://storage.googleapis.com/openimages/web/download_v5.html, and Open Images Extended for MIAP. Boxes in
its tables are fractions of the image's width and height.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sambench.core.mask import Mask
from sambench.errors import DataError, UsageError
from sambench.readers.files import list_folder
from sambench.readers.images import read_labels
from sambench.readers.json.file import read_json

PERSON = "/m/01g317"
CLOTHING = "/m/09j2d"


@dataclass(frozen=True, slots=True)
class Box:
    """Fractions of the image's width (x) and height (y)."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return self.width * self.height

    def iou(self, other: Box) -> float:
        """Intersection over union; 0 for two boxes without area."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        shared = max(width, 0.0) * max(height, 0.0)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0


@dataclass(frozen=True, slots=True)
class MaskRow:
    """A line of ``*-annotations-object-segmentation.csv``: ``file`` is the name of the mask picture."""

    file: str
    label: str
    box_id: str
    box: Box


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A line of ``open_images_extended_miap_boxes_*.csv``. ``gender_presentation``: ``feminine``, ``masculine`` or
    None where the annotators could not tell; ``age``: ``young``, ``middle``, ``older`` or None. Both as perceived."""

    box: Box
    group: bool
    gender_presentation: str | None
    age: str | None


_GENDERS = {"Predominantly Feminine": "feminine", "Predominantly Masculine": "masculine", "Unknown": None}
_AGES = {"Young": "young", "Middle": "middle", "Older": "older", "Unknown": None}


def read_masks(path: Path, labels: Collection[str]) -> dict[str, list[MaskRow]]:
    """The masks of the given classes by image id, in the order of the file. Raises UsageError."""
    columns = ("ImageID", "MaskPath", "LabelName", "BoxID", "BoxXMin", "BoxYMin", "BoxXMax", "BoxYMax")
    masks: dict[str, list[MaskRow]] = {}
    for where, (image, file, label, box_id, *box) in _table(path, columns):
        if label in labels:
            masks.setdefault(image, []).append(MaskRow(file, label, box_id, _box(box, where)))
    return masks


def read_people(path: Path) -> dict[str, list[PersonRow]]:
    """MIAP's boxes by image id, in the order of the file. Raises UsageError."""
    columns = ("ImageID", "IsGroupOf", "GenderPresentation", "AgePresentation", "XMin", "YMin", "XMax", "YMax")
    people: dict[str, list[PersonRow]] = {}
    for where, (image, group, gender, age, *box) in _table(path, columns):
        for value, known in ((gender, _GENDERS), (age, _AGES)):
            if value not in known:
                raise UsageError(f"{where}: {value!r} is none of {', '.join(known)}")
        people.setdefault(image, []).append(PersonRow(_box(box, where), group == "1", _GENDERS[gender], _AGES[age]))
    return people


def class_names(path: Path) -> dict[str, str]:
    """Names by class id (``/m/09j2d``), from a list of two columns with or without a header. Raises UsageError."""
    names = {row[0]: row[1] for _, row in _lines(path) if len(row) == 2 and row[0].startswith("/")}
    if not names:
        raise UsageError(f"{path}: no list of classes; expected lines such as {CLOTHING},Clothing")
    return names


def subtree(path: Path, label: str) -> frozenset[str]:
    """A class and all its subclasses, from ``bbox_labels_600_hierarchy.json``. Parts of a class are none of it.
    Raises UsageError."""
    found: set[str] = set()

    def walk(node: Any, inside: bool) -> None:
        if not isinstance(node, dict) or not isinstance(node.get("LabelName"), str):
            raise UsageError(f"{path}: not the class tree of Open Images: a node has no LabelName")
        inside = inside or node["LabelName"] == label
        if inside:
            found.add(node["LabelName"])
        for child in node.get("Subcategory", ()):
            walk(child, inside)
        for child in node.get("Part", ()):
            walk(child, False)

    walk(read_json(path, UsageError), False)
    if not found:
        raise UsageError(f"{path}: the class tree does not hold {label}")
    return frozenset(found)


def mask_files(base: Path, split: str) -> Mapping[str, Path]:
    """The mask pictures below a folder by name: in ``masks``, in ``test-masks`` (for the split ``test``), and in the
    folders for one first digit each (``test-masks-0``, ``0``, ``A``) in either or beside them."""
    digit = re.compile(rf"({re.escape(split)}-masks-)?[0-9a-fA-F]")
    packed = re.compile(rf"{re.escape(split)}-masks-[0-9a-fA-F]")
    whole = [base / name for name in ("masks", f"{split}-masks") if (base / name).is_dir()]
    places = list(whole)
    for at, named in ((base, packed), *((at, digit) for at in whole)):
        places += [at / name for name in sorted(list_folder(at)) if named.fullmatch(name) and (at / name).is_dir()]
    found: dict[str, Path] = {}
    for at in places:
        for name in list_folder(at):
            if name.endswith(".png"):
                found.setdefault(name, at / name)
    return found


def read_mask(path: Path, size: tuple[int, int]) -> Mask:
    """A mask picture, not 0 is the object, brought to the size ``(H, W)`` of its image by taking the nearest pixel.

    Most mask pictures have a long side of 1600 pixels and most images one of 1024. Raises DataError: unreadable, or
    of another shape than the image.
    """
    values = read_labels(path, first_channel=True) != 0
    height, width = values.shape
    if (height, width) == size:
        return Mask.from_dense(values)
    scale = size[1] / width
    # Both sides were rounded to whole pixels on either scale.
    if abs(height * scale - size[0]) > 1 + scale:
        raise DataError(
            f"{path}: the mask is {height} x {width} pixels, its image {size[0]} x {size[1]} (height x width): "
            "of another shape"
        )
    resized = cv2.resize(values.view(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return Mask.from_dense(resized)


def _table(path: Path, columns: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """Each line of a table with a header: where it stands, and the values of the columns."""
    lines = _lines(path)
    _, header = next(lines, (0, []))
    missing = [name for name in columns if name not in header]
    if missing:
        raise UsageError(f"{path}: has no column {', '.join(missing)}; is it the right file?")
    places = [header.index(name) for name in columns]
    for number, row in lines:
        if len(row) != len(header):
            raise UsageError(f"{path}, line {number}: {len(row)} fields, the header has {len(header)}; copy it again")
        yield f"{path}, line {number}", [row[place] for place in places]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if row:
                    yield number, row
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a CSV table ({error})") from None


def _box(values: list[str], where: str) -> Box:
    try:
        x0, y0, x1, y1 = map(float, values)
    except ValueError:
        x0 = y0 = x1 = y1 = math.nan
    if not (x0 <= x1 and y0 <= y1 and all(map(math.isfinite, (x0, y0, x1, y1)))):
        raise UsageError(f"{where}: {', '.join(values)} is not a box (x0, y0, x1, y1)")
    return Box(x0, y0, x1, y1)
