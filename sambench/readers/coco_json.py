"""COCO-style annotation files (COCO, LVIS and the many that copy their form), read once and indexed by image.

Format: https://cocodataset.org/#format-data. What is wrong with the file as a whole is a UsageError before a run
starts; what is wrong with one image's masks is a DataError when that image is loaded.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sambench import masks
from sambench.errors import DataError, UsageError
from sambench.readers.files import list_folder, nfc
from sambench.readers.images import LFS_POINTER, MAX_PIXELS, read_image
from sambench.types import GroundTruth, Image, IndexEntry, Instance, Mask, Sample

MISSING_IMAGES = ("error", "exclude")
"""What to do about images that are annotated but not on disk: stop with one number, or leave them out and count."""

_CATEGORY_ATTRIBUTES = ("supercategory", "frequency", "synset")
_SAMPLE_ATTRIBUTES = ("neg_category_ids", "not_exhaustive_category_ids")


@dataclass(slots=True)
class Annotation:
    """One entry of ``annotations``. ``segmentation``: polygons as arrays of doubles, or a run-length dictionary."""

    id: Any
    image_id: Any
    category_id: Any
    crowd: bool
    area: float | None
    segmentation: Any
    attributes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A parsed file. ``images``: by ``str(id)``, the entries as they stand. ``annotations``: by the same key, in file
    order, an entry for each image. ``categories``: by id."""

    path: Path
    images: Mapping[str, Mapping[str, Any]]
    annotations: Mapping[str, Sequence[Annotation]]
    categories: Mapping[Any, Mapping[str, Any]]

    def size(self, id: str) -> tuple[int, int]:
        """``(height, width)`` that the file gives for an image."""
        image = self.images[id]
        return (image["height"], image["width"])

    def truth(self, id: str) -> GroundTruth:
        """The masks of an image. Those that rasterise to nothing are dropped and counted as ``empty_mask``.

        Raises DataError with the annotation's id: malformed run lengths or polygons, or of another image size.
        """
        size = self.size(id)
        instances = []
        for annotation in self.annotations[id]:
            mask = self._mask(annotation, size)
            if mask.area == 0:
                continue
            category = self.categories.get(annotation.category_id, {})
            attributes = {key: category[key] for key in _CATEGORY_ATTRIBUTES if key in category}
            instances.append(
                Instance(
                    id=str(annotation.id),
                    mask=mask,
                    class_name=category.get("name"),
                    class_id=annotation.category_id if isinstance(annotation.category_id, int) else None,
                    crowd=annotation.crowd,
                    annotated_area=annotation.area,
                    attributes={**attributes, **annotation.attributes},
                )
            )
        empty = len(self.annotations[id]) - len(instances)
        return GroundTruth(tuple(instances), dropped={"empty_mask": empty} if empty else {})

    def _mask(self, annotation: Annotation, size: tuple[int, int]) -> Mask:
        where = f"{self.path}: annotation {annotation.id} of image {annotation.image_id}"
        segmentation = annotation.segmentation
        try:
            if isinstance(segmentation, list):
                _require_near(segmentation, size)
                return masks.from_polygons(segmentation, size)
            if not isinstance(segmentation, dict):
                raise ValueError("segmentation is neither a list of polygons nor a run-length code")
            counts = segmentation.get("counts")
            if isinstance(counts, array):
                counts = counts.tolist()
            if not isinstance(counts, (list, str)):
                raise ValueError("a run-length code needs 'counts', a list or a text")
            code = {"size": segmentation.get("size"), "counts": counts}
            if code["size"] != list(size):
                raise ValueError(f"the mask is made for [height, width] = {code['size']}, its image has {list(size)}")
            return masks.from_rle(code)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{where}: {error}") from None


def _require_near(polygons: Sequence[Any], size: tuple[int, int]) -> None:
    """Polygons may reach a little over the border (they are clipped). One that lies an image away belongs to another
    image or scale, and the rasteriser's memory grows with it."""
    height, width = size
    for polygon in polygons:
        if not isinstance(polygon, (array, list)):
            raise ValueError("segmentation must be a list of polygons, each a list [x1, y1, x2, y2, ...]")
        for axis, values, extent in (("x", polygon[0::2], width), ("y", polygon[1::2], height)):
            for value in (min(values, default=0.0), max(values, default=0.0)):
                if not -extent <= value <= 2 * extent and value == value:
                    raise ValueError(
                        f"a polygon reaches to {axis} = {value:g}, the image is {width} x {height} (w x h)"
                    )


