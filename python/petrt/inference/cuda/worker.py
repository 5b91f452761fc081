"""Fixed device buffers for one shape of batch, bound to the engine once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.diffusion.guides import NEIGHBOURS, DeviceSpectrum, spectrum
from petrt.engines.base import Engine
from petrt.inference.cuda.batches import BatchShape
from petrt.inference.cuda.launches import Launches
from petrt.inference.forward import ReverseProcess, wire

if TYPE_CHECKING:
    from petrt._cuda import DeviceArray


class Worker:
    """The buffers of one batch on the GPU. All work is enqueued on the engine's stream.

    ``kept``: all samples of a slice, to keep them too, or 0.
    """

    def __init__(
        self,
        process: ReverseProcess,
        engine: Engine,
        batch: BatchShape,
        height: int,
        width: int,
        kept: int = 0,
    ) -> None:
        from petrt._cuda import DeviceArray, ReverseLoop

        model, stream = process.model, engine.stream
        self.batch, self._stream = batch, stream

        def allocate(shape: tuple[int, ...], dtype: str = "float32") -> DeviceArray:
            return DeviceArray(shape, dtype, stream.device)

        image = (batch.slices, 1, height, width)
        self._x, self._spectrum = allocate(image), allocate(image)
        self._nas = allocate((batch.slices, NEIGHBOURS, height, width))
        self._dose = allocate((batch.slices,))
        self._loop: ReverseLoop | None = None
        if process.table is not None and process.film is not None:
            self._loop = ReverseLoop(
                process.table.coefs,
                model.clip,
                process.film,
                batch.slices,
                batch.samples,
                height,
                width,
                model.sigma_r,
                stream,
                model.noise_sigma_z,
                kept,
            )
        coarse = self._loop.coarse if self._loop else allocate(image)
        images = {"x": self._x, "nas": self._nas, "spectrum": self._spectrum, "x_cp": coarse}
        images |= {"dose": self._dose}
        self._forwards = wire(engine, model.network, images, self._loop, allocate, engine.bind)
        self.results: dict[str, Any] = {"coarse": coarse}
        self.kept: DeviceArray | None = self._loop.drawn if self._loop else None
        self._launches: Launches | None = None
        if self._loop is not None and self._forwards.denoise is not None:
            self.results["mean"] = self._loop.mean
            if batch.total > 1:  # the standard deviation of one sample is 0
                self.results["std"] = self._loop.std
            self._launches = Launches(
                self._loop,
                self._prologue,
                self._forwards.denoise,
                batch.total,
                stream,
                engine.capturable,
            )
        self._guides = model.network.guide_count
        self._fft: DeviceSpectrum | None = None
        if self._guides > 1 and DeviceSpectrum.available():
            self._fft = DeviceSpectrum(self._x, self._spectrum, stream)

    def set_dose(self, dose: float | None) -> None:
        """Set the fraction of the full dose for the next batches, for a model that takes it."""
        if dose is None:
            return
        host = np.full(self.batch.slices, dose, np.float32)
        self._dose.upload(host, self._stream)
        self._stream.synchronize()  # before the host's copy goes away

    def prepare(
        self, planes: DeviceArray, begin: int, rows: NDArray[np.int64], volume: Array
    ) -> None:
        """Guides of the slices ``rows`` (see ``petrt.inference.cuda.batches``); ``planes`` on the device
        start at slice ``begin``."""
        from petrt import _cuda

        first, depth = int(rows[0]), len(volume)
        _cuda.stack_slices(planes, begin, first, depth, self._x, self._nas, self._stream)
        if self._fft is not None:
            self._fft()
        elif self._guides > 1:  # no FFT on the device: SciPy's, and one more copy
            host = spectrum(volume[rows, None])
            self._spectrum.upload(host, self._stream)
            self._stream.synchronize()

    def sample(self, seed: int, ids: NDArray[np.int64], noise: Array | None) -> None:
        """Networks and reverse loop of one batch; ``noise`` [steps + 1, slices, total, 1, H, W]."""
        if self._loop is None or self._launches is None or self._forwards.denoise is None:
            self._prologue()
            return
        self._loop.set_run(seed, ids)
        if noise is None:
            self._launches()
            return
        from petrt._cuda import DeviceArray

        # Samples that the last call has too many are left out of the mean: any noise will do.
        drawn = np.minimum(np.arange(self.batch.chunks * self.batch.samples), self.batch.total - 1)
        split = noise[:, :, drawn].reshape(
            *noise.shape[:2], self.batch.chunks, -1, *noise.shape[3:]
        )
        chunks = np.ascontiguousarray(np.moveaxis(split, 2, 0))
        given = DeviceArray(chunks.shape, device=self._stream.device)
        given.upload(chunks, self._stream)
        self._loop.run(self._prologue, self._forwards.denoise, self.batch.total, given)
        self._stream.synchronize()  # before the noise goes away

    @property
    def launches(self) -> tuple[str, str]:
        """How the networks and steps are launched, and why."""
        return (self._launches.mode, self._launches.reason) if self._launches else ("plain", "")

    @property
    def spectrum_by(self) -> str:
        """What computes the spectrum guide."""
        return "cupy" if self._fft else "scipy" if self._guides > 1 else "none"

    def _prologue(self) -> None:
        for run in self._forwards.per_slice:
            run()
