"""The two auxiliary guides (paper section 3.2): neighbouring axial slices and the spectrum."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from petrt import _core

OFFSETS = (-2, -1, 0, 1, 2)
NEIGHBOURS = len(OFFSETS)


def neighbours(
    volume: NDArray[np.float32], first: int, out: NDArray[np.float32], threads: int = 1
) -> NDArray[np.float32]:
    """NAS of slices ``first .. first + B - 1`` of ``volume`` [Z, H, W] into ``out`` [B, 5, H, W].

    Channels are z-2, z-1, z, z+1, z+2; a neighbour outside the volume is the centre slice.
    """
    _core.stack_slices(volume, first, out, threads)
    return out


def spectrum(slices: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
    """Log magnitude spectrum of each slice of [B, 1, H, W], same shape, scaled to [0, 1] per slice.

    ``20 ln|fftshift(fft2(x)) + 1e-8|``, then min-max; a slice whose spectrum is flat (an empty one)
    gives zeros. The transform is in float64: where the spectrum vanishes, float32 round-off would
    stand 9 orders above the 1e-8 floor and set the minimum.
    """
    half = scipy.fft.rfft2(slices.astype(np.float64), axes=(-2, -1), workers=threads)
    out = np.empty(slices.shape, np.float32)
    _core.log_spectrum(np.ascontiguousarray(half), out, threads)
    return out


class DeviceSpectrum:
    """``spectrum`` of one batch on a GPU, by CuPy's FFT, from and into fixed buffers.

    ``x`` and ``out``: petrt._cuda.DeviceArray [B, 1, H, W]; all work is enqueued on ``stream``. The
    plan is made once. In float64 like the CPU's, and with the same formula behind it.
    """

    def __init__(self, x: Any, out: Any, stream: Any) -> None:
        import cupy
        from cupyx.scipy import fft

        self._cupy, self._fft, self._out, self._stream = cupy, fft, out, stream
        self._order = cupy.cuda.ExternalStream(stream.handle, stream.device)
        with cupy.cuda.Device(stream.device), self._order:
            self._x = cupy.asarray(x)
            self._wide = cupy.empty(self._x.shape, cupy.float64)
            self._plan = fft.get_fft_plan(self._wide, axes=(-2, -1), value_type="R2C")

    @staticmethod
    def available() -> bool:
        """Whether CuPy is installed."""
        return importlib.util.find_spec("cupy") is not None

    def __call__(self) -> None:
        """Enqueue the spectrum of what ``x`` holds by then."""
        from petrt import _cuda

        with self._cupy.cuda.Device(self._stream.device), self._order:
            self._wide[...] = self._x
            half = self._fft.rfft2(self._wide, axes=(-2, -1), plan=self._plan)
            _cuda.log_spectrum(half, self._out, self._stream)
