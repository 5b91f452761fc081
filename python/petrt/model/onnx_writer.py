"""Builds one ONNX graph, operator by operator, in float32 or in 16 bit.

The graph is written directly and not traced, since networks use only a dozen operators. The file does not
depend on a torch version, has plain names, and takes milliseconds to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from petrt.model.half_precision import WIDE_INTERFACE, Precision, check_finite, narrowed
from petrt.model.steps import Dims

# The oldest opset with all operators used, so every ONNX Runtime, OpenVINO and TensorRT in use reads it.
OPSET, IR_VERSION = 17, 8
# Conv, ConvTranspose and InstanceNormalization take bfloat16 from opset 22 on, which needs IR 10. All
# operators used here mean the same in both opsets.
BFLOAT16_OPSET, BFLOAT16_IR = 22, 10

FLOAT = int(TensorProto.FLOAT)
KINDS = {"fp32": FLOAT, "fp16": int(TensorProto.FLOAT16), "bf16": int(TensorProto.BFLOAT16)}


class GraphWriter:
    """One graph under construction. A value is a name; a method that adds a node returns its output's name.

    A value exists in each type in which it is read: the first version has its name, a Cast makes the
    other. ``wide`` asks for float32 in a 16-bit graph.
    """

    def __init__(self, name: str, precision: Precision = "fp32") -> None:
        self._name, self._precision = name, precision
        self._narrow = KINDS[precision]
        self._labels = {FLOAT: "fp32", self._narrow: precision}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: dict[str, onnx.ValueInfoProto] = {}
        self._versions: dict[str, dict[int, str]] = {}
        self._count = 0

    def input(self, name: str, dims: Dims) -> None:
        """An input; a string in ``dims`` is a dynamic dimension."""
        kind = self._interface(name)
        self._inputs.append(helper.make_tensor_value_info(name, kind, dims))
        self._versions[name] = {kind: name}

    def output(self, name: str, dims: Dims) -> None:
        """Declare an output. A later operator computes it."""
        self._outputs[name] = helper.make_tensor_value_info(name, self._interface(name), dims)

    def op(
        self, kind: str, *inputs: str, out: str = "", wide: bool = False, **attributes: Any
    ) -> str:
        """Add a node with one output, named ``out`` or after the node."""
        name = self._next(kind)
        return self._add(kind, name, inputs, [out or name], wide, attributes)[0]

    def split(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        """``value`` cut into pieces of the given sizes."""
        name = self._next("Split")
        outputs = [f"{name}.{i}" for i in range(len(sizes))]
        inputs = [value, self.integers(*sizes)]
        return self._add("Split", name, inputs, outputs, False, {"axis": axis})

    def shape(self, value: str, **attributes: Any) -> str:
        """The dimensions of ``value``, a vector of integers."""
        any_version = next(iter(self._versions[value].values()))
        name = self._next("Shape")
        self._nodes.append(
            helper.make_node("Shape", [any_version], [name], name=name, **attributes)
        )
        return name

    def join(self, *shapes: str) -> str:
        """The concatenation of vectors of integers."""
        name = self._next("Concat")
        self._nodes.append(helper.make_node("Concat", shapes, [name], name=name, axis=0))
        return name

    def integers(self, *values: int) -> str:
        """An int64 vector, for shapes, sizes and axes."""
        return self._constant("i" + "_".join(map(str, values)), np.array(values, np.int64))

    def scales(self, *values: float) -> str:
        """A float32 vector in every precision: the factors of a Resize."""
        return self._constant("scales", np.array(values, np.float32))

    def number(self, name: str, value: float) -> str:
        """A float32 number."""
        return self.weight(name, np.array(value, np.float32), wide=True)

    def fill(self, value: float, count: int) -> str:
        """A float32 vector of one repeated value."""
        return self.weight(f"fill_{value:g}_{count}", np.full(count, value, np.float32), wide=True)

    def weight(self, name: str, value: NDArray[np.float32], *, wide: bool = False) -> str:
        """A parameter. Raises InputError if it exceeds the range of 16 bit.

        In a float32 graph a float16 parameter is stored as float16 with a Cast after it: the file is
        half as large, the arithmetic stays float32."""
        kind = FLOAT if wide else self._narrow
        if kind != FLOAT:
            self._versions[name] = {kind: self._narrow_constant(name, value)}
        elif value.dtype == np.float16:
            return self.op("Cast", self._constant(name, value), to=FLOAT)
        else:
            if self._precision != "fp32":
                check_finite(value, f"{self._name} in {self._precision}: {name}")
            self._versions[name] = {FLOAT: self._constant(name, value)}
        return name

    def model(self, producer_version: str) -> onnx.ModelProto:
        """The finished, checked model."""
        outputs, constants = list(self._outputs.values()), list(self._constants.values())
        graph = helper.make_graph(self._nodes, self._name, self._inputs, outputs, constants)
        bfloat16 = self._precision == "bf16"
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", BFLOAT16_OPSET if bfloat16 else OPSET)],
            ir_version=BFLOAT16_IR if bfloat16 else IR_VERSION,
            producer_name="petrt",
            producer_version=producer_version,
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _interface(self, name: str) -> int:
        return FLOAT if name in WIDE_INTERFACE else self._narrow

    def _next(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count - 1}"

    def _add(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        outputs: list[str],
        wide: bool,
        attributes: dict[str, Any],
    ) -> list[str]:
        """Append a node that computes in one type, and the Casts of its inputs and outputs."""
        computed = FLOAT if wide else self._narrow
        made = [self._version(i, computed) if i in self._versions else i for i in inputs]
        results = []
        for output in outputs:
            same = self._outputs_kind(output, computed) == computed
            results.append(output if same else f"{output}.{self._labels[computed]}")
            self._versions[output] = {computed: results[-1]}
        self._nodes.append(helper.make_node(kind, made, results, name=name, **attributes))
        for output in outputs:
            self._version(output, self._outputs_kind(output, computed), output)
        return outputs

    def _outputs_kind(self, name: str, computed: int) -> int:
        """The type in which the value ``name`` has its plain name."""
        return self._interface(name) if name in self._outputs else computed

    def _version(self, value: str, kind: int, name: str = "") -> str:
        """``value`` in the type ``kind``; adds a Cast if it does not exist in that type yet."""
        versions = self._versions[value]
        if kind not in versions:
            source, made = next(iter(versions.values())), name or f"{value}.{self._labels[kind]}"
            self._nodes.append(
                helper.make_node("Cast", [source], [made], name=f"Cast_to_{made}", to=kind)
            )
            versions[kind] = made
        return versions[kind]

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant, stored once for all uses of its name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def _narrow_constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self._constants:
            what = f"{self._name} in {self._precision}: {name}"
            bits = narrowed(value.astype(np.float32, copy=False), self._precision, what)
            self._constants[name] = helper.make_tensor(
                name, self._narrow, value.shape, bits.tobytes(), raw=True
            )
        return name
