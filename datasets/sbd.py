"""SBD, the Semantic Boundaries Dataset: instance masks on images of PASCAL VOC 2011."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.errors import DataError
from sambench.readers import matlab
from sambench.readers.files import candidates
from sambench.readers.label_maps import masks_by_value, values_of
from sambench.readers.listing import ListingOptions
from sambench.readers.voc import CLASSES, VocDataset
from sambench.types import Archive, Card, GroundTruth, Instance, Semantics, Split

CARD = Card(
    name="sbd",
    title="SBD (Semantic Boundaries Dataset)",
    citation="Hariharan, Arbelaez, Bourdev, Maji, Malik, Semantic Contours from Inverse Detectors, ICCV 2011",
    url="https://github.com/SamsungLabs/ritm_interactive_segmentation",
    licence="research use with citation; photographs from Flickr, do not hand them on",
    access="Download benchmark.tgz (about 1.4 GB) from "
    "http://home.bharathh.info/pubs/codes/SBD/download.html.\n"
    "Unpack it in DATA_ROOT/sbd/; it makes benchmark_RELEASE/dataset/.",
    layout="benchmark_RELEASE/dataset/\n  img/2008_000002.jpg\n"
    "  inst/2008_000002.mat         GTinst: Segmentation, Boundaries, Categories\n  val.txt",
    kind="instance",
    splits={"val": Split(2857, 6671), "train": Split(8498, 20172)},
    default_split="val",
    group="ritm5",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    published_as={"noc": "SBD"},
    folders=("sbd", "SBD", "benchmark_RELEASE", "dataset"),
    classes=CLASSES,
    gotchas=(
        "Its lists of train and val cut the images in another way than PASCAL VOC's do.",
        "RITM drops thin instances (mask / box below 0.08) in training only; evaluation has all.",
    ),
    same_images_as=frozenset({"pascal_voc"}),
    archives=(Archive("benchmark.tgz", "images, masks and lists"),),
    semantics=Semantics(components="Each number of the instance map is one mask, connected or not."),
)


class Sbd(VocDataset):
    card = CARD
    Options = ListingOptions
    _archive, _suffix = "benchmark.tgz", ".mat"

    def __init__(self, root: Path, split: str, options: ListingOptions) -> None:
        self.options = options
        self._names_file, self._image_folder, self._label_folder = root / f"{split}.txt", root / "img", root / "inst"

    @classmethod
    def locate(cls, root: Path, split: str, options: ListingOptions) -> Path | None:
        def parts(at: Path) -> int:
            return (at / "img").is_dir() + (at / "inst").is_dir() + (at / f"{split}.txt").is_file()

        # With one part missing it is still this dataset, and the index says which part.
        best = max(candidates(root, CARD.folders), key=parts)
        return best if parts(best) >= 2 else None

    def _read(self, path: Path, size: tuple[int, int]) -> GroundTruth:
        segmentation, categories = _read_map(path)
        if segmentation.shape != size:
            raise DataError(f"{path}: the map is of {segmentation.shape}, its image of {size} (height, width)")
        instances = []
        for value, mask in masks_by_value(segmentation).items():
            number = int(categories[value - 1]) if value <= len(categories) else 0
            if not 1 <= number <= len(CLASSES):
                raise DataError(f"{path}: instance {value} has no class from 1 to {len(CLASSES)}")
            instances.append(Instance(str(value), mask, class_name=CLASSES[number - 1], class_id=number))
        return GroundTruth(tuple(instances))

    def _count(self, path: Path) -> int:
        return sum(value != 0 for value in values_of(_read_map(path)[0]))


def _read_map(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """``(H, W)`` instance numbers, 0 for background, and the class of instance n at place n - 1. Raises DataError."""
    where = f"{path}: GTinst"
    struct = matlab.read_variable(path, "GTinst")
    segmentation, categories = (matlab.field(struct, name, where) for name in ("Segmentation", "Categories"))
    # MATLAB keeps plain numbers as doubles; the released files hold uint8.
    for name, value, kinds in (("Segmentation", segmentation, "ui"), ("Categories", categories, "uif")):
        if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind not in kinds:
            raise DataError(f"{where}.{name} is not an array of whole numbers")
    return segmentation, categories.ravel()


PLUGIN = Sbd
