"""Run folders with a made-up summary, for tests of reports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

TREE = "aaaa1111" + "0" * 56


VIT_B = "bbbb2222" + "0" * 56


SIGNATURE = "point:edt-pad1|n:1,3|mask:top-score|v:1"


HOSTILE = "a|b_c & 50% `x` <i> [y](z) *s* \\ $m$ #1 ~^{\"'\n# ü 猫\x00\u202e\ud800"


def metric(value, half=None, n=100, bootstrap=None):
    ci95 = None if half is None else [value - half, value + half]
    return {"value": value, "ci95": ci95, "ci95_bootstrap": bootstrap, "n": n, "unit": "fraction"}


def write_run(out: Path, *, model="region_tree", digest=TREE, dataset="demo", miou=0.5, **changes) -> Path:
    summary = {
        "schema": 1,
        "task": "single_point",
        "task_version": 1,
        "dataset": dataset,
        "split": "val",
        "subset": "paper",
        "model": model,
        "weights_digest": digest,
        "family": "region_tree",
        "parameters": 0,
        "zero_shot": "yes",
        "complete": True,
        "n_expected": 10,
        "n_scored": 10,
        "n_failed": 0,
        "n_excluded": 0,
        "n_masks": 100,
        "signature": SIGNATURE,
        "primary": "miou",
        "headlines": ["miou", "oracle_miou"],
        "metrics": {
            "miou": metric(miou, 0.01, bootstrap=[miou - 0.02, miou + 0.03]),
            "miou@3": metric(0.75, 0.02),
            "oracle_miou": metric(0.875, 0.005),
        },
        "breakdowns": {},
        "records_digest": "c" * 64,
        "sambench_version": "0.1.0",
        **changes,
    }
    run = out / "single_point" / re.sub(r"[^a-z0-9]", "-", dataset) / f"{model[:20]}@{digest[:8]}".replace("/", "-")
    run.mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    (run / "summary.json").write_text(json.dumps(summary))
    return run


def write(out: Path, model: str, dataset: str, miou: float, oracle: float | None = None, **changes: Any) -> Path:
    metrics = {"miou": metric(miou), "miou@3": metric(miou + 0.25), "oracle_miou": metric(oracle or miou)}
    digest = (model.encode("utf-8", "replace").hex() * 64)[:64]
    return write_run(out, model=model, digest=digest, dataset=dataset, **{"metrics": metrics, **changes})
