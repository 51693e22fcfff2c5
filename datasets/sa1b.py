"""SA-1B, the training set of Segment Anything: photographs with about a hundred automatic masks each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers.files import files_by_stem, first_place, list_folder
from sambench.readers.images import SUFFIXES, read_image
from sambench.readers.json.file import read_json
from sambench.readers.label_files import count_in_files
from sambench.readers.listing import ListedDataset, Listing, MissingImages, list_images
from sambench.readers.segmentations import segmentation_mask
from sambench.types import Card, GroundTruth, Instance, Sample, Semantics, Split

CARD = Card(
    name="sa1b",
    title="SA-1B (Segment Anything 1 Billion)",
    citation="Kirillov et al., Segment Anything, ICCV 2023 (arXiv 2304.02643)",
    url="https://ai.facebook.com/datasets/segment-anything/",
    licence="SA-1B Dataset Research License: research only, no redistribution of the images",
    access="Accept the licence at https://ai.facebook.com/datasets/segment-anything-downloads/ to get the list of "
    "links.\nDownload one or more of the tar files.\nUnpack each in DATA_ROOT/sa1b/.",
    layout="sa1b/\n  sa_000000/                   (or the files directly)\n    sa_1.jpg\n    sa_1.json",
    kind="instance",
    splits={"all": Split(None, None, "what was unpacked, of 11 million images and 1.1 billion masks")},
    default_split="all",
    group="reference",
    tasks=frozenset({"single_point", "proposals", "noc"}),
    folders=("sa1b", "SA-1B", "sa-1b", "SA1B"),
    gotchas=(
        "SAM was trained on it and made its masks: a score of SAM here is no zero-shot measurement.",
        "The bbox field's width and height are one less than the mask's extent in pixels.",
        "Faces and number plates are blurred.",
        "Numbers of files are not contiguous.",
    ),
    semantics=Semantics(parts=True, overlaps=True, components="A mask is taken as it is stored."),
)

_NAME = re.compile(r"sa_\d+")


class Sa1b(ListedDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        missing_images: MissingImages = "exclude"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.root, self.options = root, options

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        return first_place(root, CARD.folders, lambda at: _shards(at))

    def load(self, id: str) -> Sample:
        if id not in self._labels:
            raise DataError(f"{self.root}: no image {id}")
        path = self._labels[id]
        image, annotations = _read(path)
        size = (image["height"], image["width"])
        return Sample(
            id, size, partial(read_image, self.image_file(id), size), partial(_truth, path, size, annotations)
        )

    @override
    def image_file(self, id: str) -> Path:
        """The image of an id, or the path where it should be: beside its labels."""
        return self._images.get(id, self._labels[id].with_suffix(".jpg"))

    def _list(self) -> Listing:
        return list_images(
            count_in_files(self._labels, lambda path: len(_read(path)[1]), "sa1b"),
            self._images,
            labels=self.root,
            unpack=f"unpack the tar files in {self.root} again",
            missing_images=self.options.missing_images,
        )

    @cached_property
    def _labels(self) -> Mapping[str, Path]:
        return self._files({".json"})

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return self._files(SUFFIXES)

    def _files(self, suffixes: frozenset[str] | set[str]) -> Mapping[str, Path]:
        found: dict[str, Path] = {}
        for shard in _shards(self.root):
            for id, path in files_by_stem(shard, suffixes).items():
                if _NAME.fullmatch(id) and found.setdefault(id, path) != path:
                    raise UsageError(f"{path}: the same image is in {found[id].parent} as well; keep one of them")
        return found


def _shards(base: Path) -> list[Path]:
    """The folder itself and those of the unpacked tar files, as far as they hold labels."""
    if not base.is_dir():
        return []
    below = [base / name for name in sorted(list_folder(base)) if _NAME.fullmatch(name) and (base / name).is_dir()]
    return [at for at in (base, *below) if any(_is_label(name) for name in list_folder(at))]


def _is_label(name: str) -> bool:
    return name.endswith(".json") and _NAME.fullmatch(name.removesuffix(".json")) is not None


def _read(path: Path) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The entries ``image`` and ``annotations`` of a file, checked. Raises DataError."""
    content = read_json(path)
    image, annotations = (content.get(key) if isinstance(content, dict) else None for key in ("image", "annotations"))
    if not isinstance(image, dict) or not isinstance(annotations, list):
        raise DataError(f"{path}: not a file of SA-1B: it needs an object 'image' and a list 'annotations'")
    if not all(isinstance(image.get(key), int) and image[key] > 0 for key in ("height", "width")):
        raise DataError(f"{path}: height and width are {image.get('height')!r} and {image.get('width')!r}, not pixels")
    ids = [annotation.get("id") if isinstance(annotation, dict) else None for annotation in annotations]
    if not all(isinstance(id, int) for id in ids) or len(set(ids)) < len(ids):
        raise DataError(f"{path}: each annotation needs an id of its own, a whole number")
    return image, annotations


def _truth(path: Path, size: tuple[int, int], annotations: list[Mapping[str, Any]]) -> GroundTruth:
    """Masks by rising id. One whose pixels are not as many as its ``area`` says is refused."""
    instances, empty = [], 0
    for annotation in sorted(annotations, key=lambda annotation: annotation["id"]):
        area = annotation.get("area")
        try:
            mask = segmentation_mask(annotation.get("segmentation"), size)
            if isinstance(area, (int, float)) and area != mask.area:
                raise ValueError(f"its area is given as {area}, the mask has {mask.area} pixels")
        except ValueError as error:
            raise DataError(f"{path}: annotation {annotation['id']}: {error}") from None
        if not mask.area:
            empty += 1
            continue
        kept = {key: annotation[key] for key in ("predicted_iou", "stability_score") if key in annotation}
        instances.append(Instance(str(annotation["id"]), mask, annotated_area=area, attributes=kept))
    return GroundTruth(tuple(instances), dropped={"empty_mask": empty} if empty else {})


PLUGIN = Sa1b
