"""WoodScape's instance annotation: a JSON file for each image, polygons with tags and a painting order.

Form: the scripts of valeoai/WoodScape (one key, an object with ``image_height``, ``image_width`` and ``annotation``, a
list of ``tags``, ``segmentation`` (one polygon of points xy), ``z_order`` (higher lies on top) and ``group_id`` (equal
for parts of an object that is cut apart)). What is wrong with a file is a DataError.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sambench.core.dataset import GroundTruth, Instance
from sambench.core.mask import Mask
from sambench.errors import DataError
from sambench.readers.json.file import read_json
from sambench.readers.layers import painted_over, union
from sambench.readers.polygons import MIN_POINTS, filled_mask, ring

Polygon = Mapping[str, Any]
"""An entry of ``annotation``."""


@dataclass(frozen=True)
class Scene:
    """A file's content. ``size``: ``(H, W)``. ``objects``: the polygons of each object, by the place of its first in
    the file. ``dropped``: polygons that are no masks, by rule."""

    path: Path
    size: tuple[int, int]
    objects: Mapping[str, Sequence[Polygon]]
    dropped: Mapping[str, int]

    def truth(self, *, visible: bool = False) -> GroundTruth:
        """A mask for each object, filled as the authors do (:func:`sambench.readers.polygons.filled_mask`).

        ``visible``: only what is left to see if all polygons are painted by rising ``z_order``. Dropped and counted
        besides :attr:`dropped`: ``empty_mask``, and with ``visible`` ``hidden``. Raises DataError.
        """
        pieces = [(id, polygon) for id, polygons in self.objects.items() for polygon in polygons]
        if visible:
            pieces.sort(key=lambda piece: self._depth(*piece))
        masks = [self._mask(id, polygon) for id, polygon in pieces]
        drawn = {id for (id, _), mask in zip(pieces, masks, strict=True) if mask.area}
        if visible:
            masks = painted_over(masks, self.size)
        parts: dict[str, list[Mask]] = {id: [] for id in self.objects}
        for (id, _), mask in zip(pieces, masks, strict=True):
            if mask.area:
                parts[id].append(mask)
        instances = tuple(
            Instance(
                id=id,
                mask=parts[id][0] if len(parts[id]) == 1 else union(parts[id], self.size),
                class_name=polygons[0]["tags"][0].replace("_", " "),
                attributes={
                    key: polygons[0][key] for key in ("group_id", "z_order") if polygons[0].get(key) not in (None, "")
                },
            )
            for id, polygons in self.objects.items()
            if parts[id]
        )
        counts = {"empty_mask": len(self.objects) - len(drawn), "hidden": len(drawn) - len(instances)}
        return GroundTruth(instances, dropped={**self.dropped, **{rule: n for rule, n in counts.items() if n}})

    def _mask(self, id: str, polygon: Polygon) -> Mask:
        try:
            return filled_mask([ring(polygon.get("segmentation"))], self.size)
        except ValueError as error:
            raise DataError(f"{self.path}: annotation {id}: {error}") from None

    def _depth(self, id: str, polygon: Polygon) -> float:
        depth = polygon.get("z_order")
        if not isinstance(depth, (int, float)):
            raise DataError(f"{self.path}: annotation {id} has no number z_order, which the visible parts need")
        return depth


def read_scene(path: Path, *, merge_groups: bool = False, drop_classes: Collection[str] = ()) -> Scene:
    """Read and check a file.

    ``merge_groups``: polygons of one tag and ``group_id`` are one object. ``drop_classes``: tags to leave out. Dropped
    and counted: ``not_one_tag`` (as in the authors' parser), ``class_left_out``, ``too_few_points``. Raises DataError.
    """
    content = read_json(path)
    # The one key is the name of the image or of the file itself.
    record = next(iter(content.values()), None) if isinstance(content, dict) else None
    polygons = record.get("annotation") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(polygons, list):
        raise DataError(f"{path}: not a file of WoodScape's instance annotation (no list 'annotation' under one key)")
    height, width = record.get("image_height"), record.get("image_width")
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        raise DataError(f"{path}: image_height and image_width are {height!r} and {width!r}, not pixels")
    objects: dict[str, list[Polygon]] = {}
    groups: dict[tuple[str, str], str] = {}
    dropped = {"not_one_tag": 0, "class_left_out": 0, "too_few_points": 0}
    for place, polygon in enumerate(polygons):
        if not isinstance(polygon, dict):
            raise DataError(f"{path}: annotation {place} is not an object")
        tags, outline, group = polygon.get("tags"), polygon.get("segmentation"), polygon.get("group_id")
        if not isinstance(tags, list) or len(tags) != 1 or not isinstance(tags[0], str):
            dropped["not_one_tag"] += 1
        elif tags[0] in drop_classes:
            dropped["class_left_out"] += 1
        elif isinstance(outline, list) and len(outline) < MIN_POINTS:
            dropped["too_few_points"] += 1
        else:
            id = str(place)
            if merge_groups and group:
                id = groups.setdefault((str(group), tags[0]), id)
            objects.setdefault(id, []).append(polygon)
    return Scene(path, (height, width), objects, {rule: count for rule, count in dropped.items() if count})
