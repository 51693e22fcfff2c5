"""COCO-style annotation files (COCO, LVIS and the many that copy their form), indexed once and read image by image.

Format: https://cocodataset.org/#format-data. What is wrong with the file as a whole is a UsageError before a run
starts; what is wrong with one image's masks is a DataError when that image is loaded.

The index holds the place of every entry in the file, not the entry: a mask is parsed when its image is loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from sambench import masks
from sambench.core.dataset import Dataset, GroundTruth, IndexEntry, Instance, Sample
from sambench.core.mask import Image, Mask
from sambench.errors import DataError, UsageError
from sambench.readers.files import first_place, list_folder, nfc
from sambench.readers.images import MAX_PIXELS, read_image
from sambench.readers.index_cache import Arrays, cached
from sambench.readers.json.spans import JsonFile, open_json, within
from sambench.readers.listing import MissingImages
from sambench.readers.segmentations import Fill, segmentation_mask

FindImage = Callable[[Mapping[str, Any]], Path]
"""From an entry of ``images`` to the file that should hold it."""

_INDEX = "coco-1"
"""What index this code makes: another number with every change to :func:`_make_index` that can change an array."""

_CATEGORY_ATTRIBUTES = ("supercategory", "frequency", "synset")
_SAMPLE_ATTRIBUTES = ("neg_category_ids", "not_exhaustive_category_ids")


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A file that was read and checked. ``ids``: of its images, as text, in file order, each with its place in that
    order. ``categories``: by id. ``found``: see :func:`_make_index`."""

    json: JsonFile
    ids: Mapping[str, int]
    categories: Mapping[Any, Mapping[str, Any]]
    found: Arrays = field(repr=False)

    @property
    def path(self) -> Path:
        return self.json.path

    def size(self, id: str) -> tuple[int, int]:
        """``(height, width)`` that the file gives for an image."""
        height, width = self.found["sizes"][self.ids[id]].tolist()
        return (height, width)

    def n_masks(self, id: str) -> int:
        """Annotations of an image that are not crowd and whose segmentation is not an empty list."""
        return int(self.found["n_masks"][self.ids[id]])

    def entry(self, id: str) -> Mapping[str, Any]:
        """The entry of an image in the list ``images``, as it stands."""
        place = self.ids[id]
        (entry,) = self.json.values(self.found["image_spans"][place : place + 1])
        return dict(entry)

    def entries(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """All of them, in file order; for what concerns every image, because it reads the list at once."""
        parts = self.json.elements(self.found["images"], self.found["image_spans"])
        return zip(self.ids, (entry for part in parts for entry in part), strict=True)

    def truth(self, id: str, fill: Fill = masks.from_polygons) -> GroundTruth:
        """The masks of an image. Those that rasterise to nothing are dropped and counted as ``empty_mask``.

        Raises DataError with the annotation's id: malformed run lengths or polygons, or of another image size.
        """
        size, place = self.size(id), self.ids[id]
        first, last = self.found["first"][place : place + 2]
        annotations = self.json.values(self.found["annotation_spans"][first:last])
        instances: list[Instance] = []
        empty: list[Instance] = []
        for annotation in annotations:
            mask = self._mask(annotation, size, fill)
            number, area = annotation.get("category_id"), annotation.get("area")
            category = self.categories.get(number, {})
            attributes = {key: category[key] for key in _CATEGORY_ATTRIBUTES if key in category}
            own = annotation.get("attributes")
            (instances if mask.area else empty).append(
                Instance(
                    id=str(annotation["id"]),
                    mask=mask,
                    class_name=category.get("name"),
                    class_id=number if isinstance(number, int) else None,
                    crowd=bool(annotation.get("iscrowd", 0)),
                    annotated_area=float(area) if isinstance(area, (int, float)) else None,
                    attributes={**attributes, **(own if isinstance(own, dict) else {})},
                    annotated_box=_box(annotation.get("bbox")),
                )
            )
        dropped = {"empty_mask": len(empty)} if empty else {}
        return GroundTruth(tuple(instances), dropped=dropped, empty=tuple(empty))

    def _mask(self, annotation: Mapping[str, Any], size: tuple[int, int], fill: Fill) -> Mask:
        try:
            return segmentation_mask(annotation["segmentation"], size, fill)
        except ValueError as error:
            where = f"{self.path}: annotation {annotation['id']} of image {annotation['image_id']}"
            raise DataError(f"{where}: {error}") from None


def load(path: Path) -> CocoFile:
    """Read and check a file. Raises UsageError: unreadable, not JSON, keys missing, ids that repeat or dangle."""
    file = open_json(path)
    found = cached(_INDEX, file.digest, partial(_make_index, file), file.size)
    ids = {id: place for place, id in enumerate(json.loads(found["ids"].tobytes()))}
    return CocoFile(file, ids, _categories(file, found["categories"]), found)


def _make_index(file: JsonFile) -> Arrays:
    """Where everything lies in a file, after everything was checked.

    ``images``: ``(2,)``, the place of that list; ``image_spans``: ``(N, 2)``, of its entries; ``ids``: their ids, as a
    JSON list of texts; ``sizes``: ``(N, 2)``, height and width. ``annotation_spans``: ``(M, 2)``, by image, in file
    order for each; ``first``: ``(N + 1,)``, where the ones of an image begin; ``n_masks``: ``(N,)``.
    ``categories``: ``(2,)``, the place of that list, or empty if there is none.
    """
    top, inner = file.members()
    if isinstance(top, list):
        raise UsageError(
            f"{file.path}: holds a list; that is a file of results, annotations have 'images' and 'annotations'"
        )
    if not isinstance(top, dict):
        raise UsageError(f"{file.path}: not a COCO-style annotation file: its top level is not an object")
    for key in ("images", "annotations", "categories"):
        if (key in top or key != "categories") and not file.is_array(top.get(key)):
            raise UsageError(f"{file.path}: not a COCO-style annotation file: no list {key!r}")
    image_spans, annotation_spans = within(top["images"], inner), within(top["annotations"], inner)
    categories = top.get("categories", np.empty(0, np.int64))
    ids, sizes = _read_images(file, file.elements(top["images"], image_spans))
    owners, counted = _read_annotations(
        file, file.elements(top["annotations"], annotation_spans), ids, _categories(file, categories).keys()
    )
    order = np.argsort(owners, kind="stable")
    return {
        "images": top["images"],
        "image_spans": image_spans,
        "ids": np.frombuffer(json.dumps(list(ids)).encode(), np.uint8),
        "sizes": np.array(sizes, np.int64).reshape(-1, 2),
        "annotation_spans": annotation_spans[order],
        "first": np.searchsorted(owners[order], np.arange(len(ids) + 1)),
        "n_masks": np.bincount(owners[counted], minlength=len(ids)),
        "categories": categories,
    }


def _read_images(file: JsonFile, parts: Iterator[list[Any]]) -> tuple[Mapping[str, int], Sequence[tuple[int, int]]]:
    """Ids, each with its place, and ``(height, width)``."""
    ids: dict[str, int] = {}
    sizes = []
    for image in (entry for part in parts for entry in part):
        if not isinstance(image, dict) or not isinstance(image.get("id"), (int, str)):
            raise UsageError(f"{file.path}: an image has no id")
        id = str(image["id"])
        if id in ids:
            raise UsageError(f"{file.path}: image id {id} is given twice")
        height, width = image.get("height"), image.get("width")
        if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
            raise UsageError(f"{file.path}: image {id} needs height and width in pixels, has {height!r} and {width!r}")
        if height * width > MAX_PIXELS:
            raise UsageError(f"{file.path}: image {id} is given as {width} x {height}, more than {MAX_PIXELS} pixels")
        ids[id] = len(ids)
        sizes.append((height, width))
    return ids, sizes


def _read_annotations(
    file: JsonFile, parts: Iterator[list[Any]], ids: Mapping[str, int], categories: Collection[Any]
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """For each annotation the place of its image, and whether it declares a mask that is not crowd."""
    owners: list[int] = []
    counted: list[bool] = []
    seen: set[str] = set()
    for annotation in (entry for part in parts for entry in part):
        if not isinstance(annotation, dict) or annotation.get("id") is None or "image_id" not in annotation:
            raise UsageError(f"{file.path}: an annotation has no 'id' or no 'image_id'")
        id, image_id, category = str(annotation["id"]), str(annotation["image_id"]), annotation.get("category_id")
        if id in seen:
            raise UsageError(f"{file.path}: annotation id {id} is given twice")
        seen.add(id)
        if image_id not in ids:
            raise UsageError(f"{file.path}: annotation {id} refers to image {image_id}, not listed")
        segmentation = annotation.get("segmentation")
        if segmentation is None:
            raise UsageError(f"{file.path}: annotation {id} has no 'segmentation'; a file of captions or boxes?")
        if category is not None and not (isinstance(category, (int, str)) and category in categories):
            raise UsageError(f"{file.path}: annotation {id} has category {category}, which is not listed")
        owners.append(ids[image_id])
        counted.append(segmentation not in ([], [[]]) and not annotation.get("iscrowd", 0))
    return np.array(owners, np.int64), np.array(counted, np.bool_)


def _box(box: Any) -> tuple[float, float, float, float] | None:
    """A box ``[x, y, width, height]`` of an annotation, None if it has no proper one."""
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(v, (int, float)) for v in box)):
        return None
    x, y, width, height = map(float, box)
    return (x, y, width, height)


