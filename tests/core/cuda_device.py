"""Arrays to and from the CUDA module, and a stand-in network made of its own operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt import _core


class Device:
    """A form of petrt._cuda with a stream. ``exact``: its log, sin and cos are the CPU's."""

    def __init__(self, module: Any, exact: bool) -> None:
        self.module, self.exact = module, exact
        self.stream = module.Stream()

    def array(self, values: NDArray[Any]) -> Any:
        """A DeviceArray with these values."""
        array = self.module.DeviceArray(values.shape, str(values.dtype))
        array.upload(np.ascontiguousarray(values), self.stream)
        self.stream.synchronize()
        return array

    def values(self, array: Any) -> NDArray[Any]:
        """What a DeviceArray holds once the stream is done."""
        out = np.empty(array.shape, array.dtype)
        array.download(out, self.stream)
        self.stream.synchronize()
        return out


class Part:
    """Some elements of a device array, as any library would show them."""

    def __init__(self, array: Any, begin: int, shape: tuple[int, ...], **changes: Any) -> None:
        whole = array.__cuda_array_interface__
        address = whole["data"][0] + begin * array.nbytes // int(np.prod(array.shape))
        self._keeps = array
        self.__cuda_array_interface__ = whole | {"shape": shape, "data": (address, False)} | changes


# One step of the loop serves as the network: eps <- 0.3 r + 0.7 clamp(2 r - 0.5 film).
NETWORK = np.array([2.0, 0.5, 0.3, 0.7, 0.0, 0.0])


def cpu_network(loop: Any) -> Callable[[], None]:
    """The network on a ``_core.ReverseLoop`` whose film rows are as long as an image."""
    scratch = np.empty(loop.film_row.size, np.float32)

    def enqueue() -> None:
        loop.eps[...] = loop.r
        for eps in loop.eps:
            _core.reverse_step(
                eps.reshape(-1), loop.film_row.reshape(-1), scratch, None, NETWORK, 1.5
            )

    return enqueue


def device_network(device: Device, loop: Any) -> Callable[[], None]:
    """The same, enqueued on the device's stream."""
    images, voxels = loop.r.shape[0], loop.film_row.shape[1]
    scratch = device.module.DeviceArray((voxels,))
    film = Part(loop.film_row, 0, (voxels,))

    def enqueue() -> None:
        loop.eps.copy_from(loop.r, device.stream)
        for k in range(images):
            eps = Part(loop.eps, k * voxels, (voxels,))
            device.module.reverse_step(eps, film, scratch, None, NETWORK, 1.5, device.stream)

    return enqueue
