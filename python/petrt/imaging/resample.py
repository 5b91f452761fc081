"""Resampling of a volume to another voxel size, by one sparse linear operator per axis.

It evaluates natural cubic splines through the voxels at the new positions; both grids have the same
centre. Constants and ramps are exact inside the outermost voxel centres. Linear interpolation would lower
the peak of a small lesion by 10 to 30 % on the way there and back.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))  # full width at half maximum, in standard deviations


@lru_cache(maxsize=32)
def operator(count: int, new_count: int, step: float, *, smooth: bool) -> csr_array:
    """The resampling of one axis as a sparse matrix [new_count, count]; ``step``: new voxel in old ones.

    Each row holds the weights of a natural cubic spline through the old voxels, at the new voxel's
    position. With ``smooth`` and ``step`` > 1, a Gaussian of FWHM^2 = step^2 - 1 (Cardoso et al.,
    MICCAI 2015) first widens the old voxels to the new size. It keeps the mean and prevents aliasing.
    """
    from scipy.interpolate import make_interp_spline
    from scipy.ndimage import gaussian_filter1d
    from scipy.sparse import csr_array

    positions = (np.arange(new_count) - (new_count - 1) / 2) * step + (count - 1) / 2
    positions = positions.clip(0, count - 1)  # the outer half of an edge voxel has its value
    weights = np.eye(count)
    if smooth and step > 1:
        weights = gaussian_filter1d(weights, math.sqrt(step**2 - 1) / FWHM, axis=0, mode="reflect")
    if count == 1:
        weights = np.ones((new_count, 1))
    else:
        degree, ends = (3, "natural") if count > 2 else (1, None)
        weights = make_interp_spline(np.arange(count), weights, degree, bc_type=ends)(positions)
    weights[np.abs(weights) < 1e-7] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    return csr_array(weights.astype(np.float32))


def apply(data: np.ndarray, operators: list[csr_array | None]) -> np.ndarray:
    """``data`` resampled along each axis that has an operator."""
    for axis, matrix in enumerate(operators):
        if matrix is not None:
            first = np.moveaxis(data, axis, 0)
            flat = matrix @ np.ascontiguousarray(first).reshape(len(first), -1)
            data = np.moveaxis(flat.reshape(-1, *first.shape[1:]), 0, axis)
    return data
