"""What bounds a volume on a GPU: the loop around the networks, the machine's peaks, every kernel."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.latency import device_parts, kernel_table
from benchmarks.latency.gpu_bench import Bench, through
from benchmarks.latency.subject import folded_macs, total_macs
from petrt.bench.timing import wall
from petrt.inference.reconstructor import Reconstructor


def outside(bench: Bench) -> dict[str, Any]:
    """Time outside the networks, and graph against plain launches, of the best engine's batch."""
    reconstructor = bench.fastest()
    slices, samples = reconstructor(bench.subject.volume).stats["batch"]
    loop = device_parts.loop_seconds(
        reconstructor, slices, samples, bench.size, bench.options.repeats
    )
    batches = -(-bench.slices // slices)
    pipeline, whole = (
        statistics.median(wall(run) for _ in range(bench.options.repeats))
        for run in (
            lambda: through(reconstructor, bench.subject.planes),
            lambda: reconstructor(bench.subject.volume),
        )
    )
    networks = batches * loop["networks_s"]
    return {
        "loop": loop,
        "pipeline_s": pipeline,
        "networks_s": networks,
        # Copies, FFT, steps, accumulation and gaps; then also grid, scale and checks on the host.
        "share": round(1 - networks / pipeline, 4),
        "share_with_host": round(1 - networks / whole, 4),
    }


def peaks(bench: Bench) -> dict[str, Any]:
    """Kernels over the copy bandwidth, and the whole run over the matrix product's peak."""
    rates = machine_rates(bench)
    reconstructor = bench.fastest()
    macs = folded_macs(bench.subject, bench.size)
    done = 2 * total_macs(macs, bench.slices, 1, bench.subject.table.steps)
    run = [
        wall(lambda: through(reconstructor, bench.subject.planes))
        for _ in range(bench.options.repeats)
    ]
    seconds = statistics.median(run)
    images = 16 if bench.options.small else 4096
    return {
        **rates,
        "kernels": device_parts.kernels(
            bench.size, images, bench.options.repeats, rates["copy_GB_per_s"] * 1e9
        ),
        "folded_macs_per_slice": macs,
        "volume_Tflop": round(done / 1e12, 6),
        "pipeline_s": seconds,
        "share_of_matmul_peak": round(done / seconds / rates["matmul_peak_Tflops"] / 1e12, 4),
    }


def machine_rates(bench: Bench) -> dict[str, float]:
    """What a copy and a matrix product reach here."""
    size, side = (1 << 22, 256) if bench.options.small else (1 << 30, 8192)
    copied = device_parts.copy_bandwidth(bench.torch_device, size)
    product = device_parts.matmul_peak(bench.torch_device, bench.options.precision, side)
    return {"copy_GB_per_s": round(copied / 1e9, 1), "matmul_peak_Tflops": round(product / 1e12, 3)}


def profile(bench: Bench) -> dict[str, Any]:
    """Every kernel of one batch by plain launches: time, calls, bytes, shares of the machine's rates."""
    reconstructor = bench.fastest()
    slices, samples = reconstructor(bench.subject.volume).stats["batch"]
    rates = bench.found.get("peaks") or machine_rates(bench)
    bound = device_parts.BoundLoop(reconstructor, slices, samples, bench.size)
    batch = own_batch(reconstructor, slices, samples, bench.size)
    trace = kernel_table.traced(bound.plain, bound.stream.synchronize, warm_up=2)
    return {
        "batch": [slices, samples],
        "rates": {name: rates[name] for name in ("copy_GB_per_s", "matmul_peak_Tflops")},
        **kernel_table.table(trace, batch, rates["copy_GB_per_s"], rates["matmul_peak_Tflops"]),
    }


def own_batch(
    reconstructor: Reconstructor, slices: int, samples: int, size: int
) -> kernel_table.OwnBatch:
    """What petrt's own kernels have to move in a batch, as ``kernel_table`` counts it."""
    coefs = reconstructor.table.coefs
    return kernel_table.OwnBatch(
        images=slices * samples,
        slices=slices,
        voxels=size * size,
        steps=len(coefs),
        second_order=int((coefs[:, 4] != 0).sum()),
    )
