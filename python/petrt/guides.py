"""The two auxiliary guides (paper section 3.2): neighbouring axial slices and the spectrum."""

from __future__ import annotations

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
