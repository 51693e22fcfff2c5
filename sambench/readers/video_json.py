"""Annotations of videos in the form of YouTube-VIS (OVIS and others): an object's masks over all frames in one entry.

``videos``: ``id``, ``width``, ``height``, ``file_names``; ``annotations``: ``video_id``, ``category_id``, and the lists
``segmentations`` and ``areas`` with a slot for each frame, null where the object is not to be seen. Such files have
hundreds of megabytes, so they are indexed once, and the tracks of a video are parsed when one of its frames is loaded.
What is wrong with the file as a whole is a UsageError; what is wrong with one frame's masks is a DataError when it is
loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from sambench.core.dataset import GroundTruth, Instance
from sambench.core.mask import Mask
from sambench.errors import DataError, UsageError
from sambench.readers.files import nfc
from sambench.readers.images import MAX_PIXELS
from sambench.readers.index_cache import Arrays, cached
from sambench.readers.json.spans import JsonFile, open_json, within
from sambench.readers.segmentations import segmentation_mask

_INDEX = "video-1"
"""What index this code makes: another number with every change to :func:`_make_index` that can change an array."""


@dataclass(frozen=True, slots=True)
class Video:
    """``place``: in the list of videos. ``size``: ``(H, W)`` of each frame. ``names``: of the frames, paths relative
    to the image folder as the file has them. ``first``: how many frames the videos before it have."""

    place: int
    size: tuple[int, int]
    names: Sequence[str]
    first: int


@dataclass(frozen=True, eq=False)
class VideoFile:
    """A file that was read and checked. ``frames``: by id (the relative path without its ending) the video and the
    place in it. ``categories``: names by id. ``found``: see :func:`_make_index`."""

    json: JsonFile
    frames: Mapping[str, tuple[Video, int]]
    categories: Mapping[Any, str]
    found: Arrays = field(repr=False)

    @property
    def path(self) -> Path:
        return self.json.path

    def size(self, id: str) -> tuple[int, int]:
        """``(height, width)`` that the file gives for a frame."""
        return self.frames[id][0].size

    def frame_path(self, id: str) -> str:
        """A frame's path relative to the image folder."""
        video, k = self.frames[id]
        return video.names[k]

    def n_masks(self, id: str) -> int:
        """Objects that are seen in a frame and are not crowd, as far as the file says without decoding a mask."""
        video, k = self.frames[id]
        return int(self.found["n_masks"][video.first + k])

    def truth(self, id: str) -> GroundTruth:
        """The masks of a frame, each with its track's id. A slot that is null is no mask; masks without a pixel are
        dropped as ``empty_mask``. Raises DataError with the track's id."""
        video, k = self.frames[id]
        first, last = self.found["tracks_of"][video.place : video.place + 2]
        instances, empty = [], 0
        for track in self.json.values(self.found["track_spans"][first:last]):
            segmentation, area = track["segmentations"][k], _areas(track, len(video.names))[k]
            if segmentation is None:
                continue
            try:
                mask = segmentation_mask(segmentation, video.size) if segmentation and area != 0 else None
            except ValueError as error:
                raise DataError(f"{self.path}: track {track['id']} in frame {id}: {error}") from None
            if mask is None or mask.area == 0:
                empty += 1
                continue
            instances.append(self._instance(track, mask, area))
        return GroundTruth(tuple(instances), dropped={"empty_mask": empty} if empty else {})

    def _instance(self, track: Mapping[str, Any], mask: Mask, area: Any) -> Instance:
        number = track["category_id"]
        return Instance(
            id=str(track["id"]),
            mask=mask,
            class_name=self.categories[number],
            class_id=number if isinstance(number, int) else None,
            crowd=bool(track.get("iscrowd", 0)),
            annotated_area=float(area) if isinstance(area, (int, float)) else None,
        )


def load(path: Path, class_name: Callable[[str], str] = str) -> VideoFile:
    """Read and check a file. ``class_name``: from a category's ``name`` to a phrase. Raises UsageError: unreadable,
    not JSON, keys missing, ids that repeat or dangle, lists of a video that differ in length."""
    file = open_json(path)
    found = cached(_INDEX, file.digest, partial(_make_index, file), file.size)
    categories = {
        number: class_name(str(category.get("name"))) for number, category in _categories(file, found).items()
    }
    frames: dict[str, tuple[Video, int]] = {}
    for video in _videos(file, found).values():
        for k, name in enumerate(video.names):
            frames[_frame_id(name)] = (video, k)
    return VideoFile(file, frames, categories, found)


