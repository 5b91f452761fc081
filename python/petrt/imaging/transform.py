"""The values that the networks see: the scaled activity itself, or a logarithm of it.

x is a volume over its scale (petrt.imaging.scaling), k the spec's ``gain``:

    u(x) = sign(x) ln(1 + k |x|) / ln(1 + k)          so that u(0) = 0, u(1) = 1, u(-x) = -u(x)
    x(u) = sign(u) ((1 + k)^|u| - 1) / k
    dx/du = ln(1 + k) (1 / k + |x|)

The scale is the level of the hottest tissue, which in FDG is an SUV of about ten. So with k = 10, u is
nearly log(1 + SUV) over its value there, on which teams of the Ultra-low Dose PET challenge train
(github.com/KUL-recon-lab/2025_ud_pet_kul). The odd form keeps negative voxels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from petrt.model.spec import TransformSpec

Array = NDArray[np.float32]


def seen(x: Array, transform: TransformSpec) -> Array:
    """u(x) of a scaled volume ``x``, any shape; ``x`` itself if the transform is linear."""
    if transform.kind == "linear":
        return x
    gain = np.float32(transform.gain)
    u = np.log1p(gain * np.abs(x)) / np.float32(math.log1p(transform.gain))
    return np.copysign(u, x).astype(np.float32, copy=False)


def unseen(u: Array, transform: TransformSpec) -> Array:
    """x(u), the inverse of ``seen``."""
    if transform.kind == "linear":
        return u
    x = np.expm1(np.float32(math.log1p(transform.gain)) * np.abs(u)) / np.float32(transform.gain)
    return np.copysign(x, u).astype(np.float32, copy=False)


def unseen_std(std: Array, x: Array, transform: TransformSpec) -> Array:
    """The standard deviation of x where that of u is ``std``, to first order: std dx/du at ``x``."""
    if transform.kind == "linear":
        return std
    slope = np.float32(math.log1p(transform.gain)) * (np.float32(1 / transform.gain) + np.abs(x))
    return np.asarray(std * slope, np.float32)
