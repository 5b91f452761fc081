"""What a schedule is, and which is the best for a volume: workers, threads inside a call, batches.

A worker takes one batch of slices through all networks. By default there are as many workers as cores, with
one thread each. Fewer workers with several threads inside their calls serve volumes with fewer slices than
cores, or little memory, or are simply faster (petrt.inference.cpu.tuning measures that).
Whatever the schedule, the results are the same to the bit: only engines that divide outputs and never a sum
get several threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from petrt.engines.rates import Rate
from petrt.errors import DeviceError
from petrt.inference.cpu import memory

# Samples in one call unless measured otherwise. Milliseconds an image of the paper's denoiser on 2 cores,
# for 1, 2, 4 and 8 samples: ONNX Runtime 129, 129, 135, 139; petrt's own engine 101, 98, 93, 121. And
# memory grows with them.
USUAL_SAMPLES = 2
# What is tried beside it.
TRIED_SAMPLES = (1, 2, 4)
# t threads inside a call make it t ** GAIN times as fast: 1.6 with two (measured as above).
GAIN = 0.7
# Less time that another schedule must promise than the first, by rule and measured.
WORTH, WORTH_MEASURED = 0.9, 0.95


@dataclass(frozen=True)
class Schedule:
    """``workers`` batches side by side, ``threads`` inside their calls, ``slices`` x ``samples`` images
    in one call of the denoiser. ``because``: where it comes from."""

    workers: int
    threads: int
    slices: int
    samples: int
    because: str = "usual"

    @property
    def record(self) -> dict[str, Any]:
        return {
            "threads": self.workers * self.threads,
            "schedule": {
                "workers": self.workers,
                "threads_per_call": self.threads,
                "batch": [self.slices, self.samples],
                "because": self.because,
            },
        }


@dataclass(frozen=True)
class Job:
    """``slices`` of ``height`` x ``width`` to run, each with ``samples``. ``steps``: calls of the denoiser
    for each; ``coarse``: cost of the networks that run once a slice, in images of the denoiser."""

    slices: int
    samples: int
    height: int
    width: int
    steps: int
    coarse: float

    @property
    def images(self) -> float:
        """The work, in images of the denoiser."""
        return self.slices * (self.samples * self.steps + self.coarse)

    def time(self, schedule: Schedule, rate: Rate | None) -> float:
        """How long ``schedule`` takes at ``rate``, without one by rule: then in images of the denoiser."""
        image = schedule.threads**-GAIN
        per_slice = self.coarse * image
        if rate is not None:
            image, per_slice = rate.image_ms, rate.slice_ms
        rounds = math.ceil(self.slices / (schedule.workers * schedule.slices))
        return rounds * schedule.slices * (per_slice + self.samples * self.steps * image)


@dataclass(frozen=True)
class Limit:
    """Bytes that the process may have in memory (None: no bound is known), and those it had ``before``
    the first volume."""

    bytes: int | None
    before: int

    @classmethod
    def now(cls, given: int | None) -> Limit:
        """``given``, or what is there and memory.SHARE of what is available."""
        before, free = memory.resident(), memory.available()
        if given is None and free is not None and before is not None:
            given = before + int(memory.SHARE * free)
        return cls(given, before or 0)

    def workers(self, most: int, each: int, other: int = 0) -> int:
        """How many workers of ``each`` bytes fit, at most ``most``; ``other`` bytes are taken besides."""
        if self.bytes is None:
            return most
        return max(0, min(most, (self.bytes - self.before - other) // each))


def divisor(samples: int, most: int) -> int:
    """The most samples up to ``most`` that ``samples`` divide into evenly."""
    return max(n for n in range(1, min(most, samples) + 1) if samples % n == 0)


def splits(cores: int) -> list[tuple[int, int]]:
    """(workers, threads) that use all ``cores``, beginning with one thread for each worker."""
    return [(cores // t, t) for t in range(1, cores + 1) if cores % t == 0]


def batches(job: Job, given: tuple[int, int] | None, most: int | None) -> list[tuple[int, int]]:
    """(slices, samples) to try, the usual one first: the ``given`` one alone, or of at most ``most``
    images each."""
    if given is not None:
        return [(given[0], divisor(job.samples, given[1]))]
    found = [(1, divisor(job.samples, n)) for n in (USUAL_SAMPLES, *TRIED_SAMPLES)]
    if job.samples == 1:
        found.append((2, 1))
    return [b for b in dict.fromkeys(found) if most is None or b[0] * b[1] <= most] or [(1, 1)]


# A schedule and its measured rate; no rate: it is judged by rule.
Option = tuple[Schedule, Rate | None]


def best(job: Job, options: Sequence[Option]) -> Schedule:
    """The schedule that takes least time. The first keeps its place unless another is well ahead of it.

    All of ``options`` have a rate, or none has.
    """
    first, _ = options[0]
    times = [job.time(schedule, rate) for schedule, rate in options]
    ahead = min(range(len(times)), key=times.__getitem__)
    worth = WORTH if options[0][1] is None else WORTH_MEASURED
    return options[ahead][0] if times[ahead] < worth * times[0] else first


def within(
    options: Iterable[Option], limit: Limit, needs: Callable[[Schedule], tuple[int, int]]
) -> list[Option]:
    """The options that fit the memory, with fewer workers where not all do. ``needs``: bytes of one worker,
    and of all else."""
    found = []
    for schedule, rate in options:
        workers = limit.workers(schedule.workers, *needs(schedule))
        if workers:
            found.append((replace(schedule, workers=workers), rate))
    return found


def refuse(limit: Limit, each: int, other: int) -> DeviceError:
    """Not even one worker with one image fits."""
    needed = (limit.before + each + other) / 2**30
    allowed = (limit.bytes or 0) / 2**30
    return DeviceError(
        f"one slice at a time needs about {needed:.2f} GiB of memory, {allowed:.2f} GiB may be used",
        f"--memory {math.ceil(100 * needed) / 100:.2f}, or a machine with more",
    )
