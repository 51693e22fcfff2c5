"""What ``sambench data check`` and ``sambench list datasets`` find out about a dataset on disk. Nothing here prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sambench.core.dataset import Card, Dataset, GroundTruth, IndexEntry, Split
from sambench.data import download
from sambench.errors import SambenchError
from sambench.readers.files import candidates
from sambench.readers.images import image_size

OK, WARN, FAIL = "ok", "warn", "fail"
NEARLY = 0.02
"""A count within this share of the card's is a warning, not a failure: copies of public sets differ by a few files."""


@dataclass(frozen=True)
class Row:
    """One thing that was looked at. ``status``: ok, warn or fail. ``fix``: what to do, empty if ok."""

    status: str
    what: str
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class CheckReport:
    """All rows of a check, and whether the dataset can be used as its card says."""

    dataset: str
    split: str
    root: Path | None
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        return all(row.status != FAIL for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "root": None if self.root is None else str(self.root),
            "passed": self.passed,
            "rows": [asdict(row) for row in self.rows],
        }

    def text(self) -> str:
        """For people: a line for each row, the remedy below what needs one, the verdict last."""
        width = max((len(row.what) for row in self.rows), default=0)
        lines = []
        for row in self.rows:
            lines.append(f"{row.status:<4}  {row.what:<{width}}  {row.detail}")
            if row.fix:
                lines.append(f"{'':<4}  {'':<{width}}  -> {row.fix}")
        return "\n".join([*lines, f"{self.dataset} ({self.split}): {'passed' if self.passed else 'failed'}"])


def check(plugin: type[Dataset], data_root: Path, split: str, options: Any, *, deep: bool = False) -> CheckReport:
    """Hold what lies under a data root against the dataset's card.

    Always: where it is, that its index can be made, ids unique, image and mask counts, every image file there, its
    header readable and of the annotated size, one sample decoded; if something is missing, which archive that may be.
    ``deep`` also decodes every image and every mask: damaged files, masks that do not fit, empty masks, the same mask
    twice. Problems become rows; nothing is raised for bad data.
    """
    card = plugin.card
    root: Path | None = None
    rows: list[Row] = []
    if split not in card.splits:
        rows.append(Row(FAIL, "split", f"{card.name} has no split {split}", f"choose from: {', '.join(card.splits)}"))
        return CheckReport(card.name, split, root, tuple(rows))
    own = download.own_folder(card, data_root)
    try:
        root = plugin.locate(data_root, split, options)
        if root is None:
            tried = ", ".join(map(str, dict.fromkeys((*candidates(data_root, card.folders), own))))
            rows.append(Row(FAIL, "located", f"not found; looked in {tried}", _access(card)))
            rows += _packed(download.make_plan(card, split, data_root))
            return CheckReport(card.name, split, root, tuple(rows))
        rows.append(Row(OK, "located", str(root)))
        rows += _coming(card, root)
        dataset = plugin(root, split, options)
        index = dataset.index()
    except SambenchError as error:
        rows.append(Row(FAIL, "index", str(error), "fix what is named, then check again"))
        rows += _archives(card, split, data_root, root)
    else:
        short = list(_counts(card.splits[split], card, index))
        rows += short
        if any(row.status == FAIL for row in short):
            rows += _archives(card, split, data_root, root)
        rows += _left_out(dataset)
        rows.append(_headers(dataset, index))
        rows.append(_one_sample(dataset, index))
        if deep:
            rows += _everything(dataset, index)
    return CheckReport(card.name, split, root, tuple(rows))


@dataclass(frozen=True)
class Presence:
    """Whether a dataset can be used, at a glance. ``state``: ``present``, ``incomplete`` (something of it is there),
    ``missing``; ``made`` on first use, ``yours`` (given by its path). ``images``, ``masks``: in the index."""

    state: Literal["present", "incomplete", "missing", "made", "yours"]
    root: Path | None = None
    images: int | None = None
    masks: int | None = None
    detail: str = ""


