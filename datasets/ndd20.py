"""NDD20: dolphins above and below the surface, outlined by hand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers import via_json
from sambench.readers.files import files_by_stem, first_place
from sambench.readers.images import SUFFIXES
from sambench.readers.listing import ImageFileDataset, Listing, ListingOptions, list_images
from sambench.types import Archive, Card, GroundTruth, PaperUse, Semantics, Split

CARD = Card(
    name="ndd20",
    title="NDD20 (Northumberland Dolphin Dataset 2020)",
    citation="Trotter et al., NDD20: A large-scale few-shot dolphin dataset for coarse and fine-grained "
    "categorisation, arXiv 2005.13359, 2020",
    url="https://doi.org/10.25405/data.ncl.c.4982342",
    licence="CC BY-NC-SA 4.0",
    access="Download NDD20.zip from the address above (no login, about 2.4 GB).\nUnpack it in DATA_ROOT/ndd20/.",
    layout="ndd20/\n  ABOVE/0.jpg                  (or both folders and files in NDD20/)\n  BELOW/0.jpg\n"
    "  ABOVE_LABELS.json            VIA 2\n  BELOW_LABELS.json",
    kind="instance",
    splits={
        "all": Split(4402, None, "6,100 masks in the paper; others count 6,102 or 6,103 outlines, some degenerate"),
        "above": Split(2201, None, "about 2,939 outlines"),
        "below": Split(2201, None, "about 3,163 outlines"),
    },
    default_split="all",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("ndd20", "NDD20"),
    paper=PaperUse("NDD20", "N/A", 4402, 6100),
    classes=("dolphin",),
    gotchas=(
        "Both folders hold files of the same names, of different photographs: ids carry the folder (above/104).",
        "Outlines are drawn as open lines; they are closed by a straight line. Below the surface 15 % of them have "
        "gaps of more than 30 % of their size.",
        "Two or three outlines have next to no area (above/789 for one) and are dropped.",
        "Photographs above the surface mostly have 18 megapixels.",
        "The byte sizes in the JSON keys need not be those of the files.",
    ),
    archives=(
        Archive(
            "NDD20.zip",
            "photographs and labels, about 2.4 GB",
            url="https://data.ncl.ac.uk/ndownloader/files/22774175",
        ),
    ),
    semantics=Semantics(overlaps=True, components="An outline is one mask."),
)

_SIDES = {"above": "ABOVE", "below": "BELOW"}


class Ndd20(ImageFileDataset):
    card = CARD
    Options = ListingOptions

    def __init__(self, root: Path, split: str, options: ListingOptions) -> None:
        self.root, self.options = root, options
        self._sides = _SIDES if split == "all" else {split: _SIDES[split]}

    @classmethod
    def locate(cls, root: Path, split: str, options: ListingOptions) -> Path | None:
        return first_place(
            root,
            CARD.folders,
            lambda at: any(_labels(at, side).is_file() for side in _SIDES.values()),
            lambda at: all((at / side).is_dir() for side in _SIDES.values()),
        )

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        file, name = self._regions[id]
        return file.truth(name, size, _describe)

    @override
    def image_file(self, id: str) -> Path:
        if id not in self._regions:
            raise DataError(f"{self.root}: no image {id}")
        side = id.split("/")[0]
        return self._images.get(id, self.root / _SIDES[side] / self._regions[id][1])

    def _list(self) -> Listing:
        return list_images(
            {id: file.n_masks(name) for id, (file, name) in self._regions.items()},
            self._images,
            labels=self.root,
            unpack=f"unzip NDD20.zip in {self.root}",
            missing_images=self.options.missing_images,
        )

    @cached_property
    def _regions(self) -> Mapping[str, tuple[via_json.ViaFile, str]]:
        """By id, the file of labels and the image's name in it."""
        found: dict[str, tuple[via_json.ViaFile, str]] = {}
        for side, folder in self._sides.items():
            path = _labels(self.root, folder)
            if not path.is_file():
                raise UsageError(f"{path}: labels are missing beside {folder}/: unzip NDD20.zip again")
            file = via_json.load(path)
            for name in file.regions:
                id = f"{side}/{PurePosixPath(name).stem}"
                if id in found:
                    raise UsageError(f"{path}: {name} and {found[id][1]} would have the same id")
                found[id] = (file, name)
        return found

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return {
            f"{side}/{stem}": path
            for side, folder in self._sides.items()
            if (self.root / folder).is_dir()
            for stem, path in files_by_stem(self.root / folder, SUFFIXES).items()
        }


def _labels(base: Path, folder: str) -> Path:
    return base / f"{folder}_LABELS.json"


def _describe(region: Mapping[str, Any]) -> Mapping[str, Any]:
    kept = {"species": "species", "id": "individual", "out of focus": "out_of_focus"}
    texts = {new: str(region[old]).strip() for old, new in kept.items() if region.get(old) is not None}
    return {"class_name": "dolphin", "attributes": {key: text for key, text in texts.items() if text}}


PLUGIN = Ndd20
