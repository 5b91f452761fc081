"""The two guides (paper section 3.2): neighbouring axial slices (NAS) and the spectrum."""

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
    """Write the NAS of slices ``first .. first + B - 1`` of ``volume`` [Z, H, W] to ``out`` [B, 5, H, W].

    Channels are z-2, z-1, z, z+1, z+2. The centre slice replaces a neighbour outside the volume.
    """
    _core.stack_slices(volume, first, out, threads)
    return out


def spectrum(slices: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
    """Log magnitude spectrum of each slice of [B, 1, H, W], same shape, scaled to [0, 1] per slice.

    It is ``20 ln|fftshift(fft2(x)) + 1e-8|``, then min-max scaled; a flat spectrum (an empty slice) gives
    zeros. The transform is in float64: float32 rounding errors would exceed the 1e-8 by 9 orders of
    magnitude where the spectrum vanishes, and would determine the minimum.
    """
    half = scipy.fft.rfft2(slices.astype(np.float64), axes=(-2, -1), workers=threads)
    out = np.empty(slices.shape, np.float32)
    _core.log_spectrum(np.ascontiguousarray(half), out, threads)
    return out


class DeviceSpectrum:
    """Computes ``spectrum`` of one batch on a GPU with CuPy's float64 FFT, from and to fixed buffers.

    ``x`` and ``out``: petrt._cuda.DeviceArray [B, 1, H, W]. All work is enqueued on ``stream``. The FFT
    plan is made once. The formula is the same as on the CPU.
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
        """Enqueue the computation of ``out`` from ``x``."""
        from petrt import _cuda

        with self._cupy.cuda.Device(self._stream.device), self._order:
            self._wide[...] = self._x
            half = self._fft.rfft2(self._wide, axes=(-2, -1), plan=self._plan)
            _cuda.log_spectrum(half, self._out, self._stream)
