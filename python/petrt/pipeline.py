"""A volume on the network grid through the networks: guides, guidance, coarse, reverse loop, AMS."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from petrt._core import ReverseLoop
from petrt.bundle import Bundle
from petrt.engines.base import Buffers, Engine, is_feature
from petrt.guides import NEIGHBOURS, neighbours, spectrum
from petrt.schedule import StepTable

Array = NDArray[np.float32]


class Pipeline:
    """Runs volumes [Z, H, W] batch by batch of slices, on buffers kept between volumes.

    ``batch`` = (slices, samples) in one call of the denoiser: it bounds the memory, never the result.
    ``seconds`` collects the time spent inside the networks, by part.
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
        self._stages: dict[tuple[int, int, int, int], _Stage] = {}
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
    ) -> tuple[Array, Array, Array]:
        """Mean, standard deviation and coarse prediction, each [Z, H, W], of scaled ``volume``.

        ``first_id``: noise id of slice 0. ``noise`` [steps + 1, samples, Z, 1, H, W] replaces the
        drawn noise. ``report`` is called with the number of slices done.
        """
        mean, std, coarse = (np.empty_like(volume) for _ in range(3))
        chunk = max(n for n in range(1, self._batch[1] + 1) if samples % n == 0)
        for first in range(0, len(volume), self._batch[0]):
            count = min(self._batch[0], len(volume) - first)
            part = slice(first, first + count)
            stage = self._stage(count, chunk, volume.shape[1:])
            stage.prepare(volume, first)
            drawn = None if noise is None else noise[:, :, part].swapaxes(1, 2)
            ids = np.arange(first_id + first, first_id + first + count, dtype=np.int64)
            stage.sample(samples, seed, ids, drawn)
            stage.finish(mean[part], std[part], coarse[part])
            report(first + count)
        return mean, std, coarse

    def report(self, total: float) -> dict[str, float]:
        """Seconds in each network, outside of them, and in all."""
        parts = {name: round(value, 4) for name, value in self.seconds.items()}
        outside = max(total - sum(self.seconds.values()), 0.0)
        return parts | {"outside": round(outside, 4), "total": round(total, 4)}

    def _stage(self, slices: int, samples: int, size: tuple[int, ...]) -> _Stage:
        key = (slices, samples, size[0], size[1])
        if key not in self._stages:
            if len(self._stages) > 3:  # a new volume size: the old buffers are of no more use
                self._stages.clear()
            self._stages[key] = _Stage(self, *key)
        return self._stages[key]


class _Stage:
    """Fixed buffers for one batch shape, bound to the engine once."""

    def __init__(self, owner: Pipeline, slices: int, samples: int, height: int, width: int) -> None:
        self._owner, self._samples = owner, samples
        engine, network = owner._engine, owner._spec.network
        self._x = np.empty((slices, 1, height, width), np.float32)
        nas = np.empty((slices, NEIGHBOURS, height, width), np.float32)
        self._guides = {"nas": nas, "spectrum": np.empty_like(self._x)}
        self._x_cp = np.zeros_like(self._x)
        self._per_slice: list[Callable[[], None]] = []
        produced: dict[str, Array] = {}
        if network.guide_count or network.denoiser:
            wanted, _ = engine.tensors("guidance")
            sources = {"x": self._x, **self._guides}
            inputs = {name: sources[name] for name in wanted}
            shapes = engine.output_shapes("guidance", {k: v.shape for k, v in inputs.items()})
            produced = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
            self._per_slice.append(self._bind("guidance", inputs, produced))
        if network.coarse:
            features = {k: v for k, v in produced.items() if is_feature(k)}
            inputs = {"x": self._x, **features}
            self._per_slice.append(self._bind("coarse", inputs, {"x_cp": self._x_cp}))
        self._loop: ReverseLoop | None = None
        if owner._film is not None:
            self._loop = ReverseLoop(
                owner._table.coefs, owner._spec.clip, owner._film,
                slices, samples, height, width, owner._threads,
            )  # fmt: skip
            maps = {k: v for k, v in produced.items() if not is_feature(k)}
            inputs = {"r": self._loop.r, "film": self._loop.film_row, **maps}
            self._denoise = self._bind("denoiser", inputs, {"eps": self._loop.eps})

    def prepare(self, volume: Array, first: int) -> None:
        """Guides, guidance and coarse prediction of slices ``first ..``."""
        count, threads = len(self._x), self._owner._threads
        self._x[:, 0] = volume[first : first + count]
        guides = self._owner._spec.network.guide_count
        if guides > 0:
            neighbours(volume, first, self._guides["nas"], threads)
        if guides > 1:
            self._guides["spectrum"][:] = spectrum(self._x, threads)
        for run in self._per_slice:
            run()

    def sample(self, samples: int, seed: int, ids: NDArray[np.int64], noise: Array | None) -> None:
        """Draw ``samples`` reconstructions of each slice and accumulate them, in sample order."""
        if self._loop is None:
            return
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
        run, seconds = self._owner._engine.bind(graph, inputs, outputs), self._owner.seconds

        def timed() -> None:
            started = time.perf_counter()
            run()
            seconds[graph] += time.perf_counter() - started

        return timed
