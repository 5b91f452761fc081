"""How errors and samples correlate along z, and the width of the noise that lets samples do so (method.md
section 9)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from petrt._core import slice_weights
from petrt.errors import InputError
from petrt.model.spec import MOST_SIGMA_Z

# Widths below, with correlations of at most 0.0021, are told from 0 by no measurement.
LEAST_SIGMA_Z = 0.27


def neighbour_correlation(error: ArrayLike, mask: ArrayLike) -> float:
    """Pearson's correlation of ``error`` [Z, H, W] in voxels and in those of the next slice.

    All pairs with both voxels inside ``mask`` (bool, the same shape) count alike. ``error`` may also be
    samples' deviations or a map of their standard deviation. Raises InputError for shapes that differ,
    fewer than two pairs, non-finite values or values that are all the same.
    """
    values, inside = np.asarray(error), np.asarray(mask)
    if values.ndim != 3 or inside.shape != values.shape or inside.dtype != np.bool_:
        raise InputError(
            f"error and mask have shapes {values.shape} and {inside.shape}",
            "give [Z, H, W], and the mask as booleans",
        )
    both = inside[:-1] & inside[1:]
    pairs = [part[both].astype(np.float64) for part in (values[:-1], values[1:])]
    if len(pairs[0]) < 2:
        raise InputError("the mask holds no two neighbouring slices", "give more slices")
    here, above = (each - each.mean() for each in pairs)
    scale = float(np.sqrt(np.dot(here, here) * np.dot(above, above)))
    if not (np.isfinite(scale) and scale > 0):
        raise InputError("the error is non-finite, or the same in all voxels of the mask")
    return float(np.dot(here, above)) / scale


def slice_correlation(sigma_z: float, apart: int = 1) -> float:
    """The correlation of the noise of slices ``apart`` from each other, exactly as it is drawn.

    It is the sum over k of w_k w_(k + apart), about exp(-apart^2 / (4 sigma_z^2)); sigma_z in [0, 3].
    """
    half = np.array(slice_weights(sigma_z))
    weights = np.concatenate([half[:0:-1], half])
    apart = abs(apart)
    return float(np.dot(weights[: max(0, len(weights) - apart)], weights[apart:]))


def sigma_of(correlation: float) -> float:
    """The noise_sigma_z in [0, 3] whose neighbouring slices have this ``correlation``.

    It is sqrt(-1 / (4 ln correlation)), corrected for weights that are a sum and not an integral: that
    matters below 0.7. 0 for correlations of at most 0.0021, 3 for those from 0.9726 on. Raises InputError
    for NaN and outside [-1, 1].
    """
    if not -1 <= correlation <= 1:
        raise InputError(f"{correlation:g} is no correlation", "give one within -1 to 1")
    if correlation <= slice_correlation(LEAST_SIGMA_Z):
        return 0.0
    if correlation >= slice_correlation(MOST_SIGMA_Z):
        return MOST_SIGMA_Z
    low, high = LEAST_SIGMA_Z, MOST_SIGMA_Z
    for _ in range(40):  # bisection: the correlation rises with the width
        middle = (low + high) / 2
        low, high = (middle, high) if slice_correlation(middle) < correlation else (low, middle)
    return round((low + high) / 2, 6)
