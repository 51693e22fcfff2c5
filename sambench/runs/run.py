"""A run on disk, read-only: all access to ``manifest.json``, ``index.json``, ``summary.json`` and ``records/``.

::

    run = Run(Path("runs/single_point/demo/region_tree@0a1b2c3d"))
    run.spec.model, run.summary.metrics["miou"].value, run.records().to_pandas()
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from sambench.core.dataset import Dataset
from sambench.core.task import Cases, Task
from sambench.errors import UsageError
from sambench.plugins import registry
from sambench.runs.directory import Failure, RunSpec, failures, read_json, read_records
from sambench.runs.summaries import RunSummary, read_manifest, read_summary


class Run:
    """A run directory, read-only; everything is read on first use.

    Args:
        path: The run directory.

    Raises:
        UsageError: It is not a run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "manifest.json").is_file():
            raise UsageError(f"{path} is not a run directory (no manifest.json)")

    @classmethod
    def at(cls, path: Path) -> Run | None:
        """Return the run at a path, None if there is none yet."""
        return cls(path) if (path / "manifest.json").is_file() else None

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """Content of ``manifest.json``.

        Raises:
            UsageError: It is not a manifest.
        """
        manifest = read_manifest(self.path)
        try:
            RunSpec(**manifest["spec"])
            dict(manifest["sessions"][-1])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            what = f"{self.path / 'manifest.json'} is not a manifest of this version of sambench"
            raise UsageError(f"{what} ({error})") from error
        return manifest

    @cached_property
    def spec(self) -> RunSpec:
        """The run's specification: task, dataset, model and options."""
        return RunSpec(**self.manifest["spec"])

    @property
    def session(self) -> Mapping[str, Any]:
        """Facts of the last process that wrote the run."""
        session: Mapping[str, Any] = self.manifest["sessions"][-1]
        return session

    @cached_property
    def index(self) -> list[str]:
        """The ids of the run's images, in order."""
        ids: list[str] = read_json(self.path / "index.json")
        return ids

    @cached_property
    def summary(self) -> RunSummary:
        """Content of ``summary.json``, validated.

        Raises:
            UsageError: The run has none.
        """
        return read_summary(self.path / "summary.json")

    @property
    def summary_content(self) -> dict[str, Any]:
        """Content of ``summary.json`` as plain JSON.

        Raises:
            RunError: The file cannot be read.
        """
        content: dict[str, Any] = read_json(self.path / "summary.json")
        return content

    def records(self) -> pa.Table:
        """Return all rows, in the order of the index.

        Raises:
            RunError: The records cannot be read.
        """
        return read_records(self.path, self.index)

    def failures(self) -> list[Failure]:
        """Return the samples that failed, with the reason."""
        return failures(self.path)

    def task(self, **changes: Any) -> Task:
        """Return the run's task.

        Args:
            **changes: Options that replace those of the run.

        Raises:
            UsageError: The run was made by another version of the task.
        """
        values = {**self.spec.task_options, **changes}
        return registry.build_task(self.spec.task, values, version=self.spec.task_version, holder=self.path)

    def dataset(self, data_root: Path | None = None) -> tuple[Dataset, Path]:
        """Return the run's dataset and its folder.

        Args:
            data_root: Where the data are now; None if they did not move.

        Raises:
            UsageError: The dataset is not there.
        """
        spec = self.spec
        plugin, built = registry.dataset_class(spec.dataset.partition(":")[0], spec.dataset_options)
        recorded = Path(self.session.get("data_root") or "/")
        root = recorded if data_root is None else plugin.locate(data_root, spec.split, built)
        if root is None or not root.exists():
            raise UsageError(
                f"{self.path}: dataset {spec.dataset} is not at {data_root or recorded}: say with --data-root where it "
                "is now"
            )
        return plugin(root, spec.split, built), root

    def cases(self) -> Cases | None:
        """Return the run's single cases, None if its metrics are not means over cases.

        Raises:
            RunError: The records cannot be read.
        """
        return self.task().cases(self.records())
