"""Pictures of single cases that lie in the site's folder: which there are, checked before a page shows them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from sambench.errors import UsageError
from sambench.text import one_line

KINDS = {"worst": "Worst cases", "median": "Median cases", "best": "Best cases", "random": "Random cases"}
"""Kinds of cases, in the order of the page, and what they are called there."""

SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Case:
    """One entry of a gallery's ``index.json``. ``file``: the picture's name beside it. ``present``: it is there.
    ``value``: of ``metric``, None where undefined. ``image_id``, ``instance_id``: of the record."""

    kind: str
    image_id: str
    instance_id: str
    metric: str
    value: float | None
    file: str
    caption: str
    present: bool


@dataclass(frozen=True)
class Gallery:
    """The cases of a run, those of one metric and kind together, in the order of the file. ``absent``: why a gallery
    that was asked for could not be made."""

    cases: tuple[Case, ...]
    absent: str = ""

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(case.metric for case in self.cases))

    def kinds(self, metric: str) -> list[tuple[str, list[Case]]]:
        """Heading and cases of each kind of one metric."""
        ours = sorted((c for c in self.cases if c.metric == metric), key=lambda c: list(KINDS).index(c.kind))
        return [(KINDS[kind], list(cases)) for kind, cases in groupby(ours, key=lambda case: case.kind)]


def gallery(folder: Path) -> Gallery:
    """The gallery in a folder; empty where there is none.

    Raises UsageError, naming the file, if its ``index.json`` is not a list of cases. A picture that is not there is a
    case with ``present`` false.
    """
    file = folder / "index.json"

    def refuse(what: str) -> NoReturn:
        raise UsageError(f"{file}: {one_line(what)}; delete the folder, or make the gallery again")

    if not file.exists():
        why = folder / "absent.txt"
        return Gallery((), one_line(why.read_text("utf-8", "replace")) if why.is_file() else "")
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        refuse(f"cannot be read ({error})")
    if not isinstance(content, list):
        refuse("not a list of cases")
    return Gallery(tuple(_case(entry, number, folder, refuse) for number, entry in enumerate(content, 1)))


def _case(entry: Any, number: int, folder: Path, refuse: Any) -> Case:
    if not isinstance(entry, dict):
        refuse(f"case {number} is not an object")
    texts: dict[str, str] = {}
    for key in ("kind", "image_id", "instance_id", "metric", "file", "caption"):
        value = entry.get(key, "" if key == "caption" else None)
        # Ids are numbers in some annotation files.
        if not isinstance(value, str) and type(value) is not int:
            refuse(f"case {number}: field '{key}' is missing or not a text")
        texts[key] = str(value)
    if texts["kind"] not in KINDS:
        refuse(f"case {number}: field 'kind' is {texts['kind']!r}, not {', '.join(KINDS)}")
    name = texts["file"]
    if Path(name).name != name or not name.lower().endswith(SUFFIXES) or name.startswith(".") or "\0" in name:
        refuse(f"case {number}: field 'file' is {name!r}, not the name of a JPEG or PNG beside it")
    value = entry.get("value")
    if value is not None and (type(value) not in (int, float) or not abs(value) < 1e300):
        refuse(f"case {number}: field 'value' is neither a number nor null")
    return Case(**texts, value=None if value is None else float(value), present=(folder / name).is_file())
