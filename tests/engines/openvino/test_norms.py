"""Group norms rewritten for OpenVINO: the same function, found wherever the exporter writes one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from petrt.engines.openvino.engine import import_openvino
from petrt.engines.openvino.norms import rewrite_norms
from petrt.model.bundle import GRAPHS, Bundle, load_bundle

EPS = 1e-5
ov = import_openvino()
core = ov.Core()


def norm_graph(
    channels: int, groups: int, *, scale: float = 1.0, other_shape: bool = False
) -> bytes:
    """x [N, C, H, W] -> its group norm, as the exporter writes it; and x itself."""
    constants = {
        "rows": np.array([0, groups, -1]),
        "scale": np.full(groups, scale, np.float32),
        "zero": np.zeros(groups, np.float32),
        "flat": np.array([0, channels, -1, 1]),
    }
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["in"]),
        helper.make_node("InstanceNormalization", ["in", "scale", "zero"], ["out"], epsilon=EPS),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Reshape", ["out", "flat" if other_shape else "shape"], ["y"]),
    ]
    dims = ["n", channels, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def group_norm(x: np.ndarray, groups: int) -> np.ndarray:
    """In float64."""
    rows = x.astype(np.float64).reshape(len(x), groups, -1)
    mean, var = rows.mean(-1, keepdims=True), rows.var(-1, keepdims=True)
    return ((rows - mean) / np.sqrt(var + EPS)).reshape(x.shape)


def run(model, x: np.ndarray) -> np.ndarray:
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


@pytest.mark.parametrize(("channels", "groups"), [(8, 8), (8, 4), (12, 4), (6, 1)])
def test_it_is_the_group_norm(channels, groups):
    """Of an image far from zero, too, where means of squares would lose every digit."""
    model = core.read_model(norm_graph(channels, groups))
    assert rewrite_norms(ov, model, groups=True) == 1
    assert (channels == groups) == ("MVN" in kinds(model))
    rng = np.random.default_rng(0)
    for shift, bar in ((0, 1e-5), (1000, 2e-3)):
        for shape in ((2, channels, 9, 7), (1, channels, 4, 4)):
            x = (shift + rng.standard_normal(shape)).astype(np.float32)
            assert np.abs(run(model, x) - group_norm(x, groups)).max() < bar


def test_a_constant_image_gives_zero():
    model = core.read_model(norm_graph(8, 4))
    rewrite_norms(ov, model, groups=True)
    assert np.abs(run(model, np.full((1, 8, 4, 4), 3, np.float32))).max() < 1e-3


def kinds(model) -> Counter:
    return Counter(node.get_type_name() for node in model.get_ordered_ops())


def test_only_norms_that_stay_one_operation():
    for channels, groups, count in ((8, 8, 1), (8, 4, 0)):
        model = core.read_model(norm_graph(channels, groups))
        assert rewrite_norms(ov, model, groups=False) == count
        assert kinds(model)["MVN"] == 1


@pytest.mark.parametrize("options", [{"scale": 2.0}, {"other_shape": True}])
def test_what_looks_different_is_left(options):
    model = core.read_model(norm_graph(8, 4, **options))
    before = kinds(model)
    assert rewrite_norms(ov, model, groups=True) == 0
    assert kinds(model) == before


@pytest.mark.parametrize("model", ["tiny", "demo"])
def test_every_norm_of_a_bundle_is_found(tiny: Bundle, model):
    bundle = tiny if model == "tiny" else load_bundle(model)
    for graph in GRAPHS:
        read = core.read_model(bundle.onnx(graph))
        norms = kinds(read)["MVN"]
        assert norms > 0
        assert rewrite_norms(ov, read, groups=True) == norms
