"""GrabCut: 50 photographs with one object each, as packed for RITM's evaluation."""

from __future__ import annotations

from sambench.readers.pairs import RELEASE, TrimapDataset, TrimapOptions
from sambench.types import Archive, Card, Semantics, Split

CARD = Card(
    name="grabcut",
    title="GrabCut",
    citation="Rother, Kolmogorov, Blake, GrabCut: Interactive Foreground Extraction using Iterated Graph Cuts, "
    "ACM TOG (SIGGRAPH) 2004",
    url="https://github.com/SamsungLabs/ritm_interactive_segmentation",
    licence="unknown; do not hand the pictures on",
    access=f"Download {RELEASE}/GrabCut.zip (11 MB, no login).\nUnpack it as DATA_ROOT/GrabCut/.",
    layout="GrabCut/\n  data_GT/153093.jpg           .jpg and .bmp mixed\n"
    "  boundary_GT/153093.bmp       0 background, 128 void, 255 object",
    kind="instance",
    splits={"all": Split(50, 50)},
    default_split="all",
    group="ritm5",
    tasks=frozenset({"single_point", "proposals", "noc"}),
    published_as={"noc": "GrabCut"},
    folders=("grabcut", "GrabCut"),
    gotchas=(
        "128 is a band along the border that counts for nothing: taking all that is not 0 inflates the objects.",
        "RITM reports the number of clicks to an IoU of 85 or 90 %, another figure than mIoU after a number of clicks.",
    ),
    archives=(Archive("GrabCut.zip", "images and masks", url=f"{RELEASE}/GrabCut.zip"),),
    semantics=Semantics(
        void="The band of value 128 along the border counts for nothing.",
        components="One mask an image, connected or not.",
    ),
)


class GrabCut(TrimapDataset):
    card = CARD
    Options = TrimapOptions
    _folders = ("data_GT", "boundary_GT")


PLUGIN = GrabCut
