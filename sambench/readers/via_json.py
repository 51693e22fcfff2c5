"""Annotations of the VGG Image Annotator: exports of version 1 and 2, and version 2 project files.

Format: https://www.robots.ox.ac.uk/~vgg/software/via/ (an object by file name and byte size; ``regions`` is an object
with the keys "0", "1", ... in version 1, a list in version 2; a project keeps it all in ``_via_img_metadata``). What is
wrong with the file as a whole is a UsageError; what is wrong with one image's regions is a DataError when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sambench.core.dataset import GroundTruth, Instance
from sambench.errors import DataError, UsageError
from sambench.readers.files import nfc
from sambench.readers.json.file import read_json
from sambench.readers.polygons import MIN_POINTS, Ring, outline_mask, ring

OUTLINES = ("polygon", "polyline")
"""Shapes that are taken for outlines; a polyline is closed by a straight line from its last point to its first."""

_HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class Region:
    """One entry of ``regions``. ``number``: its key or place. ``shape``: the shape's ``name``. ``xs``, ``ys``: as the
    file has them, still to be judged. ``attributes``: ``region_attributes``."""

    number: str
    shape: str
    xs: Any
    ys: Any
    attributes: Mapping[str, Any]

    @property
    def flaw(self) -> str:
        """The rule by which the region is no mask, or an empty text: another shape than an outline, or too few
        points."""
        if self.shape not in OUTLINES:
            return "not_an_outline"
        if isinstance(self.xs, list) and isinstance(self.ys, list) and max(len(self.xs), len(self.ys)) < MIN_POINTS:
            return "too_few_points"
        return ""

    def outline(self) -> Ring:
        """Vertices. Raises ValueError if x and y are no lists of numbers of one length."""
        if not isinstance(self.xs, list) or not isinstance(self.ys, list) or len(self.xs) != len(self.ys):
            raise ValueError("all_points_x and all_points_y must be lists of one length")
        return ring([[x, y] for x, y in zip(self.xs, self.ys, strict=True)])


@dataclass(frozen=True, eq=False)
class ViaFile:
    """A parsed file. ``regions``: by file name (NFC, without folders), in file order."""

    path: Path
    regions: Mapping[str, Sequence[Region]] = field(default_factory=dict)

    def n_masks(self, name: str) -> int:
        """How many regions of an image are outlines of at least three points."""
        return sum(not region.flaw for region in self.regions[name])

    def truth(
        self, name: str, size: tuple[int, int], describe: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> GroundTruth:
        """The masks of an image of ``size`` ``(H, W)``, filled as :func:`sambench.readers.polygons.outline_mask`.

        ``describe``: from ``region_attributes`` to the fields of :class:`sambench.core.dataset.Instance` besides id
        and mask. Dropped and counted: ``not_an_outline``, ``too_few_points``, ``empty_mask``. Raises DataError.
        """
        instances: list[Instance] = []
        dropped: dict[str, int] = {}
        for region in self.regions[name]:
            rule = region.flaw
            if not rule:
                try:
                    mask = outline_mask(region.outline(), size)
                except ValueError as error:
                    raise DataError(f"{self.path}: region {region.number} of {name}: {error}") from None
                rule = "" if mask.area else "empty_mask"
            if rule:
                dropped[rule] = dropped.get(rule, 0) + 1
            else:
                instances.append(Instance(id=region.number, mask=mask, **describe(region.attributes)))
        return GroundTruth(tuple(instances), dropped=dropped)


def looks_like_via(path: Path) -> bool:
    """Whether a JSON file is of this kind, by its beginning. False if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return b'"_via_' in head or (b'"filename"' in head and b'"regions"' in head)


def load(path: Path) -> ViaFile:
    """Read and check a file. Raises UsageError: unreadable, not JSON, another format, an image that is given twice."""
    content = read_json(path, UsageError)
    entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise UsageError(f"{path}: not a file of the VGG Image Annotator: it holds no object of images")
    regions: dict[str, list[Region]] = {}
    for key, entry in entries.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            raise UsageError(f"{path}: not a file of the VGG Image Annotator: entry {key!r} has no 'filename'")
        # The key ends in the byte size of a file before it was saved anew: only the name in the entry counts.
        name = nfc(PurePosixPath(entry["filename"]).name)
        if name in regions:
            raise UsageError(f"{path}: {name} is given twice")
        regions[name] = _regions(entry.get("regions"), f"{path}: {name}")
    return ViaFile(path, regions)


def _regions(regions: Any, where: str) -> list[Region]:
    if isinstance(regions, list):
        regions = {str(number): region for number, region in enumerate(regions)}
    if not isinstance(regions, dict):
        raise UsageError(f"{where} has no 'regions', neither a list nor an object")
    found = []
    for number, region in regions.items():
        shape = region.get("shape_attributes") if isinstance(region, dict) else None
        if not isinstance(shape, dict):
            raise UsageError(f"{where}: region {number} has no 'shape_attributes'")
        attributes = region.get("region_attributes")
        found.append(
            Region(
                number,
                str(shape.get("name")),
                shape.get("all_points_x"),
                shape.get("all_points_y"),
                attributes if isinstance(attributes, dict) else {},
            )
        )
    return found