def _categories(file: JsonFile, place: np.ndarray[Any, np.dtype[np.int64]]) -> Mapping[Any, Mapping[str, Any]]:
    categories: dict[Any, Mapping[str, Any]] = {}
    (listed,) = file.values(place[None]) if len(place) else ([],)
    for category in listed:
        if not isinstance(category, dict) or not isinstance(category.get("id"), (int, str)):
            raise UsageError(f"{file.path}: a category has no id")
        if category["id"] in categories:
            raise UsageError(f"{file.path}: category id {category['id']} is given twice")
        categories[category["id"]] = category
    return categories


@dataclass(frozen=True, eq=False)
class CocoReader:
    """A COCO-style file and its images, as a dataset plugin needs them.

    ``find_image``: None means that there are no images, and truth can still be read. ``missing_images``: see
    :data:`~sambench.readers.listing.MissingImages`. ``unpack``: what to tell someone whose images or labels are
    missing. ``prepare``: changes an image's ground truth after it was read. ``by_name``: ids are the stems of the
    file names, not the file's numbers. ``only_annotated``: images without a mask are left out and counted as
    ``no_mask``. ``fill``: makes masks of polygons. ``read``: reads an image file, given its annotated ``(H, W)``.
    """

    annotations: Path
    find_image: FindImage | None
    missing_images: MissingImages = "error"
    unpack: str = "check the image folder"
    prepare: Callable[[GroundTruth], GroundTruth] | None = None
    by_name: bool = False
    only_annotated: bool = False
    fill: Fill = masks.from_polygons
    read: Callable[[Path, tuple[int, int]], Image] = read_image

    def __post_init__(self) -> None:
        # Options are checked where they are built; a user's plugin may hand over any text.
        if self.missing_images not in ("error", "exclude"):
            raise UsageError(f"dataset.missing_images is 'error' or 'exclude', not {self.missing_images!r}")

    @cached_property
    def file(self) -> CocoFile:
        if not self.annotations.exists():
            raise UsageError(f"{self.annotations}: the labels are missing: {self.unpack}")
        return load(self.annotations)

    @property
    def categories(self) -> Mapping[int, str]:
        """The names of the categories that have a number for an id, by that."""
        listed = self.file.categories.items()
        return {number: str(entry.get("name", number)) for number, entry in listed if isinstance(number, int)}

    @property
    def excluded(self) -> Mapping[str, int]:
        """Images left out of the index, by rule."""
        missing = len(self._missing) if self.missing_images == "exclude" else 0
        counts = {"no_mask": len(self._ids) - len(self._listed), "missing_image": missing}
        return {rule: count for rule, count in counts.items() if count}

    def index(self) -> Sequence[IndexEntry]:
        """The images of the file, sorted by id. Raises UsageError if images are missing and not to be left out."""
        if self._missing and self.missing_images == "error":
            first = next(iter(self._missing.values()))
            if len(self._missing) == len(self._listed):
                raise UsageError(
                    f"{self.annotations}: the labels are there, the images are not (first: {first}): {self.unpack}"
                )
            raise UsageError(
                f"{len(self._missing)} of {len(self._listed)} images of {self.annotations} are missing; "
                f"first: {first}; {self.unpack}, or leave them out with --set dataset.missing_images=exclude"
            )
        return [IndexEntry(id, self.file.n_masks(self._ids[id])) for id in self._listed if id not in self._missing]

    def load(self, id: str) -> Sample:
        """The sample of an id. Raises DataError if the file does not list it."""
        entry = self._entry(id)
        size = self.file.size(self._ids[id])
        return Sample(
            id=id,
            size=size,
            read_image=partial(self._read_image, id, size),
            read_truth=partial(self._read_truth, id),
            attributes={key: entry[key] for key in _SAMPLE_ATTRIBUTES if key in entry},
        )

    def image_file(self, id: str) -> Path | None:
        """The file of an image, or the path where it should be; None if this dataset has no images."""
        if self.find_image is None:
            return None
        path = self.find_image(self._entry(id))
        return path if path.exists() else path.parent / self._names(str(path.parent)).get(nfc(path.name), path.name)

    def _entry(self, id: str) -> Mapping[str, Any]:
        if id not in self._ids:
            raise DataError(f"{self.annotations}: no image {id}")
        return self.file.entry(self._ids[id])

    def _read_image(self, id: str, size: tuple[int, int]) -> Image:
        path = self.image_file(id)
        if path is None:
            raise DataError(f"{self.annotations}: no image folder was given, so image {id} has no pixels to read")
        return self.read(path, size)

    def _read_truth(self, id: str) -> GroundTruth:
        truth = self.file.truth(self._ids[id], self.fill)
        return truth if self.prepare is None else self.prepare(truth)

    @cached_property
    def _ids(self) -> Mapping[str, str]:
        """By the id in the index, the id in the file."""
        if not self.by_name:
            return {id: id for id in self.file.ids}
        found: dict[str, str] = {}
        folded: dict[str, str] = {}
        for id, entry in self.file.entries():
            name = nfc(PurePosixPath(file_name(self.annotations, entry)).stem)
            twin = folded.setdefault(name.casefold(), id)
            if twin != id:
                raise UsageError(
                    f"{self.annotations}: images {twin} and {id} are both named {name} (or differ in letter case only)"
                )
            found[name] = id
        return found

    @cached_property
    def _listed(self) -> Sequence[str]:
        """The ids of the index, sorted, wherever their files are."""
        return [id for id in sorted(self._ids) if not self.only_annotated or self.file.n_masks(self._ids[id])]

    @cached_property
    def _missing(self) -> Mapping[str, Path]:
        """Where the files of images should be that are not there, by the images' ids, sorted."""
        if self.find_image is None:
            return {}
        listed = set(self._listed)
        own = {id: name for name, id in self._ids.items()}
        missing = {}
        for id, entry in self.file.entries():
            if own[id] in listed:
                path = self.find_image(entry)
                folder, name = os.path.split(path)
                if nfc(name) not in self._names(folder):
                    missing[own[id]] = path
        return dict(sorted(missing.items()))

    def _names(self, folder: str) -> Mapping[str, str]:
        """The names in a folder as they really are on disk, by their composed form."""
        if folder not in self._listings:
            names = list_folder(Path(folder)) if os.path.isdir(folder) else []
            self._listings[folder] = {nfc(name): name for name in names}
        return self._listings[folder]

    @cached_property
    def _listings(self) -> dict[str, Mapping[str, str]]:
        return {}


