"""Slices to the GPU and results back while the previous batch computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from petrt.arrays import Array

if TYPE_CHECKING:
    from petrt._cuda import DeviceArray, Stream

MARGIN = 2  # neighbouring slices on either side of a batch
RESULTS = ("mean", "std", "coarse")


class Transfer:
    """Page-locked memory, device copies and a copy stream for one batch in flight; ``kept`` samples of each
    slice come back, too.

    Two transfers take turns: while the networks work on one batch, the results of the other come back and
    its next slices go up. Streams wait for each other; the host waits in ``collect`` only.
    """

    def __init__(
        self, slices: int, height: int, width: int, compute: Stream, kept: int = 0
    ) -> None:
        from petrt._cuda import DeviceArray, Stream, pinned

        device = compute.device
        self._compute, self._stream = compute, Stream(device)
        inward = (slices + 2 * MARGIN, height, width)
        self._host_planes, self._planes = pinned(inward), DeviceArray(inward, device=device)
        outward = dict.fromkeys(RESULTS, (slices, 1, height, width))
        if kept:
            outward["drawn"] = (slices, kept, height, width)
        self._host = {name: pinned(shape) for name, shape in outward.items()}
        self._device = {n: DeviceArray(shape, device=device) for n, shape in outward.items()}
        self._slices = slices
        self._first: int | None = None

    def send(self, volume: Array, first: int) -> tuple[DeviceArray, int]:
        """Send slices ``first ..`` with their neighbours; returns them and the number of the first.

        What is enqueued on the compute stream afterwards finds them there.
        """
        begin = max(0, min(first - MARGIN, len(volume) - len(self._host_planes)))
        part = volume[begin : begin + len(self._host_planes)]
        self._host_planes[: len(part)] = part
        self._planes.upload(self._host_planes, self._stream)
        self._compute.wait(self._stream)
        self._first = first
        return self._planes, begin

    def fetch(self, results: Mapping[str, Any]) -> None:
        """Start bringing the batch's results back, as the compute stream leaves them."""
        for name, source in results.items():
            self._device[name].copy_from(source, self._compute)
        self._stream.wait(self._compute)
        for name in results:
            self._device[name].download(self._host[name], self._stream)

    def wait(self) -> None:
        """Until nothing in flight touches this memory."""
        self._stream.synchronize()

    def collect(self, out: Mapping[str, Array]) -> None:
        """Wait for the batch and write its results into volumes [Z, H, W], samples into [Z, kept, H, W].

        What the batch holds beyond the volume is dropped.
        """
        assert self._first is not None
        self._stream.synchronize()
        part = slice(self._first, self._first + self._slices)
        for name, volume in out.items():
            place = volume[part]
            place[:] = self._host[name][: len(place)].reshape(place.shape)
