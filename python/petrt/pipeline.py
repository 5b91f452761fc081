"""A volume on the network grid through the networks: guides, guidance, coarse, reverse loop, AMS."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt._core import ReverseLoop
from petrt.bundle import Bundle
from petrt.engines.base import Buffers, Engine
from petrt.guides import NEIGHBOURS, neighbours, spectrum
from petrt.schedule import StepTable
from petrt.wiring import wire

Array = NDArray[np.float32]


class Pipeline:
    """Runs volumes [Z, H, W] batch by batch of slices, on buffers kept between volumes.

    ``threads`` workers take one batch each and run it on one thread, so that no sum is ever split
    between threads and no result depends on their number. ``batch`` = (slices, samples) in one call of
    the denoiser: it bounds the memory, never the result. ``seconds`` collects the time spent in the
    guides, in each network, and in the loop around the denoiser, over all workers.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        table: StepTable,
        threads: int,
        batch: tuple[int, int],
    ) -> None:
        self._spec, self._engine = bundle.model, engine
        self._table, self._threads, self._batch = table, threads, batch
        has_denoiser = bundle.model.network.denoiser is not None
        self._film = bundle.noise_bias(table.levels) if has_denoiser else None
        self._idle: dict[tuple[int, int, int, int], list[_Stage]] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

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
        every: int = 1,
    ) -> tuple[Array, Array, Array]:
        """Mean, standard deviation and coarse prediction, each [Z, H, W], of scaled ``volume``.

        ``first_id``: noise id of slice 0. ``noise`` [steps + 1, samples, Z, 1, H, W] replaces the
        drawn noise. ``report`` is called with the number of slices done. ``dose``: the fraction of the
        full dose, for a model that takes it. Batches that hold none of the slices 0, every, 2 every ...
        are left out: 0 in the results.
        """
        mean, std, coarse = (np.zeros_like(volume) for _ in range(3))
        chunk = max(n for n in range(1, self._batch[1] + 1) if samples % n == 0)

        def one(first: int) -> int:
            count = min(self._batch[0], len(volume) - first)
            part = slice(first, first + count)
            drawn = None if noise is None else noise[:, :, part].swapaxes(1, 2)
            ids = np.arange(first_id + first, first_id + first + count, dtype=np.int64)
            with self._stage(count, chunk, volume.shape[1], volume.shape[2]) as stage:
                stage.prepare(volume, first, dose)
                stage.sample(samples, seed, ids, drawn)
                stage.finish(mean[part], std[part], coarse[part])
            return count

        pool, done = ThreadPoolExecutor(self._threads), 0
        try:
            size = self._batch[0]
            # -first % every slices lie between a batch's first slice and the next wanted one.
            firsts = [f for f in range(0, len(volume), size) if -f % every < size]
            for future in as_completed([pool.submit(one, first) for first in firsts]):
                done += future.result()
                report(done)
        finally:  # after an error or an interrupt, what has not begun is not begun
            pool.shutdown(cancel_futures=True)
        return mean, std, coarse

    def report(self, total: float) -> dict[str, float]:
        """Seconds in guides, each network and the loop, outside of them, per worker, and in all."""
        parts = {name: value / self._threads for name, value in self.seconds.items()}
        parts |= {"outside": max(total - sum(parts.values()), 0.0), "total": total}
        return {name: round(value, 4) for name, value in parts.items()}

    @property
    def record(self) -> dict[str, Any]:
        """How volumes run, for their record."""
        return {"threads": self._threads}

    @contextmanager
    def timed(self, name: str, inside: str | None = None) -> Iterator[None]:
        """Add the block's seconds to ``name``; those of a part ``inside`` another are not its own."""
        started = time.perf_counter()
        yield
        elapsed = time.perf_counter() - started
        with self._lock:
            self.seconds[name] += elapsed
            if inside:
                self.seconds[inside] -= elapsed

    @contextmanager
    def _stage(self, *shape: int) -> Iterator[_Stage]:
        """A stage that no other worker uses meanwhile. shape = (slices, samples, height, width)."""
        key = (shape[0], shape[1], shape[2], shape[3])
        if key not in self._idle and len(self._idle) > 3:
            self._idle.clear()  # a new volume size: the old buffers are of no more use
        idle = self._idle.setdefault(key, [])
        try:
            stage = idle.pop()
        except IndexError:
            stage = _Stage(self, *key)
        try:
            yield stage
        finally:
            idle.append(stage)


class _Stage:
    """Fixed buffers for one batch shape, bound to the engine once."""

    def __init__(self, owner: Pipeline, slices: int, samples: int, height: int, width: int) -> None:
        self._owner, self._samples = owner, samples
        engine, network = owner._engine, owner._spec.network
        self._x = np.empty((slices, 1, height, width), np.float32)
        nas = np.empty((slices, NEIGHBOURS, height, width), np.float32)
        self._guides = {"nas": nas, "spectrum": np.empty_like(self._x)}
        self._dose = np.ones(slices, np.float32)
        self._x_cp = np.zeros_like(self._x)
        self._loop: ReverseLoop | None = None
        if owner._film is not None:
            self._loop = ReverseLoop(
                owner._table.coefs, owner._spec.clip, owner._film,
                slices, samples, height, width,
            )  # fmt: skip
        images = {"x": self._x, "x_cp": self._x_cp, "dose": self._dose, **self._guides}
        forwards = wire(engine, network, images, self._loop, np.empty, self._bind)
        self._per_slice, self._denoise = forwards.per_slice, forwards.denoise

    def prepare(self, volume: Array, first: int, dose: float | None) -> None:
        """Guides, guidance and coarse prediction of slices ``first ..``."""
        count = len(self._x)
        if dose is not None:
            self._dose[:] = dose
        self._x[:, 0] = volume[first : first + count]
        guides = self._owner._spec.network.guide_count
        with self._owner.timed("guides"):
            if guides > 0:
                neighbours(volume, first, self._guides["nas"])
            if guides > 1:
                self._guides["spectrum"][:] = spectrum(self._x)
        for run in self._per_slice:
            run()

    def sample(self, samples: int, seed: int, ids: NDArray[np.int64], noise: Array | None) -> None:
        """Draw ``samples`` reconstructions of each slice and accumulate them, in sample order."""
        if self._loop is None or self._denoise is None:
            return
        with self._owner.timed("loop"):
            self._loop.reset()
            for first in range(0, samples, self._samples):
                part = slice(first, first + self._samples)
                drawn = None if noise is None else np.ascontiguousarray(noise[:, :, part])
                self._loop.run(self._denoise, seed, ids, first, drawn)
                self._loop.accumulate(self._x_cp, self._owner._spec.sigma_r)

    def finish(self, mean: Array, std: Array, coarse: Array) -> None:
        """Write the batch's results, each [slices, H, W] and contiguous."""
        coarse[:] = self._x_cp[:, 0]
        if self._loop is None:  # a coarse network alone: its prediction is the reconstruction
            np.maximum(coarse, 0, out=mean)
            std[:] = 0
            return
        self._loop.finish(mean[:, None], std[:, None])

    def _bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        run = self._owner._engine.bind(graph, inputs, outputs)
        owner, inside = self._owner, "loop" if graph == "denoiser" else None

        def timed() -> None:
            with owner.timed(graph, inside):
                run()

        return timed
