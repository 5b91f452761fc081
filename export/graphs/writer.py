"""Builds one ONNX graph, operator by operator.

The folded networks consist of a dozen operators, so their graphs are written directly rather than
traced: the file depends on no torch version, keeps no leftover of a trace, has plain names, and
takes milliseconds. ``petrt.export.graphs.check`` runs every graph against the module it was written from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

Precision = Literal["fp32", "fp16-weights"]
Dims = Sequence[int | str]

# The oldest that has all operators used: read by every ONNX Runtime, OpenVINO and TensorRT in use.
OPSET = 17
IR_VERSION = 8


class GraphWriter:
    """One graph under construction. Values are names; a method that adds a node returns its output.

    Precision "fp16-weights" stores conv weights as float16, each with a Cast behind it: the file
    halves, the arithmetic stays float32. A parameter on the meta device, which has a shape and no
    values, becomes zeros made when the graph runs: enough to count operations of, in no memory.
    """

    def __init__(self, name: str, precision: Precision = "fp32") -> None:
        self._name, self._precision = name, precision
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dims: Dims) -> str:
        """A float32 input; a string in ``dims`` is a dynamic dimension."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        return name

    def output(self, value: str, name: str, dims: Dims) -> str:
        """Give ``value`` the name of a float32 output."""
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [name if each == value else each for each in names]
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def split(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        """``value`` cut into pieces of the given sizes."""
        name = f"Split_{len(self._nodes)}"
        outputs = [f"{name}.{i}" for i in range(len(sizes))]
        inputs = [value, self.integers(*sizes)]
        self._nodes.append(helper.make_node("Split", inputs, outputs, name=name, axis=axis))
        return outputs

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant, stored once however often it is asked for."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def integers(self, *values: int) -> str:
        """An int64 vector, for shapes, sizes and axes."""
        return self.constant("i" + "_".join(map(str, values)), np.array(values, np.int64))

    def fill(self, value: float, count: int) -> str:
        """A float32 vector of one repeated value."""
        return self.constant(f"fill_{value:g}_{count}", np.full(count, value, np.float32))

    def weight(self, name: str, value: Tensor) -> str:
        """A float32 parameter as it is: a bias, a norm's scale."""
        if value.is_meta:
            return self.op("ConstantOfShape", self.integers(*value.shape))
        return self.constant(name, value.detach().numpy())

    def conv_weight(self, name: str, value: Tensor) -> str:
        """A conv weight, stored in the file's precision, which must hold it exactly."""
        if self._precision == "fp32" or value.is_meta:
            return self.weight(name, value)
        array = value.detach().numpy()
        stored = array.astype(np.float16)
        if not np.array_equal(stored.astype(np.float32), array):
            raise ValueError(f"{name} must be rounded to float16 before it is written as such")
        return self.op("Cast", self.constant(name, stored), to=TensorProto.FLOAT)

    def model(self, producer_version: str) -> onnx.ModelProto:
        """The finished, checked model."""
        constants = list(self._constants.values())
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="petrt",
            producer_version=producer_version,
        )
        onnx.checker.check_model(model, full_check=True)
        return model
