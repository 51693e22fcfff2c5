"""Plittersdorf: animals of a wildlife enclosure in a stereo camera trap, mostly by infrared light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sambench import masks
from sambench.errors import UsageError
from sambench.readers.coco_json import CocoDataset, CocoParts, CocoReader, base_of, images_in
from sambench.readers.listing import ListingOptions
from sambench.readers.polygons import filled_mask, ring
from sambench.types import Card, Mask, PaperUse, Semantics, Split

CARD = Card(
    name="plittersdorf",
    title="Plittersdorf instance segmentation",
    citation="Haucke, Kühl, Steinhage, SOCRATES: Introducing Depth in Visual Wildlife Monitoring Using Stereo Vision, "
    "Sensors 22(23), 2022",
    url="https://timm.haucke.xyz/datasets/plittersdorf",
    licence="see the home page; not known here, so treat it as not redistributable",
    access="Get the instance segmentation part from https://timm.haucke.xyz/datasets/plittersdorf\n"
    "Unpack it in DATA_ROOT/plittersdorf/.",
    layout="plittersdorf/                  (or plittersdorf_instance_segmentation_coco/)\n"
    "  images/VIDEO_FRAME.jpg       (or .png; .exr files are disparities and not read)\n"
    "  train.json\n  val.json\n  test.json",
    kind="instance",
    splits={
        "all": Split(187, 546, "train, val and test together, as in the paper"),
        "train": Split(),
        "val": Split(),
        "test": Split(),
    },
    default_split="all",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("plittersdorf", "Plittersdorf", "plittersdorf_instance_segmentation_coco"),
    paper=PaperUse("Plittersdorf", "Train, validation, test", 187, 546),
    classes=("animal",),
    gotchas=(
        "Image and annotation ids restart in each of the three files, so an image's id is train:17.",
        "Borders of holes are stored as polygons like any other. By default all are filled, as COCO's tools do; "
        "fill=even_odd keeps holes open and draws the border pixels, as they were traced.",
        "The area field is the box's width times its height, not the mask's area.",
        "Cross-validation files (train_fold_000_train.json) overlap with these and are not read.",
    ),
    semantics=Semantics(components="An animal that is seen in parts is one mask, in several polygons.", overlaps=True),
)

_PARTS = ("train", "val", "test")


class Plittersdorf(CocoDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options(ListingOptions):
        fill: Literal["union", "even_odd"] = "union"
        """`union`: of all polygons of an animal; `even_odd`: a polygon within another is a hole."""
        missing_parts: Literal["error", "exclude"] = "error"
        """Of the split `all`: `error` stops if one of the three files is missing; `exclude` goes on with the others,
        without the paper's counts."""

    def __init__(self, root: Path, split: str, options: Options) -> None:
        parts = [part for part in _PARTS if split in ("all", part)]
        gone = [f"{part}.json" for part in parts if not (root / f"{part}.json").is_file()]
        if gone and (options.missing_parts == "error" or len(gone) == len(parts)):
            raise UsageError(
                f"{root}: the labels are missing ({', '.join(gone)}): unpack the archive again, or go on with what is "
                "there with --set dataset.missing_parts=exclude"
            )
        self._reader = CocoParts(
            {
                part: CocoReader(
                    annotations,
                    images_in(root / "images", annotations),
                    options.missing_images,
                    f"unpack images/ beside {annotations.name} in {root}",
                    only_annotated=True,
                    fill=_fill_even_odd if options.fill == "even_odd" else masks.from_polygons,
                )
                for part in parts
                if (annotations := root / f"{part}.json").is_file()
            }
        )

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        # Either name alone is too common to be looked for in a data root.
        return base_of(
            root, CARD.folders, lambda base: sum((base / f"{part}.json").is_file() for part in _PARTS) > 1, "images"
        )


def _fill_even_odd(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Mask:
    return filled_mask(
        [ring([[x, y] for x, y in zip(polygon[0::2], polygon[1::2], strict=True)]) for polygon in polygons], size
    )


PLUGIN = Plittersdorf
