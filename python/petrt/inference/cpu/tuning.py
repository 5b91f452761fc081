"""A short measurement of the networks on their real shapes, by schedule."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.engines.base import Engine
from petrt.engines.rates import Rate
from petrt.inference.cpu.worker import Clock, Shape, Stage, Work

logger = logging.getLogger("petrt")

# Timed calls of each schedule, in turns, so that a drifting clock meets all of them. The shortest counts:
# other programs only ever add time, and in bursts, of which a median of so few still holds one.
ROUNDS = 4
# Networks so small that a call is over earlier are called several times: a timer needs something to time.
SHORTEST = 0.02
Split = tuple[int, int]
Batch = tuple[int, int]


class Trial:
    """One schedule: ``split`` = (workers, threads inside a call), ``batch`` = (slices, samples)."""

    def __init__(
        self, work: Work, engine: Engine, split: Split, batch: Batch, plane: tuple[int, int]
    ) -> None:
        self.split, self.batch = split, batch
        self._work, self._engine, self._shape = work, engine, Shape(*batch, *plane)
        self.calls: list[float] = []
        self.per_slice: float | None = None

    def run(self, pool: ThreadPoolExecutor, *, per_slice: bool) -> NDArray[np.float32]:
        """Time one call of the denoiser in every worker, and of the other networks where asked for.

        Returns what the denoiser made of the first image. Buffers live no longer than this.
        """
        stages = [self._stage() for _ in range(self.split[0])]
        self.calls.append(_seconds(pool, [s.denoise for s in stages if s.denoise is not None]))
        assert stages[0].loop is not None
        found = stages[0].loop.eps[0].copy()
        if per_slice:
            volume = _values((self.batch[0], self._shape.height, self._shape.width))
            runs = [partial(stage.prepare, volume, 0, None) for stage in stages]
            self.per_slice = _seconds(pool, runs) / self.batch[0]
        return found

    def rate(self, per_slice: float) -> Rate:
        images = self.batch[0] * self.batch[1]
        return Rate(
            workers=self.split[0], threads=self.split[1], slices=self.batch[0], samples=self.batch[1],
            image_ms=1e3 * self.shortest / images, slice_ms=1e3 * per_slice,
        )  # fmt: skip

    @property
    def shortest(self) -> float:
        return min(self.calls)

    def _stage(self) -> Stage:
        stage = Stage(self._work, self._engine, self._shape, Clock(), _filled)
        assert stage.loop is not None
        assert self._work.film is not None
        stage.loop.r[:] = _values(stage.loop.r.shape)
        stage.loop.film_row[:] = self._work.film[:1]
        return stage


def measure(
    open_engine: Callable[[Split], Engine],
    work: Work,
    splits: Sequence[Split],
    batches: Sequence[Batch],
    plane: tuple[int, int],
) -> tuple[Rate, ...]:
    """The rates of all ``splits`` with the first of ``batches``, then of the other batches with the
    fastest split. The first split is the reference: another that gives other bits is left out.
    """
    with ThreadPoolExecutor(max(workers for workers, _ in splits)) as pool:
        trials = [Trial(work, open_engine(s), s, batches[0], plane) for s in splits]
        expected = trials[0].run(pool, per_slice=True)
        trials[0].calls.clear()  # these were the warm-up, too
        equal = [t for t in trials[1:] if _equals(t, t.run(pool, per_slice=True), expected)]
        for trial in equal:
            trial.calls.clear()
        trials = _rounds(pool, [trials[0], *equal])
        best = min(trials, key=lambda t: t.shortest * t.split[1])
        more = [Trial(work, best._engine, best.split, b, plane) for b in batches[1:]]
        more = [t for t in more if _equals(t, t.run(pool, per_slice=False), expected)]
        more = _rounds(pool, more)
    rates = [t.rate(t.per_slice or 0.0) for t in trials]
    return (*rates, *(t.rate(best.per_slice or 0.0) for t in more))


def _rounds(pool: ThreadPoolExecutor, trials: list[Trial]) -> list[Trial]:
    for _ in range(ROUNDS):
        for trial in trials:
            trial.run(pool, per_slice=False)
    return trials


def _equals(trial: Trial, found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    if np.array_equal(found, expected):
        return True
    logger.info("schedule left out, other bits: %s, batch %s", trial.split, trial.batch)
    return False


def _seconds(pool: ThreadPoolExecutor, runs: Sequence[Callable[[], None]]) -> float:
    """Seconds until each worker has called its own of ``runs`` once."""
    repeats = 1
    while True:

        def work(run: Callable[[], None], times: int = repeats) -> None:
            for _ in range(times):
                run()

        begun = time.perf_counter()
        list(pool.map(work, runs))
        elapsed = time.perf_counter() - begun
        if elapsed >= SHORTEST or repeats >= 1000:
            return elapsed / repeats
        repeats = min(1000, math.ceil(1.5 * repeats * SHORTEST / max(elapsed, 1e-6)))


def _filled(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """A buffer of values as features have them: none is so small that arithmetic would slow down."""
    return _values(shape).astype(dtype, copy=False)


def _values(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The same for every number of slices: a repeated block."""
    block = np.random.default_rng(0).standard_normal(math.prod(shape[1:]), np.float32)
    return np.broadcast_to(block.reshape(shape[1:]), shape).copy()
