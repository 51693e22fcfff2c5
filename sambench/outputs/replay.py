"""Makes the masks of a run again: records hold the quality of an answer, not its mask.

A run is opened from its directory alone. Dataset and model are loaded with the options, device and threads that the
manifest names, an image is encoded in its original slot of the batch, and the task prompts its objects in their
original groups (:class:`sambench.core.replay.Replay`): on the same machine the masks equal the scored ones, to the
pixel. :attr:`Case.recorded_iou` reveals masks that differ. The masks of a run that scored stored predictions are read
from the predictions.

::

    run = replay.open_run(Path("runs/single_point/demo/region_tree@0a1b2c3d"))
    for case in run.cases(run.load("scene-0003"), ["1", "4"]):
        case.instance.mask, case.clicks, case.box, case.predicted
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from sambench.core.dataset import Dataset, Instance, Sample
from sambench.core.mask import Mask
from sambench.core.model import Click, View
from sambench.core.replay import Answer, Recorded, Replay
from sambench.core.task import Context, Predictions, Task
from sambench.engine.inbox import ListInbox
from sambench.engine.job import Job, TaskJob, batches
from sambench.engine.resources import device_for, processors
from sambench.engine.worker import Worker
from sambench.errors import DataError, UsageError
from sambench.metrics.iou import iou
from sambench.models import zoo
from sambench.plugins import registry
from sambench.runs.run import Run


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """An object of an image, its prompt, and the answer.

    Attributes:
        sample: The image and its annotations.
        instance: The object.
        clicks: In order; none where the prompt is a box, and in a run of stored predictions, whose prompts are unknown.
        box: xyxy in pixels; None where the prompt is clicks.
        predicted: The mask after them.
        iou: Its IoU with the mask of the instance.
        recorded_iou: The IoU that the run recorded; None if the sample's size is not that of the run.
    """

    sample: Sample
    instance: Instance
    clicks: tuple[Click, ...]
    box: tuple[float, float, float, float] | None
    predicted: Mask
    iou: float
    recorded_iou: float | None


class ReplayedRun:
    """A run whose masks can be made again; see :func:`open_run`."""

    def __init__(self, run: Run, replay: Replay, dataset: Dataset, source: _Model | Predictions) -> None:
        self.run, self.path, self.spec = run, run.path, run.spec
        self.replay, self.dataset, self._source = replay, dataset, source

    @property
    def name(self) -> str:
        """``model@digest``, as in reports."""
        return f"{self.spec.model}@{self.spec.weights_digest[:8]}"

    @property
    def context(self) -> Context:
        """Facts of the run that the task used besides sample and view."""
        return Context(self.spec.dataset, self.spec.seed)

    @cached_property
    def recorded(self) -> Mapping[tuple[str, str], Recorded]:
        """The record of each case that has one, by image and instance."""
        return self.replay.recorded(self.run.records())

    def release(self) -> None:
        """Free the model's memory; the next use loads the model again."""
        if isinstance(self._source, _Model):
            self._source.release()

    def load(self, id: str) -> Sample:
        """Return the sample of an id.

        Raises:
            DataError: The sample cannot be read, or its image has another size than annotated.
        """
        return load_sample(self.dataset, id)

    def cases(self, sample: Sample, instances: Collection[str] | None = None, *, clicks: int = 1) -> list[Case]:
        """Answer the objects of an image again, in the order of the annotation.

        Args:
            sample: From :meth:`load`, or a copy at another size, which is prompted and answered at that size.
            instances: Ids; None for all.
            clicks: Number of clicks after which masks are returned; a box takes none.

        Raises:
            DataError: An id that the run did not prompt for, or a first click that is not the recorded one (the
                annotations have changed since).
        """
        prompted = {instance.id: instance for instance in self.replay.prompted(sample)}
        wanted = set(prompted) if instances is None else set(instances)
        if unknown := wanted - prompted.keys():
            raise DataError(f"{self.path} did not prompt for object {min(unknown)} of image {sample.id}")
        void = sample.truth.void if self.replay.ignores_void else None
        return [
            Case(
                sample,
                answer.instance,
                answer.clicks,
                answer.box,
                answer.predicted,
                iou(answer.predicted, answer.instance.mask, void),
                self._recorded_iou(sample, answer, clicks),
            )
            for answer in self._answers(sample, prompted, wanted, clicks)
            if answer.instance.id in wanted
        ]

    def _answers(
        self, sample: Sample, prompted: Mapping[str, Instance], wanted: Collection[str], clicks: int
    ) -> Iterable[Answer]:
        if isinstance(self._source, _Model):
            worker, view = self._source.worker, self._source.view(sample)
            return self.replay.answers(sample, view, worker.context, wanted, clicks)
        stored = self._source.read(sample.id)
        return [
            Answer(instance, (), None, self.replay.stored(sample, instance, stored))
            for instance in prompted.values()
            if instance.id in wanted
        ]

    def _recorded_iou(self, sample: Sample, answer: Answer, clicks: int) -> float | None:
        record = self.recorded.get((sample.id, answer.instance.id))
        if record is None or record.size != sample.size:
            return None
        if answer.clicks and answer.clicks[0] != record.first_click:
            raise DataError(
                f"object {answer.instance.id} of image {sample.id} is clicked elsewhere than {self.path} recorded: the "
                "annotations of the dataset are not those of the run"
            )
        return record.ious[min(clicks, len(record.ious)) - 1] if record.ious else None


