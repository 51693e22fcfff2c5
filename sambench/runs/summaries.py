"""Finds run directories and reads their ``summary.json``, refusing whatever is not one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from sambench.core.task import MetricValue
from sambench.errors import UsageError
from sambench.text import one_line

if TYPE_CHECKING:
    from sambench.runs.directory import Failure

SCHEMA = 1
ASIDE = "accuracy"
"""Folder below an output folder for runs of ``sambench bench accuracy-of``: the same evaluation in several ways, for
comparison. They are found where the folder itself or one below it is given, not from above."""
SHORT_DIGEST = 8
"""Hexadecimal digits of the weights digest in names of rows; run directories show as many."""

ZeroShot = Literal["yes", "no", "unknown"]
Metrics = Mapping[str, MetricValue]
Curve = Mapping[str, tuple[float | None, ...]]

_HUGE = 1e300
"""Larger than any measure; also keeps out the infinity that JSON's 1e999 is read as."""


@dataclass(frozen=True)
class RunSummary:
    """One ``summary.json``; the fields are those of the file (``docs/reports.md`` has a sentence for each).

    ``path``: the run directory. Metric values are fractions of 1. From ``primary`` on, a file may lack the field: the
    first metric then is the primary one, it alone is a headline, and the rest is empty. ``curves``: name of the curve,
    name of the axis, its values, all axes of a curve equally long; None is an undefined value.
    ``parameters``: None where nobody has counted. ``family``: empty for a model of the user's own.
    """

    path: Path
    task: str
    task_version: int
    dataset: str
    split: str
    subset: str
    model: str
    weights_digest: str
    zero_shot: ZeroShot
    complete: bool
    n_expected: int
    n_scored: int
    n_failed: int
    n_excluded: int
    n_masks: int
    signature: str
    metrics: Metrics
    breakdowns: Mapping[str, Mapping[str, Metrics]]
    records_digest: str
    sambench_version: str
    primary: str
    index_digest: str
    excluded: Mapping[str, int]
    excluded_masks: Mapping[str, int]
    left_out_of_index: Mapping[str, int]
    headlines: tuple[str, ...] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    lower_is_better: tuple[str, ...] = ()
    parameters: int | None = None
    family: str = ""

    @property
    def name(self) -> str:
        """``model@short digest``: two weights files under one model name are two rows."""
        return f"{self.model}@{self.weights_digest[:SHORT_DIGEST]}"

    @property
    def file(self) -> Path:
        """The file that the summary was read from."""
        return self.path / "summary.json"

    def manifest(self) -> dict[str, Any]:
        """Return ``manifest.json`` as it is. Raises UsageError if it cannot be read."""
        return read_manifest(self.path)

    def failures(self) -> list[Failure]:
        """Return the samples that failed, with the reason."""
        # It brings pyarrow along, which most reports do without.
        from sambench.runs.directory import failures

        return failures(self.path) if self.n_failed else []

    def unit_of(self, metric: str) -> str:
        """The unit of a metric; one that the summary does not name (the mean of each image's best F) is a fraction."""
        return self.metrics[metric].unit if metric in self.metrics else "fraction"

    @property
    def identity(self) -> tuple[str, int, str, str, str, str, str, str]:
        """What was measured on what. Summaries are sorted by it, and one report has one run of each."""
        return (
            self.task,
            self.task_version,
            self.dataset,
            self.split,
            self.subset,
            self.model,
            self.weights_digest,
            self.signature,
        )


def read_manifest(run: Path) -> dict[str, Any]:
    """Return the ``manifest.json`` of a run directory, whatever it says. Raises UsageError if it cannot be read."""
    file = run / "manifest.json"
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read ({one_line(str(error))[:200]})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{file} is not a JSON object")
    return content


def load_summaries(paths: Iterable[Path | str]) -> list[RunSummary]:
    """The runs at and under the given folders (or ``summary.json`` files), each once, sorted by identity.

    Raises UsageError: a path that does not exist or holds no summary; a summary that is half-written, of another
    schema, or lacks a field; two different directories with runs of the same identity.
    """
    runs: dict[Path, RunSummary] = {}
    for given in map(Path, paths):
        files = _find(given, "summary.json")
        if not files:
            what = "holds no finished run (no summary.json at or under it)" if given.exists() else "does not exist"
            raise UsageError(f"{given} {what}: give a run directory or the --out folder of `sambench run`")
        for file in files:
            runs.setdefault(file.parent.resolve(), read_summary(file))
    ordered = sorted(runs.values(), key=lambda run: (run.identity, str(run.path)))
    for first, second in itertools.pairwise(ordered):
        if first.identity == second.identity:
            raise UsageError(
                f"{first.path} and {second.path} hold the same evaluation ({first.task}, {first.dataset}, "
                f"{first.name}): give one of them"
            )
    return ordered


def unsummarised(paths: Iterable[Path | str]) -> list[Path]:
    """Run directories at and under the paths that have a manifest but no summary yet, sorted."""
    found = {m.parent for path in map(Path, paths) for m in _find(path, "manifest.json")}
    return sorted(run for run in found if not (run / "summary.json").exists())


def _find(path: Path, name: str) -> list[Path]:
    if path.is_file():
        return [path] if path.name == name else []
    return sorted(file for file in path.rglob(name) if ASIDE not in file.relative_to(path).parts)