def load(path: Path) -> CocoFile:
    """Read and check a file. Raises UsageError: unreadable, not JSON, keys missing, ids that repeat or dangle."""
    content = _parse(path)
    if isinstance(content, list):
        raise UsageError(
            f"{path}: holds a list; that is a file of results, annotations have 'images' and 'annotations'"
        )
    if not isinstance(content, dict):
        raise UsageError(f"{path}: not a COCO-style annotation file: its top level is no object")
    for key in ("images", "annotations"):
        if not isinstance(content.get(key), list):
            raise UsageError(f"{path}: not a COCO-style annotation file: no list {key!r}")

    categories: dict[Any, Mapping[str, Any]] = {}
    for category in content.get("categories", []):
        if not isinstance(category, dict) or not isinstance(category.get("id"), (int, str)):
            raise UsageError(f"{path}: a category has no id")
        if category["id"] in categories:
            raise UsageError(f"{path}: category id {category['id']} is given twice")
        categories[category["id"]] = category

    images: dict[str, Mapping[str, Any]] = {}
    for image in content["images"]:
        if not isinstance(image, dict) or not isinstance(image.get("id"), (int, str)):
            raise UsageError(f"{path}: an image has no id")
        id = str(image["id"])
        if id in images:
            raise UsageError(f"{path}: image id {id} is given twice")
        height, width = image.get("height"), image.get("width")
        if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
            raise UsageError(f"{path}: image {id} needs height and width in pixels, has {height!r} and {width!r}")
        if height * width > MAX_PIXELS:
            raise UsageError(f"{path}: image {id} is given as {width} x {height}, more than {MAX_PIXELS} pixels")
        images[id] = image

    annotations: dict[str, list[Annotation]] = {id: [] for id in images}
    seen: set[str] = set()
    for annotation in content["annotations"]:
        if not isinstance(annotation, Annotation) or annotation.id is None:
            raise UsageError(f"{path}: an annotation has no 'id' or no 'image_id'")
        if str(annotation.id) in seen:
            raise UsageError(f"{path}: annotation id {annotation.id} is given twice")
        seen.add(str(annotation.id))
        if str(annotation.image_id) not in images:
            raise UsageError(f"{path}: annotation {annotation.id} refers to image {annotation.image_id}, not listed")
        if annotation.segmentation is None:
            raise UsageError(f"{path}: annotation {annotation.id} has no 'segmentation'; a file of captions or boxes?")
        if annotation.category_id is not None and not (
            isinstance(annotation.category_id, (int, str)) and annotation.category_id in categories
        ):
            raise UsageError(
                f"{path}: annotation {annotation.id} has category {annotation.category_id}, which is not listed"
            )
        annotations[str(annotation.image_id)].append(annotation)
    return CocoFile(path, images, annotations, categories)


def _parse(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    if data.startswith(LFS_POINTER):
        raise UsageError(f"{path}: a Git LFS pointer lies in the file's place; run `git lfs pull` in its repository")
    try:
        return json.loads(data, object_hook=_compact)
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: not JSON ({error.msg}, line {error.lineno} column {error.colno})") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: not JSON ({error})") from None


def _compact(entry: dict[str, Any]) -> Any:
    """Called by the JSON parser for each object as it closes: coordinates become arrays while the file is read,
    because a list of Python floats takes four times the memory (104 MB of LVIS: a peak of 0.40 instead of 0.64 GB)."""
    if "counts" in entry:
        entry["counts"] = _as_array("q", entry["counts"])
    elif "image_id" in entry:
        segmentation, attributes, area = entry.get("segmentation"), entry.get("attributes"), entry.get("area")
        if isinstance(segmentation, list):
            segmentation = [_as_array("d", polygon) for polygon in segmentation]
        return Annotation(
            id=entry.get("id"),
            image_id=entry["image_id"],
            category_id=entry.get("category_id"),
            crowd=bool(entry.get("iscrowd", 0)),
            area=float(area) if isinstance(area, (int, float)) else None,
            segmentation=segmentation,
            attributes=attributes if isinstance(attributes, dict) else {},
        )
    return entry


def _as_array(kind: str, values: Any) -> Any:
    """The list as a typed array; unchanged if it is no list of such numbers, for :meth:`CocoFile.truth` to judge."""
    if not isinstance(values, list):
        return values
    try:
        return array(kind, values)
    except (TypeError, OverflowError):
        return values


