"""Ray as the cluster of petrt reconstruct and bids --ray. Only this file imports Ray.

No usage statistics leave the machine, and Ray prints nothing: stdout belongs to records, and what matters
is told by the log. Every machine needs petrt, Ray and the model, and sees inputs and outputs under the same
paths, as on a shared file system.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from petrt.cli.cases import CaseRunner, Written
from petrt.cli.cluster import Ended, Lost, room
from petrt.cli.output import STDOUT
from petrt.cli.pictures import Line
from petrt.cli.plan import InputCase
from petrt.cli.resume import Keys, standing
from petrt.cli.setup import Setup
from petrt.errors import DeviceError, PetrtError, UsageError, first_line, speak_of, spoken

logger = logging.getLogger("petrt")

# Ray reads these when it is imported. The first sends nothing home; of the last two, one leaves the list of
# GPUs alone where a worker asks for none, the other drops what machines print.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
}
STORE = 100 << 20  # bytes of Ray's object store: no image passes through it
REACH = 5.0  # seconds until an address counts as unreachable; Ray itself waits for ever
POLL = 5.0  # seconds
PATIENCE = 300.0  # seconds without any worker


# Makes what runs cases under a setup, in the process of a worker.
MakeRunner = Callable[[Setup], CaseRunner]


def case_runner(setup: Setup) -> CaseRunner:
    """Runs the cases of petrt reconstruct."""
    keys = Keys(setup.reconstructor, setup.fraction, setup.nonfinite)
    return CaseRunner(setup.reconstructor, setup.dose, setup.nonfinite, setup.max_voxels, keys)


class CaseWorker:
    """A Ray actor: holds the model and runs one case after the other."""

    def __init__(
        self,
        setup: Setup,
        options: frozenset[str] | None,
        side_by_side: int,
        make: MakeRunner = case_runner,
    ) -> None:
        self._setup, self._options, self._side_by_side = setup, options, side_by_side
        self._make = make
        self._runner: CaseRunner

    def ready(self) -> Keys | PetrtError:
        """Load the model. Returns the keys under this machine's engine."""
        from petrt.hardware.memory import SHARE, available

        speak_of(self._options)
        setup, free = self._setup, available()
        if setup.memory is None and setup.device == "cpu" and free is not None:
            setup = replace(setup, memory=SHARE * free / self._side_by_side / 2**30)
        try:
            self._runner = self._make(setup)
        except PetrtError as error:
            return error
        assert self._runner.keys is not None
        return self._runner.keys

    def run(self, case: InputCase, again: bool) -> Written | PetrtError | OSError:
        """Run a case. ``again``: outputs of it with its key may exist and may be replaced."""
        try:
            if again:
                assert self._runner.keys is not None
                stands = standing(case, self._runner.keys)
                if stands.refused:
                    return stands.refused
                case = replace(case, overwrite=True)
            with _collected() as lines:
                written = self._runner.one(case)
            return replace(written, lines=[*lines, *written.lines])
        except (PetrtError, OSError) as error:
            return error


@contextmanager
def _collected() -> Iterator[list[Line]]:
    """What petrt warns of in the block, for the log of the command; nothing of it goes to Ray's."""
    lines: list[Line] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((record.levelno, record.getMessage()))

    collector = Collector(logging.WARNING)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        yield lines
    finally:
        logger.removeHandler(collector)
        logger.propagate = before


