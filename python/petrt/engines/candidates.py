"""Finds the engines that can run a bundle on a device, and the reasons why others cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from petrt.engines.base import Engine
from petrt.engines.native import engine as native
from petrt.engines.onnxruntime import PRECISIONS, OnnxRuntimeEngine
from petrt.engines.openvino.engine import OpenVINOEngine, check_precision
from petrt.engines.store.open import Verify, find_installed, gpu_here, open_installed
from petrt.engines.store.record import LABELS, EngineKind
from petrt.errors import DeviceError, UsageError, first_line
from petrt.hardware import gpus, machine, packages
from petrt.hardware.gpus import Gpu
from petrt.hardware.processes import check_package
from petrt.model.bundle import Bundle
from petrt.model.half_precision import Precision

# ``auto`` takes the first that can run. The order is fixed and not by speed: engines differ by rounding.
ON_GPU = ("tensorrt", "tensorrt-rtx", "torch", "onnxruntime")
ON_CPU = ("native", "onnxruntime", "openvino", "torch")
NAMES = {
    "native": "petrt's own engine",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torch": "PyTorch",
    **LABELS,
}

DOCTOR = "see petrt doctor"
NO_GPU = "no GPU found"  # petrt doctor says what was asked, and what it answered


@dataclass(frozen=True)
class Ready:
    """An engine that can run. ``note``: more about it. ``open``: creates it."""

    name: str
    version: str
    precision: str
    note: str
    open: Callable[[], Engine]

    def __str__(self) -> str:
        return ", ".join(
            part for part in (f"{self.name} {self.version}", self.precision, self.note) if part
        )


@dataclass(frozen=True)
class Missing:
    """An engine or GPU that cannot be used. ``reason``: why. ``hint``: the command to run next."""

    name: str
    reason: str
    hint: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.hint})" if self.hint else self.reason


def find_gpu(index: int) -> Gpu | Missing:
    """The GPU ``cuda:index``, or Missing if the driver or petrt's CUDA module cannot use it."""
    name = f"cuda:{index}"
    driver = machine.driver()
    if driver.problem and not driver.card:
        return Missing(name, NO_GPU, DOCTOR)
    if driver.problem:
        needs_nvml = driver.problem == gpus.NO_NVML
        return Missing(name, driver.problem, packages.CUDA if needs_nvml else DOCTOR)
    found = gpus.list_gpus()
    if index >= len(found):
        names = ", ".join(f"cuda:{gpu.index}" for gpu in found)
        return Missing(name, f"there is no {name}; this machine has {names}", "use --device cuda")
    module = machine.cuda_module()
    if module.state != "ready":
        what = f"petrt's CUDA module is {module.state}"
        return Missing(
            name, f"{what}: {module.detail}" if module.detail else what, module.fix or DOCTOR
        )
    gpu = found[index]
    if machine.code_for(gpu.compute_capability, module.architectures) is None:
        capability = "{}.{}".format(*gpu.compute_capability)
        built = ", ".join(module.architectures)
        return Missing(
            name,
            f"{gpu.name} has compute capability {capability}, petrt is built for {built}",
            DOCTOR,
        )
    return gpu


def on_gpu(
    bundle: Bundle, gpu: Gpu, name: str, precision: Precision | None, verify: Verify | None = None
) -> Ready | Missing:
    """The engine ``name`` on ``gpu``. Looks at packages and installed engines, and opens nothing."""
    missing = _part(name, "cuda")
    if missing is not None:
        return missing
    if name == "torch":
        return _torch(bundle, gpu, precision)
    if name == "onnxruntime":
        return _onnxruntime(bundle, gpu, precision)
    return _tensorrt(bundle, gpu, cast(EngineKind, name), precision, verify)


def on_cpu(
    bundle: Bundle, name: str, precision: Precision | None, threads: int = 1
) -> Ready | Missing:
    """The engine ``name`` on the CPU; each call uses ``threads``."""
    if name == "native":
        return _native(bundle, precision, threads)
    missing = _part(name, "cpu")
    if missing is not None:
        return missing
    if name == "torch":
        chosen = precision or "fp32"
        return Ready(
            name,
            _version(name),
            chosen,
            "",
            lambda: _torch_engine(bundle, precision=chosen, threads=threads),
        )
    if name == "openvino":
        return _openvino(bundle, precision, threads)
    return _onnxruntime(bundle, None, precision, threads)


