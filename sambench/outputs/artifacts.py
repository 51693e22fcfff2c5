"""What a run's task leaves besides records, such as edge maps, proposals or masks: read from the run, or made again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from sambench.core.task import Context, Predictions, Task
from sambench.engine.inbox import ListInbox
from sambench.engine.job import TaskJob, batches
from sambench.engine.worker import Worker
from sambench.errors import DataError, UsageError
from sambench.models import zoo
from sambench.outputs.replay import job_of, manifest_of, model_of, open_dataset
from sambench.plugins import options, registry
from sambench.runs.directory import RunSpec, read_json

_SAVE = "save_"
"""How the options of tasks begin that have something kept."""


def kept_files(
    path: Path, ids: Iterable[str], *, data_root: Path | None = None, models: Sequence[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """Id of an image and the file that the task keeps of it, whether the run was told to keep it or not.

    ``path``: of the run. ``ids``: of images that it scored, in the order of its index. ``data_root``, ``models``: as
    :func:`sambench.outputs.replay.open_run` takes them. Raises UsageError: a task that keeps nothing; data, weights or
    stored predictions that are not there any more, or are others. Raises DataError for an image that cannot be
    measured again.
    """
    wanted = list(ids)
    folder = path / "files"
    there = {_image(file.relative_to(folder)): file for file in folder.rglob("*.*")}
    remade = _remade(path, [id for id in wanted if id not in there], data_root, models)
    for id in wanted:
        try:
            yield (id, there[id].read_bytes()) if id in there else next(remade)
        except OSError as error:
            raise DataError(f"{there[id]} cannot be read: {error.strerror or error}") from error


def _image(name: PurePath) -> str:
    """The id of the image that ``FOLDER/ID.SUFFIX`` is about."""
    return "/".join(name.with_suffix("").parts[1:])


def _remade(
    path: Path, ids: Sequence[str], data_root: Path | None, models: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """The files of images that are measured again; nothing is opened before the first is asked for."""
    spec, session = manifest_of(path)
    saving = {name: True for name in spec.task_options if name.startswith(_SAVE)}
    if not saving:
        raise UsageError(f"{path}: task {spec.task} keeps nothing but records")
    plugin = registry.load("tasks", spec.task)
    task = plugin(options.build(plugin.Options, {**spec.task_options, **saving}, "task"))
    predictions = _predictions(task, spec, session)
    dataset, root = open_dataset(path, data_root)
    if predictions is not None:
        context = Context(spec.dataset, spec.seed)
        for id in ids:
            measured = task.score(dataset.load(id), predictions.read(id), context)
            files = (measured() if callable(measured) else measured).files
            if not files:
                raise UsageError(f"{path} scored {session['weights']}: what was predicted is there")
            yield id, _one(files)
        return
    job = job_of(spec, TaskJob(spec.task, {**spec.task_options, **saving}), root, model_of(path, spec, session, models))
    worker, index = Worker(job), read_json(path / "index.json")
    for id in ids:
        for done in worker.stream(ListInbox(batches(index, [{id}], spec.encode_batch))):
            (result,) = done.results
            if result.failures:
                raise DataError(f"image {id} cannot be measured again: {result.failures[0].error}")
            yield id, _one(result.files)


def _predictions(task: Task, spec: RunSpec, session: Mapping[str, Any]) -> Predictions | None:
    """What the run scored; None if a model made it."""
    if spec.model in zoo.ZOO or not session["weights"]:
        return None
    try:
        predictions = task.read_predictions(Path(session["weights"]))
    except UsageError:
        return None
    if predictions.digest != spec.weights_digest:
        raise UsageError(f"the predictions {session['weights']} have changed since they were scored: score them again")
    return predictions


def _one(files: Mapping[str, bytes]) -> bytes:
    (content,) = files.values()
    return content
