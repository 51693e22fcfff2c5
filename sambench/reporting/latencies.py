"""How long models take on a device: the files that ``sambench bench latency`` writes and a report reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sambench.errors import UsageError
from sambench.runs.summaries import SHORT_DIGEST, RunSummary
from sambench.text import one_line

SCHEMA = 1
FOLDER = "latency"
"""Below an output folder; in it a folder for each model, named as run directories are."""

FIGURES = {
    "encode": "s",
    "point": "ms",
    "point_mask": "ms",
    "box": "ms",
    "box_mask": "ms",
    "next_point": "ms",
    "next_point_mask": "ms",
}
"""What is measured, and its unit. ``next_point``: a second click, with the first answer fed back. ``_mask``: until the
best mask lies there at the size of the image; without, until the scores do."""


@dataclass(frozen=True)
class Quantiles:
    """Of ``n`` measurements, interpolated linearly between neighbours."""

    n: int
    p50: float
    p95: float


@dataclass(frozen=True, order=True)
class Setting:
    """What must be alike for times to be compared. ``device``: ``cpu`` or ``cuda``. ``height``, ``width``: of the image
    in pixels."""

    device: str
    device_name: str
    threads: int
    image: str
    height: int
    width: int

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        return f"{self.device} ({self.device_name}), {threads}, image {self.image}, {self.width} x {self.height} pixels"


@dataclass(frozen=True)
class Latency:
    """One model in one setting. ``options``: those of the model. ``figures``: by the names of :data:`FIGURES`, in their
    units; None for a prompt that the model does not take."""

    model: str
    weights_digest: str
    options: Mapping[str, Any]
    setting: Setting
    figures: Mapping[str, Quantiles | None]

    @property
    def name(self) -> str:
        return f"{self.model}@{self.weights_digest[:SHORT_DIGEST]}"

    def file(self, out: Path) -> Path:
        """Where it lies below an output folder."""
        return out / FOLDER / self.name / f"{self.setting.device}.json"

    def as_dict(self) -> dict[str, Any]:
        """As it stands in its file; ``docs/latency.md`` has a sentence for each field."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "weights_digest": self.weights_digest,
            "model_options": dict(self.options),
            **asdict(self.setting),
            "figures": figures_as_dict(self.figures),
        }


def figures_as_dict(figures: Mapping[str, Quantiles | None]) -> dict[str, Any]:
    """All of :data:`FIGURES`, with their units; null where there is none."""
    found = {name: (unit, figures.get(name)) for name, unit in FIGURES.items()}
    return {name: None if q is None else {"unit": unit, **asdict(q)} for name, (unit, q) in found.items()}


def load_latencies(paths: Iterable[Path | str], runs: Iterable[RunSummary]) -> list[Latency]:
    """What was measured under the given folders, and of the models of the runs in the output folders of these, sorted.

    Raises UsageError: a file that is none of these; two files of one model in one setting.
    """
    files = {file.resolve() for path in map(Path, paths) for file in path.rglob(f"{FOLDER}/*@*/*.json")}
    for run in runs:
        at = run.path.resolve()
        files.update((at.parent.parent.parent / FOLDER / at.name).glob("*.json"))
    found: dict[tuple[str, str, Setting], Path] = {}
    latencies = []
    for file in sorted(files):
        latency = _read(file)
        key = (latency.model, latency.weights_digest, latency.setting)
        if key in found:
            raise UsageError(f"{found[key]} and {file} hold the latency of {latency.name} twice: give one of them")
        found[key] = file
        latencies.append(latency)
    return sorted(latencies, key=lambda one: (one.setting, one.model, one.weights_digest))


def _read(file: Path) -> Latency:
    try:
        content = json.loads(file.read_bytes())
        if content["schema"] != SCHEMA:
            raise UsageError(f"{file}: schema {content['schema']!r}, this sambench reads {SCHEMA}; measure it again")
        figures = {name: content["figures"][name] for name in FIGURES}
        return Latency(
            model=str(content["model"]),
            weights_digest=str(content["weights_digest"]),
            options=dict(content["model_options"]),
            setting=Setting(
                device=str(content["device"]),
                device_name=str(content["device_name"]),
                threads=int(content["threads"]),
                image=str(content["image"]),
                height=int(content["height"]),
                width=int(content["width"]),
            ),
            figures={name: None if raw is None else _quantiles(raw) for name, raw in figures.items()},
        )
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        what = one_line(f"{type(error).__name__}: {error}")
        raise UsageError(f"{file} does not hold a latency ({what}); `sambench bench latency` writes it anew") from error


def _quantiles(raw: Any) -> Quantiles:
    found = Quantiles(int(raw["n"]), float(raw["p50"]), float(raw["p95"]))
    # A value that is not a number is in no interval either.
    if not 0 <= found.p50 <= found.p95 < float("inf"):
        raise ValueError(f"p50 {found.p50} and p95 {found.p95}")
    return found
