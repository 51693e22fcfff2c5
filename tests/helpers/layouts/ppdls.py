"""PPDLS: the archive's doubled top folder, plants of three subsets, trays without leaf labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.layouts.dram import boxes, indexed
from helpers.tiny_datasets import photo, save

SIZE = (40, 60)


def build(root: Path) -> None:
    """Ara2012: leaves 1, 2 and 27, the last in two pieces, in a palette file; a plant without a leaf. Tobacco: an RGBA
    photograph, and labels saved in colours. Ara2013-Canon: one leaf."""
    top = root / "ppdls" / "Plant_Phenotyping_Datasets" / "Plant_Phenotyping_Datasets"
    ara, canon, tobacco = (top / "Plant" / name for name in ("Ara2012", "Ara2013-Canon", "Tobacco"))
    leaves = boxes([(1, 0, 0, 10, 10), (2, 20, 20, 5, 6), (27, 30, 40, 2, 3), (27, 35, 50, 2, 3)])
    for folder, stem, labels in (
        (ara, "ara2012_plant001", leaves),
        (ara, "ara2012_plant002", boxes([])),
        (canon, "ara2013_plant001", boxes([(1, 5, 5, 3, 3)])),
    ):
        save(folder / f"{stem}_rgb.png", photo(*SIZE))
        indexed(folder / f"{stem}_label.png", labels)
        save(folder / f"{stem}_fg.png", labels > 0)
        save(folder / f"{stem}_boundaries.png", labels)
        (folder / f"{stem}_bbox.csv").write_text("1,0,0,0,9,9,9,9,0\n")
    (ara / "Leaf_counts.csv").write_text("ara2012_plant001,3\nara2012_plant002,0\n")
    (ara / "Metadata.csv").write_text("ara2012_plant001,1\n")
    save(tobacco / "tobacco_plant001_rgb.png", np.dstack([photo(*SIZE), np.full(SIZE, 255, np.uint8)]))
    coloured = np.zeros((*SIZE, 3), np.uint8)
    coloured[0:4, 0:4], coloured[10:15, 10:20] = (255, 0, 0), (0, 128, 1)
    save(tobacco / "tobacco_plant001_label.png", coloured)
    save(top / "Tray" / "Ara2012" / "ara2012_tray01_rgb.png", photo(*SIZE))
    save(top / "Tray" / "Ara2012" / "ara2012_tray01_fg.png", np.ones(SIZE, np.bool_))