def candidates(
    bundle: Bundle,
    gpu: Gpu | None,
    names: tuple[str, ...],
    precision: Precision | None,
    threads: int = 1,
    verify: Verify | None = None,
) -> Iterator[Ready | Missing]:
    """Each of ``names`` on ``gpu``, or on the CPU if that is None, looked up one by one."""
    for name in names:
        if gpu is None:
            yield on_cpu(bundle, name, precision, threads)
        else:
            yield on_gpu(bundle, gpu, name, precision, verify)


def _part(name: str, device: str) -> Missing | None:
    """The reason why an engine's package cannot be used on ``device``; None if it can."""
    driver, module = machine.driver(), machine.cuda_module()
    place = machine.place(driver, module, machine.gpu_rows(module))
    part = next(p for p in machine.engines(place) if (p.name, p.device) == (name, device))
    if part.state == "ready":
        return None
    detail = (
        f"{NAMES[name]} is {part.state}: {part.detail}"
        if part.detail
        else f"{NAMES[name]} is not installed"
    )
    return Missing(name, detail, part.fix or DOCTOR)


def _version(name: str) -> str:
    found = {"torch": packages.torch, "openvino": packages.openvino}
    package = found.get(name, packages.onnxruntime)()
    return (package.version if package else None) or "of unknown version"


def _native(bundle: Bundle, precision: Precision | None, threads: int) -> Ready | Missing:
    if precision not in (None, "fp32"):
        hint = "--precision fp32, or another engine"
        return Missing("native", f"{NAMES['native']} does not run {precision}", hint)
    return Ready(
        "native", native.version(), "fp32", "", lambda: native.NativeEngine(bundle, threads=threads)
    )


def _onnxruntime(
    bundle: Bundle, gpu: Gpu | None, precision: Precision | None, threads: int = 1
) -> Ready | Missing:
    name, chosen = "onnxruntime", precision or "fp32"
    where = "cpu" if gpu is None else "cuda"
    if chosen not in PRECISIONS[where]:
        place = "the CPU" if gpu is None else "a GPU"
        hint = f"--precision {'fp32' if gpu is None else 'fp16'}, or --engine torch"
        return Missing(name, f"{NAMES[name]} does not run {chosen} on {place}", hint)
    return Ready(
        name,
        _version(name),
        chosen,
        "",
        lambda: OnnxRuntimeEngine(bundle, precision=chosen, stream=_stream(gpu), threads=threads),
    )


def _openvino(bundle: Bundle, precision: Precision | None, threads: int) -> Ready | Missing:
    name = "openvino"
    try:
        chosen = check_precision(precision)
    except UsageError as error:
        return Missing(name, error.message, error.hint)
    return Ready(
        name,
        _version(name),
        chosen,
        "",
        lambda: OpenVINOEngine(bundle, precision=chosen, threads=threads),
    )


def _torch(bundle: Bundle, gpu: Gpu, precision: Precision | None) -> Ready | Missing:
    try:
        from petrt.engines.torch.cuda import eager_reason, unusable
    except (ImportError, OSError) as error:
        text = f"PyTorch cannot be loaded: {first_line(error)}"
        return Missing("torch", text, DOCTOR)
    if reason := unusable(gpu.index):
        return Missing("torch", reason, DOCTOR)
    eager = eager_reason()
    return Ready(
        "torch",
        _version("torch"),
        precision or "bf16",
        f"not compiled: {eager}" if eager else "compiled",
        lambda: _torch_engine(bundle, precision=precision, stream=_stream(gpu)),
    )


def _torch_engine(bundle: Bundle, **options: Any) -> Engine:
    from petrt.engines.torch.engine import TorchEngine

    return TorchEngine(bundle, **options)


def _tensorrt(
    bundle: Bundle, gpu: Gpu, kind: EngineKind, precision: Precision | None, verify: Verify | None
) -> Ready | Missing:
    from petrt.engines.store.folder import build_command
    from petrt.engines.tensorrt.engine import import_tensorrt

    try:
        version, here = str(import_tensorrt(kind).__version__), gpu_here(gpu.index)
        entry, reason = find_installed(bundle, kind, version, here, precision)
    except DeviceError as error:
        return Missing(kind, error.message, error.hint)
    if entry is None:
        text = f"no {LABELS[kind]} engine for {gpu.name}: {reason}"
        return Missing(kind, text, build_command(bundle.source))
    verified = entry.record.verified_on(here)
    return Ready(
        kind,
        version,
        entry.record.precision,
        "installed and verified" if verified else "installed, to be verified now",
        lambda: open_installed(bundle, kind, index=gpu.index, precision=precision, verify=verify),
    )


def _stream(gpu: Gpu | None) -> Any:
    if gpu is None:
        return None
    check_package("CUDA")
    from petrt._cuda import Stream

    return Stream(gpu.index)
