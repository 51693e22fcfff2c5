"""A run in the forms that other tools read: ``sambench export``. ``docs/export.md`` has a section for each.

- ``csv``: ``records.csv``, a line for each record.
- ``coco``: ``results.json``, the predicted masks as COCO's results.
- ``hf``: Parquet and a card, a folder for ``datasets.load_dataset``.
- ``fiftyone``: images, truth and predictions in COCO's layout, for ``fiftyone.Dataset.from_dir``.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow

from sambench import masks
from sambench.atomic_files import output_error, write_atomic, write_json
from sambench.core.mask import Mask
from sambench.core.task import Task
from sambench.errors import UsageError
from sambench.outputs import replay
from sambench.plugins import registry
from sambench.reporting import formatting
from sambench.reporting.data import csv_text
from sambench.runs.run import Run
from sambench.runs.summaries import RunSummary, load_summaries

NO_CLASS = "object"
"""What an object without a class is called where a name is needed."""

_SPREAD = 32
"""A column of lists of at most so many numbers becomes as many columns."""


@dataclass(frozen=True)
class Source:
    """A run to export; masks that the run does not hold are made again.

    Attributes:
        run: Its summary.
        clicks: Number of clicks after which masks are exported.
        data_root: As :func:`sambench.outputs.replay.open_run` takes it.
        models: As :func:`sambench.outputs.replay.open_run` takes them.
    """

    run: RunSummary
    clicks: int = 1
    data_root: Path | None = None
    models: Sequence[str] = ()

    @cached_property
    def opened(self) -> Run:
        return Run(self.run.path)

    @cached_property
    def task(self) -> Task:
        return self.opened.task()

    @cached_property
    def records(self) -> pa.Table:
        """The run's records, in the order of its index."""
        return self.opened.records()

    @cached_property
    def replayed(self) -> replay.ReplayedRun:
        return replay.open_run(self.run.path, data_root=self.data_root, models=self.models)

    def score(self, image: str, instance: str) -> dict[str, float]:
        """Return the model's own score for the mask of an object, as an entry; empty if it gave none.

        Args:
            image: Id of the image.
            instance: Id of the object.
        """
        record = self.replayed.recorded.get((image, instance))
        score = record.scores[min(self.clicks, len(record.scores)) - 1] if record and record.scores else None
        return {"score": score} if score is not None and math.isfinite(score) else {}

    @property
    def images(self) -> list[str]:
        """The images that have records, in the order of the index."""
        return list(dict.fromkeys(self.records.column("image_id").to_pylist()))


def export(
    path: Path,
    to: str,
    out: Path,
    *,
    clicks: int = 1,
    data_root: Path | None = None,
    models: Sequence[str] = (),
    plugin_folders: Sequence[Path] = (),
) -> list[Path]:
    """Export a run in the format of another tool.

    Args:
        path: Run directory.
        to: Key of :data:`FORMATS`.
        out: Folder to write to.
        clicks: Number of clicks after which masks are exported.
        data_root: As :func:`sambench.outputs.replay.open_run` takes it.
        models: As :func:`sambench.outputs.replay.open_run` takes them.
        plugin_folders: As :func:`sambench.outputs.replay.open_run` takes them.

    Returns:
        The main files written.

    Raises:
        UsageError: Not exactly one run, no records, or masks that cannot be made again.
        DataError: An image cannot be read.
        OutputError: The files cannot be written.
    """
    registry.add_folders(plugin_folders)
    runs = load_summaries([path])
    if len(runs) != 1:
        raise UsageError(f"{path} holds {len(runs)} runs: give the directory of one")
    source = Source(runs[0], clicks, data_root, models)
    if not source.records.num_rows:
        raise UsageError(f"{path} has no records to export")
    return FORMATS[to](source, out)


