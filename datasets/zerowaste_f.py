"""ZeroWaste-f: waste on the conveyor belt of a paper recycling plant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from typing_extensions import override

from sambench.errors import UsageError
from sambench.readers.coco_json import CocoDataset, base_of, named_reader
from sambench.readers.label_files import LabelFileDataset, count_in_files
from sambench.readers.listing import Listing, ListingOptions, list_images
from sambench.readers.mask_png import label_values, read_class_map
from sambench.types import Archive, Card, GroundTruth, PaperUse, Semantics, Split

CARD = Card(
    name="zerowaste_f",
    title="ZeroWaste-f",
    citation="Bashkirova et al., ZeroWaste Dataset: Towards Deformable Object Segmentation in Cluttered Scenes, "
    "CVPR 2022",
    url="http://ai.bu.edu/zerowaste/",
    licence="CC BY-NC 4.0 by its home page, CC BY 4.0 by its record: treat it as non-commercial",
    access="Download zerowaste-f-final.zip from https://doi.org/10.5281/zenodo.6412647 (no login, 7.5 GB).\n"
    "Unpack it in DATA_ROOT/zerowaste_f/.",
    layout="zerowaste_f/                   (or zerowaste-f-final/)\n  splits_final_deblurred/\n"
    "    train/data/01_frame_004640.PNG\n    train/sem_seg/01_frame_004640.PNG\n"
    "    train/labels.json          read with source=instances",
    kind="instance",
    splits={
        "train": Split(2947, 6155, "of 3,002 images 55 would be without a mask; the counts are the paper's"),
        "val": Split(None, None, "572 images"),
        "test": Split(None, None, "929 images"),
    },
    default_split="train",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("zerowaste_f", "zerowaste-f", "zerowaste-f-final", "zerowaste", "ZeroWaste"),
    paper=PaperUse("ZeroWaste-f", "Train", 2947, 6155),
    classes=("rigid_plastic", "cardboard", "metal", "soft_plastic"),
    gotchas=(
        "The paper calls its masks instances, but 2.09 an image fit one mask for each class of the label maps, not the "
        "five or six objects an image of labels.json. The maps are the default; source=instances reads the objects.",
        "Where objects overlap, the map holds the higher class number.",
        "File names end in .PNG, in capitals.",
        "ZeroWaste-s, -w and -Aug are other sets; older archives hold images that were not deblurred.",
    ),
    archives=(Archive("zerowaste-f-final.zip", "images, label maps and objects of all splits, 7.5 GB"),),
    semantics=Semantics(
        void="Pixels of value 255 in a label map.",
        components="With source=sem_seg a class is one mask, in however many pieces; with source=instances an object "
        "is one mask.",
        overlaps=True,
    ),
)

_CLASSES = dict(enumerate(CARD.classes, start=1))
_VOID = 255


class ZerowasteF(CocoDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options(ListingOptions):
        source: Literal["sem_seg", "instances"] = "sem_seg"
        """`sem_seg`: one mask for each class in an image's label map; `instances`: one for each object in
        labels.json."""

    def __init__(self, root: Path, split: str, options: Options) -> None:
        folder = _splits(root) / split
        unpack = f"unzip zerowaste-f-final.zip in {root} again"
        self._reader = named_reader(folder / "labels.json", folder / "data", options.missing_images, unpack)
        if options.source == "sem_seg":
            self._reader = _ClassMaps(folder, options.missing_images, unpack)

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        def has_labels(base: Path) -> bool:
            folder = _splits(base) / split
            return (folder / "sem_seg").is_dir() if options.source == "sem_seg" else (folder / "labels.json").is_file()

        return base_of(root, CARD.folders, has_labels, f"splits_final_deblurred/{split}/data")


class _ClassMaps(LabelFileDataset):
    """The label maps of a split, each with an image of its name."""

    _label_kind = "label map"

    def __init__(self, folder: Path, missing_images: str, unpack: str) -> None:
        self._image_folder, self._label_folder = folder / "data", folder / "sem_seg"
        self._missing_images, self._unpack = missing_images, unpack

    @classmethod
    def locate(cls, root: Path, split: str, options: object) -> None:
        """Only :class:`ZerowasteF` is looked for."""

    @property
    @override
    def categories(self) -> Mapping[int, str]:
        return _CLASSES

    def _read(self, path: Path, size: tuple[int, int] | None) -> GroundTruth:
        return read_class_map(path, size, _CLASSES, void=(_VOID,))

    def _count(self, path: Path) -> int:
        return sum(value in _CLASSES for value in label_values(path))

    @override
    def image_file(self, id: str) -> Path:
        return self._images.get(id, self._image_folder / f"{id}.PNG")

    def _list(self) -> Listing:
        if not self._labels:
            raise UsageError(f"{self._label_folder}: the labels are missing: {self._unpack}")
        counts = count_in_files(self._labels, self._count, "zerowaste_f sem_seg")
        # An image without a map counts among those without a mask.
        return list_images(
            {**dict.fromkeys(self._images, 0), **counts},
            self._images,
            labels=self._label_folder,
            unpack=self._unpack,
            missing_images=self._missing_images,
        )


def _splits(base: Path) -> Path:
    inner = base / "splits_final_deblurred"
    return inner if inner.is_dir() else base


PLUGIN = ZerowasteF
