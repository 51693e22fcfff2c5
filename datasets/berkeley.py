"""Berkeley: 100 objects on 96 images of the Berkeley Segmentation Dataset, as packed for RITM's evaluation."""

from __future__ import annotations

from sambench.readers.pairs import RELEASE, TrimapDataset, TrimapOptions
from sambench.types import Archive, Card, Semantics, Split

CARD = Card(
    name="berkeley",
    title="Berkeley (100 objects for interactive segmentation)",
    citation="McGuinness, O'Connor, A comparative evaluation of interactive segmentation algorithms, "
    "Pattern Recognition 2010",
    url="https://github.com/SamsungLabs/ritm_interactive_segmentation",
    licence="unknown; do not hand the pictures on",
    access=f"Download {RELEASE}/Berkeley.zip (7 MB, no login).\nUnpack it as DATA_ROOT/Berkeley/.",
    layout="Berkeley/\n  images/ID.jpg\n  masks/ID.png                 0 background, 128 void, 255 object",
    kind="instance",
    splits={"all": Split(100, 100, "96 different pictures, four of them with two objects")},
    default_split="all",
    group="ritm5",
    tasks=frozenset({"single_point", "proposals", "noc"}),
    published_as={"noc": "Berkeley"},
    folders=("berkeley", "Berkeley"),
    gotchas=(
        "A sample is one object: a picture with two objects is two samples.",
        "A mask named like an image and more (ID-1, ID_2, ID#001) is a further sample on that image.",
    ),
    same_images_as=frozenset({"bsds500"}),
    archives=(Archive("Berkeley.zip", "images and masks", url=f"{RELEASE}/Berkeley.zip"),),
    semantics=Semantics(
        void="Pixels of value 128, where there are any, count for nothing.",
        components="One mask a sample, connected or not.",
    ),
)


class Berkeley(TrimapDataset):
    card = CARD
    Options = TrimapOptions
    _further = True
    _folders = ("images", "masks")


PLUGIN = Berkeley
