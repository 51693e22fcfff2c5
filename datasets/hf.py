"""Any dataset of Hugging Face's hub or library: ``--dataset "hf:owner/name?split=train&image=image&mask=mask"``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sambench.readers import hub
from sambench.types import Card, Dataset, IndexEntry, Sample, Semantics, Split

CARD = Card(
    name="hf",
    title="Any dataset of Hugging Face's hub or library with columns of images and masks",
    citation="",
    url="https://huggingface.co/docs/datasets",
    licence="as the dataset says",
    access="Call it as hf:OWNER/NAME?split=...&image=...&mask=... (quoted: the shell takes & for itself).\n"
    "Or as hf:FOLDER: made by save_to_disk, or of parquet files or images; or hf:FILE.parquet.\n"
    "Downloads go where the library keeps them (HF_HOME); HF_HUB_OFFLINE=1 uses what is there.",
    layout="column image                   pictures\n"
    "column mask                    a picture: 0 background, each other value one instance\n"
    "                               or a list of pictures: not 0 is one instance\n"
    "                               or a list of objects with segmentation (polygons or run lengths as in COCO)\n"
    "                               and, where there are, id, category, area, iscrowd and attributes",
    kind="instance",
    splits={"all": Split(note="the split of the dataset stands in the query: ?split=...")},
    default_split="all",
    group="generic",
    tasks=frozenset({"single_point", "noc", "proposals", "instances", "text_to_mask"}),
    gotchas=(
        "Without revision=COMMIT the hub may hand out other data tomorrow.",
        "Keys of the query: split, image, mask, id, config, revision, void, limit, streaming.",
        "Ids are row numbers unless id= names a column; a dataset whose rows moved then has other samples.",
    ),
    semantics=Semantics(overlaps=True, components="As annotated."),
)


class HuggingFace(Dataset):
    card = CARD
    arguments: ClassVar[tuple[str, ...]] = ("source",)

    @dataclass(frozen=True)
    class Options:
        source: str = ""
        """Folder, file or hub id, then `?` and `key=value` with `&` between."""

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self._reader = hub.HubReader(hub.parse(options.source))

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        """The folder or file; the data root for a dataset of the hub, which lies where the library keeps it."""
        return hub.parse(options.source).path or root

    def index(self) -> Sequence[IndexEntry]:
        return self._reader.index()

    def load(self, id: str) -> Sample:
        return self._reader.load(id)


PLUGIN = HuggingFace
