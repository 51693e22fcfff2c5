"""From what was asked for to runs on disk: finds data and models, then evaluates triple by triple."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import sambench
from sambench.data import download, subset_files
from sambench.engine import chrome_trace
from sambench.engine.encoding_cache import EncodingCache, EncodingsSpec
from sambench.engine.execute import execute, fitting_batch
from sambench.engine.job import Job, TaskJob
from sambench.engine.result_writer import Progress, Recorded
from sambench.engine.worker import lacking
from sambench.errors import SambenchError, UsageError
from sambench.models import zoo
from sambench.plugins import options, registry
from sambench.runs import provenance
from sambench.runs.directory import (
    SCHEMA,
    SHARDS,
    RunDirectory,
    RunSpec,
    index_digest,
    now,
    read_json,
    records_digest,
    shard_name,
)
from sambench.types import Card, Context, Dataset, Metric, TakesInputs, Task

ShowProgress = Callable[[str, int, int], AbstractContextManager[Progress]]
"""Called with title, images done before, images in all."""

Work = Callable[[Sequence[RunDirectory], Sequence[Sequence[str]], Progress], Recorded]
"""Evaluates what is to do for each directory and writes the records."""

COLLECTIONS = {"sam23": "the 23 datasets of the paper", "ritm5": "the five sets of RITM", "all": "all real datasets"}
SET_OWNERS = ("task", "dataset", "model")
TRACE = "trace.json"
"""The file of a run that `--profile` writes."""


@dataclass(frozen=True)
class Settings:
    """What the command line says, for all triples. Paths are as typed; ``batch_size``, ``workers`` and ``threads``
    0 mean: by model and device. ``shard``: which of how many parts of every run, from 1; None for all of it.
    ``encodings``: where encodings are kept; ``encodings_dtype``: to what each is rounded."""

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
    shard: tuple[int, int] | None = None
    encodings: EncodingsSpec | None = None
    encodings_dtype: Literal["float32", "float16"] = "float32"
    backend: str = "local"
    profile: bool = False


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
    """``missing``: members of a collection that are not on disk; the others are evaluated without them. ``skipped``:
    tasks that ``all`` stands for and a model cannot do, a line each."""

    triples: Sequence[Triple] = ()
    missing: Sequence[Missing] = ()
    skipped: Sequence[str] = ()


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

    ``models``: given by who has found them already; else those of the settings. Of the tasks that ``all`` stands for
    those are left out that are not defined on a dataset, or that a model cannot do.
    """
    for folder in settings.plugin_folders:
        registry.add_folder(folder)
    values = options.parse_assignments(settings.assignments, SET_OWNERS)
    tasks = []
    for name, asked in expand_tasks(settings.tasks):
        plugin = registry.load("tasks", name)
        built = options.build(plugin.Options, _of_task(plugin, values["task"], asked), "task")
        tasks.append((plugin(built), name, built, asked))
    wanted = [find_datasets(settings, task.name, values["dataset"], asked=asked) for task, _, _, asked in tasks]
    if not any(found for found, _ in wanted):
        absent = [m for _, missing in wanted for m in missing]
        if absent:
            raise UsageError(explain_missing(absent))
        raise UsageError(f"no task is defined on {', '.join(settings.datasets)}")
    if models is None:
        models = [zoo.locate(reference, values["model"]) for reference in settings.models]
    triples: list[Triple] = []
    missing: list[Missing] = []
    skipped: list[str] = []
    for (task, reference, built, asked), (found, absent) in zip(tasks, wanted, strict=True):
        missing.extend(absent)
        able = [m for m in models if asked or m.capabilities is None or not lacking(task, m.capabilities)]
        skipped += [
            f"{task.name}: {m.name} does not take {' and '.join(lacking(task, m.capabilities or frozenset()))}"
            for m in models
            if m not in able
        ]
        for one in found if able else ():
            dataset = one.open()
            entries, subset = subset_files.draw(dataset.index(), settings.subset, one.card.name, one.split)
            if not entries:
                raise UsageError(f"dataset {one.label} has no image in split {one.split} at {one.root}")
            if isinstance(task, TakesInputs):
                task.prepare(dataset, one.label)
            index, n_masks = [e.id for e in entries], sum(e.n_masks for e in entries)
            left_out = dict(getattr(dataset, "excluded", {}))
            triples += [
                Triple(task, reference, built, one, m, settings, subset, index, n_masks, left_out) for m in able
            ]
    if not triples:
        raise UsageError(f"nothing to run: {'; '.join(skipped)}")
    return Plan(triples, missing, skipped)


