"""RefCOCO+: as RefCOCO, without words of place."""

from __future__ import annotations

from sambench.readers.refer import ReferDataset, refer_card
from sambench.types import Split

CARD = refer_card(
    "refcocop",
    "RefCOCO+ (no words of place)",
    citation="Kazemzadeh, Ordonez, Matten, Berg, ReferItGame: Referring to Objects in Photographs of Natural Scenes, "
    "EMNLP 2014; Yu, Poirson, Yang, Berg, Berg, Modeling Context in Referring Expressions, ECCV 2016",
    archive="https://web.archive.org/web/20220413011656/https://bvisionweb1.cs.unc.edu/licheng/referit/data/refcoco+.zip",
    folders=("refcocop", "refcoco+", "RefCOCO+", "refcocoplus"),
    refs="  refs(unc).p\n",
    splits={
        "unc_train": Split(16992, 42278),
        "unc_val": Split(1500, 3805),
        "unc_testA": Split(750, 1975, "only people"),
        "unc_testB": Split(750, 1798, "only what is no person"),
    },
    default_split="unc_val",
    gotcha="Its objects and images are for the most part those of RefCOCO; only the expressions differ.",
)


class RefCocoPlus(ReferDataset):
    card = CARD


PLUGIN = RefCocoPlus
