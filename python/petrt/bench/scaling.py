"""How the cost grows with slices, size, samples, steps and threads, and how straight that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from petrt.bench.measure import Subject, measure_volumes, open_subject, stage_times
from petrt.bench.timing import Times, fit_line, significant
from petrt.bench.volume import make_volume

# A stage below this share of the longest run is too short to be judged by its own time.
SHORT = 0.01


@dataclass(frozen=True)
class Base:
    """What stays while one number grows. ``multiple``: sizes are multiples of it."""

    size: tuple[int, int]
    slices: int
    samples: int
    steps: int
    threads: int
    multiple: int


@dataclass(frozen=True)
class Axis:
    """``points``: x -> the case at it; cost is to be proportional to x, plus a constant."""

    name: str
    points: Mapping[float, Base]


def axes(base: Base) -> list[Axis]:
    """Four or more points each; slices in whole rounds of the workers, else one of them idles."""

    def at(name: str, values: Sequence[int]) -> Axis:
        points = {float(value): _but(base, name, value) for value in values}
        return Axis(name, points)

    sides = [
        (_multiple(base.size[0] * q, base.multiple), _multiple(base.size[1] * q, base.multiple))
        for q in (0.5, 0.75, 1.0, 1.25)
    ]
    return [
        at("slices", [base.threads * n for n in (1, 2, 3, 4)]),
        at("samples", [1, 2, 3, 4]),
        at("steps", sorted({max(1, math.ceil(base.steps * n / 5)) for n in (1, 2, 3, 4, 5)})),
        Axis("pixels", {float(h * w): _but(base, "size", (h, w)) for h, w in sides}),
    ]


def _multiple(side: float, multiple: int) -> int:
    return max(multiple, round(side / multiple) * multiple)


def _but(base: Base, name: str, value: Any) -> Base:
    return Base(**{**base.__dict__, name: value})


Make = Callable[[Base], Callable[[Any], Any]]


def measure_axis(make: Make, axis: Axis, repeats: int, **options: Any) -> dict[str, Any]:
    """All points of ``axis`` in turn: seconds of the whole and of each stage, and their lines.

    ``make`` loads a Reconstructor for a case. ``deviation_percent``: the largest distance of a median
    from the line of the medians, for every stage that takes at least SHORT of the longest run;
    ``short``: the others. ``fastest_percent``: the same of each point's shortest time, which other
    programs disturb least.
    """
    subjects = {str(x): _subject(make, case) for x, case in axis.points.items()}
    times = measure_volumes(subjects, repeats, **options)
    every = _by_stage(subjects, times)
    medians = {name: [each.median for each in points] for name, points in every.items()}
    xs = list(axis.points)
    found: dict[str, Any] = {
        "x": xs,
        "repeats": min(len(each.seconds) for each in times.values()),
        "seconds": {name: [significant(v) for v in values] for name, values in medians.items()},
    }
    if len(xs) < 3:
        return {**found, "line": {}, "deviation_percent": {}, "fastest_percent": {}, "short": []}
    lines = {name: fit_line(xs, values) for name, values in medians.items()}
    longest = max(medians["volume"])
    short = [name for name, values in medians.items() if max(values) < SHORT * longest]
    found["line"] = {
        name: {"intercept_s": significant(line.intercept), "slope_s": significant(line.slope)}
        for name, line in lines.items()
    }
    found["deviation_percent"] = {
        name: round(100 * line.deviation, 2) for name, line in lines.items() if name not in short
    }
    found["fastest_percent"] = {
        name: round(100 * fit_line(xs, [min(each.seconds) for each in every[name]]).deviation, 2)
        for name in found["deviation_percent"]
    }
    found["short"] = short
    return found


def measure_threads(
    make: Make, base: Base, counts: Sequence[int], repeats: int, **options: Any
) -> dict[str, Any]:
    """Volumes with 1 .. all threads: seconds, and how much of each thread is gained (1: all of it)."""
    cases = {n: _but(base, "threads", n) for n in counts}
    subjects = {str(n): _subject(make, case) for n, case in cases.items()}
    times = measure_volumes(subjects, repeats, **options)
    seconds = [times[str(n)].median for n in counts]
    one = counts[0] * seconds[0]
    return {
        "x": list(counts),
        "repeats": min(len(each.seconds) for each in times.values()),
        "seconds": {"volume": [significant(value) for value in seconds]},
        "efficiency": [
            round(one / (n * value), 4) for n, value in zip(counts, seconds, strict=True)
        ],
    }


def thread_counts(most: int) -> list[int]:
    """1, 2, 4 ... and ``most``."""
    powers = [2**k for k in range(most.bit_length()) if 2**k < most]
    return [*powers, most]


def _subject(make: Make, case: Base) -> Subject:
    return open_subject(lambda: make(case), make_volume(*case.size, case.slices))


def _by_stage(
    subjects: Mapping[str, Subject], times: Mapping[str, Times]
) -> dict[str, list[Times]]:
    """Stage, and "volume" for the whole, -> its times at each point."""
    points = [stage_times(subject.stats) for subject in subjects.values()]
    stages = [name for name in points[0] if all(name in point for point in points)]
    found = {name: [point[name] for point in points] for name in stages}
    return {**found, "volume": [times[name] for name in subjects]}
