"""Options of tasks, datasets and models: frozen dataclasses filled from ``--set`` and written into manifests."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from sambench.core.options import NoOptions
from sambench.errors import UsageError

__all__ = ["NoOptions", "as_dict", "build", "did_you_mean", "parse_assignments"]


def build(cls: type, values: Mapping[str, Any], owner: str) -> Any:
    """An instance of the options dataclass ``cls``; texts are converted to the type of the field.

    ``owner`` names who has the options, as in ``--set task.clicks=1,3`` ("task"). Raises UsageError on an unknown
    name or a value that does not fit.
    """
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in names:
            have = f"{owner} has: {', '.join(names)}" if names else f"this {owner} has no options"
            raise UsageError(f"unknown option {owner}.{key}{did_you_mean(key, names)} ({have})")
    try:
        return cls(**{key: _convert(value, hints[key], f"{owner}.{key}") for key, value in values.items()})
    except ValueError as error:
        raise UsageError(str(error)) from error


def as_dict(options: Any) -> dict[str, Any]:
    """The options as plain JSON values, tuples as lists."""
    return {f.name: _plain(getattr(options, f.name)) for f in dataclasses.fields(options)}


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


def _convert(value: Any, hint: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value in (None, "", "none") and type(None) in arguments:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), name)
    if origin is typing.Literal:
        if value not in arguments:
            raise UsageError(f"{name}={value!r} is not one of: {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(_convert(part, arguments[0], name) for part in parts)
    if hint is bool:
        text = str(value).lower()
        if text not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
            raise UsageError(f"{name}={value!r} is neither true nor false")
        return text in ("true", "1", "yes", "on")
    try:
        return hint(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}={value!r} is not {'an' if hint is int else 'a'} {hint.__name__}") from error
