"""Finds what can be named on the command line: tasks and datasets, shipped or the user's own.

Shipped plugins are the files of ``tasks/`` and ``datasets/``, imported as ``sambench.suite.tasks.NAME`` and
``sambench.suite.datasets.NAME``. A user's folder of the same shape is one more entry on that path; installed packages
can offer entry points (groups ``sambench.tasks`` and ``sambench.datasets``); ``path/to/file.py:Name`` works for
anything else. Listing names imports nothing.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import sambench.suite
from sambench.core.dataset import Dataset
from sambench.core.task import Task
from sambench.errors import UsageError
from sambench.plugins import options
from sambench.plugins.options import did_you_mean

Kind = Literal["tasks", "datasets"]

_BASES: Mapping[Kind, type] = {"tasks": Task, "datasets": Dataset}
_MISSPELLED = 0.8
"""How alike two names are of which one is taken for a misspelling of the other (difflib's ratio)."""


@dataclass(frozen=True)
class Request:
    """A dataset as asked for: ``name`` and, for a generic one, what it is called with (``coco_json:A,B``)."""

    name: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}:{','.join(self.arguments)}" if self.arguments else self.name


def add_folder(folder: Path) -> None:
    """Adds a user's plugin folder (holding ``tasks/`` and/or ``datasets/``) to the path of the suite."""
    if not ((folder / "tasks").is_dir() or (folder / "datasets").is_dir()):
        raise UsageError(f"plugin folder {folder} holds neither tasks/ nor datasets/")
    if str(folder.resolve()) not in sambench.suite.__path__:
        sambench.suite.__path__.append(str(folder.resolve()))


def add_folders(folders: Iterable[Path]) -> None:
    """Add several, as :func:`add_folder` does."""
    for folder in folders:
        add_folder(folder)


def names(kind: Kind) -> list[str]:
    """All names of a kind, sorted, without importing a plugin."""
    package = importlib.import_module(f"sambench.suite.{kind}")
    found = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}
    return sorted(found | {e.name for e in entry_points(group=f"sambench.{kind}")})


def load(kind: Kind, name: str) -> Any:
    """The plugin class of a name or of ``path/to/file.py:Name``. Raises UsageError; an unknown name gets near ones."""
    if ".py:" in name:
        return _fitted(kind, load_object(name))
    known = names(kind)
    if name not in known:
        raise UsageError(
            f"unknown {kind[:-1]} {name!r}{did_you_mean(name, known)} (`sambench list {kind}` prints them all)"
        )
    for entry in entry_points(group=f"sambench.{kind}"):
        if entry.name == name:
            return _fitted(kind, entry.load())
    module = importlib.import_module(f"sambench.suite.{kind}.{name}")
    if not hasattr(module, "PLUGIN"):
        raise UsageError(f"{module.__file__} does not say which class is the plugin: add PLUGIN = TheClass")
    return _fitted(kind, module.PLUGIN)


@functools.cache
def _fitted(kind: Kind, cls: Any) -> Any:
    """The class with the defaults of its base, also where it does not derive from it.

    Raises UsageError: members that are missing or misspelled.
    """
    base: Any = _BASES[kind]
    what = f"{kind[:-1]} plugin {cls.__name__}"
    own = {name for part in cls.__mro__ if part not in base.__mro__ for name in vars(part)}
    derived = issubclass(cls, base)
    if missing := sorted(cls.__abstractmethods__ if derived else base.__abstractmethods__ - own):
        raise UsageError(f"{what} lacks {', '.join(missing)}: see sambench.types.{base.__name__}")
    for name in set() if derived else _members(base) - own:
        if hasattr(base, name):
            setattr(cls, name, inspect.getattr_static(base, name))
    for name in sorted(own - _members(base)):
        near = difflib.get_close_matches(name, _members(base), n=1, cutoff=_MISSPELLED)
        if near and not name.startswith("_"):
            raise UsageError(
                f"{what} has {name!r}, which nothing reads: did you mean {near[0]!r}? (begin a name of your own that "
                "is so near to one of sambench with an underscore)"
            )
    return cls


