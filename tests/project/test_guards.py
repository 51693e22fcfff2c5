"""Promises of the layout that a slip would break far from where it was made. Each asks in a fresh process."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import datasets as whose_datasets
import pytest
from helpers.paths import ROOT

PLUGIN_FOLDERS = ("tasks", "datasets")
HEAVY = ("torch", "transformers", "pandas", "matplotlib", "datasets", "numba", "skimage")
HUGGING_FACE = Path(str(importlib.metadata.distribution("datasets").locate_file("datasets/__init__.py"))).resolve()


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=clean, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every file that git tracks. Absent in an unpacked sdist: skip. Absent in CI: fail."""
    if not (ROOT / ".git").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("not a git checkout")
        pytest.skip("not a git checkout")
    answer = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [ROOT / path for path in answer.stdout.split("\0") if path]
    assert ROOT / "sambench" / "cli" / "main.py" in files, "git does not track sambench/cli/main.py"
    return files


# --- whose `datasets` -----------------------------------------------------------------------------------------------


def test_datasets_is_hugging_face_in_this_process() -> None:
    assert Path(str(whose_datasets.__file__)).resolve() == HUGGING_FACE


@pytest.mark.parametrize("folder", [".", "tests", "tasks", "datasets"])
def test_datasets_is_hugging_face_under_pytest(folder: str) -> None:
    """``python -m pytest`` puts the current folder first on the path: here it holds a folder of that name."""
    test = f"{Path(__file__).resolve()}::{test_datasets_is_hugging_face_in_this_process.__name__}"
    done = python("-m", "pytest", "-c", str(ROOT / "pyproject.toml"), test, cwd=ROOT / folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("folder", [".", "tests", "tasks", "datasets", "empty"])
def test_datasets_is_hugging_face_under_python_c(folder: str, tmp_path: Path) -> None:
    cwd = tmp_path if folder == "empty" else ROOT / folder
    done = python("-c", "import sambench.suite.datasets, datasets; print(datasets.__file__)", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).resolve() == HUGGING_FACE


def test_plugin_and_test_folders_are_not_packages() -> None:
    found = [path for folder in (*PLUGIN_FOLDERS, "tests") for path in (ROOT / folder).rglob("__init__.py")]
    assert found == [], "a package named `datasets` or `tasks` would shadow others of that name"


def test_one_package_provides_cv2() -> None:
    """Two OpenCV distributions overwrite each other's files."""
    assert set(importlib.metadata.packages_distributions()["cv2"]) == {"opencv-python"}


# --- plugins are ordinary classes -------------------------------------------------------------------------------------

SPAWN = """
import multiprocessing, operator, pickle, sys
import sambench.suite.datasets.demo as demo
import sambench.suite.tasks.single_point as single_point

if __name__ == "__main__":
    for plugin in (demo.PLUGIN, single_point.PLUGIN):
        assert pickle.loads(pickle.dumps(plugin)) is plugin
    # The child is sent a class, finds the file that it was written in, and reads an attribute of it.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(operator.attrgetter("card.name"), (demo.PLUGIN,)))
        print(pool.apply(operator.attrgetter("name"), (single_point.PLUGIN,)))
        print(pool.apply(operator.attrgetter("__module__"), (demo.PLUGIN,)))
"""


def test_plugins_pickle_and_spawn(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SPAWN)
    done = python("script.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["demo", "single_point", "sambench.suite.datasets.demo"]


# --- quick to start ---------------------------------------------------------------------------------------------------

LOADED = """
import json, sys
code = "did not get that far"
sys.argv = ["sambench", *{arguments}]
try:
    from sambench.cli.main import main
    if {arguments}:
        main()
    code = 0
except SystemExit as stop:
    code = stop.code or 0
finally:
    loaded = [name for name in {heavy} if name in sys.modules]
    print(json.dumps([code, loaded]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["list", "tasks"],
        ["list", "datasets"],
        ["list", "models"],
        ["show", "dataset", "demo"],
    ],
    ids=lambda arguments: " ".join(arguments) or "import sambench.cli.main",
)
def test_light_verbs_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    """torch takes seconds to import; help, lists and cards need none of it. No stopwatch: what was imported says it."""
    heavy = HEAVY if "show" not in arguments else ("torch", "transformers", "matplotlib", "datasets")
    done = python("-c", LOADED.format(arguments=arguments, heavy=heavy), cwd=tmp_path)
    assert json.loads(done.stderr.splitlines()[-1]) == [0, []], done.stdout + done.stderr


# --- what the files say -----------------------------------------------------------------------------------------------


def test_hugging_face_datasets_is_imported_in_one_module_at_most() -> None:
    importers = [path.name for path in (ROOT / "sambench").rglob("*.py") if "datasets" in top_level_imports(path)]
    assert len(importers) <= 1, importers


def top_level_imports(path: Path) -> set[str]:
    """First parts of all modules that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


# Written apart, so that this file does not hold what it looks for.
MACHINE = re.compile(
    rb"(?<![\w.~*{}-])/(?:%s)/" % b"|".join([b"wor" + b"k", b"roo" + b"t", b"opt/pyp" + b"i", b"opt/whee" + b"ls"])
    + b"|pypi[.]or"
    + b"g|files[.]python"
    + b"hosted|registry[.]npm"
    + b"js|deb[.]debia"
    + b"n"
)


def test_no_file_names_a_path_of_a_machine_or_the_host_of_a_registry(tracked: list[Path]) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in tracked
        if path.is_file() and (match := MACHINE.search(path.read_bytes()))
    ]
    assert found == []


@pytest.mark.parametrize("text", ["see /wor" + "k/main", "cd /roo" + "t/x", "https://pypi.or" + "g/simple"])
def test_the_search_for_machine_paths_finds_them(text: str) -> None:
    assert MACHINE.search(text.encode())


def test_every_module_says_what_it_is_for() -> None:
    """An empty ``__init__.py`` has nothing to say."""
    folders = ("sambench", *PLUGIN_FOLDERS, "benchmarks", "tests")
    modules = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")) if path.stat().st_size]
    assert len(modules) > 10
    assert [str(path.relative_to(ROOT)) for path in modules if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_the_documentation_names_files_that_exist() -> None:
    """Links and paths in backticks; a name in capitals is the reader's to fill in."""
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
    broken = []
    for page in pages:
        text = page.read_text("utf-8")
        links = re.findall(r"\]\((?!\w+://)([^)\s#]+)", text)
        broken += [f"{page.name}: {link}" for link in links if not (page.parent / link).exists()]
        paths = re.findall(r"`((?:sambench|tests|tasks|datasets|benchmarks)/[\w/.*]+)`", text)
        broken += [
            f"{page.name}: {path}" for path in paths if not re.search("[A-Z]{2}", path) and not [*ROOT.glob(path)]
        ]
    assert broken == []


def test_names_of_test_files_are_unique() -> None:
    """Without packages in tests/, two modules of one name would collide."""
    counts = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_test_module_imports_another() -> None:
    """What two of them need is in tests/helpers/."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    names = {path.stem for path in paths}
    importers = {path.name: top_level_imports(path) & names for path in paths}
    assert {name: found for name, found in importers.items() if found} == {}
