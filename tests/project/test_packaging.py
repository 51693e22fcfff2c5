"""What ships and how it installs: the wheel and the sdist hold what git tracks, and three ways to install work."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from helpers.paths import ROOT

import sambench

HUGGING_FACE = Path(str(importlib.metadata.distribution("datasets").locate_file("datasets/__init__.py"))).resolve()
WHEEL_FOLDERS = ("sambench", "tasks", "datasets", "reports")
SDIST_FOLDERS = (*WHEEL_FOLDERS, "tests", "benchmarks", "docs")


def git_files(root: Path, *folders: str) -> list[str]:
    answer = subprocess.run(["git", "ls-files", "-z", *folders], cwd=root, check=True, capture_output=True, text=True)
    return sorted(path for path in answer.stdout.split("\0") if path)


def build(kind: str, source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Runs the build back end itself: no isolation, no network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)]
    return subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)


def built(kind: str, source: Path, out: Path) -> Path:
    done = build(kind, source, out)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.iterdir()
    return path


def in_wheel(path: str) -> str:
    """Where a file of the repository lies in the wheel."""
    return path if path.startswith("sambench/") else f"sambench/suite/{path}"


def wheel_content(wheel: Path) -> dict[str, bytes]:
    """Name to bytes of everything but the ``dist-info`` folder."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        return {name: archive.read(name) for name in names}


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Every file that git tracks here. Absent in an unpacked sdist: skip. Absent in CI: fail."""
    if not (ROOT / ".git").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("not a git checkout")
        pytest.skip("not a git checkout")
    files = git_files(ROOT)
    assert {in_wheel(path).split("/")[0] for path in files} >= {"sambench"}, "git tracks no file of sambench/"
    return files


@pytest.fixture
def checkout(tracked: list[str], tmp_path: Path) -> Path:
    """A git checkout of its own with the tracked files, where a test may litter."""
    return make_checkout(tracked, tmp_path / "checkout")


def make_checkout(tracked: Sequence[str], folder: Path) -> Path:
    for path in tracked:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--all", "--force"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def clean(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, shared by the tests that only read it."""
    return make_checkout(tracked, tmp_path_factory.mktemp("clean") / "checkout")