@dataclass(frozen=True, eq=False)
class CocoParts:
    """Several files as one dataset. Their ids restart in each, so an image's id is ``PART:ID``."""

    parts: Mapping[str, CocoReader]

    @property
    def categories(self) -> Mapping[int, str]:
        """As in :meth:`CocoReader.categories`. Raises UsageError if a number stands for two names."""
        names: dict[int, str] = {}
        for part in self.parts.values():
            for number, name in part.categories.items():
                if names.setdefault(number, name) != name:
                    raise UsageError(
                        f"{part.annotations}: category {number} is {name}, in another part {names[number]}"
                    )
        return names

    @property
    def excluded(self) -> Mapping[str, int]:
        """As in :meth:`CocoReader.excluded`, added up."""
        counts: dict[str, int] = {}
        for part in self.parts.values():
            for rule, count in part.excluded.items():
                counts[rule] = counts.get(rule, 0) + count
        return counts

    def index(self) -> Sequence[IndexEntry]:
        """As in :meth:`CocoReader.index`, of all parts together."""
        entries = (
            replace(entry, id=f"{name}:{entry.id}") for name, part in self.parts.items() for entry in part.index()
        )
        return sorted(entries, key=lambda entry: entry.id)

    def load(self, id: str) -> Sample:
        part, own = self._split(id)
        return replace(part.load(own), id=id)

    def image_file(self, id: str) -> Path | None:
        part, own = self._split(id)
        return part.image_file(own)

    def _split(self, id: str) -> tuple[CocoReader, str]:
        name, _, own = id.partition(":")
        if name not in self.parts:
            raise DataError(f"no image {id}: there is no part {name!r}, only {', '.join(self.parts)}")
        return self.parts[name], own


