"""Users' own data as pictures: ``--dataset mask_pngs:DIR`` with ``DIR/images`` and ``DIR/masks``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

from sambench.errors import UsageError
from sambench.readers.files import files_by_stem, list_folder, nfc
from sambench.readers.images import SUFFIXES
from sambench.readers.listing import ImageFileDataset, Listing, count_masks
from sambench.readers.mask_png import NO_VOID, label_values, read_binary_masks, read_label_map
from sambench.types import Card, GroundTruth, IndexEntry, Split

CARD = Card(
    name="mask_pngs",
    title="Your own data, as images and mask PNGs",
    citation="",
    url="",
    licence="yours",
    access="Call it as mask_pngs:DIR with the path of a folder that holds images/ and masks/.",
    layout="DIR/\n  images/NAME.jpg              any usual image format\n"
    "  masks/NAME/*.png             one file an instance, not 0 is foreground\n"
    "  masks/NAME.png               or one label map: 0 background, each other value one instance",
    kind="instance",
    splits={"all": Split()},
    default_split="all",
    group="generic",
    tasks=frozenset({"single_point", "noc", "proposals"}),
    gotchas=(
        "A label map must be lossless: save PNG, never JPEG.",
        "255 is an instance like any other unless --set dataset.void=255 says that it is void.",
    ),
)


class MaskPngs(ImageFileDataset):
    card = CARD
    arguments: ClassVar[tuple[str, ...]] = ("dir",)

    @dataclass(frozen=True)
    class Options:
        dir: str = ""
        """The folder, absolute or from the current one."""
        void: int = NO_VOID
        """Value, in either kind of mask file, of pixels that belong to no instance and count in neither clicks nor IoU;
        -1: none."""

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.void, self._image_folder, self._mask_folder = options.void, root / "images", root / "masks"

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        if not options.dir:
            raise UsageError("mask_pngs needs the path of a folder: mask_pngs:DIR")
        folder = Path(options.dir)
        absent = [f"{name}/" for name in ("images", "masks") if not (folder / name).is_dir()]
        if absent:
            raise UsageError(
                f"{folder}: holds no folder {' and no folder '.join(absent)}; see sambench show dataset mask_pngs"
            )
        return folder

    def _list(self) -> Listing:
        """Label maps are decoded here to count their values."""
        return Listing(tuple(IndexEntry(id, count_masks(partial(self._count, id))) for id in self._images), {})

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        masks = self._masks.get(id, {})
        if isinstance(masks, Path):
            return read_label_map(masks, size, self.void)
        return read_binary_masks(masks, size, void=self.void)

    def _count(self, id: str) -> int:
        masks = self._masks.get(id, {})
        return len(label_values(masks, self.void) if isinstance(masks, Path) else masks)

    @cached_property
    def _masks(self) -> Mapping[str, Path | Mapping[str, Path]]:
        """By image id, a label map or the files of a folder of binary masks."""
        at = self._mask_folder
        found: dict[str, Path | Mapping[str, Path]] = dict(files_by_stem(at, SUFFIXES))
        for name in sorted(list_folder(at)):
            if (at / name).is_dir() and not name.startswith("."):
                if nfc(name) in found:
                    raise UsageError(f"{at / name}: a folder and a label map for the same image; keep one of them")
                found[nfc(name)] = files_by_stem(at / name, SUFFIXES)
        strays = sorted(set(found) - set(self._images))
        if strays:
            raise UsageError(
                f"{len(strays)} masks in {at} have no image of their name in {at.parent / 'images'}; first: {strays[0]}"
            )
        return found


PLUGIN = MaskPngs
