"""Cityscapes: street scenes in which every pixel belongs to a segment, by the fine annotation's instance ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from typing_extensions import override

from sambench.errors import DataError
from sambench.readers.files import first_place, list_folder
from sambench.readers.images import read_labels
from sambench.readers.label_files import LabelFileDataset, list_label_files
from sambench.readers.label_maps import masks_by_value, values_of
from sambench.readers.layers import union
from sambench.readers.listing import Listing, MinArea, MissingImages
from sambench.types import Archive, Card, GroundTruth, Instance, PaperUse, Semantics, Split

CARD = Card(
    name="cityscapes",
    title="Cityscapes, fine annotation",
    citation="Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016",
    url="https://www.cityscapes-dataset.com",
    licence="the dataset's own terms: non-commercial research only, no redistribution",
    access="Make an account at the address above (a form; the package cityscapesscripts has csDownload as well).\n"
    "Download gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip.\n"
    "Unpack both in DATA_ROOT/cityscapes/.",
    layout="cityscapes/\n  leftImg8bit/val/CITY/CITY_000000_000294_leftImg8bit.png\n"
    "  gtFine/val/CITY/CITY_000000_000294_gtFine_instanceIds.png",
    kind="panoptic",
    splits={
        "val": Split(500, None, "about 17,195 segments by published statistics; 14,472 by the official panoptic rules"),
        "train": Split(2975),
    },
    default_split="val",
    group="sam23",
    tasks=frozenset({"single_point", "text_to_mask"}),
    folders=("cityscapes", "Cityscapes", "CityScapes", "CITYSCAPES"),
    paper=PaperUse("Cityscapes", "Validation", 293, 9973),
    classes=(
        *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground"),
        *("road", "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel"),
        *("pole", "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider"),
        *("car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
    ),
    gotchas=(
        "The paper does not say what a panoptic mask is; 34 masks an image fit every value of instanceIds, void "
        "classes and groups included, so masks=paper is the default. Report masks=panoptic beside it.",
        "Ego vehicle and out of roi look nearly the same in every image and raise scores in masks=paper.",
        "instanceIds are 16-bit files: a tool that saves them with 8 bits destroys the ids.",
        "The test split's annotation is withheld: its files hold the ego vehicle and the rectification border only.",
        "leftImg8bit_blurred is made for display; the authors ask for results on the originals.",
    ),
    archives=(
        Archive("gtFine_trainvaltest.zip", "fine annotation, about 241 MB (login)"),
        Archive("leftImg8bit_trainvaltest.zip", "images, about 11 GB (login)"),
    ),
    semantics=Semantics(
        stuff=True,
        void="With masks=panoptic, pixels of classes that the official evaluation ignores.",
        crowd="With masks=panoptic or things, the groups (values 24 to 33); with masks=paper they are masks.",
        components="A value is one mask, in however many pieces.",
        dropped=("unlabeled",),
    ),
)

_THINGS = range(24, 34)
_IGNORED = frozenset({0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30})
"""Classes with ignoreInEval (cityscapesscripts, helpers/labels.py)."""


class Cityscapes(LabelFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        masks: Literal["paper", "panoptic", "things"] = "paper"
        """`paper`: every value of instanceIds; `panoptic`: the evaluated classes by the official rules; `things`: the
        values from 1000."""
        unlabeled: bool = False
        """Value 0 is a mask too (`paper` only)."""
        min_area: MinArea = 1
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.options = options
        self._image_folder, self._label_folder = (_half(root, name, split) for name in ("leftImg8bit", "gtFine"))

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        def halves(at: Path) -> list[bool]:
            return [_half(at, name, split).is_dir() for name in ("leftImg8bit", "gtFine")]

        return first_place(root, CARD.folders, lambda at: all(halves(at)), lambda at: any(halves(at)))

    @override
    def image_file(self, id: str) -> Path:
        return self._image_folder / id.split("_")[0] / f"{id}_leftImg8bit.png"

    def _label_file(self, id: str) -> Path:
        return self._label_folder / id.split("_")[0] / f"{id}_gtFine_instanceIds.png"

    def _list(self) -> Listing:
        labels = _files(self._label_folder, "_gtFine_instanceIds.png")
        images = _files(self._image_folder, "_leftImg8bit.png")
        unpack = (
            ("leftImg8bit_trainvaltest.zip", "gtFine")
            if len(images) < len(labels)
            else ("gtFine_trainvaltest.zip", "leftImg8bit")
        )
        return list_label_files(
            images,
            labels,
            self._count,
            f"cityscapes {self.options.masks} {self.options.unlabeled}",
            folder=self._label_folder,
            unpack="unzip {} beside {}".format(*unpack),
            missing_images=self.options.missing_images,
        )

    def _count(self, path: Path) -> int:
        return sum(self._role(value, path) == "mask" for value in values_of(read_labels(path)))

    def _read(self, path: Path, size: tuple[int, int] | None) -> GroundTruth:
        instances, void, small = [], [], 0
        for value, mask in masks_by_value(read_labels(path, size), drop=()).items():
            role = self._role(value, path)
            if role == "void":
                void.append(mask)
            if role not in ("mask", "crowd"):
                continue
            if mask.area < self.options.min_area:
                small += 1
                continue
            number = _class(value)
            group = {"group": True} if value in _THINGS else {}
            instances.append(
                Instance(str(value), mask, CARD.classes[number], number, role == "crowd", attributes=group)
            )
        ignored = union(void, void[0].size) if void else None
        return GroundTruth(tuple(instances), void=ignored, dropped={"below_min_area": small} if small else {})

    def _role(self, value: int, path: Path) -> Literal["mask", "crowd", "void", "none"]:
        number = _class(value)
        if number >= len(CARD.classes) or (value >= 1000 and number not in _THINGS):
            raise DataError(
                f"{path}: value {value} is of no Cityscapes class; read as 16 bit, is it the original file?"
            )
        if self.options.masks == "paper":
            return "mask" if value or self.options.unlabeled else "none"
        if value in _THINGS:
            return "crowd"
        if self.options.masks == "things":
            return "mask" if value >= 1000 else "none"
        return "void" if number in _IGNORED else "mask"


def _class(value: int) -> int:
    return value // 1000 if value >= 1000 else value


def _half(base: Path, name: str, split: str) -> Path:
    """The split's folder of labels or images; each archive may have been unpacked in a folder of its own name."""
    own = base / f"{name}_trainvaltest" / name / split
    return own if own.is_dir() else base / name / split


def _files(folder: Path, ending: str) -> Mapping[str, Path]:
    cities = sorted(name for name in list_folder(folder) if (folder / name).is_dir()) if folder.is_dir() else []
    return {
        name.removesuffix(ending): folder / city / name
        for city in cities
        for name in sorted(list_folder(folder / city))
        if name.endswith(ending) and not name.startswith(".")
    }


PLUGIN = Cityscapes
