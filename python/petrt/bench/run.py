"""All sections of ``petrt bench`` in their order, into one JSON-ready result."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from petrt.bench import machine, measure, scaling, startup
from petrt.bench.floor import EFFECTIVE, add_all_floors
from petrt.bench.peaks import Peaks, measure_peaks
from petrt.bench.plan import BenchPlan, Candidate, Settings, make_plan
from petrt.bench.volume import make_volume
from petrt.errors import DeviceError, PetrtError
from petrt.hardware.cpu import default_threads
from petrt.model.bundle import Bundle, load_bundle

logger = logging.getLogger("petrt")

FORMAT, VERSION = "petrt-bench", 1
STARTS = 3  # of cold processes


@contextmanager
def quiet() -> Iterator[None]:
    """Warnings only: every Reconstructor that is opened would tell its engine."""
    before = logger.level
    logger.setLevel(max(before, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(before)


class Bench:
    """One run: what it measures and what it has found. ``result`` is complete after every section."""

    def __init__(self, model: str, settings: Settings, say: Callable[[str], None]) -> None:
        self.model, self.settings, self._say = model, settings, say
        self.bundle: Bundle = load_bundle(model)
        self.plan: BenchPlan = make_plan(self.bundle, settings)
        if not self.plan.candidates:
            reasons = "; ".join(str(missing) for missing in self.plan.absent)
            raise DeviceError(f"nothing to measure: {reasons}", "petrt doctor")
        self.threads = settings.threads or default_threads()
        self.peaks: Peaks | None = None
        self._deadline = math.inf
        self.result = self._header()

    def run(self) -> dict[str, Any]:
        """Every section asked for, as long as the budget lasts; what is left out says why.

        Raises DeviceError where no candidate runs.
        """
        sections: dict[str, Callable[[], Any]] = {
            "peaks": self._peaks,
            "volume": self._volume,
            "memory": self._memory,
            "startup": self._startup,
            "scaling": self._scaling,
        }
        self._deadline = time.perf_counter() + self.settings.budget
        for name, section in sections.items():
            if name not in self.settings.sections:
                self.result["skipped"][name] = "not asked for"
            elif time.perf_counter() > self._deadline:
                self.result["skipped"][name] = (
                    f"the budget of {self.settings.budget:g} s was used up"
                )
            else:
                self._say(name)
                with quiet():
                    section()
        return self.result

    def _header(self) -> dict[str, Any]:
        found = machine.describe() | machine.load()
        warnings = [text for text in (machine.busy(found),) if text]
        for text in warnings:
            logger.warning("%s", text)
        return {
            "format": FORMAT,
            "version": VERSION,
            "machine": found,
            "model": {"name": self.bundle.model.name, "sha256": self.bundle.identity},
            "settings": asdict(self.settings),
            "device": self.plan.device,
            "candidates": {},
            "absent": [asdict(missing) for missing in self.plan.absent],
            "peaks": None,
            "memory": None,
            "startup": None,
            "scaling": None,
            "skipped": {},
            "warnings": warnings,
            "notes": [EFFECTIVE],
        }

    def _peaks(self) -> None:
        if self.plan.device != "cpu":
            self.result["skipped"]["peaks"] = "a GPU's peaks: benchmarks/latency measures them"
            return
        self.peaks = Peaks(measure_peaks(self.threads))
        self.result["peaks"] = self.peaks.record()

    def _volume(self) -> None:
        volume = make_volume(*self.settings.size, self.settings.slices)
        subjects: dict[str, measure.Subject] = {}
        for candidate in self.plan.candidates:
            try:
                make = partial(self.reconstructor, candidate)
                subjects[candidate.name] = measure.open_subject(make, volume)
            except DeviceError as error:
                self._missing(candidate, error)
        if not subjects:
            reasons = "; ".join(f"{a['name']}: {a['reason']}" for a in self.result["absent"])
            raise DeviceError(f"no engine runs here: {reasons}", "petrt doctor")
        precisions = {s.stats[-1]["engine"]["precision"] for s in subjects.values()}
        peaks = self.peaks
        # Half of the time is for what follows.
        now = time.perf_counter()
        times = measure.measure_volumes(
            subjects,
            self.settings.repeats,
            warm_up=0,
            deadline=now + (self._deadline - now) / 2,
            before_round=None if peaks is None else lambda: peaks.sample(precisions),
        )
        found = {name: measure.record(s, times[name]) for name, s in subjects.items()}
        if peaks is not None:
            size, slices = self.settings.size, self.settings.slices
            add_all_floors(found.values(), self.bundle, size, slices, peaks)
            self.result["peaks"] = peaks.record()
        self.result["candidates"] = found

    def _memory(self) -> None:
        self.result["memory"] = {}
        for candidate in self._running():
            if time.perf_counter() > self._deadline:
                self.result["skipped"][f"memory of {candidate.name}"] = "the budget was used up"
                continue
            self.result["memory"][candidate.name] = startup.peak_memory(
                self.model, candidate.options, self.settings.size, self.settings.slices
            )

    def _startup(self) -> None:
        """Of the first candidate."""
        first = self._running()[0]
        self.result["startup"] = {
            "candidate": first.name,
            **startup.cold_start(
                self.model, first.options, self.settings.size, self.threads, STARTS
            ),
        }

    def _scaling(self) -> None:
        """Of the first candidate, every axis with an equal part of the time that is left."""
        first = self._running()[0]
        base = scaling.Base(
            self.settings.size,
            2 * self.threads,
            first.samples,
            first.steps,
            self.threads,
            2**self.bundle.model.network.scales,
        )

        def make(case: scaling.Base) -> Any:
            options = {"samples": case.samples, "steps": case.steps, "threads": case.threads}
            return self.reconstructor(first, **options)

        found: dict[str, Any] = {"candidate": first.name}
        self.result["scaling"] = found
        axes = scaling.axes(base)
        for left, axis in zip(range(len(axes) + 1, 1, -1), axes, strict=True):
            found[axis.name] = scaling.measure_axis(
                make, axis, self.settings.repeats, warm_up=0, deadline=self._part(left)
            )
        if self.plan.device == "cpu":
            found["threads"] = scaling.measure_threads(
                make,
                base,
                scaling.thread_counts(self.threads),
                self.settings.repeats,
                warm_up=0,
                deadline=self._deadline,
            )

    def _part(self, left: int) -> float:
        now = time.perf_counter()
        return now + (self._deadline - now) / left

    def reconstructor(self, candidate: Candidate, **changes: Any) -> Any:
        from petrt.inference.reconstructor import Reconstructor

        known = candidate.options
        return Reconstructor(
            self.bundle, **known | {name: changes[name] for name in changes if name in known}
        )

    def _running(self) -> list[Candidate]:
        """Candidates that ran, or all where none was asked to."""
        ran = [c for c in self.plan.candidates if c.name in self.result["candidates"]]
        return ran or self.plan.candidates

    def _missing(self, candidate: Candidate, error: PetrtError) -> None:
        logger.warning("%s cannot run: %s", candidate.name, error)
        self.result["absent"].append(
            {"name": candidate.name, "reason": error.message, "hint": error.hint}
        )
