"""Counting one ONNX graph: small ones by hand, and everything that must be refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from petrt.errors import InputError
from petrt.flops.graph import KEPT_VALUES, count_graph
from petrt.model.size import Count, ModelCount

Dims = Sequence[int | str]
rng = np.random.default_rng(0)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def graph(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Dims],
    outputs: dict[str, Dims],
    kinds: dict[str, int] | None = None,
    **constants: np.ndarray,
) -> onnx.ModelProto:
    def values(dims: dict[str, Dims]) -> list[onnx.ValueInfoProto]:
        kind = kinds or {}
        return [
            helper.make_tensor_value_info(name, kind.get(name, TensorProto.FLOAT), each)
            for name, each in dims.items()
        ]

    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "test", values(inputs), values(outputs), stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def f32(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def test_convolution_by_hand():
    conv = node("Conv", "x w b", "y", strides=[2, 2], pads=[1, 1, 1, 1])
    model = graph(
        [conv],
        {"x": ["slices", 3, "height", "width"]},
        {"y": ["slices", 5, "height/2", "width/2"]},
        w=f32(5, 3, 3, 3), b=f32(5),
    )  # fmt: skip
    work = count_graph(model, {"slices": 2, "height": 8, "width": 12})
    # 2 slices of 4 x 6 positions, 5 channels of 3 * 9 products each
    assert work.count == Count(parameters=5 * 27 + 5, macs=2 * 4 * 6 * 5 * 27)
    assert work.weight_bytes == 4 * (5 * 27 + 5)
    assert work.input_bytes == 4 * 2 * 3 * 8 * 12
    assert work.output_bytes == 4 * 2 * 5 * 4 * 6
    assert work.bytes == work.weight_bytes + work.input_bytes + work.output_bytes


def test_groups_of_a_convolution_see_their_own_channels():
    depthwise = node("Conv", "x w", "y", group=6, pads=[1, 1, 1, 1])
    model = graph([depthwise], {"x": [1, 6, 8, 8]}, {"y": [1, 6, 8, 8]}, w=f32(6, 1, 3, 3))
    assert count_graph(model, {}).count == Count(parameters=54, macs=64 * 6 * 9)


def test_transposed_convolution_does_four_ninths_of_nearest_and_convolution():
    scales = np.array([1, 1, 2, 2], np.float32)
    spread = graph(
        [node("ConvTranspose", "x w b", "y", strides=[2, 2], pads=[1, 1, 1, 1])],
        {"x": [1, 7, 8, 8]}, {"y": [1, 5, 16, 16]}, w=f32(7, 5, 4, 4), b=f32(5),
    )  # fmt: skip
    resize = helper.make_node("Resize", ["x", "", "scales"], ["h"], mode="nearest")
    nearest = graph(
        [resize, node("Conv", "h w b", "y", pads=[1, 1, 1, 1])],
        {"x": [1, 7, 8, 8]}, {"y": [1, 5, 16, 16]}, w=f32(5, 7, 3, 3), b=f32(5), scales=scales,
    )  # fmt: skip
    few, many = count_graph(spread, {}).count, count_graph(nearest, {}).count
    assert few.macs == 8 * 8 * 7 * 5 * 16
    assert many.macs == 16 * 16 * 5 * 7 * 9
    assert 9 * few.macs == 4 * many.macs
    assert many.parameters == 5 * 7 * 9 + 5  # the scales are no parameter


@pytest.mark.parametrize(
    ("made", "x", "w"),
    [
        (node("MatMul", "x w", "y"), (4, 6), (6, 10)),
        (node("Gemm", "x w", "y"), (4, 6), (6, 10)),
        (node("Gemm", "x w", "y", transB=1), (4, 6), (10, 6)),
        (node("Gemm", "x w", "y", transA=1), (6, 4), (6, 10)),
        (node("Einsum", "x w", "y", equation="ik, kj -> ij"), (4, 6), (6, 10)),
    ],
    ids=["MatMul", "Gemm", "transB", "transA", "Einsum"],
)
def test_matrix_products_with_a_weight_and_of_two_values(made, x, w):
    linear = graph([made], {"x": x}, {"y": (4, 10)}, w=f32(*w))
    assert count_graph(linear, {}).count == Count(parameters=60, macs=4 * 6 * 10)
    mutual = graph([made], {"x": x, "w": w}, {"y": (4, 10)})
    assert count_graph(mutual, {}).count == Count(attention_macs=4 * 6 * 10)


def test_batched_product_of_two_values():
    model = graph(
        [node("MatMul", "q k", "y")], {"q": ["n", 5, 7], "k": ["n", 7, 5]}, {"y": ["n", 5, 5]}
    )
    assert count_graph(model, {"n": 3}).count == Count(attention_macs=3 * 5 * 7 * 5)


def test_group_norm_as_the_exporter_writes_it():
    """Neutral scale and shift of the statistics are no parameters; the behind ones are the norm's."""
    nodes = [
        node("Reshape", "x groups", "g"),
        node("InstanceNormalization", "g ones zeros", "n"),
        node("Shape", "x", "shape"),
        node("Reshape", "n shape", "r"),
        node("Mul", "r weight", "m"),
        node("Add", "m bias", "a"),
        node("Mul", "a factor", "f"),  # a number, no parameter
        node("Add", "f free", "y"),  # of no norm
    ]
    dims: dict[str, Dims] = {"x": ["n", 4, "height", "width"]}
    constants = {
        "groups": np.array([0, 2, -1]), "ones": np.ones(2, np.float32), "zeros": f32(2) * 0,
        "weight": f32(4, 1, 1), "bias": f32(4, 1, 1), "factor": np.array(0.5, np.float32),
        "free": f32(4, 1, 1),
    }  # fmt: skip
    model = graph(nodes, dims, {"y": dims["x"]}, **constants)
    work = count_graph(model, {"n": 2, "height": 8, "width": 8})
    assert work.count == Count(parameters=12, norm_parameters=8)
    constants["ones"] = f32(2)
    model = graph(nodes, dims, {"y": dims["x"]}, **constants)
    work = count_graph(model, {"n": 2, "height": 8, "width": 8})
    assert work.count == Count(parameters=14, norm_parameters=10)


