"""Writing one torch module for fixed shapes: the ONNX operators of our exporter in torch.

Shapes, sizes and axes are plain numbers by the time a call is written; what depends on constants
alone is computed while writing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from petrt.errors import InputError

# TensorProto's element types.
DTYPES = {1: torch.float32, 10: torch.float16, 16: torch.bfloat16}
Shape = tuple[int, ...]
# A value while the module is written: a constant, numbers (shapes, sizes, axes), or a computed tensor.
Value = Tensor | list[int] | fx.Node | None


class ModuleWriter:
    """Writes one module; each computed value carries its shape and dtype along as a meta tensor."""

    def __init__(self, where: str, device: torch.device) -> None:
        self._where, self._device = where, device
        self._graph, self._root = fx.Graph(), nn.Module()
        self._metas: dict[fx.Node, Any] = {}
        self._buffers: dict[int, tuple[Tensor, fx.Node]] = {}

    def placeholder(self, shape: Shape, dtype: torch.dtype) -> fx.Node:
        """The next argument of the module."""
        node = self._graph.placeholder(f"argument_{len(self._metas)}")
        self._metas[node] = torch.empty(shape, dtype=dtype, device="meta")
        return node

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """A call of ``function``: at once if all is constant, else a node, or a tuple of nodes."""
        everything = [a for x in (*args, *options.values()) for a in _flat(x)]
        if not any(isinstance(a, fx.Node) for a in everything):
            return function(*args, **options)
        metas, keywords = _map(self.meta, args, options)
        meta = function(*metas, **keywords)
        node = self._graph.call_function(function, *_map(self._attribute, args, options))
        self._metas[node] = meta
        if isinstance(meta, Tensor):
            return node
        return tuple(self.call(operator.getitem, node, i) for i in range(len(meta)))

    def products(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """A call of ``function``, a sum of products: float32 sums of 16 bit factors, rounded once.

        That is what a GPU's matrix units do. Most CPUs have none for 16 bit, and torch's way around
        takes fifty times as long as the same arithmetic on the numbers widened.
        """
        dtype = self.meta(args[0]).dtype
        if dtype == torch.float32 or self._device.type != "cpu":
            return self.call(function, *args, **options)
        wide = [self.call(Tensor.float, a) if self._is_tensor(a) else a for a in args]
        return self.call(Tensor.to, self.call(function, *wide, **options), dtype)

    def write_to(self, target: fx.Node, value: Value) -> None:
        """Copy ``value`` into an argument, in the argument's dtype."""
        self._graph.call_function(torch.Tensor.copy_, (target, self._attribute(value)))

    def module(self) -> nn.Module:
        self._graph.output(())
        return fx.GraphModule(self._root, self._graph).eval()

    def shape(self, value: Value) -> list[int]:
        return list(self.meta(value).shape)

    def meta(self, value: Any) -> Any:
        """``value`` without its numbers."""
        if isinstance(value, fx.Node):
            return self._metas[value]
        return value.to("meta") if isinstance(value, Tensor) else value

    @staticmethod
    def _is_tensor(value: Any) -> bool:
        return isinstance(value, Tensor | fx.Node)

    def refuse(self, what: str) -> InputError:
        return InputError(
            f"{self._where}: the torch engine has no {what}",
            "use --engine onnxruntime, or export the model again",
        )

    def _attribute(self, value: Any) -> Any:
        """A constant tensor as a buffer of the module, entered once."""
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._buffers:
            name = f"weight_{len(self._buffers)}"
            self._root.register_buffer(name, value)
            self._buffers[id(value)] = (value, self._graph.get_attr(name))
        return self._buffers[id(value)][1]


def _flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _map(change: Callable[[Any], Any], args: Any, options: Any) -> Any:
    """Arguments and options with ``change`` applied to each, and inside lists."""

    def each(value: Any) -> Any:
        return [change(v) for v in value] if isinstance(value, list) else change(value)

    return tuple(map(each, args)), {key: each(value) for key, value in options.items()}


Attributes = Mapping[str, Any]
Operator = Callable[..., Any]
OPERATORS: dict[str, Operator] = {}


def _operator(kind: str) -> Callable[[Operator], Operator]:
    """Enter a function of (writer, attributes, inputs ...) as the ONNX operator ``kind``."""

    def enter(function: Operator) -> Operator:
        OPERATORS[kind] = function
        return function

    return enter


@_operator("Add")
def _add(w: ModuleWriter, a: Attributes, x: Value, y: Value) -> Any:
    return w.call(torch.add, x, y)


@_operator("Mul")
def _mul(w: ModuleWriter, a: Attributes, x: Value, y: Value) -> Any:
    return w.call(torch.mul, x, y)


