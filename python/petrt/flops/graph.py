"""Parameters, MACs and bytes of one ONNX graph at given sizes, from its shapes alone. No torch.

Nothing is guessed: every dimension must be known once the dynamic ones are numbers, and every operator
must be one this module has a rule for. The convention is that of ``petrt.model.size``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from petrt.errors import InputError
from petrt.model.size import Count

HINT = "export the model again"
# Sums of products, by the number of MACs of ``_products``. All their inputs are data.
PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"})
NORMS = frozenset({"InstanceNormalization", "GroupNormalization", "LayerNormalization"})
# Free operators, and how many of their first inputs are data (None: all); the rest are shapes and
# sizes.
FREE: dict[str, int | None] = {
    "Add": None, "Cast": 1, "Concat": None, "Constant": 0, "ConstantOfShape": 0,
    "Div": None, "Expand": 1, "Gather": 1, "Identity": 1, "Log": 1, "Mul": None,
    "Reshape": 1, "Resize": 1, "Shape": 0, "Sigmoid": 1, "Slice": 1, "Softmax": 1,
    "Split": 1, "Squeeze": 1, "Sub": None, "Transpose": 1, "Unsqueeze": 1,
}  # fmt: skip
# What hands a constant on: its output is the same parameter.
MOVES = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
INTEGERS = frozenset({TensorProto.INT32, TensorProto.INT64})
# Larger tensors are emptied before shapes are inferred, which would copy them: none is a shape.
KEPT_VALUES = 4096


@dataclass(frozen=True)
class Work:
    """One call of one graph.

    The bytes are moved at least once whatever the engine does, in the types the graph computes in:
    a weight stored as float16 and used as float32 counts as float32.
    """

    count: Count
    weight_bytes: int
    input_bytes: int
    output_bytes: int

    @property
    def bytes(self) -> int:
        """All that must come in or go out."""
        return self.weight_bytes + self.input_bytes + self.output_bytes


@dataclass(frozen=True)
class Value:
    """Shape and element type of one value of the graph."""

    shape: tuple[int, ...]
    kind: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * int(helper.tensor_dtype_to_np_dtype(self.kind).itemsize)


def count_graph(
    model: bytes | onnx.ModelProto, dimensions: Mapping[str, int], where: str = "the graph"
) -> Work:
    """The work of one call of ``model`` with the named dimensions set to numbers.

    A dimension may be named ``name/k``; k must divide it. Raises InputError, naming the tensor or the
    operator, for a shape that stays unknown, a contradiction, or an operator without a rule.
    """
    source = _load(model, where)
    neutral = {t.name for t in source.graph.initializer if _neutral(t)}
    for node in source.graph.node:
        known = node.op_type in PRODUCTS | NORMS | FREE.keys()
        if not known or node.domain not in ("", "ai.onnx"):
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise InputError(
                f"{where}: no rule for the operator {name} that makes {node.output[0]}"
            )
    values = infer(source, dimensions, where)
    return _Counter(source.graph, values, neutral, where).work()


def infer(source: onnx.ModelProto, dimensions: Mapping[str, int], where: str) -> dict[str, Value]:
    """Shape and type of every value, by ONNX's own inference. Large weights of ``source`` are emptied."""
    for value in [*source.graph.input, *source.graph.output]:
        _resolve(value, dimensions, where)
    del source.graph.value_info[:]  # written for the dynamic dimensions
    for tensor in source.graph.initializer:
        if math.prod(tensor.dims) > KEPT_VALUES:
            for field in ("raw_data", "float_data", "int32_data", "int64_data"):
                tensor.ClearField(field)
    try:
        inferred = onnx.shape_inference.infer_shapes(
            source, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: shapes do not fit: {reason}", HINT) from error
    graph = inferred.graph
    values = {t.name: Value(tuple(t.dims), t.data_type) for t in graph.initializer}
    for info in [*graph.input, *graph.value_info, *graph.output]:
        tensor_type = info.type.tensor_type
        dims = tensor_type.shape.dim
        if tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            values[info.name] = Value(tuple(d.dim_value for d in dims), tensor_type.elem_type)
    for node in graph.node:
        for name in [*node.input, *node.output]:
            if name and name not in values:
                raise InputError(f"{where}: the shape of {name} stays unknown", HINT)
    return values


def _load(model: bytes | onnx.ModelProto, where: str) -> onnx.ModelProto:
    """A copy to be changed."""
    result = onnx.ModelProto()
    try:
        if isinstance(model, bytes):
            result.ParseFromString(model)
        else:
            result.CopyFrom(model)
    except DecodeError as error:
        raise InputError(f"{where} is not an ONNX model", HINT) from error
    return result


def _neutral(tensor: TensorProto) -> bool:
    """Whether all values are 1 or all are 0: in a norm, no parameter but the absence of one."""
    if math.prod(tensor.dims) > KEPT_VALUES or not tensor.data_type or tensor.external_data:
        return False
    array = np.asarray(numpy_helper.to_array(tensor))
    return array.size > 0 and any(bool((array == value).all()) for value in (0, 1))


def _resolve(value: onnx.ValueInfoProto, dimensions: Mapping[str, int], where: str) -> None:
    """Put numbers for the named dimensions of an input or output."""
    for dim in value.type.tensor_type.shape.dim:
        if not dim.HasField("dim_param"):
            continue
        name, _, divisor = dim.dim_param.partition("/")
        if name not in dimensions or (divisor and not divisor.isdecimal()):
            raise InputError(
                f"{where}: {value.name} has the unknown dimension {dim.dim_param}", HINT
            )
        size, rest = divmod(dimensions[name], int(divisor or 1))
        if rest or size < 1:
            raise InputError(
                f"{where}: {value.name} wants {dim.dim_param}, and {name} is {dimensions[name]}",
                f"give a multiple of {divisor or 1}",
            )
        dim.dim_value = size


class _Counter:
    """One pass over the nodes in order."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        values: Mapping[str, Value],
        neutral: set[str],
        where: str,
    ) -> None:
        self._graph, self._values, self._where = graph, values, where
        self._neutral = neutral
        # Constant -> the value that stores it. What a Cast makes of it is the same parameter.
        self._origin = {t.name: t.name for t in graph.initializer}
        self._normed: set[str] = set()  # between a norm's statistics and its shift
        self._parameters: dict[str, bool] = {}  # origin -> is it a norm's
        self._weight_bytes: dict[str, int] = {}
        self._macs = self._attention = 0

    def work(self) -> Work:
        for node in self._graph.node:
            self._visit(node)
        sizes = {name: self._values[name].size for name in self._parameters}
        count = Count(
            parameters=sum(sizes.values()),
            norm_parameters=sum(sizes[n] for n, norm in self._parameters.items() if norm),
            macs=self._macs,
            attention_macs=self._attention,
        )
        inputs = [i.name for i in self._graph.input if i.name not in self._origin]
        return Work(
            count,
            weight_bytes=sum(self._weight_bytes.values()),
            input_bytes=sum(self._values[name].bytes for name in inputs),
            output_bytes=sum(self._values[o.name].bytes for o in self._graph.output),
        )

    def _visit(self, node: onnx.NodeProto) -> None:
        kind, inputs = node.op_type, list(node.input)
        if kind in ("Constant", "ConstantOfShape"):
            self._origin[node.output[0]] = node.output[0]
            return
        if kind in MOVES:
            if inputs[0] in self._origin:
                self._origin[node.output[0]] = self._origin[inputs[0]]
            if inputs[0] in self._normed:
                self._normed.add(node.output[0])
            return
        data = [name for name in inputs[: FREE.get(kind)] if name]
        constants = [name for name in data if name in self._origin]
        varying = [name for name in data if name not in self._origin]
        normed = any(name in self._normed for name in varying)
        for name in constants:
            neutral = kind in NORMS and self._origin[name] in self._neutral
            if varying and not neutral and self._values[name].shape:  # a number is no parameter
                self._take(name, norm=kind in NORMS or normed)
        if kind in NORMS or (normed and kind == "Mul" and constants):
            self._normed.add(node.output[0])
        self._add_macs(node, constants, varying)

    def _take(self, name: str, norm: bool) -> None:
        origin = self._origin[name]
        if self._values[name].kind in INTEGERS:  # a shape
            return
        self._parameters[origin] = norm
        self._weight_bytes[origin] = max(
            self._weight_bytes.get(origin, 0), self._values[name].bytes
        )

    def _add_macs(self, node: onnx.NodeProto, constants: list[str], varying: list[str]) -> None:
        if node.op_type in PRODUCTS:
            macs = _products(node, self._values, self._where)
            factors = node.input[:2]
            if all(name in varying for name in factors):
                self._attention += macs
            elif varying:  # of two constants: done once, when the model is loaded
                self._macs += macs
        elif node.op_type == "Mul" and constants and varying:
            # A weight that widens what it multiplies is a linear layer of one input.
            output = self._values[node.output[0]]
            if output.size > max(self._values[name].size for name in varying):
                self._macs += output.size


def _products(node: onnx.NodeProto, values: Mapping[str, Value], where: str) -> int:
    """MACs of one node: each output value is one sum of products, its length is what varies."""
    output, first = values[node.output[0]], values[node.input[0]]
    if node.op_type == "MatMul":
        return output.size * first.shape[-1]
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return output.size * first.shape[0 if transposed else 1]
    if node.op_type == "Einsum":
        return _einsum(node, values, where)
    weight = values[node.input[1]]
    per_row = weight.size // weight.shape[0]
    # A transposed convolution spreads every input value over its row of the weight instead.
    return (first if node.op_type == "ConvTranspose" else output).size * per_row


def _einsum(node: onnx.NodeProto, values: Mapping[str, Value], where: str) -> int:
    """The product of all indices' sizes: of two factors only, where the order of sums plays no part."""
    equation = helper.get_node_attr_value(node, "equation").decode().replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if "." in equation or len(terms) != 2:
        raise InputError(
            f"{where}: no rule for the Einsum '{equation}' that makes {node.output[0]}"
        )
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        for index, size in zip(term, values[name].shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    return math.prod(sizes.values())
