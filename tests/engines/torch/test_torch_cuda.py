"""How the torch engine works on a GPU, as far as that shows without one: on host memory, every call of
torch.cuda replaced by a note in a list."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.torch import cuda as torch_cuda
from petrt.engines.torch import engine as torch_engine
from petrt.engines.torch.cuda import Cuda, eager_reason, matmul_in_float32, unusable
from petrt.engines.torch.engine import TorchEngine
from petrt.errors import OutOfDeviceMemory
from petrt.export.graphs.check import relative_error
from petrt.model.bundle import Bundle
from tests.engines.golden import forward, golden_inputs
from tests.engines.tensorrt.fake_tensorrt import DeviceArray


class Stream:
    """As petrt._cuda.Stream; notes that it was waited for."""

    device, handle = 0, 1234

    def __init__(self, events: list[Any]) -> None:
        self._events = events

    def synchronize(self) -> None:
        self._events.append("synchronize")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What happens, in order: ("run", pool), "synchronize", "empty cache", "compile"."""
    found: list[Any] = []
    pools = iter(range(1, 10))

    class HostCuda(Cuda):
        def __init__(self, stream: Any, precision: str, mode: str | None) -> None:
            super().__init__(stream, precision, mode)
            self.device = torch.device("cpu")

        def tensor(self, array: DeviceArray) -> torch.Tensor:
            tensor = torch.from_numpy(array.host)
            return tensor.view(torch.bfloat16) if array.dtype == "bfloat16" else tensor

        @contextmanager
        def _scope(self, pool: Any) -> Iterator[None]:
            found.append(("run", pool))
            with torch.inference_mode():
                yield

        def _new_pool(self) -> int:
            return next(pools)

        def _settle(self) -> None:
            found.append("settle")

    def compile_module(module: torch.nn.Module, mode: str) -> Any:
        found.append(("compile", mode))
        return module

    monkeypatch.setattr(torch_engine, "Cuda", HostCuda)
    monkeypatch.setattr(torch_cuda, "compile_module", compile_module)
    monkeypatch.setattr(torch_cuda, "eager_reason", lambda: None)
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda handle, device: (handle, device))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: found.append("empty cache"))
    return found


def bind_coarse(engine: TorchEngine, bundle: Bundle, slices: int = 2):
    arrays = {name: value[:slices] for name, value in golden_inputs(bundle, "coarse").items()}
    dtypes = engine.dtypes("coarse")
    inputs = {}
    for name, value in arrays.items():
        inputs[name] = DeviceArray(value.shape, dtypes[name])
        if dtypes[name] == "bfloat16":
            bits = torch.from_numpy(np.array(value)).bfloat16().view(torch.uint16)
            inputs[name].host.reshape(-1)[:] = bits.numpy().transpose(0, 2, 3, 1).reshape(-1)
        elif name != "x":  # features: in the engine's own order
            inputs[name].host.reshape(-1)[:] = value.transpose(0, 2, 3, 1).reshape(-1)
        else:
            inputs[name].host[:] = value
    outputs = {"x_cp": DeviceArray(arrays["x"].shape)}
    return engine.bind("coarse", inputs, outputs), arrays, outputs["x_cp"].host


def test_bfloat16_by_default_and_at_the_interface_of_features(events, tiny: Bundle):
    engine = TorchEngine(tiny, stream=Stream(events))
    assert (engine.precision, engine.capturable) == ("bf16", True)
    kinds = engine.dtypes("coarse")
    assert kinds.pop("x") == kinds.pop("x_cp") == "float32"
    assert set(kinds.values()) == {"bfloat16"}
    run, arrays, found = bind_coarse(engine, tiny)
    run()
    expected = forward(OnnxRuntimeEngine(tiny), "coarse", arrays)["x_cp"]
    assert 1e-5 < relative_error(found, expected) < 3e-2


def test_compiles_and_warms_up_outside_the_pool_then_fills_the_pool(events, tiny: Bundle):
    engine = TorchEngine(tiny, stream=Stream(events))
    run, _, _ = bind_coarse(engine, tiny)
    warm_up = ["settle", ("compile", "default"), ("run", None), "synchronize", "empty cache"]
    assert events == [*warm_up, ("run", 1), "synchronize"]
    events.clear()
    run()  # enqueues and does not wait
    assert events == [("run", 1)]


def test_a_shape_is_compiled_once_and_the_wait_is_explained(events, tiny: Bundle, caplog):
    engine = TorchEngine(tiny, stream=Stream(events))
    with caplog.at_level(logging.INFO, "petrt"):
        bind_coarse(engine, tiny)
    assert "compiles the networks" in caplog.text
    events.clear()
    bind_coarse(engine, tiny)
    assert events == [("run", 1), "synchronize"]
    assert engine.notes == {"networks": "compiled"}
    bind_coarse(engine, tiny, slices=1)
    assert ("compile", "default") in events


def test_what_cannot_be_compiled_runs_eagerly_and_says_so(events, tiny, monkeypatch, caplog):
    def fails(module: torch.nn.Module, mode: str) -> Any:
        events.append("tried")

        def compiled(*tensors: torch.Tensor) -> None:
            raise RuntimeError("'inductor' raised:\nPython.h: No such file\nlong traceback")

        return compiled

    monkeypatch.setattr(torch_cuda, "compile_module", fails)
    engine = TorchEngine(tiny, stream=Stream(events), precision="fp32")
    with caplog.at_level(logging.WARNING, "petrt"):
        _, arrays, found = bind_coarse(engine, tiny)
        bind_coarse(engine, tiny, slices=1)
    assert events.count("tried") == 1
    assert engine.notes == {"networks": "eager: 'inductor' raised: Python.h: No such file"}
    assert [record.getMessage() for record in caplog.records] == [
        "torch cannot compile here and runs eagerly, slower: 'inductor' raised: Python.h: No such file"
    ]
    assert relative_error(found, forward(OnnxRuntimeEngine(tiny), "coarse", arrays)["x_cp"]) < 1e-5


