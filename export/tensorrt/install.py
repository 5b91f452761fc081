"""Builds an engine from a bundle, verifies it, and installs it.

Everything stays in memory until the installation, so a failure or Ctrl-C leaves no files and does not
change an installed engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from petrt import _core
from petrt.engines.store.folder import (
    Installed,
    build_lock,
    check_files,
    install,
    installed,
    load_timing_cache,
    private_root,
    record_verification,
)
from petrt.engines.store.match import find
from petrt.engines.store.open import start
from petrt.engines.store.record import PLANS, TIMING_CACHE, EngineRecord, ModelRef, Verified
from petrt.engines.tensorrt.engine import TensorRTEngine
from petrt.engines.tensorrt.runtime_cache import KernelFile, KernelMemory
from petrt.errors import DeviceError
from petrt.export.tensorrt.plan import build_plan
from petrt.export.tensorrt.request import Request
from petrt.hardware import machine
from petrt.inference.verify_engine import verify
from petrt.model.bundle import file_entry

logger = logging.getLogger("petrt")

# (label, unit) -> a progress bar that takes (done, total), as petrt.cli.progress.bar.
Bar = Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass
class _Built:
    """The results of the builds so far; each build starts from the timing cache of the previous one."""

    timing_cache: bytes
    plans: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0


def look_up(request: Request) -> tuple[Installed | None, str]:
    """The installed engine that fits and is not broken, or None and the reason."""
    entry, reason = find(request.wanted)
    if entry is not None:
        broken = check_files(entry)
        if broken is not None:
            return None, f"the installed one is broken: {broken}"
    return entry, reason


def build_engine(
    request: Request, *, force: bool = False, wait: bool = True, bar: Bar
) -> Installed:
    """Build, verify and install the requested engine; only with ``force`` if it is already installed.

    If several processes want the same engine, one builds it and the others wait; without ``wait`` they
    raise DeviceError. For a GPU of this
    machine its images are verified first; for others it is installed unverified. Raises DeviceError,
    and installs nothing, if TensorRT refuses or the images are wrong.
    """
    private_root(create=True)  # fails before minutes of work if the folder cannot be used
    if request.gpu is not None:
        need_cuda_module()
    entry, reason = look_up(request)
    if entry is not None and not force:
        return _kept(request, entry)
    with build_lock(request.key, wait=wait):
        entry, now = look_up(request)
        if entry is not None and not force:  # another process was first
            return _kept(request, entry)
        logger.info("building %s: %s", request, "as asked (--force)" if entry else now or reason)
        built = _build(request, bar)
        verified, kernels = None, KernelMemory()
        if request.gpu is not None:
            verified = _verify(request, _candidate(request, built.plans, kernels))
        files = {PLANS[graph]: plan for graph, plan in built.plans.items()}
        if built.timing_cache:
            files[TIMING_CACHE] = built.timing_cache
        entry = install(_record(request, files, built.seconds, verified), files)
        if request.gpu is not None and kernels.kernels:  # saves the next process their compilation
            KernelFile(entry, request.gpu).save(kernels.kernels)
        return entry


def need_cuda_module() -> None:
    """Raise DeviceError if petrt's CUDA module is not ready, because then no engine can run."""
    module = machine.cuda_module()
    if module.state != "ready":
        text = f"petrt's CUDA module is {module.state}"
        raise DeviceError(
            f"{text}: {module.detail}" if module.detail else text, module.fix or "see petrt doctor"
        )


def _kept(request: Request, entry: Installed) -> Installed:
    """The installed engine, verified on this GPU if it was not yet."""
    logger.info("%s is installed already", request)
    if request.gpu is None or entry.record.verified_on(request.gpu):
        return entry
    engine = start(request.bundle, entry, index=request.index or 0, trt=request.trt)
    return record_verification(entry, _verify(request, engine))


def _build(request: Request, bar: Bar) -> _Built:
    """Build the plans of all networks of the bundle."""
    built = _Built(_earlier_timing_cache(request.key))
    for graph in request.bundle.graphs:
        model = request.bundle.onnx(graph, request.precision)
        assert model is not None
        with bar(f"building {graph}", "%") as progress:
            plan = build_plan(
                request.trt,
                model,
                request.profile,
                workspace_bytes=request.flags.workspace_bytes,
                timing_cache=built.timing_cache,
                targets=request.targets,
                hardware_compatibility=request.flags.hardware_compatibility,
                tf32=request.flags.tf32,
                device=request.index,
                progress=progress,
            )
        logger.info("%s: %.1f s, %.1f MB", graph, plan.seconds, len(plan.data) / 1e6)
        built.plans[graph] = plan.data
        built.seconds += plan.seconds
        built.timing_cache = plan.timing_cache or built.timing_cache
    return built


def _earlier_timing_cache(key: str) -> bytes:
    """The timing cache of the engine to be replaced; TensorRT ignores entries that do not apply."""
    earlier = [entry for entry in installed()[0] if entry.record.key == key]
    return load_timing_cache(earlier[0]) if earlier else b""


def _candidate(
    request: Request, plans: Mapping[str, bytes], kernels: KernelMemory
) -> TensorRTEngine:
    """The engine from the bytes that will be installed."""
    from petrt._cuda import Stream

    return TensorRTEngine(
        request.bundle,
        plans,
        kind=request.engine,
        precision=request.precision,
        stream=Stream(request.index or 0),
        trt=request.trt,
        kernels=kernels,
    )


def _verify(request: Request, engine: Any) -> Verified:
    size = request.profile.height[1], request.profile.width[1]
    return verify(request.bundle, engine, size=size, gpu=request.gpu)


def _record(
    request: Request, files: Mapping[str, bytes], seconds: float, verified: Verified | None
) -> EngineRecord:
    return EngineRecord(
        petrt=_core.__version__,
        model=ModelRef(name=request.bundle.model.name, sha256=request.bundle.identity),
        engine=request.engine,
        engine_version=request.version,
        precision=request.precision,
        profile=request.profile_record,
        gpu=request.gpu if request.engine == "tensorrt" else None,
        targets=request.targets,
        flags=request.flags,
        files={name: file_entry(data) for name, data in files.items()},
        built=datetime.now(timezone.utc).isoformat(),
        built_seconds=round(seconds, 2),
        verified=verified,
    )
