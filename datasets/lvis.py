"""LVIS on COCO's photographs: v0.5 validation for the paper's 23, v1 validation for proposals and box prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from sambench.readers.coco_json import CocoDataset, CocoReader
from sambench.readers.files import first_place
from sambench.readers.listing import ListingOptions
from sambench.types import Archive, Card, PaperUse, Semantics, Split

CARD = Card(
    name="lvis",
    title="LVIS validation (v0.5 and v1)",
    citation="Gupta, Dollar, Girshick, LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019",
    url="https://www.lvisdataset.org",
    licence="annotations CC BY 4.0; each photograph its own Flickr licence",
    access="Download lvis_v0.5_val.json.zip (or lvis_v1_val.json.zip) from https://www.lvisdataset.org (no login)\n"
    "and http://images.cocodataset.org/zips/val2017.zip; v1 needs train2017.zip as well.\n"
    "Unpack the images in DATA_ROOT/coco/ and the JSON in DATA_ROOT/coco/annotations/.",
    layout="coco/\n  val2017/000000266409.jpg     (v1: and train2017/)\n"
    "  annotations/                 (or lvis/)\n    lvis_v0.5_val.json\n    lvis_v1_val.json",
    kind="instance",
    splits={
        "v0.5_val": Split(5000, None, "about 50,763 masks"),
        "v1_val": Split(
            19809, None, "about 244,707 masks; 4,809 of the images lie in val2017, the others in train2017"
        ),
    },
    default_split="v0.5_val",
    task_splits={"proposals": "v1_val", "instances": "v1_val"},
    group="sam23",
    tasks=frozenset({"single_point", "noc", "proposals", "instances", "text_to_mask"}),
    published_as={"proposals": "LVIS v1 val", "instances": "LVIS v1 val"},
    folders=("lvis", "LVIS", "coco", "COCO", "coco2017"),
    paper=PaperUse("LVIS", "Validation (v0.5)", 945, 9642),
    gotchas=(
        "v0.5 and v1 have different category ids: never mix their annotations and results.",
        "file_name in v0.5 still says val2014; images are found by coco_url.",
        "Annotation is federated: an object that is not annotated may be there all the same.",
    ),
    same_images_as=frozenset({"coco"}),
    archives=(
        Archive(
            "lvis_v0.5_val.json.zip",
            "annotations of v0.5",
            into="annotations",
            url="https://s3-us-west-2.amazonaws.com/dl.fbaipublicfiles.com/LVIS/lvis_v0.5_val.json.zip",
            splits=("v0.5_val",),
        ),
        Archive(
            "lvis_v1_val.json.zip",
            "annotations of v1",
            into="annotations",
            url="https://s3-us-west-2.amazonaws.com/dl.fbaipublicfiles.com/LVIS/lvis_v1_val.json.zip",
            splits=("v1_val",),
        ),
        Archive("val2017.zip", "COCO's images", url="http://images.cocodataset.org/zips/val2017.zip"),
        Archive(
            "train2017.zip",
            "COCO's images",
            url="http://images.cocodataset.org/zips/train2017.zip",
            splits=("v1_val",),
        ),
    ),
    semantics=Semantics(components="An object that others cut apart is one mask, in several polygons.", overlaps=True),
)


class Lvis(CocoDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options(ListingOptions):
        annotations: str = ""
        """File, absolute or in one of the usual folders, to read in place of the split's own."""

    def __init__(self, root: Path, split: str, options: Options) -> None:
        file = _annotations(root, split, options.annotations)
        places = [at for base in (root, root / "coco", root.parent / "coco") for at in (base, base / "images")]

        @cache
        def place_of(folder: str) -> Path:
            return next((at / folder for at in places if (at / folder).is_dir()), root / folder)

        def find_image(entry: Mapping[str, Any]) -> Path:
            folder, name = _folder_and_name(entry)
            return place_of(folder) / name

        needed = "val2017.zip" if split == "v0.5_val" else "val2017.zip and train2017.zip"
        self._reader = CocoReader(
            root / "annotations" / _file_name(split, options.annotations) if file is None else file,
            find_image,
            options.missing_images,
            f"unpack {needed} in {root}",
        )

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        return first_place(root, CARD.folders, lambda base: _annotations(base, split, options.annotations))


def _file_name(split: str, given: str) -> str:
    return given or f"lvis_{split}.json"


def _annotations(base: Path, split: str, given: str) -> Path | None:
    places = (base / "annotations", base / "lvis", base, Path())
    named = [at / _file_name(split, given) for at in places[: 4 if given else 3]]
    return next((path for path in named if path.is_file()), None)


def _folder_and_name(entry: Mapping[str, Any]) -> tuple[str, str]:
    """``("val2017", "000000266409.jpg")`` from the end of coco_url; else the last 16 letters of file_name."""
    parts = PurePosixPath(str(entry.get("coco_url", ""))).parts
    if len(parts) >= 2:
        return parts[-2], parts[-1]
    return "val2017", str(entry.get("file_name", entry["id"]))[-16:]


PLUGIN = Lvis
