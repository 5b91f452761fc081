"""Memory that batches take on a CPU, in bytes."""

from __future__ import annotations

from petrt.diffusion.guides import NEIGHBOURS
from petrt.engines.base import Engine
from petrt.inference.cpu.parallelism import Shape
from petrt.inference.forward import guidance_sizes
from petrt.model.spec import NetworkSpec, UNetSpec

# Feature maps of base width at full resolution that an engine keeps for one image: skips, both sides of a
# convolution, scratch. Measured with ONNX Runtime on the paper's networks: 14 in the coarse network, 20 in
# the denoiser. Its arenas do not shrink, so both networks' count.
LIVE_MAPS = 20
# Bytes of memory for each byte of ONNX: the weights, and the engine's packed copy. Measured: 1.8.
LOADED = 2.0
FLOAT = 4


def worker_bytes(engine: Engine, network: NetworkSpec, shape: Shape) -> int:
    """Bytes of one worker that runs batches of ``shape``: its buffers (exact), and the feature maps that
    the engine holds during a call (estimated from LIVE_MAPS)."""
    plane = shape.height * shape.width
    images = shape.slices * shape.samples
    # Per slice: x, spectrum, x_cp, mean, M2, the neighbours, and the Fourier transform in float64.
    planes = shape.slices * (5 + NEIGHBOURS) * FLOAT + shape.slices * 4 * 8
    planes += images * 4 * FLOAT if network.denoiser else 0  # r, eps, x0, noise
    kept = shape.slices * _maps(network.coarse) + images * _maps(network.denoiser)
    between = guidance_sizes(engine, network, shape.slices, shape.height, shape.width).values()
    return plane * (planes + kept * FLOAT) + FLOAT * sum(between)


def _maps(unet: UNetSpec | None) -> int:
    return LIVE_MAPS * unet.base if unet else 0
