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
"""Bytes of a cluster made here for what is on its way: records, and the few files that tasks keep."""
REACH_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
"""How long a cluster in which no node is large enough may take to get one; how often a full one is reported."""
END_SECONDS = 10.0
"""How long actors that were ended may take to be gone."""
_TAKE_SECONDS = 60.0

_MIRRORED = ("SAMBENCH_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "CUBLAS_", "NVIDIA_TF32_")
"""Variables of the environment that every worker has as the process that hired it has them, also where that has none.
Ray sets ``OMP_NUM_THREADS`` to an actor's CPUs, which would change sums."""

_GROUPS = {"out": 1, "stop": 1}
"""Threads of an actor besides the one that takes batches, one after the other: for what comes back, for the order to
stop. None waits for another."""
_REVISION = "revision"


def connect(address: str) -> None:
    """Connects this process to a Ray cluster, once; what is connected already stays so.

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
        # A token that lasts as long as the cluster. Ray would leave one in the home directory, which clusters that are
        # started later would ask for.
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
    # Ray puts a handler of its own in place of the one for SIGTERM, with which a run ends in good order.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**start)
    except Exception as error:
        ray.shutdown()
        where = f"the Ray cluster at {address}" if address not in ("", "local") else "a Ray cluster of this machine"
        what = _line(error.__cause__ or error)
        if "AuthToken" in what:
            what = (
                "it asks for its token: set RAY_AUTH_MODE=token, with the token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
            )
        raise UsageError(f"cannot use {where}: {what}") from error
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

    An actor that dies, or whose node does, is lost and not started again; one that finds no room waits for it.
    """

    def __init__(self, job: Job) -> None:
        self._ray = _ray()
        self._job = job
        self._demand = _demand(job.device, job.threads)
        options = {f"num_{name.lower()}s": n for name, n in self._demand.items()}
        self._seat = self._ray.remote(
            max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD", concurrency_groups=_GROUPS, **options
        )(RayActor)
        self._facts, self._paths = _facts(), _paths(job)
        self._hired: dict[int, _Hired] = {}
        self._names = itertools.count()
        self._reported = self._since = time.monotonic()

    def hire(self) -> int:
        actor = self._seat.remote(os.getcwd(), _mirrored())
        name = next(self._names)
        self._hired[name] = _Hired(actor, actor.open.remote(self._facts, self._paths, pickle.dumps(self._job)))
        return name

    def ready(self, worker: int) -> bool:
        """Whether it has begun: one that waits for room does not get batches that others could do."""
        return worker in self._hired and bool(self._hired[worker].node)

    def give(self, worker: int, batches: Sequence[Batch]) -> None:
        if worker in self._hired:
            self._hired[worker].actor.give.remote(list(batches))

    def news(self, seconds: float) -> list[News[int]]:
        by_ref = {hired.ref: name for name, hired in self._hired.items()}
        if not by_ref:
            return []
        finished, others = self._ray.wait(list(by_ref), timeout=seconds)
        if finished and others:
            finished += self._ray.wait(others, num_returns=len(others), timeout=0)[0]
        news = [one for ref in finished for one in self._read(by_ref[ref])]
        self._complain()
        return news

    def _read(self, name: int) -> list[News[int]]:
        from sambench.engine.dispatch import News  # see the top

        hired = self._hired[name]
        try:
            answer: str | WorkerReport = self._ray.get(hired.ref)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, SambenchError):
                raise _at(hired.node, error.cause) from None
            return [News(name, lost=self._lose(name, _line(error.cause)))]
        except self._ray.exceptions.RayError as error:
            if getattr(error, "_actor_init_failed", False):
                raise _unstarted(error) from None
            return [News(name, lost=self._lose(name, _why(error)))]
        if isinstance(answer, str):
            hired.node = answer
            news = []
        else:
            lost = self._lose(name, "it has ended") if answer.ended else ""
            news = [News(name, answer.done, answer.taken, lost)]
        if name in self._hired:
            hired.ref = hired.actor.take.options(concurrency_group="out").remote(_TAKE_SECONDS)
        return news

    def _lose(self, name: int, why: str) -> str:
        """Makes sure that a worker is gone, and says where it was."""
        hired = self._hired.pop(name)
        self._ray.kill(hired.actor)
        return f"{why} (on node {hired.node})" if hired.node else why

    def _complain(self) -> None:
        """Says so from time to time where no worker has found room yet; raises SambenchError where none can."""
        now = time.monotonic()
        if not self._hired or any(hired.node for hired in self._hired.values()):
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

    def halt(self) -> None:
        for hired in self._hired.values():
            if hired.node:
                hired.actor.halt.options(concurrency_group="stop").remote()
            else:
                self._ray.kill(hired.actor)

    def dismiss(self) -> None:
        hired, self._hired = list(self._hired.values()), {}
        # The cluster may be what has gone.
        with suppress(self._ray.exceptions.RayError):
            for one in hired:
                self._ray.kill(one.actor)
            if hired:
                self._ray.wait([one.ref for one in hired], num_returns=len(hired), timeout=END_SECONDS)


