"""Lists the NVIDIA GPUs and the driver of this machine, through nvidia-ml-py (NVML).

NVML creates no CUDA context and uses no GPU memory. It lists every GPU in its own order. The CUDA runtime
in petrt's CUDA module gives CUDA's order and the GPUs hidden by CUDA_VISIBLE_DEVICES; the two lists are
matched by PCI bus id. Without that module the order is NVML's. The driver is queried once per process, as
CUDA reads its environment variables once.

This file imports nothing of petrt, because ``benchmarks/gpu/needs.py`` loads it before petrt is built.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

logger = logging.getLogger("petrt")

# Compute capability of the GPUs for which TensorRT for RTX builds engines without such a GPU.
RTX_TARGETS: dict[str, tuple[int, int]] = {"rtx30": (8, 6), "rtx40": (8, 9), "rtx50": (12, 0)}
RTX_CAPABILITIES = "8.6, 8.9 and 12.x"

VISIBLE = "CUDA_VISIBLE_DEVICES"
# The beginnings of ``why_none``; ``petrt.hardware.machine`` has a remedy for each.
HIDDEN = VISIBLE
NO_NVML = "nvidia-ml-py, which lists the GPUs, is not installed"
NO_DRIVER = "no NVIDIA driver"
MISMATCH = "the NVIDIA driver's library and its kernel module are of different versions"
LOST = "a GPU is lost to the driver"
NOTHING = "the NVIDIA driver shows no GPU"

Pci = tuple[int, int, int]  # domain, bus, device


def serves_rtx(compute_capability: tuple[int, int]) -> bool:
    """Whether TensorRT for RTX runs on this compute capability, one of RTX_CAPABILITIES."""
    return compute_capability in ((8, 6), (8, 9)) or compute_capability[0] == 12


@dataclass(frozen=True)
class Gpu:
    """One GPU; ``index`` is its CUDA ordinal, as in ``cuda:0``. ``memory_bytes``: 0 if unknown."""

    index: int
    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int


def list_gpus() -> list[Gpu]:
    """All GPUs visible to CUDA; empty if there is none (``why_none`` gives the reason)."""
    return list(_driver().gpus)


def why_none() -> str | None:
    """The reason why ``list_gpus`` is empty, in one line; None if it is not empty."""
    return _driver().reason


def cuda_version() -> tuple[int, int] | None:
    """The newest CUDA version that the driver supports, such as (13, 0); None without a driver."""
    return _driver().cuda


def driver_version() -> str | None:
    """The driver's release, such as "580.65.06"; None without one."""
    return _driver().version


