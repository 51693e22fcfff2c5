"""Masks predicted elsewhere for the annotations of a dataset, in COCO's results form.

A JSON list of entries ``{"image_id", "annotation_id", "segmentation", "score"}`` with a run-length code of the whole
image each; several entries for one annotation are its candidates. ``score`` may be left out where an annotation has one
entry.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from sambench import masks
from sambench.core.mask import Mask
from sambench.core.task import Predictions
from sambench.errors import DataError, UsageError

_Entries = dict[str, dict[str, list[tuple[dict[str, Any], float]]]]
"""Image id, annotation id: (run-length code, score)."""


def read_predictions(path: Path) -> Predictions:
    """An answer is annotation id to (mask, score) pairs in the order of the file, NaN for a score that is left out.
    Raises UsageError."""
    try:
        content = path.read_bytes()
        entries = json.loads(content)
    except OSError as error:
        raise UsageError(f"cannot read predictions {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"predictions {path} are not JSON: {error}") from error
    if not isinstance(entries, list):
        raise UsageError(f"predictions {path}: expected a list of entries, found {type(entries).__name__}")
    sorted_in: _Entries = {}
    for i, entry in enumerate(entries):
        try:
            image, annotation, code = str(entry["image_id"]), str(entry["annotation_id"]), entry["segmentation"]
            given = float(entry["score"]) if "score" in entry else None
        except (TypeError, KeyError, ValueError) as error:
            problem = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"predictions {path}, entry {i}: {problem}") from error
        if not isinstance(code, dict):
            raise UsageError(f"predictions {path}, entry {i}: segmentation must be a run-length code (size, counts)")
        several = sorted_in.setdefault(image, {}).setdefault(annotation, [])
        if several and (given is None or math.isnan(several[0][1])):
            raise UsageError(
                f"predictions {path}, entry {i}: annotation {annotation} of image {image} has several masks; each "
                "needs a score"
            )
        several.append((code, math.nan if given is None else given))

    def read(id: str) -> dict[str, list[tuple[Mask, float]]]:
        given = sorted_in.get(id, {})
        return {key: [(_mask(code, key, id), score) for code, score in several] for key, several in given.items()}

    return Predictions(list(sorted_in), hashlib.sha256(content).hexdigest(), read)


def _mask(code: dict[str, Any], annotation: str, image: str) -> Mask:
    try:
        return masks.from_rle(code)
    except ValueError as error:
        raise DataError(f"the predicted mask for annotation {annotation} of image {image}: {error}") from error
