"""Images and their instances in whichever of four usual forms they come, for sets whose form is not documented.

``coco``: COCO-style JSON. ``labelme``: a JSON file of outlines beside each image or in a parallel folder. ``via``: JSON
of the VGG Image Annotator. ``labels``: a folder of label maps, one number or colour an instance. What belongs together
is found by the stems of file names, which are the ids.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

import numpy as np

from sambench.core.dataset import GroundTruth, Instance
from sambench.core.mask import Mask
from sambench.errors import DataError, UsageError
from sambench.readers import labelme_json, via_json
from sambench.readers.coco_json import CocoReader
from sambench.readers.images import SUFFIXES, has_colours, read_codes, read_labels
from sambench.readers.json.spans import open_json
from sambench.readers.label_files import count_in_files
from sambench.readers.label_maps import Labels, components, masks_by_value, values_of
from sambench.readers.listing import count_masks
from sambench.readers.trees import files_below

Form = Literal["auto", "coco", "labelme", "via", "labels"]
"""``auto``: the only one of them that is there."""

_LABEL_FOLDER = re.compile(r"^(.*[_-])?(labels?|masks?|instances?|gt)$", re.IGNORECASE)
_WHITE = 0xFFFFFF


@dataclass(frozen=True, eq=False)
class Files:
    """What lies in a folder and below it. ``pictures``, ``texts``: images and JSON files, by path relative to the
    folder, without the ending."""

    pictures: Mapping[str, Path]
    texts: Mapping[str, Path]

    @classmethod
    def below(cls, folder: Path, leave_out: Collection[str] = ()) -> Files:
        """``leave_out``: names of folders that are not looked into. Raises UsageError."""

        def enter(name: str) -> bool:
            return name not in leave_out

        pictures = {key: at for ending in sorted(SUFFIXES) for key, at in files_below(folder, ending, enter).items()}
        return cls(dict(sorted(pictures.items())), files_below(folder, ".json", enter))

    def matching(self, pattern: re.Pattern[str]) -> Files:
        """Those whose path has the pattern in it."""

        def some(files: Mapping[str, Path]) -> Mapping[str, Path]:
            return {key: path for key, path in files.items() if pattern.search(key)}

        return Files(some(self.pictures), some(self.texts))


class Annotations(Protocol):
    """The instances of images, by the images' ids."""

    form: str

    def counts(self) -> Mapping[str, int]:
        """Masks by id, of every image that is annotated or listed. Raises UsageError."""

    def truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        """The instances of an image of ``size`` ``(H, W)``. Raises DataError."""


def annotations_of(files: Files, form: Form, class_name: str, split_binary: bool) -> Annotations | None:
    """The annotations among some files, None if there are none. Each instance is of the class ``class_name``.

    ``split_binary``: of label maps that hold one value only, each 8-connected component is an instance; else such
    maps are refused. Raises UsageError if there are several forms and ``form`` names none of them.
    """
    found = _texts_by_form(files.texts)
    maps = by_stem({key: path for key, path in files.pictures.items() if is_label(key)})
    if maps:
        found["labels"] = list(maps.values())
    if form == "auto" and len(found) > 1:
        raise UsageError(
            f"{next(iter(found.values()))[0].parent}: annotations in the forms {' and '.join(sorted(found))}; choose "
            "one with --set dataset.form"
        )
    chosen = next(iter(found), "") if form == "auto" else form
    if chosen not in found:
        return None
    if chosen == "coco":
        return _Coco(found[chosen], class_name)
    if chosen == "labelme":
        return _Labelme(found[chosen], class_name)
    if chosen == "via":
        return _Via(found[chosen], class_name)
    return _Maps(maps, class_name, split_binary)


def is_label(key: str) -> bool:
    """Whether a picture lies in a folder of label maps, by its path."""
    return any(_LABEL_FOLDER.match(folder) for folder in PurePosixPath(key).parts[:-1])


def by_stem(files: Mapping[str, Path]) -> dict[str, Path]:
    """By the last part of their path. Raises UsageError if two are the same there, letter case set aside."""
    found: dict[str, Path] = {}
    folded: dict[str, Path] = {}
    for key, path in files.items():
        stem = PurePosixPath(key).name
        twin = folded.setdefault(stem.casefold(), path)
        if twin != path:
            raise UsageError(f"{path} and {twin} would have the same id; keep one of them")
        found[stem] = path
    return found


def _texts_by_form(texts: Mapping[str, Path]) -> dict[str, list[Path]]:
    """JSON files by form. Of a folder with a file for each image, the first says what all are."""
    folders: dict[Path, list[Path]] = {}
    for path in texts.values():
        folders.setdefault(path.parent, []).append(path)
    found: dict[str, list[Path]] = {}
    for paths in folders.values():
        first = _form_of(paths[0])
        for path in paths:
            form = first if first == "labelme" else _form_of(path)
            if form:
                found.setdefault(form, []).append(path)
    return found


def _form_of(path: Path) -> str:
    content = open_json(path).whole()
    if labelme_json.is_labelme(content):
        return "labelme"
    if via_json.looks_like_via(path):
        return "via"
    return "coco" if isinstance(content, dict) and {"images", "annotations"} <= content.keys() else ""


