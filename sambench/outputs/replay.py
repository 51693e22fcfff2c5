"""Makes the masks of a run again: records say how good an answer was, not what it looked like.

A run is opened from its directory alone. Dataset and model are loaded with the options, device and threads that the
manifest names, an image is encoded in the slot of the batch that it had, and its objects are prompted in the groups
that they were in: on the same machine the masks are those that were scored, to the pixel. :attr:`Case.recorded_iou`
lets a caller say where they are not. The masks of a run that scored stored predictions are read from those.

::

    run = replay.open_run(Path("runs/single_point/demo/region_tree@0a1b2c3d"))
    for case in run.cases(run.load("scene-0003"), ["1", "4"]):
        case.instance.mask, case.clicks, case.box, case.predicted
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from sambench import masks
from sambench.clicks import Click
from sambench.core.dataset import Dataset, Instance, Sample
from sambench.core.mask import Mask
from sambench.core.model import View
from sambench.core.task import Predictions, Task
from sambench.engine.job import Job, TaskJob
from sambench.engine.resources import device_for, processors
from sambench.engine.worker import Worker
from sambench.errors import DataError, UsageError
from sambench.metrics.iou import iou
from sambench.models import zoo
from sambench.plugins import options, registry
from sambench.protocols.click_loop import GROUP, Policy, click_through, countable
from sambench.runs.directory import RunError, RunSpec, read_json, read_records

TRUTH = "truth"
"""What a task's option ``boxes`` says where the annotated boxes are the prompts."""

_REACHED = 0.9
"""The IoU at which a task with ``max_clicks`` clicks an object no more, unless it has ``all_clicks``."""


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """One object of an image, what was prompted for it, and what was answered.

    ``clicks``: in order; none where the prompt is a box, and in a run of stored predictions, whose prompts nobody
    knows. ``box``: xyxy in pixels, None where the prompt is clicks. ``predicted``: the mask after them. ``iou``: its
    IoU with the instance's. ``recorded_iou``: the one that the run recorded; None where the sample is not of the size
    that the run had.
    """

    sample: Sample
    instance: Instance
    clicks: tuple[Click, ...]
    box: tuple[float, float, float, float] | None
    predicted: Mask
    iou: float
    recorded_iou: float | None


def open_run(
    path: Path, *, data_root: Path | None = None, models: Sequence[str] = (), plugin_folders: Sequence[Path] = ()
) -> ReplayedRun:
    """Opens a run directory; neither model nor image is loaded before it is needed.

    ``data_root``: where the dataset is now; None if it is where it was. ``models``: as ``--model``
    names them, for a run whose manifest does not say where its model is (weights that were moved, ``file.py:Class``);
    the one with the run's name and digest is taken. ``plugin_folders``: as ``--plugins`` of the run.

    Raises UsageError: no run, of a task whose answers are not one mask for each annotated object, of another version of
    the task, dataset or weights not there any more.
    """
    for folder in plugin_folders:
        registry.add_folder(folder)
    spec, session = manifest_of(path)
    task_class = registry.load("tasks", spec.task)
    if task_class.version != spec.task_version:
        raise UsageError(
            f"{path} holds {spec.task} version {spec.task_version}, this sambench has {task_class.version}: use the "
            "sambench that wrote it"
        )
    given = spec.task_options
    if not ({"feed_mask", "later_multimask"} <= given.keys() or {"boxes", "detector", "save_masks"} <= given.keys()):
        raise UsageError(f"{path}: task {spec.task} does not answer an annotated object with a mask")
    if given.get("boxes", TRUTH) != TRUTH or given.get("detector"):
        raise UsageError(f"{path}: its prompts are detections, which belong to no annotated object")
    task = task_class(options.build(task_class.Options, given, "task"))
    dataset, root = open_dataset(path, data_root)
    source: _Source
    stored = _stored(task, spec, session)
    if stored is not None:
        source = _Stored(stored)
    else:
        saving = {"save_masks": True} if "save_masks" in given else {}
        job = job_of(spec, TaskJob(spec.task, {**given, **saving}), root, model_of(path, spec, session, models))
        source = (_Boxed if "boxes" in given else _Clicked)(job, read_json(path / "index.json"))
    return ReplayedRun(path, spec, task, dataset, source)


