"""Whole volumes through every candidate in turn, and where their time goes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.bench.timing import Run, Times, interleaved, significant, wall

# The parts of a volume in the order they run; a pipeline tells those it knows (``stats["seconds"]``).
STAGES = ("guides", "guidance", "coarse", "denoiser", "loop", "outside")


@dataclass
class Subject:
    """A Reconstructor on one volume: a run that keeps what each call told of itself."""

    reconstructor: Callable[[Any], Any]
    volume: NDArray[np.float32]
    load_s: float = math.nan
    first_run_s: float = math.nan
    stats: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self) -> None:
        self.stats.append(self.reconstructor(self.volume).stats)


def open_subject(make: Callable[[], Any], volume: NDArray[np.float32]) -> Subject:
    """Load what ``make`` loads and run it once: both take longer than all that follows."""
    begun = time.perf_counter()
    reconstructor = make()
    loaded = time.perf_counter() - begun
    subject = Subject(reconstructor, volume, loaded)
    subject.first_run_s = wall(subject)
    return subject


def measure_volumes(
    subjects: Mapping[str, Subject], repeats: int, **options: Any
) -> dict[str, Times]:
    """``interleaved`` on subjects and other runs; each subject keeps the records of what was timed."""
    runs: dict[str, Run] = dict(subjects)
    times = interleaved(runs, repeats, **options)
    for name, subject in subjects.items():
        if isinstance(subject, Subject):
            subject.stats = subject.stats[-len(times[name].seconds) :]
    return times


def stage_times(stats: Iterable[Mapping[str, Any]]) -> dict[str, Times]:
    """Seconds of each stage in each run, per worker, so that they add up to the volume's."""
    seconds = [each["seconds"] for each in stats]
    return {
        stage: Times([each[stage] for each in seconds])
        for stage in STAGES
        if all(stage in each for each in seconds)
    }


def call_counts(stats: Mapping[str, Any]) -> dict[str, int]:
    """How often each stage runs for one frame: once a slice, or once a slice, sample and step."""
    slices = stats["grid"]["network"][0]
    images = slices * stats["samples"] * stats["sampler"]["steps"]
    once = dict.fromkeys(("guides", "guidance", "coarse"), slices)
    return {**once, "denoiser": images, "loop": images}


def record(subject: Subject, times: Times) -> dict[str, Any]:
    """What is known of one candidate, JSON-ready, before floors (petrt.bench.floor)."""
    stats = subject.stats[-1]
    counts, whole = call_counts(stats), times.median
    workers = stats.get("schedule", {}).get("workers", 1)
    stages: dict[str, Any] = {}
    for stage, each in stage_times(subject.stats).items():
        stages[stage] = {**each.record(), "share": round(each.median / whole, 4)}
        if stage in counts:
            stages[stage] |= {
                "calls": counts[stage],
                "call_s": significant(each.median * workers / counts[stage]),
            }
    return {
        "engine": stats["engine"]["name"],
        "version": stats["engine"]["version"],
        "precision": stats["engine"]["precision"],
        "device": stats["device"],
        "threads": stats.get("threads"),
        "schedule": stats.get("schedule"),
        "samples": stats["samples"],
        "steps": stats["sampler"]["steps"],
        "load_s": significant(subject.load_s),
        "first_run_s": significant(subject.first_run_s),
        "volume": times.record(),
        "slice_s": significant(whole / counts["guides"]),
        "stages": stages,
    }
