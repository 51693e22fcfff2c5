"""RefCOCO: expressions from a game of two people, on COCO's photographs of 2014."""

from __future__ import annotations

from sambench.readers.refer import ReferDataset, refer_card
from sambench.types import Split

CARD = refer_card(
    "refcoco",
    "RefCOCO",
    citation="Kazemzadeh, Ordonez, Matten, Berg, ReferItGame: Referring to Objects in Photographs of Natural Scenes, "
    "EMNLP 2014; Yu, Poirson, Yang, Berg, Berg, Modeling Context in Referring Expressions, ECCV 2016",
    archive="https://web.archive.org/web/20220413011718/https://bvisionweb1.cs.unc.edu/licheng/referit/data/refcoco.zip",
    folders=("refcoco", "RefCOCO"),
    refs="  refs(unc).p                  splits unc_*\n  refs(google).p               splits google_*\n",
    splits={
        "unc_train": Split(16994, 42404),
        "unc_val": Split(1500, 3811),
        "unc_testA": Split(750, 1975, "only people"),
        "unc_testB": Split(750, 1810, "only what is no person"),
        "google_train": Split(19213, 40000),
        "google_val": Split(4559, 5000),
        "google_test": Split(4527, 5000),
    },
    default_split="unc_val",
    gotcha="Of the google splits the same image can be in several, with other objects: only the unc splits share no "
    "image, and are what is mostly reported.",
)


class RefCoco(ReferDataset):
    card = CARD


PLUGIN = RefCoco
