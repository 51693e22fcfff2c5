"""The demo dataset: made on this machine at first use, so that everything can be tried with nothing downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sambench.demo import cache
from sambench.readers.coco_json import CocoDataset, CocoReader
from sambench.types import Card, Split

CARD = Card(
    name="demo",
    title="Demo: objects composited on photographs",
    citation="Made by sambench from photographs that scikit-image ships (van der Walt et al., PeerJ 2:e453, 2014)",
    url="https://scikit-image.org",
    licence="the photographs: public domain, CC0 or no known restrictions (see scikit-image's list of its data)",
    access="Nothing to get: it is made at first use, in the cache folder (SAMBENCH_CACHE moves it).",
    layout="demo/v1/\n  annotations.json             COCO style; parts carry level and parent\n  images/demo-01.png",
    kind="instance",
    splits={"all": Split(24, 471, "and 2 crowd regions")},
    default_split="all",
    group="demo",
    tasks=frozenset({"single_point", "noc", "edges", "proposals", "instances", "text_to_mask"}),
    gotchas=(
        "Cut-outs on photographs are easier than photographs of things: figures on the demo rank nothing.",
        "Objects hold parts, and parts subparts: attributes level (whole, part, subpart) and parent (annotation id).",
    ),
)


class Demo(CocoDataset):
    card = CARD

    @dataclass(frozen=True)
    class Options:
        """Nothing can be changed."""

    def __init__(self, root: Path, split: str, options: Options) -> None:
        self.root = root

    @classmethod
    def locate(cls, root: Path, split: str, options: Options) -> Path | None:
        """The cache folder, whatever the data root; :meth:`index` and :meth:`load` make what is not there yet."""
        return cache.folder()

    @cached_property
    def _reader(self) -> CocoReader:
        cache.ensure(self.root)
        return CocoReader(
            self.root / cache.ANNOTATIONS,
            lambda entry: self.root / "images" / str(entry["file_name"]),
            prepare=cache.with_boundaries,
        )


PLUGIN = Demo
