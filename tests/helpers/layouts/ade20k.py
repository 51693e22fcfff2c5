"""ADE20K 2021_17_01, validation: JSON, colour-coded segments and parts, one PNG an object.

Image 1 has all kinds of file; 2 is described in Latin-1 with MATLAB's scalars in place of lists; 3 lacks JSON and
instances, as in the release of 2016, and has _atr.txt; 4 has an image only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from helpers.tiny_datasets import photo, save

SIZE = (40, 60)
SCENE = "ade20k/ADE20K_2021_17_01/images/ADE/validation"


def build(root: Path) -> None:
    street, kitchen = root / SCENE / "urban" / "street", root / SCENE / "home_or_hotel" / "kitchen"
    for number, folder in ((1, street), (2, kitchen), (3, kitchen), (4, street)):
        save(folder / f"ADE_val_{number:08d}.jpg", photo(*SIZE))

    # A house of 20 x 20 = 400 pixels, of which a car hides 5 x 10; a door in it of 6 x 4; its handle of 1 x 2; a car of
    # 10 x 20; a man who is hidden altogether. Codes of three objects are 85, 170, 255, in no order of the JSON.
    house, car, door, handle = boxed(5, 5, 20, 20), boxed(20, 15, 10, 20), boxed(10, 8, 6, 4), boxed(12, 9, 1, 2)
    first = [
        (entry(0, "house, dwelling house", 1200), house & ~car, house & car),
        (entry(1, "car, auto", 401, occluded="no"), car, none()),
        (entry(2, "door", 774, level=1, parent=0, occluded="yes"), door, none()),
        (entry(3, "handle, grip", 1156, level=2, parent=2), handle, none()),
        (entry(4, "person, individual", 1831, occluded="yes", crop="1"), none(), boxed(30, 50, 4, 4)),
    ]
    write(street, 1, first)
    stem = street / "ADE_val_00000001"
    save(stem.with_name(f"{stem.name}_seg.png"), coloured([(1200, 255, house & ~car), (401, 85, car)]))
    save(stem.with_name(f"{stem.name}_parts_1.png"), coloured([(774, 255, door)]))
    save(stem.with_name(f"{stem.name}_parts_2.png"), coloured([(1156, 255, handle)]))

    # One object: MATLAB writes it without a list around it.
    write(kitchen, 2, [(entry(0, "café, coffeehouse", 360), boxed(0, 0, 8, 8), none())], encoding="latin-1")
    save(kitchen / "ADE_val_00000002_seg.png", coloured([(360, 255, boxed(0, 0, 8, 8))]))

    # B counts from 1 here; two pieces of one window are one object, and R = 35 is class 3 * 256 + 7 as 30 is.
    stem = kitchen / "ADE_val_00000003"
    window = boxed(0, 0, 4, 4) | boxed(0, 10, 4, 4)
    seg = coloured([(775, 1, window), (401, 2, boxed(20, 20, 5, 5))])
    seg[0:4, 10:14, 0] = 35
    save(stem.with_name(f"{stem.name}_seg.png"), seg)
    save(stem.with_name(f"{stem.name}_parts_1.png"), coloured([(99, 1, boxed(21, 21, 2, 2))]))
    stem.with_name(f"{stem.name}_atr.txt").write_text(
        '001 # 0 # 0 # windowpane, window # window # ""\n002 # 0 # 1 # car, auto # car # "parked"\n'
        '001 # 1 # 0 # wheel # wheel # ""\n',
        encoding="utf-8",
    )


def entry(
    id: int,
    name: str,
    number: int,
    *,
    level: int = 0,
    parent: int | None = None,
    occluded: str | None = None,
    crop: str = "0",
) -> dict[str, Any]:
    return {
        "id": id,
        "name": name,
        "name_ndx": number,
        "hypernym": [name, "entity"],
        "raw_name": name.split(",")[0],
        "attributes": [],
        "depth_ordering_rank": 1,
        "occluded": [] if occluded is None else occluded,
        "crop": crop,
        "parts": {"hasparts": [], "ispartof": [] if parent is None else parent, "part_level": level},
        "polygon": {"x": [1, 5, 5], "y": [1, 1, 5], "click_date": []},
        "saved_date": "18-Dec-2005 06:56:48",
    }


def write(
    folder: Path, number: int, objects: Sequence[tuple[dict[str, Any], Any, Any]], encoding: str = "utf-8"
) -> None:
    """The JSON, and of each object the PNG of its visible and hidden pixels."""
    stem = f"ADE_val_{number:08d}"
    entries: list[Mapping[str, Any]] = []
    for fields, visible, hidden in objects:
        file = f"{stem}/instance_{fields['id']:03d}_{stem}.png"
        save(folder / file, (visible * 255 + hidden * 128).astype(np.uint8))
        entries.append({**fields, "instance_mask": file})
    annotation = {
        "filename": f"{stem}.jpg",
        "folder": f"{SCENE.removeprefix('ade20k/')}/{folder.parent.name}/{folder.name}",
        "imsize": [*SIZE, 3],
        "source": {"folder": "static", "filename": "x.jpg", "origin": ""},
        "scene": ["outdoor", folder.name],
        "object": entries[0] if len(entries) == 1 else entries,
    }
    text = json.dumps({"annotation": annotation}, ensure_ascii=False)
    (folder / f"{stem}.json").write_bytes(text.encode(encoding))


def coloured(segments: Sequence[tuple[int, int, Any]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """R = 10 * (class // 256), G = class % 256, B = the instance's code."""
    out = np.zeros((*SIZE, 3), np.uint8)
    for number, code, mask in segments:
        out[mask] = (number // 256 * 10, number % 256, code)
    return out


def boxed(top: int, left: int, height: int, width: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = none()
    mask[top : top + height, left : left + width] = True
    return mask


def none() -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.zeros(SIZE, np.bool_)
