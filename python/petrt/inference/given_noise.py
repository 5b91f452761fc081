"""Noise that a caller gives instead of a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array, plain
from petrt.errors import InputError, UsageError


def given_noise(noise: NDArray[Any], frames: int, wanted: tuple[int, ...]) -> Array:
    """``noise`` as float32, for a volume of ``frames`` frames.

    ``wanted``: its shape, [steps + 1, samples, slices, 1, H, W]. Raises UsageError for another shape, several
    frames, and values that are not finite.
    """
    if frames > 1:
        raise UsageError("noise is for a single frame", "pass one frame at a time")
    try:
        given = plain(noise, "noise")
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise UsageError("noise is no array of numbers", "pass a NumPy array") from error
    if given.shape != wanted or given.dtype.kind not in "iuf":
        raise UsageError(
            f"noise must be of shape {wanted} and real, got {given.shape} of {given.dtype}"
        )
    if not np.isfinite(given).all():
        raise UsageError("noise holds NaN or infinity", "draw it anew")
    return np.asarray(given, np.float32)
