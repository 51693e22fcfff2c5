"""Options of tasks, datasets and models: frozen dataclasses filled from ``--set`` and written into manifests.

A field's type says what it takes: ``Annotated[int, Ge(1)]``, ``Literal["coco", "lvis"]``, ``tuple[int, ...]``,
``float | None``. The docstring below a field says what it means; a type that several classes share carries that text
itself, as a string in its ``Annotated``. Errors, ``sambench show``, completion and the tables of the documentation are
all made from these; whatever else stands in an ``Annotated`` is left to its reader. A rule about several fields is a
``__post_init__`` whose ValueError begins with ``KEY=``.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import math
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf, Predicate

from sambench.errors import UsageError

UnitInterval = Annotated[float, Ge(0), Le(1)]
Probability = Annotated[float, Gt(0), Lt(1)]
Finite = Annotated[float, Predicate(math.isfinite)]
Positive = Annotated[Finite, Gt(0)]

_WORDS = {int: ("an integer", "integers"), float: ("a number", "numbers"), str: ("a text", "texts")}
_WORDS[bool] = ("true or false",) * 2
_LIMITS = {
    Ge: "at least {0.ge}",
    Gt: "above {0.gt}",
    Le: "at most {0.le}",
    Lt: "below {0.lt}",
    MultipleOf: "a multiple of {0.multiple_of}",
    MinLen: "not empty",
}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option, for people. ``takes``: what is allowed, in words. ``choices``: all values, if they can be listed."""

    name: str
    takes: str
    default: str
    meaning: str
    choices: tuple[str, ...]


def build(cls: type, values: Mapping[str, Any], owner: str) -> Any:
    """An instance of an options dataclass.

    Args:
        cls: The dataclass.
        values: By name; texts, as from ``--set``, are converted to the type of the field.
        owner: Who has the options, as in ``--set task.clicks=1,3`` ("task").

    Raises:
        UsageError: An unknown name, or a value that does not fit: ``task.min_area=0: must be an integer, at least 1``.
    """
    names = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in names:
            have = f"{owner} has: {', '.join(names)}" if names else f"this {owner} has no options"
            raise UsageError(f"unknown option {owner}.{key}{did_you_mean(key, names)} ({have})")
    hints = typing.get_type_hints(cls, include_extras=True)
    try:
        return cls(**{key: _convert(key, value, hints[key]) for key, value in values.items()})
    except ValueError as error:
        text = str(error)
        raise UsageError(f"{owner}.{text}" if text.partition("=")[0] in names else text) from error


def as_dict(options: Any) -> dict[str, Any]:
    """The options as plain JSON values, tuples as lists."""
    return {f.name: _plain(getattr(options, f.name)) for f in dataclasses.fields(options)}


def about(cls: type) -> str:
    """What a class of options says of itself, in one line; dataclass writes a signature where it says nothing."""
    text = inspect.getdoc(cls) or ""
    return "" if text.startswith(f"{cls.__name__}(") or not dataclasses.fields(cls) else " ".join(text.split())


def described(cls: type) -> list[Option]:
    """The options of a dataclass, in the order of its fields."""
    hints, meanings = typing.get_type_hints(cls, include_extras=True), _docstrings(cls)
    return [
        Option(
            field.name,
            _takes(hints[field.name]),
            "" if field.default is dataclasses.MISSING else _as_text(field.default),
            meanings.get(field.name) or next((m for m in _metadata(hints[field.name]) if isinstance(m, str)), ""),
            tuple(_choices(hints[field.name])),
        )
        for field in dataclasses.fields(cls)
    ]


def parse_assignments(assignments: Iterable[str], owners: Iterable[str]) -> dict[str, dict[str, str]]:
    """``["task.clicks=1,3", ...]`` to ``{"task": {"clicks": "1,3"}, ...}``. Raises UsageError."""
    parsed: dict[str, dict[str, str]] = {owner: {} for owner in owners}
    for text in assignments:
        key, equals, value = text.partition("=")
        owner, dot, name = key.strip().partition(".")
        if not equals or not dot or not name:
            raise UsageError(f"--set {text!r}: write it as OWNER.KEY=VALUE with OWNER one of {', '.join(parsed)}")
        if owner not in parsed:
            raise UsageError(f"--set {text!r}: no such owner {owner!r}{did_you_mean(owner, parsed)}")
        parsed[owner][name] = value.strip()
    return parsed


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``". Did you mean: ade20k?"`` or nothing."""
    known = {n.lower(): n for n in names}
    near = [known[n] for n in difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.6)]
    return f". Did you mean: {', '.join(near)}?" if near else ""


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _as_text(value: Any) -> str:
    """As ``--set`` takes it."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(_as_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _convert(key: str, value: Any, hint: Any) -> Any:
    # Not before there is a value to check: importing it takes longer than `sambench --help` does in all.
    from pydantic import ConfigDict, TypeAdapter

    adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    try:
        return adapter.validate_python(_parsed(value, hint))
    except ValueError as error:
        raise ValueError(f"{key}={_as_text(value)}: must be {_takes(hint)}") from error


def _parsed(value: Any, hint: Any) -> Any:
    """A text of the command line in a form that pydantic takes for the type; any other value as it is."""
    base, inner = _base(hint), _inner(hint)
    if types.NoneType in typing.get_args(base):
        return None if value in (None, "", "none") else _parsed(value, inner[0])
    if base is str:
        return str(value)
    if typing.get_origin(base) is tuple and isinstance(value, str):
        return value.split(",")
    return next((v for v in inner if str(v) == value), value) if typing.get_origin(base) is typing.Literal else value


def _base(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def _inner(hint: Any) -> list[Any]:
    return [part for part in typing.get_args(_base(hint)) if part is not types.NoneType]


def _metadata(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()


def _takes(hint: Any, *, many: bool = False) -> str:
    """What a type allows, in words."""
    base, inner = _base(hint), _inner(hint)
    if types.NoneType in typing.get_args(base):
        return f"{_takes(inner[0])}, or none"
    if typing.get_origin(base) is typing.Literal:
        return f"{'any' if many else 'one'} of: {', '.join(map(str, inner))}"
    if typing.get_origin(base) is tuple:
        words = f"{_takes(_base(inner[0]), many=True)}, separated by commas{_limits(', each ', inner[0])}"
    else:
        words = _WORDS.get(base, (getattr(base, "__name__", str(base)),) * 2)[many]
    return words + _limits(", ", hint)


def _limits(joint: str, hint: Any) -> str:
    """The constraints in words; those of a Predicate are its function's docstring."""
    limits = []
    for one in _metadata(hint):
        if isinstance(one, Predicate):
            limits.append("finite" if one.func is math.isfinite else inspect.getdoc(one.func))
        else:
            limits.append(_LIMITS.get(type(one), "").format(one))
    words = " and ".join(filter(None, limits))
    return words and joint + words


def _choices(hint: Any) -> list[str]:
    base, inner = _base(hint), _inner(hint)
    if types.NoneType in typing.get_args(base):
        return [*_choices(inner[0]), "none"]
    if base is bool:
        return ["true", "false"]
    return list(map(str, inner)) if typing.get_origin(base) is typing.Literal else []


def _docstrings(cls: type) -> dict[str, str]:
    """The docstrings below the fields of a class and of its bases, by field."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, SyntaxError):  # made at run time, or its file is gone
            continue
        for field, text in pairwise(getattr(tree, "body", ())):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                    found[name] = " ".join(meaning.split())
    return found
