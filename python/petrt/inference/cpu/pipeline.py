"""A volume on the network grid through the networks: guides, guidance, coarse, reverse loop, AMS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.diffusion.noise_schedule import StepTable
from petrt.engines.base import Engine, sharing
from petrt.engines.select import choose
from petrt.hardware.cpu import default_threads
from petrt.inference.background import batches
from petrt.inference.cpu.parallelism import Parallelism, divisor
from petrt.inference.cpu.planner import Planner
from petrt.inference.cpu.worker import Clock, Shape, Work, Worker
from petrt.model.bundle import Bundle


class Pipeline:
    """Runs volumes [Z, H, W] batch by batch of slices, on buffers kept between volumes.

    How many run side by side, and how large they are, is the ``scheduler``'s; no result depends on it.
    ``seconds`` collects the time a worker spends in the guides, in each network, and in the loop around
    the denoiser: means over the workers.
    """

    def __init__(self, work: Work, scheduler: Planner) -> None:
        self._work, self._scheduler = work, scheduler
        self._schedule: Parallelism | None = None
        self._engine: Engine | None = None
        self._idle: dict[Shape, list[Worker]] = {}
        self._clock = Clock()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def run(
        self,
        volume: Array,
        samples: int,
        seed: int,
        *,
        first_id: int,
        noise: Array | None,
        report: Callable[[int], None],
        dose: float | None = None,
        active: NDArray[np.bool_] | None = None,
        every: int = 1,
    ) -> tuple[Array, Array, Array]:
        """Mean, standard deviation and coarse prediction, each [Z, H, W], of scaled ``volume``.

        ``first_id``: noise id of slice 0. ``noise`` [steps + 1, samples, Z, 1, H, W] replaces the
        drawn noise. ``report`` is called with the number of slices done. ``dose``: the fraction of the
        full dose, for a model that takes it. Slices that are not ``active`` are left out, and batches
        that hold none of the slices 0, every, 2 every ...: 0 in the results.
        """
        mean, std, coarse = (np.zeros_like(volume) for _ in range(3))
        kept = np.ones(len(volume), bool) if active is None else active
        wanted = int(kept[::every].sum())
        done = len(kept[::every]) - wanted  # slices left out are done
        if not wanted:
            report(done)
            return mean, std, coarse
        schedule = self._prepare(volume.shape, wanted, samples)
        chunk = divisor(samples, schedule.samples)

        def one(first: int, count: int) -> int:
            part = slice(first, first + count)
            drawn = None if noise is None else noise[:, :, part].swapaxes(1, 2)
            ids = np.arange(first_id + first, first_id + first + count, dtype=np.int64)
            with self._stage(Shape(count, chunk, *volume.shape[1:])) as stage:
                stage.prepare(volume, first, dose)
                stage.sample(samples, seed, ids, drawn)
                stage.finish(mean[part], std[part], coarse[part])
            return count

        pool = ThreadPoolExecutor(schedule.workers)
        try:
            parts = batches(kept, schedule.slices, every)
            for future in as_completed([pool.submit(one, *part) for part in parts]):
                done += future.result()
                report(done)
        finally:  # after an error or an interrupt, what has not begun is not begun
            pool.shutdown(cancel_futures=True)
            for name, seconds in self._clock.seconds.items():
                self.seconds[name] += seconds / schedule.workers
            self._clock.seconds.clear()
        return mean, std, coarse

    def report(self, total: float) -> dict[str, float]:
        """Seconds in guides, each network and the loop, outside of them, per worker, and in all."""
        parts = dict(self.seconds)
        parts |= {"outside": max(total - sum(parts.values()), 0.0), "total": total}
        return {name: round(value, 4) for name, value in parts.items()}

    @property
    def record(self) -> dict[str, Any]:
        """How the last volume ran, for its record; nothing where all of it was background."""
        return self._schedule.record if self._schedule else {}

    def _prepare(self, shape: tuple[int, ...], slices: int, samples: int) -> Parallelism:
        """The schedule for ``slices`` of a volume of ``shape``, and its engine."""
        depth, height, width = shape
        self._schedule = self._scheduler.plan((depth, height, width), slices, samples)
        engine = self._scheduler.engine(self._schedule)
        if engine is not self._engine:
            self._idle.clear()
            self._engine = engine
        return self._schedule

    @contextmanager
    def _stage(self, shape: Shape) -> Iterator[Worker]:
        """A stage that no other worker uses meanwhile."""
        if shape not in self._idle and len(self._idle) > 3:
            self._idle.clear()  # a new volume size: the old buffers are of no more use
        idle = self._idle.setdefault(shape, [])
        try:
            stage = idle.pop()
        except IndexError:
            assert self._engine is not None
            stage = Worker(self._work, self._engine, shape, self._clock)
        try:
            yield stage
        finally:
            idle.append(stage)


def cpu_pipeline(
    bundle: Bundle,
    engine: Engine,
    table: StepTable,
    threads: int | None,
    batch: tuple[int, int] | None,
    memory: int | None,
    *,
    ours: bool,
) -> Pipeline:
    """The pipeline of ``engine`` on a CPU. ``threads``: a fixed number of workers; None: all cores, by
    rule. ``ours``: the engine was chosen here, and may be opened again with more threads inside."""

    def reopen(inside: int) -> Engine:
        share = sharing(engine)
        if share is not None:
            return share(inside)
        return choose(bundle, engine.name, "cpu", engine.precision, inside).engine

    work = Work(bundle, table)
    scheduler = Planner(
        bundle,
        engine,
        cores=threads or default_threads(),
        fixed=threads is not None,
        reopen=reopen if ours else None,
        batch=batch,
        budget=memory,
    )
    return Pipeline(work, scheduler)
