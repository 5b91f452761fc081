"""The torch engine: same values as ONNX Runtime, forms put back together, precision in image terms."""

from __future__ import annotations

import importlib
import shutil
import sys
import threading
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from petrt.engines.torch.cuda import compile_module
from petrt.engines.torch.engine import TorchEngine, use_threads
from petrt.errors import DeviceError
from petrt.export.bundle import export_model
from petrt.export.graphs.check import relative_error
from petrt.model.bundle import GRAPHS, Bundle, load_bundle
from tests.engines.golden import blob, forward, golden_inputs, worst_error
from tests.export.conftest import NETWORKS, model_spec, scrambled
from tests.helpers import psnr
from tests.models import Reconstructor


@pytest.fixture(scope="session")
def demo() -> Bundle:
    return load_bundle("demo")


@pytest.mark.parametrize("model", ["tiny", "demo"])
def test_every_graph_gives_the_values_of_onnx_runtime(model, tiny, demo):
    bundle = tiny if model == "tiny" else demo
    assert worst_error(bundle, TorchEngine(bundle)) < 1e-5  # measured: 1e-6


@pytest.mark.parametrize("kind", ["denoiser", "coarse", "guided coarse", "nas", "dose"])
def test_every_kind_of_network_runs(tmp_path, kind):
    network = NETWORKS[kind]
    export_model(scrambled(network), model_spec(network), tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert worst_error(bundle, TorchEngine(bundle)) < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_forms_are_computed_whole(demo, precision):
    """As many norms, SiLUs and attentions as the ONNX graph has of their parts."""
    engine = TorchEngine(demo, precision=precision)
    for graph in GRAPHS:
        model = onnx.load_model_from_string(demo.onnx(graph) or b"")
        written = Counter(node.op_type for node in model.graph.node)
        forms = engine._graphs[graph].forms
        assert forms["GroupNorm"] == written["InstanceNormalization"] > 0
        assert forms["SiLU"] == written["Sigmoid"] > 0
        assert forms["Attend"] == written["Softmax"]
        assert forms["Conv"] == written["Conv"]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_16_bit_is_rounded_where_the_16_bit_graph_is(demo, precision):
    """Only sums differ from ONNX's own evaluator, which rounds each value to the type of the graph."""
    engine = TorchEngine(demo, precision=precision)
    inputs = golden_inputs(demo, "guidance")
    model = onnx.load_model_from_string(demo.onnx("guidance", precision) or b"")
    found = forward(engine, "guidance", inputs)
    names = list(found)
    expected = ReferenceEvaluator(model).run(names, inputs)
    step = {"fp16": 2**-10, "bf16": 2**-7}[precision]
    for name, value in zip(names, expected, strict=True):
        assert relative_error(found[name], value.astype(np.float32)) < 4 * step


@pytest.mark.filterwarnings("ignore::petrt.errors.DomainWarning")
def test_whole_reconstruction_agrees_with_onnx_runtime(demo):
    """Same noise; PSNR of the mean image. Measured: 140 dB fp32, 62 dB bf16, 80 dB fp16."""
    volume = blob((64, 48, 2))
    noise = np.random.default_rng(0).standard_normal((11, 1, 2, 1, 64, 48)).astype(np.float32)
    expected = Reconstructor(demo, preset="paper", samples=1, threads=2)(volume, noise=noise)
    for precision, bar in (("fp32", 100), ("bf16", 45), ("fp16", 60)):
        engine = TorchEngine(demo, precision=precision)  # type: ignore[arg-type]
        usual = {"preset": "paper", "samples": 1, "threads": 2}
        result = Reconstructor(demo, engine=engine, **usual)(volume, noise=noise)
        assert np.isfinite(result.image).all()
        assert psnr(result.image, expected.image) >= bar, precision
        assert psnr(result.coarse, expected.coarse) >= bar, precision
        # 16 bit it really was.
        assert precision == "fp32" or psnr(result.image, expected.image) < 110


@pytest.mark.parametrize("count", [1, 2])
def test_threads_are_a_matter_of_the_calling_thread(count):
    before = torch.get_num_threads()
    seen: list[int] = []

    def child() -> None:
        seen.append(torch.get_num_threads())

    def worker() -> None:
        use_threads(count)
        child()
        _in_thread(child)

    torch.set_num_threads(3)
    try:
        _in_thread(worker)
        _in_thread(child)
        assert seen == [count, 3, 3]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def _in_thread(call) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


@pytest.fixture
def denoiser(tiny, request):
    """A module of the tiny denoiser, arguments for it, and what it writes."""
    graph = TorchEngine(tiny, precision=request.param)._graphs["denoiser"]
    inputs = golden_inputs(tiny, "denoiser")
    shapes = {name: array.shape for name, array in inputs.items()} | {"eps": inputs["r"].shape}
    module = graph.module(shapes)
    arguments = [torch.from_numpy(inputs[n]).to(graph.dtypes[n]) for n in graph.inputs]
    arguments.append(torch.empty(shapes["eps"]))
    with torch.inference_mode():
        module(*arguments)
    yield module, arguments, arguments[-1].clone()
    torch._dynamo.reset()


@pytest.mark.parametrize("denoiser", ["fp32", "bf16"], indirect=True)
def test_traces_as_one_graph_of_static_shapes(denoiser):
    module, arguments, expected = denoiser
    shapes: list[torch.Size] = []

    def backend(graph: torch.fx.GraphModule, example_inputs):
        for node in graph.graph.nodes:
            value = node.meta.get("example_value")
            if isinstance(value, torch.Tensor):
                shapes.append(value.shape)
        return graph.forward

    compiled = torch.compile(module, fullgraph=True, dynamic=False, backend=backend)
    with torch.inference_mode():
        arguments[-1].zero_()
        compiled(*arguments)
    assert torch.equal(arguments[-1], expected)
    assert len(shapes) > 50
    assert all(type(size) is int for shape in shapes for size in shape)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler's own imports
@pytest.mark.parametrize("denoiser", ["fp32", "bf16"], indirect=True)
def test_compiles(denoiser):
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    module, arguments, expected = denoiser
    with torch.inference_mode():
        arguments[-1].zero_()
        compile_module(module, "default")(*arguments)
    tolerance = 1e-5 if arguments[1].dtype == arguments[-1].dtype == arguments[2].dtype else 3e-2
    assert relative_error(arguments[-1], expected) < tolerance


def test_without_pytorch_the_way_to_get_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "petrt.engines.torch.engine")
    with pytest.raises(DeviceError, match="needs PyTorch; pip install"):
        importlib.import_module("petrt.engines.torch.engine")
