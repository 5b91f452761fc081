"""A slice-wise PET scanner: blur, project, draw counts, reconstruct with OSEM.

Each axial slice is measured by parallel-beam projections at ``ANGLES`` angles over 180 degrees, all
slices at once as a product with a sparse matrix. Attenuation, scatter and decay are left out; randoms
are a uniform background of known mean.

    y ~ Poisson(c V A x / angles + b)

x is the activity (Bq/ml) at the scanner's resolution, V the volume of a voxel (ml), c the
sensitivity (counts per Bq at full dose), A the line integrals in voxels and b the randoms. For the
dose 1/d each count of the full dose is kept with probability 1/d (binomial thinning), as for low-dose
data from a list-mode recording. Projection and reconstruction use the same A, so its discretisation
causes no error; the resolution lost to the blur is not recovered.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petrt.arrays import Array
from petrt.data.simulate.projector import ANGLES, SUBSETS, make_projector

Counts = NDArray[np.int64]
Shape = tuple[int, int, int]

UNIT = "Bq/ml"
"""Of all simulated volumes."""
ITERATIONS = 3
SENSITIVITY = 9.2
"""Counts per Bq at full dose: about 6e6 counts in a central 2 mm slice of a brain with FDG."""
RANDOMS = 0.1
"""Randoms of a slice, as a fraction of its true counts."""
POST_FILTER_VOXELS = 0.8
"""Standard deviation, in voxels, of the Gaussian filter after reconstruction."""
FWHM_PER_SIGMA = 2.3548200450309493


def blur(activity: Array, fwhm_mm: float, voxel_mm: float) -> Array:
    """``activity`` [X,Y,Z] convolved with the scanner's Gaussian point spread function."""
    return gaussian(activity, fwhm_mm / FWHM_PER_SIGMA / voxel_mm)


def post_filter(volume: Array) -> Array:
    """The Gaussian filter at the end of a reconstruction."""
    return gaussian(volume, POST_FILTER_VOXELS)


def gaussian(volume: Array, sigma: float) -> Array:
    """Gaussian filter of ``sigma`` voxels; edge voxels continue the volume, as a neck does."""
    return ndimage.gaussian_filter(volume, sigma, mode="nearest", truncate=4.0)


def count_factor(voxel_mm: float) -> float:
    """Full-dose counts at one angle from a voxel with 1 Bq/ml: c V / angles."""
    return SENSITIVITY * voxel_mm**3 / 1000 / ANGLES


def expected_counts(activity: Array, voxel_mm: float) -> tuple[Array, Array]:
    """Mean full-dose counts [angles*bins, Z] of ``activity`` [X,Y,Z] and their randoms b [Z].

    A slice's counts are proportional to its activity inside the field of view; its randoms are the
    same in each bin.
    """
    projector = make_projector(*activity.shape[:2])
    slices = activity.reshape(-1, activity.shape[2])[projector.pixels]
    trues = projector.project(slices * np.float32(count_factor(voxel_mm)))
    randoms = RANDOMS * trues.mean(axis=0, dtype=np.float64).astype(np.float32)
    return trues + randoms, randoms


def draw_counts(rng: np.random.Generator, mean: Array) -> Counts:
    """Poisson counts around ``mean``."""
    return rng.poisson(mean)


def thin_counts(rng: np.random.Generator, counts: Counts, dose: int) -> Counts:
    """Keep each of ``counts`` with probability 1/``dose``."""
    return rng.binomial(counts, 1 / dose)


def osem(counts: NDArray[Any], randoms: Array, shape: Shape, iterations: int = ITERATIONS) -> Array:
    """Ordered-subsets EM: the image [X,Y,Z], in counts per angle, of ``counts`` [angles*bins, Z].

        x <- x / (A_s^T 1) * A_s^T (y_s / (A_s x + b))    for each subset s, in each iteration

    ``randoms`` [Z] is b. Slices without counts and pixels outside the field of view are zero.
    """
    projector = make_projector(*shape[:2])
    used = np.flatnonzero(counts.sum(axis=0))
    data = np.split(np.ascontiguousarray(counts[:, used], np.float32), SUBSETS)
    # A pixel's entries sum to 1 at each angle, so A_s^T 1 is the number of angles.
    share = np.float32(SUBSETS / ANGLES)
    image = np.empty((projector.pixels.size, used.size), np.float32)
    image[:] = counts[:, used].sum(axis=0) / (ANGLES * projector.pixels.size)
    for _ in range(iterations):
        for y, forward, back in zip(data, projector.forward, projector.back, strict=True):
            estimate = forward @ image
            estimate += randoms[used]
            np.divide(y, np.maximum(estimate, 1e-6, out=estimate), out=estimate)
            image *= back @ estimate
            image *= share
    out = np.zeros((shape[0] * shape[1], shape[2]), np.float32)
    out[np.ix_(projector.pixels, used)] = image
    return out.reshape(shape)


def reconstruct(
    counts: Counts, randoms: Array, shape: Shape, voxel_mm: float, dose: int = 1
) -> Array:
    """Activity [X,Y,Z] in Bq/ml from ``counts`` at 1/``dose``: OSEM, calibration, post filter.

    ``randoms`` [Z] are those of the full dose.
    """
    background = randoms / np.float32(dose)
    image = osem(counts, background, shape)
    # OSEM keeps every voxel positive, which adds a little activity, more with more noise. Each angle
    # measures the true total, so the image is scaled to it.
    measured = float(counts.sum()) - float(background.sum(dtype=np.float64)) * counts.shape[0]
    total = float(image.sum(dtype=np.float64)) * ANGLES
    calibration = measured / total if total > 0 and measured > 0 else 0.0
    return post_filter(image) * np.float32(calibration * dose / count_factor(voxel_mm))