def test_a_weight_that_widens_is_a_linear_layer_of_one_input():
    nodes = [node("Mul", "level w", "m"), node("Add", "m b", "y")]
    model = graph(
        nodes, {"level": ["n", 1, 1, 1]}, {"y": ["n", 8, 1, 1]}, w=f32(8, 1, 1), b=f32(8, 1, 1)
    )
    assert count_graph(model, {"n": 1}).count == Count(parameters=16, macs=8)
    assert count_graph(model, {"n": 3}).count == Count(parameters=16, macs=24)


def test_a_shared_weight_is_one_parameter_and_two_products():
    nodes = [node("MatMul", "x w", "h"), node("MatMul", "h w", "y")]
    model = graph(nodes, {"x": [3, 6]}, {"y": [3, 6]}, w=f32(6, 6))
    assert count_graph(model, {}).count == Count(parameters=36, macs=2 * 3 * 36)


def test_stored_types_do_not_change_the_count_but_the_bytes():
    narrow = graph(
        [node("Cast", "w16", "w", to=TensorProto.FLOAT), node("MatMul", "x w", "y")],
        {"x": [3, 6]}, {"y": [3, 8]}, w16=f32(6, 8).astype(np.float16),
    )  # fmt: skip
    work = count_graph(narrow, {})
    assert work.count == Count(parameters=48, macs=3 * 48)
    assert work.weight_bytes == 4 * 48  # it is computed with as float32


def test_weights_may_be_shapes_alone():
    made = helper.make_node("ConstantOfShape", ["shape"], ["w"])
    model = graph(
        [made, node("MatMul", "x w", "y")], {"x": [3, 6]}, {"y": [3, 8]}, shape=np.array([6, 8])
    )
    work = count_graph(model, {})
    assert work.count == Count(parameters=48, macs=3 * 48)
    assert work.weight_bytes == 4 * 48


