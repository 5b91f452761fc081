"""Slices that are pure background, and the batches of all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from petrt.diffusion.guides import OFFSETS


def active_slices(volume: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The slices of ``volume`` [Z, H, W], on the network grid, that are not pure background: bool [Z].

    A slice is background if neither it nor any of its neighbours z-2 .. z+2 holds a voxel above 0: the
    networks see these neighbours with it. The rule is the same for models without guides. NaN counts as
    activity, so that the error is noticed.
    """
    own = np.logical_not(np.all(volume <= 0, axis=(1, 2)))
    active = own.copy()
    for offset in OFFSETS:
        if offset > 0:
            active[offset:] |= own[:-offset]
        elif offset < 0:
            active[:offset] |= own[-offset:]
    return active


def batches(
    active: NDArray[np.bool_], most: int, wanted: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """(first slice, number of slices) of batches of at most ``most`` neighbouring ``active`` slices.
    Batches without a ``wanted`` slice are left out."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
    found = []
    for begin, end in edges.reshape(-1, 2).tolist():
        for first in range(begin, end, most):
            count = min(most, end - first)
            if wanted[first : first + count].any():
                found.append((first, count))
    return found
