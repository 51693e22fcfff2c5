"""OVIS: videos of objects that hide one another; each annotated frame is an image."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path

from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers import video_json
from sambench.readers.files import first_place, list_folder
from sambench.readers.images import read_image
from sambench.readers.listing import ListedDataset, Listing, ListingOptions, list_images
from sambench.types import Archive, Card, PaperUse, Sample, Semantics, Split

CARD = Card(
    name="ovis",
    title="OVIS (Occluded Video Instance Segmentation)",
    citation="Qi et al., Occluded Video Instance Segmentation: A Benchmark, IJCV 2022 (arXiv 2102.01558)",
    url="https://songbai.site/ovis/",
    licence="see the home page; believed to be CC BY-NC-SA 4.0 (not confirmed), so treat it as non-commercial",
    access="Follow the links on the home page (a drive folder, or the challenge server with an account).\n"
    "Get the images and the annotations of the train part.\n"
    "Unpack both in DATA_ROOT/ovis/, as train/VIDEO/img_0000001.jpg and annotations_train.json.",
    layout="ovis/\n  annotations_train.json       (or annotations/train.json)\n"
    "  train/5d24e4ea/img_0000001.jpg   (or Images/train/)",
    kind="instance",
    splits={
        "train": Split(None, None, "607 videos; every annotated frame is an image, about 4.9 masks in each"),
        "valid": Split(None, None, "no ground truth was published"),
        "test": Split(None, None, "no ground truth was published"),
    },
    default_split="train",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("ovis", "OVIS"),
    paper=PaperUse("OVIS", "Train", 2044, 10011),
    classes=(
        *("person", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "poultry"),
        *("giant panda", "lizard", "parrot", "monkey", "rabbit", "tiger", "fish", "turtle"),
        *("bicycle", "motorcycle", "airplane", "boat", "vehicle"),
    ),
    gotchas=(
        "Videos need not start at frame 1 nor be without gaps: the file's own list of frames counts.",
        "Some copies split train anew under the same names; the original has 607 videos.",
        "Files of YouTube-VIS have the same keys; they are told apart by their classes.",
    ),
    archives=(
        Archive("train.zip", "frames of the train part (the name may differ)", splits=("train",)),
        Archive("annotations_train.json", "masks of the train part", splits=("train",)),
    ),
    semantics=Semantics(
        crowd="Tracks with iscrowd, of which none are expected.",
        components="An object cut apart by what hides it is one mask; hidden pixels belong to no mask.",
        overlaps=True,
        frames="Every frame that the file lists and that has a mask; the subset is drawn from frames, not from videos.",
    ),
)


class Ovis(ListedDataset):
    card = CARD
    Options = ListingOptions

    def __init__(self, root: Path, split: str, options: ListingOptions) -> None:
        self.root, self.split, self.options = root, split, options

    @classmethod
    def locate(cls, root: Path, split: str, options: ListingOptions) -> Path | None:
        def bare(at: Path) -> bool:
            return at.name.casefold() == "ovis" and (at / split).is_dir()

        return first_place(root, CARD.folders, lambda at: _annotations(at, split), bare)

    def load(self, id: str) -> Sample:
        if id not in self._file.frames:
            raise DataError(f"{self._file.path}: no frame {id}")
        size = self._file.size(id)
        return Sample(id, size, partial(read_image, self.image_file(id), size), partial(self._file.truth, id))

    @override
    def image_file(self, id: str) -> Path:
        return self._images / self._file.frame_path(id)

    def _list(self) -> Listing:
        names: dict[Path, frozenset[str]] = {}
        present = set()
        for id in self._file.frames:
            path = self.image_file(id)
            if path.parent not in names:
                names[path.parent] = frozenset(list_folder(path.parent) if path.parent.is_dir() else ())
            if path.name in names[path.parent]:
                present.add(id)
        return list_images(
            {id: self._file.n_masks(id) for id in self._file.frames},
            present,
            labels=self._file.path,
            unpack=f"unpack the frames as {self._images}/VIDEO/",
            missing_images=self.options.missing_images,
        )

    @cached_property
    def _file(self) -> video_json.VideoFile:
        path = _annotations(self.root, self.split)
        if path is None:
            raise UsageError(
                f"{self.root}: frames are there, annotations_{self.split}.json is not: put it beside {self.split}/"
            )
        file = video_json.load(path, _class_name)
        strange = sorted(set(file.categories.values()) - set(CARD.classes))
        if strange:
            raise UsageError(f"{path}: class {strange[0]} is none of OVIS's: is this a file of YouTube-VIS?")
        return file

    @cached_property
    def _images(self) -> Path:
        """The first usual folder that holds the first frame; else the one where it should be."""
        first = next(iter(self._file.frames), None)
        at = self._file.path.parent
        usual = [base / inner for base in (at, at.parent) for inner in (self.split, f"Images/{self.split}")]
        relative = self._file.frame_path(first) if first else ""
        return next((folder for folder in usual if (folder / relative).is_file()), self.root / self.split)


def _annotations(base: Path, split: str) -> Path | None:
    names = [f"annotations_{split}.json", f"annotations/annotations_{split}.json"]
    if base.name.casefold() == "ovis":  # too common a name to be looked for elsewhere
        names.append(f"annotations/{split}.json")
    return next((base / name for name in names if (base / name).is_file()), None)


def _class_name(name: str) -> str:
    """``Giant_panda`` as ``giant panda``."""
    return name.replace("_", " ").lower()


PLUGIN = Ovis
