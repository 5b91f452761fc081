"""The CUDA module on a GPU, or why there is none."""

from __future__ import annotations

import os
from types import ModuleType

import pytest

from petrt.hardware import gpus, machine


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