def write_csv(source: Source, out: Path) -> list[Path]:
    """Write ``records.csv``, with an empty cell where a value is undefined.

    A column of short lists of numbers becomes several columns, ``iou_1`` and so on; other nested values become JSON.
    """
    columns: dict[str, list[Any]] = {}
    for name in source.records.column_names:
        column = source.records.column(name)
        values = column.to_pylist()
        longest = (
            max((len(value) for value in values if value is not None), default=0) if _is_numbers(column.type) else 0
        )
        if 0 < longest <= _SPREAD:
            columns |= {f"{name}_{k + 1}": [_at(value, k) for value in values] for k in range(longest)}
        elif pa.types.is_nested(column.type):
            columns[name] = [_json(value, column.type) for value in values]
        else:
            columns[name] = values
    content = csv_text(list(columns), zip(*columns.values(), strict=True))
    return [_write(out / "records.csv", content.encode("utf-8", "backslashreplace"))]


def write_coco(source: Source, out: Path) -> list[Path]:
    """Write ``results.json``, a list of COCO's results.

    It holds the task's artifacts, or the answers to single objects, each with its ``annotation_id``, which ``sambench
    score`` reads.
    """
    entries = _replayed(source) if source.task.artifacts is None else _kept(source)
    return [_write_list(_folder(out) / "results.json", entries)]


def write_hf(source: Source, out: Path) -> list[Path]:
    """Write ``data/records.parquet`` and ``README.md``.

    Maps become lists of ``key`` and ``value``: the ``datasets`` library has no maps.
    """
    table = pa.table({name: _without_maps(source.records.column(name)) for name in source.records.column_names})
    file = _folder(out / "data") / "records.parquet"
    write_atomic(file, lambda opened: pq.write_table(table, opened, compression="zstd"))
    return [_write(out / "README.md", _card(source).encode("utf-8", "backslashreplace")), file]


def write_fiftyone(source: Source, out: Path) -> list[Path]:
    """Write ``data/*.png``, ``labels.json`` (the truth) and ``predictions.json``.

    Both are in COCO's layout, with the same ids.
    """
    folder = _folder(out / "data")
    images: list[dict[str, Any]] = []
    sides: dict[str, list[dict[str, Any]]] = {"labels.json": [], "predictions.json": []}
    classes: dict[str, int] = {}
    for number, id in enumerate(source.images, 1):
        sample = source.replayed.load(id)
        file = io.BytesIO()
        Pillow.fromarray(sample.image).save(file, format="png")
        # By number: an id may be no name of a file.
        name = f"{number:06d}.png"
        write_atomic(folder / name, file.getvalue())
        height, width = sample.size
        images.append({"id": number, "file_name": name, "height": height, "width": width, "image_id": id})
        for case in source.replayed.cases(sample, clicks=source.clicks):
            named = case.instance.class_name or NO_CLASS
            about = {
                "image_id": number,
                "category_id": classes.setdefault(named, len(classes) + 1),
                # Not instance_id: FiftyOne keeps that name for itself.
                "annotation_id": case.instance.id,
                "iou": case.iou,
            }
            sides["labels.json"].append(_annotation(case.instance.mask) | about)
            if case.predicted.area:
                score = source.score(id, case.instance.id)
                sides["predictions.json"].append(_annotation(case.predicted) | about | score)
    categories = [{"id": number, "name": name} for name, number in classes.items()]
    for file_name, side in sides.items():
        numbered = [{"id": k, **one} for k, one in enumerate(side, 1)]
        write_json(out / file_name, {"images": images, "categories": categories, "annotations": numbered})
    return [out / file_name for file_name in sides]


FORMATS: Mapping[str, Callable[[Source, Path], list[Path]]] = {
    "coco": write_coco,
    "csv": write_csv,
    "fiftyone": write_fiftyone,
    "hf": write_hf,
}


