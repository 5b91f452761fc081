"""Decides for each volume on a CPU how its slices run, and opens the engines for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from petrt.engines.base import Engine, binding_bytes, division, sharing
from petrt.engines.rates import Rate, Situation, keep_rates, kept_rates
from petrt.hardware.cpu import cpu_model
from petrt.inference.cpu import memory
from petrt.inference.cpu.parallelism import (
    Job,
    Limit,
    Option,
    Schedule,
    batches,
    best,
    refuse,
    splits,
    within,
)
from petrt.inference.cpu.tuning import ROUNDS, Batch, Split, measure
from petrt.inference.cpu.worker import Shape, Work
from petrt.model.bundle import Bundle
from petrt.model.spec import NetworkSpec

logger = logging.getLogger("petrt")

# Most that a measurement may cost of the work that this Scheduler has planned so far.
COST = 0.02
# Inside how many threads calls are tried: with more they only lose (scheduling.GAIN).
TRIED_THREADS = 4
# Volumes in memory beside the input and its network grid: three results there, and their way back.
VOLUMES = 6


class Scheduler:
    """Where there is enough to do, schedules are measured first, and kept for other processes.

    Args:
        engine: of one thread, or the caller's own.
        reopen: opens the same engine with other threads; None where that cannot be.
        cores: to be used. ``fixed``: that many workers, and nothing is measured.
        batch: (slices, samples) in one call; None: what suits.
        budget: bytes this process may have in memory; None: what it has, and memory.SHARE of what is
            available.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        work: Work,
        *,
        cores: int,
        fixed: bool = False,
        reopen: Callable[[int], Engine] | None = None,
        batch: Batch | None = None,
        budget: int | None = None,
    ) -> None:
        self._bundle, self._engine, self._work = bundle, engine, work
        self._reopen, self._reopened = reopen, engine
        self._cores, self._fixed, self._batch, self._budget = cores, fixed, batch, budget
        self._limit: Limit | None = None
        self._planned = 0.0  # images
        self._coarse = _cost(bundle.model.network)
        onnx = sum(len(bundle.files[f"{graph}.onnx"]) for graph in bundle.graphs)
        self._engine_bytes = 0 if sharing(engine) else int(memory.LOADED * onnx)

    def plan(self, shape: tuple[int, int, int], slices: int, samples: int) -> Schedule:
        """The schedule for ``slices`` of a volume of ``shape`` [Z, H, W], with ``samples`` of each.

        Raises DeviceError where memory does not hold a single image.
        """
        denoises = self._work.film is not None
        job = Job(
            slices, samples if denoises else 1, *shape[1:],
            self._work.table.steps if denoises else 0, self._coarse,
        )  # fmt: skip
        self._planned += job.images
        if self._limit is None:
            self._limit = Limit.now(self._budget)
        needs = self._needs(job, VOLUMES * 4 * shape[0] * shape[1] * shape[2])
        rates, because = self._rates(job, needs)
        least = Schedule(1, self._engine.threads, 1, 1)
        usual = self._batches(job)[0]
        # A batch that was asked for is made smaller only where not even one of it fits.
        smaller = [usual, (1, 1)] if self._batch is None else [usual]
        for options in (_measured(rates), self._by_rule(smaller), self._by_rule([(1, 1)])):
            fitting = within(options, self._limit, needs)
            if fitting:
                return replace(best(job, fitting), because=because)
        raise refuse(self._limit, *needs(least))

    def engine(self, schedule: Schedule) -> Engine:
        """The engine for ``schedule``. Of those with other threads only the last one is kept."""
        return self._opened((schedule.workers, schedule.threads))

    def _opened(self, split: Split) -> Engine:
        threads = self._inside(split)
        if threads == self._engine.threads:
            return self._engine
        if self._reopened.threads != threads:
            assert self._reopen is not None
            self._reopened = self._reopen(threads)
        return self._reopened

    def _inside(self, split: Split) -> int:
        """The threads to open an engine with."""
        workers, threads = split
        if self._divides:
            return threads if division(self._engine) == "own" else workers * (threads - 1) + 1
        return self._engine.threads

    @property
    def _divides(self) -> bool:
        return not self._fixed and self._reopen is not None and division(self._engine) is not None

    def _splits(self) -> list[Split]:
        if self._divides:
            return splits(self._cores)
        threads = self._engine.threads
        return [(self._cores if self._fixed else max(1, self._cores // threads), threads)]

    def _batches(self, job: Job) -> list[Batch]:
        denoises = self._work.film is not None
        most = self._engine.batch_range("denoiser")[1] if denoises else None
        return batches(job, self._batch, most)

    def _by_rule(self, tried: list[Batch]) -> list[Option]:
        """All splits with each of the batches."""
        options = [Schedule(*split, *batch) for batch in tried for split in self._splits()]
        return [(option, None) for option in dict.fromkeys(options)]

    def _needs(self, job: Job, volumes: int) -> Callable[[Schedule], tuple[int, int]]:
        """Bytes of one of a schedule's workers, and of all else: volumes, another engine, and weights."""
        volumes += binding_bytes(self._engine)

        def needs(schedule: Schedule) -> tuple[int, int]:
            shape = Shape(schedule.slices, schedule.samples, job.height, job.width)
            each = memory.worker_bytes(self._engine, self._bundle.model.network, shape)
            other = self._inside((schedule.workers, schedule.threads)) != self._engine.threads
            return each, volumes + other * self._engine_bytes

        return needs

    def _rates(
        self, job: Job, needs: Callable[[Schedule], tuple[int, int]]
    ) -> tuple[tuple[Rate, ...], str]:
        """What was measured earlier, or is worth measuring now; and which."""
        if self._fixed:
            return (), "given"
        if self._batch is not None or job.steps == 0:
            return (), "usual"
        situation = Situation(
            model=self._bundle.identity, cpu=cpu_model(), cores=self._cores,
            engine=self._engine.name, precision=self._engine.precision,  # type: ignore[arg-type]
            height=job.height, width=job.width, samples=job.samples,
        )  # fmt: skip
        rates = kept_rates(situation, self._engine.version)
        if rates:
            return rates, "measured earlier"
        few = [split for split in self._splits() if split[1] <= TRIED_THREADS]
        tried = self._batches(job)
        if len(few) * len(tried) == 1 or not self._worth(few, tried):
            return (), "usual"
        options: list[Option] = [(Schedule(*few[0], *batch), None) for batch in tried]
        assert self._limit is not None
        if within(options, self._limit, partial(self._all_engines, needs, few)) != options:
            return (), "usual"
        logger.info(
            "trying out how slices run fastest on %d cores; kept for other runs (not with --threads)",
            self._cores,
        )  # fmt: skip
        rates = measure(self._opened, self._work, few, tried, (job.height, job.width))
        keep_rates(situation, self._engine.version, rates)
        return rates, "measured"

    def _all_engines(
        self,
        needs: Callable[[Schedule], tuple[int, int]],
        few: Sequence[Split],
        schedule: Schedule,
    ) -> tuple[int, int]:
        """As ``needs``, while the engines of all ``few`` splits are open."""
        each, other = needs(schedule)
        more = self._engine_bytes + binding_bytes(self._engine)
        return each, other + (len(few) - 1) * more

    def _worth(self, few: list[Split], tried: list[Batch]) -> bool:
        """Whether a measurement costs little beside the work: it keeps every core busy, too."""
        sizes = [slices * samples for slices, samples in tried]
        calls = (ROUNDS + 1) * (len(few) * sizes[0] + sum(sizes[1:]))
        cost = self._cores * (calls + len(few) * tried[0][0] * self._coarse)
        return cost <= COST * self._planned


def _measured(rates: tuple[Rate, ...]) -> list[Option]:
    return [(Schedule(r.workers, r.threads, r.slices, r.samples), r) for r in rates]


def _cost(network: NetworkSpec) -> float:
    """Of the networks that run once a slice, in images of the denoiser (or of the coarse network alone):
    operations of two U-Nets of one kind grow with the square of their width."""
    if network.denoiser is None:
        return 1.0
    return (network.coarse.base / network.denoiser.base) ** 2 if network.coarse else 0.0
