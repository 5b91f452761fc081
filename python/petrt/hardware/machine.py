"""Lists driver, GPUs, CUDA module and engines of this machine, and a command for each missing part.

It is quick: no engine package is imported, no GPU context is created.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from petrt import _core
from petrt.errors import first_line
from petrt.hardware import gpus, packages
from petrt.hardware.packages import Package

State = Literal["ready", "unusable", "broken", "missing"]

# Run in the folder of petrt's sources.
REBUILD = "pip install --force-reinstall --no-deps -C cmake.define.PETRT_CUDA=ON ."
TOOLKIT = "install the CUDA toolkit 13 (https://developer.nvidia.com/cuda-downloads), then"
DRIVER = (
    "install NVIDIA's driver 580 or newer (https://www.nvidia.com/drivers); "
    "in a container, start it with --gpus all"
)
NO_CARD = "no NVIDIA card seen"
# Beginning of a reason from ``petrt.hardware.gpus`` -> its remedy; DRIVER for all other reasons.
REMEDIES = {
    gpus.NO_NVML: packages.CUDA,
    gpus.HIDDEN: f"unset {gpus.VISIBLE}",
    gpus.MISMATCH: "restart the machine",
    gpus.LOST: "restart the machine",
}


@dataclass(frozen=True)
class Part:
    """An optional part. ``fix``: the command that adds or repairs it, None if it is ready."""

    name: str
    device: str
    state: State
    version: str | None
    detail: str
    fix: str | None


@dataclass(frozen=True)
class CudaModule:
    """petrt's CUDA module ``petrt._cuda``; ``architectures``: what it is compiled for, such as "90"."""

    state: State
    architectures: tuple[str, ...]
    detail: str
    fix: str | None


@dataclass(frozen=True)
class GpuRow:
    """A GPU. ``code``: the CUDA module's code that runs on it ("sm_90", "PTX"), None if there is none."""

    index: int
    name: str
    compute_capability: str
    memory_bytes: int
    code: str | None


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver. ``problem``: why it shows no GPU. ``card``: whether there is an NVIDIA card."""

    version: str | None
    cuda: str | None
    problem: str | None
    card: bool
    fix: str | None


def driver() -> Driver:
    """The driver's state, and whether the PCI bus has an NVIDIA card."""
    problem, cuda, fix = gpus.why_none(), gpus.cuda_version(), None
    card = problem is None or _card()
    if problem is not None and card:
        known = next((start for start in REMEDIES if problem.startswith(start)), None)
        fix = DRIVER if known is None else REMEDIES[known]
    if problem is not None and problem.startswith(gpus.NO_NVML):
        problem = gpus.NO_NVML if card else NO_CARD  # without a card nvidia-ml-py is not needed
    version = f"{cuda[0]}.{cuda[1]}" if cuda else None
    return Driver(gpus.driver_version(), version, problem, card, fix)


# Signs of a loaded driver; in WSL, where the PCI bus shows no card, of Windows' driver.
_SIGNS = ("/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1")


def _card() -> bool:
    """Whether there is an NVIDIA display or compute device on the PCI bus, or a sign of one."""
    if any(Path(sign).exists() for sign in _SIGNS):
        return True
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text(), (device / "class").read_text()
        except OSError:
            continue
        if vendor.strip() == "0x10de" and kind.startswith("0x03"):
            return True
    return False


def cuda_module() -> CudaModule:
    """The state of petrt's CUDA module and the GPUs it is built for."""
    fix = REBUILD if _nvcc() else f"{TOOLKIT}: {REBUILD}"
    try:
        module: Any = importlib.import_module("petrt._cuda")
    except ModuleNotFoundError:
        return CudaModule("missing", (), "petrt was built without nvcc", fix)
    except ImportError as error:
        return CudaModule("broken", (), first_line(error), fix)
    architectures = tuple(module.architectures)
    if gpus.why_none() is None:
        try:
            module.device_count()
        except module.CudaError as error:  # the driver is older than the module's CUDA
            return CudaModule("unusable", architectures, first_line(error), DRIVER)
    return CudaModule("ready", architectures, "", None)


def _nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    return shutil.which("nvcc") or shutil.which(f"{home}/bin/nvcc")


