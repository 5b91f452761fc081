"""Networks in 16 bit: types where they belong, the same function within rounding, the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from petrt.errors import InputError
from petrt.export.bundle import rounded
from petrt.export.folding.fold import fold
from petrt.export.graphs import check as verify
from petrt.export.graphs.networks import write_networks
from petrt.model import half_precision as module
from petrt.model.half_precision import Precision
from petrt.model.network import Network
from petrt.model.to_onnx import to_onnx
from tests.export.conftest import NETWORKS, scrambled

NARROW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
# Largest error over largest value; at most 3.4e-3 and 2.6e-2 were measured on these networks.
TOLERANCE = {"fp16": 6e-3, "bf16": 5e-2}
WIDE_NAMES = {"r", "eps", "x", "x_cp", "nas", "spectrum", "dose", "film"}

narrow = pytest.mark.parametrize("precision", ["fp16", "bf16"])
networks = pytest.mark.parametrize("network", list(NETWORKS))


@cache
def sources(network: str, weights: str = "fp32") -> dict[str, Network]:
    """The steps of one of NETWORKS, as a bundle holds them."""
    folded = fold(scrambled(NETWORKS[network]))
    if weights == "fp16-weights":
        with torch.no_grad():
            folded = rounded(folded)
    return write_networks(folded, NETWORKS[network], weights)  # type: ignore[arg-type]


@cache
def values(network: str) -> dict[str, NDArray[np.float32]]:
    model = scrambled(NETWORKS[network])
    with torch.no_grad():
        found = verify.run_folded(
            model, fold(model), verify.probe(model, *verify.sizes(model)[0], torch.float32)
        )
    return {name: value.numpy() for name, value in found.items()}


def converted(
    network: str, precision: Precision, weights: str = "fp32"
) -> dict[str, onnx.ModelProto]:
    found = sources(network, weights).items()
    return {name: to_onnx(source, precision) for name, source in found}


def types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every value of the graph."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input)}
    found |= {v.name: v.type.tensor_type.elem_type for v in graph.output}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


@networks
@narrow
def test_operators_run_in_their_type(network: str, precision: Precision) -> None:
    seen = Counter[str]()
    for model in converted(network, precision).values():
        kinds = types(model)
        for node in model.graph.node:
            seen[node.op_type] += 1
            if node.op_type in ("InstanceNormalization", "Softmax"):
                assert {kinds[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT}
            if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Concat", "Resize"):
                data = node.input[:1] if node.op_type == "Resize" else node.input
                found = {kinds[name] for name in (*data, *node.output)}
                assert found == {NARROW[precision]} or found == {TensorProto.INT64}
    assert min(seen["InstanceNormalization"], seen["Softmax"], seen["Conv"], seen["MatMul"]) > 0


@networks
@narrow
def test_interface(network: str, precision: Precision) -> None:
    """Images and noise biases stay float32; what passes from network to network is 16 bit."""
    before = converted(network, "fp32")
    for name, model in converted(network, precision).items():
        for part in ("input", "output"):
            for old, new in zip(
                getattr(before[name].graph, part), getattr(model.graph, part), strict=True
            ):
                wide = new.name in WIDE_NAMES
                expected = TensorProto.FLOAT if wide else NARROW[precision]
                assert new.type.tensor_type.elem_type == expected
                assert new.name == old.name
                assert new.type.tensor_type.shape == old.type.tensor_type.shape


@networks
@narrow
def test_no_cast_is_useless(network: str, precision: Precision) -> None:
    """No value is cast twice to one type, none to its own type, and none back and forth."""
    for model in converted(network, precision).values():
        kinds = types(model)
        casts = {n.output[0]: n for n in model.graph.node if n.op_type == "Cast"}
        asked = [(n.input[0], helper.get_node_attr_value(n, "to")) for n in casts.values()]
        assert len(set(asked)) == len(asked)
        for source, kind in asked:
            assert kinds[source] != kind
            assert source not in casts
        used = {name for node in model.graph.node for name in node.input}
        assert set(casts) <= used | {value.name for value in model.graph.output}
        assert {tensor.name for tensor in model.graph.initializer} <= used


@narrow
def test_norm_and_silu_round_once(precision: Precision) -> None:
    """Scale, shift and SiLU behind a norm are float32: the first 16-bit value is the conv's input."""
    model = converted("none", precision)["coarse"]
    kinds = types(model)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    followed = set()
    for norm in norms:
        value, path = norm.output[0], []
        while kinds[value] == TensorProto.FLOAT:
            node = next(n for n in readers[value] if n.op_type != "Sigmoid")
            path.append(node.op_type)
            value = node.output[0]
        followed.add(tuple(path))
    # The second form is the norm of an attention, which has no SiLU.
    assert followed == {("Reshape", "Mul", "Add", "Mul", "Cast"), ("Reshape", "Mul", "Add", "Cast")}


@narrow
def test_scores_of_an_attention_are_scaled_in_float32(precision: Precision) -> None:
    model = converted("none", precision)["coarse"]
    kinds, makers = types(model), {n.output[0]: n for n in model.graph.node}
    softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
    for node in softmaxes:
        scaled = makers[node.input[0]]
        assert scaled.op_type == "Mul"
        assert kinds[scaled.output[0]] == TensorProto.FLOAT
        assert [makers[name].op_type for name in scaled.input if name in makers] == ["Cast"]
    assert softmaxes


