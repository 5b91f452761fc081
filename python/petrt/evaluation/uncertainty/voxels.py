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
# Width of the Gaussian before the gradient, and what is added to the gradient, per voxel over the scale.
SIGMA_GRADIENT = 1.0
FLOOR_GRADIENT = 1e-2
NAMES = (
    "constant",
    "samples",
    "image",
    "gradient",
    "dose",
    "samples_dose",
    "image_dose",
    "gradient_dose",
)
# Of these the intensity alone: what a map must be better than.
INTENSITY = ("constant", "image", "dose", "image_dose")


def smoothed_variance(std: Array, threads: int = 1) -> Array:
    """The variance of the samples [Z, H, W], smoothed in 3-D."""
    return smoothed(np.square(std, dtype=np.float32), (SIGMA_VOXELS,) * std.ndim, threads)


def gradient(image: Array, threads: int = 1) -> Array:
    """The size of the gradient per voxel of ``image`` [Z, H, W], smoothed: errors are large at edges.

    By central differences, one-sided at the volume's faces; an axis of one voxel has none.
    """
    smooth = smoothed(image, (SIGMA_GRADIENT,) * image.ndim, threads)
    squares = np.zeros_like(smooth)
    for axis in (axis for axis in range(image.ndim) if image.shape[axis] > 1):
        squares += np.square(np.gradient(smooth, axis=axis))
    result: Array = np.sqrt(squares)
    return result


def features(variance: Array, image: Array, slope: Array, dose: float) -> Array64:
    """The features [n, 8] of ``NAMES``, of smoothed variances, images and gradients [n] over the scale."""
    v = np.log(np.maximum(variance, 0).astype(np.float64) + FLOOR_VARIANCE)
    i = np.log(np.maximum(image, 0).astype(np.float64) + FLOOR_IMAGE)
    g = np.log(slope.astype(np.float64) + FLOOR_GRADIENT)
    d = np.full_like(v, np.log(dose))
    return np.stack([np.ones_like(v), v, i, g, d, v * d, i * d, g * d], axis=1)


def predicted_std(spec: MapSpec, std: Array, image: Array, dose: float, threads: int = 1) -> Array:
    """The calibrated standard deviation [Z, H, W] from that of the samples and their mean, over the scale."""
    d = np.log(dose)
    i = np.log(np.maximum(image, 0) + np.float32(FLOOR_IMAGE))
    constant = spec.constant + spec.dose * d
    log_variance = np.float32(spec.image + spec.image_dose * d) * i
    if spec.samples or spec.samples_dose:
        v = np.log(smoothed_variance(std, threads) + np.float32(FLOOR_VARIANCE))
        log_variance += np.float32(spec.samples + spec.samples_dose * d) * v
    if spec.gradient or spec.gradient_dose:
        g = np.log(gradient(image, threads) + np.float32(FLOOR_GRADIENT))
        log_variance += np.float32(spec.gradient + spec.gradient_dose * d) * g
    log_variance += np.float32(constant)
    result: Array = np.exp(0.5 * log_variance)
    return result
