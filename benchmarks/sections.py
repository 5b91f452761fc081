"""The sections of a latency run: each takes the bench, measures in turn, and gives a JSON-ready result."""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from subject import Subject, folded_macs, total_macs
from timing import Run, interleaved, wall
from unfolded import Unfolded

from petrt.bench.volume import make_volume
from petrt.build.install import build_engine
from petrt.build.request import make_request
from petrt.bundle import Bundle, load_bundle
from petrt.engines.select import GPU_ONLY, select_engine
from petrt.engines.tensorrt import is_installed
from petrt.errors import PetrtError
from petrt.reconstructor import Reconstructor

ENGINES = ("tensorrt", "tensorrt-rtx", "torch", "onnxruntime")
AMS = 8


@dataclass
class Bench:
    """The subject, the options and what was found so far."""

    options: argparse.Namespace
    subject: Subject
    found: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    deadline: float = math.inf
    loaded: dict[tuple[str, str, int], Reconstructor] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        return bool(self.options.device != "cpu")

    @property
    def size(self) -> int:
        return int(self.subject.volume.shape[0])

    @property
    def slices(self) -> int:
        return int(self.subject.volume.shape[2])

    def reconstructor(self, engine: str, precision: str, samples: int = 1) -> Reconstructor:
        """Loaded once; PetrtError where this machine lacks the engine."""
        key = (engine, precision, samples)
        if key not in self.loaded:
            # The engine is made once per precision: networks are compiled for every batch shape.
            same = [r for (e, p, _), r in self.loaded.items() if (e, p) == (engine, precision)]
            made = same[0].engine if same else self._engine(engine, precision)
            self.loaded[key] = Reconstructor(self.subject.bundle, samples=samples, engine=made)
        return self.loaded[key]

    def _engine(self, engine: str, precision: str) -> Any:
        bundle = load_bundle(self.subject.bundle)
        if engine in GPU_ONLY and self.on_gpu and is_installed(engine):
            self._build(bundle, engine, precision)
        return select_engine(bundle, engine, self.options.device, precision)

    def _build(self, bundle: Bundle, engine: str, precision: str) -> None:
        """An engine for these random networks: nobody has installed one before."""
        request = make_request(
            bundle,
            engine=engine,
            precision=precision,
            gpus=[self.options.device],
            slices=self.slices,
            samples=1,
            sizes=[(self.size, self.size)],
        )
        build_engine(request, bar=lambda label, unit: nullcontext(lambda done, total: None))

    @property
    def best(self) -> str:
        """The fastest engine in the headline precision."""
        volume: dict[str, Any] = self.found["volume"]["engines"]
        return min(volume, key=lambda name: float(volume[name]["median_s"]))


def volume(bench: Bench) -> dict[str, Any]:
    """A volume through ``Reconstructor``, wall time, every engine there is; first seconds apart."""
    runs: dict[str, Run] = {}
    absent, first, held = {}, {}, {}
    for engine in ENGINES:
        free = free_memory(bench)
        try:
            reconstructor = bench.reconstructor(engine, bench.options.precision)
            first[engine] = round(wall(lambda r=reconstructor: r(bench.subject.volume)), 3)
        except PetrtError as error:
            absent[engine] = str(error)
            continue
        held[engine] = None if free is None else free - (free_memory(bench) or 0)
        runs[engine] = lambda r=reconstructor: r(bench.subject.volume)
    if not runs:
        raise RuntimeError(f"no engine runs here: {absent}")
    # Five runs settle what a graph is worth (petrt.cuda.launches).
    times = interleaved(runs, bench.options.repeats, warm_up=5 if bench.on_gpu else 1)
    return {
        "engines": {name: each.record() for name, each in times.items()},
        "absent": absent,
        "first_run_s": first,
        "device_bytes_held": held,
        "run": {name: bench.reconstructor(name, bench.options.precision)(bench.subject.volume).stats
                for name in runs},
    }  # fmt: skip


def free_memory(bench: Bench) -> int | None:
    """Free bytes on the GPU; allocators keep what they once had, so a difference is a peak."""
    if not bench.on_gpu:
        return None
    from petrt import _cuda

    return int(_cuda.memory()[0])