class ReplayedRun:
    """A run whose masks can be made again; see :func:`open_run`."""

    def __init__(self, path: Path, spec: RunSpec, task: Task, dataset: Dataset, source: _Source) -> None:
        self.path, self.spec, self.task, self.dataset, self._source = path, spec, task, dataset, source

    @property
    def name(self) -> str:
        """``model@digest``, as in reports."""
        return f"{self.spec.model}@{self.spec.weights_digest[:8]}"

    @property
    def prompted_by_box(self) -> bool:
        """Whether the prompts are boxes; else they are clicks."""
        return "boxes" in self.spec.task_options

    @cached_property
    def index(self) -> list[str]:
        """The ids of the run's images, in order."""
        ids: list[str] = read_json(self.path / "index.json")
        return ids

    @cached_property
    def recorded(self) -> Mapping[tuple[str, str], int]:
        """Image and instance of every case that has a record, and the record's row."""
        names = "truth_id" if self.prompted_by_box else "instance_id"
        images, objects = (self._records.column(name).to_pylist() for name in ("image_id", names))
        if not self.prompted_by_box:
            return {key: row for row, key in enumerate(zip(images, objects, strict=True))}
        crowd = self._records.column("truth_crowd").to_pylist()
        return {
            (image, one): row
            for row, (image, ids, crowds) in enumerate(zip(images, objects, crowd, strict=True))
            for one, is_crowd in zip(ids, crowds, strict=True)
            if not is_crowd
        }

    @cached_property
    def sizes(self) -> Mapping[tuple[str, str], tuple[float, tuple[int, int]]]:
        """Area in pixels, as recorded, and size ``(H, W)`` of the image, of every case that has a record."""
        areas = self._records.column("truth_area" if self.prompted_by_box else "area").to_pylist()
        sizes = list(zip(*(self._records.column(name).to_pylist() for name in ("height", "width")), strict=True))
        if not self.prompted_by_box:
            return {key: (areas[row], sizes[row]) for key, row in self.recorded.items()}
        ids = self._records.column("truth_id").to_pylist()
        return {key: (areas[row][ids[row].index(key[1])], sizes[row]) for key, row in self.recorded.items()}

    @cached_property
    def _records(self) -> pa.Table:
        return read_records(self.path, self.index)

    def release(self) -> None:
        """Lets go of the model's memory; it is loaded again when it is needed."""
        self._source.release()

    def load(self, id: str) -> Sample:
        """The sample of an id. Raises DataError if it cannot be read, or its image has another size than annotated."""
        sample = self.dataset.load(id)
        if sample.image.shape[:2] != sample.size:
            h, w = sample.image.shape[:2]
            raise DataError(f"image {id} is {w}x{h} pixels, its annotation says {sample.size[1]}x{sample.size[0]}")
        return sample

    def prompted(self, sample: Sample) -> list[Instance]:
        """The instances that a run prompts for, in the order of the annotation."""
        if self.prompted_by_box:
            return [one for one in sample.truth.instances if not one.crowd]
        return countable(sample, self.spec.task_options.get("min_area", 1))[0]

    def cases(self, sample: Sample, instances: Collection[str] | None = None, *, clicks: int = 1) -> list[Case]:
        """The answers for the objects of an image, in the order of the annotation.

        ``sample``: as :meth:`load` answers it, or made of that at another size, which is then prompted and answered at
        that size. ``instances``: ids; None for all. ``clicks``: the mask after so many; boxes do not ask for it.
        Raises DataError: an id that the run does not prompt for, a first click that is not the recorded one (other
        annotations than then).
        """
        prompted = self.prompted(sample)
        wanted = {one.id for one in prompted} if instances is None else set(instances)
        if unknown := wanted - {one.id for one in prompted}:
            raise DataError(f"{self.path} did not prompt for object {min(unknown)} of image {sample.id}")
        found = []
        for one, made, box, mask in self._source.answers(sample, prompted, wanted, clicks):
            if one.id in wanted:
                compared = iou(mask, one.mask, None if box else sample.truth.void)
                found.append(
                    Case(sample, one, made, box, mask, compared, self._recorded_iou(sample, one, made, clicks))
                )
        return found

    def _recorded_iou(self, sample: Sample, one: Instance, made: Sequence[Click], clicks: int) -> float | None:
        row = self.recorded.get((sample.id, one.id))
        if row is None:
            return None
        record = self._records.slice(row, 1).to_pylist()[0]
        if (record["height"], record["width"]) != sample.size:
            return None
        if self.prompted_by_box:
            values = dict(zip(_prompted_ids(record), record["iou"] or (), strict=False))
            return values.get(one.id)
        if made and record["clicks"][0] != {"x": made[0].x, "y": made[0].y, "positive": made[0].positive}:
            raise DataError(
                f"object {one.id} of image {sample.id} is clicked elsewhere than {self.path} recorded: the annotations "
                "of the dataset are not those of the run"
            )
        value: float = record["iou"][min(clicks, len(record["iou"])) - 1]
        return value


