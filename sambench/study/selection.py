"""Which masks are rated, and making them: drawn by hash from what all runs answered, the same for every source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sambench import masks
from sambench.atomic_files import write_atomic
from sambench.errors import UsageError
from sambench.outputs.replay import Case, ReplayedRun, open_run
from sambench.runs.summaries import RunSummary, load_summaries
from sambench.study import pictures
from sambench.study.storage import TRUTH, DrawnMask, NewJob, Prompt, Storage

LEAST_AREA = 24**2
"""Pixels below which a mask is not rated (paper §E), counted in the picture that raters see."""


class Bar(Protocol):
    def update(self, images: int, masks: int, failed: int) -> None: ...


ShowProgress = Callable[[str, int, int], AbstractContextManager[Bar]]
"""Called with title, images done before, images in all."""


@dataclass(frozen=True)
class Draw:
    """What is rated of one dataset. ``runs``: by source. ``drawn``: ids of instances by image, in the order of the
    hash. ``candidates``: masks that could have been drawn. ``incomplete``: sources whose run is not."""

    dataset: str
    runs: Mapping[str, ReplayedRun]
    drawn: Mapping[str, Sequence[str]]
    candidates: int
    incomplete: Sequence[str]

    @property
    def first(self) -> ReplayedRun:
        """The run that brings the pictures, the prompts and the annotated masks."""
        return next(iter(self.runs.values()))

    def as_dict(self) -> dict[str, Any]:
        """For the study's record of itself; the same for the same runs, wherever they lie."""
        return {
            "dataset": self.dataset,
            "sources": {
                source: {"model": run.spec.model, "weights": run.spec.weights_digest, "task": run.spec.task}
                for source, run in self.runs.items()
            },
            "masks": sum(map(len, self.drawn.values())),
            "candidates": self.candidates,
            "digest": _digest(self.dataset, *(f"{image}\0{one}" for image, ids in self.drawn.items() for one in ids)),
            "incomplete": list(self.incomplete),
        }


def plan(
    paths: Sequence[Path],
    most: int,
    *,
    data_root: Path | None = None,
    models: Sequence[str] = (),
    plugin_folders: Sequence[Path] = (),
) -> list[Draw]:
    """Draws at most ``most`` masks of each dataset of the runs at and under the paths; nothing is loaded yet.

    The rest as in :func:`replay.open_run`. Raises UsageError: runs that did not answer the same prompts on the same
    images, or not on the same datasets; nothing to draw.
    """
    by_dataset: dict[tuple[str, str], list[RunSummary]] = {}
    for run in load_summaries(paths):
        by_dataset.setdefault((run.dataset, run.split), []).append(run)
    named = {key: _named(runs) for key, runs in by_dataset.items()}
    _same_sources(named)
    draws = []
    for (dataset, split), runs in named.items():
        opened = {
            source: open_run(run.path, data_root=data_root, models=models, plugin_folders=plugin_folders)
            for source, run in runs.items()
        }
        _same_question(list(runs.values()), list(opened.values()))
        label = dataset if sum(key[0] == dataset for key in named) == 1 else f"{dataset} {split}"
        incomplete = [source for source, run in runs.items() if not run.complete]
        draws.append(_draw(_storable(label), opened, most, incomplete))
    return draws


def prepare(draws: Sequence[Draw], storage: Storage, progress: ShowProgress) -> None:
    """Makes the masks again and puts them into the study, or goes on where that stopped. One model at a time is in
    memory. Raises SambenchError if a mask cannot be made."""
    for queue, draw in enumerate(draws):
        for number, (source, run) in enumerate(draw.runs.items()):
            done = {image for image in draw.drawn if storage.has(source, draw.dataset, image)}
            with progress(f"{draw.dataset} · {source}", len(done), len(draw.drawn)) as bar:
                for image in draw.drawn:
                    if image not in done:
                        made = _jobs(draw, source, run, image, storage, first=number == 0)
                        storage.add(queue, made)
                        bar.update(1, len(made), 0)
            run.release()


def _named(runs: Sequence[RunSummary]) -> dict[str, RunSummary]:
    """By source: the model, and where two settings of one model are compared what tells them apart."""
    names = [run.name for run in runs]
    return {_storable(run.name if names.count(run.name) == 1 else f"{run.name} ({run.signature})"): run for run in runs}