class _Coco:
    form = "coco"

    def __init__(self, paths: Sequence[Path], class_name: str) -> None:
        self._class_name = class_name
        self._readers = [CocoReader(path, None, by_name=True) for path in paths]

    def counts(self) -> Mapping[str, int]:
        return {id: n for id, (n, _) in self._listed.items()}

    def truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        if id not in self._listed:
            return GroundTruth(())
        _, reader = self._listed[id]
        sample = reader.load(id)
        _require_size(reader.annotations, id, sample.size, size)
        return named(sample.truth, self._class_name)

    @cached_property
    def _listed(self) -> Mapping[str, tuple[int, CocoReader]]:
        found: dict[str, tuple[int, CocoReader]] = {}
        for reader in self._readers:
            for entry in reader.index():
                if entry.id in found:
                    other = found[entry.id][1].annotations
                    raise UsageError(f"{reader.annotations} and {other.name} both list image {entry.id}; keep one")
                found[entry.id] = (entry.n_masks, reader)
        return found


class _Labelme:
    form = "labelme"

    def __init__(self, paths: Sequence[Path], class_name: str) -> None:
        self._class_name = class_name
        self._paths = by_stem({path.stem: path for path in paths})

    def counts(self) -> Mapping[str, int]:
        return {id: count_masks(partial(_count_objects, path)) for id, path in self._paths.items()}

    def truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        if id not in self._paths:
            return GroundTruth(())
        file = labelme_json.load(self._paths[id])
        if file.size is not None:
            _require_size(file.path, id, file.size, size)
        return file.truth(size, self._class_name)


def _count_objects(path: Path) -> int:
    return len(labelme_json.load(path).objects)


class _Via:
    form = "via"

    def __init__(self, paths: Sequence[Path], class_name: str) -> None:
        self._class_name = class_name
        self._files = [via_json.load(path) for path in paths]

    def counts(self) -> Mapping[str, int]:
        return {id: file.n_masks(name) for id, (file, name) in self._named.items()}

    def truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        if id not in self._named:
            return GroundTruth(())
        file, name = self._named[id]
        return named(file.truth(name, size, lambda _: {}), self._class_name)

    @cached_property
    def _named(self) -> Mapping[str, tuple[via_json.ViaFile, str]]:
        found: dict[str, tuple[via_json.ViaFile, str]] = {}
        for file in self._files:
            for name in file.regions:
                stem = PurePosixPath(name).stem
                if stem in found:
                    raise UsageError(f"{file.path} and {found[stem][0].path} both list image {stem}; keep one")
                found[stem] = (file, name)
        return found


class _Maps:
    form = "labels"

    def __init__(self, paths: Mapping[str, Path], class_name: str, split_binary: bool) -> None:
        self._paths, self._class_name, self._split_binary = paths, class_name, split_binary

    def counts(self) -> Mapping[str, int]:
        counts = count_in_files(self._paths, _count_values, "any_form")
        if counts and max(counts.values()) <= 1:
            if not self._split_binary:
                raise UsageError(
                    f"{next(iter(self._paths.values())).parent}: no label map holds more than one value, so instances "
                    "cannot be told apart; --set dataset.split_binary=true takes each connected component for one"
                )
            return count_in_files(self._paths, lambda path: len(self._masks(path, None)), "any_form split")
        return counts

    def truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        if id not in self._paths:
            return GroundTruth(())
        masks = self._masks(self._paths[id], size)
        return GroundTruth(tuple(Instance(key, mask, self._class_name) for key, mask in masks.items()))

    def _masks(self, path: Path, size: tuple[int, int] | None) -> dict[str, Mask]:
        labels, background = _labels_and_background(path, size)
        masks = {str(value): mask for value, mask in masks_by_value(labels, (background,)).items()}
        if self._split_binary and len(masks) == 1:
            (whole,) = masks.values()
            return {str(number): part for number, part in enumerate(components(whole), start=1)}
        return masks


def _count_values(path: Path) -> int:
    labels, background = _labels_and_background(path, None)
    return sum(value != background for value in values_of(labels))


def _labels_and_background(path: Path, size: tuple[int, int] | None) -> tuple[Labels, int]:
    """Numbers, or colours as numbers, and the one of them that is not an instance: 0; in a file of colours white,
    where more of the picture's border is white than black."""
    if not has_colours(path):
        return read_labels(path, size), 0
    codes = read_codes(path, size)
    border = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
    return codes, _WHITE if np.count_nonzero(border == _WHITE) > np.count_nonzero(border == 0) else 0


def named(truth: GroundTruth, class_name: str) -> GroundTruth:
    """The same instances, all of one class; what they were called is their attribute ``label``."""
    return replace(
        truth,
        instances=tuple(
            replace(
                instance,
                class_name=class_name,
                class_id=None,
                attributes={} if instance.class_name is None else {"label": instance.class_name},
            )
            for instance in truth.instances
        ),
    )


def _require_size(path: Path, id: str, annotated: tuple[int, int], size: tuple[int, int]) -> None:
    if annotated != size:
        hint = "; the photograph is stored turned: store it upright" if annotated == size[::-1] else ""
        raise DataError(f"{path}: image {id} is {annotated} (h, w) there, its file {size}{hint}")
