"""PASCAL VOC 2012: the instance masks of the segmentation task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.errors import DataError
from sambench.readers.files import first_place
from sambench.readers.images import read_labels
from sambench.readers.label_maps import commonest, masks_by_value
from sambench.readers.listing import ListingOptions
from sambench.readers.mask_png import label_values
from sambench.readers.voc import CLASSES, VocDataset
from sambench.types import Archive, Card, GroundTruth, Instance, Mask, Semantics, Split

VOID = 255

CARD = Card(
    name="pascal_voc",
    title="PASCAL VOC 2012, instance segmentation",
    citation="Everingham, Van Gool, Williams, Winn, Zisserman, The PASCAL Visual Object Classes (VOC) Challenge, "
    "IJCV 88, 2010",
    url="https://github.com/SamsungLabs/ritm_interactive_segmentation",
    licence="photographs from Flickr, under its terms; do not hand them on",
    access="Download VOCtrainval_11-May-2012.tar (about 2 GB, no login) from "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/.\n"
    "Unpack it in DATA_ROOT/; it makes VOCdevkit/VOC2012/.",
    layout="VOCdevkit/VOC2012/\n  JPEGImages/2007_000033.jpg\n"
    "  SegmentationObject/2007_000033.png   palette: 0 background, 255 void, others one instance each\n"
    "  SegmentationClass/2007_000033.png\n  ImageSets/Segmentation/val.txt",
    kind="instance",
    splits={
        "val": Split(1449, None, "RITM counts 3,417 masks, by grey values; palette indices can give a few more"),
        "train": Split(1464),
        "trainval": Split(2913),
    },
    default_split="val",
    group="ritm5",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    published_as={"noc": "Pascal VOC"},
    folders=("pascal_voc", "PascalVOC", "VOC2012", "VOCdevkit", "VOC"),
    classes=CLASSES,
    gotchas=(
        "Instances are palette indices: a copy converted to colours or to grey has lost or merged them.",
        "RITM reads grey values of the colours, in which instances 1 and 16 are the same 38; indices keep them apart.",
        "The void band around objects, and over 'difficult' ones, counts for nothing.",
        "test.pickle of RITM's packing is not read: the list is val.txt.",
    ),
    same_images_as=frozenset({"sbd"}),
    archives=(Archive("VOCtrainval_11-May-2012.tar", "images, masks and lists of train and val"),),
    semantics=Semantics(
        void="Pixels of index 255: the band around objects, and objects marked as difficult.",
        components="Each index is one mask, connected or not.",
    ),
)


class PascalVoc(VocDataset):
    card = CARD
    Options = ListingOptions
    _archive, _suffix = "VOCtrainval_11-May-2012.tar", ".png"

    def __init__(self, root: Path, split: str, options: ListingOptions) -> None:
        self.root, self.options = root, options
        self._names_file = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        self._image_folder, self._label_folder = root / "JPEGImages", root / "SegmentationObject"

    @classmethod
    def locate(cls, root: Path, split: str, options: ListingOptions) -> Path | None:
        return first_place(root, CARD.folders, lambda at: (at / "ImageSets" / "Segmentation").is_dir())

    def _read(self, path: Path, size: tuple[int, int]) -> GroundTruth:
        values = read_labels(path, size)
        classes_at = self.root / "SegmentationClass" / f"{path.stem}.png"
        classes = read_labels(classes_at, size) if classes_at.parent.is_dir() else None
        found = masks_by_value(values)
        void = found.pop(VOID, None)
        instances = []
        for value, mask in found.items():
            number = None if classes is None else _class_of(classes, mask, f"{classes_at}: instance {value}")
            instances.append(
                Instance(str(value), mask, class_name=CLASSES[number - 1] if number else None, class_id=number)
            )
        return GroundTruth(tuple(instances), void=void)

    def _count(self, path: Path) -> int:
        return len(label_values(path, VOID))


def _class_of(classes: NDArray[Any], mask: Mask, where: str) -> int | None:
    """The class that most of an instance's pixels have. Raises DataError: not one of the twenty."""
    number = commonest(np.where(classes == VOID, 0, classes), mask)
    if number is not None and number > len(CLASSES):
        raise DataError(f"{where} has class {number}; there are {len(CLASSES)}")
    return number


PLUGIN = PascalVoc
