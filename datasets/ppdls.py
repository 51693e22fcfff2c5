"""PPDLS: rosettes of arabidopsis and tobacco from above, every leaf labelled."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from sambench.errors import UsageError
from sambench.readers.files import files_by_stem, first_place
from sambench.readers.label_files import LabelFileDataset
from sambench.readers.listing import Listing, ListingOptions
from sambench.readers.mask_png import read_label_map
from sambench.types import Archive, Card, GroundTruth, PaperUse, Semantics, Split

CARD = Card(
    name="ppdls",
    title="PPDLS (Plant Phenotyping Datasets, leaf segmentation)",
    citation="Minervini, Fischbach, Scharr, Tsaftaris, Finely-grained annotated datasets for image-based plant "
    "phenotyping, Pattern Recognition Letters 81, 2016",
    url="https://www.plant-phenotyping.org/datasets-home",
    licence="research use with citation; the exact text is not known",
    access="Download Plant_Phenotyping_Datasets.zip from the download page of the address above (a form may ask for "
    "your name).\nUnpack it in DATA_ROOT/ppdls/.",
    layout="ppdls/\n  Plant_Phenotyping_Datasets/  (the archive may hold this folder twice)\n    Plant/\n"
    "      Ara2012/ara2012_plant001_rgb.png\n      Ara2012/ara2012_plant001_label.png\n"
    "      Tobacco/tobacco_plant001_rgb.png ...\n      Ara2013-Canon/ara2013_plant001_rgb.png ...",
    kind="instance",
    splits={
        "Ara2012+Tobacco": Split(182, 2347, "the counts of the paper; no other choice of folders gives 182 images"),
        "Ara2012+Ara2013-Canon+Tobacco": Split(347),
        "Ara2012": Split(120),
        "Ara2013-Canon": Split(165),
        "Tobacco": Split(62),
        "A1+A2+A3+A4": Split(note="the CVPPP challenge's packaging, another selection: never mix it with the others"),
    },
    default_split="Ara2012+Tobacco",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("ppdls", "PPDLS", "Plant_Phenotyping_Datasets", "CVPPP"),
    paper=PaperUse("PPDLS", "N/A", 182, 2347),
    classes=("leaf",),
    gotchas=(
        "Files of whole trays end in _rgb.png too, but have no leaf labels and are not read.",
        "Leaf numbers have gaps (27 occurs once); the pixel values count, not the palette's colours.",
        "A label file that was saved in colours is read by colour: its leaves have ids like #ff0000.",
    ),
    archives=(
        Archive("Plant_Phenotyping_Datasets.zip", "plants, trays and their labels (the page may ask for a form)"),
    ),
    semantics=Semantics(components="A leaf is one mask, also where another leaf cuts it in pieces."),
)


class Ppdls(LabelFileDataset):
    card = CARD
    Options = ListingOptions
    _label_kind = "label file of"

    def __init__(self, root: Path, split: str, options: ListingOptions) -> None:
        self._image_folder = self._label_folder = root
        self.options = options
        self._folders = {subset: _folder(root, subset) for subset in split.split("+")}

    @classmethod
    def locate(cls, root: Path, split: str, options: ListingOptions) -> Path | None:
        subsets = split.split("+")
        return first_place(root, CARD.folders, lambda at: any(_folder(at, subset).is_dir() for subset in subsets))

    def _read(self, path: Path, size: tuple[int, int] | None) -> GroundTruth:
        return read_label_map(path, size, colours=True, class_name="leaf")

    def _list(self) -> Listing:
        gone = [str(folder) for folder in self._folders.values() if not folder.is_dir()]
        if gone:
            raise UsageError(f"{gone[0]}: no such folder: unzip Plant_Phenotyping_Datasets.zip again")
        return self._list_files("ppdls", "unzip Plant_Phenotyping_Datasets.zip again", self.options.missing_images)

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return self._files("_rgb")

    @cached_property
    def _labels(self) -> Mapping[str, Path]:
        return self._files("_label")

    def _files(self, ending: str) -> Mapping[str, Path]:
        """By ids like ``Ara2012/ara2012_plant001``."""
        return {
            f"{subset}/{stem.removesuffix(ending)}": path
            for subset, folder in self._folders.items()
            if folder.is_dir()
            for stem, path in files_by_stem(folder, {".png"}).items()
            if stem.endswith(ending)
        }


def _folder(base: Path, subset: str) -> Path:
    """A folder of plants below a folder that may be the archive's top or ``Plant`` itself."""
    places = [base / inner / subset for inner in ("Plant", "Plant_Phenotyping_Datasets/Plant")]
    if base.name == "Plant" or (subset.startswith("A") and len(subset) == 2):  # CVPPP's have no folder above
        places.append(base / subset)
    return next((at for at in places if at.is_dir()), places[0])


PLUGIN = Ppdls
