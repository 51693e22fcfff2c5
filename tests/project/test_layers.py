"""Which way imports may point. import-linter holds the rule inside ``sambench`` (contracts in pyproject.toml, run in
CI); here it is shown to bite, and the rule for plugin files, which lie outside the package, is checked on their syntax.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.paths import ROOT

from sambench.plugins import registry

PLUGINS = sorted([*(ROOT / "tasks").glob("*.py"), *(ROOT / "datasets").glob("*.py")])
PLUGIN_NAMES = {path.stem for path in PLUGINS}
# What a plugin is made from. The rest of sambench runs plugins.
FOR_PLUGINS = {
    "atomic_files",
    "clicks",
    "demo",
    "errors",
    "masks",
    "metrics",
    "models",
    "plugins",
    "protocols",
    "readers",
    "text",
    "types",
}


def imported(source: str) -> Iterator[str]:
    """Full names of what a source imports, anywhere in it: ``from a.b import c`` gives ``a.b.c``; relative ones keep
    their dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def complaints_about_plugin(source: str) -> list[str]:
    """The imports of a plugin file that reach for another plugin or for what runs plugins."""
    found = []
    for name in imported(source):
        parts = name.split(".")
        if name.startswith("."):
            found.append(f"{name}: relative, hence another plugin")
        elif parts[0] == "sambench" and (len(parts) < 2 or parts[1] not in FOR_PLUGINS):
            found.append(f"{name}: plugins import only {', '.join(sorted(FOR_PLUGINS))} of sambench")
        elif parts[0] in PLUGIN_NAMES or (
            parts[0] in {"tasks", "datasets"} and parts[1:2] and parts[1] in PLUGIN_NAMES
        ):
            found.append(f"{name}: another plugin")
    return found


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_plugin_imports_no_plugin_and_not_the_engine(path: Path) -> None:
    assert complaints_about_plugin(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "from . import demo",
        "from .demo import Demo",
        "import demo",
        "from datasets.demo import Demo",
        "from sambench.suite.datasets import demo",
        "import sambench.suite.tasks.single_point",
        "from sambench.engine import execute",
        "def f():\n    from sambench.cli.main import main",
        "import sambench",
    ],
)
def test_the_rule_for_plugins_bites(line: str) -> None:
    assert complaints_about_plugin(line) != []


@pytest.mark.parametrize(
    "line", ["from sambench.types import Mask", "from sambench import masks", "import numpy as np"]
)
def test_the_rule_for_plugins_allows_what_it_should(line: str) -> None:
    assert complaints_about_plugin(line) == []


def plugins_named_in(source: str) -> list[str]:
    """Imports of plugins by name, and strings that are such a name (which ``import_module`` would take)."""
    strings = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [n for n in [*imported(source), *strings] if re.fullmatch(r"sambench\.suite\.(tasks|datasets)\.\w+", n)]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "sambench").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT / "sambench"))
)
def test_sambench_names_no_plugin(path: Path) -> None:
    assert plugins_named_in(path.read_text()) == []


@pytest.mark.parametrize(
    "line", ["from sambench.suite.datasets import demo", "import_module('sambench.suite.tasks.single_point')"]
)
def test_the_search_for_named_plugins_finds_them(line: str) -> None:
    assert plugins_named_in(line) != []


def loaded_at_import(source: str) -> set[str]:
    """First parts of what a module imports while it is itself imported: not in functions, not for type checkers."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting.extend(node.orelse)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {name.split(".")[0] for name in imported(ast.unparse(node))}
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return found


def test_importing_sambench_loads_torch_only_where_a_model_is_made() -> None:
    files = [*(ROOT / "sambench").rglob("*.py"), *PLUGINS]
    torch = [path for path in files if loaded_at_import(path.read_text()) & {"torch", "transformers"}]
    names = {path.relative_to(ROOT).as_posix() for path in torch}
    assert {name for name in names if not name.startswith("sambench/models/")} == set()
    # What `list models` and every run read before a model is needed.
    light = ("families/", "zoo.py", "cards", "requirements", "common/wrapper", "region_tree/", "edges/")
    assert {name for name in names if name.removeprefix("sambench/models/").startswith(light)} == set()


@pytest.mark.parametrize(
    ("source", "loaded"),
    [
        ("import torch.nn as nn", {"torch"}),
        ("class A:\n    from torch import nn", {"torch"}),
        ("try:\n    import torch\nexcept ImportError:\n    pass", {"torch"}),
        ("def f():\n    import torch", set()),
        ("if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy", {"numpy"}),
    ],
)
def test_the_search_for_what_an_import_loads(source: str, loaded: set[str]) -> None:
    assert loaded_at_import(source) == loaded


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package and its contracts, to be broken."""
    shutil.copytree(ROOT / "sambench", tmp_path / "sambench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("metrics/iou.py", "def f() -> None:\n    import torch"),
        ("masks.py", "import torch"),
        ("clicks.py", "from sambench.models import zoo"),
        ("types.py", "from sambench import masks"),
        ("core/task.py", "from sambench import masks"),
        ("errors.py", "from sambench.types import Mask"),
        ("runs/directory.py", "from sambench.engine import execute"),
        ("models/zoo.py", "from sambench.engine import execute"),
        ("plugins/registry.py", "from sambench.models import zoo"),
        ("readers/images.py", "from sambench.runs import directory"),
        ("engine/execute.py", "from sambench import cli"),
        ("outputs/gallery.py", "from sambench.cli import run"),
        ("analysis/compare.py", "from sambench.outputs import gallery"),
        ("reporting/__init__.py", "from sambench import cli"),
    ],
)
def test_a_contract_breaks_when_an_import_points_up(package: Path, module: str, line: str) -> None:
    with (package / "sambench" / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(package)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout


# --- the size of rooms, and the doors between them -------------------------------------------------------------------


def test_no_package_grows_into_a_heap() -> None:
    assert len(list((ROOT / "sambench").glob("*.py"))) <= 12
    for folder, most in (("cli", 250), ("engine", 450), ("runs", 450), ("planning", 450)):
        lines = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "sambench" / folder).glob("*.py")}
        assert {name: count for name, count in lines.items() if count > most} == {}, folder


def joined_paths(source: str) -> set[str]:
    """The texts that a source joins to paths: ``folder / "manifest.json"``."""
    nodes = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
    )
    return {
        node.right.value for node in nodes if isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)
    }


@pytest.mark.parametrize(
    "path",
    sorted(
        path for path in (ROOT / "sambench").rglob("*.py") if path.relative_to(ROOT / "sambench").parts[0] != "runs"
    ),
    ids=lambda path: str(path.relative_to(ROOT / "sambench")),
)
def test_only_runs_opens_the_files_of_a_run(path: Path) -> None:
    assert joined_paths(path.read_text()) & {"manifest.json", "records"} == set()


def test_the_search_for_joined_paths_finds_them() -> None:
    assert joined_paths('read(run.path / "manifest.json")') == {"manifest.json"}


def test_outputs_and_study_know_no_option_of_a_task() -> None:
    """A user's task with an option of such a name would be taken for another one."""
    tasks = [registry.load("tasks", name) for name in registry.names("tasks")]
    options = {field.name for task in tasks for field in dataclasses.fields(task.Options) if "_" in field.name}
    assert "save_masks" in options
    for folder in ("outputs", "study"):
        for path in (ROOT / "sambench" / folder).glob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text()))
            texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
            assert texts & options == set(), path.name