def test_what_is_known_when_the_model_is_loaded_costs_nothing():
    nodes = [node("MatMul", "a b", "w"), node("Add", "x w", "y")]
    model = graph(nodes, {"x": [3, 8]}, {"y": [3, 8]}, a=f32(3, 6), b=f32(6, 8))
    assert count_graph(model, {}).count.macs == 0


def test_the_model_given_is_left_as_it_is():
    model = graph([node("MatMul", "x w", "y")], {"x": ["n", 80]}, {"y": ["n", 80]}, w=f32(80, 80))
    assert KEPT_VALUES < 80 * 80
    before = model.SerializeToString()
    assert count_graph(model, {"n": 1}) == count_graph(before, {"n": 1})
    assert model.SerializeToString() == before


def refusal(model: onnx.ModelProto | bytes, **dimensions: int) -> str:
    with pytest.raises(InputError) as error:
        count_graph(model, dimensions, "here")
    assert error.value.exit_code == 3
    assert error.value.message.startswith("here")
    return str(error.value)


def test_operators_without_a_rule_are_refused():
    gru = graph([node("Erf", "x", "odd")], {"x": [3]}, {"odd": [3]})
    assert "operator Erf that makes odd" in refusal(gru)
    foreign = graph([node("Conv", "x w", "y", domain="com.microsoft")], {"x": [3]}, {"y": [3]})
    assert "com.microsoft.Conv" in refusal(foreign)


@pytest.mark.parametrize(
    ("equation", "result"),
    [("...k,kj->...j", [4, 4]), ("ij,jk,kl->il", [4, 4]), ("ij->ji", [4, 4])],
)
def test_sums_of_products_in_an_unknown_order_are_refused(equation, result):
    names = ["x", "y", "z"][: equation.count(",") + 1]
    made = helper.make_node("Einsum", names, ["e"], equation=equation)
    model = graph([made], {name: [4, 4] for name in names}, {"e": result})
    assert f"Einsum '{equation}' that makes e" in refusal(model)


def test_a_shape_that_stays_unknown_is_refused_by_name():
    nodes = [node("Reshape", "x target", "h"), node("Sigmoid", "h", "y")]
    kinds = {"target": int(TensorProto.INT64)}
    model = graph(nodes, {"x": [2, 6], "target": [2]}, {"y": [3, 4]}, kinds)
    assert "the shape of h stays unknown" in refusal(model)


def test_dimensions_that_nobody_set_or_that_do_not_divide_are_refused():
    model = graph([node("Sigmoid", "x", "y")], {"x": ["n/4"]}, {"y": ["n/4"]})
    assert "x has the unknown dimension n/4" in refusal(model)
    assert "x wants n/4, and n is 6; give a multiple of 4" in refusal(model, n=6)
    assert "x wants n/4, and n is 0" in refusal(model, n=0)
    assert count_graph(model, {"n": 8}).input_bytes == 8
    odd = graph([node("Sigmoid", "x", "y")], {"x": ["n/k"]}, {"y": ["n/k"]})
    assert "unknown dimension n/k" in refusal(odd, n=4)


def test_contradictions_and_rubbish_are_refused():
    halved = graph([node("Sigmoid", "x", "y")], {"x": [1, "height"]}, {"y": [1, "height/2"]})
    assert "shapes do not fit" in refusal(halved, height=8)
    mixed = graph([node("MatMul", "x w", "y")], {"x": [3, 6]}, {"y": [3, 8]}, w=f32(5, 8))
    assert "shapes do not fit" in refusal(mixed)
    assert "not an ONNX model" in refusal(b"\xff\xff\xff")


def test_totals_of_a_model():
    count = ModelCount(
        guidance=Count(10, 1, 100), coarse=Count(20, 2, 1000, 5), denoiser=Count(30, 3, 7, 2),
        noise_bias=4,
    )  # fmt: skip
    total = count.total(steps=10, samples=8)
    assert total == Count(64, 6, 1100 + 80 * 7, 5 + 80 * 2)
    assert total.table_parameters == 58
    assert total.flops == 2 * (1660 + 165)
