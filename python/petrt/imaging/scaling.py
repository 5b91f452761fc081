"""The scale: the number that a volume is divided by before the networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from petrt import _core
from petrt.arrays import Array
from petrt.errors import UsageError
from petrt.imaging.resample import FWHM
from petrt.model.spec import ScaleRule

# Every STRIDE-th voxel estimates the level, and this factor more voxels than needed are taken above
# it, because a subset does not give the exact level.
STRIDE = 61
MARGIN = 1.25


def scale_of(
    data: np.ndarray, rule: ScaleRule, voxel_mm: tuple[float, float, float] | None, threads: int = 1
) -> float:
    """The scale of ``data`` [X, Y, Z], a low-dose volume on its own grid, in its unit.

    ``maximum``: the largest voxel. ``smoothed-hottest``: after a Gaussian of ``fwhm_mm``, the level
    that the hottest ``volume_ml`` exceed (at most half of the voxels); edge voxels continue the volume
    beyond its edges. ``voxel_mm`` is along the data's axes. Returns 0.0 for a volume that is constant
    or nowhere above 0; the caller leaves it unscaled. The result does not depend on ``threads``.
    Raises UsageError if the rule needs a voxel size and there is none.
    """
    if data.size == 0 or float(data.max()) == float(data.min()):
        return 0.0
    if rule.kind == "maximum":
        scale = float(data.max())
    else:
        if voxel_mm is None:
            raise UsageError("the scale rule needs the voxel size", "give affine or voxel_mm")
        sigma = [rule.fwhm_mm / FWHM / size for size in voxel_mm]
        smooth = smoothed(np.asarray(data, np.float32), sigma, threads)
        hottest = round(1000 * rule.volume_ml / math.prod(voxel_mm))
        scale = nth_largest(smooth, min(max(hottest, 1), max(smooth.size // 2, 1)))
    # Division by less than the smallest normal float32 would overflow.
    return scale if scale >= float(np.finfo(np.float32).tiny) else 0.0


def smoothed(data: Array, sigma: Sequence[float], threads: int) -> Array:
    """``data`` smoothed by a Gaussian of ``sigma`` voxels along each axis; edge voxels continue the volume.

    The bits equal ``scipy.ndimage.gaussian_filter(data, sigma, mode="nearest")``; it takes a fifth of
    its time on two cores.
    """
    turned = data.flags.f_contiguous and not data.flags.c_contiguous
    source = np.ascontiguousarray(data.T if turned else data)
    buffers = np.empty(
        (2, *source.shape), np.float32
    )  # reused in turn, since new memory costs time
    for axis, width in enumerate(sigma):
        weights = gaussian_weights(width)
        along = source.ndim - 1 - axis if turned else axis
        lines = (-1, source.shape[along], math.prod(source.shape[along + 1 :]))
        out = buffers[axis % 2]
        _core.smooth_axis(source.reshape(lines), weights, out.reshape(lines), threads)
        source = out
    return source.T if turned else source


def gaussian_weights(sigma: float) -> NDArray[np.float64]:
    """Weights [radius + 1] of one side of a Gaussian cut off at 4 ``sigma``; both sides sum to 1."""
    radius = int(4.0 * sigma + 0.5)
    both = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    weights: NDArray[np.float64] = (both / both.sum())[radius:]
    return np.ascontiguousarray(weights)


def nth_largest(data: Array, n: int) -> float:
    """The ``n``-th largest number of ``data``, 1 <= n <= its size, exact.

    Partitioning all numbers is slow if many are nearly equal, as in smoothed air. So a subset estimates
    a level that slightly more than ``n`` numbers exceed, and only these are partitioned. If they are
    fewer than ``n``, all numbers are partitioned.
    """
    flat = data.reshape(-1)
    sample = np.sort(flat[::STRIDE])
    rank = len(sample) - 1 - math.ceil(MARGIN * n / STRIDE) - 2
    if rank > 0:
        above = flat[flat >= sample[rank]]
        if len(above) >= n:
            flat = above
    return float(np.partition(flat, len(flat) - n)[len(flat) - n])