@dataclass(frozen=True)
class _Driver:
    """What the driver answered. ``reason``: why there is no GPU, None if there is one."""

    version: str | None = None
    cuda: tuple[int, int] | None = None
    gpus: tuple[Gpu, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class _Device:
    """A GPU in NVML's list. ``uuids``: its own and those of its MIG instances."""

    pci: Pci
    uuids: tuple[str, ...]
    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int


@lru_cache(maxsize=1)
def _driver() -> _Driver:
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return _Driver(reason=f"{NO_NVML}: pip install 'petrt[cuda]'")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _Driver(reason=_text(nvml, error))
    try:
        return _ask(nvml)
    except nvml.NVMLError as error:
        return _Driver(reason=_text(nvml, error))
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _ask(nvml: Any) -> _Driver:
    """Raises NVMLError."""
    version = str(nvml.nvmlSystemGetDriverVersion())
    try:
        cuda = divmod(int(nvml.nvmlSystemGetCudaDriverVersion_v2()) // 10, 100)
    except nvml.NVMLError:  # NVML found no libcuda
        hint = "in a container, set NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        return _Driver(version, reason=f"the NVIDIA driver is here without CUDA: {hint}")
    devices, failure = _devices(nvml)
    gpus = tuple(
        Gpu(index, device.name, device.compute_capability, device.memory_bytes)
        for index, device in enumerate(_in_cuda_order(devices))
    )
    if gpus:
        return _Driver(version, cuda, gpus)
    names = os.environ.get(VISIBLE)
    if devices and names is not None:
        return _Driver(version, cuda, reason=f"{HIDDEN}={names!r} hides every GPU")
    return _Driver(version, cuda, reason=failure or NOTHING)


def _devices(nvml: Any) -> tuple[list[_Device], str | None]:
    """All GPUs that answer, and the failure of the last one that does not."""
    found: list[_Device] = []
    failure = None
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            found.append(_device(nvml, nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError as error:
            failure = _text(nvml, error)
            if error.value != nvml.NVML_ERROR_NO_PERMISSION:  # GPUs of other jobs on a cluster
                logger.warning("GPU %d of the driver's list is left out: %s", index, failure)
    return found, failure


def _device(nvml: Any, handle: Any) -> _Device:
    """Raises NVMLError."""
    pci, instances = nvml.nvmlDeviceGetPciInfo(handle), _instances(nvml, handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    named = os.environ.get(VISIBLE, "").split(",")
    chosen = [one for uuid, one in instances if any(n and uuid.startswith(n) for n in named)]
    # A process sees one instance of a MIG GPU: the one it names, or the first.
    shown = [*chosen, *(one for _, one in instances), handle][0]
    return _Device(
        (pci.domain & 0xFFFF, pci.bus, pci.device),
        (str(nvml.nvmlDeviceGetUUID(handle)), *(uuid for uuid, _ in instances)),
        str(nvml.nvmlDeviceGetName(shown)),
        (major, minor),
        _memory(nvml, shown),
    )


def _instances(nvml: Any, handle: Any) -> list[tuple[str, Any]]:
    """UUID and handle of each MIG instance of a GPU; empty without MIG."""
    found: list[tuple[str, Any]] = []
    with suppress(nvml.NVMLError):  # a GPU or a driver without MIG
        if nvml.nvmlDeviceGetMigMode(handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return found
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            with suppress(nvml.NVMLError):  # unused instance slots
                instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                found.append((str(nvml.nvmlDeviceGetUUID(instance)), instance))
    return found


def _memory(nvml: Any, handle: Any) -> int:
    """The GPU's memory in bytes; 0 if unknown, as for GPUs that share the CPU's memory."""
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:
        return 0


def _in_cuda_order(devices: Sequence[_Device]) -> list[_Device]:
    """The GPUs visible to CUDA, by ordinal, up to the first that NVML does not list."""
    ids = _cuda_bus_ids() if devices else None
    if ids is None:
        return list(_named(devices, os.environ.get(VISIBLE)))
    by_pci = {device.pci: device for device in devices}
    found: list[_Device] = []
    for text in ids:
        device = by_pci.get(parse_pci(text))
        if device is None:  # a gap would give the later GPUs wrong ordinals
            text = f"cuda:{len(found)} ({text})"
            logger.warning("%s and later ones are left out: NVML does not list it", text)
            break
        found.append(device)
    return found


def _cuda_bus_ids() -> list[str] | None:
    """PCI bus ids by CUDA ordinal; None if the CUDA module is absent or cannot use CUDA.

    ``petrt.hardware.machine.cuda_module`` gives the reason."""
    try:
        module: Any = importlib.import_module("petrt._cuda")
    except ImportError:
        return None
    try:
        return [module.pci_bus_id(index) for index in range(module.device_count())]
    except module.CudaError as error:
        return [] if "cudaErrorNoDevice" in str(error) else None


def parse_pci(text: str) -> Pci:
    """ "0000:3B:00.0" -> (0, 59, 0). Only 16 bits of the domain are kept, as in CUDA; NVML has 32."""
    domain, bus, rest = text.split(":")
    return int(domain, 16) & 0xFFFF, int(bus, 16), int(rest.split(".")[0], 16)


def _named(devices: Sequence[_Device], names: str | None) -> Iterator[_Device]:
    """The GPUs named by CUDA_VISIBLE_DEVICES, by CUDA's rules.

    Names are indices or beginnings of UUIDs, up to the first that names no GPU. If one GPU is named
    twice, none is visible."""
    if names is None:
        yield from devices
        return
    found: list[_Device] = []
    for name in (each.strip() for each in names.split(",")):
        if name.isdecimal():
            fits = list(devices[int(name) : int(name) + 1])
        else:
            fits = [d for d in devices if name and any(u.startswith(name) for u in d.uuids)]
        if len(fits) != 1:
            break
        if fits[0] in found:
            return
        found += fits
    yield from found


def _text(nvml: Any, error: Any) -> str:
    """An NVMLError in one line."""
    known = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: f"{NO_DRIVER}: libnvidia-ml.so.1 is not found or does not load",
        nvml.NVML_ERROR_FUNCTION_NOT_FOUND: "the NVIDIA driver is too old for nvidia-ml-py",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: f"{NO_DRIVER} loaded: its kernel module does not answer",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: f"{MISMATCH}, as after an update: restart the machine",
        nvml.NVML_ERROR_NO_PERMISSION: "this user may not use the NVIDIA driver (/dev/nvidia*)",
        nvml.NVML_ERROR_GPU_IS_LOST: f"{LOST}: restart the machine",
    }
    return known.get(error.value, f"the NVIDIA driver fails: {' '.join(str(error).split())}")