def expand_tasks(names: Sequence[str]) -> list[tuple[str, bool]]:
    """Names of tasks and whether each was asked for by it; ``all`` stands for all others."""
    found = {name: True for name in names if name != "all"}
    if "all" in names:
        found = {name: found.get(name, False) for name in dict.fromkeys([*found, *registry.names("tasks")])}
    return list(found.items())


def _of_task(plugin: Any, values: Mapping[str, str], asked: bool) -> dict[str, str]:
    """What ``--set task.KEY=`` says to a task: all of it; to one of ``all`` what it has an option for.

    Raises UsageError if none of the tasks has.
    """
    if asked:
        return dict(values)
    known = {
        name: {field.name for field in fields(registry.load("tasks", name).Options)} for name in registry.names("tasks")
    }
    for key in values:
        if not any(key in names for names in known.values()):
            near = options.did_you_mean(key, sorted(set().union(*known.values())))
            raise UsageError(f"unknown option task.{key}: no task has it{near}")
    return {key: value for key, value in values.items() if key in {field.name for field in fields(plugin.Options)}}


def find_datasets(
    settings: Settings, task: str | None, values: Mapping[str, str], *, asked: bool = True
) -> tuple[list[Found], list[Missing]]:
    """The datasets that were asked for, and the members of collections that are not there. ``task`` None: for any;
    ``asked``: it was asked for by its name.

    Raises UsageError for one that was named itself and is not there, or that such a task is not defined on.
    """
    found: list[Found] = []
    absent: list[Missing] = []
    for request in registry.parse_datasets(settings.datasets):
        collection = request.name in COLLECTIONS
        for name in members(request.name, task) if collection else [request.name]:
            plugin = registry.load("datasets", name)
            if not collection and task is not None and task not in plugin.card.tasks:
                if not asked:
                    continue
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
    cards = {name: registry.load("datasets", name).card for name in registry.names("datasets")}
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
    if coming := download.unfinished(name, root):
        record, missing = coming
        raise UsageError(
            f"dataset {name} at {root} is not whole yet, {', '.join(missing)} is to come: `sambench data get {name}` "
            f"goes on; to use what is there, delete {record}"
        )
    return Found(str(registry.Request(name, tuple(arguments))), reference, plugin, root, split, built)


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
    """The frozen specification of a triple. Threads, device and batch size default to what a run that is already there
    has: another machine may have other ones, and what the run began with keeps its sums the same."""
    settings, model = triple.settings, triple.model
    device = device_for(model, settings.device, settings.backend)
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
        threads=settings.threads,
        encode_batch=settings.batch_size,
        seed=settings.seed,
        encodings=settings.encodings_dtype,
    )
    manifest = spec.directory(out_of(settings)) / "manifest.json"
    earlier = read_json(manifest)["spec"] if manifest.is_file() and not settings.fresh else {}
    return replace(
        spec,
        threads=spec.threads or earlier.get("threads") or _threads(model, device),
        encode_batch=spec.encode_batch or earlier.get("encode_batch") or _encode_batch(model, device, settings),
    )


def out_of(settings: Settings) -> Path:
    """The folder of the runs, for a shard one of its own."""
    return settings.out / SHARDS / shard_name(*settings.shard) if settings.shard else settings.out


def device_for(model: zoo.Located, asked: str, backend: str = "local") -> str:
    """``cpu`` or ``cuda``, by what this machine or the cluster has.

    Raises UsageError if a GPU was asked for and there is none.
    """
    if not model.uses_torch:
        return "cpu"
    if asked not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {asked}: it is auto, cpu or cuda")
    if asked == "cpu":
        return "cpu"
    if backend == "ray":
        from sambench.engine import ray_workers

        if ray_workers.has_gpus():
            return "cuda"
        if asked == "cuda":
            raise UsageError("--device cuda: no node of the Ray cluster has a GPU")
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise UsageError("--device cuda: torch sees no GPU here (is it a CUDA build? see the README)")
    return "cpu"


