"""Golden inputs of a bundle's networks, and how far an engine is from ONNX Runtime."""

from __future__ import annotations

import numpy as np

from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.export.graphs.check import relative_error
from petrt.model.bundle import Bundle

Arrays = dict[str, np.ndarray]


def golden_inputs(bundle: Bundle, graph: str) -> Arrays:
    start = f"{graph}/in/"
    return {n[len(start) :]: v for n, v in bundle.golden().items() if n.startswith(start)}


def forward(engine, graph: str, inputs: Arrays) -> Arrays:
    """Outputs of one forward, written over NaN."""
    shapes = engine.output_shapes(graph, {name: array.shape for name, array in inputs.items()})
    outputs = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
    engine.bind(graph, inputs, outputs)()
    return outputs


def worst_error(
    bundle: Bundle, engine, reference=None, *, repeat=1, there=dict, back=dict
) -> float:
    """Largest relative error of any output of any graph against ONNX Runtime, or ``reference``.

    ``repeat``: samples of each slice. ``there`` and ``back`` move the axes of what the engine gets and makes.
    """
    reference = reference or OnnxRuntimeEngine(bundle)
    errors = []
    for graph in bundle.graphs:
        inputs = golden_inputs(bundle, graph)
        if graph == "denoiser":
            inputs["r"] = np.concatenate([inputs["r"] * (1 + i) for i in range(repeat)])
        expected = forward(reference, graph, inputs)
        found = back(forward(engine, graph, there(inputs)))
        errors += [relative_error(found[name], expected[name]) for name in expected]
    return max(errors)


def blob(shape: tuple[int, int, int]) -> np.ndarray:
    """A warm ellipsoid with noise, not symmetric in any axis."""
    rng = np.random.default_rng(3)
    x, y, z = (np.indices(shape) / np.reshape(shape, (3, 1, 1, 1))).astype(np.float32)
    body = 900 * np.exp(-(((x - 0.4) / 0.25) ** 2) - ((y - 0.55) / 0.3) ** 2 - (z - 0.3) ** 2)
    return (body + rng.gamma(2, 20, shape)).astype(np.float32)
