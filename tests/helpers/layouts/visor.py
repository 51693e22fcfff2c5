"""VISOR val: polygons with a hole, entities without outlines, frames as files and in a zip, odd names, stray files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.tiny_datasets import photo, save, write_json
from PIL import Image

FIRST, SECOND, THIRD, BARE = (
    "P01_107_frame_0000000140",
    "P01_107_frame_0000000200",
    "P30_107_frame_0000038529",
    "P30_107_frame_0000038600",
)


def build(root: Path) -> None:
    """Two videos with two frames of 60 x 80 each under ``root/visor``; one frame has no mask."""
    at = root / "visor" / "GroundTruth-SparseAnnotations"
    plate = entity("a1", "plate", 2, [box(10, 10, 30, 30), box(15, 15, 25, 25)])
    first = [
        plate,
        entity("a2", "left hand", 300, [box(40.9, 5.2, 50.7, 12.9)], in_contact_object="a1"),
        entity("a3", "spoon", 1, []),
        entity("a4", "fork", 1, [[]]),
        entity("a5", "right glove", 304, [box(60, 40, 69, 49)], on_which_hand=["right hand"], in_contact_object="a1"),
    ]
    second = [
        entity("b1", "chopping board", 13, [box(10, 10, 39, 29)]),
        entity("b2", "knife", 4, [box(20, 15, 59, 17)], exhaustive="n"),
    ]
    odd = "P30_107/Part_008/P30_107_seq_00072/frame_0000038529/frame_0000038529.jpg"
    third = record("P30_107", "frame_0000038529.jpg", [entity("c1", "tap", 3, [box(0, 0, 9, 9), box(20, 0, 24, 4)])])
    third["image"]["image_path"] = odd
    videos = {
        "P01_107": [record("P01_107", f"{FIRST}.jpg", first), record("P01_107", f"{SECOND}.jpg", second)],
        "P30_107": [third, record("P30_107", f"{BARE}.jpg", [])],
    }
    for video, entries in videos.items():
        write_json(at / "annotations" / "val" / f"{video}.json", {"video_annotations": entries})
    frames = at / "rgb_frames" / "val"
    for id in (FIRST, SECOND):
        save(frames / "P01" / "P01_107" / f"{id}.jpg", photo(60, 80), quality=90)
    pack(frames / "P30" / "P30_107.zip", [f"{THIRD}.jpg", f"{BARE}.jpg"])
    for folder in (at / "annotations" / "val", frames / "P01", frames / "P01" / "P01_107"):
        (folder / "index.html").write_text("left by a recursive download\n")
    write_json(root / "visor" / "frame_mapping.json", {})
    table = '"id","key","instances","category"\n"2","plate","[\'plate\']","crockery"\n'
    (root / "visor" / "EPIC_100_noun_classes_v2.csv").write_text(table)


def pack(archive: Path, names: Sequence[str]) -> None:
    """A zip of frames, the same on every machine."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            data = io.BytesIO()
            Image.fromarray(photo(60, 80)).save(data, "JPEG", quality=90)
            file.writestr(zipfile.ZipInfo(name), data.getvalue())


def record(video: str, name: str, entities: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A frame."""
    image = {"image_path": f"{video}/{name}", "name": name, "subsequence": f"{video}_seq_00001", "video": video}
    return {"image": image, "annotations": list(entities)}


def entity(id: str, name: str, class_id: int, segments: list[Any], **more: Any) -> dict[str, Any]:
    return {"id": id, "name": name, "class_id": class_id, "exhaustive": "y", "segments": segments, **more}


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
