"""A dry run's stand-in for a GPU: petrt's CUDA module on host memory, ONNX Runtime enqueued on it.

Everything above them is the real thing: pipeline, launches, transfers, sections, tests. As a pytest plugin
(``-p stand_in``) it lets the tests that need a GPU run on it. What it times says nothing about a GPU.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAME = "stand-in"
TWIN = "petrt's CUDA module on host memory, ONNX Runtime enqueued on it"


def twin() -> Any:
    """petrt._cuda of host memory, compiled where the tests have not: their cache, or $PETRT_TWIN."""
    from tests.core.cuda_twin import build

    folder = Path(os.environ.get("PETRT_TWIN", ROOT / ".pytest_cache" / "d" / "cuda_twin"))
    folder.mkdir(parents=True, exist_ok=True)
    return build.load(build.build(folder))


def install() -> Any:
    """Put the stand-in where petrt looks for a GPU, for the rest of this process."""
    import petrt
    from petrt.engines import select
    from petrt.errors import DeviceError
    from petrt.hardware import gpus

    cuda = twin()
    cuda.architectures = ("90",)
    sys.modules["petrt._cuda"] = petrt._cuda = cuda
    if "petrt.inference.cuda.device" in sys.modules:
        sys.modules["petrt.inference.cuda.device"]._cuda = cuda  # type: ignore[attr-defined]
    gpu = gpus.Gpu(0, NAME, (9, 0), 8 << 30)
    gpus.list_gpus = lambda: [gpu]
    gpus.why_none = lambda: None
    gpus.driver_version = lambda: None
    gpus.cuda_version = lambda: None

    def select_engine(
        bundle: Any, engine: str = "auto", device: str = "auto", precision: Any = None, *_: Any
    ) -> Any:
        from tests.inference.cuda.conftest import QueuedEngine

        if engine != "torch":
            raise DeviceError(f"no {engine} here", "petrt doctor")
        return QueuedEngine(bundle, cuda)

    _on_gpu_else_usual(select, select_engine)
    from benchmarks.latency import kernel_table

    kernel_table.traced = _traced
    return cuda


def _on_gpu_else_usual(select: Any, stand_in: Any) -> None:
    usual = select.select_engine

    def chosen(bundle: Any, engine: str = "auto", device: str = "auto", *rest: Any) -> Any:
        which = stand_in if str(device).startswith("cuda") else usual
        return which(bundle, engine, device, *rest)

    select.select_engine = chosen


def _traced(run: Any, synchronize: Any, warm_up: int) -> list[dict[str, Any]]:
    """A run as it is, and a trace such as the profiler would write of three kernels."""
    run()
    synchronize()
    convolution = {
        "External id": 7,
        "Input Dims": [[8, 16, 32, 32], [16, 16, 3, 3], [], [], []],
        "Input type": ["c10::BFloat16", "c10::BFloat16", "ScalarList", "ScalarList", "ScalarList"],
        "Concrete Inputs": ["", "", "[1, 1]", "[1, 1]", "[1, 1]"],
    }
    kernels = [
        ("sm90_xmma_fprop_implicit_gemm_bf16", 7, 0.0, 20.0),
        ("void petrt::cuda::elementwise<petrt::Step>(petrt::Step, unsigned int)", 0, 21.0, 5.0),
        (
            "void petrt::cuda::elementwise<petrt::Average>(petrt::Average, unsigned int)",
            0,
            27.0,
            3.0,
        ),
    ]
    return [
        {
            "cat": "cpu_op",
            "name": "aten::cudnn_convolution",
            "ts": 0,
            "dur": 1,
            "args": convolution,
        },
        *(
            {"cat": "kernel", "name": name, "ts": ts, "dur": dur, "args": {"External id": identity}}
            for name, identity, ts, dur in kernels
        ),
    ]


def pytest_configure(config: Any) -> None:
    """As a plugin: before any test module is imported."""
    install()
