"""TensorRT, the CUDA module and whole machines, played on host memory."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from petrt.engines.tensorrt import engine as tensorrt
from petrt.hardware import gpus, machine, packages
from petrt.hardware.gpus import Gpu
from petrt.hardware.packages import Package
from tests.engines.tensorrt import fake_tensorrt

H100 = Gpu(0, "NVIDIA H100", (9, 0), 80 << 30)
BUILT = ("80", "86", "89", "90", "120")


@pytest.fixture
def computer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Sets what driver, CUDA module and packages say; what is not given is missing.

    Without ``architectures`` the CUDA module is there where a GPU is. Returns the module.
    """

    def set_up(
        *found: Gpu,
        cuda: tuple[int, int] = (13, 0),
        reason: str = "no NVIDIA driver: libnvidia-ml.so.1 is not found",
        architectures: tuple[str, ...] | None = BUILT,
        card: bool | None = None,
        **installed: Package,
    ) -> Any:
        monkeypatch.setattr(gpus, "list_gpus", lambda: list(found))
        monkeypatch.setattr(gpus, "why_none", lambda: None if found else reason)
        monkeypatch.setattr(gpus, "cuda_version", lambda: cuda if found else None)
        monkeypatch.setattr(gpus, "driver_version", lambda: "580.65.06" if found else None)
        monkeypatch.setattr(machine, "_card", lambda: bool(found) if card is None else card)
        for name in ("onnxruntime", "openvino", "torch", "cupy", "tensorrt", "tensorrt_rtx"):
            monkeypatch.setattr(packages, name, partial(installed.get, name))
        module: Any = None
        if found and architectures:
            module = types.ModuleType("petrt._cuda")
            module.architectures, module.CudaError = architectures, RuntimeError
            module.device_count = lambda: len(found)
        monkeypatch.setitem(sys.modules, "petrt._cuda", module)
        return module

    return set_up


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """petrt._cuda with the two classes that engines use."""
    module = types.SimpleNamespace(
        DeviceArray=fake_tensorrt.DeviceArray, Stream=fake_tensorrt.Stream
    )
    monkeypatch.setitem(sys.modules, "petrt._cuda", module)
    monkeypatch.setattr(tensorrt, "CurrentDevice", fake_tensorrt.Current)
    return module


@pytest.fixture
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine folder of this test's own; not made yet."""
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"