_Answer = tuple[Instance, tuple[Click, ...], tuple[float, float, float, float] | None, Mask]


class _Source(Protocol):
    """Where masks come from. Answers at least for the wanted of the prompted instances."""

    def answers(
        self, sample: Sample, prompted: Sequence[Instance], wanted: Collection[str], clicks: int
    ) -> Iterator[_Answer]: ...

    def release(self) -> None: ...


class _Modelled:
    """The run's own model, loaded when it is asked for the first time."""

    def __init__(self, job: Job, index: Sequence[str]) -> None:
        self._job = job
        self._place = {id: k for k, id in enumerate(index)}

    @cached_property
    def worker(self) -> Worker:
        return Worker(self._job)

    def release(self) -> None:
        self.__dict__.pop("worker", None)

    def view(self, sample: Sample) -> View:
        """The image in the slot of the encoder batch that it had."""
        return self.worker.view(sample, self._place[sample.id])


class _Clicked(_Modelled):
    def answers(
        self, sample: Sample, prompted: Sequence[Instance], wanted: Collection[str], clicks: int
    ) -> Iterator[_Answer]:
        given = self._job.tasks[0].options
        stops = "max_clicks" in given and not given.get("all_clicks")
        policy = Policy(
            clicks,
            given.get("first_click", "centre"),
            given["feed_mask"],
            given["later_multimask"],
            enough=_REACHED if stops else math.inf,
        )
        view = self.view(sample)
        for start in range(0, len(prompted), GROUP):
            group = prompted[start : start + GROUP]
            if any(one.id in wanted for one in group):
                for done in click_through(group, sample, view, self.worker.context, policy):
                    assert done.predicted is not None
                    yield done.instance, tuple(done.clicks), None, done.predicted


class _Boxed(_Modelled):
    def answers(
        self, sample: Sample, prompted: Sequence[Instance], wanted: Collection[str], clicks: int
    ) -> Iterator[_Answer]:
        measured = self.worker.task.measure(sample, self.view(sample), self.worker.context)
        if callable(measured):
            measured = measured()
        (content,) = measured.files.values()
        boxes = np.reshape(measured.rows[0]["prompt"], (-1, 4)).tolist()
        for one, box, entry in zip(prompted, boxes, json.loads(content), strict=True):
            x0, y0, x1, y1 = box
            yield one, (), (x0, y0, x1, y1), masks.from_rle(entry["segmentation"])


class _Stored:
    """Masks that were predicted elsewhere: of the candidates the one with the highest score, as the task takes it."""

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions

    def release(self) -> None:
        """Nothing is held but the file's content."""

    def answers(
        self, sample: Sample, prompted: Sequence[Instance], wanted: Collection[str], clicks: int
    ) -> Iterator[_Answer]:
        given = self._predictions.read(sample.id)
        for one in prompted:
            if one.id in wanted:
                if not given.get(one.id):
                    raise DataError(f"no predicted mask for annotation {one.id} of image {sample.id}")
                best = int(np.array([score for _, score in given[one.id]], np.float32).argmax())
                yield one, (), None, given[one.id][best][0]