def test_without_a_compiler_it_does_not_try(events, tiny: Bundle, monkeypatch, caplog):
    monkeypatch.setattr(torch_cuda, "eager_reason", lambda: "no C compiler is found")
    with caplog.at_level(logging.WARNING, "petrt"):
        bind_coarse(TorchEngine(tiny, stream=Stream(events)), tiny)
    assert "eagerly, slower: no C compiler" in caplog.text
    assert TorchEngine(tiny, stream=Stream(events)).notes == {
        "networks": "eager: no C compiler is found"
    }
    assert not any(event[0] == "compile" for event in events)


def test_out_of_memory_asks_for_a_smaller_batch_and_gives_its_pool_back(events, tiny, monkeypatch):
    engine = TorchEngine(tiny, stream=Stream(events))
    small, _, _ = bind_coarse(engine, tiny, slices=1)

    def compile_module(module: torch.nn.Module, mode: str) -> Any:
        def compiled(*tensors: torch.Tensor) -> None:
            if events[-1] == ("run", 1):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        return compiled

    monkeypatch.setattr(torch_cuda, "compile_module", compile_module)
    with pytest.raises(OutOfDeviceMemory, match=r"coarse\.onnx: CUDA out of memory"):
        bind_coarse(engine, tiny, slices=2)
    events.clear()
    bind_coarse(engine, tiny, slices=2)  # would fail again in pool 1
    small()
    assert events == [("run", 2), "synchronize", ("run", 1)]


def test_features_and_maps_lie_channels_last_between_the_networks(events, tiny: Bundle):
    """The three networks one after the other, on buffers that only this engine reads."""
    engine = TorchEngine(tiny, stream=Stream(events), precision="fp32")
    reference = OnnxRuntimeEngine(tiny)
    given = golden_inputs(tiny, "guidance")
    made, expected = {}, forward(reference, "guidance", given)
    inputs = {name: device_array(value) for name, value in given.items()}
    for name, value in expected.items():
        made[name] = DeviceArray(value.shape)
    engine.bind("guidance", inputs, made)()
    for name, value in expected.items():
        batch, channels, height, width = value.shape
        own = made[name].host.reshape(batch, height, width, channels).transpose(0, 3, 1, 2)
        assert relative_error(own, value) < 1e-5, name
    for graph, out in (("coarse", "x_cp"), ("denoiser", "eps")):
        plain = golden_inputs(tiny, graph) | {
            name: value for name, value in expected.items() if name in engine.tensors(graph)[0]
        }
        wanted = forward(reference, graph, plain)[out]
        found = {out: DeviceArray(wanted.shape)}
        buffers = {name: made.get(name) or device_array(value) for name, value in plain.items()}
        engine.bind(graph, buffers, found)()
        assert relative_error(found[out].host, wanted) < 1e-5, graph


def device_array(value: np.ndarray) -> DeviceArray:
    array = DeviceArray(value.shape)
    array.host[:] = value
    return array


def test_forwards_of_several_threads_take_turns(events, tiny: Bundle, monkeypatch):
    """torch refuses a pool of memory that is in use."""
    inside, most = [0], [0]

    def compile_module(module: torch.nn.Module, mode: str) -> Any:
        def compiled(*tensors: torch.Tensor) -> None:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            inside[0] -= 1

        return compiled

    monkeypatch.setattr(torch_cuda, "compile_module", compile_module)
    run, _, _ = bind_coarse(TorchEngine(tiny, stream=Stream(events)), tiny)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(run) for _ in range(8)]:
            done.result()
    assert most == [1]


@pytest.mark.parametrize(
    ("triton", "compilers", "cc", "says"),
    [
        (None, {"gcc"}, None, "Triton is not installed"),
        ("triton", set(), None, "no C compiler is found"),
        ("triton", {"gcc"}, "icc", "no C compiler icc"),
        ("triton", {"clang"}, None, None),
        ("triton", {"icc"}, "icc", None),
    ],
)
def test_what_compiling_needs(monkeypatch, triton, compilers, cc, says):
    monkeypatch.setattr(torch_cuda.importlib.util, "find_spec", lambda name: triton)
    monkeypatch.setattr(
        torch_cuda.shutil, "which", lambda name: name if name in compilers else None
    )
    monkeypatch.delenv("CC", raising=False)
    if cc:
        monkeypatch.setitem(os.environ, "CC", cc)
    reason = eager_reason()
    assert reason is None if says is None else says in (reason or "")


@pytest.mark.parametrize(
    ("count", "capability", "built", "says"),
    [
        (0, (9, 0), ["sm_90"], "sees no cuda:0"),
        (1, (9, 0), ["sm_80", "sm_90a"], None),
        (1, (8, 9), ["sm_80", "sm_90"], None),
        (1, (12, 0), ["sm_80", "sm_90"], "not for compute capability"),
        (1, (12, 0), ["sm_90", "compute_90"], None),
        (1, (7, 5), ["sm_80", "sm_90"], "not for compute capability"),
    ],
)
def test_which_gpus_this_pytorch_runs_on(monkeypatch, count, capability, built, says):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    reason = unusable(0)
    assert reason is None if says is None else says in (reason or "")


def test_what_torch_keeps_globally_is_put_back():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with matmul_in_float32():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
