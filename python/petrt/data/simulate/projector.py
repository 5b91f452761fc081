"""The system matrix of a slice: parallel strips at ``ANGLES`` angles over 180 degrees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from petrt.arrays import Array

ANGLES = 96
SUBSETS = 12


@dataclass(frozen=True)
class Projector:
    """System matrix of an [X,Y] slice, split into subsets of interleaved angles.

    forward   one [rows, pixels] per subset, rows = angles of the subset times ``bins``; an entry is
              the area that a pixel and a detector strip share, in units of a pixel, so that A x is
              a line integral in voxels and each pixel's entries of one angle sum to 1
    back      their transposes
    pixels    indices, in the flattened slice, of the pixels inside the circular field of view
    """

    forward: tuple[sparse.csr_array, ...]
    back: tuple[sparse.csr_array, ...]
    pixels: NDArray[np.int64]
    bins: int

    def project(self, image: Array) -> Array:
        """Line integrals [angles*bins, Z], subset by subset, of ``image`` [pixels, Z]."""
        return np.concatenate([part @ image for part in self.forward])


@lru_cache(maxsize=2)
def make_projector(nx: int, ny: int, subsets: int = SUBSETS) -> Projector:
    """The projector of an [nx, ny] slice. The longer side is the diameter of its field of view.

    ``subsets`` divides ``ANGLES``; subset s holds every ``subsets``-th angle from number s on.
    """
    size = max(nx, ny)
    grid = np.meshgrid(np.arange(nx) - (nx - 1) / 2, np.arange(ny) - (ny - 1) / 2, indexing="ij")
    x, y = (axis.ravel() for axis in grid)
    pixels = np.flatnonzero(np.hypot(x, y) <= size / 2)
    bins = size + 2
    angles = np.pi * np.arange(ANGLES) / ANGLES
    forward = tuple(
        sparse.csr_array(
            sparse.vstack(
                [strip_areas(x[pixels], y[pixels], a, bins) for a in angles[first::subsets]]
            )
        )
        for first in range(subsets)
    )
    return Projector(forward, tuple(part.T.tocsr() for part in forward), pixels, bins)


def strip_areas(
    x: NDArray[np.float64], y: NDArray[np.float64], angle: float, bins: int
) -> sparse.csr_array:
    """Exact areas [bins, N] that unit pixels centred on (x, y) share with unit strips at ``angle``.

    The strips cover -bins/2..bins/2 along (cos, sin). The shadow of a pixel on that axis is a
    trapezoid; its share of a strip is a difference of the trapezoid's integral.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    wide, narrow = (abs(cosine) + abs(sine)) / 2, abs(abs(cosine) - abs(sine)) / 2
    position = x * cosine + y * sine + bins / 2
    first = np.floor(position - wide).astype(np.int64)
    # A shadow is at most sqrt(2) wide, so it touches at most three strips with four edges.
    edges = first + np.arange(4)[:, None] - position
    areas = np.diff(_trapezoid_integral(edges, wide, narrow), axis=0).astype(np.float32)
    rows = np.clip(first + np.arange(3)[:, None], 0, bins - 1)
    columns = np.broadcast_to(np.arange(x.size), rows.shape)
    keep = areas > 1e-6
    return sparse.csr_array((areas[keep], (rows[keep], columns[keep])), shape=(bins, x.size))


def _trapezoid_integral(t: NDArray[np.float64], wide: float, narrow: float) -> NDArray[np.float64]:
    """Integral up to ``t`` of a unit-area trapezoid: flat for |t| < narrow, 0 for |t| > wide."""
    distance = np.minimum(np.abs(t), wide)
    slope = wide - narrow
    beyond = np.maximum(distance - narrow, 0)
    lost = beyond**2 / (2 * slope) if slope > 1e-9 else 0.0  # slope 0: a box
    return 0.5 + np.sign(t) * (distance - lost) / (wide + narrow)
