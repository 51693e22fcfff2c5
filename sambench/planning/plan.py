"""From what was asked for to a list of runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from sambench.core.dataset import Card
from sambench.core.digests import index_digest
from sambench.core.task import Task
from sambench.data import subset_files
from sambench.engine.resources import FITTING, device_for, fitting_batch, processors, threads_for
from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.requirements import lacking
from sambench.planning.find_datasets import LocatedDataset, Missing, explain_missing, find_datasets
from sambench.planning.settings import SET_OWNERS, Settings
from sambench.plugins import options, registry
from sambench.runs.directory import (
    SHARDS,
    RunSpec,
    shard_name,
)
from sambench.runs.run import Run


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
    found: LocatedDataset
    model: zoo.LocatedModel
    settings: Settings
    subset: str
    index: Sequence[str] = field(repr=False)
    n_masks: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.task.name} · {self.found.label} · {self.model.name}"


def make_plan(settings: Settings, models: Sequence[zoo.LocatedModel] | None = None) -> Plan:
    """Finds everything before anything is evaluated. Raises UsageError if something cannot be.

    ``models``: given by who has found them already; else those of the settings. Of the tasks that ``all`` stands for
    those are left out that are not defined on a dataset, or that a model cannot do.
    """
    registry.add_folders(settings.plugin_folders)
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
            task.prepare(dataset, one.label)
            index, n_masks = [e.id for e in entries], sum(e.n_masks for e in entries)
            left_out = dict(dataset.excluded)
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


def specification(triple: Triple) -> RunSpec:
    """The frozen specification of a triple. Threads, device and batch size default to what a run that is already there
    has: another machine may have other ones, and what the run began with keeps its sums the same."""
    settings, model = triple.settings, triple.model
    device = device_for(model, settings.device, settings.backend)
    spec = RunSpec(
        task=triple.task.name,
        task_version=triple.task.version,
        task_options=options.as_dict(triple.task_options) | dict(triple.task.inputs),
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
    earlier = None if settings.fresh else Run.at(spec.directory(out_of(settings)))
    return replace(
        spec,
        threads=spec.threads or (earlier and earlier.spec.threads) or threads_for(model, device),
        encode_batch=spec.encode_batch
        or (earlier and earlier.spec.encode_batch)
        or _encode_batch(model, device, settings),
    )


def out_of(settings: Settings) -> Path:
    """The folder of the runs, for a shard one of its own."""
    return settings.out / SHARDS / shard_name(*settings.shard) if settings.shard else settings.out


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


def workers_for(model: zoo.LocatedModel, spec: RunSpec, settings: Settings) -> int:
    """A model on a GPU gets a worker for each; one that computes on all cores gets one; the others a core each. On a
    cluster as many as it has room for."""
    if settings.backend == "ray":
        from sambench.engine import ray_workers

        return ray_workers.capacity(spec.device, spec.threads)
    if spec.device == "cuda":
        import torch

        return max(torch.cuda.device_count(), 1)
    return 1 if spec.threads > 1 else processors()


def _encode_batch(model: zoo.LocatedModel, device: str, settings: Settings) -> int:
    """By model and device; on a GPU of this machine as many as fit. Not so where several machines have to agree."""
    if device == "cuda" and model.adapter and settings.shard is None and settings.backend == "local":
        key = (model.name, model.weights_digest, repr(model.options))
        if key not in FITTING:
            FITTING[key] = fitting_batch(model, device)
        return FITTING[key]
    return model.encode_batch(device)
