"""The sections of a latency run on a GPU: each takes the bench and gives a JSON-ready result."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.latency.gpu_agreement import agreement, agreement_demo, decibels
from benchmarks.latency.gpu_bench import AMS, SETTLED, Bench, through, ways
from benchmarks.latency.gpu_device import outside, peaks, profile
from benchmarks.latency.unfolded import Unfolded
from petrt.bench.timing import Run, Times, interleaved, wall


def volume(bench: Bench) -> dict[str, Any]:
    """A volume through ``Reconstructor``, wall time, every engine there is; first seconds apart."""
    runs: dict[str, Run] = {}
    first, held = {}, {}
    for engine in bench.engines:
        free = free_memory(bench)
        reconstructor = bench.reconstructor(engine, bench.options.precision)
        first[engine] = round(wall(lambda r=reconstructor: r(bench.subject.volume)), 3)
        held[engine] = None if free is None else free - (free_memory(bench) or 0)
        runs[engine] = lambda r=reconstructor: r(bench.subject.volume)
    times = interleaved(runs, bench.options.repeats, warm_up=SETTLED if bench.on_gpu else 1)
    return {
        "engines": {name: each.record() for name, each in times.items()},
        "absent": dict(bench.absent),
        "first_run_s": first,
        "device_bytes_held": held,
        "run": {
            name: bench.reconstructor(name, bench.options.precision)(bench.subject.volume).stats
            for name in runs
        },
    }


def free_memory(bench: Bench) -> int | None:
    """Free bytes on the GPU; allocators keep what they once had, so a difference is a peak."""
    if not bench.on_gpu:
        return None
    from petrt import _cuda

    return int(_cuda.memory()[0])


def compiled(bench: Bench) -> dict[str, Any]:
    """The unfolded networks under torch.compile with its own CUDA graphs, at several batch sizes.

    Both sides get the same planes in host memory. petrt is timed before the baseline is there, since
    cudagraph trees clear the workspaces of cuBLAS, and again beside it, in turn with it. Its time is the
    median of all these repetitions; ``drift`` is the later median over the earlier one.
    """
    precision, planes = bench.options.precision, bench.subject.planes
    petrt = ways(bench, bench.fastest())
    image = through(bench.fastest(), planes)[0]
    before = interleaved(petrt, bench.options.repeats, warm_up=SETTLED)
    baselines, prepared = {}, {}
    for batch in [b for b in bench.options.batches if bench.slices % b == 0]:
        if (
            baselines and time.perf_counter() > bench.deadline
        ):  # compiling one may take a minute or two
            break
        loop = Unfolded(
            bench.subject, bench.torch_device, precision=precision, batch=batch, compiled=True
        )
        baselines[str(batch)] = lambda b=loop: b(planes)
        prepared[str(batch)] = round(wall(baselines[str(batch)]), 1)
    times = interleaved(petrt | baselines, bench.options.repeats, warm_up=2)
    both = {name: Times(before[name].seconds + times[name].seconds) for name in petrt}
    best = min(baselines, key=lambda b: times[b].median)
    return {
        "precision": precision,
        "mode": "reduce-overhead",
        "first_run_s": prepared,
        "batches": {b: times[b].record() for b in baselines},
        "best_batch": int(best),
        **{name: each.record() for name, each in both.items()},
        "before": {name: before[name].record() for name in petrt},
        "after": {name: times[name].record() for name in petrt},
        "drift": round(times["pipeline"].median / before["pipeline"].median, 4),
        "same_image_after": bool(np.array_equal(through(bench.fastest(), planes)[0], image)),
        "times_faster": round(times[best].median / both["pipeline"].median, 3),
    }


def eager(bench: Bench) -> dict[str, Any]:
    """The unfolded loop at batch 1, in float32, on a few slices; seconds scaled to all planes."""
    few = bench.subject.planes[: min(4, bench.slices)]
    baseline = Unfolded(bench.subject, bench.torch_device)
    runs: dict[str, Run] = {"eager": lambda: baseline(few), **ways(bench, bench.fastest())}
    times = interleaved(runs, max(3, bench.options.repeats // 2), warm_up=2)
    scaled = times["eager"].median * bench.slices / len(few)
    return {
        "precision": "fp32",
        "batch": 1,
        "slices_measured": len(few),
        "per_slice_s": times["eager"].median / len(few),
        "volume_s": scaled,
        **{name: times[name].record() for name in ("pipeline", "volume")},
        "times_faster": round(scaled / times["pipeline"].median, 2),
    }


def ams(bench: Bench) -> dict[str, Any]:
    """Eight samples a slice over one, in turn."""
    one, eight = bench.fastest(), bench.fastest(AMS)
    runs: dict[str, Run] = {
        "1": lambda: one(bench.subject.volume),
        str(AMS): lambda: eight(bench.subject.volume),
    }
    times = interleaved(runs, max(3, bench.options.repeats // 2), warm_up=SETTLED)
    ratio = times[str(AMS)].median / times["1"].median
    return {"samples": AMS, "ratio": round(ratio, 3), **{n: t.record() for n, t in times.items()}}


def upsample_transposed(bench: Bench) -> dict[str, Any]:
    """Upsampling and its convolution as one transposed convolution: fewer products, other algorithms."""
    return _against_usual(bench, {"upsample": "transposed"})


def batches_of_32(bench: Bench) -> dict[str, Any]:
    """Batches of at most 32 slices: maps that stay in the cache longer, copies hidden behind batches."""
    return _against_usual(bench, {"batch": bench.small_batch})


def _against_usual(bench: Bench, options: dict[str, Any]) -> dict[str, Any]:
    """The fastest engine as it comes and with ``options``, in turn, on the same planes."""
    planes = bench.subject.planes
    made = {"usual": bench.fastest(), "changed": bench.fastest(**options)}
    first = {name: round(wall(lambda r=r: through(r, planes)), 2) for name, r in made.items()}
    runs: dict[str, Run] = {name: lambda r=r: through(r, planes) for name, r in made.items()}
    times = interleaved(runs, bench.options.repeats, warm_up=SETTLED)
    usual, changed = (through(each, planes)[0] for each in made.values())
    return {
        "options": options,
        "first_run_s": first,
        **{name: each.record() for name, each in times.items()},
        "run": {name: each._frames.pipeline.device.record for name, each in made.items()},
        "psnr_db": decibels(changed, usual),
        "times_faster": round(times["usual"].median / times["changed"].median, 4),
    }


Section = Callable[[Bench], dict[str, Any]]
# By weight: a run that is short of time leaves out the last.
ON_GPU: tuple[Section, ...] = (
    volume,
    compiled,
    eager,
    outside,
    peaks,
    ams,
    agreement,
    agreement_demo,
    profile,
    upsample_transposed,
    batches_of_32,
)
# Seconds that a section may take: twice what it should on a data centre's GPU, its networks compiled before.
LIMITS = {
    "volume": 130.0,
    "compiled": 130.0,
    "eager": 40.0,
    "outside": 40.0,
    "peaks": 40.0,
    "ams": 90.0,
    "agreement": 100.0,
    "agreement_demo": 80.0,
    "profile": 50.0,
    "upsample_transposed": 70.0,
    "batches_of_32": 70.0,
}
