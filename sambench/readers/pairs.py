"""Sets in which a sample is one image file and one mask file, in two folders, as interactive segmentation ships them.

The rules are those of RITM's loaders (Sofiiuk et al., arXiv 2102.06583; isegm/data/datasets/grabcut.py, berkeley.py,
davis.py in the authors' repository).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sambench.core.dataset import GroundTruth, IndexEntry, Instance
from sambench.core.mask import Mask
from sambench.errors import DataError, UsageError
from sambench.readers.files import files_by_stem, first_place, nfc
from sambench.readers.images import SUFFIXES, has_colours, read_codes, read_image, read_labels
from sambench.readers.listing import ImageFileDataset, Listing

RELEASE = "https://github.com/saic-vul/fbrs_interactive_segmentation/releases/download/v1.0"
"""Where the sets lie as packed for RITM's evaluation."""

IGNORED = 128
"""The grey value of pixels that count for nothing; values above are the object."""

OddValues = Literal["error", "background"]
"""What to do about grey values from 1 to 127, which mean nothing: refuse the mask, or take them for background."""

_ENDS_OF_ID = ("-", "_", "#")
_LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".gif")
_JPEG_NOISE = 127


@dataclass(frozen=True, slots=True)
class Pair:
    """The two files of a sample."""

    image: Path
    mask: Path


def locate_pairs(root: Path, folders: Collection[str], images: str, masks: str) -> Path | None:
    """The likeliest folder that holds both folders; else one that bears a name of the dataset and holds one of them,
    so that the index can say what is missing."""
    names = {nfc(name).casefold() for name in folders}

    def half(at: Path) -> bool:
        return nfc(at.resolve().name).casefold() in names and ((at / images).is_dir() or (at / masks).is_dir())

    return first_place(root, folders, lambda at: (at / images).is_dir() and (at / masks).is_dir(), half)


def find_pairs(images: Path, masks: Path, *, further: bool = False) -> dict[str, Pair]:
    """Each image and its mask, by file name up to the first dot, sorted.

    ``further``: a mask named like an image and more (``ID-1``, ``ID_2``, ``ID#001``) is a sample of its own on that
    image. Raises UsageError: a folder that is missing, an image without a mask, a mask without an image, a name twice.
    """
    for missing, there, what in ((images, masks, "images"), (masks, images, "masks")):
        if not missing.is_dir():
            other = "masks" if what == "images" else "images"
            raise UsageError(f"{there}: {other} are there, {what} are not: put them in {missing}")
    image_files, mask_files = _by_name(images), _by_name(masks)
    pairs: dict[str, Pair] = {}
    strays: list[str] = []
    for id, mask in mask_files.items():
        of = id if id in image_files else _longest_beginning(id, image_files) if further else None
        if of is None:
            strays.append(mask.name)
        else:
            pairs[id] = Pair(image_files[of], mask)
    used = {pair.image for pair in pairs.values()}
    bare = [path.name for path in image_files.values() if path not in used]
    if bare:
        raise UsageError(f"{masks}: {len(bare)} of {len(image_files)} images have no mask here; first: {bare[0]}")
    if strays:
        raise UsageError(f"{images}: {len(strays)} of {len(mask_files)} masks have no image here; first: {strays[0]}")
    return dict(sorted(pairs.items()))


def read_trimap(path: Path, size: tuple[int, int], odd_values: OddValues = "error") -> GroundTruth:
    """One object in a grey picture (of a colour picture the first channel): 0 background, 128 void, above the object.

    ``size``: ``(H, W)`` of the image. ``odd_values``: see :data:`OddValues`. Raises DataError.
    """
    values = read_labels(path, size, first_channel=True)
    if values.dtype == np.bool_:
        raise DataError(
            f"{path}: a 1-bit picture has no value above {IGNORED}; store the mask as 8-bit grey, 0 and 255"
        )
    odd = values[(values > 0) & (values < IGNORED)]
    if odd.size and odd_values == "error":
        raise DataError(
            f"{path}: {odd.size} pixels hold values from 1 to 127 (first: {int(odd[0])}); a mask has 0, 128 and 255, "
            "or set dataset.odd_values=background"
        )
    return _one_object(values > IGNORED, values == IGNORED)


def read_any_colour(path: Path, size: tuple[int, int]) -> GroundTruth:
    """All that is not background as one object: a palette or grey value that is not 0, or a colour that is not black.

    A JPEG of a mask has low values all over: there the object is what lies above 127.
    ``size``: ``(H, W)`` of the image. Raises DataError.
    """
    if path.suffix.lower() not in _LOSSLESS:
        foreground = read_image(path, size).max(axis=2) > _JPEG_NOISE
    elif has_colours(path):
        foreground = read_codes(path, size) != 0
    else:
        foreground = read_labels(path, size) != 0
    return _one_object(foreground, np.zeros(size, np.bool_))


def _one_object(foreground: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> GroundTruth:
    mask, void = Mask.from_dense(foreground), Mask.from_dense(ignored)
    return GroundTruth(
        (Instance("1", mask),) if mask.area else (),
        void=void if void.area else None,
        dropped={} if mask.area else {"empty_mask": 1},
    )


class PairedDataset(ImageFileDataset):
    """The part of a dataset plugin that pairs of files answer. The plugin names their two ``_folders`` (of images and
    of masks) and says how a mask reads."""

    _folders: tuple[str, str]
    _further: bool = False

    def __init__(self, root: Path, split: str, options: Any) -> None:
        self._image_folder, self._mask_folder = (root / folder for folder in self._folders)
        self.options = options

    @classmethod
    def locate(cls, root: Path, split: str, options: Any) -> Path | None:
        return locate_pairs(root, cls.card.folders, *cls._folders)

    def _read_mask(self, path: Path, size: tuple[int, int]) -> GroundTruth:
        raise NotImplementedError

    @cached_property
    def _pairs(self) -> Mapping[str, Pair]:
        return find_pairs(self._image_folder, self._mask_folder, further=self._further)

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return {id: pair.image for id, pair in self._pairs.items()}

    def _list(self) -> Listing:
        return Listing(tuple(IndexEntry(id, 1) for id in self._pairs), {})

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        return self._read_mask(self._pairs[id].mask, size)


@dataclass(frozen=True)
class TrimapOptions:
    odd_values: OddValues = "error"
    """Masks with grey values from 1 to 127, of which none is known: `error` fails the image; `background` takes them
    for background."""


class TrimapDataset(PairedDataset):
    """The same, of masks that :func:`read_trimap` reads."""

    options: TrimapOptions

    def _read_mask(self, path: Path, size: tuple[int, int]) -> GroundTruth:
        return read_trimap(path, size, self.options.odd_values)


def _by_name(folder: Path) -> dict[str, Path]:
    """The images of a folder by their name up to the first dot. Raises UsageError on a name twice."""
    found: dict[str, Path] = {}
    by_case: dict[str, Path] = {}
    for path in files_by_stem(folder, SUFFIXES).values():
        id = nfc(path.name.partition(".")[0])
        twin = by_case.setdefault(id.casefold(), path)
        if twin is not path:
            raise UsageError(f"{path} and {twin.name} would have the same id; keep one of them")
        found[id] = path
    return found


def _longest_beginning(id: str, known: Mapping[str, Path]) -> str | None:
    """The longest known id that this one continues after a separator."""
    fitting = (of for of in known if id.startswith(of) and id[len(of) : len(of) + 1] in _ENDS_OF_ID)
    return max(fitting, key=len, default=None)
