"""A drawn subset as a file: image ids with their digest and where they come from, to be shared and cited.

``sambench data lock`` writes one, ``--subset file:PATH`` reads one. The same data gives the same file, byte for byte,
on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sambench
from sambench.core.dataset import Card, IndexEntry
from sambench.core.digests import index_digest
from sambench.data import subsets
from sambench.errors import UsageError

FORMAT = "sambench-subset"
SCHEMA = 1
FROM_FILE = "file:"


@dataclass(frozen=True)
class Subset:
    """``ids``: the images, in the order in which they are evaluated; ``digest``: sha256 (hex) of them in that order,
    as a run's ``index_digest``. ``rule``: what they were drawn by. ``images``, ``masks``: in the subset;
    ``of_images``, ``of_masks``, ``of_digest``: in the whole split, in the order of :func:`sampling.order`.
    ``options``: of the dataset, where they were not the default. ``sambench_version``: what drew it."""

    dataset: str
    split: str
    rule: str
    options: Mapping[str, Any]
    images: int
    masks: int
    digest: str
    of_images: int
    of_masks: int
    of_digest: str
    sambench_version: str
    ids: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"format": FORMAT, "schema": SCHEMA, **asdict(self), "options": dict(self.options)}


def lock(card: Card, split: str, options: Mapping[str, Any], entries: Sequence[IndexEntry], rule: str) -> Subset:
    """Draws a subset (``paper``, ``full`` or a number) of a dataset's index. Raises UsageError."""
    whole, drawn = subsets.order(entries), subsets.draw(entries, rule)
    if not drawn:
        raise UsageError(f"dataset {card.name} has no image in split {split}")
    ids = [entry.id for entry in drawn]
    return Subset(
        dataset=card.name,
        split=split,
        rule=rule,
        options=options,
        images=len(drawn),
        masks=sum(entry.n_masks for entry in drawn),
        digest=index_digest(ids),
        of_images=len(whole),
        of_masks=sum(entry.n_masks for entry in whole),
        of_digest=index_digest(entry.id for entry in whole),
        sambench_version=sambench.__version__,
        ids=ids,
    )


def draw(entries: Sequence[IndexEntry], subset: str, dataset: str, split: str) -> tuple[list[IndexEntry], str]:
    """The images to evaluate, in order, and the name of the subset on every machine: ``file:`` with the first digits
    of its digest for one that was read, else as it was asked for.

    ``subset``: ``paper``, ``full``, a number, or ``file:PATH``, where ``{dataset}`` in the path stands for the
    dataset's name. Raises UsageError: unknown or damaged, of another dataset or split, ids that are not there, other
    masks.
    """
    if not subset.startswith(FROM_FILE):
        return subsets.draw(entries, subset), subset
    path = Path(subset.removeprefix(FROM_FILE).replace("{dataset}", dataset))
    wanted = read(path)
    for what, ours, theirs in (("dataset", dataset, wanted.dataset), ("split", split, wanted.split)):
        if ours != theirs:
            hint = "; add --split" if what == "split" else ""
            raise UsageError(f"{path} is a subset of {what} {theirs}, not of {ours}{hint}")
    known = {entry.id: entry for entry in subsets.order(entries)}
    missing = [id for id in wanted.ids if id not in known]
    if missing:
        raise UsageError(
            f"{path}: {len(missing)} of its {wanted.images} images are not in the copy of {dataset} here, split "
            f"{split}; first: {missing[0]}; see `sambench data check {dataset}`"
        )
    drawn = [known[id] for id in wanted.ids]
    masks = sum(entry.n_masks for entry in drawn)
    if masks != wanted.masks:
        raise UsageError(
            f"{path}: its images had {wanted.masks} masks and have {masks} here: other annotations, or other "
            f"--set dataset.… (the file was made with {dict(wanted.options) or 'the default options'})"
        )
    return drawn, f"{FROM_FILE}{wanted.digest[:12]}"


def read(path: Path) -> Subset:
    """A subset file, its digest verified. Raises UsageError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the subset {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"the subset {path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise UsageError(f"{path} is not a subset; `sambench data lock NAME` writes one")
    if content.pop("schema", None) != SCHEMA:
        raise UsageError(f"{path}: made by another version of sambench ({content.get('sambench_version')})")
    try:
        found = Subset(**content)
        ids = list(found.ids)
        sound = (
            len(set(ids)) == len(ids) == found.images > 0
            and all(isinstance(id, str) for id in ids)
            and index_digest(ids) == found.digest
        )
    except (TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not a whole subset ({error}): get it again") from error
    if not sound:
        raise UsageError(f"{path}: its ids do not have its digest, so it was changed or damaged: get it again")
    return found
