"""Runs on a Ray cluster: the records of a run on one machine, whatever is lost on the way.

One cluster serves all tests of a process: a head and two nodes with one CPU each, all of them on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from helpers.toy_runs import Call, Gate, arguments, interrupt, shards, start, the_run, wait_for

from sambench.engine import ray_workers
from sambench.engine.dispatch import News, dispatch
from sambench.engine.inbox import ListInbox
from sambench.engine.job import Batch, BatchResult, Job, TaskJob, batches
from sambench.engine.ray_workers import RayPool
from sambench.engine.worker import Worker
from sambench.errors import SambenchError, UsageError
from sambench.models import zoo
from sambench.runs import provenance
from sambench.runs.directory import read_records

WORK = batches([f"im{n:02d}" for n in range(12)], [[f"im{n:02d}" for n in range(12)]], 1)

# Models that something happens to: once, which a file says, as processes come and go.
MODELS = '''
import os, threading
from toy_model import Toy

def once(name):
    try:
        os.close(os.open(os.path.join(os.path.dirname(__file__), name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

class Gated(Toy):
    """Waits before each image for a byte of the pipe beside this file."""
    def set_image(self, image):
        with open(os.path.join(os.path.dirname(__file__), "gate"), "rb", buffering=0) as pipe:
            pipe.read(1)
        super().set_image(image)

class Dying(Toy):
    """Takes its process with it on the sixth image."""
    def set_image(self, image):
        if image.shape[0] == 45 and once("died"):
            os.kill(os.getpid(), 9)
        super().set_image(image)

class Doomed(Toy):
    """Says on the sixth image which daemon its process belongs to, and waits for what comes."""
    def set_image(self, image):
        if image.shape[0] == 45 and once("waits"):
            with open(os.path.join(os.path.dirname(__file__), "raylet"), "w") as file:
                file.write(f"{os.getppid()}.")
            threading.Event().wait()
        super().set_image(image)

class Telling:
    """Tells where it is."""
    def set_image(self, image):
        told = {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "SAMBENCH_TOLD"))}
        raise RuntimeError(f"{os.getcwd()} {sorted(told.items())}")
    def predict(self, point_coords, point_labels): ...

class Unmade:
    def __init__(self):
        raise ValueError("torn weights")
'''


SLOW_START = "timed out during startup"
"""What Ray says of a node that was not up after 30 s, a limit that nothing can change: the machine is busy."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    try:
        ray_workers._ray()
    except UsageError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    from ray.cluster_utils import Cluster

    # Not below pytest's own folder: the names of Ray's sockets have to be short.
    folder = tempfile.mkdtemp(prefix="ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        head = {"num_cpus": 0, "include_dashboard": False}

        def make() -> Any:
            made = Cluster(initialize_head=True, head_node_args=head)
            try:
                for _ in range(2):
                    made.add_node(num_cpus=1, wait=False)
            except Exception:
                made.shutdown()
                raise
            return made

        made = started(make)
        try:
            made.wait_for_nodes(timeout=600)
            yield made
        finally:
            ray().shutdown()
            made.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def started(start: Callable[[], Any]) -> Any:
    while True:
        try:
            return start()
        except Exception as error:
            if SLOW_START not in str(error):
                raise


@pytest.fixture
def connected(cluster: Any) -> Any:
    """The cluster, with this process connected to it."""
    ray_workers.connect(cluster.address)
    return cluster


def ray() -> Any:
    import ray

    return ray


@pytest.fixture
def models(toy_model: str, tmp_path: Path) -> Path:
    """The file of MODELS, in a folder of its own."""
    folder = Path(toy_model.removesuffix(":Toy")).parent
    file = tmp_path / "models.py"
    file.write_text(f"import sys; sys.path.insert(0, {str(folder)!r})\n{MODELS}")
    return file


def job(data: Path, reference: str, **changes: Any) -> Job:
    settings = {
        "tasks": (TaskJob("single_point"),),
        "dataset": "mask_pngs",
        "dataset_options": {"dir": str(data)},
        "root": data,
        "split": "all",
        "model": zoo.locate(reference, {}),
        "device": "cpu",
        "threads": 1,
        "encode_batch": 1,
        "seed": 0,
        "label": f"mask_pngs:{data}",
    }
    return Job(**{**settings, **changes})


class Watched(RayPool):
    """Remembers who was started and what became known."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.names: list[int] = []
        self.lost: list[str] = []

    def start(self) -> int:
        self.names.append(super().start())
        return self.names[-1]

    def poll(self, seconds: float) -> list[News[int]]:
        news = super().poll(seconds)
        self.lost += [one.lost for one in news if one.lost]
        return news


def run(
    pool: RayPool, workers: int = 2, work: Sequence[Batch] = WORK, stop: threading.Event | None = None
) -> list[BatchResult]:
    return list(dispatch(pool, work, workers, 1, stop or threading.Event()))


def records(done: Sequence[BatchResult]) -> Mapping[int, pa.Table]:
    """By batch, what does not depend on the time of day. Each batch came once, and nothing failed."""
    assert len({one.number for one in done}) == len(done)
    assert not [failure for one in done for failure in one.results[0].failures]
    return {one.number: pa.concat_tables(one.results[0].tables).drop_columns(["time_ms"]) for one in done}


@pytest.fixture(scope="module")
def expected(toy_data: Path, toy_model: str) -> Mapping[int, pa.Table]:
    """The records of a worker in this process."""
    return records(list(Worker(job(toy_data, toy_model)).stream(ListInbox(WORK))))


def test_records_are_those_of_one_process(
    connected: Any, expected: Mapping[int, pa.Table], toy_data: Path, toy_model: str
) -> None:
    assert ray_workers.capacity("cpu", 1) == 2
    assert ray_workers.capacity("cpu", 2) == 1, "there is always one, which may have to wait for its node"
    pool = Watched(job(toy_data, toy_model))
    assert records(run(pool)) == expected
    assert (len(pool.names), pool.lost) == (2, [])


def test_a_worker_has_the_surroundings_of_who_hired_it(
    connected: Any, toy_data: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would set OMP_NUM_THREADS to an actor's CPUs, here 1, and starts it elsewhere."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SAMBENCH_TOLD", "yes")
    monkeypatch.chdir(toy_data.parent)
    (done,) = run(RayPool(job(Path(toy_data.name), f"{models}:Telling")), 1, WORK[:1])
    (failure,) = done.results[0].failures
    told = [("OMP_NUM_THREADS", "3"), ("SAMBENCH_TOLD", "yes")]
    assert failure.error == f"RuntimeError: {toy_data.parent} {told}"


def test_a_dead_process_costs_nothing(
    connected: Any, expected: Mapping[int, pa.Table], toy_data: Path, models: Path
) -> None:
    pool = Watched(job(toy_data, f"{models}:Dying"))
    assert records(run(pool)) == expected
    assert (models.parent / "died").is_file()
    (lost,) = pool.lost
    assert lost.startswith("its process was ended (out of memory?) (on node ")


def test_a_dead_node_costs_nothing(
    connected: Any, expected: Mapping[int, pa.Table], toy_data: Path, models: Path
) -> None:
    """The worker that is started in place of the lost one finds no room: nothing waits for it."""
    note = models.parent / "raylet"

    def remove() -> None:
        wait_for(lambda: note.is_file() and note.read_text().endswith("."))
        pid = int(note.read_text().removesuffix("."))
        (node,) = [n for n in connected.worker_nodes if n.all_processes["raylet"][0].process.pid == pid]
        connected.remove_node(node, allow_graceful=False)

    pool = Watched(job(toy_data, f"{models}:Doomed"))
    remover = threading.Thread(target=remove, daemon=True)
    remover.start()
    try:
        assert records(run(pool)) == expected
        remover.join()
    finally:
        started(lambda: connected.add_node(num_cpus=1, wait=False))
    (lost,) = pool.lost
    assert "on node" in lost
    assert len(pool.names) == 3


def test_a_stop_finishes_what_is_in_work(
    connected: Any, expected: Mapping[int, pa.Table], toy_data: Path, models: Path, gate: Gate
) -> None:
    class Stopped(Watched):
        """Lets the images in work through once every worker knows that it should stop."""

        def stop(self) -> None:
            super().stop()
            actors = [actor.handle for actor in self._actors.values() if actor.node]
            ray().get([handle.stop.options(concurrency_group="stop").remote() for handle in actors])
            gate.let(2)

    pool, stop, done = Stopped(job(toy_data, f"{models}:Gated")), threading.Event(), []
    gate.let(1)
    for one in dispatch(pool, WORK, 3, 1, stop):
        done.append(one)
        stop.set()
    assert 1 <= len(done) <= 3
    assert all(expected[number] == table for number, table in records(done).items())
    assert len(pool.lost) == 3, "also the one that never found room"


@pytest.mark.parametrize("broken", ["weights", "versions", "model", "sambench"])
def test_a_node_where_something_is_missing_is_named(
    connected: Any, toy_data: Path, toy_model: str, models: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    asked = job(toy_data, toy_model)
    if broken == "weights":
        model = zoo.LocatedModel(**{**vars(asked.model), "weights_path": "/only/here.pth"})
        asked = job(toy_data, toy_model, model=model)
        size = ray_workers._size
        monkeypatch.setattr(ray_workers, "_size", lambda path: 7 if path == "/only/here.pth" else size(path))
        message = r"/only/here.pth is missing on node \S+ \(\S+\): keep data, weights and plugins on a file system"
    elif broken == "versions":
        facts = provenance.facts()
        monkeypatch.setattr(provenance, "facts", lambda: {**facts, "versions": {**facts["versions"], "torch": "1.0"}})
        message = r"^node \S+ \(\S+\) has torch \S+ in place of 1.0: all nodes need one version"
    elif broken == "sambench":
        # A class of a module that is here alone stands in for sambench where it is not installed.
        elsewhere: Any = ModuleType("only_here")
        elsewhere.RayActor = type("RayActor", (ray_workers.RayActor,), {"__module__": "only_here"})
        monkeypatch.setitem(sys.modules, "only_here", elsewhere)
        monkeypatch.setattr(ray_workers, "RayActor", elsewhere.RayActor)
        message = (
            r"^no worker can be started on node [\d.]+: ModuleNotFoundError: No module named 'only_here'; sambench"
        )
    else:
        asked = job(toy_data, f"{models}:Unmade")
        message = r"models.py:Unmade cannot be made: ValueError: torn weights \(on node \S+ \(\S+\)\)$"
    with pytest.raises(SambenchError, match=message):
        run(RayPool(asked))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "The actor died unexpectedly before finishing this task.\n\tpid: 1\nThe actor is dead because its node has "
            "died. Node Id: 55ab. The actor's node was terminated unexpectedly: health check failed",
            "its node has died",
        ),
        (
            "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
            "End of file. Some common causes include: (1) the process was killed by the OOM killer due to high memory",
            "its process was ended (out of memory?)",
        ),
        (
            "The actor is dead because its worker process has died. Worker exit type: NODE_OUT_OF_MEMORY Worker exit "
            "detail: Task was killed due to the node running low on memory.",
            "its node ran out of memory",
        ),
    ],
)
def test_a_loss_is_one_line(cluster: Any, said: str, why: str) -> None:
    assert ray_workers._why(ray().exceptions.RayActorError(error_msg=said)) == why


def test_a_cluster_that_is_too_small_is_told(
    connected: Any, toy_data: Path, toy_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_workers, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(SambenchError, match=r"which asks for 64 CPUs; its nodes have .*1 CPU, 0 GPUs"):
        run(RayPool(job(toy_data, toy_model, threads=64)))
    with pytest.raises(SambenchError, match=r"which asks for 1 GPU, 1 CPU; its nodes have"):
        run(RayPool(job(toy_data, toy_model, device="cuda")))


def test_a_full_cluster_is_waited_for(
    connected: Any,
    expected: Mapping[int, pa.Table],
    toy_data: Path,
    toy_model: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Other:
        def here(self) -> bool:
            return True

    class Waiting(RayPool):
        """Makes room once it was asked for."""

        def poll(self, seconds: float) -> list[News[int]]:
            news = super().poll(seconds)
            said.append(capsys.readouterr().err)
            while others and said[-1]:
                ray().kill(others.pop())
            return news

    monkeypatch.setattr(ray_workers, "PATIENCE_SECONDS", 0.5)
    said: list[str] = []
    others = [ray().remote(num_cpus=1)(Other).remote() for _ in range(2)]
    ray().get([other.here.remote() for other in others])
    assert records(run(Waiting(job(toy_data, toy_model)))) == expected
    complaint = "".join(said)
    assert "no worker has started after " in complaint
    assert "each asks for 1 CPU; the cluster's nodes have " in complaint


def test_the_command_line_attaches_stops_and_goes_on(
    cluster: Any,
    expected: Mapping[int, pa.Table],
    sambench_cli: Call,
    toy_data: Path,
    models: Path,
    gate: Gate,
    tmp_path: Path,
) -> None:
    """SIGTERM, for which Ray would like to be responsible, ends a run in good order."""
    out = tmp_path / "out"
    more = ["--threads", "1", "--backend", "ray", "--ray-address", cluster.address]
    command = arguments(toy_data, f"{models}:Gated", out, *more)
    child = start(command)
    gate.let(2)
    wait_for(lambda: len(shards(out)) >= 2)
    assert "SIGTERM: finishing the current batch" in interrupt(child, signal.SIGTERM, gate, out)
    at = the_run(out)
    assert 2 <= json.loads((at / "summary.json").read_text())["n_scored"] < 12
    gate.let(100)
    done = sambench_cli(*command)
    assert "12/12" in done.stdout
    assert "raylet" not in done.stdout + done.stderr, "nothing of Ray's own"
    assert (
        read_records(at, [batch.ids[0] or "" for batch in WORK])
        .drop_columns(["time_ms"])
        .equals(pa.concat_tables(expected.values()))
    )
    assert json.loads((at / "manifest.json").read_text())["sessions"][-1]["backend"] == "ray"


def test_without_an_address_a_cluster_is_made_and_ended(
    sambench_cli: Call, toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        where = ["-t", "single_point", "-d", f"mask_pngs:{toy_data}", "-m", toy_model, "--out", tmp_path / "out"]
        own = {"RAY_TMPDIR": folder, "HOME": folder, "RAY_ADDRESS": ""}
        command = ["run", *where, "--threads", 1, "--backend", "ray", "--limit", 2]
        done = sambench_cli(*command, code=None, **own)
        while SLOW_START in done.stderr:
            done = sambench_cli(*command, code=None, **own)
        assert done.returncode == 1, done.stderr
        assert "2 of 12" in done.stdout + done.stderr or "2/12" in done.stdout
        wait_for(lambda: not any(folder in command for command in _commands()))
        assert not (Path(folder) / ".ray").exists(), "no token is left at home"


def _commands() -> Iterator[str]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield file.read_text().replace("\0", " ")
        except OSError:
            continue


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "with --ray-address auto or HOST:PORT"),
        ("head", "--ray-address head: it is HOST:PORT"),
        ("127.0.0.1:1", "no Ray cluster can be reached at 127.0.0.1:1: .*refused"),
    ],
)
def test_an_address_where_no_cluster_is(address: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "_ray", lambda: Unconnected())
    with pytest.raises(UsageError, match=message):
        ray_workers.connect(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError, match=message):
        ray_workers.connect("")


class Unconnected:
    """Stands in for Ray: of another version than the cluster, and with an eye on SIGTERM."""

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9\n    Python: 3.11.1\n")

    def shutdown(self) -> None:
        pass


def test_a_cluster_of_another_version_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "_ray", lambda: Unconnected())
    monkeypatch.setattr(ray_workers, "_reach", lambda address: None)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UsageError) as raised:
        ray_workers.connect("head:6379")
    assert str(raised.value) == (
        "cannot use the Ray cluster at head:6379: Version mismatch: The cluster was started with: Ray: 2.9 "
        "Python: 3.11.1"
    )
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'sambench\[ray\]'"):
        ray_workers.connect("")
