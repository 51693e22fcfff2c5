"""From what was asked for to runs on disk: finds data and models, then evaluates triple by triple."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sambench
from sambench import downloads, options, plugins, provenance, subsets
from sambench.engine import Job, Progress, execute
from sambench.errors import SambenchError, UsageError
from sambench.models import zoo
from sambench.run import SCHEMA, RunDirectory, RunSpec, index_digest, now, read_json, records_digest
from sambench.types import Card, Context, Dataset, Metric, TakesInputs, Task

ShowProgress = Callable[[str, int, int], AbstractContextManager[Progress]]
"""Called with title, images done before, images in all."""

Work = Callable[[RunDirectory, Sequence[str], Progress], dict[str, float]]
"""Evaluates the samples and writes their records; answers seconds by stage."""

COLLECTIONS = {"sam23": "the 23 datasets of the paper", "ritm5": "the five sets of RITM", "all": "all real datasets"}
SET_OWNERS = ("task", "dataset", "model")


@dataclass(frozen=True)
class Settings:
    """What the command line says, for all triples. Paths are as typed; ``batch_size``, ``workers`` and ``threads``
    0 mean: by model and device."""

    tasks: Sequence[str]
    datasets: Sequence[str]
    models: Sequence[str] = (zoo.DEFAULT,)
    data_root: Path = Path("data")
    out: Path = Path("runs")
    limit: int | None = None
    split: str | None = None
    subset: str = "paper"
    device: str = "auto"
    batch_size: int = 0
    workers: int = 0
    threads: int = 0
    seed: int = 0
    fresh: bool = False
    assignments: Sequence[str] = ()
    plugin_folders: Sequence[Path] = ()


@dataclass(frozen=True)
class Found:
    """A dataset on disk, for one task."""

    label: str
    reference: str
    plugin: Any
    root: Path
    split: str
    options: Any

    @property
    def card(self) -> Card:
        card: Card = self.plugin.card
        return card

    @property
    def changed_options(self) -> dict[str, Any]:
        """Those that are not the default, without what a generic dataset is called with."""
        default = options.as_dict(self.plugin.Options())
        given = options.as_dict(self.options)
        return {k: v for k, v in given.items() if v != default[k] and k not in self.plugin.arguments}

    def open(self) -> Dataset:
        dataset: Dataset = self.plugin(self.root, self.split, self.options)
        return dataset


@dataclass(frozen=True)
class Missing:
    """A dataset that was asked for and is not there."""

    card: Card
    looked_at: Path


@dataclass(frozen=True)
class Plan:
    """``missing``: members of a collection that are not on disk; the others are evaluated without them."""

    triples: Sequence[Triple] = ()
    missing: Sequence[Missing] = ()


@dataclass(frozen=True)
class Triple:
    """One run to be: task, dataset, model, and the settings they share. ``subset``: its name on every machine."""

    task: Task
    task_reference: str
    task_options: Any
    found: Found
    model: zoo.Located
    settings: Settings
    subset: str
    index: Sequence[str] = field(repr=False)
    n_masks: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.task.name} · {self.found.label} · {self.model.name}"


def make_plan(settings: Settings, models: Sequence[zoo.Located] | None = None) -> Plan:
    """Finds everything before anything is evaluated. Raises UsageError if something cannot be.

    ``models``: given by who has found them already; else those of the settings.
    """
    for folder in settings.plugin_folders:
        plugins.add_folder(folder)
    values = options.parse_assignments(settings.assignments, SET_OWNERS)
    tasks = []
    for name in expand_tasks(settings.tasks):
        plugin = plugins.load("tasks", name)
        built = options.build(plugin.Options, values["task"], "task")
        tasks.append((plugin(built), name, built))
    triples: list[Triple] = []
    missing: list[Missing] = []
    wanted = [find_datasets(settings, task.name, values["dataset"]) for task, _, _ in tasks]
    if not any(found for found, _ in wanted):
        raise UsageError(explain_missing([m for _, absent in wanted for m in absent]))
    if models is None:
        models = [zoo.locate(reference, values["model"]) for reference in settings.models]
    for (task, reference, built), (found, absent) in zip(tasks, wanted, strict=True):
        missing.extend(absent)
        for one in found:
            dataset = one.open()
            entries, subset = subsets.draw(dataset.index(), settings.subset, one.card.name, one.split)
            if not entries:
                raise UsageError(f"dataset {one.label} has no image in split {one.split} at {one.root}")
            if isinstance(task, TakesInputs):
                task.prepare(dataset, one.label)
            index, n_masks = [e.id for e in entries], sum(e.n_masks for e in entries)
            left_out = dict(getattr(dataset, "excluded", {}))
            triples += [
                Triple(task, reference, built, one, m, settings, subset, index, n_masks, left_out) for m in models
            ]
    return Plan(triples, missing)


def expand_tasks(names: Sequence[str]) -> list[str]:
    """``all`` to the names of all tasks."""
    return [n for name in names for n in (plugins.names("tasks") if name == "all" else [name])]


def find_datasets(settings: Settings, task: str | None, values: Mapping[str, str]) -> tuple[list[Found], list[Missing]]:
    """The datasets that were asked for, and the members of collections that are not there. ``task`` None: for any.

    Raises UsageError for one that was named itself and is not there.
    """
    found: list[Found] = []
    absent: list[Missing] = []
    for request in plugins.parse_datasets(settings.datasets):
        collection = request.name in COLLECTIONS
        for name in members(request.name, task) if collection else [request.name]:
            plugin = plugins.load("datasets", name)
            if not collection and task is not None and task not in plugin.card.tasks:
                raise UsageError(
                    f"task {task} is not defined on dataset {name} (it has: {', '.join(plugin.card.tasks)})"
                )
            one = locate(plugin, name, request.arguments, settings, task, {} if collection else values)
            if one is not None:
                found.append(one)
            elif collection:
                absent.append(Missing(plugin.card, settings.data_root))
            else:
                raise UsageError(explain_missing([Missing(plugin.card, settings.data_root)]))
    return found, absent


def members(collection: str, task: str | None) -> list[str]:
    """The datasets of a collection that the task (if any) is defined on, by their cards."""
    cards = {name: plugins.load("datasets", name).card for name in plugins.names("datasets")}
    groups = ("sam23", "reference", "ritm5") if collection == "all" else (collection,)
    return [name for name, card in cards.items() if card.group in groups and (task is None or task in card.tasks)]


def locate(
    plugin: Any,
    reference: str,
    arguments: Sequence[str],
    settings: Settings,
    task: str | None,
    values: Mapping[str, str],
) -> Found | None:
    """The dataset on disk, or None. Raises UsageError on an unknown split or option, or a copy that is on its way."""
    split, built = choose(plugin, arguments, settings, task, values)
    root = plugin.locate(settings.data_root, split, built)
    if root is None:
        return None
    name = plugin.card.name
    if coming := downloads.unfinished(name, root):
        record, missing = coming
        raise UsageError(
            f"dataset {name} at {root} is not whole yet, {', '.join(missing)} is to come: `sambench data get {name}` "
            f"goes on; to use what is there, delete {record}"
        )
    return Found(str(plugins.Request(name, tuple(arguments))), reference, plugin, root, split, built)


def choose(
    plugin: Any, arguments: Sequence[str], settings: Settings, task: str | None, values: Mapping[str, str]
) -> tuple[str, Any]:
    """Split and options of a dataset as asked for. Raises UsageError on an unknown one."""
    card: Card = plugin.card
    if len(arguments) != len(plugin.arguments):
        raise UsageError(f"dataset {card.name}: write it as {card.name}:{','.join(plugin.arguments).upper()}")
    split = settings.split or card.task_splits.get(task or "", card.default_split)
    if split not in card.splits:
        near = options.did_you_mean(split, card.splits)
        raise UsageError(f"dataset {card.name} has no split {split!r}{near} (it has: {', '.join(card.splits)})")
    given = {**dict(zip(plugin.arguments, arguments, strict=True)), **values}
    return split, options.build(plugin.Options, given, "dataset")


def explain_missing(missing: Sequence[Missing]) -> str:
    """How to get each dataset, for people."""
    blocks = []
    for one in {m.card.name: m for m in missing}.values():
        card = one.card
        layout = "\n".join(f"      {line}" for line in card.layout.strip("\n").splitlines())
        access = "\n".join(f"    {line}" for line in card.access.strip("\n").splitlines())
        verb = f" (or `sambench data get {card.name}`)" if any(a.url for a in card.archives) else ""
        blocks.append(
            f"{card.name}: not found at {one.looked_at}\n  {card.title} ({card.url}; licence: {card.licence})\n"
            f"  To get it:{verb}\n{access}\n  It should look like this, under --data-root or one of its folders "
            f"{', '.join(card.folders) or card.name}:\n{layout}"
        )
    what = "the dataset is" if len(blocks) == 1 else "none of these datasets is"
    return f"nothing to run: {what} present\n\n" + "\n\n".join(blocks)


def specification(triple: Triple) -> RunSpec:
    """The frozen specification of a triple. Threads and device default to what a run that is already there has."""
    settings, model = triple.settings, triple.model
    device = device_for(model, settings.device)
    inputs = dict(triple.task.inputs) if isinstance(triple.task, TakesInputs) else {}
    spec = RunSpec(
        task=triple.task.name,
        task_version=triple.task.version,
        task_options=options.as_dict(triple.task_options) | inputs,
        dataset=triple.found.label,
        dataset_options=options.as_dict(triple.found.options),
        split=triple.found.split,
        subset=triple.subset,
        index_digest=index_digest(triple.index),
        model=model.name,
        weights_digest=model.weights_digest,
        model_options={k: v for k, v in options.as_dict(model.options).items() if k != "weights"},
        device=device,
        threads=settings.threads or _threads(model, device),
        encode_batch=settings.batch_size or model.encode_batch(device),
        seed=settings.seed,
    )
    manifest = spec.directory(settings.out) / "manifest.json"
    if not settings.threads and not settings.fresh and manifest.is_file():
        # Another machine may have another number of cores; what the run began with keeps its sums the same.
        earlier = read_json(manifest)["spec"].get("threads", spec.threads)
        spec = RunSpec(**{**asdict(spec), "threads": earlier})
    return spec


def device_for(model: zoo.Located, asked: str) -> str:
    """``cpu`` or ``cuda``. Raises UsageError if a GPU was asked for and there is none."""
    if not model.uses_torch:
        return "cpu"
    if asked not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {asked}: it is auto, cpu or cuda")
    if asked == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise UsageError("--device cuda: torch sees no GPU here (is it a CUDA build? see the README)")
    return "cpu"


def evaluate(triple: Triple, progress: ShowProgress) -> tuple[Path, dict[str, Any]]:
    """Runs a triple, or goes on with it, and answers its directory and its summary.

    Raises SambenchError; KeyboardInterrupt passes through with everything finished so far on disk.
    """
    spec, settings = specification(triple), triple.settings
    workers = settings.workers or _workers(triple.model, spec)
    job = Job(
        task=triple.task_reference,
        task_options=options.as_dict(triple.task_options),
        dataset=triple.found.reference,
        dataset_options=options.as_dict(triple.found.options),
        root=triple.found.root,
        split=spec.split,
        model=triple.model,
        device=spec.device,
        threads=spec.threads,
        encode_batch=spec.encode_batch,
        seed=spec.seed,
        label=spec.dataset,
        plugin_folders=tuple(str(f) for f in settings.plugin_folders),
        helpers=max(1, processors() // workers),
    )

    def work(directory: RunDirectory, todo: Sequence[str], bar: Progress) -> dict[str, float]:
        return execute(job, directory, todo, workers, bar)

    return carry_out(triple, spec, work, progress, workers)


def carry_out(
    triple: Triple, spec: RunSpec, work: Work, progress: ShowProgress, workers: int = 1
) -> tuple[Path, dict[str, Any]]:
    """Opens the run directory, has ``work`` do what is left to do, and sums up. Answers directory and summary."""
    settings = triple.settings
    session = {
        **provenance.facts(),
        "started": now(),
        "workers": workers,
        "limit": settings.limit,
        "data_root": str(triple.found.root),
        "model": triple.model.reference,
        "weights": triple.model.weights_path,
        "task_source": plugins.source_digest(type(triple.task)),
        "dataset_source": plugins.source_digest(triple.found.plugin),
    }
    expected = triple.index[: settings.limit]
    with RunDirectory(spec.directory(settings.out), spec, triple.index, triple.task.schema) as directory:
        directory.open(fresh=settings.fresh, session=session, info=information(triple))
        todo = [id for id in expected if id not in directory.done]
        retried = set(todo)
        directory.set_errors([f for f in directory.errors() if f.id not in retried])
        timings: dict[str, float] = {}
        status = "failed"
        try:
            if todo:
                with progress(triple.title, len(expected) - len(todo), len(expected)) as bar:
                    timings = work(directory, todo, bar)
            status = "complete" if len(directory.done) == len(triple.index) else "incomplete"
        except KeyboardInterrupt:
            status = "incomplete"
            raise
        finally:
            if status == "failed":
                # Something is being raised: say so on disk if that is still possible, but do not replace it.
                with suppress(SambenchError):
                    directory.finish(status, timings, None)
            else:
                summary = summarize(directory, triple.task, Context(spec.dataset, spec.seed))
                directory.finish(status, timings, summary)
        return directory.path, summary


def information(triple: Triple) -> dict[str, Any]:
    """What the summary says besides the specification and the scores."""
    card = zoo.ZOO.get(triple.model.name) if triple.model.adapter else None
    return {
        "family": "" if card is None else card.family,
        "parameters": None if card is None else card.parameters,
        "zero_shot": zero_shot(triple.model.trained_on, triple.found.card),
        "signature": triple.task.signature,
        "left_out_of_index": dict(triple.left_out),
    }


def zero_shot(trained_on: frozenset[str] | None, card: Card) -> str:
    """``yes``, ``no``, or ``unknown`` when nobody has said what the model was trained on."""
    if trained_on is None:
        return "unknown"
    return "no" if trained_on & {card.name, *card.same_images_as} else "yes"


def summarize(directory: RunDirectory, task: Task, context: Context) -> dict[str, Any]:
    """``summary.json`` from the records on disk. Every expected sample is scored, failed, excluded or pending."""
    spec, info = directory.spec, directory.manifest["info"]
    records = directory.records()
    scores = task.summarize(records, context)
    outcomes = list(directory.done.values())
    failed = len(directory.errors())
    excluded: dict[str, int] = {}
    excluded_masks: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.status == "excluded":
            excluded[outcome.rule] = excluded.get(outcome.rule, 0) + 1
        for rule, n in outcome.excluded_masks.items():
            excluded_masks[rule] = excluded_masks.get(rule, 0) + n
    return {
        "schema": SCHEMA,
        "task": spec.task,
        "task_version": spec.task_version,
        "dataset": spec.dataset,
        "split": spec.split,
        "subset": spec.subset,
        "model": spec.model,
        "weights_digest": spec.weights_digest,
        "family": info["family"],
        "parameters": info["parameters"],
        "zero_shot": info["zero_shot"],
        "complete": len(outcomes) == len(directory.index),
        "n_expected": len(directory.index),
        "n_scored": sum(o.status == "scored" for o in outcomes),
        "n_failed": failed,
        "n_excluded": sum(excluded.values()),
        "n_pending": len(directory.index) - len(outcomes) - failed,
        "n_masks": scores.n_masks,
        "excluded": excluded,
        "excluded_masks": excluded_masks,
        "left_out_of_index": info["left_out_of_index"],
        "signature": info["signature"],
        "primary": task.primary,
        "headlines": [task.primary, *scores.headlines],
        "metrics": _jsonable(scores.metrics),
        "breakdowns": {k: {v: _jsonable(m) for v, m in cut.items()} for k, cut in scores.breakdowns.items()},
        "curves": {name: {axis: list(v) for axis, v in curve.items()} for name, curve in scores.curves.items()},
        "lower_is_better": list(scores.lower_is_better),
        "warnings": list(scores.warnings),
        "index_digest": spec.index_digest,
        "records_digest": records_digest(records),
        "sambench_version": sambench.__version__,
    }


def _jsonable(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    return {name: asdict(metric) for name, metric in metrics.items()}


def processors() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads(model: zoo.Located, device: str) -> int:
    return processors() if model.uses_torch and device == "cpu" else 1


def _workers(model: zoo.Located, spec: RunSpec) -> int:
    """A model on a GPU gets a worker for each; one that computes on all cores gets one; the others a core each."""
    if spec.device == "cuda":
        import torch

        return max(torch.cuda.device_count(), 1)
    return 1 if spec.threads > 1 else processors()
