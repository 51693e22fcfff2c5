"""Keeps the ``demo`` dataset on disk: made once, whole or not at all, and made again if a file was damaged."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray
from PIL import Image as Pillow

from sambench import masks
from sambench.core.dataset import GroundTruth
from sambench.core.mask import Mask
from sambench.demo import scenes
from sambench.errors import UsageError

ANNOTATIONS = "annotations.json"
CHECKSUMS = "SHA256SUMS"
_LEVELS = ("whole", "part", "subpart")


def folder() -> Path:
    """Where the demo is kept: ``demo/v1`` in ``SAMBENCH_CACHE``, else in the platform's cache folder."""
    cache = os.environ.get("SAMBENCH_CACHE") or platformdirs.user_cache_dir("sambench", appauthor=False)
    return Path(cache) / "demo" / f"v{scenes.VERSION}"


def ensure(at: Path) -> None:
    """Makes the dataset in a folder unless it is there in good order. Several processes may call it at once: one
    makes it, the others wait. Raises UsageError if the folder cannot be written."""
    if _is_sound(at):
        return
    try:
        at.parent.mkdir(parents=True, exist_ok=True)
        with _locked(at.parent / f".{at.name}.lock"):
            if _is_sound(at):
                return
            _make(at)
    except OSError as error:
        raise UsageError(
            f"{at}: the demo dataset cannot be written there ({error.strerror or error}); "
            "set SAMBENCH_CACHE to a folder that can be written"
        ) from None


def with_boundaries(truth: GroundTruth) -> GroundTruth:
    """The ground truth with two boundary maps, as if by two annotators: of the objects, and of objects and parts.

    A pixel is on a boundary if its right or lower neighbour belongs to another region: lines of one pixel.
    """
    size = truth.instances[0].mask.size
    labels = np.zeros(size, np.int32)
    maps = []
    for level in _LEVELS:
        for number, instance in enumerate(truth.instances, start=1):
            if instance.attributes["level"] == level:
                _fill(labels, instance.mask, number)
        if level != "part":
            maps.append(_between(labels))
    return replace(truth, boundaries=tuple(maps))


def _fill(labels: NDArray[np.int32], mask: Mask, number: int) -> None:
    x0, y0, x1, y1 = mask.box
    labels[y0:y1, x0:x1][mask.window] = number


def _between(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    edge = np.zeros(labels.shape, np.bool_)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1, :] |= labels[:-1, :] != labels[1:, :]
    return edge


def _make(at: Path) -> None:
    """Under a temporary name beside it, then renamed: the folder holds all of it or does not exist."""
    work = Path(tempfile.mkdtemp(prefix=f".{at.name}-", dir=at.parent))
    try:
        (work / "images").mkdir()
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        categories: dict[str, int] = {}
        for number in range(scenes.N_IMAGES):
            scene = scenes.make_scene(number)
            name = f"{scene.id}.png"
            Pillow.fromarray(scene.image).save(work / "images" / name)
            height, width = scene.image.shape[:2]
            images.append({"id": scene.id, "file_name": name, "height": height, "width": width})
            first = len(annotations) + 1
            for piece in scene.pieces:
                mask = Mask.from_dense(piece.mask)
                x0, y0, x1, y1 = mask.box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": scene.id,
                        "category_id": categories.setdefault(piece.category, len(categories) + 1),
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": mask.area,
                        "iscrowd": int(piece.crowd),
                        "segmentation": masks.to_rle(mask),
                        "attributes": {
                            "level": piece.level,
                            "parent": None if piece.parent is None else str(first + piece.parent),
                        },
                    }
                )
        content = {
            "info": {"description": f"sambench demo dataset, version {scenes.VERSION}"},
            "images": images,
            "annotations": annotations,
            "categories": [{"id": id, "name": name} for name, id in categories.items()],
        }
        (work / ANNOTATIONS).write_text(json.dumps(content, indent=1), encoding="utf-8")
        (work / CHECKSUMS).write_text("".join(f"{_digest(path)}  {path.relative_to(work)}\n" for path in _files(work)))
        work.chmod(0o755)
        if at.exists():
            damaged = work.with_name(f"{work.name}-damaged")
            at.rename(damaged)
            work.rename(at)
            shutil.rmtree(damaged, ignore_errors=True)
        else:
            work.rename(at)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_sound(at: Path) -> bool:
    """Every file that was written is there and unchanged."""
    with suppress(OSError, ValueError):
        listed = [line.split("  ", 1) for line in (at / CHECKSUMS).read_text().splitlines()]
        return len(listed) == scenes.N_IMAGES + 1 and all(_digest(at / name) == digest for digest, name in listed)
    return False


def _files(at: Path) -> list[Path]:
    return [at / ANNOTATIONS, *sorted((at / "images").iterdir())]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