def manifest_of(path: Path) -> tuple[RunSpec, Mapping[str, Any]]:
    """Specification and last session."""
    if not (path / "manifest.json").is_file():
        raise UsageError(f"{path} is no run: it has no manifest.json; give a run directory")
    try:
        manifest = read_json(path / "manifest.json")
        return RunSpec(**manifest["spec"]), manifest["sessions"][-1]
    except (RunError, KeyError, IndexError, TypeError) as error:
        raise UsageError(f"{path / 'manifest.json'} is no manifest of this version of sambench ({error})") from error


def open_dataset(path: Path, data_root: Path | None) -> tuple[Dataset, Path]:
    """The dataset of a run and its folder, where the data root has it; where it was if that is None.

    Raises UsageError if it is not there.
    """
    spec, session = manifest_of(path)
    plugin = registry.load("datasets", spec.dataset.partition(":")[0])
    built = options.build(plugin.Options, spec.dataset_options, "dataset")
    root = Path(session["data_root"]) if data_root is None else plugin.locate(data_root, spec.split, built)
    if root is None or not root.exists():
        raise UsageError(
            f"{path}: dataset {spec.dataset} is not at {data_root or root}: say with --data-root where it is now"
        )
    return plugin(root, spec.split, built), root


def job_of(spec: RunSpec, task: TaskJob, root: Path, model: zoo.LocatedModel) -> Job:
    """What makes the records of a run again, with one of its tasks, as it was asked for then."""
    return Job(
        tasks=(task,),
        dataset=spec.dataset.partition(":")[0],
        dataset_options=spec.dataset_options,
        root=root,
        split=spec.split,
        model=model,
        device=device_for(model, "cpu" if spec.device == "cpu" else "auto"),
        threads=spec.threads,
        encode_batch=spec.encode_batch,
        seed=spec.seed,
        label=spec.dataset,
        helpers=processors(),
        rounding=spec.encodings,
    )


def _stored(task: Task, spec: RunSpec, session: Mapping[str, Any]) -> Predictions | None:
    """The predictions that the run scored; None if a model made its masks."""
    path = Path(session["weights"] or "/")
    if spec.model in zoo.ZOO or not path.is_file() or path.suffix != ".json":
        return None
    if "boxes" in spec.task_options:
        raise UsageError(f"{path}: stored masks of task {spec.task} belong to no annotated object")
    predictions = task.read_predictions(path)
    if predictions.digest != spec.weights_digest:
        raise UsageError(f"the predictions {path} have changed since they were scored: score them again")
    return predictions


def model_of(path: Path, spec: RunSpec, session: Mapping[str, Any], given: Sequence[str]) -> zoo.LocatedModel:
    """The run's model, told by name and digest."""
    refused = []
    for reference in given:
        try:
            located = zoo.locate(reference, spec.model_options)
        except UsageError as error:
            refused.append(str(error))
            continue
        # By name as well: models of one's own that stand in one file share its digest.
        if (located.name, located.weights_digest) == (spec.model, spec.weights_digest):
            return located
    reference, values = session["weights"] or session.get("model", ""), dict(spec.model_options)
    if spec.model in zoo.ZOO:
        if session["weights"]:
            values["weights"] = session["weights"]
        reference = spec.model
    if not reference:
        why = f" ({refused[0]})" if refused else ""
        raise UsageError(f"{path}: say with --model FILE.py:CLASS what its model {spec.model} is{why}")
    located = zoo.locate(reference, values)
    if located.weights_digest != spec.weights_digest:
        raise UsageError(
            f"{path}: {spec.model} has digest {located.weights_digest[:8]} here, it was {spec.weights_digest[:8]} in "
            "the run: say with --model where the run's weights are"
        )
    return located


def _prompted_ids(record: Mapping[str, Any]) -> list[str]:
    return [one for one, crowd in zip(record["truth_id"], record["truth_crowd"], strict=True) if not crowd]
