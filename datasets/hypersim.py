"""Hypersim: rendered rooms in which every pixel knows its object."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers.files import candidates, list_folder
from sambench.readers.hdf5 import array_shape, read_array
from sambench.readers.images import image_size, read_image
from sambench.readers.label_files import count_in_files
from sambench.readers.label_maps import commonest, masks_by_value
from sambench.readers.listing import ListedDataset, Listing, MinArea, MissingImages, list_images
from sambench.readers.tone_mapping import tone_mapped
from sambench.types import Archive, Card, GroundTruth, Image, Instance, PaperUse, Sample, Semantics, Split

_NYU40 = (
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, blinds, desk, shelves, "
    "curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, refrigerator, television, paper, towel, "
    "shower curtain, box, whiteboard, person, nightstand, toilet, sink, lamp, bathtub, bag, other structure, "
    "other furniture, other prop"
)
"""Class number n is the n-th of these, counted from 1."""

CARD = Card(
    name="hypersim",
    title="Hypersim",
    citation="Roberts et al., Hypersim: A Photorealistic Synthetic Dataset for Holistic Indoor Scene Understanding, "
    "ICCV 2021",
    url="https://github.com/apple/ml-hypersim",
    licence="CC BY-SA 3.0",
    access="Get the scenes' zips with code/python/tools/dataset_download_images.py of the repository above (no login,\n"
    "1.9 TB), or single files with contrib/99991/download.py --contains TEXT: a frame needs\n"
    "frame.IIII.tonemap.jpg, frame.IIII.semantic_instance.hdf5 and frame.IIII.semantic.hdf5 (for class names).\n"
    "Unpack them in DATA_ROOT/hypersim/.",
    layout="hypersim/\n  ai_001_001/images/\n    scene_cam_00_final_preview/frame.0000.tonemap.jpg\n"
    "    scene_cam_00_geometry_hdf5/frame.0000.semantic_instance.hdf5\n"
    "    scene_cam_00_geometry_hdf5/frame.0000.semantic.hdf5\n"
    "  metadata_images_split_scene_v1.csv  for the splits train, val and test",
    kind="instance",
    splits={
        "all": Split(74619, None, "every public frame; about 28 masks each"),
        "train": Split(59543),
        "val": Split(7386),
        "test": Split(7690),
    },
    default_split="all",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("hypersim", "Hypersim", "ml-hypersim"),
    paper=PaperUse("Hypersim", "Evermotion archinteriors volumes 1-55 excluding 20,25,40,49", 338, 9445),
    classes=tuple(_NYU40.split(", ")),
    gotchas=(
        "The volumes that the paper names are the whole set: its frames came from train, val and test alike.",
        "Whether the paper used the tone-mapped previews (4:2:0 JPEG) or its own rendering is not known; the previews "
        "are read here, image=hdr renders them anew by the authors' rule.",
        "Frame and camera numbers have gaps; frames that were not released have no files.",
        "The first index of all 74,619 frames opens each of them and takes minutes; it is remembered.",
    ),
    archives=(
        Archive(
            "ai_VVV_NNN.zip",
            "one scene, 1 to 20 GB; 461 of them, at "
            "https://docs-assets.developer.apple.com/ml-research/datasets/hypersim/v1/scenes/",
        ),
        Archive(
            "metadata_images_split_scene_v1.csv",
            "which frame is in which split; evermotion_dataset/analysis/ of the repository",
            splits=("train", "val", "test"),
        ),
    ),
    semantics=Semantics(
        stuff=True,
        components="An object is one mask, in however many pieces; the number is the same in all frames of a scene.",
        frames="Every frame with an image and an instance file.",
    ),
)

_STRUCTURE = (1, 2, 22)
_SCENE = re.compile(r"ai_\d{3}_\d{3}")
_INSTANCES = re.compile(r"frame\.(\d+)\.semantic_instance\.hdf5")
_IMAGES = {
    "preview": ("final_preview", re.compile(r"frame\.(\d+)\.tonemap\.jpg")),
    "hdr": ("final_hdf5", re.compile(r"frame\.(\d+)\.color\.hdf5")),
}
_KEY = "dataset"
"""Every file holds one array, under this key."""


class Hypersim(ListedDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        image: Literal["preview", "hdr"] = "preview"
        """`preview`: the tone-mapped JPEG; `hdr`: the colour in HDF5, tone-mapped by the authors' rule."""
        structure: bool = True
        """Walls, floors and ceilings are masks."""
        min_area: MinArea = 1
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.root, self.split, self.options = root, split, options

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        places = (at for base in candidates(root, CARD.folders) for at in (base, base / "scenes"))
        return next((at for at in places if at.is_dir() and any(map(_SCENE.fullmatch, list_folder(at)))), None)

    @property
    @override
    def excluded(self) -> Mapping[str, int]:
        """Images left out of the index, by rule."""
        unlabelled = sum(self._in_split(id) and id not in self._instances for id in self._images)
        return {**super().excluded, **({"missing_labels": unlabelled} if unlabelled else {})}

    def load(self, id: str) -> Sample:
        labels, image = self._file(id, "geometry_hdf5", "semantic_instance.hdf5"), self.image_file(id)
        if image is not None:
            size, read = image_size(image), partial(read_image, image)
        else:
            colour = self._file(id, "final_hdf5", "color.hdf5")
            height, width, *_ = array_shape(colour, _KEY)
            size, read = (height, width), partial(self._tone_mapped, id, (height, width))
        return Sample(id, size, read, partial(self._truth, labels, size))

    @override
    def image_file(self, id: str) -> Path | None:
        """None if images are made from HDF5."""
        return self._file(id, "final_preview", "tonemap.jpg") if self.options.image == "preview" else None

    def _list(self) -> Listing:
        instances = {id: path for id, path in self._instances.items() if self._in_split(id)}
        if not instances:
            raise UsageError(
                f"{self.root}: no frame of {self.split} has its ai_*/images/scene_cam_*_geometry_hdf5/"
                "frame.*.semantic_instance.hdf5: get them beside the images"
            )
        rule = f"hypersim {self.options.structure} {self.options.min_area}"
        what = "frame.*.tonemap.jpg" if self.options.image == "preview" else "frame.*.color.hdf5"
        return list_images(
            count_in_files(instances, lambda path: len(self._truth(path, None).instances), rule),
            self._images,
            labels=self.root,
            unpack=f"get {what} into images/scene_cam_*_{_IMAGES[self.options.image][0]}/",
            missing_images=self.options.missing_images,
        )

    def _truth(self, path: Path, size: tuple[int, int] | None) -> GroundTruth:
        """``size`` None: to count, without class names where nothing depends on them."""
        labels = read_array(path, _KEY, size)
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise DataError(f"{path}: a map of instances is (H, W) of integers, this is {labels.shape} {labels.dtype}")
        semantic = path.with_name(path.name.replace("semantic_instance", "semantic"))
        named = (size is not None or not self.options.structure) and semantic.is_file()
        classes = read_array(semantic, _KEY, labels.shape) if named else None
        if classes is not None and not -1 <= classes.min() <= classes.max() <= len(CARD.classes):
            raise DataError(f"{semantic}: holds the value {classes.max()}, NYU40 has classes 1 to 40")
        if classes is None and not self.options.structure:
            raise DataError(f"{semantic}: no such file, and without it structure=false cannot be told")
        instances, dropped = [], {"structure": 0, "below_min_area": 0}
        for value, mask in masks_by_value(labels, drop=(-1, 0)).items():
            if value < 0:
                raise DataError(f"{path}: holds the value {value}; instances are numbered from 1, -1 is none")
            number = None if classes is None else commonest(classes, mask)
            if not self.options.structure and number in _STRUCTURE:
                dropped["structure"] += 1
            elif mask.area < self.options.min_area:
                dropped["below_min_area"] += 1
            else:
                name = None if number is None else CARD.classes[number - 1]
                instances.append(Instance(str(value), mask, name, number))
        return GroundTruth(tuple(instances), dropped={rule: count for rule, count in dropped.items() if count})

    def _tone_mapped(self, id: str, size: tuple[int, int]) -> Image:
        colour = read_array(self._file(id, "final_hdf5", "color.hdf5"), _KEY, (*size, 3))
        entities = read_array(self._file(id, "geometry_hdf5", "render_entity_id.hdf5"), _KEY, size)
        return tone_mapped(colour, entities != -1)

    def _file(self, id: str, folder: str, ending: str) -> Path:
        try:
            scene, camera, frame = id.split("/")
        except ValueError:
            raise DataError(f"{self.root}: no frame {id}; ids are SCENE/CAMERA/FRAME") from None
        return self.root / scene / "images" / f"scene_{camera}_{folder}" / f"frame.{frame}.{ending}"

    @cached_property
    def _instances(self) -> Mapping[str, Path]:
        return dict(self._frames("geometry_hdf5", _INSTANCES))

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return dict(self._frames(*_IMAGES[self.options.image]))

    def _frames(self, kind: str, name: re.Pattern[str]) -> Iterator[tuple[str, Path]]:
        for scene in sorted(filter(_SCENE.fullmatch, list_folder(self.root))):
            images = self.root / scene / "images"
            for folder in sorted(list_folder(images)) if images.is_dir() else ():
                camera = re.fullmatch(rf"scene_(cam_\w+?)_{kind}", folder)
                for file in sorted(list_folder(images / folder)) if camera else ():
                    frame = name.fullmatch(file)
                    if camera and frame:
                        yield f"{scene}/{camera[1]}/{frame[1]}", images / folder / file

    def _in_split(self, id: str) -> bool:
        return self._partition is None or id in self._partition

    @cached_property
    def _partition(self) -> frozenset[str] | None:
        """The split's frames; None for all."""
        if self.split == "all":
            return None
        inner = "metadata_images_split_scene_v1.csv"
        places = [self.root / inner, self.root.parent / inner, self.root / "evermotion_dataset" / "analysis" / inner]
        path = next((at for at in places if at.is_file()), None)
        if path is None:
            raise UsageError(
                f"{places[0]}: no such file; it says which frames are {self.split}: take it from the repository"
            )
        with path.open(newline="", encoding="utf-8") as file:
            try:
                return frozenset(
                    f"{row['scene_name']}/{row['camera_name']}/{int(row['frame_id']):04d}"
                    for row in csv.DictReader(file)
                    if row["split_partition_name"] == self.split and row["included_in_public_release"] == "True"
                )
            except (KeyError, ValueError, TypeError, UnicodeDecodeError, csv.Error) as error:
                raise UsageError(f"{path}: not Hypersim's table of frames ({error!r})") from None


PLUGIN = Hypersim
