"""Networks in 8 bit: what is rounded and how far, what stays float32, and that no product overflows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from petrt.build import quantize as module
from petrt.build.quantize import (
    LIMITS,
    Range,
    convolutions,
    quantize,
    quantize_weight,
    weight_bits,
)
from petrt.bundle import GRAPHS, Bundle, load_bundle
from petrt.errors import InputError

FEW = 20.0  # of the tiny networks' convolutions, the larger half


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return load_bundle("demo")


@pytest.fixture
def worth(monkeypatch) -> None:
    monkeypatch.setattr(module, "WORTH", FEW)


def any_ranges(model: bytes, graph: str) -> dict[str, Range]:
    layers = convolutions(model, graph)
    return {name: Range(-1.5, 4.0) for each in layers for name in (each.source, each.result)}


def graph_of(model: bytes) -> onnx.GraphProto:
    return onnx.load_model_from_string(model).graph


def constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def convs(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == "Conv"]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1))
def test_a_range_has_zero_on_its_grid_and_holds_its_values_within_a_step(one, two, part):
    grid = Range(min(one, two), max(one, two))
    assert 0 <= grid.zero_point <= 255
    value = grid.low + part * (grid.high - grid.low)
    coded = np.clip(np.rint(value / grid.scale) + grid.zero_point, 0, 255)
    back = (coded - grid.zero_point) * grid.scale
    # Half a step by rounding; at the ends up to half a step more, because the zero point is whole.
    assert abs(back - value) <= grid.scale * 1.0001


@pytest.mark.parametrize("bits", [7, 8])
def test_weights_are_within_half_a_step_of_their_channel(bits):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((6, 5, 3, 3)).astype(np.float32)
    weight *= np.float32(10.0) ** np.arange(-3, 3)[:, None, None, None]
    weight[2] = 0
    coded, scale = quantize_weight(weight, bits)
    assert (coded.dtype, scale.dtype, scale.shape) == (np.int8, np.float32, (6,))
    error = np.abs(coded * scale[:, None, None, None].astype(np.float64) - weight)
    assert (error.max(axis=(1, 2, 3)) <= 0.5001 * scale).all()
    largest = np.abs(coded.astype(int)).max(axis=(1, 2, 3))
    assert list(largest) == [LIMITS[bits]] * 2 + [0] + [LIMITS[bits]] * 3


@pytest.mark.parametrize(
    ("isa", "bits"),
    [
        (("x86_64", "avx2"), 7),
        (("x86_64", "avx2", "avx512f"), 7),
        (("x86_64",), 7),
        (("amd64", "avx2", "avx_vnni"), 8),
        (("x86_64", "avx2", "avx512f", "avx512_vnni"), 8),
        (("aarch64", "asimd"), 8),
        (("arm64",), 8),
    ],
)
def test_seven_bits_where_products_would_overflow(isa, bits):
    assert weight_bits(isa) == bits


@pytest.mark.usefixtures("worth")
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("results", [True, False])
def test_worthy_convolutions_alone_are_quantized_and_the_interface_stays(tiny, graph, results):
    model = tiny.onnx(graph)
    made = graph_of(quantize(model, graph, any_ranges(model, graph), results=results))
    source = graph_of(model)
    assert (list(made.input), list(made.output)) == (list(source.input), list(source.output))
    producers = {name: node for node in made.node for name in node.output}
    readers = {name: node for node in made.node for name in node.input}
    layers = convolutions(model, graph)
    assert 0 < sum(layer.worth for layer in layers) < len(layers)
    for layer, node in zip(layers, convs(made), strict=True):
        into, weight = producers.get(node.input[0]), producers.get(node.input[1])
        coded = weight is not None and weight.op_type == "DequantizeLinear"
        assert coded is layer.worth
        if not layer.worth:
            assert node.output[0] == layer.result
            continue
        assert into.op_type == "DequantizeLinear"
        rounded = readers.get(node.output[0])
        assert (rounded is not None and rounded.op_type == "QuantizeLinear") is results
        assert (producers[layer.result].op_type == "DequantizeLinear") is results


@pytest.mark.usefixtures("worth")
def test_stored_weights_and_biases_are_those_of_the_layer(tiny):
    model = tiny.onnx("coarse")
    ranges = any_ranges(model, "coarse")
    before, after = (
        constants(graph_of(model)),
        constants(graph_of(quantize(model, "coarse", ranges, bits=7))),
    )
    layers = [layer for layer in convolutions(model, "coarse") if layer.worth]
    for layer in layers:
        coded, scale = (after[f"{layer.name}.weight.{part}"] for part in ("int8", "scale"))
        assert np.abs(coded.astype(int)).max() == 64
        steps = scale[:, None, None, None]
        assert np.abs(coded * steps - layer.weight).max() <= 0.5001 * scale.max()
        assert f"{layer.name}.weight" not in after
        bias, step = (after[f"{layer.name}.bias.{part}"] for part in ("int32", "scale"))
        np.testing.assert_allclose(step, scale * ranges[layer.source].scale, rtol=1e-6)
        assert (np.abs(bias * step - before[f"{layer.name}.bias"]) <= 0.501 * step).all()


@pytest.mark.usefixtures("worth")
def test_layers_that_are_kept_stay_as_they_were(tiny):
    model = tiny.onnx("denoiser")
    ranges = any_ranges(model, "denoiser")
    worthy = [layer.name for layer in convolutions(model, "denoiser") if layer.worth]
    made = graph_of(quantize(model, "denoiser", ranges, keep=worthy[:2]))
    stored = constants(made)
    for name in worthy[:2]:
        np.testing.assert_array_equal(
            stored[f"{name}.weight"], constants(graph_of(model))[f"{name}.weight"]
        )
        assert f"{name}.weight.int8" not in stored
    assert all(f"{name}.weight.int8" in stored for name in worthy[2:])
    assert quantize(model, "denoiser", ranges, keep=worthy) == model


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_same_graph_gives_the_same_bytes_smaller_than_before(demo, graph):
    model = demo.onnx(graph)  # weights in float16 behind Casts
    made = [quantize(model, graph, any_ranges(model, graph)) for _ in range(2)]
    assert made[0] == made[1]
    assert len(made[0]) < len(model)
    read = {name for node in graph_of(made[0]).node for name in node.input}
    assert {t.name for t in graph_of(made[0]).initializer} <= read
    casts = [node for node in graph_of(made[0]).node if node.op_type == "Cast"]
    assert len(casts) == sum(not layer.worth for layer in convolutions(model, graph))


def one_conv(weight: np.ndarray, groups: int = 1) -> bytes:
    """x -> Conv -> y."""
    out, into, size, _ = weight.shape
    shape = ["n", into * groups, 8, 8]
    node = helper.make_node(
        "Conv", ["x", "layer.weight"], ["y"], kernel_shape=[size, size], pads=[size // 2] * 4,
        group=groups,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", out, 8, 8])],
        [numpy_helper.from_array(weight, "layer.weight")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def test_the_largest_products_do_not_overflow_in_onnx_runtime():
    """Every activation at 255, every weight at the limit: each sum is the largest there can be."""
    from petrt.engines.installed import cpu_here

    bits = weight_bits(cpu_here().isa)
    weight = np.full((32, 32, 3, 3), LIMITS[bits], np.float32)
    weight[16:] *= -1
    x = np.full((1, 32, 8, 8), 255, np.float32)
    exact = run(one_conv(weight), x)
    largest = float(exact.max())
    ranges = {"x": Range(0, 255), "y": Range(-largest, largest)}
    found = run(quantize(one_conv(weight), "one", ranges, bits=bits), x)
    assert np.abs(found - exact).max() <= 1.01 * largest / 255


@pytest.mark.parametrize("results", [True, False])
def test_what_onnx_runtime_computes_is_the_convolution_of_the_rounded(results):
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((24, 24, 3, 3)).astype(np.float32)
    x = rng.standard_normal((2, 24, 8, 8)).astype(np.float32)
    model, grid = one_conv(weight), Range(float(x.min()), float(x.max()))
    y = run(model, x)
    ranges = {"x": grid, "y": Range(float(y.min()), float(y.max()))}
    coded, scale = quantize_weight(weight, 7)
    rounded = (np.rint(x / grid.scale)).astype(np.float32) * np.float32(grid.scale)
    exact = run(one_conv((coded * scale[:, None, None, None]).astype(np.float32)), rounded)
    found = run(quantize(model, "one", ranges, bits=7, results=results), x)
    most = 0.51 * ranges["y"].scale if results else 1e-3
    inside = (exact > y.min()) & (exact < y.max())
    assert np.abs(found - exact)[inside].max() <= most


def test_graphs_of_others_are_refused():
    weight = np.ones((4, 1, 3, 3), np.float32)
    with pytest.raises(InputError, match="no rule for the convolution"):
        convolutions(one_conv(weight, groups=4), "denoiser")
    with pytest.raises(InputError, match="not a valid ONNX graph"):
        convolutions(b"\x08", "denoiser")
