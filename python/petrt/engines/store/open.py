"""Opens an installed engine: finds it, checks it, and verifies it at its first use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from petrt.engines.base import Engine
from petrt.engines.store.folder import Installed, build_command, load_graphs
from petrt.engines.store.match import Wanted, find
from petrt.engines.store.record import LABELS, EngineKind, GpuRecord
from petrt.engines.tensorrt.engine import TensorRTEngine, import_tensorrt
from petrt.engines.tensorrt.runtime_cache import KernelFile
from petrt.errors import DeviceError
from petrt.hardware import gpus, machine
from petrt.hardware.processes import check_package
from petrt.model.bundle import Bundle

logger = logging.getLogger("petrt")


def gpu_here(index: int = 0) -> GpuRecord:
    """The GPU ``cuda:index`` and its driver. Raises DeviceError if there is none."""
    found = gpus.list_gpus()
    if index >= len(found):
        driver = machine.driver()
        why = gpus.why_none() if driver.card else driver.problem
        raise DeviceError(why or f"there is no cuda:{index}, only {len(found)}", "see petrt doctor")
    gpu = found[index]
    return GpuRecord(
        name=gpu.name,
        compute_capability=gpu.compute_capability,
        driver=gpus.driver_version() or "unknown",
    )


def find_installed(
    bundle: Bundle, kind: EngineKind, version: str, gpu: GpuRecord, precision: str | None = None
) -> tuple[Installed | None, str]:
    """The engine of ``bundle`` for this GPU, or None and the reason: "driver 570.1 -> 580.2"."""
    return find(Wanted.of(bundle, kind, version, gpu=gpu, precision=precision))


# (bundle, engine, its installed entry, the GPU): verifies an engine that is new on this GPU. Raises
# DeviceError if its images are wrong.
Verify = Callable[[Bundle, Engine, Installed, GpuRecord], None]


def open_installed(
    bundle: Bundle,
    kind: EngineKind,
    *,
    index: int = 0,
    precision: str | None = None,
    trt: Any = None,
    verify: Verify | None = None,
) -> TensorRTEngine:
    """The installed engine for ``bundle`` on ``cuda:index``, in ``precision`` or in any precision.

    If it was never verified on this GPU with this driver, ``verify`` does so, unless it is None. Raises
    DeviceError, with the command to build one, if no engine is installed or fits, its files were
    changed, or TensorRT refuses it.
    """
    trt = import_tensorrt(kind) if trt is None else trt
    gpu = gpu_here(index)
    entry, reason = find_installed(bundle, kind, str(trt.__version__), gpu, precision)
    if entry is None:
        raise DeviceError(
            f"no {LABELS[kind]} engine for {gpu.name}: {reason}", build_command(bundle.source)
        )
    engine = start(bundle, entry, index=index, trt=trt)
    if verify is not None and not entry.record.verified_on(gpu):
        logger.info("first use of this engine on %s with driver %s", gpu.name, gpu.driver)
        verify(bundle, engine, entry, gpu)
    return engine


def start(bundle: Bundle, entry: Installed, *, index: int, trt: Any) -> TensorRTEngine:
    """The engine from its checked files, on its own stream, with the cached kernels for this GPU."""
    check_package("CUDA")
    from petrt._cuda import Stream

    record = entry.record
    return TensorRTEngine(
        bundle,
        load_graphs(entry, bundle),
        kind=record.engine,
        precision=record.precision,
        stream=Stream(index),
        trt=trt,
        kernels=KernelFile(entry, gpu_here(index)),
    )