def _replayed(source: Source) -> Iterator[dict[str, Any]]:
    """The masks after the clicks that are asked for, made again."""
    for id in source.images:
        for case in source.replayed.cases(source.replayed.load(id), clicks=source.clicks):
            class_id = case.instance.class_id
            yield {
                "image_id": _number(id),
                "annotation_id": _number(case.instance.id),
                "category_id": 1 if class_id is None else class_id,
                "segmentation": masks.to_rle(case.predicted),
                **source.score(id, case.instance.id),
            }


def _kept(source: Source) -> Iterator[dict[str, Any]]:
    """What the task keeps of each image, in COCO's results form."""
    run = source.opened
    if source.task.artifacts is None or not source.task.artifacts.coco_results:
        raise UsageError(f"{run.path}: task {run.spec.task} does not answer with masks; --to csv and --to hf take it")
    for _, content in replay.artifacts(run, source.images, data_root=source.data_root, models=source.models):
        yield from json.loads(content)


def _annotation(mask: Mask) -> dict[str, Any]:
    x0, y0, x1, y1 = mask.box
    box = [x0, y0, x1 - x0, y1 - y0]
    return {"bbox": box, "area": mask.area, "segmentation": masks.to_rle(mask), "iscrowd": 0}


def _number(id: str) -> int | str:
    """Numbers as ids are numbers again, as in the dataset's own files."""
    return int(id) if id.isdecimal() and str(int(id)) == id else id


def _is_numbers(kind: pa.DataType) -> bool:
    """Whether a column holds lists of numbers."""
    of = kind.value_type if pa.types.is_list(kind) else None
    return of is not None and bool(pa.types.is_integer(of) or pa.types.is_floating(of))


def _at(values: Sequence[Any] | None, place: int) -> Any:
    return None if values is None or place >= len(values) else values[place]


def _json(value: Any, kind: pa.DataType) -> str | None:
    """A nested value as JSON; maps as objects."""
    if value is None:
        return None
    return json.dumps(dict(value) if pa.types.is_map(kind) else value, ensure_ascii=False, separators=(",", ":"))


def _without_maps(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if not pa.types.is_map(kind):
        return column
    pairs = [None if v is None else [{"key": k, "value": x} for k, x in v] for v in column.to_pylist()]
    return pa.chunked_array([pa.array(pairs, pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))])


def _card(source: Source) -> str:
    """A dataset card: YAML that names the file, then what a reader should know of the run."""
    run = source.run
    facts = {
        "task": f"{run.task}, version {run.task_version}",
        "dataset": f"{run.dataset}, {run.split}, subset {run.subset}",
        "model": run.name,
        "complete": "yes" if run.complete else "no",
        "signature": run.signature,
        "records sha256": run.records_digest,
        "sambench": run.sambench_version,
    }
    values = {
        name: f"{formatting.number(metric.value, metric.unit)} {formatting.UNITS.get(metric.unit, metric.unit)}"
        for name, metric in run.metrics.items()
    }
    parts = [
        "---",
        "configs:",
        "- config_name: records",
        "  data_files: data/records.parquet",
        "tags:",
        "- sambench",
        "---",
        f"# Records of {formatting.markdown(run.task)} on {formatting.markdown(run.dataset)} by "
        f"{formatting.markdown(run.name)}",
        "",
        *(f"- {key}: {formatting.markdown(value)}" for key, value in facts.items()),
        "",
        *(f"- {formatting.markdown(key)}: {formatting.markdown(value)}" for key, value in values.items()),
        "",
    ]
    return "\n".join(parts)


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    return path


def _write(path: Path, content: bytes) -> Path:
    _folder(path.parent)
    write_atomic(path, content)
    return path


def _write_list(path: Path, entries: Iterator[dict[str, Any]]) -> Path:
    """A JSON list, entry by entry: a run can hold more masks than memory."""

    def fill(file: BinaryIO) -> None:
        file.write(b"[")
        for k, entry in enumerate(entries):
            encoded = json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            file.write((",\n" if k else "").encode() + encoded.encode("utf-8", "surrogateescape"))
        file.write(b"]\n")

    write_atomic(path, fill)
    return path
