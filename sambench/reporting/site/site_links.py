"""Names of the pages of a site: readable, safe on every file system, the same for the same thing in every report."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from sambench.runs.summaries import RunSummary

_READABLE = 48
"""Characters of the readable part of a name."""


def run_page(run: RunSummary) -> str:
    """``runs/TASK-DATASET-MODEL-DIGEST.html``; the digest is of all that tells the run from others."""
    return _page("runs", f"{run.task} {run.dataset} {run.model}", run.identity)


def model_page(model: str, weights_digest: str) -> str:
    """The page of a model with its weights."""
    return _page("models", model, (model, weights_digest))


def dataset_page(dataset: str) -> str:
    """The page of a dataset, whatever its splits and subsets."""
    return _page("datasets", dataset, dataset)


def gallery_folder(run: RunSummary) -> str:
    """Where the pictures of a run lie in the site."""
    return run_page(run).replace("runs/", "gallery/", 1).removesuffix(".html")


def _page(folder: str, name: str, identity: Any) -> str:
    readable = re.sub(r"[^a-z0-9_]+", "-", name.lower())[:_READABLE].strip("-")
    # ASCII: a lone half of a surrogate pair has no UTF-8.
    digest = hashlib.sha256(json.dumps(identity).encode("ascii")).hexdigest()[:8]
    return f"{folder}/{'-'.join(filter(None, (readable, digest)))}.html"
