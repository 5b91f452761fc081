"""The CUDA module under test: the real one on a GPU, and the same sources on host memory elsewhere."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from petrt import gpus, machine


def gpu_module() -> ModuleType:
    """petrt._cuda on a machine with a GPU; else the test is skipped with the reason.

    With PETRT_REQUIRE_GPU set it fails instead, so that a run meant for a GPU cannot pass without.
    """
    reason = gpus.why_none()
    module = machine.cuda_module()
    if reason or module.state != "ready":
        stop = pytest.fail if os.environ.get("PETRT_REQUIRE_GPU") else pytest.skip
        stop(reason or f"petrt's CUDA module is {module.state}: {module.detail}")
    import petrt._cuda

    return petrt._cuda


@pytest.fixture(params=[pytest.param("gpu", marks=pytest.mark.gpu), "twin"])
def cuda(request: pytest.FixtureRequest) -> ModuleType:
    """petrt._cuda (marked gpu), and the module built of the same sources for host memory."""
    if request.param == "gpu":
        return gpu_module()
    return request.getfixturevalue("cuda_twin")


class Device:
    """Arrays to and from the device on one stream."""

    def __init__(self, module: Any) -> None:
        self.module, self.stream = module, module.Stream()

    def empty(self, shape: tuple[int, ...], dtype: str = "float32") -> Any:
        return self.module.DeviceArray(shape, dtype)

    def put(self, host: np.ndarray) -> Any:
        array = self.empty(host.shape, str(host.dtype))
        array.upload(np.ascontiguousarray(host), self.stream)
        self.stream.synchronize()
        return array

    def get(self, array: Any) -> np.ndarray:
        host = np.empty(array.shape, array.dtype)
        array.download(host, self.stream)
        self.stream.synchronize()
        return host


@pytest.fixture
def device(cuda: ModuleType) -> Device:
    return Device(cuda)
