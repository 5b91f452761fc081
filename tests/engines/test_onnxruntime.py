"""ONNX Runtime on a GPU, as far as that shows without one: its CUDA provider played by the CPU's."""

from __future__ import annotations

import types
from typing import Any

import onnxruntime
import pytest

from petrt.engines.onnxruntime import OnnxRuntimeEngine, cuda_options
from petrt.errors import DeviceError, OutOfDeviceMemory, UsageError
from petrt.export.graphs.check import relative_error
from petrt.model.bundle import Bundle
from tests.engines.golden import forward, golden_inputs
from tests.engines.tensorrt.fake_tensorrt import DeviceArray

CUDA = "CUDAExecutionProvider"
REAL = onnxruntime.InferenceSession


class Stream:
    device, handle = 1, 4321
    waits = 0

    def synchronize(self) -> None:
        self.waits += 1


class RunOptions:
    """Notes its entries and passes none on: the CPU provider has nothing to wait for."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """ONNX Runtime with a CUDA provider; notes how sessions are made, bound and run."""
    seen = types.SimpleNamespace(providers=[CUDA], runs=[], devices=set(), made=[], fails=None)

    class Binding:
        def __init__(self, session: Any) -> None:
            self.real = session.io_binding()

        def bind_input(self, name, device, index, dtype, shape, address) -> None:
            seen.devices.add((device, index))
            self.real.bind_input(name, "cpu", 0, dtype, shape, address)

        def bind_output(self, name, device, index, dtype, shape, address) -> None:
            seen.devices.add((device, index))
            self.real.bind_output(name, "cpu", 0, dtype, shape, address)

    class Session:
        def __init__(self, model: bytes, options: Any, providers: list[Any]) -> None:
            seen.made.append(providers)
            self._real = REAL(model, providers=["CPUExecutionProvider"])
            self.get_inputs, self.get_outputs = self._real.get_inputs, self._real.get_outputs

        def get_providers(self) -> list[str]:
            return [*seen.providers, "CPUExecutionProvider"]

        def io_binding(self) -> Binding:
            return Binding(self._real)

        def run_with_iobinding(self, binding: Binding, options: RunOptions) -> None:
            if seen.fails:
                raise RuntimeError(seen.fails)
            seen.runs.append(options.entries)
            self._real.run_with_iobinding(binding.real)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: seen.providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "RunOptions", RunOptions)
    return seen


def bind_coarse(engine: OnnxRuntimeEngine, bundle: Bundle):
    arrays, dtypes = golden_inputs(bundle, "coarse"), engine.dtypes("coarse")
    inputs = {name: DeviceArray(value.shape, dtypes[name]) for name, value in arrays.items()}
    for name, value in arrays.items():
        inputs[name].host[:] = value
    outputs = {"x_cp": DeviceArray(arrays["x"].shape)}
    return engine.bind("coarse", inputs, outputs), arrays, outputs["x_cp"].host


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_device_buffers_are_bound_by_address_and_nothing_waits(gpu, tiny: Bundle, precision):
    stream = Stream()
    engine = OnnxRuntimeEngine(tiny, precision=precision, stream=stream)
    assert (engine.device, engine.capturable, engine.precision) == ("cuda:1", False, precision)
    kinds = engine.dtypes("coarse")
    assert kinds["x"] == kinds["x_cp"] == "float32"
    assert kinds["features_1"] == {"fp32": "float32", "fp16": "float16"}[precision]
    run, _, _ = bind_coarse(engine, tiny)
    assert stream.waits == 1  # after the run that chooses algorithms
    run()
    assert stream.waits == 1
    assert gpu.devices == {("cuda", 1)}
    assert all(entry == {"disable_synchronize_execution_providers": "1"} for entry in gpu.runs)


def test_values_are_those_of_the_cpu(tiny: Bundle, request):
    arrays = golden_inputs(tiny, "coarse")
    expected = forward(OnnxRuntimeEngine(tiny), "coarse", arrays)["x_cp"]
    request.getfixturevalue("gpu")
    for precision, bar in (("fp32", 1e-6), ("fp16", 1e-2)):
        _, _, found = bind_coarse(
            OnnxRuntimeEngine(tiny, precision=precision, stream=Stream()), tiny
        )
        assert relative_error(found, expected) <= bar


def test_everything_goes_to_the_stream_and_tf32_is_off(gpu, tiny: Bundle):
    OnnxRuntimeEngine(tiny, stream=Stream())
    (name, options), fallback = gpu.made[0]
    assert (name, fallback) == (CUDA, "CPUExecutionProvider")
    assert options["device_id"] == "1"
    assert options["user_compute_stream"] == "4321"
    assert options["use_tf32"] == "0"
    assert cuda_options(Stream(), "fp16")["prefer_nhwc"] == "1"


def test_cpu_only_onnx_runtime_is_told_with_the_command(gpu, tiny: Bundle):
    gpu.providers = ["CPUExecutionProvider"]
    with pytest.raises(DeviceError, match=r"runs on a CPU only; .*onnxruntime-gpu"):
        OnnxRuntimeEngine(tiny, stream=Stream())


def test_silent_fallback_to_the_cpu_is_an_error(gpu, tiny: Bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    gpu.providers = []
    with pytest.raises(DeviceError, match="cannot use cuda:1: its CUDA or cuDNN libraries"):
        OnnxRuntimeEngine(tiny, stream=Stream())


def test_failures_name_the_graph_and_memory_asks_for_a_smaller_batch(gpu, tiny: Bundle):
    engine = OnnxRuntimeEngine(tiny, stream=Stream())
    gpu.fails = "CUDNN failure 4\nmore"
    with pytest.raises(
        DeviceError, match=r"failed in coarse\.onnx on buffers .*: CUDNN failure 4$"
    ):
        bind_coarse(engine, tiny)
    gpu.fails = "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer"
    with pytest.raises(OutOfDeviceMemory, match=r"coarse\.onnx"):
        bind_coarse(engine, tiny)


@pytest.mark.parametrize(
    ("precision", "stream", "says"),
    [("bf16", Stream(), "bf16 on a GPU; choose fp32 or fp16"), ("fp16", None, "fp16 on the CPU")],
)
def test_precisions_it_lacks_are_refused(tiny: Bundle, precision, stream, says):
    with pytest.raises(UsageError, match=says):
        OnnxRuntimeEngine(tiny, precision=precision, stream=stream)
