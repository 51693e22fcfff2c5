"""Workers on a Ray cluster: an actor for each GPU, or for each share of a node's cores.

At the top nothing is imported that imports numpy or torch. An actor's process imports this module before anything of
the actor's can run, and numerical libraries read how many threads to use when they are loaded: :class:`RayActor` has to
have set that straight by then.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import re
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sambench.errors import SambenchError, UsageError
from sambench.runs import provenance

if TYPE_CHECKING:
    from sambench.engine.dispatch import News
    from sambench.engine.job import Batch, Job
    from sambench.engine.worker_thread import WorkerReport, WorkerThread

OBJECT_STORE = 256 * 2**20
"""Bytes of the object store of a cluster made here: records in transit, and the few files that tasks keep."""
REACH_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
"""How long a cluster may be without a node that is large enough; how often a full cluster is reported."""
END_SECONDS = 10.0
"""How long killed actors may take to be gone."""
_POLL_SECONDS = 60.0

_MIRRORED = ("SAMBENCH_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "CUBLAS_", "NVIDIA_TF32_")
"""Variables of the environment that every worker has as in the process that started it, unset ones included.
Ray sets ``OMP_NUM_THREADS`` to an actor's CPUs, which would change sums."""

_GROUPS = {"out": 1, "stop": 1}
"""Threads of an actor besides the one that takes batches: for reports, for the order to stop. None waits for
another."""
_REVISION = "revision"