class _Model:
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


def open_run(
    path: Path, *, data_root: Path | None = None, models: Sequence[str] = (), plugin_folders: Sequence[Path] = ()
) -> ReplayedRun:
    """Open a run directory; neither model nor image is loaded before its first use.

    Args:
        path: The run directory.
        data_root: The data root to find the dataset in; None if it has not moved.
        models: As ``--model`` names them, for a run whose manifest does not locate its model (moved weights,
            ``file.py:Class``); the one with the run's name and digest is taken.
        plugin_folders: As ``--plugins`` of the run.

    Raises:
        UsageError: Not a run directory, a task whose answers are not one mask for each annotated object, another
            version of the task, or a missing dataset or weights file.
    """
    registry.add_folders(plugin_folders)
    run = Run(path)
    task = run.task()
    predictions = predictions_of(run, task)
    try:
        replay = task.replay()
    except UsageError as error:
        raise UsageError(f"{path}: cannot replay: {error}") from error
    if replay is None:
        raise UsageError(f"{path}: cannot replay: task {task.name} does not answer an annotated object with a mask")
    dataset, root = run.dataset(data_root)
    source = predictions or _Model(job_of(run, root, model_of(run, models)), run.index)
    return ReplayedRun(run, replay, dataset, source)


def load_sample(dataset: Dataset, id: str) -> Sample:
    """Return a sample with its image read.

    Raises:
        DataError: It cannot be read, or its size is not the annotated one.
    """
    sample = dataset.load(id)
    if sample.image.shape[:2] != sample.size:
        h, w = sample.image.shape[:2]
        raise DataError(f"image {id} is {w}x{h} pixels, its annotation says {sample.size[1]}x{sample.size[0]}")
    return sample


def artifacts(
    run: Run, ids: Iterable[str], *, data_root: Path | None = None, models: Sequence[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """Yield the id and the artifact of each image, also where the run did not keep it.

    Args:
        run: The run.
        ids: Images that the run scored, in the order of its index.
        data_root: As :func:`open_run` takes it.
        models: As :func:`open_run` takes them.

    Raises:
        UsageError: A task without artifacts, or data, weights or stored predictions that are missing or have changed.
        DataError: An image that cannot be measured again.
    """
    wanted, folder = list(ids), run.path / "files"
    kept = {_image(file.relative_to(folder)): file for file in folder.rglob("*.*")}
    remade = _remade(run, [id for id in wanted if id not in kept], data_root, models)
    for id in wanted:
        try:
            yield (id, kept[id].read_bytes()) if id in kept else next(remade)
        except OSError as error:
            raise DataError(f"{kept[id]} cannot be read: {error.strerror or error}") from error


def _image(name: PurePath) -> str:
    """The id of the image that ``FOLDER/ID.SUFFIX`` is about."""
    return "/".join(name.with_suffix("").parts[1:])


def _remade(run: Run, ids: Sequence[str], data_root: Path | None, models: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The artifacts of images that are measured again; nothing is opened before the first is asked for."""
    kept = run.task().artifacts
    if kept is None:
        raise UsageError(f"{run.path}: task {run.spec.task} keeps nothing but records")
    task = run.task(**{kept.option: True})
    predictions = predictions_of(run, task)
    dataset, root = run.dataset(data_root)
    if predictions is not None:
        context = Context(run.spec.dataset, run.spec.seed)
        for id in ids:
            measured = task.score(dataset.load(id), predictions.read(id), context)
            files = (measured() if callable(measured) else measured).files
            if not files:
                raise UsageError(f"{run.path} scored {run.session['weights']}: the predictions are there")
            yield id, _only(files)
        return
    worker = Worker(job_of(run, root, model_of(run, models), {kept.option: True}))
    for id in ids:
        for done in worker.stream(ListInbox(batches(run.index, [{id}], run.spec.encode_batch))):
            (result,) = done.results
            if result.failures:
                raise DataError(f"image {id} cannot be measured again: {result.failures[0].error}")
            yield id, _only(result.files)


def _only(files: Mapping[str, bytes]) -> bytes:
    (content,) = files.values()
    return content


def job_of(run: Run, root: Path, model: zoo.LocatedModel, changes: Mapping[str, Any] | None = None) -> Job:
    """Return the job that makes the records of a run again.

    Args:
        run: The run.
        root: The dataset's folder.
        model: The run's model.
        changes: Task options that replace those of the run.
    """
    spec = run.spec
    return Job(
        tasks=(TaskJob(spec.task, {**spec.task_options, **(changes or {})}),),
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


def predictions_of(run: Run, task: Task) -> Predictions | None:
    """Return the predictions that the run scored; None if a model made its masks.

    Raises:
        UsageError: The predictions have changed since.
    """
    path = Path(run.session["weights"] or "/")
    if run.spec.model in zoo.ZOO or not run.session["weights"]:
        return None
    try:
        predictions = task.read_predictions(path)
    except UsageError:  # a model's weights
        return None
    if predictions.digest != run.spec.weights_digest:
        raise UsageError(f"the predictions {path} have changed since they were scored: score them again")
    return predictions


def model_of(run: Run, given: Sequence[str]) -> zoo.LocatedModel:
    """Return the run's model, identified by name and digest.

    Args:
        run: The run.
        given: References as ``--model`` takes them, tried first.

    Raises:
        UsageError: The model is missing or has another digest.
    """
    path, spec, session = run.path, run.spec, run.session
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
