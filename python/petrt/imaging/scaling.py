"""The number a volume is divided by before the networks see it."""

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

# One voxel in so many tells where about the wanted level lies, and this share of voxels above it is
# looked at: some more than needed, since a sample is not the whole.
STRIDE = 61
MARGIN = 1.25


def scale_of(
    data: np.ndarray,
    rule: ScaleRule,
    voxel_mm: tuple[float, float, float] | None,
    threads: int = 1,
) -> float:
    """The number that ``data`` [X, Y, Z], a low-dose volume on its own grid, is divided by.

    ``maximum``: the largest voxel. ``smoothed-hottest``: after a Gaussian of ``fwhm_mm``, the level
    that the hottest ``volume_ml`` exceed (at most half of the voxels); beyond its edges the volume
    is continued by its edge voxels. ``voxel_mm`` is along the data's axes. Returns 0.0 for a volume
    with nothing to scale by (constant, or nowhere above 0): the caller leaves it unchanged. The
    result does not depend on ``threads``. Raises UsageError where the rule needs a voxel size.
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
    # Dividing by less than the smallest normal float32 would overflow.
    return scale if scale >= float(np.finfo(np.float32).tiny) else 0.0


def smoothed(data: Array, sigma: Sequence[float], threads: int) -> Array:
    """A Gaussian of ``sigma`` voxels along each axis of ``data``; edge voxels continue it beyond its edges.

    One axis after the other: the bits of ``scipy.ndimage.gaussian_filter(data, sigma, mode="nearest")``,
    in a fifth of its time on two cores.
    """
    turned = data.flags.f_contiguous and not data.flags.c_contiguous
    source = np.ascontiguousarray(data.T if turned else data)
    buffers = np.empty((2, *source.shape), np.float32)  # two take turns: fresh memory costs time
    for axis, width in enumerate(sigma):
        weights = gaussian_weights(width)
        along = source.ndim - 1 - axis if turned else axis
        lines = (-1, source.shape[along], math.prod(source.shape[along + 1 :]))
        out = buffers[axis % 2]
        _core.smooth_axis(source.reshape(lines), weights, out.reshape(lines), threads)
        source = out
    return source.T if turned else source


def gaussian_weights(sigma: float) -> NDArray[np.float64]:
    """Weights 0 .. radius of a Gaussian cut off at 4 ``sigma``, normalised over both sides."""
    radius = int(4.0 * sigma + 0.5)
    both = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    weights: NDArray[np.float64] = (both / both.sum())[radius:]
    return np.ascontiguousarray(weights)


def nth_largest(data: Array, n: int) -> float:
    """The ``n``-th largest number of ``data``, 1 <= n <= its size; exactly what sorting would give.

    A partition of the whole is slow where many numbers are nearly equal, as in smoothed air. So a
    sample finds a level that somewhat more than ``n`` numbers should reach, and only these are
    partitioned. Where they are too few after all, the whole is.
    """
    flat = data.reshape(-1)
    sample = np.sort(flat[::STRIDE])
    rank = len(sample) - 1 - math.ceil(MARGIN * n / STRIDE) - 2
    if rank > 0:
        above = flat[flat >= sample[rank]]
        if len(above) >= n:
            flat = above
    return float(np.partition(flat, len(flat) - n)[len(flat) - n])
