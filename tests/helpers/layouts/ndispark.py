"""NDISPark: ids from 0, an image without annotation, classes that do not occur, polygons and run lengths, and a test
split of counts."""

from __future__ import annotations

from pathlib import Path

from helpers.coco_entries import annotation, compressed, content, dense, image, rectangle
from helpers.tiny_datasets import photo, save, write_json

CATEGORIES = {1: "person", 3: "car", 8: "truck"}


def build(root: Path) -> None:
    """Three images in train, one in validation, one in test, under ``root/ndispark/ndis_park``."""
    at = root / "ndispark" / "ndis_park"
    (at / "train").mkdir(parents=True)
    (at / "README.pdf").write_bytes(b"%PDF-1.4\n")
    images = [
        image(0, "64_1537102819.jpg", 40, 90),
        image(1, "69_1531569735.jpg", 40, 60),
        image(2, "60_1529400000.jpg", 30, 40),
    ]
    annotations = [
        # A car behind a pole: 10 x 6 and 5 x 6 pixels.
        annotation(0, 0, [rectangle(2, 2, 12, 8), rectangle(20, 2, 25, 8)], 3),
        annotation(1, 0, [rectangle(11, 2, 21, 8)], 3),
        annotation(2, 2, compressed(dense(30, 40, (5, 5, 15, 9))), 3),
    ]
    write_json(at / "train" / "train_coco_annotations.json", content(images, annotations, CATEGORIES))
    (at / "train" / "train_dot_annotations.csv").write_text("imgName,x,y\n")
    for entry in images:
        save(at / "train" / "imgs" / entry["file_name"], photo(entry["height"], entry["width"]))
    night = image(0, "73_1540000000.jpg", 40, 60)
    write_json(
        at / "validation" / "val_coco_annotations.json",
        content([night], [annotation(0, 0, [rectangle(0, 0, 4, 5)], 3)], CATEGORIES),
    )
    save(at / "validation" / "imgs" / night["file_name"], photo(40, 60) // 8)
    save(at / "test" / "imgs" / "78_1541000000.jpg", photo(40, 60))
    counts = "imgName,numVehicles\n78_1541000000,7\n"
    (at / "test" / "ground_truth_test_counting.csv").write_text(counts, encoding="utf-8-sig")
