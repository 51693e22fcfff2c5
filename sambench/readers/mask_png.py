"""Masks stored as picture files: one binary picture an instance, or one label map an image."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from sambench.core.dataset import GroundTruth, Instance
from sambench.core.mask import Mask
from sambench.errors import DataError
from sambench.readers.images import ImageFile, has_colours, read_codes, read_labels
from sambench.readers.label_maps import components, masks_by_value, values_of
from sambench.readers.layers import union

NO_VOID = -1


def label_values(path: ImageFile, void: int = NO_VOID) -> list[int]:
    """The instance numbers in a label map: every value but 0 (background) and ``void``, rising. Raises DataError."""
    return [value for value in values_of(read_labels(path)) if value not in (0, void)]


def read_label_map(
    path: ImageFile,
    size: tuple[int, int] | None,
    void: int = NO_VOID,
    *,
    colours: bool = False,
    class_name: str | None = None,
) -> GroundTruth:
    """One file for all instances of an image: 0 is background, each other value one instance with that number as id.

    ``size``: ``(H, W)`` of the image, None not to compare. ``void``: the value of pixels that count for nothing.
    ``colours``: a file of colours is read too, each but black one instance with the id ``#rrggbb``; else it raises.
    Raises DataError.
    """
    coded = colours and has_colours(path)
    labels = read_codes(path, size) if coded else read_labels(path, size)
    masks = masks_by_value(labels)
    ignored = masks.pop(void, None)
    return GroundTruth(
        tuple(
            Instance(id=f"#{value:06x}" if coded else str(value), mask=mask, class_name=class_name)
            for value, mask in masks.items()
        ),
        void=ignored,
    )


def read_class_map(
    path: ImageFile,
    size: tuple[int, int] | None,
    classes: Mapping[int, str],
    *,
    void: Collection[int] = (),
    background: Collection[int] = (0,),
    ignored: Collection[int] = (),
    colours: Mapping[int, int] | None = None,
    split: bool = False,
    min_area: int = 1,
) -> GroundTruth:
    """One file of class numbers: each class of the image is one mask, with its number as id.

    ``size``: ``(H, W)`` of the image, None not to compare. ``classes``: names by number. Values of ``background`` are
    none, those of ``void`` count for nothing, those of ``ignored`` are background and counted as ``other_class``; any
    other value raises.
    ``colours``: class numbers by colour code (:func:`read_codes`), for files that store colours. ``split``: each
    8-connected component is a mask of its own, with the id ``NUMBER-1`` and on. ``min_area``: masks of fewer pixels
    are dropped and counted as ``below_min_area``. Raises DataError.
    """
    masks = {value: mask for value, mask in _class_masks(path, size, colours).items() if value not in background}
    unknown = [str(value) for value in masks if not (value in classes or value in void or value in ignored)]
    if unknown:
        raise DataError(f"{path}: holds the value {', '.join(unknown)}, which is not a class of this dataset")
    instances, small = [], 0
    for value, whole in masks.items():
        if value not in classes:
            continue
        parts = components(whole) if split else [whole]
        for number, mask in enumerate(parts, start=1):
            if mask.area < min_area:
                small += 1
                continue
            id = f"{value}-{number}" if split else str(value)
            instances.append(Instance(id=id, mask=mask, class_name=classes[value], class_id=value))
    nothing = [mask for value, mask in masks.items() if value in void]
    dropped = {"below_min_area": small, "other_class": sum(value in ignored for value in masks)}
    return GroundTruth(
        tuple(instances),
        void=union(nothing, nothing[0].size) if nothing else None,
        dropped={rule: count for rule, count in dropped.items() if count},
    )


def read_mask(path: ImageFile, size: tuple[int, int] | None, values: Collection[int], at_least: int) -> Mask:
    """One instance whose file may hold only ``values``: those from ``at_least`` on are foreground. Raises DataError."""
    labels = read_labels(path, size)
    wrong = sorted(set(values_of(labels)) - set(values))
    if wrong:
        raise DataError(f"{path}: holds the value {wrong[0]}, expected are only {', '.join(map(str, sorted(values)))}")
    return Mask.from_dense(labels >= at_least)


def read_binary_masks(
    files: Mapping[str, ImageFile] | Iterable[tuple[str, ImageFile]],
    size: tuple[int, int] | None,
    *,
    void: int = NO_VOID,
    at_least: int = 1,
    min_area: int = 1,
    first_channel: bool = False,
    class_name: str | None = None,
) -> GroundTruth:
    """One file an instance, by instance id: any value from ``at_least`` on (but ``void``) is foreground; in a file of
    one bit, its 1.

    ``size``: ``(H, W)`` of the image, None not to compare. ``min_area``: masks of fewer pixels are dropped and counted
    as ``below_min_area``; those without a pixel always, as ``empty_mask``. Where there are values between 0 and
    ``at_least``, the instance has the attribute ``fainter_pixels``, their number. ``first_channel``: see
    :func:`read_labels`. Raises DataError.
    """
    instances = []
    dropped = {"empty_mask": 0, "below_min_area": 0}
    ignored = []
    for id, path in dict(files).items():
        labels = read_labels(path, size, first_channel=first_channel)
        if void != NO_VOID:
            ignored.append(Mask.from_dense(labels == void))
            labels = np.where(labels == void, 0, labels)
        mask = Mask.from_dense(labels if labels.dtype == np.bool_ or at_least == 1 else labels >= at_least)
        if mask.area < max(min_area, 1):
            dropped["below_min_area" if mask.area else "empty_mask"] += 1
            continue
        fainter = int(np.count_nonzero(labels)) - mask.area if at_least > 1 else 0
        attributes = {"fainter_pixels": fainter} if fainter else {}
        instances.append(Instance(id=id, mask=mask, class_name=class_name, attributes=attributes))
    nothing = union(ignored, ignored[0].size) if ignored else None
    return GroundTruth(
        tuple(instances),
        void=nothing if nothing is not None and nothing.area else None,
        dropped={rule: count for rule, count in dropped.items() if count},
    )


def _class_masks(path: ImageFile, size: tuple[int, int] | None, colours: Mapping[int, int] | None) -> dict[int, Mask]:
    """By class number, rising."""
    if colours is None or not has_colours(path):
        return masks_by_value(read_labels(path, size), drop=())
    by_code = masks_by_value(read_codes(path, size), drop=())
    wrong = [f"#{code:06x}" for code in by_code if code not in colours]
    if wrong:
        raise DataError(f"{path}: holds the colour {', '.join(wrong[:5])}, which is not a class of this dataset")
    return dict(sorted((colours[code], mask) for code, mask in by_code.items()))
