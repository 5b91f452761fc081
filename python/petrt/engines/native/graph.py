"""A bundle's ONNX graph as the steps that petrt's own CPU kernels run.

The exporter writes a dozen operators in a few fixed patterns (petrt.export.graphs.layers): a norm is five
nodes, a guide map added to every sample of a slice is six. Here each pattern becomes one step again,
and what follows a convolution, an addition of biases, maps or a shortcut, becomes part of it. A graph
with anything else in it is refused, never approximated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from petrt.engines.native.steps import (
    Add,
    Attend,
    Concat,
    Conv,
    DoseRow,
    Norm,
    Ref,
    Row,
    Source,
    Step,
    Upsampled,
    inputs_of,
)
from petrt.errors import DeviceError

Array = NDArray[np.float32]


class Unsupported(DeviceError):
    """A graph that these kernels were not written for."""


# What a value stands for while the patterns are read; the exporter's steps in between.
@dataclass(frozen=True)
class _Shape:
    pass


@dataclass(frozen=True)
class _Flat:
    x: Ref
    groups: int


@dataclass(frozen=True)
class _Normed:
    x: Ref
    groups: int
    epsilon: float
    weight: Array | None = field(default=None, compare=False)


@dataclass(frozen=True)
class _Gate:
    norm: Norm


@dataclass(frozen=True)
class _Third:
    qkv: Ref
    index: int
    turned: bool = False


@dataclass(frozen=True)
class _Scores:
    qkv: Ref
    scale: float = 1.0
    softmax: bool = False
    turned: bool = False


@dataclass(frozen=True)
class _Level:
    dose: str
    scale: float = 1.0
    weight: Array | None = field(default=None, compare=False)


def read_graph(model: bytes, graph: str) -> list[Step]:
    """The steps of one graph, in an order in which they can run. Raises Unsupported."""
    proto = onnx.load_model_from_string(model)
    steps = _Reader(proto.graph, graph).run()
    outputs = {value.name for value in proto.graph.output}
    return _fused(steps, outputs)


class _Reader:
    """Walks the nodes once; ``_values`` holds what each name stands for."""

    def __init__(self, graph: onnx.GraphProto, name: str) -> None:
        self._graph, self._name = graph, name
        self._values: dict[str, Any] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self._values |= {value.name: Ref(value.name) for value in graph.input}
        self._steps: list[Step] = []
        self._rules: dict[str, Callable[[onnx.NodeProto, list[Any]], Any]] = {
            "Add": self._add, "Cast": self._cast, "Concat": self._concat, "Conv": self._conv,
            "InstanceNormalization": self._norm, "Log": self._log, "MatMul": self._matmul,
            "Mul": self._mul, "Reshape": self._reshape, "Resize": self._resize,
            "Shape": lambda node, values: _Shape(), "Sigmoid": self._sigmoid,
            "Softmax": self._softmax, "Split": self._split, "Transpose": self._transpose,
            "Unsqueeze": lambda node, values: values[0],
        }  # fmt: skip

    def run(self) -> list[Step]:
        for node in self._graph.node:
            rule = self._rules.get(node.op_type)
            values = [self._values.get(name) for name in node.input]
            made = rule(node, values) if rule else None
            if made is None:
                raise Unsupported(
                    f"{self._name}.onnx: petrt's own kernels do not know {node.op_type} as in "
                    f"'{node.name}'",
                    "use --engine onnxruntime",
                )
            results = made if isinstance(made, list) else [made]
            self._values |= dict(zip(node.output, results, strict=True))
        for value in self._graph.output:
            if self._values[value.name] != Ref(value.name):  # an input or an alias handed through
                raise Unsupported(f"{self._name}.onnx: the output {value.name} is not computed")
        return self._steps

    def _emit(self, step: Step) -> Ref:
        self._steps.append(step)
        return Ref(step.out)

    def _conv(self, node: onnx.NodeProto, values: list[Any]) -> Ref | None:
        attributes: dict[str, Any] = {"pads": [0] * 4}  # ONNX's default
        attributes |= {a.name: helper.get_attribute_value(a) for a in node.attribute}
        x, weight, bias = values[0], values[1], values[2] if len(values) > 2 else None
        if not isinstance(x, Source) or not isinstance(weight, np.ndarray):
            return None
        kernel, stride = weight.shape[2], attributes.get("strides", [1, 1])[0]
        same = {
            "kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4, "strides": [stride] * 2,
            "dilations": [1, 1], "group": 1, "auto_pad": b"NOTSET",
        }  # fmt: skip
        plain = all(same.get(name) == value for name, value in attributes.items())
        reads = isinstance(x, Ref) or kernel == 3 or (kernel == 1 and isinstance(x, Norm))
        if kernel not in (1, 3) or stride not in (1, 2) or not plain or not reads:
            return None
        if stride == 2 and not isinstance(x, Ref):
            return None
        return self._emit(Conv(node.output[0], x, weight, bias, stride))

    def _norm(self, node: onnx.NodeProto, values: list[Any]) -> _Normed | None:
        flat, ones, zeros = values
        epsilon = float(helper.get_node_attr_value(node, "epsilon"))
        if isinstance(flat, _Flat) and np.all(ones == 1) and np.all(zeros == 0):
            return _Normed(flat.x, flat.groups, epsilon)
        return None

    def _mul(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        a, b = values
        if isinstance(a, _Normed) and a.weight is None and isinstance(b, np.ndarray):
            return replace(a, weight=b.ravel())
        if isinstance(a, Norm) and b == _Gate(a):
            return replace(a, silu=True)
        if isinstance(a, _Scores) and np.ndim(b) == 0 and not a.softmax:
            return replace(a, scale=a.scale * float(b))
        if isinstance(a, _Level) and isinstance(b, np.ndarray) and a.weight is None:
            return (
                replace(a, scale=a.scale * float(b))
                if b.ndim == 0
                else replace(a, weight=b.ravel())
            )
        return None

    def _add(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        a, b = values
        if isinstance(a, _Normed) and a.weight is not None and isinstance(b, np.ndarray):
            return Norm(a.x, a.groups, a.epsilon, a.weight, b.ravel())
        if isinstance(a, _Level) and a.weight is not None and isinstance(b, np.ndarray):
            return DoseRow(a.dose, a.scale, a.weight, b.ravel())
        if isinstance(a, Ref) and isinstance(b, Ref | Row | DoseRow):
            return self._emit(Add(node.output[0], a, b))
        return None

    def _sigmoid(self, node: onnx.NodeProto, values: list[Any]) -> _Gate | None:
        return _Gate(values[0]) if isinstance(values[0], Norm) else None

    def _reshape(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        """By a constant: groups of a norm, or attention's positions. By a shape: back to images."""
        x, shape = values
        if isinstance(shape, _Shape):
            return x
        sizes = shape.tolist()
        if isinstance(x, Ref) and len(sizes) == 3 and sizes[0] == 0 and sizes[2] == -1:
            return _Flat(x, sizes[1])
        return x if isinstance(x, _Level) else None

    def _resize(self, node: onnx.NodeProto, values: list[Any]) -> Upsampled | None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        nearest = attributes == {
            "mode": b"nearest",
            "nearest_mode": b"floor",
            "coordinate_transformation_mode": b"asymmetric",
        }
        double = np.array_equal(values[2], [1, 1, 2, 2])
        return Upsampled(values[0]) if nearest and double and isinstance(values[0], Ref) else None

    def _concat(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        if all(isinstance(value, Ref) for value in values):
            axis = helper.get_node_attr_value(node, "axis")
            return self._emit(Concat(node.output[0], tuple(values))) if axis == 1 else None
        shapes = all(isinstance(value, _Shape | np.ndarray) for value in values)
        return _Shape() if shapes else None

    def _split(self, node: onnx.NodeProto, values: list[Any]) -> list[Any] | None:
        x, sizes = values
        ends = np.cumsum(sizes).tolist()
        if isinstance(x, Ref) and x.name in {value.name for value in self._graph.input}:
            starts = [0, *ends[:-1]]
            return [Row(x.name, start, end) for start, end in zip(starts, ends, strict=True)]
        if isinstance(x, _Flat) and ends == [x.groups // 3, 2 * x.groups // 3, x.groups]:
            return [_Third(x.x, index) for index in range(3)]
        return None

    def _transpose(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        last_two = list(helper.get_node_attr_value(node, "perm")) == [0, 2, 1]
        movable = isinstance(values[0], _Third | _Scores) and not values[0].turned
        return replace(values[0], turned=True) if last_two and movable else None

    def _matmul(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        a, b = values
        if isinstance(a, _Third) and isinstance(b, _Third):
            ours = a == _Third(b.qkv, 0, turned=True) and b == _Third(b.qkv, 1)
            return _Scores(b.qkv) if ours else None
        if isinstance(b, _Scores) and b.softmax and b.turned and a == _Third(b.qkv, 2):
            return self._emit(Attend(node.output[0], b.qkv, b.scale))
        return None

    def _softmax(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        rows = helper.get_node_attr_value(node, "axis") == 2
        x = values[0]
        return replace(x, softmax=True) if rows and isinstance(x, _Scores) else None

    def _log(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        return _Level(values[0].name) if isinstance(values[0], Ref) else None

    def _cast(self, node: onnx.NodeProto, values: list[Any]) -> Any:
        stored = isinstance(values[0], np.ndarray)
        return values[0].astype(np.float32) if stored else None


def _fused(steps: Sequence[Step], outputs: set[str]) -> list[Step]:
    """Additions made part of the convolution before them, which then runs in their place."""
    uses = Counter(ref.name for step in steps for ref in inputs_of(step))
    uses.update(outputs)
    made: dict[str, Step] = {}  # in order
    for step in steps:
        fused: Step | None = None
        if isinstance(step, Add):
            sides: list[tuple[Ref, Ref | Row | DoseRow]] = [(step.a, step.b)]
            if isinstance(step.b, Ref):
                sides.append((step.b, step.a))
            # The later of two convolutions is the one that can take the other's result.
            order = list(made)
            sides.sort(key=lambda side: order.index(side[0].name) if side[0].name in made else -1)
            for mine, other in reversed(sides):
                fused = _with(made.get(mine.name), step.out, other)
                if fused is not None and uses[mine.name] == 1:
                    del made[mine.name]
                    break
                fused = None
        made[step.out] = fused or step
    return list(made.values())


def _with(conv: Step | None, out: str, other: Ref | Row | DoseRow) -> Conv | None:
    """``conv`` with ``other`` added to its result, if it has room for it."""
    if not isinstance(conv, Conv):
        return None
    if isinstance(other, Ref):
        room = len(conv.addends) < 2
        return replace(conv, out=out, addends=(*conv.addends, other)) if room else None
    return replace(conv, out=out, row=other) if conv.row is None else None
