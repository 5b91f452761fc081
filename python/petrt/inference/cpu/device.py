"""A CPU as a device: several batches side by side, each on a worker of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from petrt.engines.base import Engine
from petrt.engines.select import choose
from petrt.errors import OutOfDeviceMemory
from petrt.hardware.cpu import default_threads
from petrt.inference.background import batches
from petrt.inference.cpu.parallelism import Parallelism, Shape, divisor
from petrt.inference.cpu.planner import Planner
from petrt.inference.cpu.worker import Clock, Worker
from petrt.inference.device import Job, Results, Running
from petrt.inference.forward import ReverseProcess
from petrt.model.bundle import Bundle

logger = logging.getLogger("petrt")


class CpuDevice:
    """As ``petrt.inference.device.Device``. The ``planner`` says how many workers there are.

    The seconds are those of the guides, of each network, and of the loop around the denoiser; means over
    workers.
    """

    turn: AbstractContextManager[Any] = nullcontext()

    def __init__(self, process: ReverseProcess, planner: Planner) -> None:
        self._process, self._planner = process, planner
        self._engine: Engine | None = None
        self._idle: dict[Shape, list[Worker]] = {}

    @contextmanager
    def running(self, job: Job) -> Iterator[Running]:
        parallelism, engine = self._prepare(job)
        pool, clock = ThreadPoolExecutor(parallelism.workers), Clock()
        samples = divisor(job.samples, parallelism.samples)
        logger.debug(
            "schedule: slices %d of %d, workers %d, threads of each %d, a call %d x %d (slices x samples)",
            job.wanted.sum(),
            len(job.wanted),
            parallelism.workers,
            parallelism.threads,
            parallelism.slices,
            samples,
        )

        def run(first: int, count: int, results: Results) -> None:
            slices = np.arange(first, first + count, dtype=np.int64)
            part = (result[first : first + count] for result in results)
            shape = Shape(count, samples, *job.volume.shape[1:])
            with self._worker(shape, engine, clock) as worker:
                worker.prepare(job.volume, first, job.dose)
                drawn = None if job.drawn is None else job.drawn[:, slices[0] : slices[-1] + 1]
                ids, noise = job.ids_of(slices), job.noise_of(slices)
                worker.sample(job.samples, job.seed, ids, noise, drawn)
                worker.finish(*part)

        def enqueue(first: int, count: int, results: Results) -> Callable[[], Any]:
            return pool.submit(run, first, count, results).result

        found = batches(job.active, parallelism.slices, job.wanted)
        try:
            yield Running(found, len(found), enqueue)
        except BaseException:
            # An error or Ctrl-C: what has begun ends with the network that it runs.
            clock.given_up = True
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            for name, seconds in clock.seconds.items():
                job.tally.seconds[name] += seconds / parallelism.workers
            job.tally.record = parallelism.record

    def shrink(self, job: Job, error: OutOfDeviceMemory) -> None:
        raise error  # the planner keeps to the memory there is

    @property
    def side_by_side(self) -> int:
        return self._planner.cores

    def memory_for(self, network_shape: tuple[int, int, int], samples: int) -> int | None:
        return self._planner.bytes(network_shape, samples)

    def times(self, seconds: Mapping[str, float], total: float) -> dict[str, float]:
        """Seconds in guides, each network and the loop, outside of them, per worker, and in all."""
        parts = dict(seconds)
        parts |= {"outside": max(total - sum(parts.values()), 0.0), "total": total}
        return {name: round(value, 4) for name, value in parts.items()}

    def _prepare(self, job: Job) -> tuple[Parallelism, Engine]:
        """How the job runs, and the engine for it."""
        depth, height, width = job.volume.shape
        wanted = int(job.wanted.sum())
        parallelism = self._planner.plan((depth, height, width), wanted, job.samples)
        engine = self._planner.engine(parallelism)
        if engine is not self._engine:
            self._idle.clear()
            self._engine = engine
        return parallelism, engine

    @contextmanager
    def _worker(self, shape: Shape, engine: Engine, clock: Clock) -> Iterator[Worker]:
        """A worker that no other thread uses meanwhile; it counts its time on ``clock``."""
        if shape not in self._idle and len(self._idle) > 3:
            self._idle.clear()  # a new volume size: the old buffers are of no more use
        idle = self._idle.setdefault(shape, [])
        try:
            worker = idle.pop()
        except IndexError:
            worker = Worker(self._process, engine, shape, clock)
        worker.user.clock = clock
        try:
            yield worker
        finally:
            idle.append(worker)


def cpu_device(
    bundle: Bundle,
    engine: Engine,
    process: ReverseProcess,
    threads: int | None,
    batch: tuple[int, int] | None,
    memory: int | None,
    *,
    ours: bool,
) -> CpuDevice:
    """The CPU for ``engine``. ``threads``: a fixed number of workers; None: all cores, by rule.
    ``ours``: the engine was chosen here, and may be opened again with more threads inside."""

    def reopen(inside: int) -> Engine:
        shared = engine.with_threads(inside)
        return shared or choose(bundle, engine.name, "cpu", engine.precision, inside).engine

    planner = Planner(
        bundle,
        engine,
        process.model.network,
        cores=threads or default_threads(),
        fixed=threads is not None,
        reopen=reopen if ours else None,
        batch=batch,
        budget=memory,
    )
    return CpuDevice(process, planner)
