"""The sections of a latency run on a CPU: each takes the bench and gives a JSON-ready result.

Every section stands on its own: what it needs of an earlier one it takes from the result, so that a run
can be continued in another process.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.latency.baselines import EAGER, baselines
from benchmarks.latency.subject import Subject
from petrt.bench import measure, scaling, startup
from petrt.bench.floor import add_all_floors
from petrt.bench.peaks import Peaks, measure_peaks
from petrt.bench.plan import Candidate, Settings, make_plan
from petrt.bench.timing import interleaved, significant, wall
from petrt.engines.select import choose
from petrt.errors import DeviceError
from petrt.hardware.cpu import default_threads
from petrt.inference import verify_engine as verify
from petrt.inference.reconstructor import Reconstructor
from petrt.model.bundle import load_bundle

# Precisions beside an engine's own. PyTorch rounds on a CPU as a GPU does, at no gain: fp32 only.
PRECISIONS = ("fp32", "bf16")
BASELINE_SLICES = 2


@dataclass
class CpuBench:
    """The subject, the options and what was found so far, in this process or an earlier one."""

    options: argparse.Namespace
    subject: Subject
    found: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    deadline: float = math.inf
    machine: dict[str, Any] = field(default_factory=dict)
    on_gpu = False

    @property
    def size(self) -> tuple[int, int]:
        height, width, _ = self.subject.volume.shape
        return height, width

    def plan(self, model: str | Path) -> tuple[list[Candidate], list[dict[str, str]]]:
        """Every engine and precision that runs ``model`` here, and those that do not, with why."""
        bundle = load_bundle(model)
        found: dict[str, Candidate] = {}
        absent: dict[tuple[str, str], dict[str, str]] = {}
        for precision in PRECISIONS:
            settings = Settings(size=self.size, device="cpu", precisions=(precision,))
            plan = make_plan(bundle, settings)
            found |= {f"{c.engine} {precision}": c for c in plan.candidates if _useful(c)}
            for each in plan.absent:
                name = f"{each.name} {precision}"
                absent[name, each.reason] = {"name": name, "reason": each.reason, "hint": each.hint}
        return list(found.values()), list(absent.values())

    def default(self) -> str:
        """Name of the candidate that "auto" takes."""
        engine = choose(load_bundle(self.subject.bundle), "auto", "cpu").engine
        return f"{engine.name} {engine.precision}"

    @property
    def best(self) -> str:
        """The fastest candidate whose images are right: float32, or as measured in ``agreement``."""
        measured = self.found.get("agreement", {}).get("candidates", {})
        engines = self.found["volume"]["engines"]

        def fits(name: str) -> bool:
            if name not in measured:
                return name.endswith("fp32")
            level, bar = measured[name]["psnr_db"], verify.BARS[name.split(" ")[1]].psnr_db
            return level is None or level >= bar

        fit = [name for name in engines if fits(name)]
        return min(fit, key=lambda name: float(engines[name]["volume"]["median_s"]))

    def reconstructor(self, name: str, **changes: Any) -> Reconstructor:
        """The candidate ``name`` ("native fp32") on the subject: one sample of all steps, unless ``changes``
        say otherwise."""
        engine, precision = name.split(" ")
        options: dict[str, Any] = {
            "samples": 1,
            **({} if "steps" in changes else {"preset": "paper"}),
            "skip_background": False,
            "allow_activity_change": True,
            **changes,
        }
        return Reconstructor(
            self.subject.bundle, engine=engine, precision=precision, device="cpu", **options
        )


def _useful(candidate: Candidate) -> bool:
    return candidate.engine != "torch" or candidate.precision == "fp32"


def peaks(bench: CpuBench) -> dict[str, Any]:
    """What the machine can do at most."""
    return measure_peaks()


def volume(bench: CpuBench) -> dict[str, Any]:
    """Whole volumes by every engine and the baselines in the same rounds, with the machine's peak.

    The baselines run BASELINE_SLICES slices, one after the other, and their time is scaled to the
    volume's; everything of petrt runs the whole volume, no slice skipped.
    """
    candidates, absent = bench.plan(bench.subject.bundle)
    names = [f"{c.engine} {c.precision}" for c in candidates]
    subjects: dict[str, measure.Subject] = {}
    for name in names:
        try:
            make = partial(bench.reconstructor, name)
            subjects[name] = measure.open_subject(make, bench.subject.volume)
        except DeviceError as error:
            absent.append({"name": name, "reason": error.message, "hint": error.hint})
    absent = [each for each in absent if each["name"] not in subjects]
    few = min(BASELINE_SLICES, bench.subject.volume.shape[2])
    with tempfile.TemporaryDirectory() as folder:
        others = baselines(bench.subject, few, Path(folder))
        first = {name: round(wall(run), 3) for name, run in others.items()}
        sampled = Peaks(bench.found["peaks"])
        precisions = sorted({name.split(" ")[1] for name in subjects})
        times = measure.measure_volumes(
            {**subjects, **others},
            bench.options.repeats,
            warm_up=0,
            before_round=lambda: sampled.sample(precisions),
        )
    engines = {name: measure.record(s, times[name]) for name, s in subjects.items()}
    slices = bench.subject.volume.shape[2]
    bundle = load_bundle(bench.subject.bundle)
    add_all_floors(engines.values(), bundle, bench.size, slices, sampled)
    return {
        "default": bench.default(),
        "engines": engines,
        "baselines": {
            name: {
                "first_run_s": first[name],
                "slices_measured": few,
                **times[name].record(),
                "volume_s": significant(times[name].median * slices / few),
            }
            for name in others
        },
        "absent": absent,
        "sampled_peaks": sampled.record()["sampled"],
    }


def agreement(bench: CpuBench) -> dict[str, Any]:
    """How far the demo model's images lie from ONNX Runtime's in float32 (petrt.inference.verify_engine)."""
    bundle = load_bundle("demo")
    candidates, absent = bench.plan("demo")
    reference = verify.make_reference(bundle)
    found: dict[str, Any] = {}
    for candidate in candidates:
        name = f"{candidate.engine} {candidate.precision}"
        engine = choose(bundle, candidate.engine, "cpu", candidate.precision).engine
        found[name] = {"psnr_db": verify.measure(bundle, engine, reference).psnr_db}
    return {"model": "demo", "against": str(reference), "candidates": found, "absent": absent}


def fast(bench: CpuBench) -> dict[str, Any]:
    """The preset "fast" with a pair of samples on the best engine against the eager loop, in turns, and one
    sample of "paper" beside them."""
    name = bench.best
    subjects = {
        preset: measure.open_subject(
            partial(bench.reconstructor, name, preset=preset, samples=samples), bench.subject.volume
        )
        for preset, samples in (("paper", 1), ("fast", 2))
    }
    slices = bench.subject.volume.shape[2]
    few = min(BASELINE_SLICES, slices)
    with tempfile.TemporaryDirectory() as folder:
        others = baselines(bench.subject, few, Path(folder), names=(EAGER,))
        times = measure.measure_volumes({**subjects, **others}, bench.options.repeats, warm_up=0)
    scaled = times[EAGER].median * slices / few
    return {
        "engine": name,
        **{preset: measure.record(s, times[preset]) for preset, s in subjects.items()},
        "eager": {"slices_measured": few, **times[EAGER].record(), "volume_s": significant(scaled)},
        "times_faster": {p: round(scaled / times[p].median, 2) for p in subjects},
    }


def scales(bench: CpuBench) -> dict[str, Any]:
    """Cost of the default engine against slices, samples, steps, pixels and threads.

    Twice the repetitions of the others: the shortest stage that is judged takes some 30 ms.
    """
    name, threads = bench.found["volume"]["default"], default_threads()
    granule = 2**bench.subject.spec.network.scales
    base = scaling.Base(bench.size, threads, 1, bench.subject.table.steps, threads, granule)

    def make(case: scaling.Base) -> Reconstructor:
        # One sample a call: how many suit best is another question, and would bend the line.
        return bench.reconstructor(
            name, samples=case.samples, steps=case.steps, threads=case.threads, batch=(1, 1)
        )

    repeats = 2 * bench.options.repeats
    found: dict[str, Any] = {"engine": name, "batch": [1, 1]}
    for axis in scaling.axes(base):
        found[axis.name] = scaling.measure_axis(make, axis, repeats, warm_up=0)
    counts = scaling.thread_counts(threads)
    found["threads"] = scaling.measure_threads(
        make, replace(base, slices=2 * threads), counts, repeats, warm_up=0
    )
    return found


def memory(bench: CpuBench) -> dict[str, Any]:
    """Peak memory of a process that runs a whole volume of ``memory_slices`` with 8 samples.

    One step: the buffers are the same in each. The default engine, and the best one if it is another.
    """
    found = {}
    for name in dict.fromkeys((bench.found["volume"]["default"], bench.best)):
        engine, precision = name.split(" ")
        options = {
            "engine": engine,
            "precision": precision,
            "device": "cpu",
            "samples": 8,
            "steps": 1,
            "skip_background": False,
        }
        slices = bench.options.memory_slices
        found[name] = startup.peak_memory(str(bench.subject.bundle), options, bench.size, slices)
    return found


def start(bench: CpuBench) -> dict[str, Any]:
    """From a cold process to the first slice of the demo model, engine and schedule as they come."""
    model = load_bundle("demo").model
    size = model.domain.matrix or (128, 128)
    return {"model": "demo", **startup.cold_start("demo", {}, size, 8, bench.options.starts)}


def compiled(bench: CpuBench) -> dict[str, Any]:
    """The unfolded networks under torch.compile, against eager and the default engine in turns."""
    name = bench.found["volume"]["default"]
    slices = bench.subject.volume.shape[2]
    few = min(BASELINE_SLICES, slices)
    runs = baselines(bench.subject, few, Path(os.devnull), names=(EAGER, "compiled"))
    prepared = round(wall(runs["compiled"]), 1)
    reconstructor = bench.reconstructor(name)
    times = interleaved(
        {**runs, "petrt": lambda: reconstructor(bench.subject.volume)}, bench.options.repeats
    )
    scaled = {n: times[n].median * slices / few for n in runs}
    return {
        "mode": "default",
        "first_run_s": prepared,
        "slices_measured": few,
        "engine": name,
        **{n: each.record() for n, each in times.items()},
        "volume_s": {n: significant(value) for n, value in scaled.items()},
        "times_faster": round(scaled["compiled"] / times["petrt"].median, 2),
    }


Section = Callable[[CpuBench], dict[str, Any]]
# What later ones need comes first, what takes longest last.
ON_CPU: tuple[Section, ...] = (peaks, volume, agreement, fast, start, scales, memory, compiled)
# What a section takes from others' results.
NEEDS: dict[str, tuple[str, ...]] = {
    "volume": ("peaks",),
    "fast": ("volume",),
    "scales": ("volume",),
    "memory": ("volume",),
    "compiled": ("volume",),
}
