"""The networks in 8 bit: a float32 ONNX graph of a bundle with its convolutions quantized (QDQ).

A convolution that is quantized reads uint8 activations (one scale and zero point a tensor) and int8
weights (one scale an output channel, zero point 0) and adds int32 biases, each written as a float
value behind a DequantizeLinear, the form in which every runtime finds them. Everything else stays
float32: norms, activations, attention, sums.

Without VNNI, x86 multiplies 8-bit numbers by vpmaddubsw, which adds two products in 16 bit and
saturates: weights of 7 bits (|w| <= 64) cannot overflow it, 255 * 64 * 2 < 2^15.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from petrt.build.precision import FLOAT, load_graph
from petrt.errors import InputError

LIMITS = {7: 64, 8: 127}  # largest weight, by bits
LEVELS = 255  # of activations: uint8
# A convolution is worth quantizing where it does more than this many multiplications for each value
# that is read or written, and so rounded: below, on AVX2, rounding takes what the products save.
WORTH = 64.0


@dataclass(frozen=True)
class Range:
    """Smallest and largest value of a tensor that 8 bits are to hold; what lies outside is clipped."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """A step of the grid; zero is always on it, because convolutions are padded with zeros."""
        width = max(self.high, 0.0) - min(self.low, 0.0)
        return float(np.float32(width / LEVELS)) or 1.0

    @property
    def zero_point(self) -> int:
        return int(np.clip(np.rint(-min(self.low, 0.0) / self.scale), 0, LEVELS))


@dataclass(frozen=True)
class Convolution:
    """A convolution of a graph: its layer's name ("downs.1.conv1"), what it reads and writes."""

    name: str
    source: str
    result: str
    weight: NDArray[np.float32]
    stride: int

    @property
    def intensity(self) -> float:
        """Multiplications for each value read or written."""
        out, into, height, width = self.weight.shape
        return height * width * into * out / (into * self.stride**2 + out)

    @property
    def worth(self) -> bool:
        return self.intensity > WORTH


def weight_bits(isa: Sequence[str]) -> Literal[7, 8]:
    """Of weights on a CPU with these instruction sets, the architecture first."""
    x86 = isa[0] in ("x86_64", "amd64")
    return 7 if x86 and not {"avx512_vnni", "avx_vnni"} & set(isa) else 8


def convolutions(model: bytes, graph: str) -> list[Convolution]:
    """All convolutions of ``model`` in their order, transposed ones left out, which stay float32.

    Raises InputError for a graph that petrt did not write.
    """
    source = load_graph(model, graph)
    constants = _constants(source)
    found = []
    for node in source.graph.node:
        if node.op_type != "Conv":
            continue
        weight = constants.get(node.input[1])
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if weight is None or weight.ndim != 4 or attributes.get("group", 1) != 1:
            raise InputError(f"{graph} in int8: no rule for the convolution {node.name}")
        stored = _stored_name(source, node.input[1])
        stride = math.isqrt(math.prod(attributes.get("strides", (1, 1))))
        name = stored.removesuffix(".weight")
        found.append(Convolution(name, node.input[0], node.output[0], weight, stride))
    return found


