"""SBD as benchmark.tgz unpacks: .mat files of version 5 with a struct, a gap in the instance numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse
from helpers.tiny_datasets import photo, save


def build(root: Path) -> None:
    """Three images of 40 x 60 in val, one in train, under ``root/sbd``."""
    at = root / "sbd" / "benchmark_RELEASE" / "dataset"
    plain = np.zeros((40, 60), np.uint8)
    plain[5:15, 10:30] = 1
    gap = np.zeros((40, 60), np.uint8)
    gap[0:4, 0:4] = 1
    gap[20:30, 20:30] = 3
    maps = {
        "2008_000002": (plain, [20]),
        "2008_000009": (gap, [10, 10, 15]),
        "2008_000016": (np.flipud(plain), [7]),
        "2008_000007": (plain, [4]),
    }
    for name, (segmentation, categories) in maps.items():
        save(at / "img" / f"{name}.jpg", photo(40, 60), quality=95)
        write_mat(at / "inst" / f"{name}.mat", segmentation, categories)
    (at / "val.txt").write_text("2008_000009\n2008_000002\n2008_000016\n")
    (at / "train.txt").write_text("2008_000007\n")


def write_mat(path: Path, segmentation: np.ndarray, categories: list[int]) -> None:
    """One file of ``inst/``: a 1 x 1 struct of three fields in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boundaries = np.empty((len(categories), 1), object)
    for n in range(len(categories)):
        boundaries[n, 0] = scipy.sparse.csc_matrix(segmentation == n + 1, dtype=float)
    fields = {
        "Segmentation": segmentation,
        "Boundaries": boundaries,
        "Categories": np.array(categories, np.uint8).reshape(-1, 1),
    }
    scipy.io.savemat(path, {"GTinst": fields}, do_compression=True)
