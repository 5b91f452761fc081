"""TensorRT and the CUDA module, played on host memory."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from petrt.engines.tensorrt import engine as tensorrt
from petrt.model.bundle import Bundle, load_bundle
from tests.engines.tensorrt import fake_tensorrt


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """petrt._cuda with the two classes that engines use."""
    module = types.SimpleNamespace(
        DeviceArray=fake_tensorrt.DeviceArray, Stream=fake_tensorrt.Stream
    )
    monkeypatch.setitem(sys.modules, "petrt._cuda", module)
    monkeypatch.setattr(tensorrt, "CurrentDevice", fake_tensorrt.Current)
    return module


@pytest.fixture(scope="session")
def tiny(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine folder of this test's own; not made yet."""
    monkeypatch.setenv("PETRT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"
