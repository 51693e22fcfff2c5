"""VISOR: hands and what they handle in kitchens, by the sparse annotation that people drew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from typing_extensions import override

from sambench.errors import DataError, UsageError
from sambench.readers.files import candidates, files_by_stem
from sambench.readers.images import ImageFile, image_size, read_image
from sambench.readers.listing import ListedDataset, Listing, MissingImages, list_images
from sambench.readers.visor_json import frame_id, has_outline, read_entities, read_truth
from sambench.readers.zipped import Packed, find_images, opened
from sambench.types import Archive, Card, Image, PaperUse, Sample, Semantics, Split

_DEPOSIT = "2v6cgv1x04ol22qp9rm9x2j6a7"

CARD = Card(
    name="visor",
    title="EPIC-KITCHENS VISOR, sparse annotation",
    citation="Darkhalil et al., EPIC-KITCHENS VISOR Benchmark: VIdeo Segmentations and Object Relations, "
    "NeurIPS 2022 Datasets and Benchmarks",
    url="https://epic-kitchens.github.io/VISOR/",
    licence="CC BY-NC 4.0",
    access="Follow the link on the home page to the University of Bristol's repository (no login).\n"
    "Of GroundTruth-SparseAnnotations get annotations/val/*.json and rgb_frames/val/PARTICIPANT/VIDEO.zip.\n"
    "Keep the folders, in DATA_ROOT/visor/. The zips may stay packed: frames are read from them.",
    layout="visor/\n  GroundTruth-SparseAnnotations/\n    annotations/val/P01_107.json\n"
    "    rgb_frames/val/P01/P01_107.zip   (or P01_107/P01_107_frame_0000000140.jpg)",
    kind="instance",
    splits={
        "val": Split(None, None, "believed to be about 7,700 frames and 41,000 masks (not confirmed)"),
        "train": Split(),
    },
    default_split="val",
    group="sam23",
    tasks=frozenset({"single_point", "proposals", "noc", "text_to_mask"}),
    folders=("visor", "VISOR", _DEPOSIT),
    paper=PaperUse("VISOR", "Validation", 1864, 10141),
    gotchas=(
        "Frame numbers are not those of EPIC-KITCHENS' own frames: use the frames of this deposit.",
        "image_path in the JSON need not exist on disk; frames are found by video and name.",
        "Some zips arrive damaged; get those again that are named.",
        "The test part holds images only. The dense annotation is interpolated and is not read.",
    ),
    archives=(
        Archive(
            "P01_107.json", "annotations, one file for each video", "GroundTruth-SparseAnnotations/annotations/val"
        ),
        Archive(
            "P01_107.zip", "frames, one archive for each video", "GroundTruth-SparseAnnotations/rgb_frames/val/P01"
        ),
    ),
    semantics=Semantics(
        components="All polygons of an entity are one mask; a polygon within another is a hole.",
        overlaps=True,
        frames="Every frame of the sparse annotation that has a mask.",
    ),
)


class Visor(ListedDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        flatten: bool = False
        """Later entities hide earlier ones, as the authors' viewer draws them."""
        missing_images: MissingImages = "error"

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.root, self.split, self.options = root, split, options
        self._annotations = root / "annotations" / split
        self._found: dict[str, Mapping[str, Path | Packed]] = {}

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        folders = [
            at / inner
            for at in candidates(root, CARD.folders)
            for inner in ("GroundTruth-SparseAnnotations", f"{_DEPOSIT}/GroundTruth-SparseAnnotations", "")
        ]
        labels = (at for at in folders if (at / "annotations" / split).is_dir() and (at / "rgb_frames").is_dir())
        halves = (at for at in folders if at.name == "GroundTruth-SparseAnnotations" and at.is_dir())
        return next(labels, next(halves, None))

    def load(self, id: str) -> Sample:
        video = self._video_of(id)
        entities = read_entities(self._videos[video]).get(id)
        if entities is None:
            raise DataError(f"{self._videos[video]}: no frame {id}")
        size = image_size(self._open(id))
        where = f"{self._videos[video]}: frame {id}"
        truth = partial(read_truth, entities, size, where, flatten=self.options.flatten)
        return Sample(id, size, partial(self._read_image, id), truth)

    @override
    def image_file(self, id: str) -> Path | None:
        """The unpacked frame of an id; None if it lies in an archive or nowhere."""
        found = self._frames(self._video_of(id)).get(id)
        return found if isinstance(found, Path) else None

    def _list(self) -> Listing:
        if not self._annotations.is_dir():
            raise UsageError(
                f"{self._annotations}: frames are there, annotations are not: get annotations/{self.split}/*.json"
            )
        n_masks: dict[str, int] = {}
        for path in self._videos.values():
            try:
                video = read_entities(path)
            except DataError as error:
                raise UsageError(str(error)) from None
            n_masks |= {id: sum(map(has_outline, entities)) for id, entities in video.items()}
        return list_images(
            n_masks,
            {id for video in self._videos for id in self._frames(video)},
            labels=self._annotations,
            unpack=f"get rgb_frames/{self.split}/PARTICIPANT/VIDEO.zip beside annotations/",
            missing_images=self.options.missing_images,
        )

    @cached_property
    def _videos(self) -> Mapping[str, Path]:
        return files_by_stem(self._annotations, {".json"})

    def _video_of(self, id: str) -> str:
        video = id.rpartition("_frame_")[0]
        if video not in self._videos:
            raise DataError(f"{self._annotations}: no video of frame {id}")
        return video

    def _read_image(self, id: str) -> Image:
        return read_image(self._open(id))

    def _open(self, id: str) -> ImageFile:
        video = self._video_of(id)
        if id not in self._frames(video):
            raise DataError(f"{self.root / 'rgb_frames'}: no frame {id}, neither unpacked nor in {video}.zip")
        return opened(self._frames(video)[id])

    def _frames(self, video: str) -> Mapping[str, Path | Packed]:
        """By id, where the frames of a video lie."""
        if video not in self._found:
            rgb, participant = self.root / "rgb_frames", video.split("_")[0]
            places = (rgb / self.split / participant, rgb / self.split, rgb, rgb / participant)
            self._found[video] = {frame_id(video, name): file for name, file in find_images(places, video).items()}
        return self._found[video]


PLUGIN = Visor
