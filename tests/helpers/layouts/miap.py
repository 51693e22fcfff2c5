"""MIAP's boxes beside Open Images' masks, as their files come: masks of another size than the image, in two folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from helpers.tiny_datasets import photo, save, write_json
from PIL import Image

IMAGE_A, IMAGE_B = "0a1b2c3d4e5f6071", "fedcba9876543210"
NO_MATCH, NO_PEOPLE = "00000000000000aa", "00000000000000bb"

PERSON, WOMAN, MAN, BODY = "/m/01g317", "/m/03bt1vf", "/m/04yx4", "/m/02p0tk3"
CLOTHING, HAT, FEDORA, JEANS, COAT = "/m/09j2d", "/m/02dl1y", "/m/02fq_6", "/m/0fly7", "/m/01xygc"

PEOPLE = [
    # image, x0, x1, y0, y1, group, gender presentation, age
    (IMAGE_A, 0.1, 0.5, 0.1, 0.9, 0, "Predominantly Feminine", "Middle"),
    (IMAGE_A, 0.6, 0.9, 0.2, 0.8, 0, "Predominantly Masculine", "Unknown"),
    (IMAGE_A, 0.0, 1.0, 0.0, 1.0, 1, "Unknown", "Unknown"),
    (IMAGE_B, 0.25, 0.75, 0.0, 1.0, 0, "Predominantly Feminine", "Young"),
    (IMAGE_B, 0.251, 0.751, 0.0, 1.0, 0, "Predominantly Masculine", "Older"),
    (NO_MATCH, 0.0, 0.5, 0.0, 0.5, 0, "Predominantly Feminine", "Young"),
]

MASKS = [
    # image, class, box id, x0, x1, y0, y1
    (IMAGE_A, WOMAN, "aaaa0001", 0.102, 0.5, 0.1, 0.9),  # 0.002 off, 1 % of the width is 0.00398
    (IMAGE_A, MAN, "aaaa0002", 0.604, 0.9, 0.2, 0.8),  # 0.004 off, 1 % of the width is 0.00296
    (IMAGE_A, PERSON, "aaaa0003", 0.6, 0.9, 0.2, 0.8),
    (IMAGE_A, FEDORA, "aaaa0004", 0.2, 0.3, 0.1, 0.2),  # in the first person and in the group
    (IMAGE_A, JEANS, "aaaa0005", 0.598, 0.7, 0.5, 0.8),  # sticks out by 0.002, 1 % of the person's width is 0.003
    (IMAGE_A, COAT, "aaaa0006", 0.55, 0.65, 0.5, 0.6),  # in the group only
    (IMAGE_A, BODY, "aaaa0007", 0.1, 0.5, 0.1, 0.9),  # a part of a person, not a kind of one
    (IMAGE_A, PERSON, "aaaa0008", 0.0, 1.0, 0.0, 1.0),  # the group
    (IMAGE_B, PERSON, "bbbb0001", 0.2506, 0.7506, 0.0, 1.0),  # fits both people, the second better
    (NO_MATCH, PERSON, "cccc0001", 0.4, 0.9, 0.4, 0.9),
    (NO_PEOPLE, PERSON, "dddd0001", 0.0, 0.5, 0.0, 0.5),
]


def build(root: Path) -> None:
    """Two images of 40 x 60 that count, and two that do not, under ``root/miap``."""
    at = root / "miap"
    for image in (IMAGE_A, IMAGE_B):
        save(at / "test" / f"{image}.jpg", photo(40, 60), quality=95)
    write_tables(at)
    for image, label, box_id, *box in MASKS:
        # Pictures of image A are half as large again.
        height, width = (60, 90) if image == IMAGE_A else (40, 60)
        folder = "masks" if image == IMAGE_B else "test-masks-0"
        write_mask(at / folder / mask_name(image, label, box_id), rectangle(height, width, box))


def write_tables(at: Path, people: Sequence[tuple] = PEOPLE, masks: Sequence[tuple] = MASKS) -> None:
    """The four tables."""
    rows = [
        "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepictionOf,IsInsideOf,"
        "GenderPresentation,AgePresentation",
        *(
            f"{image},{PERSON},1,{x0},{x1},{y0},{y1},0,0,{group},0,0,{gender},{age}"
            for image, x0, x1, y0, y1, group, gender, age in people
        ),
    ]
    (at / "open_images_extended_miap_boxes_test.csv").write_text("\n".join(rows) + "\n")
    rows = [
        "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks",
        *(
            f"{mask_name(image, label, id)},{image},{label},{id},{x0},{x1},{y0},{y1},0.86864,0.9 0.6 1;0.5 0.5 0"
            for image, label, id, x0, x1, y0, y1 in masks
        ),
    ]
    (at / "test-annotations-object-segmentation.csv").write_text("\n".join(rows) + "\n")
    names = {PERSON: "Person", WOMAN: "Woman", MAN: "Man", BODY: "Human body", CLOTHING: "Clothing", HAT: "Hat"}
    names |= {FEDORA: "Fedora", JEANS: "Jeans", COAT: "Coat"}
    (at / "class-descriptions-boxable.csv").write_text("".join(f"{label},{name}\n" for label, name in names.items()))
    person = {
        "LabelName": PERSON,
        "Subcategory": [{"LabelName": WOMAN}, {"LabelName": MAN}],
        "Part": [{"LabelName": BODY}],
    }
    hats = {"LabelName": HAT, "Subcategory": [{"LabelName": FEDORA}]}
    clothing = {"LabelName": CLOTHING, "Subcategory": [hats, {"LabelName": JEANS}, {"LabelName": COAT}]}
    write_json(at / "bbox_labels_600_hierarchy.json", {"LabelName": "/m/0bl9f", "Subcategory": [person, clothing]})


def mask_name(image: str, label: str, box_id: str) -> str:
    return f"{image}_{label.removeprefix('/').replace('/', '')}_{box_id}.png"


def rectangle(height: int, width: int, box: Sequence[float]) -> np.ndarray:
    """A box of fractions (x0, x1, y0, y1), filled, to the nearest pixel."""
    x0, x1, y0, y1 = box
    values = np.zeros((height, width), np.bool_)
    values[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)] = True
    return values


def write_mask(path: Path, values: np.ndarray) -> None:
    """A PNG of one bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
