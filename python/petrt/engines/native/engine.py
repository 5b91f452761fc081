"""petrt's own CPU engine: exact float32, with far fewer multiplications.

Nearly all the work of the networks is 3x3 convolutions of stride 1. Winograd's tiles (csrc/cpu/native/
winograd.h) take 36 multiplications for 16 outputs where the definition takes 144, the norm and SiLU in
front of a convolution are applied as its input is read, and what is added behind it as its output is
written. Round-off differs from the definition's by about as much as between two libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from petrt import _core
from petrt.engines.base import (
    ANY_BATCH,
    BatchRange,
    Buffers,
    Division,
    check_interface,
    check_names,
    resolve_shapes,
)
from petrt.engines.native.graph import read_graph
from petrt.engines.native.plan import Plan, Weights, aligned_empty, make_program
from petrt.engines.native.steps import Conv, Norm, Step, Upsampled
from petrt.errors import UsageError
from petrt.model.bundle import GRAPHS, Bundle
from petrt.model.half_precision import WIDE_INTERFACE

# Below so many input channels a tile's transformations cost more than they save.
WINOGRAD_CHANNELS = 8

Dims = dict[str, list[Any]]


def version(kernels: str | None = None) -> str:
    """petrt's own and the kernels', such as "0.1.0 avx2": results differ in round-off between them."""
    return f"{_core.__version__} {kernels or _core.native_kernels()}"


class NativeEngine:
    """One program per graph and size.

    Features, maps and x_half, which go from one network to the next, have their channels last
    (``tensors`` says so): [slices, height, width, channels]. Images are as everywhere [slices, C,
    height, width].

    Args:
        threads: that share the outputs of one call; results do not depend on their number.
        kernels: "avx512", "avx2" or "generic"; None for the best this CPU has. Results differ between
            them in round-off.

    Raises:
        native_graph.Unsupported (a DeviceError): a graph that the exporter does not write.
        UsageError: another precision than fp32.
    """

    name = "native"
    device = "cpu"
    precision = "fp32"
    division: Division = "own"
    capturable = False
    stream = None

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: str | None = None,
        threads: int = 1,
        kernels: str | None = None,
    ) -> None:
        if precision not in (None, "fp32"):
            raise UsageError(
                f"petrt's own engine does not run {precision}", "choose --precision fp32"
            )
        self.version = version(kernels)
        self.threads, self._kernels = threads, kernels
        self._tensors: dict[str, tuple[Dims, Dims]] = {}
        self._steps: dict[str, list[Step]] = {}
        self._weights: dict[str, list[Weights | None]] = {}
        for graph in GRAPHS:
            model = bundle.onnx(graph)
            if model is None:
                continue
            self._steps[graph] = read_graph(model, graph)
            proto = onnx.load_model_from_string(model).graph
            self._tensors[graph] = (_dims(proto.input), _dims(proto.output))
            planar = set(self._tensors[graph][0]) & WIDE_INTERFACE
            with ThreadPoolExecutor() as pool:
                packed = pool.map(lambda step, p=planar: self._packed(step, p), self._steps[graph])
                self._weights[graph] = list(packed)
            # The packed ones are all that is needed: 100 MB less for the paper's networks.
            self._steps[graph] = [_without_weight(step) for step in self._steps[graph]]
        check_interface(self, bundle)

    def _packed(self, step: Step, planar: set[str]) -> Weights | None:
        if not isinstance(step, Conv):
            return None
        outputs, inputs, kernel, _ = step.weight.shape
        winograd = kernel == 3 and step.stride == 1 and (
            isinstance(step.x, Norm | Upsampled)
            or (inputs >= WINOGRAD_CHANNELS and step.x.name not in planar)
        )  # fmt: skip
        size = _core.native_packed(inputs, outputs, kernel, winograd, self._kernels)
        packed = aligned_empty(size)
        _core.native_pack(np.ascontiguousarray(step.weight), winograd, packed, self._kernels)
        return Weights(packed, step.bias, winograd)

    def with_threads(self, threads: int) -> NativeEngine:
        """The same engine, its weights shared, with ``threads`` in one call."""
        other = copy(self)
        other.threads = threads
        return other

    def tensors(self, graph: str) -> tuple[Dims, Dims]:
        return self._tensors[graph]

    def output_shapes(
        self, graph: str, inputs: Mapping[str, tuple[int, ...]]
    ) -> dict[str, tuple[int, ...]]:
        return resolve_shapes(self.tensors(graph), inputs)

    def dtypes(self, graph: str) -> dict[str, str]:
        inputs, outputs = self._tensors[graph]
        return dict.fromkeys([*inputs, *outputs], "float32")

    def batch_range(self, graph: str) -> BatchRange:
        return ANY_BATCH

    def bind(self, graph: str, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        wanted = self.tensors(graph)
        check_names(graph, "inputs", set(wanted[0]), set(inputs))
        check_names(graph, "outputs", set(wanted[1]), set(outputs))
        for name, array in {**inputs, **outputs}.items():
            if array.dtype != np.float32 or not array.flags.c_contiguous:
                raise ValueError(f"{graph}: {name} must be C-contiguous float32")
        images = {name: array for name, array in {**inputs, **outputs}.items() if array.ndim == 4}
        views = {name: _channels_last(name, array) for name, array in images.items()}
        steps, vectors = self._steps[graph], {n: a for n, a in inputs.items() if a.ndim < 4}
        plan = Plan(steps, views, set(inputs) - set(vectors))
        for name in outputs:
            if plan.shapes[name] != views[name].shape:
                raise ValueError(f"{graph}: {name} must be of shape {plan.shapes[name]}")
        program = make_program(steps, self._weights[graph], plan, vectors, self._kernels)
        return partial(program.run, self.threads)


def _without_weight(step: Step) -> Step:
    """``step`` with a weight of the same shape that takes no memory."""
    if not isinstance(step, Conv):
        return step
    return replace(step, weight=np.broadcast_to(np.float32(0), step.weight.shape))


def _channels_last(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    return array.transpose(0, 2, 3, 1) if name in WIDE_INTERFACE else array


def _dims(values: Any) -> Dims:
    """name -> dimensions as the engine takes them."""
    dims: Dims = {}
    for value in values:
        each = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.name not in WIDE_INTERFACE:
            each = [each[0], *each[2:], each[1]]
        dims[value.name] = each
    return dims
