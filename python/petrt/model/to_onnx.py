"""Writes a network as ONNX, in float32 or in 16 bit (``petrt.model.half_precision``).

Each step is written in the form that was fastest on ONNX Runtime's CPU provider. The paper's denoiser at
128 x 128 took 272 ms a step with the GroupNormalization operator and 248 ms with InstanceNormalization,
on one thread.
"""

from __future__ import annotations

import onnx

from petrt import _core
from petrt.model.half_precision import Precision
from petrt.model.network import Network
from petrt.model.onnx_writer import GraphWriter
from petrt.model.steps import Add, AddBias, AddMap, Attend, Concat, Conv, Level, Linear, Norm, Split


def to_onnx(network: Network, precision: Precision = "fp32") -> onnx.ModelProto:
    """The checked ONNX model. Named dimensions of the network are dynamic.

    In 16 bit the inputs and outputs ``features_*``, ``x_half`` and ``<block>.g1/.g2`` are 16 bit, all
    others float32. Raises InputError for weights beyond the range of the precision.
    """
    return _Writer(network, precision).run()


def onnx_bytes(network: Network, precision: Precision = "fp32") -> bytes:
    """The serialised ONNX model. The same network gives the same bytes."""
    return to_onnx(network, precision).SerializeToString(deterministic=True)


class _Writer:
    """Has one method for each kind of step. ``_values``: name of a value -> its name in the graph."""

    def __init__(self, network: Network, precision: Precision) -> None:
        self._network = network
        self._g = GraphWriter(network.name, precision)
        self._values = {name: name for name in network.inputs}
        self._makers = {step.out: step for step in network.steps if isinstance(step, Conv)}
        self._columns: set[str] = set()  # vectors that are written as [batch, C, 1, 1]

    def run(self) -> onnx.ModelProto:
        for name, dims in self._network.inputs.items():
            self._g.input(name, dims)
        for name, dims in self._network.outputs.items():
            self._g.output(name, dims)
        for step in self._network.steps:
            getattr(self, f"_{step.kind}")(step)
        return self._g.model(_core.__version__)

    def _out(self, name: str) -> str:
        """The name of a network's output; "" for other values, which are named after their nodes."""
        return name if name in self._network.outputs else ""

    def _channels(self, name: str) -> int:
        channels = self._network.dims[name][1]
        assert isinstance(channels, int)
        return channels

    def _conv(self, step: Conv) -> None:
        g, x = self._g, self._values[step.x]
        if step.norm is not None:
            x = self._norm(step.norm, x)
        elif step.upsampled:
            x = g.op(
                "Resize",
                x,
                "",
                g.scales(1, 1, 2, 2),
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )
        weight = self._network.weights[step.weight]
        inputs = [x, g.weight(step.weight, weight)]
        if step.bias is not None:
            inputs.append(g.weight(step.bias, self._network.weight(step.bias)))
        self._values[step.out] = g.op(
            "ConvTranspose" if step.transposed else "Conv",
            *inputs,
            out=self._out(step.out),
            kernel_shape=list(weight.shape[2:]),
            strides=[step.stride] * 2,
            pads=[(weight.shape[2] - 1) // 2] * 4,
        )

    def _norm(self, norm: Norm, x: str) -> str:
        """GroupNorm as InstanceNormalization of groups, a form that engines recognise and fuse."""
        g = self._g
        ones, zeros = g.fill(1.0, norm.groups), g.fill(0.0, norm.groups)
        weight, bias = (
            self._network.weight(name)[:, None, None] for name in (norm.weight, norm.bias)
        )
        h = g.op("Reshape", x, g.integers(0, norm.groups, -1))
        h = g.op("InstanceNormalization", h, ones, zeros, wide=True, epsilon=norm.epsilon)
        h = g.op("Reshape", h, g.shape(x), wide=True)
        h = g.op("Mul", h, g.weight(norm.weight, weight, wide=True), wide=True)
        h = g.op("Add", h, g.weight(norm.bias, bias, wide=True), wide=True)
        return g.op("Mul", h, g.op("Sigmoid", h, wide=True), wide=True) if norm.silu else h

    def _add(self, step: Add) -> None:
        a, b = self._values[step.a], self._values[step.b]
        self._values[step.out] = self._g.op("Add", a, b, out=self._out(step.out))

    def _add_map(self, step: AddMap) -> None:
        """Reshapes to [slices, samples, C, H, W] and back; reshapes copy nothing."""
        g, width = self._g, self._channels(step.x)
        x, each = self._values[step.x], self._values[step.map]
        slices, area = g.shape(each, start=0, end=1), g.shape(each, start=2)
        per_slice = g.join(slices, g.integers(-1, width), area)
        flat = g.join(g.integers(-1, width), area)
        samples = g.op("Reshape", x, per_slice)
        added = g.op("Add", samples, g.op("Unsqueeze", each, g.integers(1)))
        self._values[step.out] = g.op("Reshape", added, flat, out=self._out(step.out))

    def _add_bias(self, step: AddBias) -> None:
        g, bias = self._g, self._values[step.bias]
        if bias not in self._columns:
            bias = g.op("Unsqueeze", bias, g.integers(2, 3))
        self._values[step.out] = g.op("Add", self._values[step.x], bias, out=self._out(step.out))

    def _concat(self, step: Concat) -> None:
        parts = [self._values[part] for part in step.parts]
        self._values[step.out] = self._g.op("Concat", *parts, out=self._out(step.out), axis=1)

    def _attend(self, step: Attend) -> None:
        g, width = self._g, self._channels(step.out)
        h = g.op("Reshape", self._values[step.qkv], g.integers(0, 3 * width, -1))
        query, key, value = g.split(h, [width] * 3, axis=1)
        scores = g.op("MatMul", g.op("Transpose", query, perm=[0, 2, 1]), key)
        scores = g.op("Mul", scores, g.number(f"{step.out}.scale", step.scale), wide=True)
        scores = g.op("Softmax", scores, wide=True, axis=2)
        mixed = g.op("MatMul", value, g.op("Transpose", scores, perm=[0, 2, 1]))
        like = self._values[self._makers[step.qkv].x]
        out = self._out(step.out)
        self._values[step.out] = g.op("Reshape", mixed, g.shape(like), out=out)

    def _split(self, step: Split) -> None:
        pieces = self._g.split(self._values[step.x], step.sizes, axis=1)
        self._values |= dict(zip(step.outs, pieces, strict=True))

    def _level(self, step: Level) -> None:
        """Written as [batch, 1, 1, 1], because all values computed from it have four dimensions."""
        g = self._g
        scaled = g.op("Log", self._values[step.x], wide=True)
        scaled = g.op("Mul", scaled, g.number(f"{step.x}.scale", step.scale), wide=True)
        self._values[step.out] = g.op("Reshape", scaled, g.integers(-1, 1, 1, 1), wide=True)

    def _linear(self, step: Linear) -> None:
        g = self._g
        weight, bias = (
            self._network.weight(name)[:, None, None] for name in (step.weight, step.bias)
        )
        h = g.op("Mul", self._values[step.x], g.weight(step.weight, weight, wide=True), wide=True)
        h = g.op("Add", h, g.weight(step.bias, bias, wide=True), wide=True)
        self._values[step.out] = h
        self._columns.add(h)
