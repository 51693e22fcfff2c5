"""Options from the command line: conversion, and complaints that name the option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

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
        ("clicks", "1,x", r"task\.clicks='x' is not an int"),
        ("mode", "middle", r"task\.mode='middle' is not one of: centre, random"),
        ("feed", "perhaps", r"task\.feed='perhaps' is neither true nor false"),
        ("ratio", "much", r"task\.ratio='much' is not a float"),
    ],
)
def test_complaints(key: str, value: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        options.build(Example, {key: value}, "task")


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
