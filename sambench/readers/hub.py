"""Datasets of Hugging Face's library ``datasets``: from the hub, from ``save_to_disk``, from parquet or image folders.

The only module that imports the library, and only when such a dataset is opened: it takes a second. Pictures are
decoded by :mod:`sambench.readers.images`, so that the library's own habits (it turns images by their EXIF rotation)
do not move them against their masks.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import unquote

from sambench.core.dataset import GroundTruth, IndexEntry, Instance, Sample
from sambench.errors import DataError, UsageError
from sambench.plugins import options
from sambench.readers.images import ImageFile, InMemory, image_size, read_image
from sambench.readers.listing import count_masks
from sambench.readers.mask_png import NO_VOID, label_values, read_binary_masks, read_label_map
from sambench.readers.segmentations import segmentation_mask

MaskKind = Literal["label map", "binary masks", "objects"]

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_CATEGORY = ("category", "category_id", "label")
_CROWD = ("iscrowd", "is_crowd", "crowd")
_NOT_ATTRIBUTES = frozenset({"id", "bbox", "bbox_id", "area", "segmentation", "image_id", *_CATEGORY, *_CROWD})


@dataclass(frozen=True)
class Query:
    """What may stand behind the question mark, as ``key=value`` with ``&`` between.

    ``split``: as the library knows it (``train``, ``validation[:100]``); needed where there is more than one.
    ``image``, ``mask``: names of the columns. ``id``: a column of unique ids; empty: row numbers from 0.
    ``config``: which configuration of a dataset that has several. ``revision``: commit, tag or branch on the hub; only
    a commit pins the data. ``void``: the value of pixels that count for nothing; -1 for none. ``limit``: the first
    rows only; 0 for all. ``streaming``: read rows from the hub as they come instead of downloading the dataset first;
    needs ``limit``, and each process reads and holds them.
    """

    split: str = ""
    image: str = "image"
    mask: str = "mask"
    id: str = ""
    config: str = ""
    revision: str = ""
    void: int = NO_VOID
    limit: int = 0
    streaming: bool = False


@dataclass(frozen=True)
class Source:
    """A dataset as it was asked for: a folder, a parquet file or an id of the hub, and the query."""

    name: str
    query: Query

    @property
    def path(self) -> Path | None:
        """The folder or file, None for an id of the hub. Raises UsageError if it can be neither."""
        path = Path(self.name).expanduser()
        if path.exists():
            return path
        if _HUB_ID.fullmatch(self.name) is None or self.name.startswith("."):
            raise UsageError(f"hf:{self.name}: no such folder or file, and not an id of the hub (owner/name)")
        return None


def parse(text: str) -> Source:
    """``owner/name?split=train&mask=label``. ``%2C`` stands for a comma, ``%26`` for an ampersand, as in addresses.
    Raises UsageError."""
    name, _, query = text.partition("?")
    if not name:
        raise UsageError("write the dataset as hf:OWNER/NAME?split=...&image=...&mask=... or hf:FOLDER?...")
    values: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        if not equals or key in values:
            raise UsageError(f"hf:{text}: {part!r} is not one KEY=VALUE" + (", or is given twice" if equals else ""))
        values[key] = unquote(value)
    source = Source(unquote(name), options.build(Query, values, "hf"))
    if source.query.limit < 0:
        raise UsageError(f"hf:{text}: limit is a number of rows, 0 for all")
    if source.query.streaming and not source.query.limit:
        raise UsageError(f"hf:{text}: streaming needs a limit, as in &limit=100")
    return source


class HubReader:
    """The rows of a source as samples. Nothing is opened before :meth:`index` or :meth:`load`."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def index(self) -> Sequence[IndexEntry]:
        """Every row. Label maps are decoded to count their values; where that fails, a row counts as one mask.
        Raises UsageError: cannot be opened, no such column, ids that repeat."""
        rows = self._rows.each([self.source.query.mask])
        return [IndexEntry(id, self._count(row)) for id, row in zip(self._numbers, rows, strict=True)]

    def load(self, id: str) -> Sample:
        """The sample of an id. Raises DataError."""
        if id not in self._numbers:
            raise DataError(f"hf:{self.source.name}: no row {id}")
        row = self._rows[self._numbers[id]]
        image = self._file(row[self.source.query.image], id, self.source.query.image)
        size = image_size(image)
        return Sample(id, size, partial(read_image, image), partial(self._truth, row, id, size))

    @cached_property
    def _rows(self) -> _Rows:
        return _open(self.source)

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        """Row numbers by id."""
        column = self.source.query.id
        if not column:
            return {str(number): number for number in range(len(self._rows))}
        numbers: dict[str, int] = {}
        for number, row in enumerate(self._rows.each([column])):
            value = row[column]
            if not isinstance(value, (str, int)) or value == "":
                raise UsageError(f"hf:{self.source.name}: row {number} has no id in column {column!r}, but {value!r}")
            if str(value) in numbers:
                raise UsageError(
                    f"hf:{self.source.name}: rows {numbers[str(value)]} and {number} have the same id {value!r}"
                )
            numbers[str(value)] = number
        return numbers

    @cached_property
    def _kind(self) -> MaskKind:
        return _kind_of(self._rows.features[self.source.query.mask], f"hf:{self.source.name}", self.source.query.mask)

    def _count(self, row: Mapping[str, Any]) -> int:
        value = row[self.source.query.mask]
        if self._kind == "label map":
            return count_masks(lambda: len(label_values(self._file(value, "", ""), self.source.query.void)))
        if self._kind == "binary masks":
            return len(value or ())
        crowds = (any(entry.get(key) for key in _CROWD) for entry in _objects(value))
        return sum(not crowd for crowd in crowds)

    def _truth(self, row: Mapping[str, Any], id: str, size: tuple[int, int]) -> GroundTruth:
        query = self.source.query
        value = row[query.mask]
        if self._kind == "label map":
            return read_label_map(self._file(value, id, query.mask), size, query.void)
        if self._kind == "binary masks":
            files = {str(n): self._file(one, id, f"{query.mask} {n}") for n, one in enumerate(value or ())}
            return read_binary_masks(files, size, void=query.void)
        return self._truth_of_objects(_objects(value), id, size)

    def _truth_of_objects(self, objects: Sequence[Mapping[str, Any]], id: str, size: tuple[int, int]) -> GroundTruth:
        names = _class_names(self._rows.features[self.source.query.mask])
        instances: dict[str, Instance] = {}
        empty = 0
        for number, entry in enumerate(objects):
            where = f"hf:{self.source.name}: row {id}, object {number}"
            segmentation = entry.get("segmentation")
            try:
                mask = segmentation_mask(_as_coco(segmentation), size)
            except (ValueError, TypeError) as error:
                raise DataError(f"{where}: {error}") from None
            own = str(number if entry.get("id") is None else entry["id"])
            if own in instances:
                raise DataError(f"{where}: the id {own} is given twice in its image")
            if not mask.area:
                empty += 1
                continue
            category: Any = next((entry[key] for key in _CATEGORY if entry.get(key) is not None), None)
            class_id = category if isinstance(category, int) else None
            class_name = str(category) if category is not None and class_id is None else None
            if class_id is not None and names:
                if not 0 <= class_id < len(names):
                    raise DataError(f"{where}: category {class_id}, there are {len(names)}")
                class_name = names[class_id]
            instances[own] = Instance(
                own,
                mask,
                class_name=class_name,
                class_id=class_id,
                crowd=any(bool(entry.get(key)) for key in _CROWD),
                annotated_area=None if entry.get("area") is None else float(entry["area"]),
                attributes={
                    key: value
                    for key, value in entry.items()
                    if key not in _NOT_ATTRIBUTES and isinstance(value, (str, int, float))
                },
            )
        return GroundTruth(tuple(instances.values()), dropped={"empty_mask": empty} if empty else {})

    def _file(self, stored: Any, id: str, what: str) -> ImageFile:
        """A stored picture in the form that image readers take: its file, or its bytes in the place of one."""
        where = f"row {id}, {what}"
        if not isinstance(stored, dict):
            raise DataError(f"hf:{self.source.name}: {where}: there is no picture")
        if stored["bytes"] is not None:
            return InMemory(f"hf:{self.source.name}: {where}", stored["bytes"])
        if "://" not in stored["path"]:
            return Path(stored["path"])
        try:
            with _library().utils.file_utils.xopen(stored["path"], "rb") as file:
                return InMemory(stored["path"], file.read())
        except Exception as error:  # whatever file system the address belongs to raises
            raise DataError(f"{stored['path']}: cannot be read ({_first_line(error)})") from None