@_operator("Log")
def _log(w: ModuleWriter, a: Attributes, x: Value) -> Any:
    return w.call(torch.log, x)


@_operator("Sigmoid")
def _sigmoid(w: ModuleWriter, a: Attributes, x: Value) -> Any:
    return w.call(torch.sigmoid, x)


@_operator("MatMul")
def _matmul(w: ModuleWriter, a: Attributes, x: Value, y: Value) -> Any:
    return w.products(torch.matmul, x, y)


def _conv_options(w: ModuleWriter, kind: str, a: Attributes) -> dict[str, Any]:
    pads = a.get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:] or a.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in a:
        raise w.refuse(f"{kind} with such padding")
    return {
        "stride": tuple(a.get("strides", (1, 1))),
        "padding": tuple(pads[:2]),
        "dilation": tuple(a.get("dilations", (1, 1))),
        "groups": a.get("group", 1),
    }


@_operator("Conv")
def _conv(w: ModuleWriter, a: Attributes, x: Value, weight: Value, bias: Value = None) -> Any:
    return w.products(F.conv2d, x, weight, bias, **_conv_options(w, "Conv", a))


@_operator("ConvTranspose")
def _conv_transpose(
    w: ModuleWriter, a: Attributes, x: Value, weight: Value, bias: Value = None
) -> Any:
    options = _conv_options(w, "ConvTranspose", a)
    extra = tuple(a.get("output_padding", (0, 0)))
    return w.products(F.conv_transpose2d, x, weight, bias, output_padding=extra, **options)


def instance_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """InstanceNormalization in float32, rounded once to the dtype of ``x``."""
    wide = F.instance_norm(x.float(), weight=weight.float(), bias=bias.float(), eps=eps)
    return wide.to(x.dtype)


@_operator("InstanceNormalization")
def _instance_normalization(
    w: ModuleWriter, a: Attributes, x: Value, weight: Value, bias: Value
) -> Any:
    return w.call(instance_norm, x, weight, bias, a.get("epsilon", 1e-5))


@_operator("Shape")
def _shape(w: ModuleWriter, a: Attributes, x: Value) -> Any:
    return w.shape(x)[a.get("start", 0) : a.get("end")]


@_operator("Reshape")
def _reshape(w: ModuleWriter, a: Attributes, x: Value, sizes: list[int]) -> Any:
    old = w.shape(x)
    keep = not a.get("allowzero", 0)
    new = [old[i] if size == 0 and keep else size for i, size in enumerate(sizes)]
    return w.call(torch.reshape, x, new)


@_operator("Concat")
def _concat(w: ModuleWriter, a: Attributes, *inputs: Any) -> Any:
    if all(isinstance(value, list) for value in inputs):
        return [number for value in inputs for number in value]
    return w.call(torch.cat, list(inputs), dim=a["axis"])


@_operator("Transpose")
def _transpose(w: ModuleWriter, a: Attributes, x: Value) -> Any:
    return w.call(torch.permute, x, list(a["perm"]))


@_operator("Split")
def _split(w: ModuleWriter, a: Attributes, x: Value, sizes: list[int]) -> Any:
    return w.call(torch.split, x, sizes, dim=a.get("axis", 0))


def softmax(x: Tensor, axis: int) -> Tensor:
    """Softmax in float32, rounded once to the dtype of ``x``."""
    return torch.softmax(x, axis, dtype=torch.float32).to(x.dtype)


@_operator("Softmax")
def _softmax(w: ModuleWriter, a: Attributes, x: Value) -> Any:
    return w.call(softmax, x, a.get("axis", -1))


@_operator("Resize")
def _resize(w: ModuleWriter, a: Attributes, x: Value, roi: Value, scales: Any) -> Any:
    """Nearest neighbour by whole factors in H and W."""
    asked = (a.get("mode"), a.get("nearest_mode"), a.get("coordinate_transformation_mode"))
    factors = [float(s) for s in scales]
    whole = all(f.is_integer() for f in factors) and factors[:2] == [1, 1] and len(factors) == 4
    if asked != ("nearest", "floor", "asymmetric") or not whole:
        raise w.refuse(f"Resize {asked} by {factors}")
    height, width = w.shape(x)[2:]
    size = [height * int(factors[2]), width * int(factors[3])]
    return w.call(F.interpolate, x, size=size, mode="nearest")


@_operator("Unsqueeze")
def _unsqueeze(w: ModuleWriter, a: Attributes, x: Value, axes: list[int]) -> Any:
    for axis in sorted(axes):
        x = w.call(torch.unsqueeze, x, axis)
    return x


@_operator("Cast")
def _cast(w: ModuleWriter, a: Attributes, x: Value) -> Any:
    return w.call(torch.Tensor.to, x, DTYPES[a["to"]])
