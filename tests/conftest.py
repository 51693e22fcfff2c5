"""Shared fixtures. Real data: ``SAMBENCH_TEST_DATA``, else ``../shared/data`` beside the checkout."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.toy_runs import STARTED, Call, Gate, arguments
from hypothesis import HealthCheck, settings
from PIL import Image

# Tests run beside each other, and so do the processes they start: more threads than cores slow all of them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Every option has a variable of its own. What somebody has set is not what the tests ask for; what they do not ask for
# is the same on every machine, and a small run loads torch only if its model does.
for _name in {name for name in os.environ if name.startswith("SAMBENCH_")} - {
    "SAMBENCH_TEST_DATA",
    "SAMBENCH_CHROMIUM",
    "SAMBENCH_NO_BROWSER",
}:
    del os.environ[_name]
os.environ.update(SAMBENCH_DEVICE="cpu", SAMBENCH_WORKERS="1", SAMBENCH_THREADS="1")

# What a script starts in the background is deaf to Ctrl-C, and so would be the runs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Nor is an example too slow because something else runs, or because a loop is compiled for the first one.
settings.register_profile("untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of small real datasets. Absent on a stranger's machine: skip. Absent in CI: fail."""
    folder = Path(os.environ.get("SAMBENCH_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "SHA256SUMS").is_file():
        message = f"no real test data at {folder}: set SAMBENCH_TEST_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


TOY_MODEL = '''
import os
import numpy as np

class Toy:
    """Pixels of about the first point's colour, moved by later points and by the mask fed back."""
    trained_on = ()

    def set_image(self, image):
        if gate := os.environ.get("TOY_GATE"):
            with open(gate + ".asked", "ab") as asked:
                asked.write(b".")
            with open(gate, "rb", buffering=0) as pipe:
                pipe.read(1)
        if image[0, 0, 0] == 13:
            raise RuntimeError("an unlucky image")
        self.image = image.astype(np.float64)

    def predict(self, point_coords, point_labels, mask_input=None, multimask_output=True):
        field = np.zeros(self.image.shape[:2])
        for (x, y), label in zip(point_coords, point_labels):
            distance = np.abs(self.image - self.image[int(y), int(x)]).sum(axis=2)
            field += (60 - distance) * (1 if label else -0.5)
        if mask_input is not None:
            field += 0.25 * mask_input[0]
        logits = np.stack([field - t for t in ((-40, 0, 30) if multimask_output else (0,))])
        return logits > 0, np.cos(logits.mean(axis=(1, 2))) / 2 + 0.5, logits
'''


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A quick model whose answers depend on image, clicks and fed-back logits, as ``--model`` takes it."""
    file = tmp_path_factory.mktemp("model") / "toy_model.py"
    file.write_text(TOY_MODEL)
    return f"{file}:Toy"


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small images of blobs with one to four masks each, in the layout of ``mask_pngs``. Not to be changed."""
    folder = tmp_path_factory.mktemp("toy_data")
    rng = np.random.default_rng(5)
    for n in range(12):
        image = rng.integers(0, 40, (40 + n, 50, 3))
        masks = folder / "masks" / f"im{n:02d}"
        masks.mkdir(parents=True)
        for k in range(n % 4 + 1):
            y, x = rng.integers(5, 30, 2)
            blob = np.hypot(*np.mgrid[-y : 40 + n - y, -x : 50 - x]) < 4 + 2 * k
            image[blob] = (60 * k + 50) % 256 + rng.integers(0, 30, (int(blob.sum()), 3))
            Image.fromarray((blob * 255).astype(np.uint8)).save(masks / f"m{k}.png")
        image[0, 0] = 200
        (folder / "images").mkdir(exist_ok=True)
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / "images" / f"im{n:02d}.png")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache folder for all tests of a process: nothing is left on the machine, nothing old is found."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMBENCH_CACHE", str(folder))
        patch.delenv("PYTEST_ADDOPTS", raising=False)  # a pytest that a test starts would erase our coverage
        yield folder


@pytest.fixture(scope="session")
def sambench_cli(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own, in an empty folder; extra keywords are environment variables."""
    folder = tmp_path_factory.mktemp("cwd")

    def call(*arguments: object, code: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "sambench", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return _ended(done, code)

    return call


@pytest.fixture
def sambench_here(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same in the process of the tests, which has imported everything: for many commands that start no run."""
    from sambench.cli.main import main

    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))

    def call(*arguments: object, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["sambench", *map(str, arguments)])
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
        ended = subprocess.CompletedProcess(sys.argv, int(stop.value.code or 0), out.getvalue(), err.getvalue())
        return _ended(ended, code)

    return call


def _ended(done: subprocess.CompletedProcess[str], code: int | None) -> subprocess.CompletedProcess[str]:
    if code is not None:
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def undisturbed(sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run that nothing happened to. Not to be changed."""
    out = tmp_path_factory.mktemp("undisturbed")
    sambench_cli(*arguments(toy_data, toy_model, out, "--workers", 1))
    return out


@pytest.fixture(autouse=True)
def no_run_is_left() -> Iterator[None]:
    """A test that fails half-way leaves no process behind."""
    yield
    while STARTED:
        child = STARTED.pop()
        if child.poll() is None:
            child.kill()
            child.wait()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Holds back the toy model of the runs that are started with it."""
    made = Gate(tmp_path)
    yield made
    made.close()


@pytest.fixture
def own_data(toy_data: Path, tmp_path: Path) -> Path:
    """A copy of the toy data, to be changed."""
    return Path(shutil.copytree(toy_data, tmp_path / "own_data"))