def presence(plugin: type[Dataset], data_root: Path, split: str, options: Any) -> Presence:
    """From the dataset's index and its card's counts, without opening an image. Raises nothing for bad data."""
    card = plugin.card
    if card.group in ("demo", "generic"):
        return Presence("made" if card.group == "demo" else "yours")
    root: Path | None = None
    try:
        root = plugin.locate(data_root, split, options)
        coming = next(_coming(card, root or download.own_folder(card, data_root)), None)
        if coming is not None:
            return Presence("incomplete", root, detail=coming.detail)
        if root is None:
            return Presence("missing")
        index = plugin(root, split, options).index()
    except SambenchError as error:
        return Presence("incomplete", root, detail=str(error))
    images, masks = len(index), sum(entry.n_masks for entry in index)
    wrong = [row for row in _counts(card.splits[split], card, index) if row.status == FAIL]
    detail = "; ".join(f"{row.what}: {row.detail}" for row in wrong)
    return Presence("incomplete" if wrong else "present", root, images, masks, detail)


def _coming(card: Card, root: Path) -> Iterator[Row]:
    if found := download.unfinished(card.name, root):
        record, missing = found
        fix = f"`sambench data get {card.name}` goes on; to use what is there, delete {record}"
        yield Row(FAIL, "download", f"not finished, to come: {', '.join(missing)}", fix)


def _packed(plan: download.Plan) -> Iterator[Row]:
    for item in plan.todo("here"):
        fix = f"`sambench data get {plan.card.name} --split {plan.split}` unpacks it into {plan.into(item)}"
        yield Row(WARN, "archive", f"{item.path} ({item.archive.holds}) is still packed", fix)


def _archives(card: Card, split: str, data_root: Path, root: Path | None) -> Iterator[Row]:
    """Which archive is missing, where that can be told: it is still packed, or there is no folder that it fills."""
    plan = download.make_plan(card, split, data_root)
    base = root or plan.folder
    said = list(_packed(plan))
    for item in plan.todo("download", "by hand"):
        into = base / item.archive.into
        if item.archive.into and not into.is_dir():
            how = item.archive.url or card.url
            said.append(Row(FAIL, "archive", f"no {into}: {item.archive.file} is not unpacked", f"get it from {how}"))
    if not said and plan.items:
        parts = ", ".join(f"{item.archive.file} ({item.archive.holds})" for item in plan.items)
        said.append(Row(WARN, "archives", f"split {split} comes as {parts}", f"see which is not unpacked in {base}"))
    yield from said


def _access(card: Card) -> str:
    return " ".join(card.access.split())


def _counts(expected: Split, card: Card, index: Sequence[IndexEntry]) -> Iterator[Row]:
    ids = Counter(entry.id for entry in index)
    if len(ids) != len(index):
        twice = next(id for id, count in ids.items() if count > 1)
        yield Row(FAIL, "ids", f"{len(index) - len(ids)} ids are given twice; first: {twice}", "remove the copies")
    masks = sum(entry.n_masks for entry in index)
    for what, found, wanted in (("images", len(index), expected.images), ("masks", masks, expected.masks)):
        if not found:
            yield Row(FAIL, what, "none found", _access(card))
        elif wanted is None:
            note = f" ({expected.note})" if expected.note else ""
            yield Row(OK, what, f"{found}; the card names no number{note}")
        elif found == wanted:
            yield Row(OK, what, f"{found}, as the card says")
        elif abs(found - wanted) <= NEARLY * wanted:
            yield Row(WARN, what, f"{found}, the card says {wanted}", "usable; state the difference with your results")
        else:
            yield Row(FAIL, what, f"{found}, the card says {wanted}", _fix_count(found, wanted))


def _fix_count(found: int, wanted: int) -> str:
    if found < wanted:
        return "incomplete: fine for trials, get the rest before you report results"
    return "more than the split holds: are files of another split or version among them?"


_REMEDIES = {
    "missing_image": "complete the images for results you report",
    "missing_labels": "complete the labels for results you report",
}
"""What to do about images that are left out because the copy is not whole; other rules are the dataset's own."""


def _left_out(dataset: Dataset) -> Iterator[Row]:
    for rule, count in dataset.excluded.items():
        remedy = _REMEDIES.get(rule, "")
        yield Row(WARN if remedy else OK, "left out", f"{count} images by rule {rule}", remedy)


