"""The networks in 16 bit: a float32 ONNX graph of a bundle into a mixed-precision one.

TensorRT 11 runs every operator in the types the graph gives it, so precision is decided here, node
by node. Convolutions, matrix products, sums and moves of data are 16 bit. Float32 ("wide") are the
statistics of norms, softmax, the logarithm of the dose, and what rounds once instead of several times
for it: scale, shift and SiLU behind a norm, the biases that the dose gives, and the product by a
constant in front of a softmax. Casts stand between the two, at most one of a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from petrt.errors import InputError

Precision = Literal["fp32", "fp16", "bf16"]

FLOAT = int(TensorProto.FLOAT)
NARROW = {"fp16": int(TensorProto.FLOAT16), "bf16": int(TensorProto.BFLOAT16)}
# Interfaces that stay float32 in every precision: images, guides, the dose, the noise bias.
WIDE_INTERFACE = frozenset({"r", "eps", "x", "x_cp", "nas", "spectrum", "dose", "film"})

# Operators and how many of their first inputs are data (None: all); the rest are shapes and sizes.
DATA_INPUTS: dict[str, int | None] = {
    "Add": None,
    "Concat": None,
    "Conv": None,
    "ConvTranspose": None,
    "InstanceNormalization": None,
    "Log": 1,
    "MatMul": None,
    "Mul": None,
    "Reshape": 1,
    "Resize": 1,
    "Sigmoid": 1,
    "Softmax": 1,
    "Split": 1,
    "Transpose": 1,
    "Unsqueeze": 1,
}
ALWAYS_WIDE = frozenset({"InstanceNormalization", "Log", "Softmax"})
# What stays wide behind a wide operator, as long as nothing 16 bit comes in.
FOLLOWS = frozenset({"Add", "Mul", "Reshape", "Sigmoid"})

# Conv, ConvTranspose and InstanceNormalization take bfloat16 from opset 22 on, which needs IR 10. In
# these opsets the operators above kept their meaning: they gained types, and attributes whose default
# is the old meaning.
OPSETS = range(17, 23)
BFLOAT16_OPSET, BFLOAT16_IR = 22, 10
# From here on a number rounds to infinity: the largest number and half of its last digit.
LIMITS = {NARROW["fp16"]: 65520.0, NARROW["bf16"]: (2 - 2**-8) * 2.0**127}


def convert(model: bytes, graph: str, precision: Precision) -> bytes:
    """The serialised ONNX ``model`` of ``graph`` ("guidance", "coarse", "denoiser") in ``precision``.

    "fp32" returns ``model`` itself. "fp16" and "bf16" give inputs and outputs named ``features_*``,
    ``x_half`` and ``<block>.g1/.g2`` in 16 bit, all others in float32. Weights that a bundle stores
    as float16 are used as they are. The same input gives the same bytes.
    Raises InputError for operators it does not know and for weights beyond the precision's range.
    """
    if precision == "fp32":
        return model
    where = f"{graph} in {precision}"
    source = load_graph(model, where)
    converted = _Conversion(source, precision, where).run()
    onnx.checker.check_model(converted, full_check=True)
    return converted.SerializeToString(deterministic=True)


def load_graph(model: bytes, where: str) -> onnx.ModelProto:
    """The checked float32 graph of a bundle, or InputError for what no pass was written for."""
    hint = "export the model again, or build in fp32"
    try:
        source = onnx.load_model_from_string(model)
        onnx.checker.check_model(source)
    except (DecodeError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{where}: not a valid ONNX graph: {reason}", hint) from error
    opsets = [f"{opset.domain or 'ai.onnx'} {opset.version}" for opset in source.opset_import]
    if opsets not in [[f"ai.onnx {version}"] for version in OPSETS]:
        allowed = f"ai.onnx {OPSETS[0]} to {OPSETS[-1]}"
        raise InputError(f"{where}: opset {', '.join(opsets)}; expected {allowed}", hint)
    kinds = {node.op_type for node in source.graph.node}
    if unknown := kinds - {*DATA_INPUTS, "Cast", "Shape"}:
        raise InputError(f"{where}: no rule for the operators {', '.join(sorted(unknown))}", hint)
    for value in source.graph.input:
        if value.type.tensor_type.elem_type != FLOAT:
            raise InputError(f"{where}: the input {value.name} is not float32", hint)
    return source


class _Conversion:
    """One pass over one graph.

    A value of the source that is data, not a shape, has up to two versions in the result: float32
    and 16 bit. The one that was there first keeps its name.
    """

    def __init__(self, source: onnx.ModelProto, precision: Precision, where: str) -> None:
        self._source, self._where = source, where
        self._narrow = NARROW[precision]
        self._labels = {FLOAT: "fp32", self._narrow: precision}
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._versions: dict[str, dict[int, str]] = {}
        self._constants: dict[str, NDArray[np.float32]] = {}

    def run(self) -> onnx.ModelProto:
        graph = self._source.graph
        nodes = self._take_constants()
        inputs = [self._interface(value) for value in graph.input]
        outputs = [self._interface(value) for value in graph.output]
        for value in inputs:
            self._versions[value.name] = {value.type.tensor_type.elem_type: value.name}
        types = {value.name: value.type.tensor_type.elem_type for value in outputs}
        for node, wide in zip(nodes, self._wide(nodes), strict=True):
            self._convert(node, FLOAT if wide else self._narrow, types)
        model = onnx.ModelProto()
        model.CopyFrom(self._source)
        made = helper.make_graph(self._nodes, graph.name, inputs, outputs, self._initializers)
        model.graph.CopyFrom(made)
        if self._narrow == NARROW["bf16"]:
            model.opset_import[0].version = BFLOAT16_OPSET
            model.ir_version = max(model.ir_version, BFLOAT16_IR)
        return model

    def _take_constants(self) -> list[onnx.NodeProto]:
        """Split initializers into data and shapes; the nodes without the Casts of stored weights."""
        graph = self._source.graph
        stored = {tensor.name: tensor for tensor in graph.initializer}
        nodes = []
        for node in graph.node:
            if node.op_type != "Cast":
                nodes.append(node)
            elif node.input[0] in stored and helper.get_node_attr_value(node, "to") == FLOAT:
                array = numpy_helper.to_array(stored[node.input[0]])
                self._constants[node.output[0]] = array.astype(np.float32)
            else:
                raise InputError(f"{self._where}: no rule for a Cast of the value {node.input[0]}")
        sizes = {name for node in nodes for name in node.input} - {
            name for node in nodes for name in self._data(node)
        }
        for name, tensor in stored.items():
            if name in sizes or tensor.data_type == TensorProto.INT64:
                self._initializers.append(tensor)
            elif tensor.data_type == FLOAT:
                self._constants[name] = numpy_helper.to_array(tensor)
        return nodes

    def _data(self, node: onnx.NodeProto) -> Sequence[str]:
        """The inputs of ``node`` that are data if its first one is."""
        return node.input[: DATA_INPUTS.get(node.op_type, 0)]

    def _interface(self, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
        result = onnx.ValueInfoProto()
        result.CopyFrom(value)
        if value.name not in WIDE_INTERFACE:
            result.type.tensor_type.elem_type = self._narrow
        return result

    def _wide(self, nodes: Sequence[onnx.NodeProto]) -> list[bool]:
        """Which nodes run in float32."""
        values: set[str] = set()
        for node in nodes:
            data = [name for name in self._data(node) if name not in self._constants]
            follows = node.op_type in FOLLOWS and data and values.issuperset(data)
            if node.op_type in ALWAYS_WIDE or follows:
                values.update(node.output)
        readers: dict[str, list[bool]] = {name.name: [False] for name in self._source.graph.output}
        for node in reversed(nodes):
            scaled = node.op_type == "Mul" and not self._constants.keys().isdisjoint(node.input)
            if scaled and all(readers.get(node.output[0], [False])):
                values.update(node.output)
            for name in self._data(node):
                readers.setdefault(name, []).append(node.output[0] in values)
        return [node.output[0] in values for node in nodes]

    def _convert(self, node: onnx.NodeProto, kind: int, outputs: Mapping[str, int]) -> None:
        """Append ``node`` computing in ``kind``, and the Casts it and the graph's outputs need."""
        data = self._data(node)
        if not data or not (data[0] in self._versions or data[0] in self._constants):
            # Arithmetic of shapes; Shape itself reads whichever version there is.
            made = onnx.NodeProto()
            made.CopyFrom(node)
            made.input[:] = [next(iter(self._versions.get(i, {0: i}).values())) for i in node.input]
            self._nodes.append(made)
            return
        made = onnx.NodeProto()
        made.CopyFrom(node)
        made.input[: len(data)] = [self._version(name, kind) for name in data]
        self._nodes.append(made)
        for i, name in enumerate(node.output):
            wanted = outputs.get(name, kind)
            made.output[i] = name if wanted == kind else f"{name}.{self._labels[kind]}"
            self._versions[name] = {kind: made.output[i]}
            if wanted != kind:
                self._cast(made.output[i], name, wanted)
                self._versions[name][wanted] = name

    def _version(self, name: str, kind: int) -> str:
        """``name`` in ``kind``, cast or stored where it is not there yet."""
        versions = self._versions.setdefault(name, {})
        if kind not in versions:
            made = f"{name}.{self._labels[kind]}" if versions else name
            if name in self._constants:
                self._initializers.append(self._store(name, made, kind))
            else:
                self._cast(next(iter(versions.values())), made, kind)
            versions[kind] = made
        return versions[kind]

    def _cast(self, source: str, result: str, kind: int) -> None:
        self._nodes.append(
            helper.make_node("Cast", [source], [result], name=f"Cast_to_{result}", to=kind)
        )

    def _store(self, name: str, made: str, kind: int) -> onnx.TensorProto:
        """The constant ``name`` as an initializer; a rounding to infinity is refused."""
        array = self._constants[name]
        if not np.isfinite(array).all():
            raise InputError(f"{self._where}: {name} is not finite", "export the model again")
        if kind == FLOAT:
            return numpy_helper.from_array(array, made)
        largest = float(np.abs(array).max(initial=0.0))
        if largest >= LIMITS[kind]:
            raise InputError(
                f"{self._where}: {name} holds {largest:.3g}, beyond the range of the precision",
                "build in bf16 or fp32",
            )
        rounded = array.astype(np.float16) if kind == NARROW["fp16"] else _bfloat16(array)
        return helper.make_tensor(made, kind, array.shape, rounded.tobytes(), raw=True)


def _bfloat16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of the nearest bfloat16, ties to even: the upper half of a float32, after rounding."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
