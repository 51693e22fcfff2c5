"""Scores masks that were predicted elsewhere, as a run like any other.

The file is a JSON list in COCO's results form, each entry ``{"image_id", "annotation_id", "segmentation", "score"}``
with a run-length code of the whole image; several entries for one annotation are its candidates (chosen: the highest
score, the first of equals; oracle: the best). ``score`` may be left out where an annotation has one entry.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sambench import evaluate, masks
from sambench.engine import Progress, Result, ShardWriter, failure_of
from sambench.errors import DataError, UsageError
from sambench.evaluate import Settings, ShowProgress
from sambench.models import zoo
from sambench.options import NoOptions
from sambench.run import Outcome, RunDirectory
from sambench.types import Context, Dataset, Mask, Task

Answers = dict[str, dict[str, list[tuple[dict[str, Any], float]]]]
"""Image id, annotation id: (run-length code, score)."""


def score(
    settings: Settings, predictions: Path, name: str | None, progress: ShowProgress
) -> tuple[Path, dict[str, Any]]:
    """Scores a predictions file; answers the run directory and its summary. Raises UsageError on an unusable file."""
    answers, digest = read_predictions(predictions)
    stored = zoo.Located(str(predictions), name or predictions.stem, digest, None, NoOptions(), False, str(predictions))
    (triple,) = evaluate.make_plan(settings, [stored]).triples
    known = set(triple.index)
    strangers = [id for id in answers if id not in known]
    if strangers and settings.subset == "full":
        raise UsageError(
            f"{predictions}: {len(strangers)} of {len(answers)} images are not in dataset {triple.found.label}, "
            f"split {triple.found.split}, e.g. image {strangers[0]}"
        )
    spec = evaluate.specification(triple)
    dataset = triple.found.open()
    context = Context(spec.dataset, spec.seed)

    def work(directory: RunDirectory, todo: Sequence[str], bar: Progress) -> dict[str, float]:
        writer = ShardWriter(directory)
        began = time.perf_counter()
        for id in todo:
            result = _one(triple.task, dataset, id, answers.get(id, {}), context)
            writer.add(result)
            bar.update(1, result.masks, len(result.failures))
        writer.flush()
        return {"measure": time.perf_counter() - began - writer.seconds, "write": writer.seconds}

    return evaluate.carry_out(triple, spec, work, progress)


def _one(
    task: Task, dataset: Dataset, id: str, answers: dict[str, list[tuple[dict[str, Any], float]]], context: Context
) -> Result:
    try:
        sample = dataset.load(id)
        rule = task.excludes(sample)
        if rule:
            return Result(outcomes=[Outcome(id, "excluded", rule, dict(sample.truth.dropped))])
        decoded = {key: [(_mask(code, key, id), s) for code, s in given] for key, given in answers.items()}
        measured = task.score(sample, decoded, context)
        table = pa.Table.from_pylist(list(measured.rows), schema=task.schema)
    except Exception as error:
        return Result(failures=[failure_of(id, error)])
    outcome = Outcome(id, "scored", excluded_masks=dict(measured.excluded))
    return Result(tables=[table], outcomes=[outcome], masks=table.num_rows)


def _mask(code: dict[str, Any], annotation: str, image: str) -> Mask:
    try:
        return masks.from_rle(code)
    except ValueError as error:
        raise DataError(f"the predicted mask for annotation {annotation} of image {image}: {error}") from error


def read_predictions(path: Path) -> tuple[Answers, str]:
    """The entries by image and annotation, in the order of the file, and its sha256 (hex). Raises UsageError."""
    try:
        content = path.read_bytes()
        entries = json.loads(content)
    except OSError as error:
        raise UsageError(f"cannot read predictions {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"predictions {path} are not JSON: {error}") from error
    if not isinstance(entries, list):
        raise UsageError(f"predictions {path}: expected a list of entries, found {type(entries).__name__}")
    answers: Answers = {}
    for i, entry in enumerate(entries):
        try:
            image, annotation, code = str(entry["image_id"]), str(entry["annotation_id"]), entry["segmentation"]
            given = float(entry["score"]) if "score" in entry else None
        except (TypeError, KeyError, ValueError) as error:
            problem = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"predictions {path}, entry {i}: {problem}") from error
        if not isinstance(code, dict):
            raise UsageError(f"predictions {path}, entry {i}: segmentation must be a run-length code (size, counts)")
        several = answers.setdefault(image, {}).setdefault(annotation, [])
        if several and (given is None or math.isnan(several[0][1])):
            raise UsageError(
                f"predictions {path}, entry {i}: annotation {annotation} of image {image} has several masks; each "
                "needs a score"
            )
        several.append((code, math.nan if given is None else given))
    return answers, hashlib.sha256(content).hexdigest()
