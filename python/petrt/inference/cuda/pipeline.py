"""A volume on the network grid through the networks of a GPU."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Container
from contextlib import suppress
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from petrt import _cuda
from petrt.arrays import Array
from petrt.diffusion.noise_schedule import StepTable
from petrt.engines.base import Engine
from petrt.engines.store.folder import build_command
from petrt.errors import DeviceError, OutOfDeviceMemory
from petrt.inference.cuda.batches import (
    BatchShape,
    Limits,
    image_bytes,
    images_within,
    plan_batch,
    rows,
    starts,
)
from petrt.inference.cuda.transfer import Transfer
from petrt.inference.cuda.worker import Worker
from petrt.model.bundle import Bundle

logger = logging.getLogger("petrt")

# The driver, other programs and the engine's own scratch want some of the GPU, too.
SHARE = 0.8


class DevicePipeline:
    """As ``petrt.inference.cpu.pipeline.Pipeline``, on a GPU: batches of many slices, one CUDA graph each.

    ``batch``: most (slices, samples) in one call; None for as many as fill the GPU. ``memory``: bytes
    the batches may take; None for 80 % of what is free. A batch for which memory does not suffice is
    halved. An engine that takes no fewer slices or samples gets them all the same, filled up where the
    volume has not so many; what is filled in changes no bit of the rest. The noise is that of the CPU
    to the last bits of its logarithms and cosines.

    Volumes that several threads bring to one engine take turns: its stream, and the graph that is recorded on
    it, serve one at a time. A graph is recorded on a thread that has run the batch before (see Launches).
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        table: StepTable,
        batch: tuple[int, int] | None,
        memory: int | None,
    ) -> None:
        self._bundle, self._engine, self._table = bundle, engine, table
        self._most, self._memory = batch, memory
        self._has_denoiser = bundle.model.network.denoiser is not None
        self._limits = Limits.of(engine, bundle.model.network)
        self._key: tuple[Any, ...] | None = None
        self._stage: Worker | None = None
        self._transfers: list[Transfer] = []
        self._plane: tuple[int, int] | None = None
        self._images = 1  # at once, of this plane
        self._turn = _turn_of(engine)
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

        Arguments as for ``Pipeline.run``, but a batch holds many slices side by side: left out are those
        that hold no ``active`` slice; of ``every`` nothing comes. Raises DeviceError where the GPU
        fails or memory does not suffice for a single image.
        """
        total = samples if self._has_denoiser else 1
        with self._turn:
            return self._in_turn(volume, total, seed, first_id, noise, report, dose, active)

    def _in_turn(
        self,
        volume: Array,
        total: int,
        seed: int,
        first_id: int,
        noise: Array | None,
        report: Callable[[int], None],
        dose: float | None,
        active: NDArray[np.bool_] | None,
    ) -> tuple[Array, Array, Array]:
        """``run`` with a batch that memory holds, once it is this pipeline's turn."""
        while True:
            batch = self._batch(volume, total)
            try:
                return self._run(volume, batch, seed, first_id, noise, report, dose, active)
            except (_cuda.OutOfMemory, OutOfDeviceMemory) as error:
                self._shrink(volume, batch, error)
            except _cuda.CudaError as error:
                raise DeviceError(f"the GPU failed: {error}", "see petrt doctor") from error

    def report(self, total: float) -> dict[str, float]:
        """Seconds in all; a graph does not tell its parts (see benchmarks/latency.py)."""
        return {"total": round(total, 4)}

    @property
    def record(self) -> dict[str, Any]:
        """How the last volume ran, for its record."""
        if self._stage is None:
            return {}
        mode, reason = self._stage.launches
        return {
            "batch": [self._stage.batch.slices, self._stage.batch.samples],
            "launches": {"mode": mode, "reason": reason},
            "spectrum": self._stage.spectrum_by,
        }

    def _run(
        self,
        volume: Array,
        batch: BatchShape,
        seed: int,
        first_id: int,
        noise: Array | None,
        report: Callable[[int], None],
        dose: float | None,
        active: NDArray[np.bool_] | None,
    ) -> tuple[Array, Array, Array]:
        stage = self._prepared(batch, volume.shape[1], volume.shape[2])
        kept = np.ones(len(volume), bool) if active is None else active
        firsts = [f for f in starts(len(volume), batch.slices) if kept[f : f + batch.slices].any()]
        # Whole batches are left out, so that their shape, and with it the graph, stays.
        done = len(volume) - min(len(volume), len(firsts) * batch.slices)
        every: dict[str, Array] = {}
        out: dict[str, Array] = {}  # those of them that come from the GPU
        try:
            stage.set_dose(dose)
            for index in range(len(firsts) + len(self._transfers)):
                transfer = self._transfers[index % len(self._transfers)]
                done += transfer.collect(out)
                report(min(done, len(volume)))
                if index < len(firsts):
                    self._enqueue(stage, transfer, volume, firsts[index], seed, first_id, noise)
                if not every:  # now, so that the GPU works while the system hands out the pages
                    every = _results(volume, stage.results)
                    out = {name: every[name] for name in stage.results}
        except BaseException:
            self._forget()  # batches in flight hold half a volume: begin anew next time
            raise
        if "mean" not in stage.results:  # of a coarse network alone the prediction is the image
            np.maximum(every["coarse"], 0, out=every["mean"])
        for result in every.values():  # as on a CPU
            result[~kept] = 0
        return every["mean"], every["std"], every["coarse"]

    def _enqueue(
        self,
        stage: Worker,
        transfer: Transfer,
        volume: Array,
        first: int,
        seed: int,
        first_id: int,
        noise: Array | None,
    ) -> None:
        """One batch, from its planes to its results on their way back; nothing waits for it here."""
        part = rows(first, stage.batch.slices, len(volume))
        planes, begin = transfer.send(volume, first)
        stage.prepare(planes, begin, part, volume)
        drawn = None if noise is None else noise[:, :, part].swapaxes(1, 2)
        stage.run(seed, first_id + part, drawn)
        transfer.fetch(stage.results)

    def _prepared(self, batch: BatchShape, height: int, width: int) -> Worker:
        """The stage for such a batch, kept while the shape stays."""
        key = (batch, height, width)
        if self._stage is None or self._key != key:
            self._forget()
            self._stage = Worker(self._bundle, self._engine, self._table, batch, height, width)
            self._transfers = [
                Transfer(batch.slices, height, width, self._engine.stream) for _ in range(2)
            ]
            self._key = key
        return self._stage

    def _batch(self, volume: Array, samples: int) -> BatchShape:
        depth, height, width = volume.shape
        if self._plane != (height, width):
            each = image_bytes(self._engine, self._bundle.model.network, height, width)
            free = _cuda.memory(self._engine.stream.device)[0]
            budget = self._memory if self._memory is not None else int(SHARE * free)
            self._plane, self._images = (height, width), images_within(budget, each, height, width)
        most = self._most or (depth, samples)
        return plan_batch(depth, samples, most, self._images, self._limits)

    def _shrink(self, volume: Array, batch: BatchShape, error: Exception) -> None:
        images = batch.slices * batch.samples
        self._forget()
        self._images = images // 2
        if self._batch(volume, batch.total) == batch:
            raise self._too_large(batch, error) from error
        logger.warning("warning: GPU out of memory with %d images at once; halved", images)

    def _too_large(self, batch: BatchShape, error: Exception) -> DeviceError:
        """For a batch that does not fit into memory, of an engine that takes no smaller one."""
        if batch.slices * batch.samples == 1:
            return DeviceError(
                f"the GPU's memory does not hold a single image: {error}",
                "use --device cpu, or free the GPU",
            )
        fewer = f"--slices {batch.slices // 2}" if batch.slices > 1 else "--samples 1"
        return DeviceError(
            f"the GPU's memory does not hold the {batch.slices} slices x {batch.samples} samples that the "
            f"engine takes at once: {error}",
            f"{build_command(self._bundle.source)} {fewer}, or free the GPU",
        )

    def _forget(self) -> None:
        """Give the buffers back, once nothing on the GPU uses them any more."""
        with suppress(_cuda.CudaError):  # after an error the GPU may not answer
            self._engine.stream.synchronize()
            for transfer in self._transfers:
                transfer.wait()
        self._stage, self._key, self._transfers = None, None, []


def _results(volume: Array, written: Container[str]) -> dict[str, Array]:
    """Mean, std and coarse prediction of ``volume``, all 0; pages that will be ``written`` are there."""
    results = {name: np.zeros_like(volume) for name in ("mean", "std", "coarse")}
    for name, result in results.items():
        if name in written:
            result.fill(0)
    return results


_TURNS: WeakKeyDictionary[Engine, Any] = WeakKeyDictionary()
_MAKING = Lock()


def _turn_of(engine: Engine) -> Any:
    """The lock of ``engine``, the same for all pipelines that share it."""
    with _MAKING:
        return _TURNS.setdefault(engine, RLock())
