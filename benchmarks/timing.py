"""Times of candidates that take turns, so that a machine's drift falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Run = Callable[[], Any]
Clock = Callable[[Run], float]


@dataclass(frozen=True)
class Times:
    """Seconds of each repetition, in order."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p90(self) -> float:
        """The smallest time that nine tenths of the repetitions do not exceed."""
        ordered = sorted(self.seconds)
        return ordered[max(0, -(-9 * len(ordered) // 10) - 1)]

    def record(self) -> dict[str, Any]:
        return {
            "median_s": float(f"{self.median:.4g}"),
            "p90_s": float(f"{self.p90:.4g}"),
            "repeats": len(self.seconds),
        }


def wall(run: Run) -> float:
    """Seconds of a run that returns when everything is done."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def on_stream(stream: Any) -> Clock:
    """Seconds between two CUDA events around what a run enqueues on a petrt._cuda.Stream."""
    from petrt._cuda import Timer

    timer = Timer(stream.device)

    def clock(run: Run) -> float:
        timer.start(stream)
        run()
        timer.stop(stream)
        return timer.milliseconds() / 1000

    return clock


def on_torch(run: Run) -> float:
    """Seconds between two CUDA events around what a run enqueues on PyTorch's current stream."""
    import torch

    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1000


def interleaved(
    candidates: Mapping[str, Run], repeats: int, *, warm_up: int = 1, clock: Clock = wall
) -> dict[str, Times]:
    """Run the candidates in turn, ``repeats`` times each after ``warm_up`` untimed runs of each."""
    for run in candidates.values():
        for _ in range(warm_up):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            seconds[name].append(clock(run))
    return {name: Times(values) for name, values in seconds.items()}