def _same_sources(named: Mapping[tuple[str, str], Mapping[str, RunSummary]]) -> None:
    everywhere = {source for runs in named.values() for source in runs}
    for (dataset, _), runs in named.items():
        if lacking := sorted(everywhere - set(runs)):
            raise UsageError(
                f"{', '.join(lacking)} was not run on {dataset}, and others were: give runs of every model on every "
                "dataset"
            )


def _same_question(summaries: Sequence[RunSummary], runs: Sequence[ReplayedRun]) -> None:
    first, asked = summaries[0], runs[0]
    for summary, run in zip(summaries[1:], runs[1:], strict=True):
        for what, ours, theirs in (
            ("task", f"{first.task} version {first.task_version}", f"{summary.task} version {summary.task_version}"),
            ("subset", first.subset, summary.subset),
            ("image list", first.index_digest[:8], summary.index_digest[:8]),
            ("prompt", asked.replay.prompt_rule, run.replay.prompt_rule),
        ):
            if ours != theirs:
                raise UsageError(
                    f"runs on {first.dataset} that cannot be rated beside each other: {what} is {ours} in {first.path} "
                    f"and {theirs} in {summary.path}"
                )


def _draw(dataset: str, runs: Mapping[str, ReplayedRun], most: int, incomplete: Sequence[str]) -> Draw:
    first, *others = runs.values()
    keys = [
        (image, one)
        for (image, one), record in first.recorded.items()
        if record.area * pictures.scale(record.size) ** 2 >= LEAST_AREA
        and all((image, one) in run.recorded for run in others)
    ]
    if not keys:
        raise UsageError(
            f"{dataset}: the runs have no mask of at least {LEAST_AREA} pixels in common, so there is nothing to rate"
        )
    drawn: dict[str, list[str]] = {}
    # Not of the dataset's name, which for one of the user's own holds the paths of a machine.
    for image, one in sorted(keys, key=lambda key: (_digest(*key), key))[:most]:
        drawn.setdefault(image, []).append(one)
    return Draw(dataset, runs, drawn, len(keys), incomplete)


def _jobs(
    draw: Draw, source: str, run: ReplayedRun, image: str, storage: Storage, *, first: bool
) -> list[tuple[DrawnMask, NewJob]]:
    """The masks of one source on one image. The first source also brings picture, prompts and the annotated masks; the
    others must have been asked the same."""
    sample = pictures.shown(run.load(image))
    picture = f"{_digest(draw.dataset, image)[:20]}.jpg"
    prompts = storage.prompts(draw.dataset, image)
    if first:
        write_atomic(storage.images / picture, pictures.jpeg(sample.image))
    jobs = []
    for case in run.cases(sample, draw.drawn[image]):
        one = case.instance
        prompt = prompts.get(one.id) or _prompt(case, run)
        if prompt != _prompt(case, run):
            raise UsageError(
                f"{run.path}: object {one.id} of image {image} was prompted otherwise than in {draw.first.path}"
            )
        mask = DrawnMask(draw.dataset, image, one.id, picture, prompt)
        if first:
            jobs.append((mask, NewJob(_job_id(mask, TRUTH), TRUTH, masks.to_rle(one.mask))))
        code = masks.to_rle(case.predicted)
        jobs.append((mask, NewJob(_job_id(mask, source), source, code, case.iou, case.recorded_iou)))
    return jobs


def _prompt(case: Case, run: ReplayedRun) -> Prompt:
    if case.box is not None:
        return Prompt(box=case.box)
    click = case.clicks[0] if case.clicks else run.replay.first_click(case.sample, case.instance, run.context)
    assert click is not None, "an instance that counts has a pixel to click"
    return Prompt(point=(click.x, click.y))


def _job_id(mask: DrawnMask, source: str) -> str:
    # Queues are in the order of this: shuffled, the same on every machine, and nobody can read the source in it.
    return _digest(mask.dataset, mask.image, mask.instance, source)[:20]


def _storable(name: str) -> str:
    """Names are made of paths, which may hold bytes that are no text."""
    return name.encode("utf-8", "backslashreplace").decode()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
