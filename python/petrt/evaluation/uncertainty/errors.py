"""What is fitted: errors of voxels and of regions against the full dose, with the features of each."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array, Array64
from petrt.errors import InputError
from petrt.evaluation.uncertainty import regions as of_regions
from petrt.evaluation.uncertainty import voxels as of_voxels
from petrt.evaluation.uncertainty.fit import Errors
from petrt.evaluation.uncertainty.regions import STATISTICS

# Active voxels of one subject at one dose that are kept: this gives coverage to 0.2 %.
MOST_VOXELS = 1 << 15


def kept_voxels(mask: NDArray[np.bool_], most: int = MOST_VOXELS) -> NDArray[np.int64]:
    """Indices of the voxels of ``mask``, of more than ``most`` every k-th. InputError for an empty mask."""
    at = np.flatnonzero(mask)
    if not len(at):
        raise InputError("no voxel is active", "check the full-dose image")
    return at[:: math.ceil(len(at) / most)]


def voxel_errors(
    subject: str,
    image: Array,
    std: Array,
    full: Array,
    dose: float,
    mask: NDArray[np.bool_],
    most: int = MOST_VOXELS,
) -> Errors:
    """Errors full - image of the ``kept_voxels``; volumes [Z, H, W] over the scale on the network grid."""
    at = kept_voxels(mask, most)
    variance = of_voxels.smoothed_variance(std).reshape(-1)[at]
    values, truth = image.reshape(-1)[at], full.reshape(-1)[at]
    return Errors(
        subject,
        truth.astype(np.float64) - values,
        of_voxels.features(variance, values, of_voxels.gradient(image).reshape(-1)[at], dose),
        of_voxels.NAMES,
    )


def region_errors(
    subject: str,
    ml: Array64,
    image: Array64,
    blurred: Array64,
    samples: Array64,
    full: Array64,
    dose: float,
) -> dict[str, Errors]:
    """Statistic -> errors of regions, from their statistics over the scale: of ``image``, ``blurred`` and
    ``full`` [3, n], and of ``samples`` [samples, 3, n]."""
    found = {}
    for k, name in enumerate(STATISTICS):
        deviation = samples[:, k].std(axis=0, ddof=1)
        x = of_regions.features(deviation, ml, image[k], image[k] - blurred[k], dose)
        values = of_regions.values(image[k], image[k] - blurred[k], dose)
        found[name] = Errors(subject, full[k] - image[k], x, of_regions.NAMES, values)
    return found
