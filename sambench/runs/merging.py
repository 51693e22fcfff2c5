"""Shards of a run to the run: what ``run --shard I/N`` left under ``OUT/shards`` becomes what ``run`` would have left.

Shards are exact and contiguous, so that merging copies: every record stays as it was computed, the run's summary is
computed from all of them, and its digest is that of a run that was never cut.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sambench.core.task import Context
from sambench.errors import UsageError
from sambench.plugins import registry
from sambench.runs import provenance
from sambench.runs.directory import (
    SHARDS,
    TRACE,
    Outcome,
    RunDirectory,
    RunError,
    RunSpec,
    failures,
    now,
    outcomes_of,
    read_json,
    shards_of,
)
from sambench.runs.summarize import summarize


@dataclass(frozen=True)
class _Shard:
    """One part of a run on disk."""

    path: Path
    place: int
    of: int
    manifest: Mapping[str, Any]


def merge(out: Path, *, remove: bool = False) -> tuple[list[Path], list[str]]:
    """Merges every run of which all shards are there and complete. ``remove``: their shards are removed afterwards.

    Answers the directories of the merged runs, and a line about each run that could not be merged yet. Merging again
    what was merged changes nothing. Raises UsageError: nothing to merge, shards of different runs or cuts.
    """
    found = _find(out)
    if not found:
        raise UsageError(f"{out / SHARDS} holds no shards: give the --out of `sambench run --shard I/N`")
    merged, unfinished = [], []
    for name, shards in sorted(found.items()):
        problem = _problem(out / name, shards)
        if problem:
            unfinished.append(problem)
            continue
        merged.append(_merge(out / name, shards))
        if remove:
            for shard in shards:
                shutil.rmtree(shard.path)
    return merged, unfinished


def _find(out: Path) -> dict[Path, list[_Shard]]:
    """The shards by the path of their run under ``out``, in order; of a sweep those of every value."""
    found: dict[Path, list[_Shard]] = defaultdict(list)
    for path in sorted(out.glob(f"**/{SHARDS}/*-of-*/*/*/*/manifest.json")):
        manifest = read_json(path)
        try:
            place, of = manifest["shard"]
            RunSpec(**manifest["spec"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path} is not the manifest of a shard of this version of sambench ({error})") from error
        run = path.parents[5].relative_to(out) / path.parent.relative_to(path.parents[3])
        found[run].append(_Shard(path.parent, place, of, manifest))
    return {name: sorted(shards, key=lambda shard: (shard.of, shard.place)) for name, shards in found.items()}


def _problem(name: Path, shards: Sequence[_Shard]) -> str:
    """Why a run cannot be merged yet, one line; empty if it can. Raises UsageError if it never can."""
    cuts = sorted({shard.of for shard in shards})
    if len(cuts) > 1:
        raise UsageError(f"{name} was cut into {' and into '.join(map(str, cuts))} shards: remove those of one cut")
    first = shards[0]
    for shard in shards[1:]:
        different = RunSpec(**first.manifest["spec"]).differences(shard.manifest["spec"])
        if different:
            what = "; ".join(f"{k}: {a} and {b}" for k, (a, b) in different.items())
            raise UsageError(
                f"{shard.path} is of another run than {first.path}: {what}; run it again with --fresh and the same"
            )
    missing = [str(i) for i in range(1, first.of + 1) if i not in {shard.place for shard in shards}]
    if missing:
        return f"{name}: shard {', '.join(missing)} of {first.of} is not there: run it with --shard I/{first.of}"
    unfinished = [shard for shard in shards if shard.manifest["status"] != "complete"]
    if unfinished:
        shard = unfinished[0]
        failed = failures(shard.path)
        why = f", image {failed[0].id}: {failed[0].error}" if failed else ""
        numbers = ", ".join(str(shard.place) for shard in unfinished)
        return f"{name}: shard {numbers} of {first.of} is {shard.manifest['status']}{why}: run it again"
    return ""


def _merge(path: Path, shards: Sequence[_Shard]) -> Path:
    first = shards[0]
    spec = RunSpec(**first.manifest["spec"])
    task = registry.build_task(spec.task, spec.task_options, version=spec.task_version, holder=first.path)
    index = read_json(first.path / "index.json")
    sessions = [session for shard in shards for session in shard.manifest["sessions"]]
    with RunDirectory(path, spec, index, task.schema) as directory:
        directory.open(
            fresh=False,
            session={**sessions[-1], **provenance.facts(), "started": now(), "merged": first.of},
            info=first.manifest["info"],
        )
        # Of a merge that was broken off some shards are there already.
        timings: dict[str, float] = {}
        for shard in shards:
            _copy_files(shard.path, directory)
            for file in shards_of(shard.path):
                outcomes = [one for one in outcomes_of(file) if one.id not in directory.done]
                if outcomes:
                    _append(directory, file, outcomes)
            for stage, seconds in shard.manifest["timings"].items():
                timings[stage] = timings.get(stage, 0.0) + seconds
        complete = len(directory.done) == len(directory.index)
        directory.manifest["timings"] = {}
        directory.manifest["sessions"][:-1] = sessions
        summary = summarize(directory, task, Context(spec.dataset, spec.seed))
        directory.finish("complete" if complete else "incomplete", timings, summary)
    return path


def _append(directory: RunDirectory, file: Path, outcomes: Sequence[Outcome]) -> None:
    table = pq.read_table(file).replace_schema_metadata(None)
    wanted = {one.id for one in outcomes}
    rows = [row for row, id in enumerate(table.column("image_id").to_pylist()) if id in wanted]
    directory.append([table.take(rows)], outcomes)


def _copy_files(shard: Path, directory: RunDirectory) -> None:
    """What the task kept of the shard's images, before they are said to be done."""
    folder = shard / "files"
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != TRACE and not file.name.startswith("."):
            directory.add_file(name, file.read_bytes())