def groups(triples: Sequence[Triple]) -> list[list[tuple[Triple, RunSpec]]]:
    """Triples that look at the same images with the same model, so that each image needs to be encoded but once."""
    found: dict[str, list[tuple[Triple, RunSpec]]] = {}
    for triple in triples:
        spec = specification(triple)
        shared = {k: v for k, v in asdict(spec).items() if not k.startswith("task")}
        where = [str(triple.found.root), triple.model.reference, triple.model.weights_path]
        key = json.dumps([shared, where], sort_keys=True, default=str)
        found.setdefault(key, []).append((triple, spec))
    return list(found.values())


def evaluate(
    triples: Sequence[Triple], progress: ShowProgress, stop: threading.Event | None = None
) -> Iterator[tuple[Triple, Path, dict[str, Any]]]:
    """Runs triples, or goes on with them; each with its directory and its summary (of a shard: see :func:`carry_out`)
    as soon as it is there. Tasks that can share encodings are run together.

    Raises SambenchError, and KeyboardInterrupt if ``stop`` was set; everything finished by then is on disk.
    """
    # Made and tried before anything is computed; a folder that goes later stays gone, it may have been a mount.
    for kept in {triple.settings.encodings for triple in triples}:
        if kept is not None:
            EncodingCache.check(kept)
    for group in groups(triples):
        stop = stop or threading.Event()
        yield from zip([t for t, _ in group], *zip(*_evaluate(group, progress, stop), strict=True), strict=True)