@pytest.fixture(scope="module")
def wheel(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", clean, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("sdist", clean, tmp_path_factory.mktemp("sdist"))


def test_wheel_holds_exactly_what_git_tracks(tracked: list[str], wheel: Path) -> None:
    expected = {in_wheel(path): ROOT / path for path in tracked if path.split("/")[0] in WHEEL_FOLDERS}
    content = wheel_content(wheel)
    assert sorted(content) == sorted(expected)
    assert all(content[name] == path.read_bytes() for name, path in expected.items())
    assert any(name.startswith("sambench/suite/tasks/") for name in content)
    assert any(name.startswith("sambench/suite/datasets/") for name in content)


def test_wheel_carries_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = f"sambench-{sambench.__version__}.dist-info/licenses/LICENSE"
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()


def test_sdist_holds_exactly_what_git_tracks(tracked: list[str], sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    inside = {path for path in tracked if path.split("/")[0] in SDIST_FOLDERS}
    assert {name for name in names if name.split("/")[0] in SDIST_FOLDERS} == inside
    assert {"LICENSE", "README.md", "pyproject.toml", "hatch_build.py", "constraints.txt", "PKG-INFO"} <= names - inside


def test_wheel_from_the_sdist_is_the_wheel_from_the_checkout(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert wheel_content(built("wheel", unpacked, tmp_path / "out")) == wheel_content(wheel)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize("stray", ["datasets/annotations.json", "sambench/notes.txt", "reports/deep/er/table.csv"])
def test_a_stray_file_stops_the_build(checkout: Path, tmp_path: Path, kind: str, stray: str) -> None:
    (checkout / stray).parent.mkdir(parents=True, exist_ok=True)
    (checkout / stray).write_text("not tracked")
    done = build(kind, checkout, tmp_path / "out")
    assert done.returncode != 0
    assert f"not tracked by git: {stray}" in done.stderr
    assert not list((tmp_path / "out").glob("*"))


def test_ignored_files_do_not_ship(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    """Also those that only git knows to be ignored: hatchling reads .gitignore, not .git/info/exclude."""
    (checkout / ".git" / "info" / "exclude").write_text("*.npy\n")
    for path in ("tasks/__pycache__/x.cpython-311.pyc", "datasets/big.npy", "sambench/metrics/big.npy"):
        (checkout / path).parent.mkdir(exist_ok=True)
        (checkout / path).write_text("ignored")
    assert wheel_content(built("wheel", checkout, tmp_path / "out")) == wheel_content(wheel)


PROBE = """
import json, datasets, sambench, sambench.suite.datasets.demo as demo, sambench.suite.tasks.single_point as task
print(json.dumps({
    "sambench": sambench.__file__, "demo": demo.__file__, "single_point": task.__file__, "datasets": datasets.__file__,
    "card": demo.PLUGIN.card.name, "task": task.PLUGIN.name,
}))
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An empty virtual environment that sees this one's packages, but not its editable installs."""
    folder = tmp_path / "environment"
    venv.EnvBuilder(symlinks=True).create(folder)
    site = next(folder.glob("lib*/python3*/site-packages"))
    # What a .pth file names is searched last, and .pth files found there are not read.
    (site / "base.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    return folder


def run_in(environment: Path, cwd: Path, *command: str) -> str:
    keep = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(environment / "bin" / command[0]), *command[1:]],
        cwd=cwd,
        env={**keep, "PATH": f"{environment / 'bin'}{os.pathsep}{keep['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def check_install(environment: Path, cwd: Path, what: Sequence[str], place: Callable[[Path], dict[str, Path]]) -> None:
    """Installs, then asks from an empty folder where things come from and whether the command works."""
    cwd.mkdir()
    flags = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    run_in(environment, cwd, "python", "-m", "pip", "install", *flags, *what)
    site = next(environment.glob("lib*/python3*/site-packages"))
    answer = json.loads(run_in(environment, cwd, "python", "-c", PROBE))
    for name, path in place(site).items():
        assert Path(answer[name]).resolve() == path.resolve()
    assert Path(answer["datasets"]).resolve() == HUGGING_FACE
    assert (answer["card"], answer["task"]) == ("demo", "single_point")
    assert sambench.__version__ in run_in(environment, cwd, "python", "-m", "sambench", "--version")
    assert re.search(r"\bdemo\b", run_in(environment, cwd, "sambench", "list", "datasets"))
    assert re.search(r"\bsingle_point\b", run_in(environment, cwd, "sambench", "list", "tasks"))
    assert list(cwd.iterdir()) == []


def places(package: Path, plugins: Path) -> dict[str, Path]:
    return {
        "sambench": package / "__init__.py",
        "demo": plugins / "datasets" / "demo.py",
        "single_point": plugins / "tasks" / "single_point.py",
    }


def test_editable_install(checkout: Path, environment: Path, tmp_path: Path) -> None:
    check_install(
        environment, tmp_path / "empty", ["-e", str(checkout)], lambda _: places(checkout / "sambench", checkout)
    )
    # Nothing is copied: a copy would go stale at the first edit.
    site = next(environment.glob("lib*/python3*/site-packages"))
    assert not (site / "sambench").exists()


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_install_from_a_distribution(
    request: pytest.FixtureRequest, environment: Path, tmp_path: Path, kind: str
) -> None:
    distribution: Path = request.getfixturevalue(kind)
    check_install(
        environment,
        tmp_path / "empty",
        [str(distribution)],
        lambda site: places(site / "sambench", site / "sambench" / "suite"),
    )


@pytest.mark.parametrize("marker", ["run-command", "test-command"])
def test_readme_commands_do_the_whole_set_up(marker: str) -> None:
    """The README is their only home: .ci/run reads them from there and runs them on a clean clone."""
    found = re.findall(rf"<!-- {marker} -->\n+```\w*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(found) == 1
    (command,) = found[0].strip().splitlines()
    assert "-m venv .venv" in command
    assert "-c constraints.txt" in command


def test_constraints_pin_what_pyproject_asks_for() -> None:
    """Every direct dependency, also of development, is pinned, and nothing else."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", pin) for pin in pins)
    assert sorted(pin.split("==")[0] for pin in pins) == sorted(re.split(r"[<>=\[ ]", name)[0] for name in asked)


def test_the_version_is_the_same_everywhere() -> None:
    assert f"\nversion: {sambench.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{sambench.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
