"""STREETS: vehicles in the stills of traffic cameras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers import via_json
from sambench.readers.files import candidates, list_folder
from sambench.readers.images import read_labels
from sambench.readers.listing import ImageFileDataset, Listing, MissingImages, list_images
from sambench.types import Archive, Card, GroundTruth, PaperUse, Semantics, Split

CARD = Card(
    name="streets",
    title="STREETS, vehicle annotations",
    citation="Snyder and Do, STREETS: A Novel Camera Network Dataset for Traffic Flow, NeurIPS 2019",
    url="https://databank.illinois.edu/datasets/IDB-3671567",
    licence="unknown to us: see the record at the address above",
    access="Download vehicleannotations.zip from the address above.\n"
    "Unpack it in DATA_ROOT/streets/ (the record's road masks beside it are needed for road_mask=true only).",
    layout="streets/\n  vehicleannotations/\n    images/VIEW-4.jpg\n    annotations/vehicle-annotations.json   VIA 1\n"
    "  roadmasks/2018/VIEW.png                  optional",
    kind="instance",
    splits={"all": Split(None, None, "about 2,949 images and 35,000 masks")},
    default_split="all",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("streets", "STREETS"),
    paper=PaperUse("STREETS", "N/A", 819, 9854),
    gotchas=(
        "File names hold spaces, parentheses and hyphens.",
        "The byte sizes in the JSON keys need not be those of the files.",
        "The ten images of a view are nearly the same.",
        "The authors' detection code keeps only vehicles that touch the road mask; the paper does not say so, and "
        "road_mask is off by default.",
    ),
    archives=(Archive("vehicleannotations.zip", "images and vehicle outlines"),),
    semantics=Semantics(overlaps=True, components="An outline is one mask."),
)


class Streets(ImageFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        road_mask: bool = False
        """Leave out, and count, vehicles without a pixel on the road (roadmasks/2018)."""
        missing_images: MissingImages = "exclude"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.root, self.options, self._image_folder = root, options, root / "images"

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        bases = [at for base in candidates(root, CARD.folders) for at in (base / "vehicleannotations", base)]
        bare = (at for at in bases if at.name == "vehicleannotations" and (at / "images").is_dir())
        return next((at for at in bases if _annotations(at)), next(bare, None))

    @override
    def image_file(self, id: str) -> Path:
        if id not in self._names:
            raise DataError(f"{self._file.path}: no image {id}")
        return self._images.get(id, self._image_folder / self._names[id])

    def _list(self) -> Listing:
        return list_images(
            {id: self._file.n_masks(name) for id, name in self._names.items()},
            self._images,
            labels=self._file.path,
            unpack=f"unzip vehicleannotations.zip in {self.root.parent}",
            missing_images=self.options.missing_images,
        )

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        truth = self._file.truth(self._names[id], size, _describe)
        if not self.options.road_mask:
            return truth
        view = f"{id.rpartition('-')[0]}.png"
        folders = (self.root.parent / "roadmasks" / "2018", self.root / "roadmasks" / "2018")
        road = read_labels(next((at / view for at in folders if at.is_dir()), folders[0] / view), size) != 0
        on_road = []
        for instance in truth.instances:
            x0, y0, x1, y1 = instance.mask.box
            if (instance.mask.window & road[y0:y1, x0:x1]).any():
                on_road.append(instance)
        off = len(truth.instances) - len(on_road)
        return replace(truth, instances=tuple(on_road), dropped={**truth.dropped, "off_road": off})

    @cached_property
    def _file(self) -> via_json.ViaFile:
        path = _annotations(self.root)
        if path is None:
            raise UsageError(
                f"{self.root / 'annotations'}: images are there, vehicle-annotations.json is not: "
                "unzip vehicleannotations.zip again"
            )
        return via_json.load(path)

    @cached_property
    def _names(self) -> Mapping[str, str]:
        """File names by id."""
        found: dict[str, str] = {}
        for name in self._file.regions:
            twin = found.setdefault(PurePosixPath(name).stem, name)
            if twin != name:
                raise UsageError(f"{self._file.path}: {name} and {twin} would have the same id")
        return found


def _annotations(base: Path) -> Path | None:
    """The official file, else the only file of its kind and about its name beside a folder ``images``."""
    official = base / "annotations" / "vehicle-annotations.json"
    if official.is_file():
        return official
    if not (base / "images").is_dir():
        return None
    found = [
        at / name
        for at in (base / "annotations", base)
        if at.is_dir()
        for name in sorted(list_folder(at))
        if "annotations" in name and name.endswith(".json") and via_json.looks_like_via(at / name)
    ]
    return found[0] if len(found) == 1 else None


def _describe(region: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = region.get("vehicle_type")
    if not isinstance(kind, str) or not kind.strip():
        return {"class_name": "vehicle"}
    return {"class_name": kind.strip(), "attributes": {"vehicle_type": kind.strip()}}


PLUGIN = Streets
