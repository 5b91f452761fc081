"""Networks as steps: files and ONNX are read back as they were, what does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings

from petrt.engines.native.steps import Unsupported, images_of, native_steps
from petrt.engines.torch.graph import TorchGraph
from petrt.errors import InputError
from petrt.export.folding.fold import fold
from petrt.export.graphs.check import relative_error
from petrt.export.graphs.networks import write_networks
from petrt.model.bundle import load_bundle
from petrt.model.from_onnx import read_onnx
from petrt.model.network import Network
from petrt.model.network_file import MAX_JSON_BYTES, from_files, to_files
from petrt.model.steps import Add, Concat, Conv, Step
from petrt.model.to_onnx import onnx_bytes
from tests.export.conftest import NETWORKS, scrambled
from tests.model.conftest import networks

SIZES = {"images": 4, "slices": 2, "height": 8, "width": 12}


def same(a: Network, b: Network) -> bool:
    """Equal in everything, weights to the bit."""
    if a.weights.keys() != b.weights.keys():
        return False
    return (a.name, a.inputs, a.outputs, a.steps) == (b.name, b.inputs, b.outputs, b.steps) and all(
        array.dtype == b.weights[name].dtype and np.array_equal(array, b.weights[name])
        for name, array in a.weights.items()
    )


@settings(max_examples=60, deadline=None)
@given(networks())
def test_files_are_read_back_as_they_were(network: Network) -> None:
    text, weights = to_files(network)
    again = from_files(network.name, text, weights, "here")
    assert same(again, network)
    assert to_files(again) == (text, weights)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_onnx_is_read_back_to_the_same_onnx(network: Network) -> None:
    """Values are then named after the nodes; all else is as it was."""
    data = onnx_bytes(network)
    again = read_onnx(data, network.name)
    assert onnx_bytes(again) == data
    assert [type(step) for step in again.steps] == [type(step) for step in network.steps]
    assert again.weights.keys() == network.weights.keys()


@settings(max_examples=25, deadline=None)
@given(networks())
def test_torch_computes_what_onnx_runtime_does(network: Network) -> None:
    import onnxruntime

    shapes = network.sized(SIZES)
    rng = np.random.default_rng(0)
    feed = {name: rng.uniform(0.1, 1, shapes[name]).astype(np.float32) for name in network.inputs}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(onnx_bytes(network), options, providers=providers)
    (expected,) = session.run(["eps"], {i.name: feed[i.name] for i in session.get_inputs()})
    graph = TorchGraph(network, "fp32", torch.device("cpu"))
    found = torch.empty(shapes["eps"])
    with torch.inference_mode():
        graph.module(shapes)(*map(torch.from_numpy, feed.values()), found)
    assert relative_error(found, expected) < 1e-4


@settings(max_examples=60, deadline=None)
@given(networks())
def test_native_steps_make_every_image_once_and_before_it_is_read(network: Network) -> None:
    if any(isinstance(step, Conv) and step.transposed for step in network.steps):
        with pytest.raises(Unsupported, match="ConvTranspose"):
            native_steps(network)
        return
    steps = native_steps(network)
    known = set(network.inputs)
    for step in steps:
        assert known.issuperset(images_of(step))
        assert step.out not in known
        known.add(step.out)
    assert known.issuperset(network.outputs)


@pytest.mark.parametrize("network", list(NETWORKS))
@pytest.mark.parametrize("upsample", ["conv", "transposed"])
def test_every_exported_network_survives_both_ways(network: str, upsample: Any) -> None:
    for name, each in write_networks(
        fold(scrambled(NETWORKS[network]), upsample), NETWORKS[network], "fp32"
    ).items():
        assert same(from_files(name, *to_files(each), "here"), each)
        data = onnx_bytes(each)
        assert onnx_bytes(read_onnx(data, name)) == data


def test_the_shipped_onnx_is_what_is_written_of_its_steps() -> None:
    """Operators, names and constants are the same as when it was exported."""
    demo = load_bundle("demo")
    for graph in demo.graphs:
        model = onnx.load_model_from_string(onnx_bytes(demo.network(graph)))
        shipped = onnx.load_model_from_string(demo.files[f"{graph}.onnx"])
        model.producer_version = shipped.producer_version
        assert model.SerializeToString(deterministic=True) == demo.files[f"{graph}.onnx"]


def test_dimensions_become_numbers() -> None:
    denoiser = load_bundle("demo").network("denoiser")
    shapes = denoiser.sized({"images": 6, "slices": 2, "height": 16, "width": 24})
    assert shapes["r"] == shapes["eps"] == (6, 1, 16, 24)
    assert shapes["mid.0.g1"] == (2, 48, 2, 3)
    inputs = {name: shapes[name] for name in denoiser.inputs}
    assert denoiser.shapes(inputs)["eps"] == shapes["eps"]
    with pytest.raises(InputError, match="wants height/2, and height is 15; give a multiple of 2"):
        denoiser.sized({"images": 6, "slices": 2, "height": 15, "width": 24})
    with pytest.raises(InputError, match="r has the unknown dimension images"):
        denoiser.sized({})


IMAGE = ("images", 4, "height", "width")
CONV = Conv(out="y", x="x", weight="w")


def small(*steps: Step, out: str = "y", **changes: Any) -> Network:
    """Of a 3x3 convolution with 4 channels."""
    weights = {"w": np.ones((4, 4, 3, 3), np.float32)}
    given = {"inputs": {"x": IMAGE}, "outputs": {out: IMAGE}, "weights": weights}
    return Network("net", steps=steps or (CONV,), **{**given, **changes})  # type: ignore[arg-type]


HALF = ("images", 4, "height/2", "width/2")
HALVED = dataclasses.replace(CONV, out="c", stride=2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: small(out="z"), "the output z is not computed"),
        (lambda: small(out="x"), "the output x is not computed"),
        (lambda: small(outputs={"y": HALF}), "y has the dimensions .* not"),
        (lambda: small(inputs={"x": ("images", 4, "height/0", "width")}), "x has the dimensions"),
        (lambda: small(inputs={"x": ("images", 4, 1 << 21, "width")}), "x has the dimensions"),
        (lambda: small(inputs={"x": ("images", 0, 8, 8)}), "x has the dimensions"),
        (lambda: small(inputs={"x": ("images", 4)}), "which is no image"),
        (lambda: small(weights={}), "has no kernel 'w'"),
        (lambda: small(weights={"w": np.ones((4, 4, 5, 5), np.float32)}), "has no kernel 'w'"),
        (lambda: small(weights={"w": np.ones((4, 5, 3, 3), np.float32)}), "a weight 'w' of shape"),
        (lambda: small(weights={"w": np.ones((4, 4, 3, 3))}), "w is of type float64"),
        (lambda: small(weights=small().weights | {"v": np.ones(4, np.float32)}), "no step reads"),
        (lambda: small(CONV, CONV), "makes 'y', which exists"),
        (lambda: small(Conv(out="y", x="y", weight="w")), "reads 'y', which nothing before it"),
        (lambda: small(CONV, Add(out="z", a="y", b="later")), "reads 'later', which nothing"),
        (lambda: small(HALVED, Add(out="y", a="c", b="x")), "adds images of"),
        (lambda: small(HALVED, Concat(out="y", parts=("c", "x"))), "joins images of"),
        (lambda: small(dataclasses.replace(CONV, upsampled=True)), "doubles height"),
        (lambda: small(dataclasses.replace(CONV, upsampled=True, stride=2)), "exclude each other"),
        (lambda: small(CONV, Concat(out="z", parts=())), "joins nothing"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(make: Callable[[], Network], says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        make()
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 3


def edited(change: Callable[[dict[str, Any]], Any]) -> bytes:
    found = json.loads(to_files(small())[0])
    change(found)
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "Invalid JSON"),
        (b"[]", "object"),
        (b"[" * 100_000, "JSON"),
        (b" " * (MAX_JSON_BYTES + 1), "bytes, at most"),
        (edited(lambda f: f.update(version=2)), "version: Input should be 1"),
        (edited(lambda f: f.update(surprise=1)), "surprise"),
        (edited(lambda f: f["steps"][0].update(kind="erf")), "steps.0: .*'erf'"),
        (edited(lambda f: f["steps"][0].update(surprise=1)), "steps.0.conv.surprise"),
        (edited(lambda f: f["steps"][0].pop("weight")), "steps.0.conv.weight"),
        (edited(lambda f: f["steps"][0].update(stride=3)), "steps.0.conv.stride"),
        (edited(lambda f: f["steps"][0].update(x=None)), "steps.0.conv.x"),
        (edited(lambda f: f["steps"].extend(f["steps"] * 10_001)), "steps: .* at most 10000"),
        (edited(lambda f: f["inputs"].update(x=["images", 4.5, 8, 8])), "inputs.x"),
        (edited(lambda f: f["inputs"].update(x=["../images", 4, 8, 8])), "x has the dimensions"),
    ],
)
def test_files_that_are_not_as_written_are_refused_in_one_line(text: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        from_files("net", text, to_files(small())[1], "here")
    assert "\n" not in str(refused.value)
    assert refused.value.message.startswith("here: ")
