"""``sambench bench accuracy-of``: what an option that is there for speed does to the metrics.

One run without the options and one with each of them, in output folders of their own below ``OUT/accuracy/``; their
cases are then paired. The runs are runs like any other: the same command goes on with them, and reuses what is whole.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from sambench import evaluate
from sambench.analysis import compare
from sambench.engine.resources import device_for
from sambench.errors import UsageError
from sambench.evaluate import ShowProgress
from sambench.planning.find_datasets import Missing
from sambench.planning.plan import Triple, specification
from sambench.planning.plan import make_plan as plan_of
from sambench.planning.settings import SET_OWNERS, Settings
from sambench.plugins import options
from sambench.reporting.effects import Effect
from sambench.runs.directory import RunSpec
from sambench.runs.run import Run
from sambench.runs.summaries import ASIDE, SHORT_DIGEST, RunSummary, load_summaries

BASELINE = "baseline"
"""Name of the folder of the runs without the options."""

_ALL = sys.maxsize
"""Cases that a comparison is to name: every one that differs."""


@dataclass(frozen=True)
class _RunOptions:
    """What ``run.KEY=VALUE`` may change: how the work is done, as the flags of ``sambench run`` of these names say."""

    batch_size: Annotated[int, Ge(0)] = 0
    workers: Annotated[int, Ge(0)] = 0
    threads: Annotated[int, Ge(0)] = 0
    device: str = "auto"
    encodings_dtype: Literal["float32", "float16"] = "float32"


@dataclass(frozen=True)
class Plan:
    """All runs that are to be paired. ``folder``: of all of them. ``baseline``, and by option ``variants``: the runs in
    the same order. ``missing``: members of a collection of datasets that are not there."""

    folder: Path
    baseline: tuple[Triple, ...]
    variants: Mapping[str, tuple[Triple, ...]]
    missing: Sequence[Missing]

    @property
    def model(self) -> str:
        """Name and digest."""
        located = self.baseline[0].model
        return f"{located.name}@{located.weights_digest[:SHORT_DIGEST]}"


def make_plan(settings: Settings, changes: Sequence[str]) -> Plan:
    """Finds and checks everything before anything is evaluated. ``changes``: ``OWNER.KEY=VALUE`` each, with ``run`` as
    an owner besides those of ``--set``.

    Raises UsageError: a change that is none, that stands there twice or cannot name a folder; several models; what
    :func:`sambench.planning.plan.make_plan` raises.
    """
    if len(settings.models) != 1:
        raise UsageError(f"give one model, not {len(settings.models)}: options are compared, not models")
    if len(set(changes)) < len(changes):
        raise UsageError(f"{' '.join(changes)}: an option appears twice")
    folder = settings.out / ASIDE
    plans = {
        name: plan_of(replace(changed, out=folder / name))
        for name, changed in [(BASELINE, settings), *((change, changed_by(settings, change)) for change in changes)]
    }
    specs = [specification(triple) for triple in plans[BASELINE].triples]
    pinned = {
        name: tuple(_pinned(triple, spec) for triple, spec in zip(plan.triples, specs, strict=True))
        for name, plan in plans.items()
    }
    return Plan(folder, pinned.pop(BASELINE), pinned, plans[BASELINE].missing)


def _pinned(triple: Triple, baseline: RunSpec) -> Triple:
    """With the baseline's batch size and threads unless it was given others or runs on another device. What suits a
    model by default may depend on its options, and then more than one thing would change."""
    settings = triple.settings
    if device_for(triple.model, settings.device) != baseline.device:
        return triple
    batch_size, threads = settings.batch_size or baseline.encode_batch, settings.threads or baseline.threads
    return replace(triple, settings=replace(settings, batch_size=batch_size, threads=threads))


def changed_by(settings: Settings, change: str) -> Settings:
    """The settings with one ``OWNER.KEY=VALUE`` more. Raises UsageError."""
    given = options.parse_assignments([change], (*SET_OWNERS, "run"))
    if "/" in change or "\\" in change:
        raise UsageError(f"{change}: it cannot name a folder; run both by hand and use `sambench compare`")
    if not given["run"]:
        return replace(settings, assignments=(*settings.assignments, change))
    built = options.build(_RunOptions, given["run"], "run")
    return replace(settings, **{key: getattr(built, key) for key in given["run"]})


Incomplete = list[tuple[Path, dict[str, Any]]]
"""Directories and summaries."""


def carry_out(plan: Plan, progress: ShowProgress, stop: threading.Event) -> tuple[list[Effect], Incomplete]:
    """Runs what is left to run, and pairs. Answers the effects, by option, and the runs that are not complete. Raises
    KeyboardInterrupt if ``stop`` was set."""
    paths: dict[int, Path] = {}
    incomplete: Incomplete = []
    for triples in (plan.baseline, *plan.variants.values()):
        for triple, path, summary in evaluate.evaluate(triples, progress, stop):
            paths[id(triple)] = path
            if not summary["complete"]:
                incomplete.append((path, summary))
    effects: list[Effect] = []
    for change, triples in plan.variants.items():
        for without, with_it in zip(plan.baseline, triples, strict=True):
            effects += pair(change, paths[id(without)], paths[id(with_it)])
    return effects, incomplete


def pair(change: str, without: Path, with_it: Path) -> Iterator[Effect]:
    """The effect on each metric, from the run directories of a pair: those that are means over cases, and the rest.
    Raises UsageError if the runs are of other images or of another version of the task."""
    (a,), (b,) = load_summaries([without]), load_summaries([with_it])
    cases = [found.values.keys() if (found := Run(run.path).cases()) else () for run in (a, b)]
    paired = [metric for metric in cases[0] if metric in cases[1]]
    for metric in dict.fromkeys([*a.metrics, *b.metrics, *paired]):
        effect = Effect(
            option=change,
            task=a.task,
            dataset=a.dataset,
            split=a.split,
            metric=metric,
            unit=(a if metric in a.metrics else b).unit_of(metric),
            baseline=_value(a, metric),
            variant=_value(b, metric),
            identical=a.records_digest == b.records_digest,
            complete=a.complete and b.complete,
        )
        yield _paired(effect, without, with_it) if metric in paired else effect


def _value(run: RunSummary, metric: str) -> float | None:
    return run.metrics[metric].value if metric in run.metrics else None


def _paired(effect: Effect, without: Path, with_it: Path) -> Effect:
    """With the means over the cases that both runs have, which are all unless one is incomplete."""
    compared = compare.compare([without], [with_it], metric=effect.metric, most=_ALL)
    (one,) = compared.differences
    n = one.result.n
    moved = math.fsum(abs(case.second - case.first) for case in compared.cases)
    return replace(
        effect,
        baseline=one.first,
        variant=one.second,
        ci95=one.ci95,
        cases=n,
        changed=len(compared.cases) / n if n else None,
        mean_change=moved / n if n else None,
        unpaired=sum(one.unpaired),
    )
