"""Entries of the RefCOCO family's files, for the builders of its layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.coco_entries import annotation, content, dense, image, rectangle, uncompressed
from helpers.tiny_datasets import photo, save, write_json

CATEGORIES = {1: "person", 18: "dog", 47: "cup"}


def python2_pickle(value: Any) -> bytes:
    """As Python 2 writes by default, protocol 0: its texts are bytes (opcode S), which Python 3 never writes."""
    return _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"(d" + b"".join(_opcodes(key) + _opcodes(item) + b"s" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return b"(l" + b"".join(_opcodes(item) + b"a" for item in value)
    if isinstance(value, int):
        return b"I%d\n" % value
    data = value if isinstance(value, bytes) else value.encode()
    return b"S" + repr(data)[1:].encode() + b"\n"


def ref(number: int, annotation: int, image: int, split: str, *sentences: str) -> dict[str, Any]:
    """One object that is referred to; what is typed has capitals and a full stop, what is cleaned has not."""
    return {
        "ref_id": number,
        "ann_id": annotation,
        "category_id": 1,
        "image_id": image,
        "file_name": f"COCO_train2014_{image:012d}_{number}.jpg",
        "split": split,
        "sent_ids": [100 * number + k for k in range(len(sentences))],
        "sentences": [
            {"sent_id": 100 * number + k, "sent": text, "raw": f"{text.capitalize()}.", "tokens": text.split()}
            for k, text in enumerate(sentences)
        ],
    }


def build_refer(at: Path, partitions: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Three images of 40 x 60, 30 x 30 and 40 x 60: two people, a dog, a crowd; a dog; a cup."""
    images = [image(n, f"COCO_train2014_{n:012d}.jpg", *size) for n, size in ((72, (40, 60)), (109, (30, 30)))]
    images.append(image(260, "COCO_train2014_000000000260.jpg", 40, 60))
    annotations = [
        annotation(1001, 72, [rectangle(2, 2, 12, 12)], 1),
        annotation(1002, 72, [rectangle(30, 10, 50, 30)], 1),
        annotation(1003, 72, [rectangle(5, 25, 15, 35)], 18),
        annotation(900100000072, 72, uncompressed(dense(40, 60, (52, 0, 60, 8))), 1, iscrowd=1),
        annotation(2001, 109, [rectangle(5, 5, 15, 15)], 18),
        annotation(3001, 260, [rectangle(20, 20, 30, 24)], 47),
    ]
    write_json(at / "instances.json", content(images, annotations, CATEGORIES))
    for partition, refs in partitions.items():
        (at / f"refs({partition}).p").write_bytes(python2_pickle(list(refs)))
    for entry in images:
        save(at / "train2014" / entry["file_name"], photo(entry["height"], entry["width"]))