def _evaluate(
    group: Sequence[tuple[Triple, RunSpec]], progress: ShowProgress, stop: threading.Event
) -> list[tuple[Path, dict[str, Any]]]:
    triple, spec = group[0]
    settings = triple.settings
    workers = settings.workers or _workers(triple.model, spec, settings)
    job = Job(
        tasks=tuple(TaskJob(one.task_reference, options.as_dict(one.task_options)) for one, _ in group),
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
        helpers=max(1, processors() // workers) if settings.backend == "local" else max(1, spec.threads),
        encodings=settings.encodings,
        rounding=spec.encodings,
        together=spec.device == "cuda",
        profile=settings.profile,
    )

    def work(directories: Sequence[RunDirectory], todo: Sequence[Sequence[str]], bar: Progress) -> Recorded:
        return execute(job, directories, todo, workers, bar, stop, backend=settings.backend)

    done = carry_out(group, work, progress, workers)
    if stop.is_set():
        raise KeyboardInterrupt
    return done


def carry_out(
    group: Sequence[tuple[Triple, RunSpec]], work: Work, progress: ShowProgress, workers: int = 1
) -> list[tuple[Path, dict[str, Any]]]:
    """Opens the run directories, has ``work`` do what is left to do, and sums up. Directories and summaries.

    A shard has no summary but ``{"complete", "n_expected", "n_scored", "n_failed", "n_excluded", "n_pending"}`` of its
    own samples: what it scored says nothing before it is merged with the others.
    """
    settings = group[0][0].settings
    session = {
        **provenance.facts(),
        "started": now(),
        "workers": workers,
        "backend": settings.backend,
        "limit": settings.limit,
        "together": [spec.task for _, spec in group],
    }
    with ExitStack() as opened:
        directories, expected, todo = [], [], []
        for triple, spec in group:
            at = spec.directory(out_of(triple.settings))
            directory = opened.enter_context(RunDirectory(at, spec, triple.index, triple.task.schema))
            facts = {
                "data_root": str(triple.found.root),
                "model": triple.model.reference,
                "weights": triple.model.weights_path,
                "task_source": registry.source_digest(type(triple.task)),
                "dataset_source": registry.source_digest(triple.found.plugin),
            }
            directory.open(
                fresh=settings.fresh, session=session | facts, info=information(triple), shard=settings.shard
            )
            directories.append(directory)
            expected.append(part_of(triple.index[: settings.limit], settings.shard, spec.encode_batch))
            todo.append([id for id in expected[-1] if id not in directory.done])
            retried = set(todo[-1])
            directory.set_errors([f for f in directory.errors() if f.id not in retried])
        recorded = Recorded(len(group))
        status = "failed"
        try:
            if any(todo):
                total, left = sum(map(len, expected)), sum(map(len, todo))
                with progress(title([triple for triple, _ in group]), total - left, total) as bar:
                    recorded = work(directories, todo, bar)
            status = "ended"
        except KeyboardInterrupt:
            status = "ended"
            raise
        finally:
            summaries = [
                _close(directory, triple, spec, ids, seconds, recorded, status)
                for directory, (triple, spec), ids, seconds in zip(
                    directories, group, expected, recorded.seconds, strict=True
                )
            ]
        return [(d.path, summary) for d, summary in zip(directories, summaries, strict=True)]


def _close(
    directory: RunDirectory,
    triple: Triple,
    spec: RunSpec,
    expected: Sequence[str],
    seconds: Mapping[str, float],
    recorded: Recorded,
    status: str,
) -> dict[str, Any]:
    """Writes how a run ended. ``status``: ``ended``, or ``failed`` where something is being raised: that is said on
    disk if it still can be, and not replaced."""
    if status == "failed":
        with suppress(SambenchError):
            directory.finish(status, seconds, None)
        return {}
    if recorded.spans:  # nothing was done: what an earlier command wrote stays
        directory.add_file(TRACE, chrome_trace.chrome(recorded.spans))
    summary = None
    if triple.settings.shard is None:
        complete = len(directory.done) == len(triple.index)
        summary = summarize(directory, triple.task, Context(spec.dataset, spec.seed))
    else:
        complete = all(id in directory.done for id in expected)
    directory.finish("complete" if complete else "incomplete", seconds, summary, recorded.notes)
    if summary is not None:
        return summary
    return {"complete": complete, **counts(directory, len(expected))}


def title(triples: Sequence[Triple]) -> str:
    """What runs that are evaluated together are called while they are."""
    tasks = list(dict.fromkeys(triple.task.name for triple in triples))
    triple = triples[0]
    shard = " · shard {} of {}".format(*triple.settings.shard) if triple.settings.shard else ""
    return f"{', '.join(tasks)} · {triple.found.label} · {triple.model.name}{shard}"


def part_of(ids: Sequence[str], shard: tuple[int, int] | None, encode_batch: int) -> Sequence[str]:
    """The samples of shard i of n: contiguous, cut between encoder batches, every sample in exactly one shard."""
    if shard is None:
        return ids
    i, n = shard
    count = -(-len(ids) // encode_batch)
    return ids[count * (i - 1) // n * encode_batch : count * i // n * encode_batch]


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
        **counts(directory, len(directory.index)),
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


def counts(directory: RunDirectory, expected: int) -> dict[str, int]:
    """What became of the samples that are expected of a directory: scored, failed, excluded or pending."""
    outcomes = directory.done.values()
    scored, failed = sum(o.status == "scored" for o in outcomes), len(directory.errors())
    return {
        "n_expected": expected,
        "n_scored": scored,
        "n_failed": failed,
        "n_excluded": len(outcomes) - scored,
        "n_pending": expected - len(outcomes) - failed,
    }


def _jsonable(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    return {name: asdict(metric) for name, metric in metrics.items()}


def processors() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads(model: zoo.Located, device: str) -> int:
    return processors() if model.uses_torch and device == "cpu" else 1


def _workers(model: zoo.Located, spec: RunSpec, settings: Settings) -> int:
    """A model on a GPU gets a worker for each; one that computes on all cores gets one; the others a core each. On a
    cluster as many as it has room for."""
    if settings.backend == "ray":
        from sambench.engine import ray_workers

        return ray_workers.capacity(spec.device, spec.threads)
    if spec.device == "cuda":
        import torch

        return max(torch.cuda.device_count(), 1)
    return 1 if spec.threads > 1 else processors()


def _encode_batch(model: zoo.Located, device: str, settings: Settings) -> int:
    """By model and device; on a GPU of this machine as many as fit. Not so where several machines have to agree."""
    if device == "cuda" and model.adapter and settings.shard is None and settings.backend == "local":
        key = (model.name, model.weights_digest, repr(model.options))
        if key not in _fitting:
            _fitting[key] = fitting_batch(model, device)
        return _fitting[key]
    return model.encode_batch(device)


_fitting: dict[tuple[str, str, str], int] = {}
"""What was found to fit, for the models of this process."""
