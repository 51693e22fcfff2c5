"""Detections of objects in COCO's results form, as detectron2 and the COCO and LVIS toolkits write and read them.

A JSON list of entries ``{"image_id", "category_id", "score", "bbox": [x, y, width, height], "segmentation"}``
(https://cocodataset.org/#format-results), with a box, a mask or both. What is wrong with the file is a UsageError with
the number of such entries before anything is evaluated; what is wrong with the masks of an image is found out when they
are used.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sambench.core.dataset import Sample
from sambench.errors import DataError, UsageError
from sambench.metrics import run_lengths
from sambench.metrics.run_lengths import RunLengths
from sambench.readers.index_cache import Arrays, cached
from sambench.readers.json.spans import JsonFile, open_json

SHOWN = 3
"""Ids that a complaint about many of them names."""

_INDEX = "detections-1"
"""What index this code makes: another number with every change to :func:`_make_index` that can change an array."""

_HUGE = 1e15
"""Larger than any pixel, number or score; NaN is not smaller."""

_OPTIONAL = ("bbox", "segmentation", "category_id")


@dataclass(frozen=True, eq=False)
class Detections:
    """The N objects that were detected in one image, in the order of the file.

    ``places``: ``(N,)`` int64, the number of each entry in its file, from 0. ``categories``: ``(N,)`` int64, the
    dataset's numbers. ``scores``: ``(N,)`` float64, finite. ``boxes``: ``(N, 4)`` float64, x, y, width, height in
    pixels of the image, which may reach out of it; None if there are none. ``segmentations``: N masks as the file has
    them, COCO's run-length codes; None if there are none.
    """

    places: NDArray[np.int64]
    categories: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64] | None = None
    segmentations: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, which: NDArray[np.integer[Any] | np.bool_]) -> Detections:
        """Those at the given places, or where ``which`` is true."""
        kept = np.arange(len(self))[which]
        return Detections(
            self.places[kept],
            self.categories[kept],
            self.scores[kept],
            None if self.boxes is None else self.boxes[kept],
            None if self.segmentations is None else [self.segmentations[k] for k in kept.tolist()],
        )


@dataclass(frozen=True, eq=False)
class Results:
    """A results file that was read and checked. Make one with :func:`load`.

    ``ids``: the images that have detections, as text, sorted, each with its place in the index. ``categories``: the
    category numbers that occur, sorted. ``has_boxes``, ``has_masks``: every entry has one (and there is an entry, for
    masks). ``len``: of the entries.
    """

    json: JsonFile
    ids: Mapping[str, int]
    categories: Sequence[int]
    found: Arrays = field(repr=False)

    @property
    def path(self) -> Path:
        return self.json.path

    @property
    def digest(self) -> str:
        """sha256 (hex) of the content."""
        return self.json.digest

    @property
    def has_masks(self) -> bool:
        return len(self) > 0 and self._given("segmentation") == len(self)

    @property
    def has_boxes(self) -> bool:
        return self._given("bbox") == len(self)

    def __len__(self) -> int:
        return len(self.found["spans"])

    def require(self, *keys: str) -> None:
        """Raises UsageError unless every entry has these of bbox, segmentation and category_id."""
        for key in keys:
            lacking = len(self) - self._given(key)
            if lacking:
                first = int(self.found["first_without"][_OPTIONAL.index(key)])
                raise UsageError(
                    f"{self.path}: {lacking} of {len(self)} entries have no {key!r} (first: entry {first})"
                )

    def require_known(self, categories: Collection[int], is_image: Callable[[str], bool], dataset: str) -> None:
        """Raises UsageError if there are detections of categories or images that are not the dataset's.

        ``categories``: its numbers. ``is_image``: whether an id is one of its images. ``dataset``: for the message.
        """
        counts = dict(zip(self.categories, self.found["category_counts"].tolist(), strict=True))
        strange = [number for number in self.categories if number not in categories]
        if strange:
            raise UsageError(
                f"{self.path}: {sum(counts[n] for n in strange)} of {len(self)} entries are of categories that "
                f"{dataset} does not have, e.g. category {', '.join(map(str, strange[:SHOWN]))}; is it the file of "
                "another dataset, or are these a model's own class numbers?"
            )
        strangers = [id for id in self.ids if not is_image(id)]
        if strangers:
            raise UsageError(
                f"{self.path}: {len(strangers)} of {len(self.ids)} images are not in {dataset}, e.g. image "
                f"{', '.join(strangers[:SHOWN])}"
            )

    def read(self, id: str) -> Detections:
        """The detections of an image, none for one that has none. Raises DataError if the file was changed."""
        place = self.ids.get(id)
        order = self.found["first"][place : place + 2] if place is not None else (0, 0)
        part = slice(int(order[0]), int(order[1]))
        entries = self.json.joined(self.found["spans"][part])
        has_boxes, has_masks = self.has_boxes, self.has_masks
        return Detections(
            self.found["places"][part],
            np.array([entry.get("category_id", 0) for entry in entries], np.int64),
            np.array([entry["score"] for entry in entries], np.float64),
            np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4) if has_boxes else None,
            [entry["segmentation"] for entry in entries] if has_masks else None,
        )

    def _given(self, key: str) -> int:
        return int(self.found["given"][_OPTIONAL.index(key)])


def own_masks(sample: Sample, found: Detections, called: str) -> RunLengths:
    """The masks that detections of an image came with, ``called`` so in messages. Raises DataError."""
    try:
        return run_lengths.from_codes(found.segmentations or (), sample.size)
    except run_lengths.BadCodesError as error:
        first = found.places[error.places[0]]
        raise DataError(
            f"image {sample.id}: {len(error.places)} of {len(found)} {called} cannot be used (first: entry {first} of "
            f"the file, {error})"
        ) from None


def load(path: Path) -> Results:
    """Read and check a file. Raises UsageError: unreadable, not JSON, no list, or entries without an image or with a
    score or box that is none (their number and the first of them)."""
    file = open_json(path)
    found = cached(_INDEX, file.digest, partial(_make_index, file), file.size)
    ids = {id: place for place, id in enumerate(json.loads(found["ids"].tobytes()))}
    return Results(file, ids, found["categories"].tolist(), found)


def _make_index(file: JsonFile) -> Arrays:
    """Where the entries of each image lie, after everything but the masks was checked.

    ``ids``: the I images, as a JSON list of texts, sorted; ``first``: ``(I + 1,)``, where the entries of an image
    begin in ``spans`` ``(N, 2)`` and ``places`` ``(N,)``, which hold them in file order. ``categories``: ``(C,)``,
    sorted, ``category_counts``: ``(C,)``. ``given``: how many entries have each of ``_OPTIONAL``; ``first_without``:
    the first that has it not, -1 for none.
    """
    places: dict[str, int] = {}
    owners = array("q")
    categories: dict[int, int] = {}
    given, first_without = [0] * len(_OPTIONAL), [-1] * len(_OPTIONAL)
    problems: dict[str, tuple[int, str]] = {}
    place, spans = file.objects()
    for part in file.elements(place, spans):
        for entry in part:
            n = len(owners)
            for problem in _problems(entry):
                image = f" of image {entry.get('image_id')}" if isinstance(entry, dict) else ""
                count, first = problems.get(problem, (0, f"entry {n}{image}"))
                problems[problem] = (count + 1, first)
            if not isinstance(entry, dict):
                owners.append(-1)
                continue
            owners.append(places.setdefault(str(entry.get("image_id")), len(places)))
            for k, key in enumerate(_OPTIONAL):
                if entry.get(key) is not None:
                    given[k] += 1
                elif first_without[k] < 0:
                    first_without[k] = n
            number = entry.get("category_id")
            if type(number) is int:
                categories[number] = categories.get(number, 0) + 1
    for problem, (count, first) in problems.items():
        raise UsageError(f"{file.path}: {count} of {len(owners)} entries {problem} (first: {first})")
    ids = sorted(places)
    rank = np.empty(len(ids), np.int64)
    rank[[places[id] for id in ids]] = np.arange(len(ids))
    owner = rank[np.array(owners, np.int64)]
    order = np.argsort(owner, kind="stable")
    return {
        "ids": np.frombuffer(json.dumps(ids).encode(), np.uint8),
        "first": np.searchsorted(owner[order], np.arange(len(ids) + 1)),
        "spans": spans[order],
        "places": order,
        "categories": np.array(sorted(categories), np.int64),
        "category_counts": np.array([categories[number] for number in sorted(categories)], np.int64),
        "given": np.array(given, np.int64),
        "first_without": np.array(first_without, np.int64),
    }


def _problems(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return ["are no objects {image_id, category_id, score, bbox, segmentation}"]
    found = []
    if type(entry.get("image_id")) not in (int, str):
        found.append("have no 'image_id'")
    if "category_id" in entry and not (type(entry["category_id"]) is int and _is_number(entry["category_id"])):
        found.append("have a 'category_id' that is not a whole number")
    if "score" not in entry:
        found.append("have no 'score'; ground truth has none, results need one")
    elif not _is_number(entry["score"]):
        found.append("have a score that is not a finite number")
    box = entry.get("bbox")
    if box is not None:
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            found.append("have a 'bbox' that is not [x, y, width, height] in finite numbers")
        elif box[2] < 0 or box[3] < 0:
            found.append("have a box of negative width or height; 'bbox' is [x, y, width, height], not two corners")
    if box is None and entry.get("segmentation") is None:
        found.append("have neither 'bbox' nor 'segmentation'")
    return found


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _HUGE
