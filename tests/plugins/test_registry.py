"""Finding tasks and datasets: shipped, in a user's folder, in a stray file."""

from __future__ import annotations

import pickle
import sys
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from helpers.paths import ROOT

import sambench.suite
from sambench.errors import UsageError
from sambench.plugins import registry
from sambench.plugins.registry import Request
from sambench.types import Dataset, Task

TOY = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Options:
    size: int = 3

class Toy:
    Options = Options
    arguments = ("first", "second")

    def __init__(self, root, split, options): ...
    @classmethod
    def locate(cls, root, split, options): ...
    def index(self): return []
    def load(self, id): ...

PLUGIN = Toy
"""


def test_shipped_names_are_the_files() -> None:
    root = ROOT
    for kind in ("tasks", "datasets"):
        assert registry.names(kind) == sorted(p.stem for p in (root / kind).glob("*.py"))


def test_listing_names_imports_no_plugin() -> None:
    before = {m for m in sys.modules if m.startswith("sambench.suite.datasets.")}
    registry.names("datasets")
    assert {m for m in sys.modules if m.startswith("sambench.suite.datasets.")} == before


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown dataset 'bbc038'\. Did you mean: bbbc038\?"):
        registry.load("datasets", "bbc038")
    with pytest.raises(UsageError, match=r"unknown task 'single_points'\. Did you mean: single_point\?"):
        registry.load("tasks", "single_points")


def test_a_users_folder_is_one_more_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sambench.suite, "__path__", list(sambench.suite.__path__))
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "toy.py").write_text(TOY)
    registry.add_folder(tmp_path)
    assert "toy" in registry.names("datasets")
    toy = registry.load("datasets", "toy")
    assert toy.__module__ == "sambench.suite.datasets.toy"
    assert pickle.loads(pickle.dumps(toy)) is toy
    assert registry.parse_datasets(["toy:a,b,coco"]) == [Request("toy", ("a", "b")), Request("coco")]
    sys.modules.pop("sambench.suite.datasets.toy")


def test_a_folder_without_plugins_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither tasks/ nor datasets/"):
        registry.add_folder(tmp_path)


def test_a_stray_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TOY)
    toy = registry.load("datasets", f"{file}:Toy")
    assert registry.load("datasets", f"{file}:Toy") is toy
    assert toy.Options().size == 3
    assert len(registry.source_digest(toy)) == 64


@pytest.mark.parametrize(
    ("content", "name", "complaint"),
    [
        (None, "Toy", "no file"),
        ("class Toy: pass", "Toi", r"has no 'Toi'\. Did you mean: Toy\? \(it has: Toy\)"),
        ("import nonsense_that_is_not_there", "Toy", "cannot be imported: ModuleNotFoundError"),
        ("def (", "Toy", "cannot be imported: SyntaxError"),
    ],
)
def test_stray_files_that_do_not_work(tmp_path: Path, content: str | None, name: str, complaint: str) -> None:
    file = tmp_path / "broken.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=complaint):
        registry.load_object(f"{file}:{name}")


def test_commas_separate_datasets_but_a_generic_one_takes_its_arguments() -> None:
    assert registry.parse_datasets(["coco, bbbc038", "lvis"]) == [Request("coco"), Request("bbbc038"), Request("lvis")]
    parsed = registry.parse_datasets(["coco_json:a b.json,images/,demo"])
    assert parsed == [Request("coco_json", ("a b.json", "images/")), Request("demo")]
    with pytest.raises(UsageError, match="write it as coco_json:ANNOTATIONS,IMAGES"):
        registry.parse_datasets(["coco_json:a.json"])


def test_a_query_is_one_argument() -> None:
    text = "hf:owner/name?split=train[:50]&image=image&mask=label"
    (first, second) = registry.parse_datasets([f"{text}, demo"])
    assert first == Request("hf", ("owner/name?split=train[:50]&image=image&mask=label",))
    assert second == Request("demo")
    # The label of a run, which leads back to the same request.
    assert str(first) == text
    assert registry.parse_datasets([str(first)]) == [first]
    assert registry.parse_datasets(["hf:a/b,coco_json:c.json,images,hf:/data/d?id=e"]) == [
        Request("hf", ("a/b",)),
        Request("coco_json", ("c.json", "images")),
        Request("hf", ("/data/d?id=e",)),
    ]


def test_a_text_file_of_names(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("coco\n# not this\nbbbc038  # nuclei\n\n")
    assert registry.parse_datasets([str(file), "demo"]) == [Request("coco"), Request("bbbc038"), Request("demo")]
    with pytest.raises(UsageError, match="cannot read the list of names"):
        registry.parse_datasets([str(tmp_path / "none.txt")])


# --- base classes ----------------------------------------------------------------------------------------------------


def toy(folder: Path, *changes: tuple[str, str]) -> str:
    text = TOY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "mine.py").write_text(text)
    return f"{folder / 'mine.py'}:Toy"


def test_a_class_that_derives_from_nothing_gets_the_defaults(tmp_path: Path) -> None:
    made = registry.load("datasets", toy(tmp_path))(tmp_path, "all", None)
    assert (made.categories, dict(made.excluded), made.has_image_files()) == (None, {}, False)
    (tmp_path / "named").mkdir()
    named = toy(tmp_path / "named", ("def index", "categories = {1: 'leaf'}\n    def index"))
    assert registry.load("datasets", named).categories == {1: "leaf"}


def test_a_member_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset plugin Toy lacks load: see sambench\.types\.Dataset"):
        registry.load("datasets", toy(tmp_path, ("def load(self, id): ...", "pass")))


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("categorys", "categories"), ("image_fle", "image_file"), ("exclude", "excluded"), ("argumets", "arguments")],
)
@pytest.mark.parametrize("base", ["", "(Dataset)"])
def test_a_misspelled_member_is_refused_with_the_nearest_name(tmp_path: Path, typo: str, meant: str, base: str) -> None:
    changes = [
        ("from dataclasses import dataclass", "from dataclasses import dataclass\nfrom sambench.types import Dataset"),
        ("class Toy:", f"class Toy{base}:"),
        ('    arguments = ("first", "second")\n', ""),
        ("def load(self, id): ...", f"def load(self, id): ...\n    {typo} = None"),
    ]
    with pytest.raises(UsageError, match=f"Toy has '{typo}', which nothing reads: did you mean '{meant}'"):
        registry.load("datasets", toy(tmp_path, *changes))


def test_a_misspelled_member_of_a_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from sambench.suite.tasks.single_point import SinglePoint\n"
        "class Mine(SinglePoint):\n    decode_joint = False\n    def replays(self): ...\n"
    )
    with pytest.raises(UsageError, match=r"task plugin Mine has 'decode_joint', .* did you mean 'decode_jointly'"):
        registry.load("tasks", f"{tmp_path / 'mine.py'}:Mine")


@pytest.mark.parametrize("kind", ["tasks", "datasets"])
def test_shipped_plugins_mark_the_optional_members_that_they_override(kind: Literal["tasks", "datasets"]) -> None:
    base = {"tasks": Task, "datasets": Dataset}[kind]
    optional = {
        name
        for name, value in vars(base).items()
        if not name.startswith("_") and name not in base.__abstractmethods__ and (callable(value) or name == "inputs")
    } | ({"categories", "excluded"} if kind == "datasets" else set())
    for plugin in map(partial(registry.load, kind), registry.names(kind)):
        for name in optional & vars(plugin).keys() - {"Options", "excludes", "read_predictions", "score"}:
            member = vars(plugin)[name]
            function = member.fget if isinstance(member, property) else member
            # With it a misspelled name fails the type check.
            assert getattr(function, "__override__", False), f"{plugin.__name__}.{name} lacks @override"
