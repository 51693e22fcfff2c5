"""Masks predicted elsewhere for phrases about the images of a dataset.

A JSON list of entries ``{"image_id", "phrase", "segmentation", "score"}`` with a run-length code of the whole image
each. Several entries for one phrase of an image are the things that it was taken to name. ``segmentation`` null says
that there is no such thing; ``score`` may be left out where a phrase has one entry.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sambench import masks
from sambench.core.mask import Mask
from sambench.core.task import Predictions
from sambench.errors import DataError, UsageError
from sambench.readers.json.file import read_json
from sambench.text import spaced

_HUGE = 1e15
"""Larger than any score; NaN is not smaller."""

PhraseAnswer = Sequence[tuple[Mask, float | None]]
"""Masks that are not empty with their scores, best first, equal ones in the order of the file; none: the phrase is
rejected."""


@dataclass(frozen=True, slots=True)
class _Entry:
    place: int
    code: dict[str, Any] | None
    score: float | None


def read_predictions(path: Path, *, need_scores: bool = False) -> Predictions:
    """An answer is :data:`PhraseAnswer` by the phrase with single spaces. ``need_scores``: every entry with a mask
    has one. Raises UsageError with the number of the entry that cannot be used."""
    entries = read_json(path, UsageError)
    if not isinstance(entries, list):
        raise UsageError(f"{path}: expected a list of entries, found {type(entries).__name__}")
    sorted_in: dict[str, dict[str, list[_Entry]]] = {}
    for place, entry in enumerate(entries):
        image, phrase, read = _checked(entry, place, f"{path}: entry {place}")
        if need_scores and read.code is not None and read.score is None:
            raise UsageError(f"{path}: entry {place} has no 'score', and task.presence asks for one")
        several = sorted_in.setdefault(image, {}).setdefault(spaced(phrase), [])
        if several and (read.code is None or any(one.code is None or one.score is None for one in [*several, read])):
            raise UsageError(
                f"{path}: entry {place}: phrase {phrase!r} of image {image} has several entries; each needs a mask and "
                "a score"
            )
        several.append(read)

    def read_image(id: str) -> dict[str, PhraseAnswer]:
        given: Mapping[str, list[_Entry]] = sorted_in.get(id, {})
        return {phrase: _found(several, phrase, id) for phrase, several in given.items()}

    return Predictions(list(sorted_in), hashlib.sha256(path.read_bytes()).hexdigest(), read_image)


def _checked(entry: Any, place: int, where: str) -> tuple[str, str, _Entry]:
    """Image, phrase, and the rest."""
    if not isinstance(entry, dict) or "segmentation" not in entry:
        raise UsageError(f"{where} is not an object with image_id, phrase and segmentation")
    image, phrase, code, score = (entry.get(name) for name in ("image_id", "phrase", "segmentation", "score"))
    if type(image) not in (int, str):
        raise UsageError(f"{where} has no 'image_id'")
    if not isinstance(phrase, str) or not phrase.strip():
        raise UsageError(f"{where} has no 'phrase', or an empty one")
    if not isinstance(code, dict | None):
        raise UsageError(f"{where}: segmentation must be a run-length code (size, counts), or null for no such thing")
    if score is not None and not (type(score) in (int, float) and abs(score) < _HUGE):
        raise UsageError(f"{where} has a score that is not a finite number")
    return str(image), phrase, _Entry(place, code, None if score is None else float(score))


def _found(several: Sequence[_Entry], phrase: str, image: str) -> PhraseAnswer:
    found = []
    for one in several:
        if one.code is None:
            continue
        try:
            mask = masks.from_rle(one.code)
        except ValueError as error:
            raise DataError(f"entry {one.place}, phrase {phrase!r} of image {image}: {error}") from None
        if mask.area:
            found.append((mask, one.score))
    return sorted(found, key=lambda pair: -(pair[1] if pair[1] is not None else -math.inf))
