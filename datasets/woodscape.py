"""WoodScape: what fisheye cameras around a car see, outlined as polygons that lie over one another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from typing_extensions import override

from sambench.errors import UsageError
from sambench.readers.files import files_by_stem, first_place
from sambench.readers.images import read_image
from sambench.readers.label_files import count_in_files
from sambench.readers.listing import ImageFileDataset, Listing, MissingImages, list_images
from sambench.readers.woodscape_json import Scene, read_scene
from sambench.types import Archive, Card, PaperUse, Sample, Semantics, Split

CARD = Card(
    name="woodscape",
    title="WoodScape, instance annotation",
    citation="Yogamani et al., WoodScape: A multi-task, multi-camera fisheye dataset for autonomous driving, ICCV 2019",
    url="https://woodscape.valeo.com",
    licence="the dataset's own terms: non-commercial research, teaching and benchmarking, no redistribution",
    access="Follow the link to the drive folder in the README of https://github.com/valeoai/WoodScape.\n"
    "Get the RGB images and the instance annotations.\nUnpack both in DATA_ROOT/woodscape/.",
    layout="woodscape/\n  rgb_images/00000_FV.png      (or rgb_images/rgb_images/)\n"
    "  instance_annotations/00000_FV.json   (or instance_annotations/instance_annotations/)",
    kind="instance",
    splits={"labelled": Split(8234, None, "about 772,000 polygons by published statistics; called Set 1 in the paper")},
    default_split="labelled",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("woodscape", "WoodScape", "WoodScape_ICCV19", "Woodscape"),
    paper=PaperUse("WoodScape", "Set 1", 107, 10266),
    classes=(
        *("road_surface", "curb", "car", "train/tram", "truck", "other_wheeled_transport", "trailer", "van", "caravan"),
        *("bus", "bicycle", "motorcycle", "person", "rider", "grouped_botts_dots", "cats_eyes_and_botts_dots"),
        *("parking_marking", "lane_marking", "parking_line", "other_ground_marking", "zebra_crossing"),
        *("trafficsign_indistingushable", "sky", "fence", "traffic_light_yellow", "ego_vehicle", "pole", "structure"),
        *("traffic_sign", "animal", "free_space", "traffic_light_red", "unknown_traffic_light", "movable_object"),
        *("traffic_light_green", "void", "grouped_vehicles", "grouped_pedestrian_and_animals", "grouped_animals"),
        *("green_strip", "nature", "construction", "Other_NoSight"),
    ),
    gotchas=(
        "Set 1 is no folder; it most likely means the 8,234 images whose labels are public.",
        "About 96 masks an image fit all classes, sky, void and ego_vehicle included; drop_classes leaves some out.",
        "Whether the paper cut hidden parts away is unknown: masks=polygon keeps polygons whole, masks=visible cuts.",
        "Images are raw fisheye pictures and are not rectified.",
        "The test images have no labels. semantic_annotations/gtLabels are class maps, not instances.",
    ),
    archives=(
        Archive("rgb_images.zip", "images (the name may differ)"),
        Archive("instance_annotations.zip", "polygons (the name may differ)"),
    ),
    semantics=Semantics(
        stuff=True,
        components="A polygon is one mask; merge_groups=true joins the parts of an object that is cut apart.",
        overlaps=True,
    ),
)


class WoodScape(ImageFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        masks: Literal["polygon", "visible"] = "polygon"
        """`polygon`: fill each by itself; `visible`: what is left when they are painted by rising `z_order`."""
        merge_groups: bool = False
        """Polygons of one tag and `group_id` are one mask."""
        drop_classes: tuple[str, ...] = ()
        """Tags to leave out and count."""
        missing_images: MissingImages = "exclude"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.root, self.options = root, options
        self._labels, self._image_folder = _inner(root, "instance_annotations"), _inner(root, "rgb_images")

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        def images_only(at: Path) -> bool:
            return at.name.casefold().startswith("woodscape") and (at / "rgb_images").is_dir()

        return first_place(root, CARD.folders, lambda at: (at / "instance_annotations").is_dir(), images_only)

    def load(self, id: str) -> Sample:
        scene = self._read(self._labels / f"{id}.json")
        truth = partial(scene.truth, visible=self.options.masks == "visible")
        return Sample(id, scene.size, partial(read_image, self.image_file(id), scene.size), truth)

    @override
    def image_file(self, id: str) -> Path:
        return self._images.get(id, self._image_folder / f"{id}.png")

    def _list(self) -> Listing:
        if not self._labels.is_dir():
            raise UsageError(
                f"{self._labels}: images are there, labels are not: unpack the instance annotations beside rgb_images"
            )
        files = files_by_stem(self._labels, {".json"})
        rule = f"woodscape {self.options.merge_groups} {sorted(self.options.drop_classes)}"
        return list_images(
            count_in_files(files, lambda path: len(self._read(path).objects), rule),
            self._images,
            labels=self._labels,
            unpack="unpack the RGB images as rgb_images/ beside instance_annotations/",
            missing_images=self.options.missing_images,
        )

    def _read(self, path: Path) -> Scene:
        return read_scene(path, merge_groups=self.options.merge_groups, drop_classes=self.options.drop_classes)


def _inner(root: Path, name: str) -> Path:
    """Archives may unpack to ``name/name/``."""
    return root / name / name if (root / name / name).is_dir() else root / name


PLUGIN = WoodScape
