"""Agreement of a GPU's engines with ONNX Runtime on the CPU, in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency.gpu_bench import SETTLED, Bench, through
from petrt.bench.volume import make_volume
from petrt.engines import select
from petrt.errors import PetrtError
from petrt.evaluation.metrics import psnr
from petrt.inference.reconstructor import Reconstructor
from petrt.model.bundle import load_bundle

Array = NDArray[np.float32]
# One sample of all steps. Images are compared with each other, not judged.
ANY: dict[str, Any] = {"preset": "paper", "samples": 1, "allow_activity_change": True}
COMPARED = 16  # slices of the volume that the CPU computes


def agreement(bench: Bench) -> dict[str, Any]:
    """PSNR of the random networks on all slices, against the CPU on 16 of them, with the same noise."""
    cpu = Reconstructor(bench.subject.bundle, engine="onnxruntime", device="cpu", **ANY)
    return _agreement(bench, cpu, bench.subject.planes, bench.reconstructor)


def agreement_demo(bench: Bench) -> dict[str, Any]:
    """The same of the demo model, whose weights are trained."""
    cpu = Reconstructor("demo", engine="onnxruntime", device="cpu", **ANY)

    def on_device(engine: str, precision: str) -> Reconstructor:
        return demo_reconstructor(bench, engine, precision)

    return _agreement(bench, cpu, demo_planes(bench), on_device)


def demo_reconstructor(bench: Bench, engine: str, precision: str) -> Reconstructor:
    """The demo model on the GPU."""
    made = select.select_engine(load_bundle("demo"), engine, bench.options.device, precision)
    return Reconstructor("demo", engine=made, **ANY)


def demo_planes(bench: Bench) -> Array:
    """Scaled slices [Z, H, W] for it, of the size that its TensorRT engines are built for."""
    size, slices = (32, 4) if bench.options.small else (128, 8)
    planes = np.ascontiguousarray(make_volume(size, size, slices).transpose(2, 0, 1))
    return planes / planes.max()


def _agreement(
    bench: Bench, cpu: Reconstructor, planes: Array, on_device: Callable[[str, str], Reconstructor]
) -> dict[str, Any]:
    """Per engine and precision: "psnr_db" with noise that is given, "drawn_db" with noise that each side
    draws from the seed, by whichever launches are faster, and whether all its runs gave the same bits.
    """
    slices, height, width = planes.shape
    every = max(1, slices // COMPARED)
    shape = (cpu.table.steps + 1, 1, slices, 1, height, width)
    noise = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    given, drawn = (through(cpu, planes, each, every)[0][::every] for each in (noise, None))
    result: dict[str, Any] = {}
    for engine in bench.engines:
        for precision in dict.fromkeys((bench.options.precision, "fp32")):
            name = f"{engine} {precision}"
            try:
                device = on_device(engine, precision)
            except PetrtError as error:
                result[name] = {"absent": str(error)}
                continue
            runs = [through(device, planes)[0] for _ in range(SETTLED)]
            image = through(device, planes, noise)[0]
            result[name] = {
                "psnr_db": decibels(image[::every], given),
                "drawn_db": decibels(runs[-1][::every], drawn),
                "same_bits": all(np.array_equal(run, runs[0]) for run in runs),
                "launches": device._frames.pipeline.device.record["launches"],
                "slices": slices,
                "compared": len(given),
            }
    return result


def decibels(image: Array, reference: Array) -> float | None:
    """PSNR over the reference's maximum; None where the two are equal."""
    a, b = image.astype(np.float64), reference.astype(np.float64)
    value = psnr(a, b, float(b.max()))
    return None if math.isinf(value) else round(value, 2)
