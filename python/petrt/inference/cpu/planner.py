"""Plans how each volume runs on a CPU, and opens the engines for it."""

from __future__ import annotations

from collections.abc import Callable

from petrt.engines.base import Engine
from petrt.inference.cpu import memory
from petrt.inference.cpu.parallelism import (
    MemoryLimit,
    Parallelism,
    Shape,
    best,
    divisor,
    refuse,
    splits,
    usual_batch,
    within,
)
from petrt.model.bundle import Bundle
from petrt.model.spec import NetworkSpec

CallSize = tuple[int, int]

# Volumes in memory beside the input and its network grid: three results there, and their way back.
VOLUMES = 6


class Planner:
    """The rule of petrt.inference.cpu.parallelism for one model and engine.

    Args:
        engine: of one thread, or the caller's own.
        network: the networks that run; without a denoiser where only the coarse prediction is wanted.
        reopen: opens the same engine with other threads; None where that is not possible.
        cores: number of cores to use.
        fixed: run ``cores`` workers of one thread each.
        batch: (slices, samples) in one call; by default what the rule says.
        budget: bytes of memory this process may have; by default what it has, and memory.SHARE of what
            is available.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        network: NetworkSpec,
        *,
        cores: int,
        fixed: bool = False,
        reopen: Callable[[int], Engine] | None = None,
        batch: CallSize | None = None,
        budget: int | None = None,
    ) -> None:
        self._network, self._engine = network, engine
        self._reopen, self._reopened = reopen, engine
        self._cores, self._fixed, self._batch, self._budget = cores, fixed, batch, budget
        self._limit: MemoryLimit | None = None
        shared = engine.with_threads(engine.threads) is not None
        onnx = sum(len(bundle.files[f"{graph}.onnx"]) for graph in bundle.graphs)
        self._engine_bytes = 0 if shared else int(memory.LOADED * onnx)

    def plan(self, shape: tuple[int, int, int], slices: int, samples: int) -> Parallelism:
        """How ``slices`` of a volume of ``shape`` [Z, H, W] run, with ``samples`` of each.

        Raises DeviceError where memory does not hold a single image.
        """
        if self._limit is None:
            self._limit = MemoryLimit.now(self._budget)
        needs = self._needs(shape)
        usual = self._usual(samples)
        # A batch that the user asked for is made smaller only if not even one worker fits with it.
        smaller = [usual, (1, 1)] if self._batch is None else [usual]
        for batches in (smaller, [(1, 1)]):
            fitting = within(self._options(batches), self._limit, needs)
            if fitting:
                return best(slices, fitting)
        raise refuse(self._limit, *needs(Parallelism(1, self._engine.threads, 1, 1)))

    def bytes(self, shape: tuple[int, int, int], samples: int) -> int:
        """Bytes of this process, by estimate, while a volume of ``shape`` runs. Raises as ``plan``."""
        parallelism = self.plan(shape, shape[0], samples)
        each, other = self._needs(shape)(parallelism)
        assert self._limit is not None
        return self._limit.before + parallelism.workers * each + other

    @property
    def cores(self) -> int:
        """Number of cores in use."""
        return self._cores

    def engine(self, parallelism: Parallelism) -> Engine:
        """The engine with the threads that ``parallelism`` needs. One other than the first is kept."""
        threads = self._inside(parallelism)
        if threads == self._engine.threads:
            return self._engine
        if self._reopened.threads != threads:
            assert self._reopen is not None
            self._reopened = self._reopen(threads)
        return self._reopened

    def _inside(self, parallelism: Parallelism) -> int:
        """Number of threads to open an engine with."""
        workers, threads = parallelism.workers, parallelism.threads
        if self._divides:
            return threads if self._engine.division == "own" else workers * (threads - 1) + 1
        return self._engine.threads

    @property
    def _divides(self) -> bool:
        return not self._fixed and self._reopen is not None and self._engine.division is not None

    def _usual(self, samples: int) -> CallSize:
        """(slices, samples) of a call: what the user asked for, or what the rule says."""
        denoises = self._network.denoiser is not None
        most = self._engine.batch_range("denoiser")[1] if denoises else None
        samples = samples if denoises else 1
        if self._batch is not None:
            return self._batch[0], divisor(samples, self._batch[1])
        return usual_batch(samples, most)

    def _options(self, batches: list[CallSize]) -> list[Parallelism]:
        """Every split of the cores with each of the batches."""
        because = "given" if self._fixed else "usual"
        if self._divides:
            ways = splits(self._cores)
        else:
            threads = self._engine.threads
            workers = self._cores if self._fixed else max(1, self._cores // threads)
            ways = [(workers, threads)]
        found = [Parallelism(*way, *batch, because) for batch in batches for way in ways]
        return list(dict.fromkeys(found))

    def _needs(self, shape: tuple[int, int, int]) -> Callable[[Parallelism], tuple[int, int]]:
        """What gives the bytes of one worker, and of all else: volumes, weights, a second engine."""
        depth, height, width = shape
        fixed = VOLUMES * 4 * depth * height * width + self._engine.binding_bytes

        def needs(parallelism: Parallelism) -> tuple[int, int]:
            batch = Shape(parallelism.slices, parallelism.samples, height, width)
            each = memory.worker_bytes(self._engine, self._network, batch)
            other = self._inside(parallelism) != self._engine.threads
            return each, fixed + other * self._engine_bytes

        return needs