def _headers(dataset: Dataset, index: Sequence[IndexEntry]) -> Row:
    """Without :meth:`Dataset.image_file`, files are seen only when they are decoded."""
    if not dataset.has_image_files():
        return Row(OK, "image files", "not checked one by one: this dataset does not say where they are; use --deep")
    problems = []
    seen = 0
    for entry in index:
        try:
            sample = dataset.load(entry.id)
            path = dataset.image_file(entry.id)
            if path is None:
                continue
            size = image_size(path)
            if size != sample.size:
                problems.append(f"{path}: {size[0]} x {size[1]}, annotated {sample.size[0]} x {sample.size[1]} (h x w)")
            seen += 1
        except SambenchError as error:
            problems.append(str(error))
    if not problems and not seen:
        return Row(WARN, "image files", "there are no images, only annotations", "give the image folder to run a model")
    return _row("image files", f"{seen} headers readable and of the annotated size", problems, "copy these files again")


def _one_sample(dataset: Dataset, index: Sequence[IndexEntry]) -> Row:
    """The first annotated image of the index, decoded with its masks."""
    entry = next((entry for entry in index if entry.n_masks), None)
    if entry is None:
        return Row(WARN, "sample", "no image has a mask", "see whether these are the annotations of this split")
    try:
        sample = dataset.load(entry.id)
        instances = sample.truth.instances
        if not dataset.has_image_files() or dataset.image_file(entry.id) is not None:
            sample.image  # noqa: B018  (read and kept by the sample)
    except SambenchError as error:
        return Row(FAIL, "sample", str(error), "fix what is named, then check again")
    names = sorted({instance.class_name for instance in instances if instance.class_name is not None})
    of = f" of {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else ""
    return Row(OK, "sample", f"{entry.id}: {sample.size[0]} x {sample.size[1]} (h x w), {len(instances)} masks{of}")


def _everything(dataset: Dataset, index: Sequence[IndexEntry]) -> Iterator[Row]:
    damaged: list[str] = []
    unfit: list[str] = []
    twice: list[str] = []
    dropped: Counter[str] = Counter()
    n_masks = n_images = 0
    for entry in index:
        try:
            if not dataset.has_image_files() or dataset.image_file(entry.id) is not None:
                sample = dataset.load(entry.id)
                if sample.image.shape[:2] != sample.size:
                    damaged.append(f"{entry.id}: image of {sample.image.shape[:2]}, announced as {sample.size}")
                n_images += 1
        except SambenchError as error:
            damaged.append(str(error))
        try:
            truth = dataset.load(entry.id).truth
            dropped.update(truth.dropped)
            n_masks += len(truth.instances)
            twice += [f"{entry.id}: {a} and {b}" for a, b in _duplicates(truth)]
        except SambenchError as error:
            unfit.append(str(error))
    yield _row("image pixels", f"{n_images} decoded", damaged, "copy these files again")
    yield _row("mask pixels", f"{n_masks} decoded", unfit, "fix or remove these annotations")
    for rule, count in sorted(dropped.items()):
        yield Row(WARN, "masks left out", f"{count} by rule {rule}", "none needed: summaries count them")
    if twice:
        yield Row(
            WARN, "same mask twice", f"{len(twice)}; first: {twice[0]}", "look whether an object was entered twice"
        )
    else:
        yield Row(OK, "same mask twice", "none")


def _row(what: str, fine: str, problems: Sequence[str], fix: str) -> Row:
    if not problems:
        return Row(OK, what, fine)
    return Row(FAIL, what, f"{len(problems)} with a problem; first: {problems[0]}", fix)


def _duplicates(truth: GroundTruth) -> Iterator[tuple[str, str]]:
    """Pairs of instances of one class with the very same pixels. (Of two classes it is no mistake: LVIS has them.)"""
    seen: dict[tuple[Any, ...], str] = {}
    for instance in truth.instances:
        key = (instance.class_name, instance.mask.box, np.packbits(instance.mask.window).tobytes())
        if key in seen:
            yield seen[key], instance.id
        seen.setdefault(key, instance.id)
