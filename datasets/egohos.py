"""EgoHOS: hands, and the objects they touch, as their owner sees them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from typing_extensions import override

from sambench.errors import UsageError
from sambench.readers.files import files_by_stem
from sambench.readers.label_files import LabelFileDataset
from sambench.readers.listing import Listing, MinArea, MissingImages
from sambench.readers.mask_png import read_class_map
from sambench.readers.pairs import locate_pairs
from sambench.types import Archive, Card, GroundTruth, PaperUse, Semantics, Split

_CLASSES = {
    1: "left hand",
    2: "right hand",
    3: "object held by the left hand",
    4: "object held by the right hand",
    5: "object held by both hands",
    6: "object moved by what the left hand holds",
    7: "object moved by what the right hand holds",
    8: "object moved by what both hands hold",
}
_BEFORE_RELEASE = frozenset({11, 21, 31, 41, 51, 61, 71})
"""Values of the authors' preparation scripts, where 1 has another meaning too: such a file must not be read."""

CARD = Card(
    name="egohos",
    title="EgoHOS (egocentric hands and objects)",
    citation="Zhang, Zhou, Stent, Shi, Fine-Grained Egocentric Hand-Object Segmentation: Dataset, Model, and "
    "Applications, ECCV 2022",
    url="https://github.com/owenzlz/EgoHOS",
    licence="not stated; frames of Ego4D, EPIC-KITCHENS and THU-READ keep their own terms: research only",
    access="Run download_datasets.sh of the repository above: it fetches egohos_dataset.zip (no login).\n"
    "Unpack it in DATA_ROOT/egohos/.",
    layout="egohos/\n  train/                       (or in a folder of the archive's)\n    image/NAME.jpg\n"
    "    label/NAME.png\n  val/ test_indomain/ test_outdomain/",
    kind="instance",
    splits={
        "train": Split(note="with frames=paper those of Ego4D and THU-READ; how many these are is not published"),
        "val": Split(),
        "test_indomain": Split(),
        "test_outdomain": Split(),
    },
    default_split="train",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("egohos", "EgoHOS", "egohos_dataset"),
    paper=PaperUse("EgoHOS", "Train (including only Ego4D and THU-READ)", 2940, 9961),
    classes=tuple(_CLASSES.values()),
    gotchas=(
        "The paper took the frames of Ego4D and THU-READ only. Sources are told apart by words in the file names; "
        "that THU-READ's hold 'thu' is a guess, so a word that matches nothing stops with the names there are.",
        "Several objects held by one hand share a value, and so a mask.",
        "Left and right are the wearer's: mirroring an image would swap them.",
        "The contact files mark the line of contact and are no masks.",
        "Some copies hold label files with three equal channels; they are read, coloured ones fail.",
    ),
    archives=(Archive("egohos_dataset.zip", "frames and labels (Google Drive, by the repository's script)"),),
    semantics=Semantics(
        components="A value is one mask an image; with components=true each connected part of it is one.",
        frames="With frames=paper, those whose names tell of Ego4D or THU-READ.",
    ),
)


class EgoHos(LabelFileDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        frames: Literal["paper", "all"] = "paper"
        """`paper`: frames whose name holds one of the words `include` and none of `exclude`, letter case set aside."""
        include: tuple[str, ...] = ("ego4d", "thu")
        """Words, of which a frame's name holds one."""
        exclude: tuple[str, ...] = ("epic",)
        """Words, of which a frame's name holds none."""
        components: bool = False
        """Each 8-connected part of a value is a mask."""
        min_area: MinArea = 1
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.options = options
        self._folder = root / split
        self._image_folder, self._label_folder = self._folder / "image", self._folder / "label"

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        return locate_pairs(root, CARD.folders, f"{split}/image", f"{split}/label")

    @property
    @override
    def excluded(self) -> Mapping[str, int]:
        """Images left out of the index, by rule."""
        other = len({*self._images, *self._labels}) - len(self._wanted)
        return {**({"other_source": other} if other else {}), **super().excluded}

    def _list(self) -> Listing:
        rule = f"egohos {self.options.components} {self.options.min_area}"
        unpack, missing = "unzip egohos_dataset.zip again", self.options.missing_images
        return self._list_files(rule, unpack, missing, wanted=self._wanted, folder=self._folder)

    def _read(self, path: Path, size: tuple[int, int] | None) -> GroundTruth:
        return read_class_map(
            path,
            size,
            _CLASSES,
            ignored=frozenset(range(9, 256)) - _BEFORE_RELEASE,
            split=self.options.components,
            min_area=self.options.min_area,
        )

    @cached_property
    def _wanted(self) -> frozenset[str]:
        names = sorted({*self._images, *self._labels})
        if self.options.frames == "all":
            return frozenset(names)
        unseen = [word for word in self.options.include if not any(word.lower() in name.lower() for name in names)]
        if unseen:
            starts = Counter(re.match(r"[^\W\d_]*", name)[0] or name[:4] for name in names)  # type: ignore[index]
            raise UsageError(
                f"{self._folder}: no file name holds {' or '.join(map(repr, unseen))}; names begin with "
                + ", ".join(f"{start} ({count})" for start, count in starts.most_common(12))
                + ": choose with --set dataset.include=WORD,WORD, or --set dataset.frames=all"
            )
        return frozenset(name for name in names if self._is_included(name.lower()))

    def _is_included(self, name: str) -> bool:
        include, exclude = self.options.include, self.options.exclude
        return any(word.lower() in name for word in include) and not any(word.lower() in name for word in exclude)

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return files_by_stem(self._image_folder, {".jpg", ".jpeg"}, missing_ok=True)

    @cached_property
    def _labels(self) -> Mapping[str, Path]:
        return files_by_stem(self._label_folder, {".png"}, missing_ok=True)


PLUGIN = EgoHos
