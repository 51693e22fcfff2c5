"""RefCOCOg: longer expressions, written without a game, on COCO's photographs of 2014."""

from __future__ import annotations

from sambench.readers.refer import ReferDataset, refer_card
from sambench.types import Split

CARD = refer_card(
    "refcocog",
    "RefCOCOg (Google RefExp)",
    citation="Mao, Huang, Toshev, Camburu, Yuille, Murphy, Generation and Comprehension of Unambiguous Object "
    "Descriptions, CVPR 2016; split umd: Nagaraja, Morariu, Davis, Modeling Context Between Objects for Referring "
    "Expression Understanding, ECCV 2016",
    archive="https://web.archive.org/web/20220413012904/https://bvisionweb1.cs.unc.edu/licheng/referit/data/refcocog.zip",
    folders=("refcocog", "RefCOCOg"),
    refs="  refs(umd).p                  splits umd_*\n  refs(google).p               splits google_*\n",
    splits={
        "umd_train": Split(21899, 42226),
        "umd_val": Split(1300, 2573),
        "umd_test": Split(2600, 5023),
        "google_train": Split(24698, 44822),
        "google_val": Split(4650, 5000),
    },
    default_split="umd_val",
    gotcha="Of the google splits the same image can be in several, with other objects: only the umd splits share no "
    "image, and are what is mostly reported.",
)


class RefCocoG(ReferDataset):
    card = CARD


PLUGIN = RefCocoG
