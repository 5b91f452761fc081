"""Which engine and device run a bundle, and why."""

from __future__ import annotations

import os

from petrt.bundle import Bundle
from petrt.engines.base import Engine
from petrt.engines.onnxruntime import OnnxRuntimeEngine
from petrt.errors import DeviceError, UsageError

ENGINES = ("auto", "onnxruntime")


def default_threads() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def select_engine(bundle: Bundle, engine: str = "auto", device: str = "auto") -> Engine:
    """The engine asked for, or for ``auto`` the one this machine offers: ONNX Runtime on the CPU.

    Raises DeviceError where a GPU is asked for: this version has no engine for one.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown engine '{engine}'", f"choose from {', '.join(ENGINES)}")
    if device.split(":")[0] == "cuda":
        raise DeviceError(
            "this version of petrt has no CUDA engine", "use --device cpu, or --device auto"
        )
    if device not in ("auto", "cpu"):
        raise UsageError(f"unknown device '{device}'", "choose auto or cpu")
    return OnnxRuntimeEngine(bundle)
