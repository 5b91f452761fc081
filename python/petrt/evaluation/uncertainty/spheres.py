"""Regions to calibrate on: spheres of several sizes at random places, lesions, and tissues."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array64

SPHERES_ML = (1.0, 5.0, 20.0, 100.0)
# Most spheres of one size in a subject. They do not overlap, so large ones are fewer.
MOST_SPHERES = 24
TRIES = 400
# Voxels around a lesion that belong to its region, so that its peak and maximum are found in it.
LESION_MARGIN = 2


def sphere_labels(
    centres: NDArray[np.bool_],
    ml: float,
    voxel_mm: Sequence[float],
    rng: np.random.Generator,
    most: int = MOST_SPHERES,
) -> NDArray[np.int64]:
    """A label map of up to ``most`` spheres of ``ml`` around random voxels of ``centres``.

    No two overlap, and all lie in the volume. ``voxel_mm``: along the axes of ``centres``.
    """
    labels = np.zeros(centres.shape, np.int64)
    offsets = sphere(ml, voxel_mm)
    places = np.argwhere(centres)
    if not len(places):
        return labels
    found, limits = 0, np.array(centres.shape)
    for place in places[rng.integers(len(places), size=TRIES)]:
        at = place + offsets
        if (at < 0).any() or (at >= limits).any():
            continue
        index = tuple(at.T)
        if labels[index].any():
            continue
        found += 1
        labels[index] = found
        if found == most:
            break
    return labels


def sphere(ml: float, voxel_mm: Sequence[float]) -> NDArray[np.int64]:
    """Offsets [n, 3] of the voxels of a sphere of ``ml`` around a voxel; at least that voxel."""
    radius = 10.0 * (3.0 * ml / (4.0 * np.pi)) ** (1.0 / 3.0)
    mm: Array64 = np.asarray(voxel_mm, np.float64)
    reach = [int(radius / step) for step in mm]
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1)
    offsets: NDArray[np.int64] = grid.reshape(-1, 3)
    return offsets[((offsets * mm) ** 2).sum(axis=1) <= radius**2]


def lesion_labels(lesions: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A label map of connected lesions, each with a margin of ``LESION_MARGIN`` voxels."""
    from scipy import ndimage

    wide = ndimage.binary_dilation(lesions, iterations=LESION_MARGIN)
    labels, _ = ndimage.label(wide)
    return np.asarray(labels, np.int64)
