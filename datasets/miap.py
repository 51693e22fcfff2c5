"""MIAP joined with Open Images' masks: people, and what they wear, with perceived gender presentation and age.

Segment Anything §6 and §C (Tables 2 and 6); protocol §8.1 and §8.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Lt
from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers import openimages
from sambench.readers.files import first_place
from sambench.readers.listing import ImageFileDataset, Listing, MissingImages, list_images
from sambench.readers.openimages import Box, MaskRow, PersonRow
from sambench.types import Archive, Card, GroundTruth, Instance, Semantics, Split

PEOPLE, CLOTHING = "people", "clothing"
BOXES = "open_images_extended_miap_boxes_test.csv"
MASKS = "test-annotations-object-segmentation.csv"
TREE = "bbox_labels_600_hierarchy.json"
NAMES = ("class-descriptions-boxable.csv", "oidv7-class-descriptions-boxable.csv", "oidv6-class-descriptions.csv")
_STORE = "https://storage.googleapis.com/openimages"

CARD = Card(
    name="miap",
    title="MIAP test boxes with Open Images masks: people and clothing",
    citation="Schumann, Ricco, Prabhu, Ferrari, Pantofaru, A Step Toward More Inclusive People Annotations for "
    "Fairness, AIES 2021; Kuznetsova et al., The Open Images Dataset V4, IJCV 128, 2020",
    url="https://storage.googleapis.com/openimages/web/extended.html",
    licence="annotations CC BY 4.0; images listed as CC BY 2.0, each to be verified",
    access="Tables and masks: sambench data get miap (no login).\n"
    "Images in DATA_ROOT/miap/test/: https://github.com/cvdfoundation/open-images-dataset.",
    layout=f"miap/\n  {BOXES}\n  {MASKS}\n  {NAMES[0]}\n  {TREE}\n  test/IMAGE.jpg\n  masks/IMAGE_CLASS_BOX.png",
    kind="instance",
    splits={
        PEOPLE: Split(note="about 3,900 masks (paper, section C)"),
        CLOTHING: Split(note="about 6,500 masks (paper, section C)"),
    },
    default_split=PEOPLE,
    group="reference",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("miap", "MIAP", "open_images", "openimages", "OpenImages"),
    gotchas=(
        "The two splits are two subjects on the same images: --split people (Table 2) and --split clothing (Table 6).",
        "Of the images only those of the index are needed; all of Open Images' test set are 36 GB.",
        "Attributes are as perceived by annotators; where they could not tell ('Unknown') the instance has none.",
        "Mask pictures mostly have another size than their image (1600 against 1024 pixels) and are brought to it.",
        "The rule of 1 % is given in one sentence of the paper; counts tell whether this reading is the paper's.",
    ),
    archives=(
        Archive(BOXES, "boxes", url=f"{_STORE}/open_images_extended_miap/{BOXES}"),
        Archive(MASKS, "masks", url=f"{_STORE}/v5/{MASKS}"),
        Archive(NAMES[0], "classes", url=f"{_STORE}/v5/{NAMES[0]}"),
        Archive(TREE, "classes", url=f"{_STORE}/2018_04/{TREE}"),
        *(
            Archive(f"test-masks-{digit}.zip", "masks", "masks", f"{_STORE}/v5/test-masks/test-masks-{digit}.zip")
            for digit in "0123456789abcdef"
        ),
    ),
    semantics=Semantics(
        overlaps=True,
        crowd="People whose MIAP box stands for a group.",
        components="One mask file is one mask.",
        dropped=("masks without a MIAP box that fits",),
    ),
)


class Miap(ImageFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        margin: Annotated[float, Ge(0), Lt(1)] = 0.01
        """How far edges may be apart, as a fraction of the box's side (paper §C: 1 %)."""
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.root, self.split, self.options = root, split, options
        folders = (root / "test", root / "images" / "test", root / "images")
        self._image_folder = next((at for at in folders if at.is_dir()), folders[0])

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        return first_place(root, CARD.folders, lambda at: (at / BOXES).is_file())

    @override
    def image_file(self, id: str) -> Path:
        return self._image_folder / f"{id}.jpg"

    def _list(self) -> Listing:
        needed = [mask.file for joined in self._joined.values() for mask, _ in joined]
        missing = [name for name in needed if name not in self._mask_files]
        if missing:
            raise UsageError(
                f"{self.root}: {len(missing)} of {len(needed)} masks are missing (first: {missing[0]}): "
                f"unpack test-masks-{missing[0][:1].lower()}.zip in {self.root / 'masks'}"
            )
        return list_images(
            {id: sum(not self._is_crowd(person) for _, person in joined) for id, joined in self._joined.items()},
            {id for id in self._joined if self.image_file(id).is_file()},
            labels=self.root / MASKS,
            unpack=f"put the images of Open Images' test set in {self._image_folder}",
            missing_images=self.options.missing_images,
        )

    def _truth(self, id: str, size: tuple[int, int]) -> GroundTruth:
        instances, empty = [], 0
        for row, person in self._joined.get(id, ()):
            if row.file not in self._mask_files:
                raise DataError(f"{self.root}: mask {row.file} is missing")
            mask = openimages.read_mask(self._mask_files[row.file], size)
            if not mask.area:
                empty += 1
                continue
            known = {"perceived_gender_presentation": person.gender_presentation, "perceived_age": person.age}
            instances.append(
                Instance(
                    f"{row.label.removeprefix('/').replace('/', '')}_{row.box_id}",
                    mask,
                    class_name=self._names.get(row.label),
                    crowd=self._is_crowd(person),
                    attributes={name: value for name, value in known.items() if value is not None},
                )
            )
        return GroundTruth(tuple(instances), dropped={"empty_mask": empty} if empty else {})

    def _is_crowd(self, person: PersonRow) -> bool:
        return self.split == PEOPLE and person.group

    @cached_property
    def _joined(self) -> Mapping[str, Sequence[tuple[MaskRow, PersonRow]]]:
        """By image id, each mask that is kept and the person that it belongs to."""
        subject = openimages.PERSON if self.split == PEOPLE else openimages.CLOTHING
        masks = openimages.read_masks(self._table(MASKS), openimages.subtree(self._table(TREE), subject))
        people = openimages.read_people(self._table(BOXES))
        person_of = _same_person if self.split == PEOPLE else _wearer
        joined = {}
        for id in sorted(masks):
            found = [(mask, person_of(mask.box, people.get(id, ()), self.options.margin)) for mask in masks[id]]
            kept = [(mask, person) for mask, person in found if person is not None]
            if kept:
                joined[id] = kept
        return joined

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return openimages.class_names(self._table(*NAMES))

    @cached_property
    def _mask_files(self) -> Mapping[str, Path]:
        return openimages.mask_files(self.root, "test")

    def _table(self, *names: str) -> Path:
        for name in names:
            if (self.root / name).is_file():
                return self.root / name
        raise UsageError(
            f"{self.root}: {BOXES} is there, {names[0]} is not: sambench show dataset miap has its address"
        )


def _same_person(mask: Box, people: Sequence[PersonRow], margin: float) -> PersonRow | None:
    """The person whose box has each edge within the margin of the mask's, the best by IoU of several (OQ-7)."""
    x, y = margin * mask.width, margin * mask.height
    fitting = (
        person
        for person in people
        if max(abs(mask.x0 - person.box.x0), abs(mask.x1 - person.box.x1)) <= x
        and max(abs(mask.y0 - person.box.y0), abs(mask.y1 - person.box.y1)) <= y
    )
    return max(fitting, key=lambda person: mask.iou(person.box), default=None)


def _wearer(mask: Box, people: Sequence[PersonRow], margin: float) -> PersonRow | None:
    """The person whose box, widened by the margin, holds the mask's; the smallest box of several (OQ-7)."""
    fitting = (
        person
        for person in people
        if mask.x0 >= person.box.x0 - margin * person.box.width
        and mask.x1 <= person.box.x1 + margin * person.box.width
        and mask.y0 >= person.box.y0 - margin * person.box.height
        and mask.y1 <= person.box.y1 + margin * person.box.height
    )
    return min(fitting, key=lambda person: person.box.area, default=None)


PLUGIN = Miap
