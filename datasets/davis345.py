"""DAVIS-345: single frames of DAVIS 2016 with one object each, as packed for RITM's evaluation."""

from __future__ import annotations

from pathlib import Path

from sambench.readers.pairs import RELEASE, PairedDataset, read_any_colour
from sambench.types import Archive, Card, GroundTruth, Semantics, Split

CARD = Card(
    name="davis345",
    title="DAVIS-345 (frames of DAVIS 2016 for interactive segmentation)",
    citation="Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016; "
    "frames chosen by Jang, Kim, Interactive Image Segmentation via Backpropagating Refinement Scheme, CVPR 2019",
    url="https://davischallenge.org",
    licence="the terms of DAVIS; do not hand the pictures on",
    access=f"Download {RELEASE}/DAVIS.zip (43 MB, no login).\nUnpack it as DATA_ROOT/DAVIS/.",
    layout="DAVIS/\n  img/NAME.jpg\n  gt/NAME.png                  all that is not 0 is the object",
    kind="instance",
    splits={"all": Split(345, 345)},
    default_split="all",
    group="ritm5",
    tasks=frozenset({"single_point", "proposals", "noc"}),
    published_as={"noc": "DAVIS"},
    folders=("davis345", "DAVIS", "DAVIS345", "DAVIS-345"),
    gotchas=(
        "The archive of DAVIS 2016 itself (JPEGImages/, Annotations/) holds other frames in another layout.",
        "DAVIS-585 of other authors is another list of frames.",
        "All objects of a frame are one mask.",
    ),
    archives=(Archive("DAVIS.zip", "frames and masks", url=f"{RELEASE}/DAVIS.zip"),),
    semantics=Semantics(
        components="All objects of a frame are united into one mask.",
        frames="The 345 frames of the archive; each is an image of its own.",
    ),
)


class Davis345(PairedDataset):
    card = CARD
    _folders = ("img", "gt")

    def _read_mask(self, path: Path, size: tuple[int, int]) -> GroundTruth:
        return read_any_colour(path, size)


PLUGIN = Davis345
