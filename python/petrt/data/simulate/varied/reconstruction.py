"""OSEM with attenuation, background and, where it is drawn, the resolution of the scanner in its model.

    x <- x / (A_s^T K^T a_s) * A_s^T K^T (a_s y_s / (a_s K A_s x + b_s))    for each subset s

in each iteration (Hudson and Larkin, IEEE TMI 13:601, 1994). K blurs the lines of an angle and the slices,
which is the same as a Gaussian blur of the image. Its use sharpens the image, and it leaves overshoot at
edges and noise that is correlated over longer distances (Snyder, Miller, Thomas, Politte, IEEE TMI 6:228,
1987; Rahmim, Qi, Sossi, Med Phys 40:064301, 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petrt.arrays import Array
from petrt.data.simulate.projector import ANGLES, Projector, make_projector
from petrt.data.simulate.scanner import FWHM_PER_SIGMA
from petrt.data.simulate.varied.parameters import Drawn
from petrt.data.simulate.varied.physics import Measured

Data = NDArray[Any]


def reconstruct(data: Sequence[tuple[Data, int]], measured: Measured, drawn: Drawn) -> list[Array]:
    """Activities [X,Y,Z] in Bq/ml from counts [angles*bins, Z], each given with its dose reduction.

    They are computed side by side, because they share the sensitivity of each subset.
    """
    nx, ny, nz = drawn.shape
    projector = make_projector(nx, ny, drawn.subsets)
    images, sensitivity = _osem(data, measured, projector, drawn)
    volumes = []
    for (counts, dose), image in zip(data, images, strict=True):
        # OSEM keeps every voxel positive, which adds a little activity, more with more noise. The image is
        # scaled to the trues that were measured.
        net = (
            float(counts.sum(dtype=np.float64))
            - float(measured.background.sum(dtype=np.float64)) / dose
        )
        # Not a dot product: BLAS sums in an order that depends on its threads.
        total = float((sensitivity * image).sum(dtype=np.float64))
        scale = dose * max(net, 0.0) / total / measured.factor if total > 0 else 0.0
        volume = np.zeros((nx * ny, nz), np.float32)
        volume[projector.pixels] = image * np.float32(scale)
        volumes.append(smooth(volume.reshape(nx, ny, nz), drawn.post_fwhm_mm, drawn.voxel_mm))
    return volumes


def smooth(volume: Array, fwhm_mm: float, voxel_mm: Sequence[float]) -> Array:
    """``volume`` [X,Y,Z] filtered by a Gaussian; edge voxels continue it, as a neck does."""
    if not fwhm_mm:
        return volume
    sigma = [fwhm_mm / FWHM_PER_SIGMA / mm for mm in voxel_mm]
    return ndimage.gaussian_filter(volume, sigma, mode="nearest", truncate=4.0)


def _osem(
    data: Sequence[tuple[Data, int]], measured: Measured, projector: Projector, drawn: Drawn
) -> tuple[list[Array], Array]:
    """The images [pixels, Z] in counts per angle, and the sensitivity [pixels, Z] of all angles."""
    rows = measured.mean.shape[0] // drawn.subsets
    parts = [slice(s * rows, (s + 1) * rows) for s in range(drawn.subsets)]
    images = [_start(counts, measured, projector) for counts, _ in data]
    whole = np.zeros_like(images[0])
    for iteration in range(drawn.iterations):
        for part, forward, back in zip(parts, projector.forward, projector.back, strict=True):
            survival = measured.survival[part]
            sensitivity = back @ _resolve(survival, projector, drawn)
            if iteration == 0:
                whole += sensitivity
            np.maximum(sensitivity, 1e-6, out=sensitivity)
            for (counts, dose), image in zip(data, images, strict=True):
                estimate = _resolve(forward @ image, projector, drawn)
                estimate *= survival
                estimate += measured.background[part] * np.float32(1 / dose)
                np.divide(counts[part], np.maximum(estimate, 1e-6, out=estimate), out=estimate)
                estimate *= survival
                image *= back @ _resolve(estimate, projector, drawn)
                image /= sensitivity
    return images, whole


def _start(counts: Data, measured: Measured, projector: Projector) -> Array:
    """A uniform image [pixels, Z] with about the counts of the data."""
    level = float(counts.sum(dtype=np.float64)) / float(measured.survival.sum(dtype=np.float64))
    level *= projector.bins / np.sqrt(projector.pixels.size) / ANGLES
    return np.full((projector.pixels.size, counts.shape[1]), max(level, 1e-9), np.float32)


def _resolve(lines: Array, projector: Projector, drawn: Drawn) -> Array:
    """``lines`` [rows, Z] blurred across the lines of each angle and along z; its own transpose.

    Lines and slices are mirrored at the ends (half-sample), which keeps the blur symmetric and of sum 1.
    """
    if not drawn.psf_fwhm_mm:
        return lines
    sigma = drawn.psf_fwhm_mm / FWHM_PER_SIGMA
    blurred = lines.reshape(-1, projector.bins, lines.shape[1])
    for axis, mm in ((1, drawn.pixel_mm), (2, drawn.slice_mm)):
        blurred = ndimage.gaussian_filter1d(
            blurred, sigma / mm, axis=axis, mode="reflect", truncate=3.0
        )
    return blurred.reshape(lines.shape)
