"""Options from the command line: conversion, and complaints that name the option."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, MinLen, MultipleOf, Predicate

from sambench.core.options import NoOptions
from sambench.errors import UsageError
from sambench.plugins import options


@dataclass(frozen=True)
class Example:
    clicks: tuple[int, ...] = (1, 2)
    mode: Literal["centre", "random"] = "centre"
    feed: bool = True
    size: int | None = None
    ratio: float = 0.5
    name: str = ""


def test_texts_become_values() -> None:
    values = {"clicks": "1,5", "mode": "random", "feed": "no", "size": "3", "ratio": ".25", "name": "x=y"}
    built = options.build(Example, values, "task")
    assert built == Example((1, 5), "random", False, 3, 0.25, "x=y")
    assert options.as_dict(built)["clicks"] == [1, 5]


def test_what_as_dict_gives_builds_the_same() -> None:
    built = options.build(Example, {"size": "none", "clicks": "4"}, "task")
    assert options.build(Example, options.as_dict(built), "task") == built


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("click", "1", r"unknown option task\.click\. Did you mean: clicks\?"),
        ("clicks", "1,x", r"task\.clicks=1,x: must be integers, separated by commas"),
        ("mode", "middle", r"task\.mode=middle: must be one of: centre, random"),
        ("feed", "perhaps", r"task\.feed=perhaps: must be true or false"),
        ("ratio", "much", r"task\.ratio=much: must be a number"),
    ],
)
def test_complaints(key: str, value: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        options.build(Example, {key: value}, "task")


def _even(value: int) -> bool:
    """even"""
    return value % 2 == 0


@dataclass(frozen=True)
class Declared:
    """Options that say what they take."""

    side: Annotated[int, Ge(64), MultipleOf(64)] = 128
    """Pixels per side
    of the input."""
    share: Annotated[float, Gt(0), Le(1)] = 0.5
    limit: Annotated[float, Predicate(math.isfinite)] | None = None
    scales: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (1.0, 2.5)
    passes: Literal[1, 2] = 2
    pair: Annotated[int, Predicate(_even), "A number of things."] = 0
    names: tuple[Literal["a", "b"], ...] = ()
    deep: bool = False

    def __post_init__(self) -> None:
        if self.deep and self.pair == 0:
            raise ValueError("deep=true: must be false where pair is 0")
        if self.side > 1024:
            raise ValueError("too large")


@dataclass(frozen=True)
class Inherited(Declared):
    share: Annotated[float, Gt(0), Le(1)] = 0.1
    """Another share."""


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"side": "65"}, "model.side=65: must be an integer, at least 64 and a multiple of 64"),
        ({"side": 0}, "model.side=0: must be an integer, at least 64 and a multiple of 64"),
        ({"share": "0"}, "model.share=0: must be a number, above 0 and at most 1"),
        ({"share": "nan"}, "model.share=nan: must be a number, above 0 and at most 1"),
        ({"limit": "inf"}, "model.limit=inf: must be a number, finite, or none"),
        ({"scales": "1,0"}, "model.scales=1,0: must be numbers, separated by commas, each above 0, not empty"),
        ({"scales": ()}, "model.scales=: must be numbers, separated by commas, each above 0, not empty"),
        ({"passes": "3"}, "model.passes=3: must be one of: 1, 2"),
        ({"pair": "1"}, "model.pair=1: must be an integer, even"),
        ({"names": "a,c"}, "model.names=a,c: must be any of: a, b, separated by commas"),
        ({"deep": "on"}, "model.deep=true: must be false where pair is 0"),
        ({"side": "2048"}, "too large"),
    ],
)
def test_an_error_says_owner_key_value_and_what_is_allowed(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as refused:
        options.build(Declared, values, "model")
    assert str(refused.value) == complaint


def test_declared_values() -> None:
    built = options.build(Declared, {"passes": "1", "limit": "3", "scales": "4", "names": "b,a"}, "task")
    assert built == Declared(passes=1, limit=3.0, scales=(4.0,), names=("b", "a"))
    assert type(built.passes) is int
    assert options.build(Declared, options.as_dict(built), "task") == built


def test_options_describe_themselves() -> None:
    described = {one.name: one for one in options.described(Inherited)}
    assert list(described) == ["side", "share", "limit", "scales", "passes", "pair", "names", "deep"]
    assert described["side"] == options.Option(
        "side", "an integer, at least 64 and a multiple of 64", "128", "Pixels per side of the input.", ()
    )
    assert (described["share"].default, described["share"].meaning) == ("0.1", "Another share.")
    assert described["limit"].default == "none"
    assert described["scales"].default == "1.0,2.5"
    assert described["passes"].choices == ("1", "2")
    assert described["pair"].meaning == "A number of things."
    assert described["deep"].choices == ("true", "false")
    assert options.about(Declared) == "Options that say what they take."
    assert options.about(Example) == options.about(NoOptions) == ""


def test_what_was_made_at_run_time_has_no_meanings() -> None:
    made = dataclasses.make_dataclass("Made", [("size", int, 3)], frozen=True)
    assert options.described(made) == [options.Option("size", "an integer", "3", "", ())]
    assert options.build(made, {"size": "4"}, "task").size == 4


def test_nothing_is_imported_where_nothing_is_set() -> None:
    code = "import sys; from sambench.data import catalogue; catalogue.tasks([]); assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_assignments() -> None:
    parsed = options.parse_assignments(["task.a=1", "model.w=x=y.pth", "task.b="], ("task", "model"))
    assert parsed == {"task": {"a": "1", "b": ""}, "model": {"w": "x=y.pth"}}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("task.a", "OWNER.KEY=VALUE"),
        ("a=1", "OWNER.KEY=VALUE"),
        ("tusk.a=1", "no such owner 'tusk'. Did you mean: task"),
    ],
)
def test_bad_assignments(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        options.parse_assignments([text], ("task", "model"))