def connect(address: str) -> None:
    """Connects this process to a Ray cluster, unless it is connected already.

    ``address``: ``HOST:PORT`` of its head; ``auto``, the cluster that this machine is a node of; empty, what
    ``RAY_ADDRESS`` says, or else a cluster of this machine's cores and GPUs that ends with this process.

    Raises UsageError: Ray is not installed, or no cluster can be reached or used there.
    """
    ray = _ray()
    if ray.is_initialized():
        return
    if address in ("", "auto"):
        address = os.environ.get("RAY_ADDRESS", "") or address
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address in ("", "local"):
        here = {
            "num_cpus": provenance.facts()["processors"],
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
        }
        start = {"address": "local", **here, **quiet}
        # A token that lasts as long as the cluster. Ray would leave one in the home directory, for which later
        # clusters would ask.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    else:
        if "://" in address:
            raise UsageError(
                f"--ray-address {address}: a Ray Client's run would be lost with its connection. Start sambench on a "
                "node of the cluster, with --ray-address auto or HOST:PORT of the head (port 6379 by default)"
            )
        if address != "auto":
            _reach(address)
        start = {"address": address, **quiet}
    # Ray replaces the handler of SIGTERM, with which a run ends in good order.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**start)
    except Exception as error:
        ray.shutdown()
        where = f"the Ray cluster at {address}" if address not in ("", "local") else "a Ray cluster of this machine"
        cause = _line(error.__cause__ or error)
        if "AuthToken" in cause:
            cause = (
                "it asks for its token: set RAY_AUTH_MODE=token, with the token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
            )
        raise UsageError(f"cannot use {where}: {cause}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def capacity(device: str, threads: int) -> int:
    """How many workers the cluster that is connected has room for when nothing else runs there; at least 1."""
    demand = _demand(device, threads)
    return max(1, sum(min(int(node.get(name, 0) // n) for name, n in demand.items()) for node in _nodes()))


def has_gpus() -> bool:
    """Whether any node of the cluster that is connected has a GPU."""
    return any(node.get("GPU", 0) >= 1 for node in _nodes())


class RayPool:
    """A :class:`sambench.engine.dispatch.WorkerPool` of Ray actors, on the cluster that is connected.

    An actor that dies, or whose node does, is lost and not restarted; one that finds no room waits for it.
    """

    def __init__(self, job: Job) -> None:
        self._ray = _ray()
        self._job = job
        self._demand = _demand(job.device, job.threads)
        options = {f"num_{name.lower()}s": n for name, n in self._demand.items()}
        self._actor_class = self._ray.remote(
            max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD", concurrency_groups=_GROUPS, **options
        )(RayActor)
        self._facts, self._paths = _facts(), _paths(job)
        self._actors: dict[int, _Actor] = {}
        self._names = itertools.count()
        self._reported = self._since = time.monotonic()

    def start(self) -> int:
        handle = self._actor_class.remote(os.getcwd(), _mirrored())
        name = next(self._names)
        self._actors[name] = _Actor(handle, handle.open.remote(self._facts, self._paths, pickle.dumps(self._job)))
        return name

    def ready(self, worker: int) -> bool:
        """Whether it has begun: one that waits for room does not get batches that others could do."""
        return worker in self._actors and bool(self._actors[worker].node)

    def submit(self, worker: int, batches: Sequence[Batch]) -> None:
        if worker in self._actors:
            self._actors[worker].handle.submit.remote(list(batches))

    def poll(self, seconds: float) -> list[News[int]]:
        by_ref = {actor.ref: name for name, actor in self._actors.items()}
        if not by_ref:
            return []
        finished, others = self._ray.wait(list(by_ref), timeout=seconds)
        if finished and others:
            finished += self._ray.wait(others, num_returns=len(others), timeout=0)[0]
        news = [item for ref in finished for item in self._read(by_ref[ref])]
        self._complain()
        return news

    def _read(self, name: int) -> list[News[int]]:
        from sambench.engine.dispatch import News  # see the top

        actor = self._actors[name]
        try:
            answer: str | WorkerReport = self._ray.get(actor.ref)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, SambenchError):
                raise _at(actor.node, error.cause) from None
            return [News(name, lost=self._lose(name, _line(error.cause)))]
        except self._ray.exceptions.RayError as error:
            if getattr(error, "_actor_init_failed", False):
                raise _unstarted(error) from None
            return [News(name, lost=self._lose(name, _why(error)))]
        if isinstance(answer, str):
            actor.node = answer
            news = []
        else:
            lost = self._lose(name, "it has ended") if answer.ended else ""
            news = [News(name, answer.done, answer.taken, lost)]
        if name in self._actors:
            actor.ref = actor.handle.poll.options(concurrency_group="out").remote(_POLL_SECONDS)
        return news

    def _lose(self, name: int, why: str) -> str:
        """Makes sure that a worker is gone, and adds its node to the cause."""
        actor = self._actors.pop(name)
        self._ray.kill(actor.handle)
        return f"{why} (on node {actor.node})" if actor.node else why

    def _complain(self) -> None:
        """Reports from time to time that no worker has found room yet; raises SambenchError if none can."""
        now = time.monotonic()
        if not self._actors or any(actor.node for actor in self._actors.values()):
            self._since = self._reported = now
            return
        if now - self._reported < PATIENCE_SECONDS:
            return
        self._reported = now
        nodes = _nodes()
        needs = _resources(self._demand)
        has = "; ".join(_resources({name: node.get(name, 0) for name in ("CPU", "GPU")}) for node in nodes)
        if not any(all(node.get(name, 0) >= n for name, n in self._demand.items()) for node in nodes):
            raise SambenchError(
                f"no node of the Ray cluster is large enough for a worker, which asks for {needs}; its nodes have {has}"
                " (--threads says how many CPUs a worker on CPUs asks for)"
            )
        print(
            f"no worker has started after {now - self._since:.0f} s: each asks for {needs}; the cluster's nodes have "
            f"{has}, which others may be using",
            file=sys.stderr,
            flush=True,
        )

    def stop(self) -> None:
        for actor in self._actors.values():
            if actor.node:
                actor.handle.stop.options(concurrency_group="stop").remote()
            else:
                self._ray.kill(actor.handle)

    def kill(self) -> None:
        actors, self._actors = list(self._actors.values()), {}
        # The cluster itself may be gone.
        with suppress(self._ray.exceptions.RayError):
            for actor in actors:
                self._ray.kill(actor.handle)
            if actors:
                self._ray.wait([actor.ref for actor in actors], num_returns=len(actors), timeout=END_SECONDS)


@dataclass
class _Actor:
    """An actor and its only unanswered call. ``node``: where it runs, empty until it does."""

    handle: Any
    ref: Any
    node: str = ""


class RayActor:
    """A :class:`sambench.engine.worker_thread.WorkerThread` on a node of the cluster.

    ``folder``: the working directory of the process that started it, against which relative paths resolve.
    ``environment``: variables of that process, see ``_MIRRORED``.
    """

    def __init__(self, folder: str, environment: Mapping[str, str]) -> None:
        for name in [name for name in os.environ if name.startswith(_MIRRORED)]:
            del os.environ[name]
        os.environ.update(environment)
        with suppress(OSError):  # `open` names the missing paths
            os.chdir(folder)
        self._thread: WorkerThread

    def open(self, facts: Mapping[str, str], paths: Mapping[str, int], job: bytes) -> str:
        """Begins to load the pickled job, and returns the name of this node.

        Raises SambenchError where ``facts`` and ``paths`` differ from those of the node that started it.
        """
        node = f"{socket.gethostname()} ({_ray().util.get_node_ip_address()})"
        # Not every node can ask git, nor has a revision what was installed from a wheel.
        own = {_REVISION: facts.get(_REVISION, "")} | _facts()
        if differing := [
            f"{name} {own.get(name)} in place of {fact}" for name, fact in facts.items() if own.get(name) != fact
        ]:
            raise SambenchError(
                f"node {node} has {', '.join(differing)}: all nodes need one version of everything, as from a Python "
                "environment on a file system that they share"
            )
        for path, size in paths.items():
            if _size(path) != size:
                problem = "is missing" if _size(path) is None else "is another file"
                raise SambenchError(
                    f"{path} {problem} on node {node}: keep data, weights and plugins on a file system that all nodes "
                    "share"
                )
        from sambench.engine.worker_thread import WorkerThread

        self._thread = WorkerThread(pickle.loads(job))
        return node

    def submit(self, batches: Sequence[Batch]) -> None:
        self._thread.submit(batches)

    def poll(self, seconds: float) -> WorkerReport:
        return self._thread.poll(seconds)

    def stop(self) -> None:
        self._thread.stop()


def _ray() -> Any:
    """Ray, quiet. Raises UsageError where it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Its daemons report a death to stdout otherwise; the pool reports it in one line.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--backend ray needs Ray: pip install 'sambench[ray]'") from error
    return ray


def _reach(address: str) -> None:
    """Raises UsageError if nothing listens there: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(
            f"--ray-address {address}: it is HOST:PORT of the cluster's head (port 6379 by default), or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"no Ray cluster can be reached at {address}: {error}") from error


def _demand(device: str, threads: int) -> dict[str, int]:
    """The resources of its node that a worker occupies, by Ray's names."""
    return {"GPU": 1, "CPU": 1} if device == "cuda" else {"CPU": threads}


def _nodes() -> list[dict[str, float]]:
    """The resources of each living node."""
    return [node["Resources"] for node in _ray().nodes() if node["Alive"]]


def _resources(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{n:.0f} {name}{'' if n == 1 else 's'}" for name, n in amounts.items())


def _mirrored() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_MIRRORED)}


def _facts() -> dict[str, str]:
    """Versions that must be the same on every node for records to be the same."""
    facts = provenance.facts()
    revision = facts["git_revision"]
    return {**facts["versions"], **({_REVISION: revision} if revision else {})}


def _paths(job: Job) -> dict[str, int]:
    """The files and folders that a job names, with their sizes here."""
    named = [job.dataset, job.model.reference, *(task.name for task in job.tasks)]
    plugins = [name.rpartition(":")[0] for name in named if ".py:" in name]
    sizes = {
        path: _size(path) for path in (str(job.root), job.model.weights_path, *job.plugin_folders, *plugins) if path
    }
    return {path: size for path, size in sizes.items() if size is not None}


def _size(path: str) -> int | None:
    """Bytes of a file, -1 of a folder; None if it is missing."""
    try:
        return -1 if os.path.isdir(path) else os.path.getsize(path)
    except OSError:
        return None


def _at(node: str, error: SambenchError) -> SambenchError:
    """The error of a worker, with its node."""
    return type(error)(f"{error} (on node {node})") if node else error


def _line(error: BaseException | None) -> str:
    text = " ".join(str(error).split())
    return (
        text if isinstance(error, (SambenchError, ConnectionError, RuntimeError)) else f"{type(error).__name__}: {text}"
    )


def _unstarted(error: Exception) -> SambenchError:
    """The error where Ray could not make an actor, because it did not find the class, say."""
    lines = str(error).splitlines()
    place = re.search(r"\bip=([^,)]+)", str(error))
    return SambenchError(
        f"no worker can be started on node {place[1] if place else '?'}: {lines[-1].strip()}; sambench has to be "
        "installed on every node, in the Python that `ray start` ran in"
    )


def _why(error: Exception) -> str:
    """Why an actor ended, as Ray knows it, without Ray's advice."""
    text = " ".join(str(error).split())
    if "memory" in text.partition("Some common causes")[0]:
        return "its node ran out of memory"
    if getattr(error, "_preempted", False):
        return "its node was taken away"
    _, dead, reason = text.partition("The actor is dead because ")
    if "worker process has died" in reason:
        return "its process was ended (out of memory?)"
    if dead:
        return reason.partition(". ")[0]
    if isinstance(error, _ray().exceptions.ActorUnavailableError):
        return "its node cannot be reached any more"
    return f"{type(error).__name__}: {text}"
