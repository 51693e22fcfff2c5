"""TrashCan: two versions with the same file names, an annotation without polygon and with NaN for a box, a polygon over
the border, a hole stored as one more polygon, images without annotation."""

from __future__ import annotations

from pathlib import Path

from helpers.coco_entries import annotation, content, image, rectangle
from helpers.tiny_datasets import photo, save, write_json

INSTANCE = {1: "rov", 3: "animal_fish", 9: "trash_clothing", 13: "trash_snack_wrapper"}
MATERIAL = {1: "rov", 3: "animal_fish", 9: "trash_etc", 13: "trash_plastic"}


def build(root: Path) -> None:
    """Four images in train and one in val of both versions, a fifth as wide, under ``root/trashcan/dataset``."""
    at = root / "trashcan" / "dataset"
    images = [
        image(1, "vid_000002_frame0000013.jpg", 54, 96),
        image(2, "vid_000010_frame0000001.jpg", 72, 96),
        image(3, "vid_000011_frame0000002.jpg", 72, 96),
        image(4, "vid_000012_frame0000003.jpg", 72, 96),
    ]
    nan = float("nan")
    annotations = [
        annotation(1, 1, [rectangle(90.0, 10.0, 97.0, 20.0)], 13),
        annotation(2, 1, [rectangle(10, 10, 30, 30), rectangle(15, 15, 25, 25)], 9),
        annotation(3, 1, [], 3, bbox=[nan, nan, nan, nan], area=0.0),
        annotation(4, 2, [rectangle(0.5, 0.5, 20.5, 10.5)], 1),
        annotation(5, 4, [], 3, bbox=[nan, nan, nan, nan], area=0.0),
    ]
    val = image(1, "vid_000304_frame0000020.jpg", 72, 96)
    for version, categories in (("instance", INSTANCE), ("material", MATERIAL)):
        folder = at / f"{version}_version"
        listed = images if version == "instance" else images[:1]
        ids = {entry["id"] for entry in listed}
        kept = [entry for entry in annotations if entry["image_id"] in ids]
        write_json(folder / "instances_train_trashcan.json", content(listed, kept, categories))
        write_json(
            folder / "instances_val_trashcan.json",
            content([val], [annotation(1, 1, [rectangle(2, 2, 12, 12)], 9)], categories),
        )
        for entry in listed:
            save(folder / "train" / entry["file_name"], photo(entry["height"], entry["width"]))
        save(folder / "val" / val["file_name"], photo(72, 96))
    save(at / "original_data" / "images" / images[0]["file_name"], photo(54, 96))
    write_json(at / "original_data" / "annotations" / f"{images[0]['file_name']}.json", {"objects": []})