# --- the library -----------------------------------------------------------------------------------------------------


class _Rows:
    """Rows as plain values, pictures undecoded: a dataset that is on disk, or the first rows of a stream."""

    def __init__(self, features: Mapping[str, Any], rows: Any) -> None:
        self.features, self._rows = features, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        if isinstance(self._rows, list):
            return cast("Mapping[str, Any]", self._rows[number])
        return cast("Mapping[str, Any]", self._rows[number].to_pylist()[0])

    def each(self, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """All rows in order, at least these columns, a few in memory at a time."""
        if isinstance(self._rows, list):
            yield from self._rows
            return
        for table in self._rows.select_columns(list(columns)).iter(16):
            yield from table.to_pylist()


def _library() -> Any:
    import datasets

    return datasets


def _open(source: Source) -> _Rows:
    """Raises UsageError, with the library's own first line where it is the library that gives up."""
    query = source.query
    try:
        opened = _load(source)
    except UsageError:
        raise
    except Exception as error:  # the library, its file systems and its network code raise of every kind
        offline = " (offline, as HF_HUB_OFFLINE says)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "") else ""
        raise UsageError(f"hf:{source.name} cannot be opened{offline}: {_first_line(error)}") from None
    features = opened.features
    if features is None:
        raise UsageError(f"hf:{source.name}: its columns are not known before it is read; leave streaming away")
    columns = list(dict.fromkeys(name for name in (query.image, query.mask, query.id) if name))
    for key in ("image", "mask", "id"):
        name = getattr(query, key)
        if name and name not in features:
            near = options.did_you_mean(name, features)
            raise UsageError(
                f"hf:{source.name} has no column {name!r}{near} (it has: {', '.join(features)}); "
                f"name the right one with {key}=..."
            )
    if not isinstance(features[query.image], _library().Image):
        raise UsageError(f"hf:{source.name}: column {query.image!r} holds no pictures but {features[query.image]}")
    _kind_of(features[query.mask], f"hf:{source.name}", query.mask)
    opened = opened.select_columns(columns)
    if query.streaming:
        return _Rows(features, list(itertools.islice(opened.decode(False), query.limit)))
    if query.limit:
        opened = opened.select(range(min(query.limit, len(opened))))
    return _Rows(features, opened.with_format("arrow"))


def _load(source: Source) -> Any:
    """The library's object for one split."""
    library, query, path = _library(), source.query, source.path
    library.disable_progress_bars()
    if path is not None and query.revision:
        raise UsageError(f"hf:{source.name} is on this machine; a revision is of a dataset on the hub")
    if path is not None and any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        saved = library.load_from_disk(str(path))
        if isinstance(saved, library.DatasetDict):
            saved = saved[_split(query.split, list(saved), source)]
        elif query.split not in ("", str(saved.split)):
            raise UsageError(f"hf:{source.name} was saved as one split ({saved.split}); leave split={query.split} away")
        return saved.to_iterable_dataset() if query.streaming else saved
    where: dict[str, Any] = {"path": source.name if path is None else str(path), "name": query.config or None}
    if path is not None and path.is_file():
        where = {"path": "parquet", "data_files": str(path)}
    elif query.revision:
        where["revision"] = query.revision
    if query.split:
        return library.load_dataset(**where, split=query.split, streaming=query.streaming)
    everything = library.load_dataset(**where, streaming=query.streaming)
    return everything[_split("", list(everything), source)]


def _split(wanted: str, known: Sequence[str], source: Source) -> str:
    if wanted in known:
        return wanted
    if not wanted and len(known) == 1:
        return known[0]
    what = f"has no split {wanted!r}{options.did_you_mean(wanted, known)}" if wanted else "has more than one split"
    raise UsageError(f"hf:{source.name} {what}; add ?split=... with one of: {', '.join(known)}")


def _kind_of(feature: Any, where: str, column: str) -> MaskKind:
    """How masks are stored in a column. Raises UsageError."""
    library = _library()
    if isinstance(feature, library.Image):
        return "label map"
    inner = _inner(feature)
    if isinstance(inner, library.Image):
        return "binary masks"
    if isinstance(inner, dict):
        if "segmentation" in inner:
            return "objects"
        raise UsageError(
            f"{where}: the objects of column {column!r} have no 'segmentation' (they have: {', '.join(inner)}); "
            "boxes alone are no masks"
        )
    raise UsageError(
        f"{where}: column {column!r} is {feature}; masks are a picture (each value an instance), a list of pictures, "
        "or objects with 'segmentation'"
    )


def _inner(feature: Any) -> Any:
    """What a list holds; the fields of a struct of lists, as older versions of the library store a list of structs."""
    if isinstance(feature, dict):
        return {name: part.feature for name, part in feature.items() if hasattr(part, "feature")}
    return getattr(feature, "feature", None)


def _class_names(feature: Any) -> Sequence[str]:
    """The names of the classes, if the column knows them."""
    inner = _inner(feature)
    return next((list(inner[key].names) for key in _CATEGORY if hasattr(inner.get(key), "names")), [])


def _objects(value: Any) -> Sequence[Mapping[str, Any]]:
    """One mapping an object, from a list of them or a mapping of lists."""
    if isinstance(value, dict):
        filled = {key: column for key, column in value.items() if column is not None}
        return [dict(zip(filled, one, strict=True)) for one in zip(*filled.values(), strict=True)]
    return value or []


def _as_coco(segmentation: Any) -> Any:
    """A run-length code stored as bytes becomes text; all else is left as it is."""
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), bytes):
        return {**segmentation, "counts": segmentation["counts"].decode("ascii", "replace")}
    return segmentation


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
