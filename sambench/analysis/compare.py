"""Two models, case by case, from the records of their runs: for ``sambench compare``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sambench.core.task import Cases
from sambench.errors import UsageError
from sambench.metrics import paired
from sambench.reporting.comparison import Case, Comparison, Difference
from sambench.runs.run import Run
from sambench.runs.summaries import RunSummary, load_summaries

_Key = tuple[str, str, str]
"""Task, dataset, split."""


def compare(
    first: Sequence[Path],
    second: Sequence[Path],
    *,
    metric: str = "",
    tie: float = 0.0,
    most: int = 10,
    common: bool = False,
    keep: tuple[str, str] = ("", ""),
) -> Comparison:
    """The runs at and under ``first`` against those at and under ``second``, dataset by dataset.

    ``metric``: of the task; empty for its first. ``tie``: differences of at most so much count as equal. ``most``: how
    many cases are shown. ``common``: datasets that only one side has are left out instead of refused. ``keep``: the
    names of two models (``model`` or ``model@digest``), where a folder holds several.

    Raises UsageError: no run, several of a side that could be meant, datasets of one side only, another split, subset
    or task version, a task without cases, a metric that is not a mean of cases. Each says what differs.
    """
    a, b = (_runs(paths, name) for paths, name in zip((first, second), keep, strict=True))
    shared = [key for key in a if key in b]
    _same_datasets(a, b, shared, common)
    for key in shared:
        _same_question(a[key], b[key])
    differences, cases = [], []
    for key in shared:
        difference, its_cases = _dataset(a[key], b[key], metric, tie)
        differences.append(difference)
        cases += its_cases
    corrected = paired.holm([d.result.p for d in differences if d.result.p is not None])
    remaining = iter(corrected)
    differences = [d if d.result.p is None else replace(d, p_holm=next(remaining)) for d in differences]
    cases.sort(key=lambda case: (-abs(case.second - case.first), case.dataset, case.image, case.name))
    signatures = {(r.signature, s.signature) for r, s in ((a[k], b[k]) for k in shared) if r.signature != s.signature}
    return Comparison(
        first=_name(a, shared),
        second=_name(b, shared),
        differences=tuple(differences),
        macros=tuple(_macros(differences)),
        cases=tuple(cases[:most]),
        left_out=tuple(sorted({key[1] for key in (*a, *b)} - {key[1] for key in shared})),
        signatures=tuple(sorted(signatures)),
    )


def _runs(paths: Sequence[Path], name: str) -> dict[_Key, RunSummary]:
    found: dict[_Key, list[RunSummary]] = {}
    for run in load_summaries(paths):
        if name in ("", run.model, run.name):
            found.setdefault((run.task, run.dataset, run.split), []).append(run)
    where = ", ".join(map(str, paths))
    if not found:
        raise UsageError(f"{where} holds no run of model {name!r}: `sambench report {where}` lists what is there")
    for (task, dataset, _), runs in found.items():
        if len(runs) > 1:
            held = ", ".join(str(run.path) for run in runs)
            raise UsageError(
                f"{where} holds several runs of {task} on {dataset} ({held}): give one directory, "
                "or a folder and --models A,B"
            )
    return {key: runs[0] for key, runs in sorted(found.items())}


def _same_datasets(
    a: Mapping[_Key, RunSummary], b: Mapping[_Key, RunSummary], shared: Sequence[_Key], common: bool
) -> None:
    def listed(keys: Sequence[_Key]) -> str:
        return ", ".join(" ".join(key) for key in keys) or "none"

    only = [[key for key in one if key not in shared] for one in (a, b)]
    if not shared:
        raise UsageError(f"no dataset in common: the first has {listed(only[0])}; the second has {listed(only[1])}")
    if any(only) and not common:
        raise UsageError(
            f"the two were not run on the same datasets: only the first has {listed(only[0])}; only the second has "
            f"{listed(only[1])}; --common compares what both have"
        )


def _same_question(a: RunSummary, b: RunSummary) -> None:
    differ = [
        f"{what} {one!r} and {other!r}"
        for what, one, other in (
            ("task version", a.task_version, b.task_version),
            ("subset", a.subset, b.subset),
            ("image list", a.index_digest[:8], b.index_digest[:8]),
        )
        if one != other
    ]
    if differ:
        raise UsageError(f"{a.path} and {b.path} cannot be compared: they differ in {', '.join(differ)}")


def _dataset(a: RunSummary, b: RunSummary, metric: str, tie: float) -> tuple[Difference, list[Case]]:
    one, other = _cases(a), _cases(b)
    name = metric or next(iter(one.values))
    for run, cases in ((a, one), (b, other)):
        if name not in cases.values:
            raise UsageError(
                f"{run.path}: {name!r} is not a mean over the cases of task {run.task}; choose "
                f"from {', '.join(cases.values)}"
            )
    first, second = _by_case(one, name), _by_case(other, name)
    # In the order of their names, so that the order of the records does not matter.
    shared = sorted(first.keys() & second.keys())
    sign = -1 if name in a.lower_is_better else 1
    x, y = (np.array([values[key] for key in shared]) for values in (first, second))
    seed = int(hashlib.sha256(f"{a.task}/{a.dataset}/{a.split}/{name}".encode()).hexdigest()[:8], 16)
    result = paired.compare(sign * x, sign * y, [image for image, _ in shared], seed, tie=tie)
    difference = Difference(
        task=a.task,
        dataset=a.dataset,
        split=a.split,
        metric=name,
        unit=a.unit_of(name),
        sign=sign,
        result=result,
        p_holm=None,
        unpaired=(len(first) - len(shared), len(second) - len(shared)),
        complete=(a.complete, b.complete),
    )
    return difference, [
        Case(a.task, a.dataset, image, instance, float(u), float(v), difference.unit)
        for (image, instance), u, v in zip(shared, x, y, strict=True)
        if abs(u - v) > tie
    ]


def _cases(run: RunSummary) -> Cases:
    found = Run(run.path).cases()
    if found is None:
        raise UsageError(f"{run.path}: the metrics of task {run.task} are not means over cases, so none can be paired")
    return found


def _by_case(cases: Cases, metric: str) -> dict[tuple[str, str], float]:
    values: NDArray[np.float64] = cases.values[metric]
    keys = zip(cases.images, cases.names, strict=True)
    return {key: value for key, value in zip(keys, values.tolist(), strict=True) if not np.isnan(value)}


def _macros(differences: Sequence[Difference]) -> list[Difference]:
    """The mean over the datasets of each task, where there are several: each drawn on its own."""
    macros = []
    for task in dict.fromkeys(d.task for d in differences):
        members = [d for d in differences if d.task == task]
        if len(members) < 2:
            continue
        drawn = [d.result.resampled for d in members]
        resampled = None if any(r is None for r in drawn) else np.mean([r for r in drawn if r is not None], axis=0)

        def over(value: Callable[[paired.Paired], float | None], of: Sequence[Difference] = members) -> float | None:
            known = [v for v in (value(d.result) for d in of) if v is not None]
            return sum(known) / len(of) if len(known) == len(of) else None

        result = paired.Paired(
            n=sum(d.result.n for d in members),
            images=sum(d.result.images for d in members),
            first=over(lambda r: r.first),
            second=over(lambda r: r.second),
            difference=over(lambda r: r.difference),
            ci95=None if resampled is None else paired.interval(resampled),
            p=None if resampled is None else paired.p_value(resampled),
            wins=sum(d.result.wins for d in members),
            ties=sum(d.result.ties for d in members),
            losses=sum(d.result.losses for d in members),
            resampled=resampled,
        )
        macros.append(
            Difference(
                task=task,
                dataset=f"mean of {len(members)} datasets",
                split="",
                metric=members[0].metric,
                unit=members[0].unit,
                sign=members[0].sign,
                result=result,
                p_holm=None,
                unpaired=(sum(d.unpaired[0] for d in members), sum(d.unpaired[1] for d in members)),
                complete=(all(d.complete[0] for d in members), all(d.complete[1] for d in members)),
            )
        )
    return macros


def _name(runs: Mapping[_Key, RunSummary], shared: Sequence[_Key]) -> str:
    return ", ".join(dict.fromkeys(runs[key].name for key in shared))