def _make_index(file: JsonFile) -> Arrays:
    """Where everything lies in a file, after everything was checked.

    ``videos``, ``categories``: ``(2,)``, the places of those lists. ``track_spans``: ``(M, 2)``, of the annotations,
    by video and in file order for each; ``tracks_of``: ``(N + 1,)``, where the ones of a video begin. ``n_masks``: for
    each frame of each video.
    """
    top, inner = file.members()
    if not isinstance(top, dict) or not file.is_array(top.get("videos")):
        raise UsageError(f"{file.path}: not an annotation file of videos: no list 'videos'")
    if not file.is_array(top.get("annotations")):
        raise UsageError(f"{file.path}: there is no ground truth in this file (no list 'annotations')")
    if not file.is_array(top.get("categories")):
        raise UsageError(f"{file.path}: not an annotation file of videos: no list 'categories'")
    lists = {"videos": top["videos"], "categories": top["categories"]}
    videos, categories = _videos(file, lists), _categories(file, lists)
    n_masks = np.zeros(sum(len(video.names) for video in videos.values()), np.int64)
    spans = within(top["annotations"], inner)
    owners: list[int] = []
    seen: set[str] = set()
    for track in (entry for part in file.elements(top["annotations"], spans) for entry in part):
        id = _id(track, f"{file.path}: an annotation")
        video_id, category_id = track.get("video_id"), track.get("category_id")
        where = f"{file.path}: annotation {id}"
        if str(id) in seen:
            raise UsageError(f"{where} is given twice")
        seen.add(str(id))
        if not isinstance(video_id, (int, str)) or video_id not in videos:
            raise UsageError(f"{where} refers to video {video_id}, which is not listed")
        if not isinstance(category_id, (int, str)) or category_id not in categories:
            raise UsageError(f"{where} has category {category_id}, which is not listed")
        video = videos[video_id]
        length = len(video.names)
        segmentations, areas = track.get("segmentations"), _areas(track, length)
        for name, values in (("segmentations", segmentations), ("areas", areas)):
            if not isinstance(values, list) or len(values) != length:
                count = len(values) if isinstance(values, list) else "no list of"
                raise UsageError(f"{where} of video {video_id}: {count} {name} for {length} frames")
        owners.append(video.place)
        if not track.get("iscrowd", 0):
            seen_in = [bool(mask) and area != 0 for mask, area in zip(segmentations, areas, strict=True)]
            n_masks[video.first : video.first + length] += seen_in
    order = np.argsort(np.array(owners, np.int64), kind="stable")
    return {
        **lists,
        "track_spans": spans[order],
        "tracks_of": np.searchsorted(np.array(owners, np.int64)[order], np.arange(len(videos) + 1)),
        "n_masks": n_masks,
    }


def _areas(track: Mapping[str, Any], length: int) -> Any:
    areas = track.get("areas")
    return [None] * length if areas is None else areas


def _videos(file: JsonFile, lists: Arrays) -> dict[Any, Video]:
    """By id, in file order. Raises UsageError."""
    found: dict[Any, Video] = {}
    frames: set[str] = set()
    for entry in _listed(file, lists, "videos"):
        id = _id(entry, f"{file.path}: a video")
        where = f"{file.path}: video {id}"
        if id in found:
            raise UsageError(f"{where} is given twice")
        height, width, names = entry.get("height"), entry.get("width"), entry.get("file_names")
        if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
            raise UsageError(f"{where} needs height and width in pixels, has {height!r} and {width!r}")
        if height * width > MAX_PIXELS:
            raise UsageError(f"{where} is given as {width} x {height}, more than {MAX_PIXELS} pixels")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{where} has no list of texts 'file_names'")
        if entry.get("length", len(names)) != len(names):
            raise UsageError(f"{where} has length {entry['length']} and {len(names)} file_names")
        first = len(frames)
        for name in names:
            if _frame_id(name) in frames:
                raise UsageError(f"{where}: frame {name} is given twice")
            frames.add(_frame_id(name))
        found[id] = Video(len(found), (height, width), names, first)
    return found


def _categories(file: JsonFile, lists: Arrays) -> dict[Any, Mapping[str, Any]]:
    found: dict[Any, Mapping[str, Any]] = {}
    for entry in _listed(file, lists, "categories"):
        id = _id(entry, f"{file.path}: a category")
        if id in found:
            raise UsageError(f"{file.path}: category {id} is given twice")
        found[id] = entry
    return found


def _listed(file: JsonFile, lists: Arrays, name: str) -> Iterable[Any]:
    (entries,) = file.values(lists[name][None])
    return list(entries)


def _id(entry: Any, what: str) -> Any:
    id = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(id, (int, str)):
        raise UsageError(f"{what} has no id")
    return id


def _frame_id(name: str) -> str:
    return nfc(str(PurePosixPath(name).with_suffix("")))
