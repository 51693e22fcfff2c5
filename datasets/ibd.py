"""IBD, the two-dimensional part of InstanceBuilding: roofs in drone photographs of cities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image as Pillow
from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers.any_form import Annotations, Files, Form, annotations_of, by_stem, is_label
from sambench.readers.files import first_place, nfc
from sambench.readers.layers import painted_over
from sambench.readers.listing import ImageFileDataset, Listing, MissingImages, list_images
from sambench.readers.trees import files_below
from sambench.types import Card, GroundTruth, PaperUse, Semantics, Split

CARD = Card(
    name="ibd",
    title="IBD (InstanceBuilding, 2D part)",
    citation="Chen, Xu, Lu, Liang, Nan, 3D Instance Segmentation of MVS Buildings, IEEE Transactions on Geoscience "
    "and Remote Sensing, 2022",
    url="https://californiachen.github.io/datasets/InstanceBuilding",
    licence="free for non-commercial use; no right to hand it on is stated",
    access="Follow the link to Google Drive (no login) or Baidu in the home page above; get the 2D part.\n"
    "Unpack it in DATA_ROOT/ibd/, keeping its folders.",
    layout="ibd/                           (or InstanceBuilding/); how the files lie is not documented:\n"
    "  train/...                    photographs, with annotations in one of four forms:\n"
    "                               COCO JSON, labelme JSON, VIA JSON, or a folder of label maps",
    kind="instance",
    splits={"train": Split(467, 11953), "all": Split(608, None, "about 16,000 roofs")},
    default_split="train",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("ibd", "IBD", "InstanceBuilding", "instance_building", "InstanceBuilding2D"),
    paper=PaperUse("IBD", "Train (2D annotations)", 467, 11953),
    classes=("roof",),
    gotchas=(
        "The files' form is not documented and nobody has confirmed this reader on the real set: compare its counts "
        "with the paper's (sambench data check ibd) before you report a number.",
        "Each photograph comes with a height map; pictures that look like one by name or pixel type are left out.",
        "Where roofs lie on lower roofs, outlines may overlap; they are kept so. cut=true takes the smaller roofs out "
        "of the larger ones.",
        "Not to be confused with the Inria Aerial Image Labeling dataset, or with other sets called IBD.",
    ),
    semantics=Semantics(components="Each annotated roof is one mask.", overlaps=True),
)

_TRAIN = re.compile(r"(?<![a-z])train(?![a-z])", re.IGNORECASE)
_HEIGHT = re.compile(r"height|dsm|depth|_h(?![a-z])", re.IGNORECASE)
_LEAST = 0.9
"""If fewer of the images than this share have a mask, the files were not understood."""


class Ibd(ImageFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        form: Form = "auto"
        """Form of the annotations."""
        cut: bool = False
        """Take smaller roofs out of the larger ones below them."""
        split_binary: bool = False
        """Of label maps with one value only, each connected component is a roof."""
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.root, self.split, self.options = root, split, options

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        # Any folder of images would do, so only one that bears a name of the dataset is believed.
        names = {nfc(name).casefold() for name in CARD.folders}
        return first_place(root, CARD.folders, lambda at: nfc(at.resolve().name).casefold() in names)

    def _attributes(self, id: str) -> Mapping[str, Any]:
        return {"form": self._found[1].form}

    @override
    def image_file(self, id: str) -> Path:
        photographs, _, _ = self._found
        if id not in photographs:
            raise DataError(f"{self.root}: no photograph {id}")
        return photographs[id]

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        truth = self._found[1].truth(id, size)
        if not self.options.cut:
            return truth
        below = sorted(truth.instances, key=lambda roof: -roof.mask.area)
        left = painted_over([roof.mask for roof in below], size)
        cut = tuple(replace(roof, mask=mask) for roof, mask in zip(below, left, strict=True) if mask.area)
        hidden = len(below) - len(cut)
        return replace(truth, instances=cut, dropped={**truth.dropped, **({"hidden": hidden} if hidden else {})})

    def _list(self) -> Listing:
        photographs, annotations, wanted = self._found
        counts = annotations.counts()
        ids = counts.keys() if annotations.form == "coco" else counts.keys() | photographs.keys()
        n_masks = {id: counts.get(id, 0) for id in ids if wanted is None or id in wanted}
        with_masks = sum(count > 0 for count in n_masks.values())
        if with_masks < _LEAST * len(n_masks):
            raise UsageError(
                f"{self.root}: only {with_masks} of {len(n_masks)} images have a roof in the form "
                f"{annotations.form}; the files are not as expected: choose another with --set dataset.form"
            )
        return list_images(
            n_masks,
            photographs,
            labels=self.root,
            unpack=f"unpack the photographs of the 2D part in {self.root}",
            missing_images=self.options.missing_images,
        )

    @cached_property
    def _found(self) -> tuple[Mapping[str, Path], Annotations, frozenset[str] | None]:
        """Photographs by id, annotations, and the ids of the split where neither of them is of the split alone."""
        every = Files.below(self.root, leave_out=("3D",))
        wanted, part = (None, every) if self.split == "all" else self._train_part(every)
        photographs = _photographs(part) or _photographs(every)
        found = self._annotations(part)
        if found is None and part is not every:
            found, wanted = self._annotations(every), frozenset(photographs)
        if found is None:
            raise UsageError(
                f"{self.root}: images are there, labels are not: none of COCO JSON, labelme JSON, VIA JSON, or a "
                "folder labels/ or masks/ was found; unpack the annotations beside the images"
            )
        return photographs, found, wanted

    def _train_part(self, every: Files) -> tuple[frozenset[str] | None, Files]:
        """The files that are named for training; or all of them and the ids in a list of that name."""
        lists = [path for key, path in files_below(self.root, ".txt").items() if _TRAIN.search(key)]
        if lists:
            lines = [line.strip() for path in lists for line in path.read_text(encoding="utf-8").splitlines()]
            return frozenset(nfc(PurePosixPath(line.split()[0]).stem) for line in lines if line), every
        part = every.matching(_TRAIN)
        if not part.pictures and not part.texts:
            raise UsageError(
                f"{self.root}: no folder, file or list is named for training, so the split of the paper is not known; "
                "take all images with --split all"
            )
        return None, part

    def _annotations(self, files: Files) -> Annotations | None:
        return annotations_of(files, self.options.form, "roof", self.options.split_binary)


def _photographs(files: Files) -> Mapping[str, Path]:
    return by_stem(
        {
            key: path
            for key, path in files.pictures.items()
            if not is_label(key) and not _HEIGHT.search(key) and _has_colour_depth(path)
        }
    )


def _has_colour_depth(path: Path) -> bool:
    """Not a picture of 16 or 32-bit numbers; what cannot be opened is a photograph that fails when it is loaded."""
    try:
        with Pillow.open(path) as image:
            return image.mode not in ("I", "F") and not image.mode.startswith("I;16")
    except (OSError, ValueError, Pillow.DecompressionBombError):
        return True


PLUGIN = Ibd
