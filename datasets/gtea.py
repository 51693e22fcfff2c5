"""GTEA: hands in the kitchen videos of GTEA and GTEA Gaze+, outlined with LabelMe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from sambench.errors import DataError, UsageError
from sambench.readers.files import first_place
from sambench.readers.images import read_labels
from sambench.readers.label_files import LabelFileDataset
from sambench.readers.label_maps import components, masks_by_value
from sambench.readers.labelme import Outline, read_outlines
from sambench.readers.layers import union
from sambench.readers.listing import Listing, MissingImages
from sambench.readers.polygons import MIN_POINTS, outline_mask
from sambench.readers.trees import files_below
from sambench.types import Archive, Card, GroundTruth, Instance, Mask, PaperUse, Semantics, Split

CARD = Card(
    name="gtea",
    title="GTEA and GTEA Gaze+, hand masks (hand2K)",
    citation="Fathi, Ren, Rehg, Learning to recognize objects in egocentric activities, CVPR 2011; "
    "Li, Ye, Rehg, Delving into egocentric actions, CVPR 2015",
    url="https://cbs.ic.gatech.edu/fpv/",
    licence="not stated: research use, no redistribution",
    access="Download hand2K_dataset.zip from the address above (no login, about 250 MB).\n"
    "Unpack it in DATA_ROOT/gtea/.",
    layout="gtea/\n  hand2K_dataset/              (may be absent)\n    GTEA/Images/s2_cheese_0000000020.jpg\n"
    "    GTEA/Annotations/s2_cheese_0000000020.xml\n    GTEA/Masks/s2_cheese_0000000020.png\n"
    "    GTEA_GAZE_PLUS/Images/VIDEO/FRAME.jpg ...",
    kind="instance",
    splits={
        "gtea": Split(note="663 frames, some without a hand; the paper counts 652 images and 1,208 masks"),
        "gaze_plus": Split(note="1,115 frames, some without a hand"),
        "both": Split(note="1,778 frames, some without a hand"),
    },
    default_split="gtea",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("gtea", "GTEA_hand2K", "hand2K_dataset", "hand2K"),
    paper=PaperUse("GTEA", "Train (segmenting hands task)", 652, 1208),
    classes=("left hand", "right hand", "hand"),
    gotchas=(
        "The paper's rule is not known: left and right hand of the GTEA part fit its counts best.",
        "SAM loses most on this set, so the definition of a mask matters: the sample's attribute source names it.",
        "Outlines include the forearm as far as it is seen.",
        "What the values of the mask files mean is not known: they are read only where there is no XML.",
        "oldImages and oldMasks are an earlier annotation, and are not read. hand14k.zip is another set.",
    ),
    archives=(
        Archive(
            "hand2K_dataset.zip",
            "frames, outlines and masks, about 250 MB",
            url="https://www.dropbox.com/s/k2g06apgx1u8p17/hand2K_dataset.zip?dl=1",
        ),
    ),
    semantics=Semantics(
        components="All outlines of a hand are one mask; with source=components, each connected part of a mask file.",
        overlaps=True,
        frames="Those that the authors outlined.",
    ),
)

_FOLDERS = {"gtea": ("GTEA",), "gaze_plus": ("GTEA_GAZE_PLUS",), "both": ("GTEA", "GTEA_GAZE_PLUS")}
_MANY_VALUES = 4
"""A mask file of more values is taken to be anti-aliased: they are no labels."""
_HAND_FROM = 21
"""Of an anti-aliased mask file the lowest value that is hand (a public loader takes those above 20)."""
_CROSSING = ("cross", "overlap", "intersect", "both")


class Gtea(LabelFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        source: Literal["auto", "xml", "png", "components"] = "auto"
        """`xml`: the outlines; `png`: each value of the mask files is a mask, or, of more than four values, each of
        their 8-connected components; `components`: always these; `auto`: `xml` if that folder is there, else `png`."""
        min_area: int = 100
        """In mask files, fewer pixels are noise and counted."""
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self._image_folder = self._label_folder = root
        self.options = options
        self._parts = _FOLDERS[split]
        outlined = all((root / part / "Annotations").is_dir() for part in self._parts)
        self._source = ("xml" if outlined else "png") if options.source == "auto" else options.source
        self._label_kind = f"{self._source} file of frame"

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        halves = [part + half for part in _FOLDERS[split] for half in ("/Images", "/Annotations", "/Masks")]
        return first_place(root, CARD.folders, lambda at: any((at / half).is_dir() for half in halves))

    def _attributes(self, id: str) -> Mapping[str, Any]:
        return {"source": self._source}

    def _list(self) -> Listing:
        rule = f"gtea {self._source} {self.options.min_area}"
        return self._list_files(rule, "unzip hand2K_dataset.zip again", self.options.missing_images)

    def _count(self, path: Path) -> int:
        if self._source == "xml":
            return len(_by_hand(read_outlines(path))[0])
        return super()._count(path)

    def _read(self, path: Path, size: tuple[int, int] | None) -> GroundTruth:
        if self._source == "xml":
            assert size is not None
            return _outlined(path, size)
        labels = read_labels(path, size)
        masks = {str(value): mask for value, mask in masks_by_value(labels).items()}
        if len(masks) > _MANY_VALUES or self._source == "components":
            hands = components(Mask.from_dense(labels >= _HAND_FROM))
            masks = {f"component-{number}": mask for number, mask in enumerate(hands, start=1)}
        kept = {id: mask for id, mask in masks.items() if mask.area >= self.options.min_area}
        small = len(masks) - len(kept)
        instances = tuple(Instance(id, mask, "hand") for id, mask in kept.items())
        return GroundTruth(instances, dropped={"below_min_area": small} if small else {})

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return {f"{part}/{frame}": path for part in self._parts for frame, path in self._below(part, "Images", ".jpg")}

    @cached_property
    def _labels(self) -> Mapping[str, Path]:
        """By the ids of images where these differ in letter case only."""
        same = {id.casefold(): id for id in self._images}
        folder, ending = ("Annotations", ".xml") if self._source == "xml" else ("Masks", ".png")
        every = [(f"{part}/{frame}", path) for part in self._parts for frame, path in self._below(part, folder, ending)]
        found = {same.get(id.casefold(), id): path for id, path in every}
        if len(found) < len(every):
            raise UsageError(
                f"{self._label_folder}: the names of two files in {folder} differ in letter case only; keep one"
            )
        return found

    def _below(self, part: str, folder: str, ending: str) -> list[tuple[str, Path]]:
        at = self._label_folder / part / folder
        return list(files_below(at, ending).items()) if at.is_dir() else []


def _outlined(path: Path, size: tuple[int, int]) -> GroundTruth:
    hands, dropped = _by_hand(read_outlines(path))
    instances = []
    for name, outlines in hands.items():
        try:
            mask = union((outline_mask(outline.vertices, size) for outline in outlines), size)
        except ValueError as error:
            raise DataError(f"{path}: {name}: {error}") from None
        if not mask.area:
            dropped["empty_mask"] = dropped.get("empty_mask", 0) + 1
            continue
        known = name in CARD.classes
        instances.append(Instance(name, mask, name, attributes={} if known else {"unknown_name": True}))
    return GroundTruth(tuple(instances), dropped=dropped)


def _by_hand(outlines: list[Outline]) -> tuple[dict[str, list[Outline]], dict[str, int]]:
    """The outlines of each hand, left before right; what crosses belongs to both. And what was dropped, by rule."""
    hands: dict[str, list[Outline]] = {"left hand": [], "right hand": []}
    dropped: dict[str, int] = {}
    for outline in outlines:
        rule = "deleted" if outline.deleted else "too_few_points" if len(outline.vertices) < MIN_POINTS else ""
        if rule:
            dropped[rule] = dropped.get(rule, 0) + 1
            continue
        name = " ".join(outline.name.lower().replace("_", " ").split())
        crossing = any(word in name for word in _CROSSING)
        sides = [f"{side} hand" for side in ("left", "right") if side in name or crossing]
        for hand in sides or [name or "hand"]:
            hands.setdefault(hand, []).append(outline)
    return {name: drawn for name, drawn in hands.items() if drawn}, dropped


PLUGIN = Gtea
