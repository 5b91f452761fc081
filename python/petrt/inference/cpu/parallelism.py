"""How a volume runs on a CPU: workers, threads inside a call, and batches.

A worker takes one batch of slices through all networks. By default there are as many workers as cores, with
one thread each. Fewer workers with several threads inside their calls serve volumes with fewer slices than
cores, or little memory. This is a rule of cores, slices, samples and memory: nothing is measured before a
volume (benchmarks/parallelism.py compares the rule with its alternatives). The results are the same to
the bit in every case: only engines that divide outputs, and never a sum, get several threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from petrt.errors import DeviceError
from petrt.hardware import memory

# Samples in one call. Milliseconds an image of the paper's denoiser on 2 cores, for 1, 2, 4 and 8 samples:
# ONNX Runtime 129, 129, 135, 139; petrt's own engine 101, 98, 93, 121. And memory grows with them.
USUAL_SAMPLES = 2
# t threads inside a call make it t ** GAIN times as fast: 1.6 with two (measured as above).
GAIN = 0.7
# Another way replaces the first one if its time is below this share of it.
WORTH = 0.9


@dataclass(frozen=True)
class Shape:
    """One call of the denoiser: ``slices`` x ``samples`` images of ``height`` x ``width``."""

    slices: int
    samples: int
    height: int
    width: int


@dataclass(frozen=True)
class Parallelism:
    """``workers`` batches side by side, ``threads`` inside their calls, ``slices`` x ``samples`` images
    in one call of the denoiser. ``because``: "usual", by rule, or "given" by --threads."""

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
class MemoryLimit:
    """``bytes`` of memory that the process may have (None: no bound is known), and the bytes that it had
    ``before`` the first volume."""

    bytes: int | None
    before: int

    @classmethod
    def now(cls, given: int | None) -> MemoryLimit:
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


def usual_batch(samples: int, most: int | None) -> tuple[int, int]:
    """(slices, samples) in one call, of at most ``most`` images, for ``samples`` of each slice."""
    return 1, divisor(samples, min(USUAL_SAMPLES, most or USUAL_SAMPLES))


def best(slices: int, options: Sequence[Parallelism]) -> Parallelism:
    """The option that takes least time for ``slices``; the first one unless another is well ahead of it."""

    def time(option: Parallelism) -> float:
        """In calls of one thread on one slice, one after the other."""
        rounds = math.ceil(slices / (option.workers * option.slices))
        return float(rounds * option.slices * option.threads**-GAIN)

    ahead = min(options, key=time)
    return ahead if time(ahead) < WORTH * time(options[0]) else options[0]


def within(
    options: Iterable[Parallelism],
    limit: MemoryLimit,
    needs: Callable[[Parallelism], tuple[int, int]],
) -> list[Parallelism]:
    """The options that fit into memory, with fewer workers where not all of them do. ``needs``: bytes of
    one worker, and of all else."""
    found = []
    for option in options:
        workers = limit.workers(option.workers, *needs(option))
        if workers:
            found.append(replace(option, workers=workers))
    return found


def refuse(limit: MemoryLimit, each: int, other: int) -> DeviceError:
    """The error for a volume of which not even one worker with one image fits."""
    needed = (limit.before + each + other) / 2**30
    allowed = (limit.bytes or 0) / 2**30
    return DeviceError(
        f"one slice at a time needs about {needed:.2f} GiB of memory, {allowed:.2f} GiB may be used",
        f"--memory {math.ceil(100 * needed) / 100:.2f}, or a machine with more",
    )
