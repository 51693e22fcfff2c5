"""Pictures of single cases of a run, for its page in a report: the worst, the median, the best, and a random choice.

Records hold the quality of an answer, not its mask; :mod:`sambench.outputs.replay` makes the mask of a case again, or
the task draws the case from its artifact of the image. Each run gets a folder
``OUT/gallery/TASK-DATASET-MODEL-DIGEST/`` (:func:`sambench.reporting.site.site_links.gallery_folder`) with a JPEG for
each case and an ``index.json``, or an ``absent.txt`` with the reason why there is none; ``docs/galleries.md`` describes
them. The same run gives the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sambench import text
from sambench.atomic_files import output_error, write_atomic, write_json
from sambench.core.dataset import Sample
from sambench.core.model import Click
from sambench.core.task import CasePicture, Cases, Task
from sambench.errors import DataError, UsageError
from sambench.outputs import drawing, replay
from sambench.plugins import registry
from sambench.reporting import formatting
from sambench.reporting.site import site_links
from sambench.runs.directory import RunError
from sambench.runs.run import Run
from sambench.runs.summaries import RunSummary, load_summaries

KINDS = ("worst", "median", "best", "random")

_ABSENT = "absent.txt"
"""Says in one line why a run has no gallery."""

_PICTURE = re.compile(r"[0-9a-f]{16}\.jpg")
_LISTED = 5
"""Clicks that a caption names; the index has all."""
_SAME = 1e-6
"""IoUs that differ by no more are those of the same mask."""

_Key = tuple[str, str, int]
"""Image, name of the case in it, and the number of clicks after which it is shown."""


@dataclass(frozen=True)
class Chosen:
    """A case that is shown.

    Attributes:
        kind: One of :data:`KINDS`.
        row: Position among the cases.
    """

    kind: str
    row: int


@dataclass(frozen=True)
class Absent:
    """A run without a gallery.

    Attributes:
        run: The run.
        reason: One line.
        expected: Not an error: the run's task has no single cases.
    """

    run: RunSummary
    reason: str
    expected: bool = False

    def __str__(self) -> str:
        return f"no gallery for {self.run.task} on {self.run.dataset} by {self.run.name}: {self.reason}"


@dataclass(frozen=True)
class _Drawn:
    """``iou``: of the mask that the picture shows, None where it shows none. ``about``: for the caption. ``prompts``:
    for the index."""

    content: bytes
    iou: float | None
    about: str
    prompts: Mapping[str, Any]


def write_galleries(
    paths: Sequence[Path],
    out: Path,
    number: int,
    *,
    data_root: Path | None = None,
    models: Sequence[str] = (),
    plugin_folders: Sequence[Path] = (),
) -> list[Absent]:
    """Write the galleries of runs.

    Galleries that an earlier call wrote for the same runs are deleted first, so that a report never shows outdated
    pictures.

    Args:
        paths: Run directories, or folders that contain them.
        out: Folder of the report.
        number: Number of cases of each kind.
        data_root: As :func:`sambench.outputs.replay.open_run` takes it.
        models: As :func:`sambench.outputs.replay.open_run` takes them.
        plugin_folders: As :func:`sambench.outputs.replay.open_run` takes them.

    Returns:
        The runs without a gallery.

    Raises:
        UsageError: There is no run.
        OutputError: The files cannot be written.
    """
    absent = []
    registry.add_folders(plugin_folders)
    for run in load_summaries(paths):
        folder = out / site_links.gallery_folder(run)
        _clear(folder)
        try:
            opened = Run(run.path)
            task = opened.task()
            cases = task.cases(opened.records())
            if cases is None:
                absent.append(Absent(run, f"the records of task {run.task} are not single cases", expected=True))
            else:
                _write(opened, task, cases, number, folder, data_root, models)
        except (UsageError, DataError, RunError) as error:
            absent.append(Absent(run, text.one_line(str(error))))
    for one in absent:
        write_atomic(_made(out / site_links.gallery_folder(one.run)) / _ABSENT, f"{one.reason}\n".encode())
    return absent


def choose(cases: Cases, metric: str, number: int, *, lower_is_better: bool) -> list[Chosen]:
    """Choose the worst, median, best and random cases; cases without a value are left out.

    Ties are broken, and the random ones drawn, by a hash of image and name, so the order of the records does not
    matter. If there are few cases, one can be of several kinds.

    Args:
        cases: Of a run.
        metric: Name of the metric to order by.
        number: Maximum number of cases of each kind.
        lower_is_better: Whether lower values of the metric are better.

    Returns:
        By kind; the worst and the best starting with the extreme, the median ones from worse to better.
    """
    goodness = -cases.values[metric] if lower_is_better else cases.values[metric]
    rows = np.flatnonzero(~np.isnan(goodness)).tolist()

    def drawn(row: int, purpose: str) -> bytes:
        key = json.dumps([purpose, cases.images[row], cases.names[row]])
        return hashlib.sha256(key.encode("ascii")).digest()

    ordered = sorted(rows, key=lambda row: (goodness[row], drawn(row, "tie")))
    number = min(number, len(ordered))
    middle = (len(ordered) - number) // 2
    shown = {
        "worst": ordered[:number],
        "median": ordered[middle : middle + number],
        "best": ordered[::-1][:number],
        "random": sorted(rows, key=lambda row: drawn(row, "random"))[:number],
    }
    return [Chosen(kind, row) for kind in KINDS for row in shown[kind]]


def _write(
    run: Run, task: Task, cases: Cases, number: int, folder: Path, data_root: Path | None, models: Sequence[str]
) -> None:
    """All pictures are drawn before the first is written, so that a gallery is whole or absent."""
    metric = next(iter(cases.values))
    unit = run.summary.unit_of(metric)
    chosen = choose(cases, metric, number, lower_is_better=metric in run.summary.lower_is_better)
    if not chosen:
        raise UsageError(f"{run.path} has no case with a value of {metric}")
    keys: dict[int, _Key] = {}
    for one in chosen:
        value = float(cases.values[metric][one.row])
        clicks = formatting.clicks_of(metric) or (int(value) if unit == "clicks" else 1)
        keys[one.row] = (str(cases.images[one.row]), str(cases.names[one.row]), clicks)
    drawn = dict(_draw(run, task, sorted(set(keys.values())), data_root, models))
    entries: list[dict[str, Any]] = []
    for one in chosen:
        image, name, _ = key = keys[one.row]
        value, picture = float(cases.values[metric][one.row]), drawn[key]
        shown = "" if value == picture.iou else f"{metric} {_amount(value, unit)}. "
        entries.append(
            {
                "kind": one.kind,
                "image_id": image,
                "instance_id": name,
                "metric": metric,
                "value": value,
                "unit": unit,
                "iou": picture.iou,
                **picture.prompts,
                "file": _file(key),
                "caption": text.one_line(
                    f"Image {image}{f', {task.case_noun} {name}' if name else ''}. {shown}{picture.about}"
                ),
            }
        )
    _made(folder)
    for key, picture in drawn.items():
        write_atomic(folder / _file(key), picture.content)
    write_json(folder / "index.json", entries)


def _draw(
    run: Run, task: Task, keys: Sequence[_Key], data_root: Path | None, models: Sequence[str]
) -> Iterator[tuple[_Key, _Drawn]]:
    """Image by image; ``keys``: sorted."""
    if task.replay() is None:
        yield from _draw_artifacts(run, task, keys, data_root, models)
        return
    replayed = replay.open_run(run.path, data_root=data_root, models=models)
    for image, its_keys in itertools.groupby(keys, key=lambda key: key[0]):
        sample = replayed.load(image)
        by_clicks: dict[int, list[str]] = {}
        for _, name, clicks in its_keys:
            by_clicks.setdefault(clicks, []).append(name)
        for clicks, names in by_clicks.items():
            for case in replayed.cases(sample, names, clicks=clicks):
                yield (image, case.instance.id, clicks), _of_mask(case)


def _draw_artifacts(
    run: Run, task: Task, keys: Sequence[_Key], data_root: Path | None, models: Sequence[str]
) -> Iterator[tuple[_Key, _Drawn]]:
    """What the task says its cases look like, from what it keeps of whole images."""
    dataset, _ = run.dataset(data_root)
    images = {key[0] for key in keys}
    ids = [id for id in run.index if id in images]
    for id, content in replay.artifacts(run, ids, data_root=data_root, models=models):
        sample = replay.load_sample(dataset, id)
        for key in keys:
            if key[0] == id:
                shown = task.picture(sample, content, key[1])
                yield key, _Drawn(_picture(sample, shown), shown.iou, shown.about, shown.prompts)


def _picture(sample: Sample, shown: CasePicture) -> bytes:
    if shown.strength is not None:
        return drawing.edges_picture(sample.image, shown.boundaries, shown.strength)
    if shown.truth is None or shown.answer is None:
        raise UsageError("the picture of a case needs an edge map, or the masks of truth and answer")
    return drawing.case_picture(sample.image, shown.truth, shown.answer, pointed=shown.pointed)


def _of_mask(case: replay.Case) -> _Drawn:
    content = drawing.case_picture(case.sample.image, case.instance.mask, case.predicted, case.clicks, case.box)
    if case.box is not None:
        prompt = " with its box as the prompt"
    elif case.clicks:
        prompt = f" after {_clicks(case.clicks)}"
    else:
        prompt = ", as stored"
    class_name = f"Class {case.instance.class_name}. " if case.instance.class_name else ""
    about = f"{class_name}IoU {_amount(case.iou)}{prompt}."
    if case.recorded_iou is not None and abs(case.recorded_iou - case.iou) > _SAME:
        about += f" The mask was made again and is another: the run has IoU {_amount(case.recorded_iou)}."
    prompts = {"clicks": [asdict(click) for click in case.clicks], "box": case.box}
    return _Drawn(content, case.iou, about, prompts)


def _clicks(clicks: Sequence[Click]) -> str:
    """``2 clicks: + at (31, 40), - at (52, 8)``; of many the first."""
    listed = ", ".join(f"{'+' if click.positive else '-'} at ({click.x}, {click.y})" for click in clicks[:_LISTED])
    more = f" and {len(clicks) - _LISTED} more" if len(clicks) > _LISTED else ""
    return f"{len(clicks)} click{'s' if len(clicks) > 1 else ''}: {listed}{more}"


def _amount(value: float, unit: str = "fraction") -> str:
    # Of one case; the decimals of clicks are for means.
    return (
        f"{value:.0f} clicks"
        if unit == "clicks"
        else f"{formatting.number(value, unit)} {formatting.UNITS.get(unit, unit)}"
    )


def _file(key: _Key) -> str:
    return hashlib.sha256(json.dumps(key).encode("ascii")).hexdigest()[:16] + ".jpg"


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    return folder


def _clear(folder: Path) -> None:
    """Deletes what an earlier call wrote, and nothing else."""
    pictures = [path for path in folder.glob("*.jpg") if _PICTURE.fullmatch(path.name)]
    try:
        # First what names the others.
        for path in (folder / "index.json", folder / _ABSENT, *pictures):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
