"""Users' own data in COCO's form: ``--dataset coco_json:ANNOTATIONS,IMAGES``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sambench.errors import UsageError
from sambench.readers.coco_json import CocoDataset, CocoReader
from sambench.readers.listing import MissingImages
from sambench.types import Card, Split

CARD = Card(
    name="coco_json",
    title="Your own data, as a COCO-style JSON file and a folder of images",
    citation="",
    url="",
    licence="yours",
    access="Call it as coco_json:ANNOTATIONS,IMAGES with the paths of the JSON file and of the image folder.\n"
    "IMAGES may be left out where only stored predictions are scored.",
    layout="ANNOTATIONS                    JSON with images, annotations, categories\n"
    "IMAGES/                        the files that file_name names",
    kind="instance",
    splits={"all": Split()},
    default_split="all",
    group="generic",
    tasks=frozenset({"single_point", "noc", "proposals", "instances", "text_to_mask"}),
)


class CocoJson(CocoDataset):
    card = CARD
    arguments: ClassVar[tuple[str, ...]] = ("annotations", "images")

    @dataclass(frozen=True)
    class Options:
        annotations: str = ""
        """Path of the annotations, absolute or from the current folder."""
        images: str = ""
        """Folder of the images, likewise; may be empty."""
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        folder = Path(options.images)
        if options.images and not folder.is_dir():
            raise UsageError(f"{folder}: no such folder of images; call coco_json:ANNOTATIONS,IMAGES")

        def find_image(entry: Mapping[str, Any]) -> Path:
            name = entry.get("file_name")
            if not isinstance(name, str):
                raise UsageError(f"{options.annotations}: image {entry['id']} has no file_name")
            return folder / name

        self._reader = CocoReader(
            Path(options.annotations),
            find_image if options.images else None,
            options.missing_images,
            f"check that file_name leads from {folder} to the images",
        )

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        if not options.annotations:
            raise UsageError("coco_json needs the path of a JSON file: coco_json:ANNOTATIONS,IMAGES")
        file = Path(options.annotations)
        if not file.is_file():
            raise UsageError(f"{file}: no such file; call coco_json:ANNOTATIONS,IMAGES")
        return file.parent


PLUGIN = CocoJson
