"""Outlines drawn with the Python program labelme, one JSON file an image.

Format: https://github.com/wkentaro/labelme (``imageHeight``, ``imageWidth`` and ``shapes``, each with ``label``,
``points``, ``shape_type`` and ``group_id``). Shapes of one ``group_id`` are one object.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sambench.core.dataset import GroundTruth, Instance
from sambench.errors import DataError, UsageError
from sambench.readers.json.spans import open_json
from sambench.readers.layers import union
from sambench.readers.polygons import outline_mask, ring


@dataclass(frozen=True, eq=False)
class LabelmeFile:
    """``size``: ``(height, width)`` of the image when it was annotated, None if the file does not say. ``objects``:
    the shapes by object, in file order; an object's id is its ``group_id`` after a ``g``, else the shape's number."""

    path: Path
    size: tuple[int, int] | None
    objects: dict[str, list[dict[str, Any]]]
    dropped: int

    def truth(self, size: tuple[int, int], class_name: str) -> GroundTruth:
        """The masks of an image of ``size`` ``(H, W)``, filled as :func:`sambench.readers.polygons.outline_mask`.
        Dropped and counted: ``not_an_outline``, ``empty_mask``. Raises DataError."""
        instances = []
        for id, shapes in self.objects.items():
            try:
                mask = union((outline_mask(ring(shape.get("points")), size) for shape in shapes), size)
            except ValueError as error:
                raise DataError(f"{self.path}: shape {id}: {error}") from None
            if mask.area:
                instances.append(Instance(id, mask, class_name, attributes={"label": str(shapes[0].get("label"))}))
        dropped = {"not_an_outline": self.dropped, "empty_mask": len(self.objects) - len(instances)}
        return GroundTruth(tuple(instances), dropped={rule: count for rule, count in dropped.items() if count})


def is_labelme(content: Any) -> bool:
    """Whether a JSON value looks like such a file."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def load(path: Path) -> LabelmeFile:
    """Read and check a file. Raises DataError: unreadable, not JSON, another format."""
    try:
        content = open_json(path).whole()
    except UsageError as error:
        raise DataError(str(error)) from None
    if not is_labelme(content) or not all(isinstance(shape, dict) for shape in content["shapes"]):
        raise DataError(f"{path}: not a file of labelme (no list 'shapes' of objects)")
    objects: dict[str, list[dict[str, Any]]] = {}
    dropped = 0
    for number, shape in enumerate(content["shapes"], start=1):
        if shape.get("shape_type", "polygon") not in ("polygon", None):
            dropped += 1
            continue
        group = shape.get("group_id")
        objects.setdefault(str(number) if group is None else f"g{group}", []).append(shape)
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return LabelmeFile(path, size, objects, dropped)
