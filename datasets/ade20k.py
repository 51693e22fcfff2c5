"""ADE20K: scenes with every object outlined, and the objects' parts, in the full release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from sambench.errors import UsageError
from sambench.readers.ade_annotation import (
    BACKGROUND,
    HIDDEN,
    VISIBLE,
    read_names_by_level,
    read_objects,
    read_segments,
)
from sambench.readers.files import first_place
from sambench.readers.label_files import count_in_files
from sambench.readers.listing import (
    ImageFileDataset,
    Listing,
    MinArea,
    MissingImages,
    count_masks,
    list_images,
)
from sambench.readers.mask_png import read_mask
from sambench.readers.trees import files_below
from sambench.types import Archive, Card, GroundTruth, Instance, PaperUse, Semantics, Split

CARD = Card(
    name="ade20k",
    title="ADE20K, objects and parts (full release 2021_17_01)",
    citation="Zhou et al., Scene Parsing through ADE20K Dataset, CVPR 2017; "
    "Zhou et al., Semantic Understanding of Scenes through the ADE20K Dataset, IJCV 127, 2019",
    url="https://ade20k.csail.mit.edu",
    licence="images: non-commercial research and education only; annotation: BSD 3-clause",
    access="Register at https://ade20k.csail.mit.edu/request_data/ and wait for the approval.\n"
    "Download the full dataset of 2021 (not SceneParsing, not ADEChallengeData2016).\n"
    "Unpack it in DATA_ROOT/ade20k/.",
    layout="ade20k/\n  ADE20K_2021_17_01/images/ADE/validation/GROUP/SCENE/\n    ADE_val_00000001.jpg\n"
    "    ADE_val_00000001.json\n    ADE_val_00000001_seg.png\n    ADE_val_00000001_parts_1.png\n"
    "    ADE_val_00000001/instance_000_ADE_val_00000001.png",
    kind="instance",
    splits={
        "validation": Split(2000, None, "about 65,000 masks, by the mean of the whole release (32.7 an image)"),
        "training": Split(25574),
    },
    default_split="validation",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("ade20k", "ADE20K_2021_17_01", "ADE20K_2016_07_26", "ADE20K"),
    paper=PaperUse("ADE20K", "Validation", 302, 10128),
    gotchas=(
        "The paper names no release; 34 masks an image fit objects and parts of 2021_17_01, not the 150 classes.",
        "Parts overlap the object that they belong to, by design.",
        "Without JSON or instance folders (the 2016 release) masks are cut from the colours of _seg and _parts files; "
        "the sample's attribute source says which way was taken.",
        "Objects that are wholly hidden have no visible pixel: they are dropped and counted as empty_mask.",
        "One PNG an object: tens of thousands of small files.",
    ),
    archives=(Archive("ADE20K_2021_17_01.zip", "images and annotation (login; the name is not verified)"),),
    semantics=Semantics(
        parts=True,
        stuff=True,
        components="An object is one mask, in however many pieces its occluders leave.",
        overlaps=True,
    ),
)


class Ade20k(ImageFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        level: Literal["all", "objects", "parts"] = "all"
        """`objects`: whole objects alone."""
        source: Literal["auto", "instances", "seg"] = "auto"
        """`instances`: each object's own PNG; `seg`: the colours of _seg and _parts files; `auto`: the first where an
        image has it."""
        amodal: bool = False
        """Occluded pixels belong to a mask (`instances` only)."""
        min_area: MinArea = 1
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.options = options
        self._image_folder = _folder(root, split) or root

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        return first_place(root, CARD.folders, lambda at: _folder(at, split))

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        return self._read(self.image_file(id).with_suffix(""), size)

    def _attributes(self, id: str) -> Mapping[str, Any]:
        return {"source": self._source(self.image_file(id).with_suffix(""))}

    def _list(self) -> Listing:
        stems = {id: at.with_name(id) for end in (".json", "_seg.png") for id, at in self._files(end).items()}
        if not stems:
            raise UsageError(f"{self._image_folder}: images are there, labels are not: unzip the whole archive again")
        coloured = {id: at.with_name(f"{id}_seg.png") for id, at in stems.items() if self._source(at) == "seg"}
        declared = {id: count_masks(partial(self._declared, at)) for id, at in stems.items() if id not in coloured}
        counted = count_in_files(coloured, self._count, f"ade20k {self.options}")
        return list_images(
            {**dict.fromkeys(self._images, 0), **declared, **counted},
            self._images,
            labels=self._image_folder,
            unpack="they lie beside their labels in the archive, unzip it again",
            missing_images=self.options.missing_images,
        )

    def _declared(self, stem: Path) -> int:
        return sum(self._wanted(found.level) for found in read_objects(stem.with_suffix(".json")))

    def _count(self, seg: Path) -> int:
        return len(self._read(seg.with_name(seg.name.removesuffix("_seg.png")), None).instances)

    def _read(self, stem: Path, size: tuple[int, int] | None) -> GroundTruth:
        by_instance = self._source(stem) == "instances"
        every = list(self._by_instance(stem, size) if by_instance else self._by_colour(stem, size))
        kept = [found for found in every if found.mask.area >= max(self.options.min_area, 1)]
        empty = sum(not found.mask.area for found in every)
        dropped = {"empty_mask": empty, "below_min_area": len(every) - len(kept) - empty}
        return GroundTruth(tuple(kept), dropped={rule: count for rule, count in dropped.items() if count})

    def _by_instance(self, stem: Path, size: tuple[int, int] | None) -> Iterator[Instance]:
        values, at_least = (BACKGROUND, HIDDEN, VISIBLE), HIDDEN if self.options.amodal else VISIBLE
        for found in read_objects(stem.with_suffix(".json")):
            if self._wanted(found.level):
                mask = read_mask(stem.parent / found.mask_file, size, values, at_least)
                yield Instance(found.id, mask, found.name, found.class_id, attributes=found.attributes)

    def _by_colour(self, stem: Path, size: tuple[int, int] | None) -> Iterator[Instance]:
        json, lines = stem.with_suffix(".json"), stem.with_name(f"{stem.name}_atr.txt")
        by_number = {found.class_id: found.name for found in read_objects(json)} if json.is_file() else {}
        by_rank = read_names_by_level(lines) if lines.is_file() else {}
        for level, file in enumerate(_coloured_files(stem)):
            if self._wanted(level):
                segments = read_segments(file, size)
                # The code's rank is the line's number, unless an object without a pixel has put the ranks out of step.
                codes = sorted({code for _, code in segments})
                listed = by_rank.get(level, [])
                names = dict(zip(codes, listed, strict=True)) if len(codes) == len(listed) == len(segments) else {}
                for (number, code), mask in segments.items():
                    name = by_number.get(number, names.get(code))
                    yield Instance(f"{level}-{number}-{code}", mask, name, number, attributes={"part_level": level})

    def _wanted(self, level: int) -> bool:
        return self.options.level == "all" or (level > 0) == (self.options.level == "parts")

    def _source(self, stem: Path) -> str:
        if self.options.source != "auto":
            return self.options.source
        return "instances" if stem.with_suffix(".json").is_file() and stem.is_dir() else "seg"

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return self._files(".jpg")

    def _files(self, ending: str) -> Mapping[str, Path]:
        """By the name without its ending, which is unique; the folders between, and their depth, vary by release."""
        found: dict[str, Path] = {}
        for relative, path in files_below(self._image_folder, ending, lambda name: not name.startswith("ADE_")).items():
            id = relative.rpartition("/")[2]
            if id in found:
                raise UsageError(f"{path} and {found[id]} would have the same id; keep one of them")
            found[id] = path
        return dict(sorted(found.items()))


def _coloured_files(stem: Path) -> Iterator[Path]:
    """Of objects, then of each level of parts."""
    yield stem.with_name(f"{stem.name}_seg.png")
    level = 1
    while (file := stem.with_name(f"{stem.name}_parts_{level}.png")).is_file():
        yield file
        level += 1


def _folder(base: Path, split: str) -> Path | None:
    """The split's folder in the layout of 2021, or in that of 2016 if files named as ADE20K's lie in it."""
    at = base / "images" / "ADE" / split
    if at.is_dir():
        return at
    for at in (base / "images" / split, base / split):
        if any(next(at.glob(depth), None) for depth in ("*/*/ADE_*", "*/ADE_*", "*/*/*/ADE_*")):
            return at
    return None


PLUGIN = Ade20k
