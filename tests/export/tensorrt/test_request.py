"""What is built, from options and from what this machine has."""

from __future__ import annotations

from typing import Any

import pytest

from petrt.errors import DeviceError, PetrtError, UsageError
from petrt.export.tensorrt import request as module
from petrt.export.tensorrt.profile import default_profile
from petrt.export.tensorrt.request import make_request
from petrt.hardware import gpus
from petrt.hardware.gpus import Gpu
from tests.engines.tensorrt.fake_tensorrt import make_module


@pytest.fixture
def machine(monkeypatch):
    """Says which GPUs and which TensorRTs this machine has."""

    def has(capabilities: list[tuple[int, int]], *kinds: str) -> None:
        here = [Gpu(i, f"GPU {i}", c, 1 << 34) for i, c in enumerate(capabilities)]
        monkeypatch.setattr(gpus, "list_gpus", lambda: here)
        monkeypatch.setattr(gpus, "why_none", lambda: None if here else "no NVIDIA driver")
        monkeypatch.setattr(gpus, "driver_version", lambda: "580.1")
        monkeypatch.setattr(module, "is_installed", lambda kind: kind in kinds)
        monkeypatch.setattr(
            module, "import_tensorrt", lambda kind: make_module(rtx=kind == "tensorrt-rtx")
        )

    return has


@pytest.mark.parametrize(
    ("capability", "kinds", "engine", "chosen"),
    [
        ((9, 0), ["tensorrt", "tensorrt-rtx"], "auto", "tensorrt"),
        ((8, 9), ["tensorrt", "tensorrt-rtx"], "auto", "tensorrt"),
        ((8, 9), ["tensorrt-rtx"], "auto", "tensorrt-rtx"),
        ((12, 0), ["tensorrt-rtx"], "auto", "tensorrt-rtx"),
        ((12, 0), ["tensorrt", "tensorrt-rtx"], "tensorrt-rtx", "tensorrt-rtx"),
    ],
)
def test_auto_takes_what_is_installed_and_serves_the_gpu(
    tiny, machine, capability, kinds, engine, chosen
):
    machine([capability], *kinds)
    request = make_request(tiny, engine=engine)
    assert request.engine == chosen
    assert (request.gpu.name, request.gpu.driver, request.index) == ("GPU 0", "580.1", 0)
    assert request.targets == ((capability,) if chosen == "tensorrt-rtx" else ())
    assert request.precision == "bf16"
    assert request.profile == default_profile(tiny.model)
    assert request.wanted.targets == ()  # any engine that serves this GPU will do


@pytest.mark.parametrize(
    ("capabilities", "kinds", "options", "kind", "message"),
    [
        ([(9, 0)], [], {}, DeviceError, r"TensorRT is not installed; pip .*petrt\[tensorrt\]"),
        ([(9, 0)], ["tensorrt-rtx"], {}, DeviceError, "TensorRT is not installed"),
        ([(9, 0)], [], {"engine": "tensorrt-rtx"}, DeviceError, "does not run on .* 9.0"),
        ([], ["tensorrt"], {}, DeviceError, "no NVIDIA driver; --gpu rtx40"),
        ([(9, 0)], ["tensorrt"], {"gpus": ["cuda:3"]}, DeviceError, "no cuda:3, only 1"),
        ([(9, 0)], ["tensorrt"], {"engine": "fast"}, UsageError, "unknown engine 'fast'"),
        ([(9, 0)], ["tensorrt"], {"engine": "openvino"}, UsageError, "unknown engine"),
        ([(9, 0)], ["tensorrt"], {"gpus": ["rtx20"]}, UsageError, "gpu is 'rtx20'"),
        ([(9, 0)], [], {"gpus": ["rtx40"], "engine": "tensorrt"}, UsageError, "this machine only"),
        ([], [], {"gpus": ["rtx40"], "compatible": "ampere-plus"}, UsageError, "--compatible"),
        ([(9, 0)], ["tensorrt"], {"precision": "int8"}, UsageError, "unknown precision"),
        ([(7, 5)], ["tensorrt"], {"precision": "bf16"}, UsageError, "bf16 needs .* 8.0"),
        ([(9, 0)], ["tensorrt"], {"sizes": [(33, 32)]}, UsageError, "33x32.*multiples of .* 32x32"),
        ([(9, 0)], ["tensorrt"], {"slices": (4, 2, 8)}, UsageError, "--slices is 4,2,8; give one"),
        ([], [], {"samples": 0}, UsageError, "--samples is 0; give one number"),
    ],
)
def test_what_cannot_be_built_is_told_before_anything_is_done(
    tiny, machine, capabilities, kinds, options, kind, message
):
    machine(capabilities, *kinds)
    with pytest.raises(PetrtError, match=message) as caught:
        make_request(tiny, **options)
    assert type(caught.value) is kind


def test_named_gpus_need_neither_driver_nor_gpu(tiny, machine):
    machine([])
    request = make_request(tiny, gpus=["rtx50", "rtx30", "rtx50"])
    assert request.engine == "tensorrt-rtx"
    assert request.targets == ((8, 6), (12, 0))
    assert (request.gpu, request.index) == (None, None)
    assert str(request) == "tiny, TensorRT-RTX 11.4.0, bf16, for compute capability 8.6, 12.0"


def test_another_gpu_of_this_machine(tiny, machine):
    machine([(9, 0), (7, 5)], "tensorrt")
    request = make_request(tiny, gpus=["cuda:1"])
    assert (request.gpu.name, request.index) == ("GPU 1", 1)
    assert request.precision == "fp16"  # it has no bf16


def test_the_profile_takes_what_is_given(tiny, machine):
    machine([(9, 0)], "tensorrt")
    fixed = make_request(tiny, slices=24, samples=2, sizes=[(64, 48)]).profile
    assert (fixed.slices, fixed.samples) == ((24,) * 3, (2,) * 3)
    assert (fixed.height, fixed.width) == ((64,) * 3, (48,) * 3)
    options: dict[str, Any] = {"slices": (1, 3, 5), "sizes": [(64, 48), (32, 96)]}
    profile = make_request(tiny, **options).profile
    assert profile.slices == (1, 3, 5)
    assert profile.samples == default_profile(tiny.model).samples
    assert profile.height == (32, 64, 64)
    assert profile.width == (48, 48, 96)
    request = make_request(tiny, workspace_gib=0.5, compatible="ampere-plus")
    assert request.flags.workspace_bytes == 1 << 29
    assert request.flags.hardware_compatibility == "ampere-plus"
