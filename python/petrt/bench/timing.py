"""Times of candidates that take turns, so that a machine's drift falls on all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Run = Callable[[], Any]
Clock = Callable[[Run], float]


@dataclass(frozen=True)
class Times:
    """Seconds of each repetition, in order."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def quantile(self, share: float) -> float:
        """The smallest time that at least ``share`` of the repetitions do not exceed."""
        rank = math.ceil(round(share * len(self.seconds), 9))
        return sorted(self.seconds)[max(0, rank - 1)]

    @property
    def p90(self) -> float:
        return self.quantile(0.9)

    def record(self) -> dict[str, Any]:
        """JSON-ready: median, spread and number of repetitions."""
        return {
            "median_s": significant(self.median),
            "p10_s": significant(self.quantile(0.1)),
            "p90_s": significant(self.p90),
            "repeats": len(self.seconds),
        }


def significant(value: float, digits: int = 4) -> float:
    """``value`` to so many significant digits."""
    return float(f"{value:.{digits}g}")


def wall(run: Run) -> float:
    """Seconds of a run that returns when everything is done."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def interleaved(
    candidates: Mapping[str, Run],
    repeats: int,
    *,
    warm_up: int = 1,
    clock: Clock = wall,
    before_round: Run | None = None,
    deadline: float = math.inf,
    now: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Run the candidates in turn, ``repeats`` times each after ``warm_up`` untimed runs of each.

    ``before_round`` runs untimed ahead of every round. No round begins that would, by the longest so
    far, end after ``deadline`` on the clock ``now``; the first one always does. Each candidate then
    has the same number of repetitions, if fewer.
    """
    for run in candidates.values():
        for _ in range(warm_up):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    longest = 0.0
    for done in range(repeats):
        begun = now()
        if done and begun + longest > deadline:
            break
        if before_round is not None:
            before_round()
        for name, run in candidates.items():
            seconds[name].append(clock(run))
        longest = max(longest, now() - begun)
    return {name: Times(values) for name, values in seconds.items()}


@dataclass(frozen=True)
class Line:
    """``intercept`` + ``slope`` * x; ``deviation``: the largest relative distance of a point from it."""

    intercept: float
    slope: float
    deviation: float


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line:
    """The line whose relative distances from the points have the least sum of squares.

    Absolute ones would let the largest points decide alone. Points with y = 0 are fitted exactly by
    a line of zeros only. Raises ValueError with fewer than three points: two always lie on a line.
    """
    if len(x) != len(y) or len(x) < 3:
        raise ValueError(f"a line needs three points or more, got {len(x)} and {len(y)}")
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    if not ys.any():
        return Line(0.0, 0.0, 0.0)
    scale = np.maximum(np.abs(ys), 1e-12 * np.abs(ys).max())
    matrix = np.stack([np.ones_like(xs), xs], axis=1) / scale[:, None]
    (intercept, slope), *_ = np.linalg.lstsq(matrix, ys / scale, rcond=None)
    fitted = intercept + slope * xs
    deviation = float(np.max(np.abs(ys - fitted) / scale))
    return Line(float(intercept), float(slope), deviation)
