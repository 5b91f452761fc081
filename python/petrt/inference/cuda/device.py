"""A GPU as a device: batches of many slices, one after the other, one CUDA graph each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

from petrt import _cuda
from petrt.arrays import Array
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
from petrt.inference.device import Job, Results, Running
from petrt.inference.forward import ReverseProcess
from petrt.model.bundle import Bundle

logger = logging.getLogger("petrt")

# The driver, other programs and the engine's own scratch want some of the GPU, too.
SHARE = 0.8


class CudaDevice:
    """As ``petrt.inference.device.Device``.

    ``batch``: most (slices, samples) in one call; None for as many as fill the GPU. ``memory``: bytes
    that batches may take; None for 80 % of what is free. A batch that does not fit into memory is halved.
    An engine with a smallest call always gets it: surplus slices and samples fill it up and change no bit
    of the others. The noise equals that of the CPU but for the last bits of logarithms and cosines.

    Volumes from several threads on one engine take turns, because its stream and the recorded graph serve
    one volume at a time.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        process: ReverseProcess,
        batch: tuple[int, int] | None,
        memory: int | None,
    ) -> None:
        self._bundle, self._engine, self._process = bundle, engine, process
        self._most, self._memory = batch, memory
        self._limits = Limits.of(engine, process.model.network)
        self._key: tuple[Any, ...] | None = None
        self._worker: Worker | None = None
        self._transfers: list[Transfer] = []
        self._plane: tuple[int, int] | None = None
        self._images = 1  # at once, of this plane
        self.turn = _turn_of(engine)

    @contextmanager
    def running(self, job: Job) -> Iterator[Running]:
        """Two batches are in flight: one computes while the other's slices and results travel."""
        try:
            keep = job.drawn is not None
            worker = self._prepared(self._batch(job), *job.volume.shape[1:], keep=keep)
            worker.set_dose(job.dose)
            slices = worker.batch.slices
            # Whole batches are left out, so that their shape, and with it the graph, stays.
            firsts = [
                f for f in starts(len(job.volume), slices) if job.wanted[f : f + slices].any()
            ]
            logger.debug(
                "schedule: slices %d, batches %d, each %d x %d (slices x samples)",
                len(job.volume),
                len(firsts),
                slices,
                worker.batch.samples,
            )
            turns = iter(range(len(firsts)))

            def enqueue(first: int, count: int, results: Results) -> Callable[[], Any]:
                index = next(turns)
                transfer = self._transfers[index % len(self._transfers)]
                self._enqueue(worker, transfer, job, first)
                written: dict[str, Array] = {n: getattr(results, n) for n in worker.results}
                if index == 0:  # the GPU works while the system hands out the pages
                    for result in written.values():
                        result.fill(0)
                if job.drawn is not None and worker.kept is not None:
                    written["drawn"] = job.drawn.swapaxes(0, 1)
                return lambda: transfer.collect(written)

            yield Running([(first, slices) for first in firsts], len(self._transfers), enqueue)
            job.tally.record = self.record
        except _cuda.OutOfMemory as error:
            self._forget()
            raise OutOfDeviceMemory(str(error)) from error
        except _cuda.CudaError as error:
            self._forget()
            raise DeviceError(f"the GPU failed: {error}", "see petrt doctor") from error
        except BaseException:
            self._forget()  # batches in flight hold half a volume: begin anew next time
            raise

    def shrink(self, job: Job, error: OutOfDeviceMemory) -> None:
        batch = self._batch(job)
        images = batch.slices * batch.samples
        self._images = images // 2
        if self._batch(job) == batch:
            raise self._too_large(batch, error) from error
        logger.warning("warning: GPU out of memory with %d images at once; halved", images)

    @property
    def record(self) -> dict[str, Any]:
        """Batch and launches of the last volume; nothing before the first."""
        if self._worker is None:
            return {}
        mode, reason = self._worker.launches
        return {
            "batch": [self._worker.batch.slices, self._worker.batch.samples],
            "launches": {"mode": mode, "reason": reason},
            "spectrum": self._worker.spectrum_by,
        }

    @property
    def side_by_side(self) -> int:
        return 16

    def memory_for(self, network_shape: tuple[int, int, int], samples: int) -> int | None:
        return None

    def times(self, seconds: Mapping[str, float], total: float) -> dict[str, float]:
        """Seconds in all; a graph does not tell its parts (see benchmarks/latency)."""
        return {"total": round(total, 4)}

    def _enqueue(self, worker: Worker, transfer: Transfer, job: Job, first: int) -> None:
        """One batch, from its planes to its results on their way back; nothing waits for it here."""
        slices = rows(first, worker.batch.slices, len(job.volume))
        planes, begin = transfer.send(job.volume, first)
        worker.prepare(planes, begin, slices, job.volume)
        worker.sample(job.seed, job.ids_of(slices), job.noise_of(slices))
        kept = {} if worker.kept is None else {"drawn": worker.kept}
        transfer.fetch(worker.results | kept)

    def _prepared(self, batch: BatchShape, height: int, width: int, *, keep: bool) -> Worker:
        """The worker for such a batch, kept while the shape stays; ``keep``: and its samples, too."""
        key = (batch, height, width, keep)
        if self._worker is None or self._key != key:
            self._forget()
            kept = batch.total if keep else 0
            self._worker = Worker(self._process, self._engine, batch, height, width, kept)
            self._transfers = [
                Transfer(batch.slices, height, width, self._engine.stream, kept) for _ in range(2)
            ]
            self._key = key
        return self._worker

    def _batch(self, job: Job) -> BatchShape:
        depth, height, width = job.volume.shape
        if self._plane != (height, width):
            each = image_bytes(self._engine, self._process.model.network, height, width)
            free = _cuda.memory(self._engine.stream.device)[0]
            budget = self._memory if self._memory is not None else int(SHARE * free)
            self._plane, self._images = (height, width), images_within(budget, each, height, width)
        most = self._most or (depth, job.samples)
        return plan_batch(depth, job.samples, most, self._images, self._limits)

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
        self._worker, self._key, self._transfers = None, None, []


_TURNS: WeakKeyDictionary[Engine, Any] = WeakKeyDictionary()
_MAKING = Lock()


def _turn_of(engine: Engine) -> Any:
    """The lock of ``engine``, the same for all pipelines that share it."""
    with _MAKING:
        return _TURNS.setdefault(engine, RLock())