def quantize_weight(
    weight: NDArray[np.float32], bits: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 weights [O, I, H, W] and their scales [O]: ``weight`` within half a scale of the product."""
    limit = LIMITS[bits]
    largest = np.abs(weight).max(axis=(1, 2, 3))
    scale = np.where(largest > 0, largest / np.float32(limit), np.float32(1)).astype(np.float32)
    rounded = np.rint(weight / scale[:, None, None, None])
    return np.clip(rounded, -limit, limit).astype(np.int8), scale


def quantize(
    model: bytes,
    graph: str,
    ranges: Mapping[str, Range],
    *,
    keep: Collection[str] = (),
    bits: int = 8,
    results: bool = True,
) -> bytes:
    """The serialised float32 ``model`` of ``graph`` with its convolutions in 8 bit.

    Args:
        ranges: of the tensors that convolutions read and, with ``results``, write.
        keep: layers left in float32; those not ``worth`` it are left so anyway.
        bits: of the weights, 8 or 7.
        results: round what a convolution writes too, to a grid of its own. ONNX Runtime multiplies
            in 8 bit only then; OpenVINO needs it not.

    The same arguments give the same bytes. Raises InputError for a graph that petrt did not write.
    """
    layers = [c for c in convolutions(model, graph) if c.worth and c.name not in keep]
    if not layers:
        return model
    made = _Writer(load_graph(model, graph), ranges, bits, results).run(layers)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString(deterministic=True)


class _Writer:
    """One pass over one graph."""

    def __init__(
        self, source: onnx.ModelProto, ranges: Mapping[str, Range], bits: int, results: bool
    ) -> None:
        self._source, self._ranges = source, ranges
        self._bits, self._results = bits, results
        self._constants = _constants(source)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._rounded: set[str] = set()  # values that lie on the grid of their range already

    def run(self, layers: list[Convolution]) -> onnx.ModelProto:
        wanted = {layer.result: layer for layer in layers}
        for node in self._source.graph.node:
            layer = wanted.get(node.output[0]) if node.op_type == "Conv" else None
            if layer is None:
                self._nodes.append(node)
            else:
                self._convolution(node, layer)
        graph = self._source.graph
        read = {name for node in self._nodes for name in node.input}
        # Casts of weights that are stored as float16, and weights, that nobody reads any more.
        nodes = [n for n in self._nodes if n.op_type != "Cast" or n.output[0] in read]
        read = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        made = helper.make_graph(
            nodes, graph.name, graph.input, graph.output, [*kept, *self._initializers]
        )
        model = onnx.ModelProto()
        model.CopyFrom(self._source)
        model.graph.CopyFrom(made)
        return model

    def _convolution(self, node: onnx.NodeProto, layer: Convolution) -> None:
        made = onnx.NodeProto()
        made.CopyFrom(node)
        made.input[0] = self._round(layer.source, layer.source)
        weight, scale = quantize_weight(layer.weight, self._bits)
        made.input[1] = self._dequantize(f"{layer.name}.weight", weight, scale)
        if len(node.input) > 2:
            step = scale.astype(np.float64) * self._ranges[layer.source].scale
            bias = np.rint(self._constants[node.input[2]] / step)
            bounded = np.clip(bias, -(2**31) + 1, 2**31 - 1).astype(np.int32)
            made.input[2] = self._dequantize(f"{layer.name}.bias", bounded, step.astype(np.float32))
        self._nodes.append(made)
        if self._results:
            made.output[0] = f"{layer.result}.exact"
            self._round(made.output[0], layer.result, result=layer.result)
            self._rounded.add(layer.result)

    def _round(self, value: str, name: str, result: str = "") -> str:
        """``value`` on the grid of the range of ``name``, through uint8, as ``result``."""
        result = result or f"{name}.rounded"
        if value in self._rounded:
            return value
        if result in self._rounded:
            return result
        grid = self._ranges[name]
        parts = [
            self._store(f"{result}.scale", np.float32(grid.scale)),
            self._store(f"{result}.zero", np.uint8(grid.zero_point)),
        ]
        coded = f"{result}.uint8"
        for kind, source, target in (
            ("QuantizeLinear", value, coded),
            ("DequantizeLinear", coded, result),
        ):
            self._nodes.append(
                helper.make_node(kind, [source, *parts], [target], name=f"{kind}_{target}")
            )
        self._rounded.add(result)
        return result

    def _dequantize(self, name: str, value: NDArray[np.generic], scale: NDArray[np.float32]) -> str:
        """A stored integer tensor behind a DequantizeLinear, one scale for each of its first axis."""
        zero = np.zeros(len(scale), value.dtype)
        coded = [
            self._store(f"{name}.{value.dtype}", value),
            self._store(f"{name}.scale", scale),
            self._store(f"{name}.zero", zero),
        ]
        self._nodes.append(
            helper.make_node(
                "DequantizeLinear", coded, [f"{name}.rounded"], axis=0, name=f"Dequantize_{name}"
            )
        )
        return f"{name}.rounded"

    def _store(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self._initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _constants(source: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Float32 constants by the name that nodes read, stored as such or as float16 behind a Cast."""
    stored = {tensor.name: tensor for tensor in source.graph.initializer}
    found = {
        name: numpy_helper.to_array(tensor)
        for name, tensor in stored.items()
        if tensor.data_type == FLOAT
    }
    for node in source.graph.node:
        tensor = stored.get(node.input[0]) if node.op_type == "Cast" else None
        if tensor is not None and tensor.data_type == TensorProto.FLOAT16:
            found[node.output[0]] = numpy_helper.to_array(tensor).astype(np.float32)
    return found


def _stored_name(source: onnx.ModelProto, name: str) -> str:
    """Of the initializer behind ``name``."""
    casts = {n.output[0]: n.input[0] for n in source.graph.node if n.op_type == "Cast"}
    return casts.get(name, name)
