"""Fixed buffers for one shape of batch on a CPU, bound to the engine once."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petrt._core import ReverseLoop
from petrt.arrays import Array
from petrt.diffusion.guides import NEIGHBOURS, neighbours, spectrum
from petrt.engines.base import Buffers, Engine
from petrt.inference.cpu.parallelism import Shape
from petrt.inference.forward import ReverseProcess, wire


class Clock:
    """Seconds by part, over all workers of a job, and whether the job was given up."""

    def __init__(self) -> None:
        self.given_up = False
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

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


@dataclass
class User:
    """The clock of whoever uses a worker now."""

    clock: Clock


class Worker:
    """The buffers of one worker. Times of guides, networks and loop go to the clock of its ``user``."""

    def __init__(self, process: ReverseProcess, engine: Engine, shape: Shape, clock: Clock) -> None:
        self._process, self._engine, self._shape, self.user = process, engine, shape, User(clock)
        slices, height, width = shape.slices, shape.height, shape.width
        self._x = np.empty((slices, 1, height, width), np.float32)
        nas = np.empty((slices, NEIGHBOURS, height, width), np.float32)
        self._guides = {"nas": nas, "spectrum": np.empty_like(self._x)}
        self._dose = np.ones(slices, np.float32)
        self._x_cp = np.zeros_like(self._x)
        self.loop: ReverseLoop | None = None
        if process.table is not None and process.film is not None:
            self.loop = ReverseLoop(
                process.table.coefs,
                process.model.clip,
                process.film,
                slices,
                shape.samples,
                height,
                width,
                sigma_z=process.model.noise_sigma_z,
            )
        images = {"x": self._x, "x_cp": self._x_cp, "dose": self._dose, **self._guides}
        forwards = wire(engine, process.model.network, images, self.loop, np.empty, self._bind)
        self.per_slice, self.denoise = forwards.per_slice, forwards.denoise

    def prepare(self, volume: Array, first: int, dose: float | None) -> None:
        """Guides, guidance and coarse prediction of slices ``first ..``."""
        count = len(self._x)
        if dose is not None:
            self._dose[:] = dose
        self._x[:, 0] = volume[first : first + count]
        guides = self._process.model.network.guide_count
        with self.user.clock.timed("guides"):
            if guides > 0:
                neighbours(volume, first, self._guides["nas"])
            if guides > 1:
                self._guides["spectrum"][:] = spectrum(self._x)
        for run in self.per_slice:
            run()

    def sample(
        self,
        samples: int,
        seed: int,
        ids: NDArray[np.int64],
        noise: Array | None,
        drawn: Array | None = None,
    ) -> None:
        """Draw ``samples`` reconstructions of each slice and accumulate them, in sample order; they also go
        to ``drawn`` [samples, slices, H, W], where it is given."""
        if self.loop is None or self.denoise is None:
            return
        with self.user.clock.timed("loop"):
            self.loop.reset()
            for first in range(0, samples, self._shape.samples):
                part = slice(first, first + self._shape.samples)
                given = None if noise is None else np.ascontiguousarray(noise[:, :, part])
                self.loop.run(self.denoise, seed, ids, first, given)
                self.loop.accumulate(self._x_cp, self._process.model.sigma_r)
                if drawn is not None:
                    self._keep(self.loop, drawn[part])

    def _keep(self, loop: ReverseLoop, drawn: Array) -> None:
        """Write the samples that the loop has just drawn to ``drawn`` [samples, slices, H, W]."""
        images = np.empty_like(loop.r)
        loop.samples(self._x_cp, self._process.model.sigma_r, images)
        drawn[:] = images.reshape(len(self._x), -1, *images.shape[2:]).swapaxes(0, 1)

    def finish(self, mean: Array, std: Array, coarse: Array) -> None:
        """Write the batch's results, each [slices, H, W] and contiguous."""
        coarse[:] = self._x_cp[:, 0]
        if self.loop is not None:
            self.loop.finish(mean[:, None], std[:, None])

    def _bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        run = self._engine.bind(graph, inputs, outputs)
        inside = "loop" if graph == "denoiser" else None
        # Not the worker itself: its buffers would stay until the collector of cycles comes by.
        user = self.user

        def timed() -> None:
            if user.clock.given_up:  # a batch may take minutes, and nobody waits for it any more
                raise CancelledError
            with user.clock.timed(graph, inside):
                run()

        return timed
