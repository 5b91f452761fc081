"""Runs cases on the workers of a cluster, each of which holds the model and reads and writes files itself.

A case whose worker is lost is done again by another one. What the lost worker may have written by then has
the same bits, since a result depends on input, model and options alone.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from petrt.cli.cases import Reporter, Told, Written, named
from petrt.cli.plan import InputCase
from petrt.errors import DeviceError, PetrtError
from petrt.files.names import shown

logger = logging.getLogger("petrt")

# How often a case is begun. One that takes its worker's memory every time must not do so for ever.
MOST_TRIES = 3


@dataclass(frozen=True)
class Lost:
    """The worker of a case is gone: killed, out of memory, or its machine is."""

    why: str


@dataclass(frozen=True)
class Ended:
    """The ``index`` of a case, and how it ended on its worker."""

    index: int
    result: Written | PetrtError | OSError | Lost


@dataclass(frozen=True)
class Room:
    """``workers`` that a cluster has room for, each with so many ``threads``; at most ``side_by_side`` of
    them on one machine."""

    threads: int
    workers: int
    side_by_side: int


def room(machines: Sequence[Mapping[str, float]], threads: int | None, gpu: bool) -> Room:
    """The room on ``machines``, given as their resources "CPU" and "GPU". Without ``threads`` a worker takes
    the CPUs of the smallest machine, or those that it has for a GPU. Raises DeviceError if there is none."""
    sizes = [(int(each.get("CPU", 0)), int(each.get("GPU", 0))) for each in machines]
    sizes = [(cpus, gpus) for cpus, gpus in sizes if cpus and (gpus or not gpu)]
    if threads is None and sizes:
        threads = max(1, min(cpus // gpus if gpu else cpus for cpus, gpus in sizes))
    counts = [min(c // threads, g) if gpu else c // threads for c, g in sizes] if threads else []
    if threads is None or not any(counts):
        what = f"{threads or 1} CPU{'s' if (threads or 1) > 1 else ''}{' and a GPU' if gpu else ''}"
        raise DeviceError(
            f"no machine of the Ray cluster has {what}", "use fewer --threads, or another --device"
        )
    return Room(threads, sum(counts), max(counts))


class Cluster(Protocol):
    """Workers on one or several machines, each with one case at a time."""

    def want(self, cases: int) -> None:
        """Have workers for so many cases, if there is room for them."""

    def idle(self) -> bool:
        """Whether a worker waits for a case."""

    def submit(self, index: int, case: InputCase, *, again: bool) -> None:
        """Give a case to an idle worker. ``again``: a lost worker may have written outputs of it."""

    def wait(self) -> Ended | None:
        """Wait until a case ends, or until there may be an idle worker (None)."""


@dataclass(frozen=True)
class ClusterRunner:
    """A Runner (petrt.cli.cases) on a cluster. Cases are told of in the order in which they end."""

    cluster: Cluster
    several: bool = True

    def run(self, cases: Sequence[InputCase], told: Told | None = None) -> list[PetrtError]:
        """See petrt.cli.cases.Runner."""
        report = Reporter(len(cases), told, self.several)
        failures: list[PetrtError] = []
        waiting, running = deque(range(len(cases))), set[int]()
        lost: Counter[int] = Counter()
        while waiting or running:
            self.cluster.want(len(waiting) + len(running))
            while waiting and self.cluster.idle():
                index = waiting.popleft()
                self.cluster.submit(index, cases[index], again=lost[index] > 0)
                running.add(index)
            ended = self.cluster.wait()
            if ended is None:
                continue
            running.remove(ended.index)
            case, result = cases[ended.index], ended.result
            if isinstance(result, Written):
                report.done(case, result)
                continue
            if isinstance(result, Lost):
                lost[ended.index] += 1
                if lost[ended.index] < MOST_TRIES:
                    text = f"its worker is lost ({result.why}), another one does it again"
                    told_of = {"event": "lost", "case": shown(case.source)}
                    logger.warning("warning: %s", named(case.source, text), extra=told_of)
                    waiting.appendleft(ended.index)
                    continue
                result = DeviceError(
                    f"{shown(case.source)}: {MOST_TRIES} workers were lost with it: {result.why}",
                    "out of memory is the usual reason; use fewer samples or --memory",
                )
            failures.append(report.failed(case, result))
        return failures
