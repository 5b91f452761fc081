"""The standard deviation of a voxel's error, from the samples, the image and the dose."""

from __future__ import annotations

import numpy as np

from petrt.arrays import Array, Array64
from petrt.imaging.scaling import smoothed
from petrt.model.spec import MapSpec

# Width of the Gaussian that smooths the samples' variance, in voxels of the network grid. Eight samples tell
# a voxel's variance to 50 %, and its neighbours' errors are alike.
SIGMA_VOXELS = 1.5
# Added to the variance and to the image before their logarithms, over the scale: air has neither.
FLOOR_VARIANCE = 1e-7
FLOOR_IMAGE = 1e-2
NAMES = ("constant", "samples", "image", "dose", "samples_dose", "image_dose")


def smoothed_variance(std: Array, threads: int = 1) -> Array:
    """The variance of the samples [Z, H, W], smoothed in 3-D."""
    return smoothed(np.square(std, dtype=np.float32), (SIGMA_VOXELS,) * std.ndim, threads)


def features(variance: Array, image: Array, dose: float) -> Array64:
    """The features [n, 6] of ``NAMES``, of smoothed variances and image values [n] over the scale."""
    v = np.log(np.maximum(variance, 0).astype(np.float64) + FLOOR_VARIANCE)
    i = np.log(np.maximum(image, 0).astype(np.float64) + FLOOR_IMAGE)
    d = np.full_like(v, np.log(dose))
    return np.stack([np.ones_like(v), v, i, d, v * d, i * d], axis=1)


def predicted_std(spec: MapSpec, std: Array, image: Array, dose: float, threads: int = 1) -> Array:
    """The calibrated standard deviation [Z, H, W] from that of the samples and their mean, over the scale."""
    d = np.log(dose)
    v = np.log(smoothed_variance(std, threads) + np.float32(FLOOR_VARIANCE))
    i = np.log(np.maximum(image, 0) + np.float32(FLOOR_IMAGE))
    constant = spec.constant + spec.dose * d
    log_variance = np.float32(spec.samples + spec.samples_dose * d) * v
    log_variance += np.float32(spec.image + spec.image_dose * d) * i
    log_variance += np.float32(constant)
    result: Array = np.exp(0.5 * log_variance)
    return result
