"""The tables of options in the pages of tasks and models, and the declarations that they are made from."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.paths import ROOT

from sambench.data import pages
from sambench.models import zoo
from sambench.plugins import options, registry

PAGES = sorted(path for kind in pages.KINDS for path in (ROOT / "docs" / kind).glob("*.md"))
TASKS = {name: registry.load("tasks", name).Options for name in registry.names("tasks")}
MODELS = {zoo.options_class(name): name for name in zoo.ZOO}
CLASSES = [*(("task", cls) for cls in TASKS.values()), *(("model", cls) for cls in MODELS)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_tables_are_as_declared(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text == pages.with_options(text), "write it anew: python -m sambench.data.pages docs"


def test_every_task_and_every_class_of_model_options_has_a_table() -> None:
    places = [(place["kind"], place["name"]) for path in PAGES for place in pages.OPTIONS.finditer(path.read_text())]
    assert sorted(name for kind, name in places if kind == "task") == sorted(TASKS)
    assert {zoo.options_class(name) for kind, name in places if kind == "model"} == set(MODELS)


@pytest.mark.parametrize(("owner", "cls"), CLASSES, ids=lambda cls: getattr(cls, "__module__", cls))
def test_every_option_has_a_meaning_and_a_default_that_fits(owner: str, cls: type) -> None:
    for option in options.described(cls):
        assert option.meaning.endswith("."), f"no docstring below {owner}.{option.name} says what it is"
    assert options.build(cls, options.as_dict(cls()), owner) == cls()
    told = {one.name: one.default for one in options.described(cls) if one.default}
    assert options.build(cls, told, owner) == cls()


def test_a_table_is_written_between_its_marks() -> None:
    page = "before\n<!-- options of model canny -->\nold\n<!-- end of the options -->\nafter\n"
    text = pages.with_options(page)
    assert text.startswith("before\n<!-- options of model canny -->\n| option | default | takes | meaning |\n")
    assert "| `sigma` | `2.0` | a number, finite and above 0 | Sigma of the Gaussian" in text
    assert text.endswith(" |\n<!-- end of the options -->\nafter\n")
    assert "old" not in text
    assert pages.with_options("no place\n") == "no place\n"