@dataclass
class _Hired:
    """An actor and the one call of it that has not answered yet. ``node``: where it runs, empty until it does."""

    actor: Any
    ref: Any
    node: str = ""


class RayActor:
    """What an actor is: a :class:`sambench.engine.worker_thread.WorkerThread` on a node of the cluster.

    ``folder``: the working directory of who hired it, in which relative paths mean the same. ``environment``: of that
    process too, see ``_MIRRORED``.
    """

    def __init__(self, folder: str, environment: Mapping[str, str]) -> None:
        for name in [name for name in os.environ if name.startswith(_MIRRORED)]:
            del os.environ[name]
        os.environ.update(environment)
        with suppress(OSError):  # what is missed then is named by `open`
            os.chdir(folder)
        self._desk: WorkerThread

    def open(self, facts: Mapping[str, str], paths: Mapping[str, int], job: bytes) -> str:
        """Begins to load the pickled job, and answers which node this is.

        Raises SambenchError where it could not do the same as on the node that hires: ``facts`` and ``paths`` of there.
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
                what = "is not there" if _size(path) is None else "is another file"
                raise SambenchError(
                    f"{path} {what} on node {node}: data, weights and plugins have to lie on a file system that all "
                    "nodes share"
                )
        from sambench.engine.worker_thread import WorkerThread

        self._desk = WorkerThread(pickle.loads(job))
        return node

    def give(self, batches: Sequence[Batch]) -> None:
        self._desk.give(batches)

    def take(self, seconds: float) -> WorkerReport:
        return self._desk.take(seconds)

    def halt(self) -> None:
        self._desk.halt()


def _ray() -> Any:
    """Ray, quiet and at home. Raises UsageError where it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # What its daemons have to say of a death goes to stdout otherwise; the crew says it in one line.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--backend ray needs Ray: pip install 'sambench[ray]'") from error
    return ray


def _reach(address: str) -> None:
    """Raises UsageError where nobody listens: Ray would try for minutes."""
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
    """What a worker occupies of its node, as Ray calls it."""
    return {"GPU": 1, "CPU": 1} if device == "cuda" else {"CPU": threads}


def _nodes() -> list[dict[str, float]]:
    """What each living node has."""
    return [node["Resources"] for node in _ray().nodes() if node["Alive"]]


def _resources(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{n:.0f} {name}{'' if n == 1 else 's'}" for name, n in amounts.items())


def _mirrored() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_MIRRORED)}


def _facts() -> dict[str, str]:
    """What has to be the same on every node for records to be."""
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
    """Bytes of a file, -1 of a folder; None if it is not there."""
    try:
        return -1 if os.path.isdir(path) else os.path.getsize(path)
    except OSError:
        return None


def _at(node: str, error: SambenchError) -> SambenchError:
    """The error of a worker, with where it was."""
    return type(error)(f"{error} (on node {node})") if node else error


def _line(error: BaseException | None) -> str:
    text = " ".join(str(error).split())
    return (
        text if isinstance(error, (SambenchError, ConnectionError, RuntimeError)) else f"{type(error).__name__}: {text}"
    )


def _unstarted(error: Exception) -> SambenchError:
    """Says what Ray could not do to make an actor of a class that it did not find, say."""
    lines = str(error).splitlines()
    place = re.search(r"\bip=([^,)]+)", str(error))
    return SambenchError(
        f"no worker can be started on node {place[1] if place else '?'}: {lines[-1].strip()}; sambench has to be "
        "installed on every node, in the Python that `ray start` ran in"
    )


def _why(error: Exception) -> str:
    """What Ray knows of the end of an actor, without its advice."""
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
