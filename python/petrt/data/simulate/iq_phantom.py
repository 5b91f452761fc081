"""The NEMA image quality phantom (petrt.evaluation.nema) in the simulated scanner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petrt.arrays import Array
from petrt.data.simulate import scanner
from petrt.data.simulate.subject import centred_affine
from petrt.evaluation.nema import LUNG_MM, NemaPhantom

BACKGROUND = 5300.0
"""Bq/ml of the background: NEMA's 5.3 kBq/ml."""
FWHM_MM = 5.0
"""The scanner's resolution, in the middle of what subjects draw."""
# Points along each side of a voxel that decide its share of a shape.
PARTS = 5


@dataclass(frozen=True)
class PhantomScan:
    """The phantom's volumes [X, Y, Z] in Bq/ml: ``full`` dose, ``low`` by dose, the ``activity``; ``affine``
    to the phantom's frame."""

    full: Array
    low: dict[int, Array]
    activity: Array
    affine: NDArray[np.float64]


def activity_of(nema: NemaPhantom, voxel_mm: float) -> tuple[Array, NDArray[np.float64]]:
    """Activity [X, Y, Z] in Bq/ml with the share of each voxel that a shape fills, and the affine.

    H and W are multiples of 8.
    """
    size = 8 * int(np.ceil(nema.width_mm / voxel_mm / 8))
    low, high = nema.depth_mm
    shape = (size, size, int(np.ceil((high - low) / voxel_mm)))
    affine = centred_affine(shape, voxel_mm)
    affine[2, 3] += (low + high) / 2
    x = _fine(affine[0, 3], size, voxel_mm)
    y = _fine(affine[1, 3], size, voxel_mm)
    grid = np.meshgrid(x, y, indexing="ij")
    filled = (nema.wall(*grid) > 0) & (np.hypot(*grid) > LUNG_MM)
    plane = filled.reshape(size, PARTS, size, PARTS).mean((1, 3))
    volume = np.repeat(plane[:, :, None], shape[2], 2)
    for sphere in nema.spheres:
        radius = sphere.diameter_mm / 2
        window = []
        for axis, centre in enumerate(sphere.centre_mm):
            middle = (centre - affine[axis, 3]) / voxel_mm
            reach = radius / voxel_mm + 1
            end = min(int(middle + reach) + 2, shape[axis])
            window.append(slice(max(int(middle - reach), 0), end))
        lines = [
            _fine(affine[a, 3] + part.start * voxel_mm, part.stop - part.start, voxel_mm) - c
            for a, (part, c) in enumerate(zip(window, sphere.centre_mm, strict=True))
        ]
        dx, dy, dz = np.meshgrid(*lines, indexing="ij", sparse=True)
        inside = dx**2 + dy**2 + dz**2 <= radius**2
        counts = [n for part in window for n in (part.stop - part.start, PARTS)]
        share = inside.reshape(counts).mean((1, 3, 5))
        level = nema.contrast if sphere.hot else 0.0
        volume[tuple(window)] += share * (level - volume[tuple(window)])
    return (BACKGROUND * volume).astype(np.float32), affine


def scan(
    nema: NemaPhantom, doses: Sequence[int], *, seed: int, voxel_mm: float = 2.0
) -> PhantomScan:
    """One scan of the phantom at full dose and at 1/``doses``; the same arguments give the same bits."""
    activity, affine = activity_of(nema, voxel_mm)
    shape = activity.shape
    blurred = scanner.blur(activity, FWHM_MM, voxel_mm)
    mean, randoms = scanner.expected_counts(blurred, voxel_mm)
    counts = scanner.draw_counts(np.random.default_rng([seed, 1]), mean)
    low = {}
    for dose in sorted(set(doses)):
        thinned = scanner.thin_counts(np.random.default_rng([seed, dose]), counts, dose)
        low[dose] = scanner.reconstruct(thinned, randoms, shape, voxel_mm, dose)
    return PhantomScan(scanner.reconstruct(counts, randoms, shape, voxel_mm), low, activity, affine)


def _fine(first: float, count: int, step: float) -> NDArray[np.float64]:
    """Positions of the parts of ``count`` voxels, the first voxel centred at ``first``."""
    parts = np.arange(count * PARTS)
    return np.asarray(first - step / 2 + (parts + 0.5) * step / PARTS)
