"""``--sweep task.KEY=A,B,C``: one command, a run for each value, each in an output folder of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sambench.errors import UsageError


@dataclass(frozen=True)
class Variant:
    """One point of a sweep. ``folder``: its output folder under ``--out``, empty for no sweep. ``assignments``: what
    ``--set`` would be given."""

    folder: str
    assignments: tuple[str, ...]


def variants(sweeps: Sequence[str], assignments: Sequence[str]) -> list[Variant]:
    """Every combination of the swept values, the last key changing fastest; one variant if nothing is swept.

    ``sweeps``: ``OWNER.KEY=A,B,C`` each. ``assignments``: what holds for all, ``OWNER.KEY=VALUE`` each. Raises
    UsageError: no values, a value twice or not fit for a folder name, a key swept twice or also set.
    """
    fixed = {assignment.partition("=")[0] for assignment in assignments}
    axes: dict[str, list[str]] = {}
    for sweep in sweeps:
        key, _, listed = sweep.partition("=")
        values = [value.strip() for value in listed.split(",")]
        if not all(values):
            raise UsageError(f"--sweep {sweep}: write it as OWNER.KEY=A,B,C, e.g. task.boundary=outer,inner")
        if len(set(values)) < len(values):
            raise UsageError(f"--sweep {sweep}: a value appears twice")
        if unfit := [value for value in values if "/" in value or "\\" in value]:
            raise UsageError(f"--sweep {sweep}: {unfit[0]!r} cannot name a folder; use --set and an --out of its own")
        if key in axes or key in fixed:
            raise UsageError(f"--sweep {sweep}: {key} is {'swept twice' if key in axes else 'also given with --set'}")
        axes[key] = values
    points = itertools.product(*([f"{key}={value}" for value in values] for key, values in axes.items()))
    return [Variant(",".join(point), point) for point in points]