@narrow
def test_the_dose_is_rounded_as_a_bias(precision: Precision) -> None:
    """Its logarithm and the products with it are float32; the first 16-bit value is added to the stem."""
    model = converted("dose", precision)["guidance"]
    kinds, makers = types(model), {n.output[0]: n for n in model.graph.node}
    extractors = 0
    for node in model.graph.node:
        cast = makers.get(node.input[-1]) if node.op_type == "Add" else None
        if cast is None or cast.op_type != "Cast":
            continue
        path, value = [], cast.input[0]
        while value in makers:
            assert kinds[value] == TensorProto.FLOAT
            path.append(makers[value].op_type)
            value = makers[value].input[0]
        if value == "dose":
            assert path == ["Add", "Mul", "Reshape", "Mul", "Log"]
            extractors += 1
    assert extractors == 4


@networks
@narrow
def test_computes_the_network(network: str, precision: Precision) -> None:
    """ONNX's own evaluator runs each operator in its type, and rounds after each."""
    known = values(network)
    for name, model in converted(network, precision).items():
        for output, found in evaluate(model, known).items():
            error = verify.relative_error(found, known[output])
            assert 0 < error < TOLERANCE[precision], f"{name} {output}"


def evaluate(
    model: onnx.ModelProto, known: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.input}
    feed = {
        name: known[name].astype(helper.tensor_dtype_to_np_dtype(kind))
        for name, kind in kinds.items()
    }
    names = [value.name for value in model.graph.output]
    results = ReferenceEvaluator(model).run(names, feed)
    return {n: np.asarray(r).astype(np.float32) for n, r in zip(names, results, strict=True)}


@narrow
def test_opset_and_size(precision: Precision) -> None:
    """bfloat16 convolutions need opset 22; float16 stays readable by all that read the bundle."""
    for name, model in converted("nas+spectrum", precision).items():
        onnx.checker.check_model(model, full_check=True)
        expected = (17, 8) if precision == "fp16" else (22, 10)
        assert (model.opset_import[0].version, model.ir_version) == expected
        source = to_onnx(sources("nas+spectrum")[name])
        weights = [sum(len(t.raw_data) for t in m.graph.initializer) for m in (source, model)]
        assert weights[1] < 0.7 * weights[0]


@narrow
def test_weights_stored_either_way_give_one_function(precision: Precision) -> None:
    """Rounded weights kept as float32 or as float16 with a Cast: the same graph but for names."""
    network = "nas+spectrum"
    with torch.no_grad():
        plain = write_networks(
            rounded(fold(scrambled(NETWORKS[network]))), NETWORKS[network], "fp32"
        )
    for name, source in sources(network, "fp16-weights").items():
        one, other = to_onnx(plain[name], precision), to_onnx(source, precision)
        assert [n.op_type for n in one.graph.node] == [n.op_type for n in other.graph.node]
        known = values(network)
        a, b = evaluate(one, known), evaluate(other, known)
        assert all(np.array_equal(a[output], b[output]) for output in a)


# Both halves of a float32; the lower one at and around the ties.
uppers = st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7F80 != 0x7F80)
lowers = st.sampled_from([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]) | st.integers(0, 0xFFFF)


@given(st.lists(st.tuples(uppers, lowers), min_size=1, max_size=64))
def test_bfloat16_is_the_nearest(halves: list[tuple[int, int]]) -> None:
    array = np.array([high << 16 | low for high, low in halves], np.uint32).view(np.float32)
    expected = torch.from_numpy(array).to(torch.bfloat16).view(torch.int16).numpy()
    assert np.array_equal(module._bfloat16(array), expected.view(np.uint16))


def with_weight(value: float) -> Network:
    """A convolution whose first weight is ``value``."""
    source = sources("none")["coarse"]
    array = source.weights["input.weight"].copy()
    array.flat[0] = value
    return replace(source, weights={**source.weights, "input.weight": array})


@pytest.mark.parametrize(
    ("precision", "value"), [("fp16", 65520.0), ("fp16", -1e5), ("bf16", 3.3962e38)]
)
def test_weights_beyond_the_range_are_refused(precision: Precision, value: float) -> None:
    with pytest.raises(InputError, match=rf"coarse in {precision}: input\.weight holds .*range"):
        to_onnx(with_weight(value), precision)


@pytest.mark.parametrize(
    ("precision", "value", "stored"),
    [("fp16", 65519.0, 65504.0), ("bf16", 1e5, 99840.0), ("bf16", 3.3961e38, 3.3895e38)],
)
def test_weights_at_the_end_of_the_range_are_rounded(precision, value, stored):
    graph = to_onnx(with_weight(value), precision).graph
    tensor = next(t for t in graph.initializer if t.name == "input.weight")
    found = float(numpy_helper.to_array(tensor).astype(np.float32).flat[0])
    assert found == pytest.approx(stored, rel=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"input\.weight is not finite"):
        to_onnx(with_weight(value), "bf16")
