"""iShape: thin, branching and interlaced things, photographed (antennas) or rendered (all others)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers.coco_json import CocoReader, base_of
from sambench.readers.files import files_by_stem
from sambench.readers.images import SUFFIXES, read_labels
from sambench.readers.label_files import count_in_files
from sambench.readers.label_maps import Labels, masks_by_value
from sambench.readers.listing import ImageFileDataset, Listing, MissingImages, list_images
from sambench.types import Archive, Card, GroundTruth, Instance, Mask, PaperUse, Semantics, Split

SUBSETS = ("antenna", "branch", "fence", "hanger", "log", "wire")

CARD = Card(
    name="ishape",
    title="iShape",
    citation="Yang, Yan, He, Sun, Huang, Huang, Fan, iShape: A First Step Towards Irregular Shape Instance "
    "Segmentation, arXiv 2109.15068, 2021",
    url="https://ishape.github.io",
    licence="CC0 1.0",
    access="Download ishape_dataset.tar from https://ishape.github.io (no login, 4.5 GB).\n"
    "Unpack it in DATA_ROOT/ishape/.",
    layout="ishape/                        (or ishape_dataset/)\n"
    "  wire/val/image/212.jpg       and antenna, branch, fence, hanger, log\n"
    "  wire/val/instance_map/212.png    16 bit: 1000 and above are instances\n"
    "  wire/val/coco_format-mask_encoding=rle-instances_2017.json",
    kind="instance",
    splits={
        "val": Split(None, None, "500 images of each subset but antenna; about 13.7 masks in each"),
        "train": Split(None, None, "2,000 images of each subset but antenna"),
    },
    default_split="val",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("ishape", "iShape", "ishape_dataset"),
    paper=PaperUse("iShape", "Validation", 754, 9742),
    classes=SUBSETS,
    gotchas=(
        "The paper names antennas, logs, fences and hangers; whether it left out branches and wires is not known. All "
        "six are read by default; --set dataset.subsets=antenna,log reads some.",
        "Instances have many pieces and holes, and may be one pixel thin: they are never split, nor made polygons.",
        "The maps have 16 bits: a tool that saves them with 8 bits destroys them.",
        "The links in coco_format/ are not needed.",
    ),
    archives=(
        Archive(
            "ishape_dataset.tar",
            "all six subsets, 4.5 GB (md5 2b3bd15e6ec762bbc03dddc5e4bc24df)",
            url="https://ylshare.oss-cn-shanghai.aliyuncs.com/ishape_dataset.tar",
        ),
    ),
    semantics=Semantics(components="A value of the instance map is one mask, in however many pieces."),
)

_JSON = "coco_format-mask_encoding=rle-instances_2017.json"
_FIRST = 1000
"""Values from here on are instances of category 1, the only one; lower ones are background."""


class IShape(ImageFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        subsets: tuple[str, ...] = SUBSETS
        """Which of the six to read."""
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        unknown = sorted(set(options.subsets) - set(SUBSETS))
        if unknown or not options.subsets:
            raise UsageError(f"dataset.subsets: choose from {', '.join(SUBSETS)}, not {', '.join(unknown) or 'none'}")
        self.root, self.options = root, options
        self._parts = {f"{subset}/{split}": _Part(root / subset / split, subset) for subset in options.subsets}

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        def has_labels(base: Path) -> bool:
            folders = [base / subset / split for subset in options.subsets]
            return any((at / "instance_map").is_dir() or (at / _JSON).is_file() for at in folders)

        return base_of(root, CARD.folders, has_labels, f"{next(iter(options.subsets), '')}/{split}/image")

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        part, stem = self._split(id)
        return part.truth(stem, size)

    def _attributes(self, id: str) -> Mapping[str, Any]:
        return {"subset": self._split(id)[0].subset}

    @override
    def image_file(self, id: str) -> Path:
        part, stem = self._split(id)
        return part.images.get(stem, part.folder / "image" / f"{stem}.jpg")

    def _split(self, id: str) -> tuple[_Part, str]:
        name, _, stem = id.rpartition("/")
        if name not in self._parts:
            raise DataError(f"{self.root}: no image {id}")
        return self._parts[name], stem

    def _list(self) -> Listing:
        return list_images(
            {f"{name}/{stem}": count for name, part in self._parts.items() for stem, count in part.counts().items()},
            {f"{name}/{stem}" for name, part in self._parts.items() for stem in part.images},
            labels=self.root,
            unpack=f"unpack ishape_dataset.tar in {self.root} again",
            missing_images=self.options.missing_images,
        )


class _Part:
    """One subset of a split: maps, and the same as run lengths, of which either may be absent."""

    def __init__(self, folder: Path, subset: str) -> None:
        self.folder, self.subset = folder, subset
        self._coded = CocoReader(folder / _JSON, None, by_name=True)

    def counts(self) -> Mapping[str, int]:
        """Masks by stem; from the file of run lengths where it lists an image, because that needs no decoding."""
        if not self._listed and not self._maps:
            raise UsageError(
                f"{self.folder}: neither instance_map/ nor {_JSON}: unpack ishape_dataset.tar again, or leave out "
                f"{self.subset} with --set dataset.subsets"
            )
        others = {stem: path for stem, path in self._maps.items() if stem not in self._listed}
        decoded = count_in_files(others, lambda path: len(_instances(read_labels(path))), "ishape") if others else {}
        # An image without either counts among those without a mask.
        return {**dict.fromkeys(self.images, 0), **self._listed, **decoded}

    def truth(self, stem: str, size: tuple[int, int]) -> GroundTruth:
        """From the map if there is one, else from run lengths. Raises DataError, also if the two disagree."""
        if stem not in self._maps:
            return self._decoded(stem, size)
        path = self._maps[stem]
        labels = read_labels(path, size)
        if labels.dtype == np.uint8:
            raise DataError(f"{path}: has 8 bits a pixel, the original has 16; unpack it again")
        masks = _instances(labels)
        wrong = [value for value in masks if value >= 2 * _FIRST]
        if wrong:
            raise DataError(f"{path}: holds the value {wrong[0]}, which is not an instance; unpack it again")
        # What is listed may rasterise to nothing; so it is decoded before it is called a contradiction.
        if self._listed.get(stem, len(masks)) != len(masks):
            listed = len(self._decoded(stem, size).instances)
            if listed != len(masks):
                raise DataError(f"{path}: holds {len(masks)} instances, {_JSON} lists {listed}; unpack both again")
        return GroundTruth(tuple(Instance(str(value), mask, self.subset) for value, mask in masks.items()))

    def _decoded(self, stem: str, size: tuple[int, int]) -> GroundTruth:
        coded = self._coded.load(stem)
        if coded.size != size:
            raise DataError(f"{self.folder / _JSON}: image {stem} has {coded.size} (h, w) there, its file {size}")
        named = [replace(i, class_name=self.subset, class_id=None, attributes={}) for i in coded.truth.instances]
        return replace(coded.truth, instances=tuple(named))

    @cached_property
    def _listed(self) -> Mapping[str, int]:
        """Masks by stem, of the images in the file of run lengths, should there be one."""
        there = self._coded.annotations.is_file()
        return {entry.id: entry.n_masks for entry in self._coded.index()} if there else {}

    @cached_property
    def images(self) -> Mapping[str, Path]:
        return files_by_stem(self.folder / "image", SUFFIXES, missing_ok=True)

    @cached_property
    def _maps(self) -> Mapping[str, Path]:
        return files_by_stem(self.folder / "instance_map", SUFFIXES, missing_ok=True)


def _instances(labels: Labels) -> Mapping[int, Mask]:
    return masks_by_value(labels, range(_FIRST))


PLUGIN = IShape
