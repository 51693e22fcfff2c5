"""The example dataset of CONTRIBUTING.md works, passes every guard of a dataset, and each forgotten step is named."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.paths import ROOT

from sambench.errors import DataError
from sambench.plugins import registry

EXAMPLE = dict(
    re.findall(
        r"<!-- template: ([\w/]+\.py) -->\n```python\n(.*?)```",
        (ROOT / "CONTRIBUTING.md").read_text("utf-8"),
        re.DOTALL,
    )
)
PLUGIN, FIXTURE = "datasets/leaves.py", "tests/helpers/layouts/leaves.py"


def python(*arguments: object, cwd: Path, code: int = 0) -> str:
    """Runs Python with the package and the tests of ``cwd``, if it holds them."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example as a user's plugin folder, and the data of its fixture."""
    assert set(EXAMPLE) == {PLUGIN, FIXTURE}
    for path, text in EXAMPLE.items():
        (tmp_path / "plugins" / path).parent.mkdir(parents=True)
        (tmp_path / "plugins" / path).write_text(text)
    names: dict[str, object] = {}
    exec(EXAMPLE[FIXTURE], names)
    build = names["build"]
    assert callable(build)
    build(tmp_path / "data")
    return tmp_path


def test_the_example_finds_and_loads_its_samples(folder: Path) -> None:
    leaves = registry.load("datasets", f"{folder / 'plugins' / PLUGIN}:Leaves")
    options = leaves.Options()
    assert leaves.locate(folder / "plugins", "all", options) is None
    root = leaves.locate(folder / "data", "all", options)
    assert root == folder / "data" / "leaves"
    dataset = leaves(root, "all", options)
    assert [(entry.id, entry.n_masks) for entry in dataset.index()] == [("ash", 1), ("oak", 1)]
    sample = dataset.load("oak")
    assert sample.image.shape == (8, 10, 3)
    (instance,) = sample.truth.instances
    # Rows 1 to 5 and columns 2 to 6: 5 times 5 pixels.
    assert (instance.class_name, instance.mask.area, instance.mask.box) == ("leaf", 25, (2, 1, 7, 6))
    with pytest.raises(DataError, match="no mask"):
        dataset.load("elm")


def test_the_example_works_from_a_users_folder(folder: Path) -> None:
    """By its name and in a fresh process, as the command line finds it."""
    shown = python("-m", "sambench", "show", "dataset", "leaves", "--plugins", folder / "plugins", cwd=folder)
    assert "Leaves, one per photograph" in shown


@pytest.mark.parametrize("path", [PLUGIN, FIXTURE])
def test_the_example_passes_the_linter(folder: Path, path: str) -> None:
    for tool in (["format", "--check"], ["check"]):
        python("-m", "ruff", *tool, "--config", ROOT / "pyproject.toml", folder / "plugins" / path, cwd=folder)


# --- forgotten steps --------------------------------------------------------------------------------------------------

WITHOUT = {
    "archives": "datasets/leaves_archives.py: CARD lacks archives=(Archive(FILE, HOLDS), ...)",
    "semantics": "datasets/leaves_semantics.py: CARD lacks semantics=Semantics(...): what counts as a mask",
    "citation": "datasets/leaves_citation.py: CARD lacks citation= with a year",
    "url": "datasets/leaves_url.py: CARD lacks url=: the home page",
    "licence": "datasets/leaves_licence.py: CARD lacks licence=",
    "access": "datasets/leaves_access.py: CARD lacks access=: how to get the files",
    "layout": "datasets/leaves_layout.py: CARD lacks layout=: the tree under the dataset's folder",
    "tasks": "datasets/leaves_tasks.py: CARD lacks tasks=: the tasks that the dataset supports",
    "folders": 'datasets/leaves_folders.py: CARD lacks folders=("leaves_folders", ...)',
}
"""By the field of the card that is left empty, what a guard says of the dataset ``leaves_FIELD``."""

FORGOTTEN = {
    **{f"leaves_{field}": message for field, message in WITHOUT.items()},
    "leaves_no_fixture": "tests/helpers/layouts/leaves_no_fixture.py is missing: write build(root)",
    "leaves_other_fixture": "datasets/leaves_other_fixture.py: locate() does not find tests/helpers/layouts/",
    "leaves_no_page": "docs/datasets/leaves_no_page.md is missing: run python -m sambench.data.pages docs",
    "leaves_old_page": "docs/datasets/leaves_old_page.md is out of date: run python -m sambench.data.pages docs",
    "index_page": "the table of docs/datasets.md is out of date: run python -m sambench.data.pages docs",
}
"""By the name of a dataset (or the guard of all) where one step is forgotten, what a guard says."""


def add(root: Path, name: str, field: str = "") -> None:
    """Puts the example into a checkout under a name; ``field``: a field of its card that is left empty."""
    plugin = EXAMPLE[PLUGIN].replace("leaves", name)
    empty = {"archives": "()", "semantics": "Semantics()", "tasks": "frozenset()", "folders": "()"}.get(field, '""')
    plugin, count = re.subn(rf"^    {field}=.*", f"    {field}={empty},", plugin, flags=re.M)
    assert count == bool(field)
    (root / PLUGIN).with_stem(name).write_text(plugin)
    (root / FIXTURE).with_stem(name).write_text(EXAMPLE[FIXTURE].replace("leaves", name))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the guards look at, without the shipped datasets: each dataset of ours lacks one step."""
    for name in ("sambench", "tasks", "docs", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("stored"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    pages, fixtures = tmp_path / "docs" / "datasets", tmp_path / "tests" / "helpers" / "layouts"
    for shipped in (*pages.glob("*.md"), *fixtures.glob("*.py")):
        shipped.unlink()
    (tmp_path / "datasets").mkdir()
    for name in ("leaves", "leaves_no_fixture", "leaves_other_fixture", "leaves_no_page", "leaves_old_page"):
        add(tmp_path, name)
    for field in WITHOUT:
        add(tmp_path, f"leaves_{field}", field)
    python("-m", "sambench.data.pages", "docs", cwd=tmp_path)
    (fixtures / "leaves_no_fixture.py").unlink()
    (fixtures / "leaves_other_fixture.py").write_text(EXAMPLE[FIXTURE])
    (pages / "leaves_no_page.md").unlink()
    (pages / "leaves_old_page.md").write_text("# Leaves\n")
    index = tmp_path / "docs" / "datasets.md"
    index.write_text(re.sub(r"^\| \[leaves_no_page\].*\n", "", index.read_text(), flags=re.M))
    return tmp_path


def test_the_example_passes_every_guard_and_a_forgotten_step_is_named(checkout: Path) -> None:
    guards = ("tests/datasets/test_cards.py", "tests/datasets/test_all_datasets.py", "-k", "leaves or index_page")
    python("-m", "pytest", "-p", "no:xdist", *guards, "--junitxml", "guards.xml", cwd=checkout, code=1)
    said: dict[str, list[str]] = {}
    for case in ElementTree.parse(checkout / "guards.xml").iter("testcase"):
        guard, _, name = str(case.get("name")).rstrip("]").partition("[")
        for problem in case:
            said.setdefault(name or guard.removeprefix("test_the_").removesuffix("_is_the_cards"), []).append(
                str(problem.get("message"))
            )
    assert said.keys() == FORGOTTEN.keys()
    assert [name for name, message in FORGOTTEN.items() if message not in "\n".join(said[name])] == []