def code_for(capability: tuple[int, int], architectures: tuple[str, ...]) -> str | None:
    """The code that runs on a GPU of ``capability``: machine code such as "sm_90", "PTX", or None.

    Machine code runs on GPUs of the same major version and an equal or higher minor version. The driver
    compiles PTX of the newest architecture for all newer GPUs.
    """
    major, minor = capability
    numbers = sorted(int(re.sub(r"\D", "", name)) for name in architectures)
    native = [n for n in numbers if n // 10 == major and n % 10 <= minor]
    if native:
        return f"sm_{native[-1]}"
    return "PTX" if numbers and numbers[-1] <= 10 * major + minor else None


def gpu_rows(module: CudaModule) -> list[GpuRow]:
    """The GPUs, each with the code that the CUDA module holds for it."""
    return [
        GpuRow(
            gpu.index,
            gpu.name,
            "{}.{}".format(*gpu.compute_capability),
            gpu.memory_bytes,
            code_for(gpu.compute_capability, module.architectures),
        )
        for gpu in gpus.list_gpus()
    ]


def onnxruntime_command() -> str:
    """The command that installs ONNX Runtime on this machine, or replaces a broken one."""
    return packages.onnxruntime_command(packages.onnxruntime(), driver().card)


@dataclass(frozen=True)
class Place:
    """What every CUDA engine depends on. ``blocked``: why none can run, None if one can. ``card``: as
    in ``Driver``."""

    cuda_major: int
    driver_cuda: str | None
    blocked: str | None
    rtx: bool
    card: bool


def place(driver: Driver, module: CudaModule, rows: list[GpuRow]) -> Place:
    """Combine driver, GPUs and CUDA module."""
    blocked = driver.problem
    if blocked is None and module.state != "ready":
        blocked = f"petrt's CUDA module is {module.state}"
        blocked += f": {module.detail}" if module.state == "unusable" else ""
    if blocked is None and not any(row.code for row in rows):
        blocked = (
            f"petrt's CUDA module is built for {', '.join(module.architectures)}, not for this GPU"
        )
    # A machine without a driver gets the commands for the newest CUDA.
    newest = packages.NEWEST_CUDA
    major = min(int(driver.cuda.split(".")[0]), newest) if driver.cuda else newest
    capabilities = [r.compute_capability.split(".") for r in rows]
    rtx = any(gpus.serves_rtx((int(major), int(minor))) for major, minor in capabilities)
    return Place(major, driver.cuda, blocked, rtx, driver.card)


def engines(place: Place) -> list[Part]:
    """The state of every engine on each of its devices."""
    n = place.cuda_major
    runtime, torch = packages.onnxruntime(), packages.torch()
    command, onnxruntime = packages.tensorrt_command, packages.onnxruntime_command
    rtx = _on_cuda("tensorrt-rtx", packages.tensorrt_rtx(), place, command("tensorrt-rtx", n))
    if rtx.state == "ready" and not place.rtx:
        rtx = Part(
            rtx.name,
            "cuda",
            "unusable",
            rtx.version,
            f"runs on compute capability {gpus.RTX_CAPABILITIES} only",
            None,
        )
    own = Part(
        "native", "cpu", "ready", _core.__version__, f"{_core.native_kernels()} kernels", None
    )
    return [
        own,
        _on_cpu("onnxruntime", runtime, onnxruntime(runtime, place.card)),
        _on_cuda("onnxruntime", runtime, place, onnxruntime(runtime, True)),
        _on_cpu("openvino", packages.openvino(), packages.OPENVINO),
        _on_cpu("torch", torch, packages.TORCH),
        _on_cuda("torch", torch, place, packages.torch_command(n, replaces=torch is not None)),
        _on_cuda("tensorrt", packages.tensorrt(), place, command("tensorrt", n)),
        rtx,
    ]


def cupy(place: Place) -> Part:
    """CuPy: the spectrum guide's Fourier transform on the GPU."""
    return _on_cuda("cupy", packages.cupy(), place, packages.cupy_command(place.cuda_major))


def _on_cpu(name: str, package: Package | None, fix: str) -> Part:
    if package is None:
        return Part(name, "cpu", "missing", None, "", fix)
    if package.broken:
        return Part(name, "cpu", "broken", package.version, package.broken, _again(package, fix))
    return Part(name, "cpu", "ready", package.version, "", None)


def _on_cuda(name: str, package: Package | None, place: Place, fix: str) -> Part:
    """The state of ``package`` on a GPU. ``fix`` installs it, also in place of a build without CUDA."""
    if package is None:
        return Part(name, "cuda", "missing", None, "", fix)
    version, major = package.version, (package.cuda or "").split(".")[0]
    if package.broken:
        return Part(name, "cuda", "broken", version, package.broken, _again(package, fix))
    if package.cuda == "":
        return Part(name, "cuda", "unusable", version, "installed without CUDA", fix)
    if place.driver_cuda and major.isdigit() and int(major) > place.cuda_major:
        detail = f"built for CUDA {package.cuda}, the driver supports {place.driver_cuda}"
        return Part(name, "cuda", "unusable", version, detail, _again(package, fix))
    if place.blocked:
        return Part(name, "cuda", "unusable", version, place.blocked, None)
    return Part(
        name, "cuda", "ready", version, f"CUDA {package.cuda}" if major.isdigit() else "", None
    )


def _again(package: Package, fix: str) -> str:
    """``fix`` for an unusable package. Without an uninstall pip would keep it or add another one."""
    forced = "--force-reinstall" in fix or fix.startswith("pip uninstall")
    return fix if forced else packages.instead(package.installed, fix)
