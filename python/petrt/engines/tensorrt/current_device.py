"""Sets the current GPU for libraries without a device argument, such as TensorRT."""

from __future__ import annotations

import ctypes
from typing import Any

from petrt.errors import DeviceError

LIBRARY = "libcuda.so.1"  # comes with the driver


class CurrentDevice:
    """``with CurrentDevice(1):`` makes ``cuda:1`` the calling thread's GPU, and restores the earlier one.

    It calls the driver, because TensorRT has its own CUDA runtime, and all CUDA runtimes use the context
    that the driver holds for a thread. Raises DeviceError if the driver refuses.
    """

    def __init__(self, index: int) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise DeviceError(f"{LIBRARY} cannot be loaded: {error}", "see petrt doctor") from error
        device = ctypes.c_int()
        self._context = ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), index)
        # Never released, as in the CUDA runtime itself.
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)

    def __enter__(self) -> CurrentDevice:
        self._call("cuCtxPushCurrent_v2", self._context)
        return self

    def __exit__(self, *error: object) -> None:
        self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            raise DeviceError(f"the NVIDIA driver fails: {name}: error {code}", "see petrt doctor")
