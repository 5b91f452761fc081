"""Selects the engine and device that run a bundle."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from petrt.engines.base import Engine
from petrt.engines.candidates import (
    DOCTOR,
    NAMES,
    NO_GPU,
    ON_CPU,
    ON_GPU,
    Missing,
    candidates,
    find_gpu,
)
from petrt.engines.store.open import Verify
from petrt.errors import DeviceError, UsageError, called, way
from petrt.hardware.cpu import default_threads as default_threads
from petrt.hardware.gpus import Gpu
from petrt.model.bundle import Bundle
from petrt.model.half_precision import Precision
from petrt.values import MOST_WORKERS, shown, whole

logger = logging.getLogger("petrt")

ENGINES = ("auto", "native", "onnxruntime", "openvino", "torch", "tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp32", "fp16", "bf16")
GPU_ONLY = ("tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class ChosenEngine:
    """The engine, and one line that says which it is and why it was chosen."""

    engine: Engine
    reason: str


def select_engine(
    bundle: Bundle,
    engine: str = "auto",
    device: str = "auto",
    precision: str | None = None,
    threads: int = 1,
    verify: Verify | None = None,
) -> Engine:
    """The engine that ``choose`` finds. A log line says which and why."""
    choice = choose(bundle, engine, device, precision, threads, verify)
    logger.info("engine: %s", choice.reason, extra={"event": "engine"})
    return choice.engine


def choose(
    bundle: Bundle,
    engine: str = "auto",
    device: str = "auto",
    precision: str | None = None,
    threads: int = 1,
    verify: Verify | None = None,
) -> ChosenEngine:
    """The engine asked for, or with "auto" the first in a fixed order that this machine can run.

    Args:
        engine: one of ENGINES. On a GPU "auto" takes an installed TensorRT engine, then PyTorch, then
            ONNX Runtime. On a CPU it takes petrt's own, then ONNX Runtime, OpenVINO and PyTorch, in
            "fp32" by default.
        device: "auto" (the first GPU, if an engine can use it, else the CPU), "cpu", "cuda" or
            "cuda:1".
        precision: "fp32", "fp16" or "bf16"; None: the engine's default.
        threads: number of threads in one call of a CPU engine. Several workers make calls in parallel
            (petrt.inference.cpu.pipeline).
        verify: verifies an installed engine that is new on its GPU (petrt.inference.verify_engine).

    Raises:
        UsageError: an unknown or contradictory option. DeviceError: the engine or device is not
        available; the hint gives the next command. InputError: the engine refuses the bundle.
    """
    index = _check(engine, device, precision, threads)
    wanted = cast(Precision | None, precision)
    passed: list[Missing] = []
    if index is not None:
        gpu = find_gpu(index)
        if isinstance(gpu, Missing):
            if device != "auto" or engine in GPU_ONLY:
                raise _no_gpu(engine, device, gpu)
            passed.append(gpu)
        else:
            names = ON_GPU if engine == "auto" else (engine,)
            choice = _first(bundle, gpu, names, wanted, passed, verify=verify)
            if choice is not None:
                return choice
            if device != "auto" or engine in GPU_ONLY:
                raise _nothing(gpu.name, passed)
    other: list[Missing] = []
    on_cpu = ON_CPU if engine == "auto" else (engine,)
    if engine == "auto":  # the engine does not change the default precision
        wanted = wanted or "fp32"
    choice = _first(bundle, None, on_cpu, wanted, other, threads)
    if choice is None:
        raise _nothing("the CPU", other)
    return ChosenEngine(choice.engine, _because(choice.reason, [*passed, *other]))


def _check(engine: str, device: str, precision: str | None, threads: int) -> int | None:
    """The GPU's index, None for the CPU. Raises UsageError."""
    whole("threads", threads, 1, MOST_WORKERS)
    if engine not in ENGINES:
        raise UsageError(
            f"{called('engine')} is {shown(engine)}", f"choose from {', '.join(ENGINES)}"
        )
    if precision not in (None, *PRECISIONS):
        raise UsageError(
            f"{called('precision')} is {shown(precision)}", f"choose from {', '.join(PRECISIONS)}"
        )
    text = device if isinstance(device, str) else ""
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d{1,3}))?", text)
    if match is None:
        raise UsageError(
            f"{called('device')} is {shown(device)}", "choose auto, cpu, cuda or cuda:N"
        )
    if device == "cpu" and engine in GPU_ONLY:
        raise UsageError(
            f"{NAMES[engine]} runs on a GPU only",
            f"{way('device', 'cuda', 'uses one')}; or choose another engine",
        )
    cpu_only = engine not in ("auto", *ON_GPU)
    if cpu_only and device.startswith("cuda"):
        raise UsageError(f"{NAMES[engine]} runs on a CPU only", way("device", "cpu", "uses it"))
    return None if device == "cpu" or cpu_only else int(match[1] or 0)


def _first(
    bundle: Bundle,
    gpu: Gpu | None,
    names: tuple[str, ...],
    precision: Precision | None,
    passed: list[Missing],
    threads: int = 1,
    verify: Verify | None = None,
) -> ChosenEngine | None:
    """The first of ``names`` that opens, or None. Those before it are appended to ``passed``.

    Those after it are not looked up.
    """
    for candidate in candidates(bundle, gpu, names, precision, threads, verify):
        if isinstance(candidate, Missing):
            passed.append(candidate)
            continue
        try:
            engine = candidate.open()
        except DeviceError as error:
            if len(names) == 1:
                raise
            logger.warning("%s cannot be used: %s", candidate.name, error)
            passed.append(Missing(candidate.name, error.message, error.hint))
            continue
        text = f"{candidate} on {gpu.name if gpu else 'the CPU'}"
        # A slower engine runs, so say why the preferred one does not.
        slower = gpu is not None and engine.name not in GPU_ONLY
        return ChosenEngine(engine, _because(text, passed if slower else []))
    return None


def _because(text: str, passed: Sequence[Missing]) -> str:
    """``text`` with the first reason. That a machine has no GPU is nothing to look into."""
    if passed and passed[0].reason == NO_GPU:
        return f"{text} ({NO_GPU})"
    return f"{text}: {passed[0]}" if passed else text


def _no_gpu(engine: str, device: str, gpu: Missing) -> DeviceError:
    """The error for a GPU that is asked for or needed and not available."""
    if engine in GPU_ONLY:
        return DeviceError(f"{NAMES[engine]} needs a GPU: {gpu.reason}", gpu.hint)
    return DeviceError(
        f"cannot use {device}: {gpu.reason}", f"{gpu.hint}; {way('device', 'cpu', 'does without')}"
    )


def _nothing(where: str, passed: Sequence[Missing]) -> DeviceError:
    """The error if no engine can run."""
    if len(passed) == 1:
        return DeviceError(passed[0].reason, passed[0].hint)
    reasons = "; ".join(missing.reason for missing in passed)
    return DeviceError(f"no engine can run on {where}: {reasons}", DOCTOR)
