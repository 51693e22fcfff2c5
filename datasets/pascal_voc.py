"""PASCAL VOC 2012: the instance masks of the segmentation task."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers.files import files_by_stem, first_place
from sambench.readers.images import image_size, read_image, read_labels
from sambench.readers.label_files import count_in_files
from sambench.readers.label_maps import commonest, masks_by_value
from sambench.readers.listing import ListedDataset, Listing, ListingOptions, list_images
from sambench.readers.mask_png import label_values
from sambench.readers.name_lists import read_names
from sambench.readers.voc import CLASSES
from sambench.types import Archive, Card, GroundTruth, Instance, Mask, Sample, Semantics, Split

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


class PascalVoc(ListedDataset):
    card = CARD
    Options = ListingOptions

    def __init__(self, root: Path, split: str, options: ListingOptions) -> None:
        self.root, self.options = root, options
        self._names_file = root / "ImageSets" / "Segmentation" / f"{split}.txt"

    @classmethod
    def locate(cls, root: Path, split: str, options: ListingOptions) -> Path | None:
        return first_place(root, CARD.folders, lambda at: (at / "ImageSets" / "Segmentation").is_dir())

    def load(self, id: str) -> Sample:
        path = self.image_file(id)
        size = image_size(path)
        return Sample(id, size, partial(read_image, path), partial(self._truth, id, size))

    @override
    def image_file(self, id: str) -> Path:
        """The image of an id, or the path where it should be."""
        return self.root / "JPEGImages" / f"{id}.jpg"

    def _list(self) -> Listing:
        labels = self.root / "SegmentationObject"
        names = read_names(self._names_file, ())
        bare = [id for id in names if id not in self._instance_maps]
        if bare:
            raise UsageError(
                f"{labels}: {len(bare)} of {len(names)} images of {self._names_file.name} have no mask file "
                f"(first: {bare[0]}): unpack VOCtrainval_11-May-2012.tar again"
            )
        images = self.root / "JPEGImages"
        return list_images(
            count_in_files({id: self._instance_maps[id] for id in names}, _count, CARD.name),
            files_by_stem(images, {".jpg"}) if images.is_dir() else {},
            labels=labels,
            unpack=f"unpack VOCtrainval_11-May-2012.tar so that {images} is there",
            missing_images=self.options.missing_images,
        )

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        if id not in self._instance_maps:
            raise DataError(f"{self.root / 'SegmentationObject'}: no mask file of image {id}")
        values = read_labels(self._instance_maps[id], size)
        classes_at = self.root / "SegmentationClass"
        classes = read_labels(classes_at / f"{id}.png", size) if classes_at.is_dir() else None
        found = masks_by_value(values)
        void = found.pop(VOID, None)
        instances = []
        for value, mask in found.items():
            number = None if classes is None else _class_of(classes, mask, f"{classes_at / id}.png: instance {value}")
            instances.append(
                Instance(str(value), mask, class_name=CLASSES[number - 1] if number else None, class_id=number)
            )
        return GroundTruth(tuple(instances), void=void)

    @cached_property
    def _instance_maps(self) -> Mapping[str, Path]:
        at = self.root / "SegmentationObject"
        if not at.is_dir():
            raise UsageError(f"{at}: lists are there, masks are not: unpack VOCtrainval_11-May-2012.tar again")
        return files_by_stem(at, {".png"})


def _count(path: Path) -> int:
    return len(label_values(path, VOID))


def _class_of(classes: NDArray[Any], mask: Mask, where: str) -> int | None:
    """The class that most of an instance's pixels have. Raises DataError: not one of the twenty."""
    number = commonest(np.where(classes == VOID, 0, classes), mask)
    if number is not None and number > len(CLASSES):
        raise DataError(f"{where} has class {number}; there are {len(CLASSES)}")
    return number


PLUGIN = PascalVoc
