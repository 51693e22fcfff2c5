"""VISOR's annotation files: a JSON file for each video, in it the entities of each frame as polygons.

Form: README.md of epic-kitchens/VISOR-VIS (``video_annotations``: ``image.name``, and ``annotations`` with ``id``,
``name``, ``class_id`` and ``segments``, a list of polygons of points xy). What is wrong with a file is a DataError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sambench.core.dataset import GroundTruth, Instance
from sambench.core.mask import Mask
from sambench.errors import DataError
from sambench.readers.json.file import read_json
from sambench.readers.layers import painted_over
from sambench.readers.polygons import MIN_POINTS, filled_mask, ring

Entity = Mapping[str, Any]

_ATTRIBUTES = ("exhaustive", "in_contact_object", "on_which_hand")


def frame_id(video: str, name: str) -> str:
    """From a file name to ``VIDEO_frame_0000000140``; some names come without the video."""
    stem = PurePosixPath(name).stem
    return stem if stem.startswith(f"{video}_") else f"{video}_{stem}"


def read_entities(path: Path) -> dict[str, Sequence[Entity]]:
    """The entities of each frame of a video, by :func:`frame_id`, in file order; the video is the file's stem.

    Raises DataError: unreadable, not JSON, another form, a frame that is given twice.
    """
    content = read_json(path)
    entries = content.get("video_annotations") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"{path}: no list 'video_annotations'; is it a file of VISOR's sparse annotation?")
    found: dict[str, Sequence[Entity]] = {}
    for entry in entries:
        image = entry.get("image") if isinstance(entry, dict) else None
        name = image.get("name") if isinstance(image, dict) else None
        if not isinstance(name, str) or not isinstance(entry.get("annotations"), list):
            raise DataError(f"{path}: an entry has no image name or no list of annotations")
        id = frame_id(path.stem, name)
        if id in found:
            raise DataError(f"{path}: frame {name} is given twice")
        found[id] = entry["annotations"]
    return found


def has_outline(entity: Any) -> bool:
    """Whether one of an entity's polygons has three points, or is something that :func:`read_truth` will refuse."""
    segments = entity.get("segments") if isinstance(entity, dict) else None
    if not isinstance(segments, list):
        return False
    return any(not isinstance(outline, list) or len(outline) >= MIN_POINTS for outline in segments)


def read_truth(entities: Sequence[Entity], size: tuple[int, int], where: str, *, flatten: bool = False) -> GroundTruth:
    """A mask for each entity, filled as the authors do (:func:`sambench.readers.polygons.filled_mask`).

    ``size``: ``(H, W)`` of the image. ``where``: file and frame, for messages. ``flatten``: later entities hide
    earlier ones. Dropped and counted: ``too_few_points``, ``empty_mask``, ``hidden``. Raises DataError.
    """
    kept: dict[str, tuple[Entity, Mask]] = {}
    dropped = {"too_few_points": 0, "empty_mask": 0, "hidden": 0}
    for entity in entities:
        if not has_outline(entity):
            dropped["too_few_points"] += 1
            continue
        id = str(entity.get("id"))
        if id in kept:
            raise DataError(f"{where}: entity {id} is given twice")
        try:
            mask = filled_mask([ring(outline) for outline in entity["segments"]], size)
        except ValueError as error:
            raise DataError(f"{where}, entity {id}: {error}") from None
        if mask.area:
            kept[id] = (entity, mask)
        else:
            dropped["empty_mask"] += 1
    masks = [mask for _, mask in kept.values()]
    if flatten:
        masks = painted_over(masks, size)
    instances = tuple(
        Instance(
            id=id,
            mask=mask,
            class_name=entity.get("name"),
            class_id=entity.get("class_id"),
            attributes={key: entity[key] for key in _ATTRIBUTES if entity.get(key) is not None},
        )
        for (id, (entity, _)), mask in zip(kept.items(), masks, strict=True)
        if mask.area
    )
    dropped["hidden"] = len(masks) - len(instances)
    return GroundTruth(instances, dropped={rule: count for rule, count in dropped.items() if count})