class RayCluster:
    """A Cluster (petrt.cli.cluster). ``keys``: those of all its workers, which must agree."""

    def __init__(self, ray: Any, setup: Setup, make: MakeRunner = case_runner) -> None:
        self._make = make
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpu = setup.device == "cuda"
        self._ray, self._room = ray, room(machines, setup.threads, gpu)
        if gpus := 0 if gpu else int(sum(each.get("GPU", 0) for each in machines)):
            logger.warning(
                "warning: the %d GPUs of the cluster rest; --device cuda uses them", gpus
            )
        self._setup = replace(
            setup,
            model=_everywhere(setup.model),
            threads=self._room.threads,
            device="cuda" if gpu else "cpu",
        )
        self._actor = ray.remote(CaseWorker).options(
            num_cpus=self._room.threads, num_gpus=int(gpu), max_restarts=0, max_task_retries=0
        )
        self._starting: dict[Any, Any] = {}  # what is waited for -> worker
        self._running: dict[Any, tuple[Any, int]] = {}
        self._idle: list[Any] = []
        self._most, self._since = self._room.workers, time.monotonic()
        self._first: Keys | None = None

    @property
    def keys(self) -> Keys:
        """The keys of cases; waits for the first worker. Raises its error if none can be had."""
        self.want(1)
        while self._first is None:
            self.wait()
        return self._first

    def want(self, cases: int) -> None:
        """See Cluster."""
        while len(self._starting) + len(self._running) + len(self._idle) < min(cases, self._most):
            worker = self._actor.remote(self._setup, spoken(), self._room.side_by_side, self._make)
            self._starting[worker.ready.remote()] = worker

    def idle(self) -> bool:
        """See Cluster."""
        return bool(self._idle)

    def submit(self, index: int, case: InputCase, *, again: bool) -> None:
        """See Cluster."""
        worker = self._idle.pop()
        self._running[worker.run.remote(_absolute(case), again)] = worker, index

    def wait(self) -> Ended | None:
        """See Cluster."""
        waited_for = [*self._running, *self._starting]
        found, _ = self._ray.wait(waited_for, num_returns=1, timeout=POLL)
        if self._running or self._idle or found:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > PATIENCE:
            raise DeviceError(
                f"the Ray cluster has had no room for a worker for {PATIENCE / 60:.0f} minutes",
                "ray status shows what is in use",
            )
        for each in found:
            if each in self._starting:
                self._started(self._starting.pop(each), self._result(each))
                continue
            worker, index = self._running.pop(each)
            result = self._result(each)
            if isinstance(result, Lost):
                self._ray.kill(worker)  # if it is only out of reach it must not go on
            else:
                self._idle.append(worker)
            return Ended(index, result)
        return None

    def _started(self, worker: Any, result: Any) -> None:
        if isinstance(result, Keys) and self._first is None:
            self._first = result
            name, precision, device = json.loads(result.settings)["engine"]
            logger.info(
                "Ray: room for %d workers, %d CPU threads each; engine %s, %s on %s",
                *(self._room.workers, self._room.threads, name, precision, device),
            )
        if isinstance(result, Keys) and result.settings == _settings(self._first):
            self._idle.append(worker)
            return
        self._ray.kill(worker)
        if isinstance(result, Lost):
            result = DeviceError(
                f"a worker does not start: {result.why}",
                "every machine of the cluster needs petrt and its packages in the same versions",
            )
        elif isinstance(result, Keys):
            result = DeviceError(
                "machines of the cluster would compute different values: "
                f"{_difference(result.settings, _settings(self._first))}",
                "install the same version everywhere, or name --engine and --precision",
            )
        if not (self._idle or self._running or self._starting):
            raise result
        logger.warning("warning: one worker less: %s", result)
        self._most = max(1, self._most - 1)

    def _result(self, done: Any) -> Any:
        lost = self._ray.exceptions
        try:
            return self._ray.get(done)
        except (lost.RayActorError, lost.OutOfMemoryError, lost.NodeDiedError) as error:
            return Lost(_why(error))
        except lost.RayTaskError as error:  # a fault of petrt in the worker
            raise getattr(error, "cause", None) or error from None

    def close(self) -> None:
        """End all workers, also within a case."""
        for worker in (
            *self._idle,
            *self._starting.values(),
            *(w for w, _ in self._running.values()),
        ):
            self._ray.kill(worker)


@contextmanager
def connected(address: str, setup: Setup, make: MakeRunner = case_runner) -> Iterator[RayCluster]:
    """The cluster at ``address``: "auto" is the one that this machine belongs to, "local" one of this machine
    alone; ``make``: what runs its cases. In the end its workers are gone. Raises UsageError, DeviceError."""
    if setup.device not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--device {setup.device} with --ray", "say --device cuda: Ray chooses the GPUs"
        )
    os.environ.update(QUIET)
    terminate = signal.getsignal(signal.SIGTERM)
    ray = _imported()
    _connect(ray, address)
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminate)  # Ray's own ends with another exit code
        cluster = RayCluster(ray, setup, make)
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        ray.shutdown()


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        from petrt.hardware.packages import extra

        raise UsageError("--ray needs Ray", extra("ray")) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
    if "://" in address:
        raise UsageError(
            f"--ray {address}: Ray Client is not used",
            "give HOST:PORT, on a machine of the cluster",
        )
    own: dict[str, Any] = {}
    if address == "local":
        from petrt.hardware.cpu import default_threads

        own = {
            "num_cpus": default_threads(),
            "object_store_memory": STORE,
            "include_dashboard": False,
        }
    elif address != "auto":
        _reach(address)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except ConnectionError as error:
        raise DeviceError(
            "no Ray cluster is found on this machine",
            "start one with ray start --head, or say --ray local for this machine alone",
        ) from error
    except (RuntimeError, ValueError, OSError, AssertionError) as error:
        raise DeviceError(
            f"Ray does not connect: {first_line(error)}", "ray status tells more"
        ) from error


def _reach(address: str) -> None:
    """Raise unless something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--ray {address}: not an address", "give auto, local or HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()
    except OSError as error:
        raise DeviceError(
            f"--ray {address}: {error.strerror or first_line(error)}", "check that the cluster runs"
        ) from error


def _everywhere(model: str) -> str:
    """The bundle's path as other processes find it; the name of a shipped model stays."""
    return str(Path(model).absolute()) if os.path.exists(model) else model


def _absolute(case: InputCase) -> InputCase:
    """``case`` for a process in another working folder."""
    names = ("source", "image", "std", "record", "preview", "coarse", "report")
    paths = {name: getattr(case, name) for name in names}
    return replace(
        case,
        **{name: path.absolute() for name, path in paths.items() if path not in (None, STDOUT)},
    )


def _settings(keys: Keys | None) -> str:
    return keys.settings if keys is not None else ""


def _difference(one: str, other: str) -> str:
    first, second = json.loads(one), json.loads(other)
    return ", ".join(
        f"{name} {first.get(name)} and {second.get(name)}"
        for name in first
        if first.get(name) != second.get(name)
    )


def _why(error: BaseException) -> str:
    """Ray's reason in a few words; its own text has twenty lines and names of machines."""
    text = str(error)
    if "running low on memory" in text or "NODE_OUT_OF_MEMORY" in text:
        return "out of memory"
    if "No module named" in text:
        return "petrt or one of its packages is missing on a machine"
    if "node has died" in text or "node died" in text:
        return "its machine is gone"
    return "its process died"