def _members(base: type) -> set[str]:
    return {name for name in (*vars(base), *base.__annotations__) if not name.startswith("_")}


def build_task(name: str, values: Mapping[str, Any], *, version: int | None = None, holder: Path | None = None) -> Task:
    """Return a task with its options.

    Args:
        name: As :func:`load` takes it.
        values: Values of its options, as text or as manifests hold them.
        version: The version that is needed, None for any.
        holder: The run that needs it, for the message.

    Raises:
        UsageError: Unknown task or option, a value that does not fit, another version.
    """
    cls = load("tasks", name)
    if version not in (None, cls.version):
        raise UsageError(
            f"{holder} holds {name} version {version}, this sambench has {cls.version}: use the sambench that wrote it"
        )
    task: Task = cls(options.build(cls.Options, values, "task"))
    return task


def dataset_class(name: str, values: Mapping[str, Any]) -> tuple[type[Dataset], Any]:
    """Return a dataset plugin and its options. Raises UsageError as :func:`build_task` does."""
    cls: type[Dataset] = load("datasets", name)
    return cls, options.build(cls.Options, values, "dataset")


def load_object(reference: str) -> Any:
    """What ``path/to/file.py:Name`` refers to. The module gets a name that follows from the path alone."""
    path_text, _, attribute = reference.rpartition(":")
    path = Path(path_text).resolve()
    if not path.is_file():
        raise UsageError(f"no file {path_text} (from {reference!r})")
    module_name = f"sambench_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"{path_text} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        # Before it runs: dataclasses look their module up there, and so does pickle.
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise UsageError(f"{path_text} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        offered = [n for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module_name]
        raise UsageError(
            f"{path_text} has no {attribute!r}{did_you_mean(attribute, offered)} (it has: {', '.join(offered)})"
        )
    return getattr(module, attribute)


def source_digest(plugin: type) -> str:
    """sha256 (hex) of the file that a plugin class was written in."""
    module: ModuleType = sys.modules[plugin.__module__]
    return hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()


def parse_datasets(texts: Iterable[str]) -> list[Request]:
    """``["coco,bbbc038", "coco_json:a.json,imgs"]`` to requests: commas separate, but a generic dataset takes as many
    parts after its colon as it has arguments. What stands in an argument is the dataset's own affair, such as the query
    of ``hf:owner/name?split=train&mask=label``, where ``%2C`` is a comma. An item that is a text file holds more items,
    one a line. Raises UsageError."""
    parts = [part.strip() for text in texts for part in _from_file(text).split(",")]
    requests: list[Request] = []
    i = 0
    while i < len(parts):
        name, colon, first = parts[i].partition(":")
        i += 1
        if not name:
            continue
        if not colon or parts[i - 1].partition(".py:")[1]:
            requests.append(Request(parts[i - 1]))
            continue
        wanted: Sequence[str] = load("datasets", name).arguments
        given = [first, *parts[i : i + len(wanted) - 1]]
        if len(given) < len(wanted) or not wanted:
            form = f"{name}:{','.join(wanted).upper()}" if wanted else name
            raise UsageError(f"dataset {parts[i - 1]!r}: write it as {form}")
        requests.append(Request(name, tuple(given)))
        i += len(wanted) - 1
    return requests


def split_names(texts: Iterable[str]) -> list[str]:
    """Comma-separated names, or text files of names, to a list without repeats."""
    return list(dict.fromkeys(n.strip() for text in texts for n in _from_file(text).split(",") if n.strip()))


def _from_file(text: str) -> str:
    if text.endswith(".txt"):
        try:
            lines = Path(text).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise UsageError(f"cannot read the list of names {text}: {error.strerror}") from error
        return ",".join(line.partition("#")[0].strip() for line in lines)
    return text
