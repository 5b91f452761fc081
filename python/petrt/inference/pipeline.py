"""A volume on the network grid through the networks: guides, guidance, coarse, reverse loop, AMS."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.diffusion.noise_schedule import StepTable
from petrt.engines.base import Engine
from petrt.errors import NonfiniteOutput, OutOfDeviceMemory
from petrt.hardware.processes import Home
from petrt.inference.cpu.device import cpu_device
from petrt.inference.device import Device, Job, Results, Tally
from petrt.inference.forward import ReverseProcess, noise_reach
from petrt.model.bundle import Bundle


class Pipeline:
    """Runs volumes batch by batch on a device, on buffers that are kept between volumes.

    No result depends on how a volume is cut into batches, or on how many run at once.
    """

    def __init__(
        self, device: Device, *, denoises: bool, survives_fork: bool = False, reach: int = 0
    ) -> None:
        self.device, self._denoises, self._reach = device, denoises, reach
        self._home = None if survives_fork else Home()

    def ids(self, depth: int) -> int:
        """How many noise streams a volume of ``depth`` slices takes; volumes that share none are
        independent."""
        return depth + 2 * self._reach

    def check_process(self) -> None:
        """Raise DeviceError in a forked process, where the engine would wait for ever."""
        if self._home is not None:
            self._home.check("this Reconstructor")

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
        tally: Tally | None = None,
        drawn: Array | None = None,
    ) -> Results:
        """The results of the scaled ``volume`` [Z, H, W]; arguments as the fields of ``Job``.

        The noise of the slices is made of the streams ``first_id`` .. ``first_id + self.ids(Z) - 1``.
        ``report`` is called with the number of slices done. ``active``: None for all. With ``every``
        only slices 0, every, 2 every ... must be reconstructed, and only these are counted. ``drawn``: see
        ``petrt.inference.samples``; without a denoiser nothing is written there.

        Raises DeviceError where the device fails, or its memory does not hold a single image, and in
        another process than the engine's.
        """
        self.check_process()
        active = np.ones(len(volume), bool) if active is None else active
        wanted = active & (np.arange(len(volume)) % every == 0)
        samples = samples if self._denoises else 1
        tally = Tally() if tally is None else tally
        first = first_id + self._reach
        job = Job(volume, samples, seed, first, noise, dose, active, wanted, tally, drawn)
        done = ~active
        if not wanted.any():
            report(len(done[::every]))
            if drawn is not None:
                drawn[:] = 0
            return _empty(volume)

        def finished(first: int, count: int) -> None:
            done[first : first + count] = True
            report(int(done[::every].sum()))

        with self.device.turn:
            while True:
                try:
                    results = self._run(job, finished)
                    break
                except OutOfDeviceMemory as error:
                    self.device.shrink(job, error)
        if not self._denoises:  # the coarse prediction is the image
            np.maximum(results.coarse, 0, out=results.mean)
        for result in results:  # a batch on a GPU may hold background, too
            result[~active] = 0
        if drawn is not None:
            drawn[:, ~active] = 0
        return results

    def _run(self, job: Job, finished: Callable[[int, int], None]) -> Results:
        """All batches of a job, no more in flight than the device holds."""
        results = _empty(job.volume)
        waiting: deque[tuple[tuple[int, int], Callable[[], Any]]] = deque()

        def collect() -> None:
            batch, wait = waiting.popleft()
            wait()
            finished(*batch)

        with self.device.running(job) as running:
            for batch in running.batches:
                if len(waiting) == running.in_flight:
                    collect()
                waiting.append((batch, running.enqueue(*batch, results)))
            while waiting:
                collect()
        return results


def pipeline_of(
    bundle: Bundle,
    engine: Engine,
    table: StepTable | None,
    threads: int | None = None,
    batch: tuple[int, int] | None = None,
    memory: int | None = None,
    *,
    ours: bool = False,
) -> Pipeline:
    """The pipeline of ``engine`` where it runs; options as of ``petrt.Reconstructor``.

    ``table``: None leaves the denoiser out. ``ours``: the engine was chosen here, and may be opened again
    with more threads inside.
    """
    process = ReverseProcess.of(bundle, table)
    device: Device
    if engine.stream is None:
        device = cpu_device(bundle, engine, process, threads, batch, memory, ours=ours)
    else:
        from petrt.inference.cuda.device import CudaDevice  # needs petrt._cuda

        device = CudaDevice(bundle, engine, process, batch, memory)
    return Pipeline(
        device,
        denoises=process.film is not None,
        survives_fork=engine.survives_fork,
        reach=noise_reach(bundle.model),
    )


def check_finite(results: Sequence[Array], name: str, bundle: Bundle, engine: Engine) -> None:
    """Raise NonfiniteOutput, for volume ``name``, unless all ``results`` are finite."""
    bad = sum(r.size - int(np.count_nonzero(np.isfinite(r))) for r in results)
    if bad:
        raise NonfiniteOutput(
            f"{name}: non-finite output from model '{bundle.model.name}' on {engine.name}",
            "the model or its engine is broken; export it again",
            bad,
        )


def _empty(volume: Array) -> Results:
    return Results(*(np.zeros_like(volume) for _ in range(3)))
