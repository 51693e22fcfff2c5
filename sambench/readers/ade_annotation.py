"""ADE20K's own annotation files: JSON of the 2021 release, ``_atr.txt`` of 2016, and the colours of both.

Formats as in the authors' repository (CSAILVision/ADE20K, README.md and utils/utils_ade20k.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sambench.core.mask import Mask
from sambench.errors import DataError
from sambench.readers.images import read_codes
from sambench.readers.json.file import read_json
from sambench.readers.label_maps import masks_by_value

BACKGROUND, HIDDEN, VISIBLE = 0, 128, 255
"""What an instance's own PNG holds: elsewhere, its occluded pixels, its visible ones."""


@dataclass(frozen=True, slots=True)
class AdeObject:
    """An entry of ``object``. ``name``: the first synonym. ``level``: 0 an object, 1 a part, 2 a part of a part.
    ``parent``: the id of what it is part of. ``occluded``: None where it is not said. ``mask_file``: relative to the
    JSON's folder."""

    id: str
    name: str
    class_id: int | None
    level: int
    mask_file: str
    attributes: Mapping[str, Any]


def read_objects(path: Path) -> list[AdeObject]:
    """All objects and parts of an image, in the file's order. Raises DataError: unreadable, not such a file, an id
    that is missing or given twice."""
    content = _content(path)
    annotation = content.get("annotation") if isinstance(content, dict) else None
    entries = annotation.get("object") if isinstance(annotation, dict) else None
    if isinstance(entries, dict):  # MATLAB writes a list of one as its only member
        entries = [entries]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: not an annotation of ADE20K: no list annotation.object")
    objects = [_object(path, entry) for entry in entries]
    if len({found.id for found in objects}) < len(objects):
        raise DataError(f"{path}: an object id is given twice")
    return objects


def read_names_by_level(path: Path) -> dict[int, list[str]]:
    """From ``_atr.txt`` of the 2016 release: for each level the first synonyms, by rising instance number.

    A line is ``number # level # occluded # synonyms # raw name # "attributes"``. Raises DataError.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    found: dict[int, list[tuple[int, str]]] = {}
    for number, line in enumerate(_text(data).splitlines(), start=1):
        fields = [part.strip() for part in line.split("#")]
        if not line.strip():
            continue
        if len(fields) < 5 or not (fields[0].isdecimal() and fields[1].isdecimal()):
            raise DataError(f"{path}: line {number} is not 'number # level # occluded # names # raw name # attributes'")
        found.setdefault(int(fields[1]), []).append((int(fields[0]), first_synonym(fields[3])))
    return {level: [name for _, name in sorted(names)] for level, names in found.items()}


def read_segments(path: Path, size: tuple[int, int] | None) -> dict[tuple[int, int], Mask]:
    """The masks of ``_seg.png`` or ``_parts_L.png`` by (class, instance code), rising; the code 0 is no instance.

    A pixel is of class (R // 10) * 256 + G; B is the instance code, unique in the file up to 255 objects. Raises
    DataError.
    """
    codes = read_codes(path, size)
    tens = codes >> 16
    tens //= 10
    tens <<= 16
    codes &= 0xFFFF
    codes |= tens
    return {
        ((code >> 16) * 256 + (code >> 8 & 0xFF), code & 0xFF): mask
        for code, mask in masks_by_value(codes).items()
        if code & 0xFF
    }


def first_synonym(names: str) -> str:
    """``"building, edifice"`` as ``building``."""
    return names.split(",")[0].strip()


def _content(path: Path) -> Any:
    """UTF-8, else Latin-1: both occur."""
    try:
        return read_json(path)
    except DataError:
        with suppress(OSError, orjson.JSONDecodeError):
            return orjson.loads(path.read_bytes().decode("latin-1"))
        raise


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _object(path: Path, entry: Mapping[str, Any]) -> AdeObject:
    id, parts, mask_file = _scalar(entry.get("id")), entry.get("parts"), entry.get("instance_mask")
    if not isinstance(id, (int, str)):
        raise DataError(f"{path}: an object has no id")
    if not isinstance(mask_file, str):
        raise DataError(f"{path}: object {id} names no instance_mask")
    parts = parts if isinstance(parts, dict) else {}
    level, parent, class_id = _scalar(parts.get("part_level")), _scalar(parts.get("ispartof")), entry.get("name_ndx")
    attributes = {
        "part_level": level if isinstance(level, int) else 0,
        "parent": None if parent is None else str(parent),
        "occluded": {"yes": True, "no": False}.get(str(_scalar(entry.get("occluded")))),
        "cropped": str(_scalar(entry.get("crop"))) == "1",
        "raw_name": str(_scalar(entry.get("raw_name"))),
    }
    return AdeObject(
        id=str(id),
        name=first_synonym(str(_scalar(entry.get("name")))),
        class_id=class_id if isinstance(class_id, int) else None,
        level=attributes["part_level"] if isinstance(attributes["part_level"], int) else 0,
        mask_file=mask_file,
        attributes=attributes,
    )


def _scalar(value: Any) -> Any:
    """MATLAB's empty list as None, its list of one as the member."""
    return (value[0] if value else None) if isinstance(value, list) else value