def ams(bench: Bench) -> dict[str, Any]:
    """Eight samples a slice over one, in turn."""
    engine, precision = bench.best, bench.options.precision
    one, eight = (bench.reconstructor(engine, precision, samples) for samples in (1, AMS))
    runs: dict[str, Run] = {
        "1": lambda: one(bench.subject.volume),
        str(AMS): lambda: eight(bench.subject.volume),
    }
    times = interleaved(runs, max(3, bench.options.repeats // 2), warm_up=5 if bench.on_gpu else 1)
    ratio = times[str(AMS)].median / times["1"].median
    return {"samples": AMS, "ratio": round(ratio, 3), **{n: t.record() for n, t in times.items()}}


def eager(bench: Bench) -> dict[str, Any]:
    """The unfolded loop at batch 1, in float32, on a few slices; seconds scaled to the volume."""
    few = bench.subject.planes[: min(4, bench.slices)]
    baseline = Unfolded(bench.subject, bench.options.device)
    reconstructor = bench.reconstructor(bench.best, bench.options.precision)
    runs: dict[str, Run] = {
        "eager": lambda: baseline(few),
        "petrt": lambda: reconstructor(bench.subject.volume),
    }
    times = interleaved(runs, max(3, bench.options.repeats // 2))
    scaled = times["eager"].median * bench.slices / len(few)
    return {
        "precision": "fp32", "batch": 1, "slices_measured": len(few),
        "per_slice_s": times["eager"].median / len(few), "volume_s": scaled,
        "petrt": times["petrt"].record(), "times_faster": round(scaled / times["petrt"].median, 2),
    }  # fmt: skip


def compiled(bench: Bench) -> dict[str, Any]:
    """The unfolded networks under torch.compile with its own CUDA graphs, at several batch sizes."""
    precision = bench.options.precision
    runs: dict[str, Run] = {}
    prepared = {}
    for batch in [b for b in bench.options.batches if bench.slices % b == 0]:
        if runs and time.perf_counter() > bench.deadline:  # compiling one takes a minute or two
            break
        baseline = Unfolded(
            bench.subject, bench.options.device, precision=precision, batch=batch, compiled=True
        )
        runs[str(batch)] = lambda b=baseline: b(bench.subject.planes)
        prepared[str(batch)] = round(wall(runs[str(batch)]), 1)
    batches = list(runs)
    reconstructor = bench.reconstructor(bench.best, precision)
    runs["petrt"] = lambda: reconstructor(bench.subject.volume)
    times = interleaved(runs, bench.options.repeats, warm_up=2)
    best = min(batches, key=lambda b: times[b].median)
    return {
        "precision": precision, "mode": "reduce-overhead", "first_run_s": prepared,
        "batches": {b: times[b].record() for b in batches}, "best_batch": int(best),
        "petrt": times["petrt"].record(),
        "times_faster": round(times[best].median / times["petrt"].median, 3),
    }  # fmt: skip


def agreement(bench: Bench) -> dict[str, Any]:
    """PSNR of the random networks to the CPU's ONNX Runtime in float32, with the same noise."""
    cpu = Reconstructor(bench.subject.bundle, engine="onnxruntime", device="cpu")
    return _agreement(bench, cpu, bench.subject.volume, bench.reconstructor)


def agreement_demo(bench: Bench) -> dict[str, Any]:
    """The same of the demo model, whose weights are trained."""
    cpu = Reconstructor("demo", engine="onnxruntime", device="cpu")

    def on_device(engine: str, precision: str) -> Reconstructor:
        made = select_engine(cpu.bundle, engine, bench.options.device, precision)
        return Reconstructor("demo", engine=made)

    return _agreement(bench, cpu, make_volume(64, 64, 8), on_device)


def _agreement(
    bench: Bench,
    cpu: Reconstructor,
    volume: NDArray[np.float32],
    on_device: Callable[[str, str], Reconstructor],
) -> dict[str, Any]:
    x, y, z = volume.shape
    shape = (cpu.table.steps + 1, 1, z, 1, x, y)
    noise = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    reference = cpu(volume, noise=noise).image
    result: dict[str, Any] = {}
    for engine in bench.found["volume"]["engines"]:
        for precision in dict.fromkeys((bench.options.precision, "fp32")):
            name = f"{engine} {precision}"
            try:
                image = on_device(engine, precision)(volume, noise=noise).image
            except PetrtError as error:
                result[name] = {"absent": str(error)}
                continue
            error = float(np.mean((image.astype(np.float64) - reference) ** 2))
            psnr = 10 * np.log10(float(reference.max()) ** 2 / error) if error else None
            result[name] = {"psnr_db": None if psnr is None else round(psnr, 2)}
    return result


def outside(bench: Bench) -> dict[str, Any]:
    """Time outside the networks, and graph against plain launches, of the best engine's batch."""
    from device_parts import loop_seconds

    reconstructor = bench.reconstructor(bench.best, bench.options.precision)
    stats = reconstructor(bench.subject.volume).stats
    slices, samples = stats["batch"]
    loop = loop_seconds(reconstructor, slices, samples, bench.size, bench.options.repeats)
    batches = -(-bench.slices // slices)
    pipeline = pipeline_seconds(bench, reconstructor)
    whole = bench.found["volume"]["engines"][bench.best]["median_s"]
    networks = batches * loop["networks_s"]
    return {
        "loop": loop,
        "pipeline_s": pipeline,
        "networks_s": networks,
        # Copies, FFT, steps, accumulation and gaps; then also grid, scale and checks on the host.
        "share": round(1 - networks / pipeline, 4),
        "share_with_host": round(1 - networks / whole, 4),
    }


def pipeline_seconds(bench: Bench, reconstructor: Reconstructor) -> float:
    """Median seconds of a scaled volume on the network's grid, host memory to host memory."""
    planes = bench.subject.planes

    def run() -> None:
        reconstructor._pipeline.run(planes, 1, 0, first_id=0, noise=None, report=lambda done: None)

    return statistics.median(wall(run) for _ in range(bench.options.repeats))


def peaks(bench: Bench) -> dict[str, Any]:
    """Kernels over the copy bandwidth, and the whole run over the matrix product's peak."""
    from device_parts import copy_bandwidth, kernels, matmul_peak

    bandwidth = copy_bandwidth()
    precision = bench.options.precision
    peak = matmul_peak(precision)
    macs = folded_macs(bench.subject, bench.size)
    done = 2 * total_macs(macs, bench.slices, 1, bench.subject.table.steps)
    seconds = bench.found["volume"]["engines"][bench.best]["median_s"]
    return {
        "copy_GB_per_s": round(bandwidth / 1e9, 1),
        "kernels": kernels(bench.size, 4096, bench.options.repeats, bandwidth),
        "matmul_peak_Tflops": round(peak / 1e12, 1),
        "folded_macs_per_slice": macs,
        "volume_Tflop": round(done / 1e12, 3),
        "share_of_matmul_peak": round(done / seconds / peak, 4),
    }


Section = Callable[[Bench], dict[str, Any]]
# By weight: a run that is short of time leaves out the last.
ON_GPU: tuple[Section, ...] = (
    volume, eager, outside, peaks, ams, agreement, compiled, agreement_demo,
)  # fmt: skip
