"""Which CUDA GPUs and which driver this machine has, asked of the driver itself (libcuda).

Needs no CUDA package: ctypes on ``libcuda.so.1``, which comes with the driver. No context is
created, so that asking costs no GPU memory. The order of the GPUs is CUDA's own and respects
CUDA_VISIBLE_DEVICES. The driver is asked once per process.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

LIBRARY = "libcuda.so.1"

# Compute capability of the GPUs that TensorRT for RTX builds engines for without having them.
RTX_TARGETS: dict[str, tuple[int, int]] = {"rtx30": (8, 6), "rtx40": (8, 9), "rtx50": (12, 0)}
RTX_CAPABILITIES = "8.6, 8.9 and 12.x"

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_RELEASE = re.compile(r"\b\d{3,}\.\d+(?:\.\d+)?\b")


def serves_rtx(compute_capability: tuple[int, int]) -> bool:
    """Whether TensorRT for RTX runs on such a GPU: on RTX_CAPABILITIES and no others."""
    return compute_capability in ((8, 6), (8, 9)) or compute_capability[0] == 12


@dataclass(frozen=True)
class Gpu:
    """One GPU; ``index`` is its CUDA ordinal, as in ``cuda:0``."""

    index: int
    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int


def list_gpus() -> list[Gpu]:
    """All GPUs that CUDA shows; empty where there is none (``why_none`` tells the reason)."""
    return list(_driver().gpus)


def why_none() -> str | None:
    """Why ``list_gpus`` is empty, in a few words; None if it is not."""
    return _driver().reason


def cuda_version() -> tuple[int, int] | None:
    """The newest CUDA version that the driver supports, such as (13, 0); None without a driver."""
    return _driver().cuda


def driver_version() -> str | None:
    """The driver's release, such as "580.65.06"; "CUDA 13.0" where it is hidden; None without one.

    The kernel module tells it, else (in containers without /proc/driver) the file name of the
    loaded library.
    """
    cuda = _driver().cuda
    if cuda is None:
        return None
    for source in ("/sys/module/nvidia/version", "/proc/driver/nvidia/version"):
        release = _RELEASE.search(_text(source))
        if release:
            return release[0]
    loaded = re.search(r"/libcuda\.so\.(\d{3,}\.\d+(?:\.\d+)?)$", _text("/proc/self/maps"), re.M)
    return loaded[1] if loaded else f"CUDA {cuda[0]}.{cuda[1]}"


@dataclass(frozen=True)
class _Driver:
    """The answers of one round of questions."""

    cuda: tuple[int, int] | None
    gpus: tuple[Gpu, ...] = ()
    reason: str | None = None


class _CallError(Exception):
    """A call of the driver failed or does not exist."""


@lru_cache(maxsize=1)
def _driver() -> _Driver:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        if "No such file" in str(error):
            return _Driver(None, reason=f"no NVIDIA driver: {LIBRARY} not found")
        return _Driver(None, reason=f"{LIBRARY} cannot be loaded: {error}")
    version = None
    try:
        version = divmod(_number(library, "cuDriverGetVersion") // 10, 100)
        _call(library, "cuInit", 0)
        count = _number(library, "cuDeviceGetCount")
        gpus = tuple(_gpu(library, index) for index in range(count))
    except _CallError as error:
        return _Driver(version, reason=str(error))
    if not gpus:
        return _Driver(version, reason="the NVIDIA driver shows no GPU")
    return _Driver(version, gpus)


def _gpu(library: ctypes.CDLL, index: int) -> Gpu:
    device = _number(library, "cuDeviceGet", index)
    name = ctypes.create_string_buffer(256)
    _call(library, "cuDeviceGetName", name, len(name), device)
    memory = ctypes.c_size_t()
    _call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major, minor = (
        _number(library, "cuDeviceGetAttribute", attribute, device)
        for attribute in (_MAJOR, _MINOR)
    )
    return Gpu(index, name.value.decode(errors="replace"), (major, minor), memory.value)


def _number(library: ctypes.CDLL, name: str, *arguments: Any) -> int:
    """The int that the call writes into its first argument."""
    value = ctypes.c_int()
    _call(library, name, ctypes.byref(value), *arguments)
    return value.value


def _call(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    code = _function(library, name)(*arguments)
    if code == 100:  # CUDA_ERROR_NO_DEVICE
        raise _CallError("the NVIDIA driver shows no GPU")
    if code != 0:
        raise _CallError(f"the NVIDIA driver fails: {name}: {_error_text(library, code)}")


def _function(library: ctypes.CDLL, name: str) -> Callable[..., int]:
    try:
        function: Callable[..., int] = getattr(library, name)
    except AttributeError:
        raise _CallError(f"{LIBRARY} has no {name}: is it a driver's library?") from None
    return function


def _error_text(library: ctypes.CDLL, code: int) -> str:
    """ "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803): system has unsupported …" as the driver words it."""
    words = []
    for name in ("cuGetErrorName", "cuGetErrorString"):
        text = ctypes.c_char_p()
        found = getattr(library, name, None)
        if found is not None and found(code, ctypes.byref(text)) == 0 and text.value:
            words.append(text.value.decode(errors="replace"))
    if not words:
        return f"error {code}"
    return ": ".join([f"{words[0]} ({code})", *words[1:]])


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
