"""OVIS train: tracks with null slots, both forms of run lengths, frames with gaps, and valid without ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from helpers.tiny_datasets import photo, save, square, write_json

from sambench.masks import to_rle
from sambench.types import Mask

VIDEOS = {
    "5d24e4ea": ((40, 60), ("img_0000001", "img_0000002", "img_0000003")),
    "86a88668": ((30, 50), ("img_0000006", "img_0000007", "img_0000009", "img_0000010")),
}


def content() -> dict[str, Any]:
    """The annotation file of train."""
    videos = [
        {
            "id": number,
            "height": size[0],
            "width": size[1],
            "length": len(frames),
            "file_names": [f"{name}/{frame}.jpg" for frame in frames],
        }
        for number, (name, (size, frames)) in enumerate(VIDEOS.items(), start=1)
    ]
    cut_apart = square(40, 60, 10, 5, 4) | square(40, 60, 10, 20, 5)
    tracks = [
        track(1, 1, 1, [None, to_rle(Mask.from_dense(square(40, 60, 30, 40, 6))), None]),
        track(2, 1, 13, [run_lengths(cut_apart), run_lengths(cut_apart), None]),
        track(3, 2, 19, [None, None, None, None]),
        track(4, 2, 19, [run_lengths(square(30, 50, 0, 0, 7)), run_lengths(np.zeros((30, 50))), None,
                         to_rle(Mask.from_dense(square(30, 50, 20, 43, 7)))]),
    ]  # fmt: skip
    names = {1: "Person", 13: "Giant_panda", 19: "Fish"}
    categories = [{"id": id, "name": name, "supercategory": "object"} for id, name in names.items()]
    return {"info": {}, "licenses": [], "videos": videos, "categories": categories, "annotations": tracks}


def build(root: Path) -> None:
    """Two videos under ``root/ovis``; four of their seven frames have masks."""
    at = root / "ovis"
    train = write_json(at / "annotations_train.json", content())
    assert train.is_file()
    valid = {key: value for key, value in content().items() if key != "annotations"}
    write_json(at / "annotations_valid.json", valid)
    for name, (size, frames) in VIDEOS.items():
        for frame in frames:
            for split in ("train", "valid"):
                save(at / split / name / f"{frame}.jpg", photo(*size), quality=90)


def track(id: int, video_id: int, category_id: int, masks: list[Any]) -> dict[str, Any]:
    """An entry of ``annotations``, with boxes of no meaning."""
    sizes = [None if mask is None else _area(mask) for mask in masks]
    return {
        "id": id,
        "video_id": video_id,
        "category_id": category_id,
        "iscrowd": 0,
        "height": next((mask["size"][0] for mask in masks if mask), 0),
        "width": next((mask["size"][1] for mask in masks if mask), 0),
        "segmentations": masks,
        "bboxes": [None if mask is None else [0, 0, 1, 1] for mask in masks],
        "areas": sizes,
    }


def run_lengths(mask: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Uncompressed: a list, column by column, background first."""
    flat = np.concatenate([[0], (np.asarray(mask) != 0).T.ravel().astype(np.int8), [2]])
    ends = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], ends])).tolist()
    return {"size": list(mask.shape), "counts": counts}


def _area(mask: dict[str, Any]) -> int:
    counts = mask["counts"]
    return sum(counts[1::2]) if isinstance(counts, list) else 1
