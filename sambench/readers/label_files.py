"""Sets with a label file for each image, whose number of masks only decoding tells: done once and remembered."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from sambench.core.dataset import GroundTruth
from sambench.errors import DataError, UsageError
from sambench.readers.files import files_by_stem
from sambench.readers.images import SUFFIXES
from sambench.readers.index_cache import Arrays, cached
from sambench.readers.listing import ImageFileDataset, Listing, count_masks, list_images

_KIND = "counts-1"


class LabelFileDataset(ImageFileDataset):
    """The part of a dataset plugin that a label file for each image answers. The plugin sets ``_label_folder``,
    overrides ``_labels`` (by id) where need be, and reads a file in ``_read``, for its count too."""

    _label_folder: Path
    _label_kind: str = "label"

    @cached_property
    def _labels(self) -> Mapping[str, Path]:
        return files_by_stem(self._label_folder, SUFFIXES, missing_ok=True)

    def _read(self, path: Path, size: tuple[int, int] | None) -> GroundTruth:
        """``size``: ``(H, W)`` of the image, None to count only."""
        raise NotImplementedError

    def _count(self, path: Path) -> int:
        return len(self._read(path, None).instances)

    def _label_file(self, id: str) -> Path:
        if id not in self._labels:
            raise DataError(f"{self._label_folder}: no {self._label_kind} {id}")
        return self._labels[id]

    def _list_files(
        self,
        rule: str,
        unpack: str,
        missing_images: str,
        *,
        wanted: Collection[str] | None = None,
        folder: Path | None = None,
    ) -> Listing:
        """As in :func:`list_label_files`, of all that lies in the two folders."""
        found, at = (self._images, self._labels, self._count), folder or self._label_folder
        return list_label_files(*found, rule, wanted=wanted, folder=at, unpack=unpack, missing_images=missing_images)

    def _truth_of(self, id: str, size: tuple[int, int]) -> Callable[[], GroundTruth]:
        return partial(self._read, self._label_file(id), size)


def list_label_files(
    images: Mapping[str, Path],
    labels: Mapping[str, Path],
    count: Callable[[Path], int],
    rule: str,
    *,
    wanted: Collection[str] | None = None,
    folder: Path,
    unpack: str,
    missing_images: str = "error",
) -> Listing:
    """The index of a split from its image files and its label files, each by id.

    ``count``, ``rule``: as for :func:`count_in_files`. ``wanted``: the ids of the split, where a list names them; else
    whatever is on disk. ``folder``: where labels lie; ``unpack``: how to mend what is missing. Raises UsageError: no
    labels, an image without one, and as :func:`list_images`.
    """
    if not labels:
        raise UsageError(f"{folder}: images are there, labels are not: {unpack}")
    ids = sorted({*images, *labels} if wanted is None else wanted)
    bare = [id for id in ids if id not in labels]
    if bare:
        raise UsageError(f"{folder}: {len(bare)} of {len(ids)} images have no label (first: {bare[0]}): {unpack}")
    counts = count_in_files({id: labels[id] for id in ids}, count, rule)
    return list_images(counts, images, labels=folder, unpack=unpack, missing_images=missing_images)


def count_in_files(files: Mapping[str, Path], count: Callable[[Path], int], rule: str) -> dict[str, int]:
    """What ``count`` answers for each file, by the same ids; 1 for a file that it cannot read (see
    :func:`count_masks`).

    Remembered folder by folder under ``rule`` (everything besides the files that changes a count: dataset, options)
    and the names, sizes and times of change of the files, because their digests would take as long as decoding them.
    """
    folders: dict[Path, list[str]] = {}
    for id, path in sorted(files.items()):
        folders.setdefault(path.parent, []).append(id)
    counts: dict[str, int] = {}
    for ids in folders.values():
        paths = [files[id] for id in ids]
        found = cached(_KIND, _digest(paths, rule), partial(_decode, paths, count))
        counts.update(zip(ids, found["masks"].tolist(), strict=True))
    return counts


def _digest(paths: list[Path], rule: str) -> str:
    digest = hashlib.sha256(rule.encode("utf-8"))
    for path in paths:
        try:
            status = os.stat(path)
            seen = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            seen = "cannot be read"
        digest.update(f"\0{path.name}\0{seen}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _decode(paths: list[Path], count: Callable[[Path], int]) -> Arrays:
    # Decoders let go of the interpreter while they unpack.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        numbers = list(threads.map(lambda path: count_masks(partial(count, path)), paths))
    return {"masks": np.asarray(numbers, np.int64)}