class CocoDataset(Dataset):
    """The part of a dataset plugin that a reader answers. The plugin sets ``_reader`` when it is made, or makes it on
    first use. What each member is: see :class:`CocoReader`."""

    @cached_property
    def _reader(self) -> CocoReader | CocoParts | Dataset:
        raise NotImplementedError

    @property
    def categories(self) -> Mapping[int, str] | None:
        return self._reader.categories

    @property
    def excluded(self) -> Mapping[str, int]:
        return self._reader.excluded

    def index(self) -> Sequence[IndexEntry]:
        return self._reader.index()

    def load(self, id: str) -> Sample:
        return self._reader.load(id)

    def image_file(self, id: str) -> Path | None:
        return self._reader.image_file(id)


def file_name(annotations: Path, entry: Mapping[str, Any]) -> str:
    """``file_name`` of an entry of ``images``. Raises UsageError if it has none."""
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        raise UsageError(f"{annotations}: image {entry['id']} has no file_name")
    return name


def images_in(folder: Path, annotations: Path) -> FindImage:
    """Finds images by ``file_name`` in a folder, whether or not the name repeats the folder's own (``images/1.png``
    in ``images``)."""

    def find_image(entry: Mapping[str, Any]) -> Path:
        name = PurePosixPath(file_name(annotations, entry))
        return folder.parent / name if name.parts[0] == folder.name else folder / name

    return find_image


def named_reader(
    annotations: Path, images: Path, missing_images: MissingImages, unpack: str, **fields: Any
) -> CocoReader:
    """Reads a file with its folder of ``images`` by their names, but for those without a mask. ``fields``: further ones
    of :class:`CocoReader`."""
    find_image = images_in(images, annotations)
    return CocoReader(annotations, find_image, missing_images, unpack, by_name=True, only_annotated=True, **fields)


def base_of(root: Path, folders: Collection[str], labels: Callable[[Path], bool], images: str) -> Path | None:
    """Where a dataset lies: the first place (see :func:`sambench.readers.files.candidates`) of which ``labels`` says
    that they are there; else the first below the data root that holds the folder ``images`` alone, so that opening it
    can say what is missing."""
    return first_place(root, folders, labels, lambda base: base != root and (base / images).is_dir())
