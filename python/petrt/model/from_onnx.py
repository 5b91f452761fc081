"""Reads a network from an ONNX graph, the format of bundles of version 1.

The exporter writes each step as a fixed pattern of nodes (``petrt.model.to_onnx``): a norm is five nodes,
a guide map added to every sample of a slice is eight. The reader turns each pattern back into a step and
refuses a graph with any other node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from petrt.errors import InputError
from petrt.model.network import Network
from petrt.model.onnx_forms import (
    Bias,
    Constant,
    Flat,
    Gate,
    Image,
    LevelMade,
    Log,
    Mixed,
    Normed,
    Pair,
    Product,
    Ready,
    Scores,
    Shape,
    Third,
)
from petrt.model.steps import (
    Add,
    AddBias,
    AddMap,
    Attend,
    Concat,
    Conv,
    Dims,
    Level,
    Linear,
    Norm,
    Split,
    Step,
)

HINT = "use --engine onnxruntime, or export the model again"


def read_onnx(model: bytes, name: str) -> Network:
    """The network ``name`` from a serialised ONNX model. Raises InputError for an unknown pattern."""
    try:
        graph = onnx.load_model_from_string(model).graph
    except DecodeError as error:
        raise InputError(f"{name}.onnx is not an ONNX model", "export the model again") from error
    return _Reader(graph, name).run()


class _Reader:
    """Visits each node once. ``_values``: name of a value -> its form, see ``onnx_forms``."""

    def __init__(self, graph: onnx.GraphProto, name: str) -> None:
        self._graph, self._name = graph, name
        self._inputs, self._outputs = _dims(graph.input), _dims(graph.output)
        for value in graph.input:
            if value.type.tensor_type.elem_type != TensorProto.FLOAT:
                raise InputError(f"{name}.onnx: the input {value.name} is not float32", HINT)
        self._values: dict[str, Any] = {
            tensor.name: Constant(tensor.name, numpy_helper.to_array(tensor))
            for tensor in graph.initializer
        }
        self._values |= {name: Image(name) for name in self._inputs}
        self._steps: list[Step] = []
        self._weights: dict[str, NDArray[Any]] = {}
        self._rules: dict[str, Callable[[onnx.NodeProto, list[Any]], Any]] = {
            "Add": self._add,
            "Cast": self._cast,
            "Concat": self._concat,
            "Conv": self._conv,
            "ConvTranspose": self._conv,
            "InstanceNormalization": self._norm,
            "Log": self._log,
            "MatMul": self._matmul,
            "Mul": self._mul,
            "Reshape": self._reshape,
            "Resize": self._resize,
            "Shape": lambda node, values: Shape(),
            "Sigmoid": self._sigmoid,
            "Softmax": self._softmax,
            "Split": self._split,
            "Transpose": self._transpose,
            "Unsqueeze": self._unsqueeze,
        }

    def run(self) -> Network:
        for node in self._graph.node:
            rule = self._rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            values = [self._values.get(name) for name in node.input]
            try:
                made = rule(node, values) if rule else None
            except (ValueError, IndexError, AttributeError):  # an input or attribute is missing
                made = None
            if made is None:
                raise InputError(
                    f"{self._name}.onnx: petrt does not know {node.op_type} as in '{node.name}'",
                    HINT,
                )
            results = made if isinstance(made, list) else [made]
            self._values |= dict(zip(node.output, results, strict=True))
        for name in self._outputs:
            if self._values.get(name) != Image(name):  # an input, or another value's name
                raise InputError(f"{self._name}.onnx: the output {name} is not computed", HINT)
        steps = tuple(self._steps)
        return Network(self._name, self._inputs, self._outputs, steps, self._weights)

    def _emit(self, step: Step) -> Image:
        assert not isinstance(step, Split)
        self._steps.append(step)
        return Image(step.out)

    def _keep(self, constant: Constant, shape: tuple[int, ...] | None = None) -> str:
        """Add a weight to the network, in ``shape`` if given, and return its name."""
        array = constant.array
        self._weights[constant.name] = array if shape is None else array.reshape(shape)
        return constant.name

    def _vector(self, value: Any) -> str | None:
        """Add a weight [C, 1, 1] as [C] and return its name; None if ``value`` is not one."""
        if isinstance(value, Constant) and value.array.shape[1:] == (1, 1):
            return self._keep(value, (-1,))
        return None

    def _conv(self, node: onnx.NodeProto, values: list[Any]) -> Image | None:
        x, weight, bias = values[0], values[1], values[2] if len(values) > 2 else None
        doubled = isinstance(x, Ready) and x.norm is None
        if isinstance(x, Image) and x.plain:
            x = Ready(x.name, None)
        if not isinstance(x, Ready) or not isinstance(weight, Constant):
            return None
        transposed = node.op_type == "ConvTranspose"
        attributes: dict[str, Any] = {"pads": [0] * 4, "strides": [1] * 2}  # ONNX's defaults
        attributes |= {a.name: helper.get_attribute_value(a) for a in node.attribute}
        kernel, stride = weight.array.shape[-1], attributes["strides"][0]
        same = {
            "kernel_shape": [kernel] * 2,
            "pads": [(kernel - 1) // 2] * 4,
            "strides": [stride] * 2,
            "dilations": [1, 1],
            "group": 1,
            "auto_pad": b"NOTSET",
        }
        plain = all(same.get(name) == value for name, value in attributes.items())
        if not plain or stride not in (1, 2) or kernel not in ((4,) if transposed else (1, 3)):
            return None
        step = Conv(
            out=node.output[0],
            x=x.x,
            weight=self._keep(weight),
            bias=self._keep(bias) if isinstance(bias, Constant) else None,
            norm=x.norm,
            upsampled=doubled,
            stride=stride,
            transposed=transposed,
        )
        return self._emit(step)

    def _norm(self, node: onnx.NodeProto, values: list[Any]) -> Normed | None:
        flat, ones, zeros = values
        epsilon = float(helper.get_node_attr_value(node, "epsilon"))
        neutral = all(
            isinstance(c, Constant) and np.all(c.array == value)
            for c, value in ((ones, 1), (zeros, 0))
        )
        return Normed(flat.x, flat.groups, epsilon) if isinstance(flat, Flat) and neutral else None

    def _mul(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        a, b = values
        if isinstance(a, Ready) and b == Gate(a) and a.norm is not None:
            return replace(a, norm=replace(a.norm, silu=True))
        if not isinstance(b, Constant):
            return None
        if isinstance(a, Normed) and a.back and not a.weight and (name := self._vector(b)):
            return replace(a, weight=name)
        if isinstance(a, Scores) and b.array.ndim == 0 and not a.softmax and not a.name:
            return replace(a, scale=float(b.array), name=b.name.removesuffix(".scale"))
        if isinstance(a, Log) and b.array.ndim == 0 and a.scale is None:
            return replace(a, scale=float(b.array))
        if isinstance(a, LevelMade) and (name := self._vector(b)):
            return Product(a.name, name)
        return None

    def _add(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        a, b = values
        out = node.output[0]
        if isinstance(a, Normed) and a.weight and (name := self._vector(b)):
            norm = Norm(groups=a.groups, epsilon=a.epsilon, weight=a.weight, bias=name, silu=False)
            return Ready(a.x, norm)
        if isinstance(a, Product) and (name := self._vector(b)):
            self._emit(Linear(out=out, x=a.level, weight=a.weight, bias=name))
            return Bias(out, turned=True)
        if not isinstance(a, Image):
            return None
        if isinstance(b, Bias) and b.turned:
            return self._emit(AddBias(out=out, x=a.name, bias=b.name))
        if isinstance(b, Image) and a.per_slice and b.shared:
            # The next Reshape gives the sum its name.
            return Pair(a.name, b.name)
        plain = isinstance(b, Image) and a.plain and b.plain
        return self._emit(Add(out=out, a=a.name, b=b.name)) if plain else None

    def _sigmoid(self, node: onnx.NodeProto, values: list[Any]) -> Gate | None:
        return Gate(values[0]) if isinstance(values[0], Ready) and values[0].norm else None

    def _reshape(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        """A constant shape makes the groups of a norm or the rows of attention; a computed one, images."""
        x, shape = values
        out = node.output[0]
        if isinstance(shape, Shape):
            if isinstance(x, Pair):
                return self._emit(AddMap(out=out, x=x.x, map=x.map))
            if isinstance(x, Mixed):
                name = x.name if x.name and x.name not in self._values else out
                name = out if out in self._outputs else name
                return self._emit(Attend(out=name, qkv=x.qkv, scale=x.scale))
            if isinstance(x, Normed):
                return replace(x, back=True)
            return replace(x, per_slice=True) if isinstance(x, Image) else None
        sizes = shape.array.tolist() if isinstance(shape, Constant) else []
        if (
            isinstance(x, Image)
            and x.plain
            and len(sizes) == 3
            and sizes[0] == 0
            and sizes[2] == -1
        ):
            return Flat(x.name, sizes[1])
        if isinstance(x, Log) and x.scale is not None and sizes == [-1, 1, 1, 1]:
            self._emit(Level(out=out, x=x.x, scale=x.scale))
            return LevelMade(out)
        return None

    def _unsqueeze(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        """Prepares a map for its addition, or makes a vector [n, C, 1, 1]."""
        x, axes = values
        where = axes.array.tolist() if isinstance(axes, Constant) else []
        if isinstance(x, Image) and where == [1]:
            return replace(x, shared=True)
        return replace(x, turned=True) if isinstance(x, Bias) and where == [2, 3] else None

    def _resize(self, node: onnx.NodeProto, values: list[Any]) -> Ready | None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        nearest = attributes == {
            "mode": b"nearest",
            "nearest_mode": b"floor",
            "coordinate_transformation_mode": b"asymmetric",
        }
        x, scales = values[0], values[2]
        double = isinstance(scales, Constant) and scales.array.tolist() == [1, 1, 2, 2]
        plain = isinstance(x, Image) and x.plain
        return Ready(x.name, None) if nearest and double and plain else None

    def _concat(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        if all(isinstance(value, Image) and value.plain for value in values):
            parts = tuple(value.name for value in values)
            axis = helper.get_node_attr_value(node, "axis")
            return self._emit(Concat(out=node.output[0], parts=parts)) if axis == 1 else None
        shapes = all(isinstance(value, Shape | Constant) for value in values)
        return Shape() if shapes else None

    def _split(self, node: onnx.NodeProto, values: list[Any]) -> list[Any] | None:
        x, sizes = values[0], tuple(values[1].array.tolist())
        if isinstance(x, Image) and x.name in self._inputs:
            self._steps.append(Split(outs=tuple(node.output), x=x.name, sizes=sizes))
            return [Bias(out, turned=False) for out in node.output]
        if isinstance(x, Flat) and sizes == (x.groups // 3,) * 3:
            return [Third(x.x, index) for index in range(3)]
        return None

    def _transpose(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        last_two = list(helper.get_node_attr_value(node, "perm")) == [0, 2, 1]
        movable = isinstance(values[0], Third | Scores) and not values[0].turned
        return replace(values[0], turned=True) if last_two and movable else None

    def _matmul(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        a, b = values
        if isinstance(a, Third) and isinstance(b, Third):
            ours = a == Third(b.qkv, 0, turned=True) and b == Third(b.qkv, 1)
            return Scores(b.qkv) if ours else None
        if isinstance(b, Scores) and b.softmax and b.turned and a == Third(b.qkv, 2):
            return Mixed(b.qkv, b.scale, b.name)
        return None

    def _softmax(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        rows = helper.get_node_attr_value(node, "axis") == 2
        x = values[0]
        return replace(x, softmax=True) if rows and isinstance(x, Scores) else None

    def _log(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        return Log(values[0].name) if isinstance(values[0], Image) else None

    def _cast(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        """A weight that is stored as float16."""
        to_float = helper.get_node_attr_value(node, "to") == TensorProto.FLOAT
        return values[0] if to_float and isinstance(values[0], Constant) else None


def _dims(values: Iterable[onnx.ValueInfoProto]) -> dict[str, Dims]:
    return {
        v.name: tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in values
    }