def read_summary(file: Path) -> RunSummary:
    """The content of a ``summary.json``. Raises UsageError if it cannot be used."""

    def refuse(what: str) -> NoReturn:
        raise UsageError(f"{file}: {one_line(what)}; run the same `sambench run` again to write it anew")

    def not_json(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        content = json.loads(file.read_bytes(), parse_constant=not_json)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        refuse(f"not a whole JSON file ({error})")
    if not isinstance(content, dict):
        refuse("not a JSON object")
    if content.get("schema") != SCHEMA:
        raise UsageError(
            f"{file}: summary schema {content.get('schema')!r}, this sambench reads {SCHEMA}: "
            "use the sambench version that wrote it, or run again"
        )
    try:
        return _summary(content, file.parent)
    except _Invalid as error:
        refuse(str(error))


class _Invalid(Exception):
    """What is wrong with a summary, and in which field."""


def _summary(content: Mapping[str, Any], path: Path) -> RunSummary:
    zero_shot = _get(content, "zero_shot", str)
    if zero_shot not in ("yes", "no", "unknown"):
        raise _Invalid(f"field 'zero_shot' is {zero_shot!r}, not yes, no or unknown")
    metrics = _metrics(_get(content, "metrics", dict), "metrics.")
    primary = _get(content, "primary", str) if "primary" in content else next(iter(metrics), "")
    return RunSummary(
        path=path,
        task=_get(content, "task", str),
        task_version=_get(content, "task_version", int),
        dataset=_get(content, "dataset", str),
        split=_get(content, "split", str),
        subset=str(content["subset"]) if type(content.get("subset")) is int else _get(content, "subset", str),
        model=_get(content, "model", str),
        weights_digest=_get(content, "weights_digest", str),
        zero_shot=zero_shot,
        complete=_get(content, "complete", bool),
        n_expected=_count(content, "n_expected"),
        n_scored=_count(content, "n_scored"),
        n_failed=_count(content, "n_failed"),
        n_excluded=_count(content, "n_excluded"),
        n_masks=_count(content, "n_masks"),
        signature=_get(content, "signature", str),
        metrics=metrics,
        breakdowns=_breakdowns(_get(content, "breakdowns", dict)),
        records_digest=_get(content, "records_digest", str),
        sambench_version=_get(content, "sambench_version", str),
        primary=primary,
        index_digest=_get(content, "index_digest", str) if "index_digest" in content else "",
        excluded=_rules(content, "excluded"),
        excluded_masks=_rules(content, "excluded_masks"),
        left_out_of_index=_rules(content, "left_out_of_index"),
        headlines=_texts(content, "headlines") or (primary,),
        curves=_curves(_get(content, "curves", dict) if "curves" in content else {}),
        warnings=_texts(content, "warnings"),
        lower_is_better=_texts(content, "lower_is_better"),
        parameters=_count(content, "parameters") if content.get("parameters") is not None else None,
        family=_get(content, "family", str) if "family" in content else "",
    )


def _texts(content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    texts = _get(content, key, list) if key in content else []
    if not all(type(text) is str for text in texts):
        raise _Invalid(f"field '{key}' is not a list of texts")
    return tuple(texts)


def _curves(content: Mapping[str, Any]) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for name in content:
        where = f"curves.{name}."
        axes = _get(content, name, dict, "curves.")
        curves[name] = {axis: tuple(_get(axes, axis, list, where)) for axis in axes}
        if not all(value is None or _is_number(value) for values in curves[name].values() for value in values):
            raise _Invalid(f"field 'curves.{name}' holds something that is neither a number nor null")
        if len({len(values) for values in curves[name].values()}) > 1:
            raise _Invalid(f"field 'curves.{name}' has axes of different lengths")
    return curves


def _rules(content: Mapping[str, Any], key: str) -> dict[str, int]:
    rules = _get(content, key, dict) if key in content else {}
    return {rule: _count(rules, rule, f"{key}.") for rule in rules}


def _breakdowns(content: Mapping[str, Any]) -> dict[str, dict[str, Metrics]]:
    breakdowns: dict[str, dict[str, Metrics]] = {}
    for cut in content:
        groups = _get(content, cut, dict, "breakdowns.")
        where = f"breakdowns.{cut}."
        breakdowns[cut] = {name: _metrics(_get(groups, name, dict, where), f"{where}{name}.") for name in groups}
    return breakdowns


def _metrics(content: Mapping[str, Any], where: str) -> dict[str, MetricValue]:
    metrics = {}
    for name in content:
        raw = _get(content, name, dict, where)
        inside = f"{where}{name}."
        value = raw.get("value")
        if "value" not in raw or not (value is None or _is_number(value)):
            raise _Invalid(f"field '{inside}value' is missing or neither a number nor null")
        metrics[name] = MetricValue(
            value=None if value is None else float(value),
            n=_count(raw, "n", inside),
            ci95=_interval(raw, "ci95", inside),
            ci95_bootstrap=_interval(raw, "ci95_bootstrap", inside),
            unit=_get(raw, "unit", str, inside),
        )
    return metrics


def _interval(content: Mapping[str, Any], key: str, where: str) -> tuple[float, float] | None:
    limits = content.get(key)
    if limits is None:
        return None
    if not isinstance(limits, list) or len(limits) != 2 or not all(map(_is_number, limits)) or limits[0] > limits[1]:
        raise _Invalid(f"field '{where}{key}' is neither null nor [low, high]")
    return (float(limits[0]), float(limits[1]))


def _count(content: Mapping[str, Any], key: str, where: str = "") -> int:
    count: int = _get(content, key, int, where)
    if count < 0:
        raise _Invalid(f"field '{where}{key}' is {count}, a count cannot be negative")
    return count


def _get(content: Mapping[str, Any], key: str, kind: type, where: str = "") -> Any:
    if key not in content:
        raise _Invalid(f"field '{where}{key}' is missing")
    # type(), not isinstance: JSON's true is an int in Python.
    if type(content[key]) is not kind:
        raise _Invalid(f"field '{where}{key}' is {type(content[key]).__name__}, not {kind.__name__}")
    return content[key]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _HUGE