@dataclass(frozen=True, eq=False)
class CocoReader:
    """A COCO-style file and its images, as a dataset plugin needs them.

    ``find_image``: from an entry of ``images`` to the file that should hold it; None in its place means that there
    are no images, and truth can still be read. ``missing_images``: see :data:`MISSING_IMAGES`. ``unpack``: what to
    tell someone whose images are missing. ``prepare``: changes an image's ground truth after it was read.
    """

    annotations: Path
    find_image: Callable[[Mapping[str, Any]], Path] | None
    missing_images: str = "error"
    unpack: str = "check the image folder"
    prepare: Callable[[GroundTruth], GroundTruth] | None = None

    def __post_init__(self) -> None:
        if self.missing_images not in MISSING_IMAGES:
            raise UsageError(f"dataset.missing_images is 'error' or 'exclude', not {self.missing_images!r}")

    @cached_property
    def file(self) -> CocoFile:
        return load(self.annotations)

    @property
    def excluded(self) -> Mapping[str, int]:
        """Images left out of the index, by rule."""
        missing = len(self._missing) if self.missing_images == "exclude" else 0
        return {"missing_image": missing} if missing else {}

    def index(self) -> Sequence[IndexEntry]:
        """Every image of the file, sorted by id. Raises UsageError if images are missing and not to be left out."""
        if self._missing and self.missing_images == "error":
            first = self._paths[self._missing[0]]
            raise UsageError(
                f"{len(self._missing)} of {len(self._paths)} images of {self.annotations} are missing; first: {first}; "
                f"{self.unpack}, or leave them out with --set dataset.missing_images=exclude"
            )
        gone = set(self._missing)
        return [
            IndexEntry(id, sum(not annotation.crowd for annotation in self.file.annotations[id]))
            for id in sorted(self.file.images)
            if id not in gone
        ]

    def load(self, id: str) -> Sample:
        """The sample of an id. Raises DataError if the file does not list it."""
        if id not in self.file.images:
            raise DataError(f"{self.annotations}: no image {id}")
        image = self.file.images[id]
        return Sample(
            id=id,
            size=self.file.size(id),
            read_image=partial(self._read_image, id),
            read_truth=partial(self._read_truth, id),
            attributes={key: image[key] for key in _SAMPLE_ATTRIBUTES if key in image},
        )

    def image_file(self, id: str) -> Path | None:
        """The file of an image, or the path where it should be; None if this dataset has no images."""
        return self._paths.get(id)

    def _read_image(self, id: str) -> Image:
        path = self.image_file(id)
        if path is None:
            raise DataError(f"{self.annotations}: no image folder was given, so image {id} has no pixels to read")
        return read_image(path, self.file.size(id))

    def _read_truth(self, id: str) -> GroundTruth:
        truth = self.file.truth(id)
        return truth if self.prepare is None else self.prepare(truth)

    @cached_property
    def _paths(self) -> Mapping[str, Path]:
        """Each image's path, under the name that it really has on disk (its Unicode form may differ)."""
        if self.find_image is None:
            return {}
        return {id: self._on_disk(self.find_image(image)) for id, image in self.file.images.items()}

    @cached_property
    def _missing(self) -> Sequence[str]:
        return [id for id, path in sorted(self._paths.items()) if nfc(path.name) not in self._listing(path.parent)]

    def _on_disk(self, path: Path) -> Path:
        return path.parent / self._listing(path.parent).get(nfc(path.name), path.name)

    def _listing(self, folder: Path) -> Mapping[str, str]:
        if folder not in self._listings:
            names = list_folder(folder) if folder.is_dir() else []
            self._listings[folder] = {nfc(name): name for name in names}
        return self._listings[folder]

    @cached_property
    def _listings(self) -> dict[Path, Mapping[str, str]]:
        return {}


class CocoDataset:
    """The part of a dataset plugin that a :class:`CocoReader` answers. The plugin sets ``_reader`` when it is made."""

    _reader: CocoReader

    @property
    def excluded(self) -> Mapping[str, int]:
        """Images left out of the index, by rule."""
        return self._reader.excluded

    def index(self) -> Sequence[IndexEntry]:
        """As in :meth:`CocoReader.index`."""
        return self._reader.index()

    def load(self, id: str) -> Sample:
        """As in :meth:`CocoReader.load`."""
        return self._reader.load(id)

    def image_file(self, id: str) -> Path | None:
        """As in :meth:`CocoReader.image_file`."""
        return self._reader.image_file(id)
