"""From ``petrt build-engine`` to images, with the CUDA sources on host memory and TensorRT played.

Everything of petrt is the real code: the engine, the device pipeline with its streams and graphs, the
verification, the installation. TensorRT is ``tests.engines.tensorrt.fake_tensorrt``, which computes with ONNX
Runtime when the stream gets that far.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import petrt
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.engines.store.open import open_installed
from petrt.engines.store.record import Flags
from petrt.engines.tensorrt import engine as tensorrt
from petrt.export.tensorrt import install as module
from petrt.export.tensorrt.install import build_engine
from petrt.export.tensorrt.plan import SerializedEngine
from petrt.export.tensorrt.profile import Profile
from petrt.export.tensorrt.request import Request
from petrt.hardware import gpus
from petrt.hardware.gpus import Gpu
from petrt.model.bundle import Bundle
from tests.engines.store.records import H100
from tests.engines.tensorrt.fake_tensorrt import (
    Current,
    IExecutionContext,
    IRuntimeCache,
    make_module,
    make_plan,
)
from tests.export.tensorrt.progress import silent
from tests.models import Reconstructor

FIXED = Profile((4,) * 3, (1,) * 3, (32,) * 3, (48,) * 3)
RANGES = Profile((1, 2, 4), (1, 1, 2), (16, 32, 64), (16, 32, 64))


def plan_of(trt: Any, model: bytes, profile: Profile, **options: Any) -> SerializedEngine:
    sizes = {name: getattr(profile, name) for name in ("slices", "images", "height", "width")}
    return SerializedEngine(make_plan(model, sizes), b"", 0.1, ())


@pytest.fixture
def machine(cuda_twin: Any, monkeypatch, tmp_path) -> Any:
    """A GPU of host memory, a TensorRT of ONNX Runtime, and an engine folder."""
    monkeypatch.setitem(sys.modules, "petrt._cuda", cuda_twin)
    monkeypatch.setattr(petrt, "_cuda", cuda_twin, raising=False)
    from petrt.inference.cuda import device

    monkeypatch.setattr(device, "_cuda", cuda_twin)
    monkeypatch.setattr(tensorrt, "CurrentDevice", Current)
    streams: dict[int, Any] = {}
    true_stream = cuda_twin.Stream

    def stream(device: int = 0) -> Any:
        made = true_stream(device)
        streams[made.handle] = made
        return made

    monkeypatch.setattr(cuda_twin, "Stream", stream)
    enqueue = staticmethod(lambda handle, work: cuda_twin.host_call(streams[handle], work))
    monkeypatch.setattr(IExecutionContext, "enqueue", enqueue)
    monkeypatch.setattr(module, "build_plan", plan_of)
    monkeypatch.setattr(module, "need_cuda_module", lambda: None)
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path))
    monkeypatch.setattr(gpus, "list_gpus", lambda: [Gpu(0, H100.name, (9, 0), 1 << 36)])
    monkeypatch.setattr(gpus, "driver_version", lambda: H100.driver)
    return cuda_twin


@pytest.fixture
def asked(tiny: Bundle) -> Request:
    what = {"engine": "tensorrt", "trt": make_module(), "precision": "fp32", "profile": FIXED}
    return Request(bundle=tiny, gpu=H100, index=0, targets=(), flags=Flags(), **what)


def volume_of(depth: int) -> Any:
    return np.random.default_rng(0).random((32, 48, depth), np.float32)


@pytest.mark.parametrize(("profile", "depth"), [(FIXED, 7), (FIXED, 3), (RANGES, 7)])
def test_an_engine_is_built_verified_installed_opened_and_gives_the_cpus_images(
    machine, asked, tiny, profile, depth
):
    entry = build_engine(replace(asked, profile=profile), bar=silent)
    verified = entry.record.verified
    assert verified.gpu == H100
    assert verified.psnr_db is None or verified.psnr_db > 100
    engine = open_installed(tiny, "tensorrt", trt=make_module())
    volume = volume_of(depth)
    on_gpu = Reconstructor(tiny, engine=engine, samples=3, seed=5)(volume)
    on_cpu = Reconstructor(tiny, engine=OnnxRuntimeEngine(tiny), samples=3, seed=5)(volume)
    np.testing.assert_allclose(on_gpu.image, on_cpu.image, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(on_gpu.std, on_cpu.std, rtol=1e-3, atol=1e-5)
    assert np.ptp(on_gpu.image) > 0


@pytest.fixture
def compiled(monkeypatch) -> list[str]:
    kernels: list[str] = []
    monkeypatch.setattr(IRuntimeCache, "_compiled", kernels)
    return kernels


def test_what_the_verification_compiled_is_not_compiled_again(machine, asked, tiny, compiled):
    trt = make_module(rtx=True)
    request = replace(asked, engine="tensorrt-rtx", trt=trt, targets=((9, 0),))
    entry = build_engine(request, bar=silent)
    assert len(compiled) == 3  # guidance, coarse and denoiser
    (kept,) = (path for path in entry.folder.iterdir() if path.name.startswith("runtime-"))
    before = kept.stat().st_mtime_ns
    engine = open_installed(tiny, "tensorrt-rtx", trt=trt)
    Reconstructor(tiny, engine=engine)(volume_of(7))
    assert len(compiled) == 3
    assert kept.stat().st_mtime_ns == before
    assert build_engine(request, bar=silent).folder == entry.folder  # and it is still sound
