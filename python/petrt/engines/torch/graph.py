"""A bundle's ONNX graph as a torch module, for fixed shapes.

With the shapes of the inputs known, all arithmetic of shapes becomes plain numbers, so the module is
a straight line of tensor operations: it runs eagerly as it is, and torch.compile sees static shapes
and nothing to break the graph. Three forms that our exporter spells out are put back together, each
at least as exact as its parts: GroupNorm (statistics, scale and shift in float32), SiLU, attention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from petrt.engines.torch.module import DTYPES, OPERATORS, ModuleWriter, Shape, Value
from petrt.errors import InputError
from petrt.model.group_norm import Norm


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Single-head attention of [B, C, L] tensors, softmax in float32; [B, C, L]."""
    q, k, v = (t.transpose(1, 2).unsqueeze(1) for t in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, scale=scale).squeeze(1).transpose(1, 2)


@dataclass(frozen=True)
class _Form:
    """A recognised form: the values it reads, and how to compute its result from them."""

    kind: str
    inputs: tuple[str, ...]
    write: Callable[..., Any]


class TorchGraph:
    """One ONNX graph: its interface, its weights on a device, and modules for given shapes.

    ``inputs``, ``outputs``: name -> shape with strings for dynamic dimensions. ``dtypes``: of both.
    ``forms``: how often each form or operator is computed. ``norm``: what computes GroupNorms. Raises
    InputError for an operator that our exporter does not write.
    """

    def __init__(
        self, model: bytes, where: str, device: torch.device, norm: Norm = F.group_norm
    ) -> None:
        graph = onnx.load_model_from_string(model).graph
        self._where, self._device, self._norm = where, device, norm
        self.inputs, self.outputs = (_dims(values) for values in (graph.input, graph.output))
        self.dtypes = {v.name: self._dtype(v.type.tensor_type.elem_type, v.name)
                       for v in (*graph.input, *graph.output)}  # fmt: skip
        self._constants: dict[str, Tensor | list[int]] = {
            tensor.name: self._constant(tensor) for tensor in graph.initializer
        }
        self._producer = {name: node for node in graph.node for name in node.output}
        self._fold_casts(graph.node)
        self._plan = self._needed(graph.node)
        self.forms = Counter(form.kind for _, form in self._plan)

    def module(self, shapes: Mapping[str, Shape], dtypes: Mapping[str, torch.dtype]) -> nn.Module:
        """A module that takes all inputs, then all outputs to write into, in the graph's order.

        ``shapes`` and ``dtypes`` of these buffers; a buffer may be wider than the graph's own dtype.
        """
        writer = ModuleWriter(self._where, self._device)
        buffers = {
            name: writer.placeholder(shapes[name], dtypes[name])
            for name in (*self.inputs, *self.outputs)
        }
        values: dict[str, Value] = {"": None, **self._constants}
        for name in self.inputs:
            kind = self.dtypes[name]
            same = dtypes[name] == kind
            values[name] = buffers[name] if same else writer.call(Tensor.to, buffers[name], kind)
        for node, form in self._plan:
            result = form.write(writer, *(values[name] for name in form.inputs))
            results = result if isinstance(result, tuple) else (result,)
            values.update(zip(node.output, results, strict=True))
        for name in self.outputs:
            if writer.shape(values[name]) != list(shapes[name]):
                raise InputError(
                    f"{self._where}: {name} is of shape {writer.shape(values[name])}, "
                    f"its buffer of {list(shapes[name])}"
                )
            writer.write_to(buffers[name], values[name])
        return writer.module()

    def _fold_casts(self, nodes: Sequence[NodeProto]) -> None:
        """Weights stored as float16 behind a Cast are constants too."""
        for node in nodes:
            source = self._constants.get(node.input[0]) if node.op_type == "Cast" else None
            if isinstance(source, Tensor):
                self._constants[node.output[0]] = source.to(
                    self._dtype(_attributes(node)["to"], "")
                )

    def _needed(self, nodes: Sequence[NodeProto]) -> list[tuple[NodeProto, _Form]]:
        """What to compute, in order: forms where they match, else operators; nothing unread."""
        read, plan = set(self.outputs), []
        for node in reversed(nodes):
            if read.isdisjoint(node.output) or node.output[0] in self._constants:
                continue
            form = self._group_norm(node) or self._silu(node) or self._attention(node)
            form = form or self._operator(node)
            read.update(form.inputs)
            plan.append((node, form))
        return plan[::-1]

    def _operator(self, node: NodeProto) -> _Form:
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            raise InputError(
                f"{self._where}: the torch engine has no operator {node.op_type}",
                "use --engine onnxruntime, or export the model again",
            )
        write, attributes = OPERATORS[node.op_type], _attributes(node)

        def run(w: ModuleWriter, *inputs: Value) -> Any:
            return write(w, attributes, *inputs)

        return _Form(node.op_type, tuple(node.input), run)

    def _group_norm(self, node: NodeProto) -> _Form | None:
        """Reshape to groups, InstanceNormalization, Reshape back, Mul and Add by channel."""
        bias, shifted = self._by_constant(node, "Add")
        weight, scaled = self._by_constant(self._through(shifted, "Mul"), "Mul")
        back = self._through(scaled, "Reshape")
        norm = back and self._through(back.input[0], "InstanceNormalization")
        split = norm and self._through(norm.input[0], "Reshape")
        if bias is None or weight is None or not (back and norm and split):
            return None
        x, shape = self._bare(split.input[0]), self._through(back.input[1], "Shape")
        ones, zeros = (self._constants.get(name) for name in norm.input[1:3])
        groups = self._constants.get(split.input[1])
        if (
            not (isinstance(ones, Tensor) and isinstance(zeros, Tensor))
            or not (bool((ones == 1).all()) and bool((zeros == 0).all()))
            or not (isinstance(groups, list) and len(groups) == 3 and groups[::2] == [0, -1])
            or shape is None or self._bare(shape.input[0]) != x
            or weight.shape != bias.shape or weight.shape[1:] != (1, 1)
        ):  # fmt: skip
            return None
        eps = _attributes(norm).get("epsilon", 1e-5)
        wide = (weight.float().flatten(), bias.float().flatten())

        compute, dtype = self._norm, bias.dtype

        def rounded(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            """GroupNorm in float32, rounded once."""
            return compute(x.float(), groups[1], weight, bias, eps).to(dtype)

        def write(w: ModuleWriter, x: Value) -> Value:
            return w.call(rounded, x, *wide)

        return _Form("GroupNorm", (x,), write)

    def _silu(self, node: NodeProto) -> _Form | None:
        for h, other in (node.input[:2], node.input[1::-1]) if node.op_type == "Mul" else ():
            sigmoid = self._through(other, "Sigmoid", casts=False)
            if sigmoid is not None and sigmoid.input[0] == h:
                return _Form("SiLU", (h,), lambda w, x: w.call(F.silu, x))
        return None

    def _attention(self, node: NodeProto) -> _Form | None:
        """value @ softmax(scale * query' @ key)' of [B, C, L] tensors."""
        if node.op_type != "MatMul":
            return None
        turned = self._through(node.input[1], "Transpose")
        softmax = turned and self._through(turned.input[0], "Softmax")
        scale, product = self._by_constant(
            self._through(softmax.input[0], "Mul") if softmax else None, "Mul"
        )
        logits = self._through(product, "MatMul")
        query = logits and self._through(logits.input[0], "Transpose")
        if not (turned and softmax and logits and query) or scale is None or scale.numel() != 1:
            return None
        swaps = [_attributes(n).get("perm") == [0, 2, 1] for n in (turned, query)]
        if not all(swaps) or _attributes(softmax).get("axis", -1) not in (2, -1):
            return None
        factor = float(scale)
        names = (query.input[0], logits.input[1], node.input[0])
        return _Form("Attention", names, lambda w, *qkv: w.products(attention, *qkv, factor))

    def _by_constant(self, node: NodeProto | None, kind: str) -> tuple[Tensor | None, str]:
        """The constant of a two-sided operator ``kind`` and the name of its other side."""
        for i, name in enumerate(node.input if node and node.op_type == kind else ()):
            value = self._constants.get(name)
            if node and isinstance(value, Tensor):
                return value, node.input[1 - i]
        return None, ""

    def _through(self, name: str, kind: str, casts: bool = True) -> NodeProto | None:
        """The node of ``kind`` that computes ``name``, Casts between them ignored."""
        node = self._producer.get(self._bare(name) if casts else name)
        return node if node is not None and node.op_type == kind else None

    def _bare(self, name: str) -> str:
        """The value that ``name`` is cast from: a form computes in float32 and rounds once."""
        node = self._producer.get(name)
        while node is not None and node.op_type == "Cast":
            name = node.input[0]
            node = self._producer.get(name)
        return name

    def _dtype(self, kind: int, name: str) -> torch.dtype:
        if kind not in DTYPES:
            known = helper.tensor_dtype_to_np_dtype(kind) if kind else "no type"
            raise InputError(f"{self._where}: the torch engine does not take {name} of {known}")
        return DTYPES[kind]

    def _constant(self, tensor: TensorProto) -> Tensor | list[int]:
        array = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.INT64:
            return [int(n) for n in array.reshape(-1)]
        dtype = self._dtype(tensor.data_type, tensor.name)
        bits = np.array(array).view(np.uint16 if dtype == torch.bfloat16 else array.dtype)
        value = torch.from_numpy(bits).view(dtype).to(self._device)
        channels_last = value.dim() == 4 and self._device.type == "cuda"
        return value.to(memory_format=torch.channels_last) if channels_last else value


def _dims(values: Sequence[onnx.ValueInfoProto]) -> dict[str, list[Any]]:
    return {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values
    }


def _attributes(node: NodeProto) -> dict[str, Any]:
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}
