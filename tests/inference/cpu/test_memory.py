"""What a worker takes."""

from __future__ import annotations

import math

from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.inference.cpu import memory
from petrt.inference.cpu.parallelism import Shape
from petrt.model.bundle import load_bundle


def test_a_workers_bytes_hold_its_buffers_and_grow_with_the_batch(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    engine, network = OnnxRuntimeEngine(bundle), bundle.model.network

    def each(*shape: int) -> int:
        return memory.worker_bytes(engine, network, Shape(*shape))

    assert each(2, 3, 32, 32) == 2 * each(1, 3, 32, 32)
    assert each(1, 3, 64, 32) == 2 * each(1, 3, 32, 32)
    assert each(1, 2, 32, 32) > each(1, 1, 32, 32)
    inputs = {"x": (1, 1, 32, 32), "nas": (1, 5, 32, 32), "spectrum": (1, 1, 32, 32)}
    made = engine.output_shapes("guidance", inputs).values()
    assert each(1, 1, 32, 32) > 4 * sum(math.prod(shape) for shape in made)
