"""What the command line asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sambench.engine.encoding_cache import EncodingsSpec
from sambench.models import zoo

COLLECTIONS = {"sam23": "the 23 datasets of the paper", "ritm5": "the five sets of RITM", "all": "all real datasets"}


SET_OWNERS = ("task", "dataset", "model")


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
