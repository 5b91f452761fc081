"""The device pipeline on a CPU: the CUDA sources on host memory, ONNX Runtime enqueued like a GPU engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

import petrt
from petrt.engines.base import ANY_BATCH, BatchRange
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.errors import OutOfDeviceMemory
from petrt.model.bundle import Bundle, load_bundle


class QueuedEngine(OnnxRuntimeEngine):
    """ONNX Runtime whose forwards run when the stream gets that far.

    ``limit``: images of one denoiser call that its memory holds; None for any number. ``fixed``:
    slices and samples of every call; None for any.
    """

    device = "cuda:0"

    def __init__(
        self,
        bundle: Bundle,
        cuda: Any,
        *,
        limit: int | None = None,
        fixed: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(bundle)
        self._fixed = fixed
        self.stream, self.device, self._cuda, self._limit = cuda.Stream(), "cuda:0", cuda, limit
        self.capturable = True
        self.bound: list[tuple[str, int]] = []

    def batch_range(self, graph: str) -> BatchRange:
        if self._fixed is None:
            return ANY_BATCH
        slices, samples = self._fixed
        images = slices * samples if graph == "denoiser" else slices
        return images, images

    def bind(self, graph: str, inputs: Any, outputs: Any) -> Callable[[], None]:
        images = len(next(iter(inputs.values())).host)
        low, high = self.batch_range(graph)
        assert low <= images <= (high or images), f"{graph} of {low} to {high} got {images}"
        self.bound.append((graph, images))
        if self._limit is not None and images > self._limit:
            raise OutOfDeviceMemory("no memory for so many images")
        stream, self.stream = self.stream, None  # buffers are NumPy to ONNX Runtime
        try:
            run = super().bind(
                graph,
                {name: array.host for name, array in inputs.items()},
                {name: array.host for name, array in outputs.items()},
            )
        finally:
            self.stream = stream
        return lambda: self._cuda.host_call(self.stream, run)


@pytest.fixture
def cuda(cuda_twin: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """petrt._cuda, of host memory."""
    monkeypatch.setitem(sys.modules, "petrt._cuda", cuda_twin)
    monkeypatch.setattr(petrt, "_cuda", cuda_twin, raising=False)
    from petrt.inference.cuda import device

    monkeypatch.setattr(device, "_cuda", cuda_twin)
    return cuda_twin


@pytest.fixture
def bundle(tiny_bundle: Any) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture
def engine(bundle: Bundle, cuda: Any) -> QueuedEngine:
    return QueuedEngine(bundle, cuda)
