"""PIDray: see-through objects that overlap, polygons and both kinds of run lengths, and a file of boxes only."""

from __future__ import annotations

from pathlib import Path

from helpers.coco_entries import annotation, compressed, content, dense, image, rectangle, uncompressed
from helpers.tiny_datasets import photo, save, write_json

CATEGORIES = {1: "Baton", 2: "Pliers", 11: "Knife"}


def build(root: Path) -> None:
    """Three images in hard, one in easy, under ``root/pidray/pidray``."""
    at = root / "pidray" / "pidray"
    images = [
        image(10, "xray_hard00001.png", 40, 60),
        image(11, "xray_hard00002.png", 30, 50),
        image(12, "hard/xray_hard00003.png", 24, 24),
    ]
    annotations = [
        annotation(1, 10, [rectangle(5, 5, 25, 15)], 1),
        annotation(2, 10, [rectangle(15, 10, 35, 20), [1, 1, 5, 5]], 11),
        annotation(3, 11, compressed(dense(30, 50, (3, 3, 13, 8))), 2),
        annotation(4, 12, uncompressed(dense(24, 24, (0, 0, 6, 4))), 2),
    ]
    write_json(at / "annotations" / "xray_test_hard.json", content(images, annotations, CATEGORIES))
    for entry in images:
        save(at / "hard" / Path(entry["file_name"]).name, photo(entry["height"], entry["width"]))
    boxes = annotation(1, 1, None, 1)
    del boxes["segmentation"]
    easy = content([image(1, "xray_easy00000.png", 20, 20)], [boxes], CATEGORIES)
    write_json(at / "annotations" / "xray_test_easy.json", easy)
    save(at / "easy" / "xray_easy00000.png", photo(20, 20))
